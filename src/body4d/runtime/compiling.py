"""When compiling a network pays, and where what was compiled is kept for the next run."""

import os
from pathlib import Path
from typing import Literal


def worth_compiling(count: int, device: str, wish: Literal["auto", "on", "off"], pays_from: int) -> bool:
    """Whether to compile before ``count`` pictures go through a backbone on ``device`` ("cuda", "mps", "cpu").

    ``wish`` "on" and "off" are obeyed; on CUDA "auto" compiles where the seconds it takes come back. For SAM-3D-Body a
    person in a frame is one picture, three with hands.
    """
    if wish != "auto":
        return wish == "on"
    return device == "cuda" and count >= pays_from


def pays_from(compile_s: float, crops_per_s: float, compiled_crops_per_s: float) -> float:
    """Crops from which on compiling for ``compile_s`` is the quicker way: infinity where it gains nothing."""
    gained = 1 / crops_per_s - 1 / compiled_crops_per_s
    return compile_s / gained if gained > 0 else float("inf")


def keep_compiled(folder: Path | None = None) -> Path:
    """Let torch keep compiled code in ``folder``, by default ``$XDG_CACHE_HOME/body4d/compiled`` or ``~/.cache/body4d/compiled``.

    Call it before the first compilation. A folder the user gave torch by ``TORCHINDUCTOR_CACHE_DIR`` stays. Gives the folder in use.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder or cache / "body4d" / "compiled"))
    # Triton's own kernels lie beside it, else they would be built anew in every process.
    os.environ.setdefault("TRITON_CACHE_DIR", str(Path(place) / "triton"))
    return Path(place)
