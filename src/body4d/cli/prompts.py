"""``--text``, ``--click``, ``--unclick`` and ``--box``: whom to follow, in words and pixels."""

from typing import Annotated

import typer

Text = Annotated[
    list[str] | None,
    typer.Option("--text", help="Whom to follow, in words (preset sam): everybody they fit, or the one person WHO.", metavar="WORDS[:WHO]"),
]
Click = Annotated[
    list[str] | None,
    typer.Option("--click", help="A point on someone: frame, pixels, and which person (1, 2, ...).", metavar="FRAME:X,Y[:WHO]"),
]
Unclick = Annotated[
    list[str] | None, typer.Option("--unclick", help="A point that does not belong to them, to correct a mask.", metavar="FRAME:X,Y[:WHO]")
]
Box = Annotated[list[str] | None, typer.Option("--box", help="A box around someone.", metavar="FRAME:X,Y,X,Y[:WHO]")]
