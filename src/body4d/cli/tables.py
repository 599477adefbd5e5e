"""Tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_PEOPLE = {
    "id": "person",
    "frames_visible": "frames",
    "error_2d_px": "2D error px",
    "error_2d_percent_of_height": "% of height",
    "mask_iou": "mask IoU",
    "jitter": "jitter",
    "jitter_raw": "raw jitter",
    "height_m": "height m",
}


def print_people(people: Sequence[Mapping[str, Any]]) -> None:
    """One row per person of ``body4d info``."""
    table = Table(box=None, pad_edge=False)
    for title in _PEOPLE.values():
        table.add_column(title, justify="right")
    for person in people:
        table.add_row(*(cell(person.get(key)) for key in _PEOPLE))
    Console().print(table)


def print_pairs(title: str, pairs: Mapping[str, Any]) -> None:
    """Names and figures, one a line."""
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, value in pairs.items():
        table.add_row(name, cell(value))
    Console().print(table)


def print_score(score: Mapping[str, Any]) -> None:
    """Figures of ``body4d eval``; those of each person below those of the clip."""
    flat = {name: value for name, value in score.items() if not isinstance(value, list | tuple | dict)}
    print_pairs("against the truth", flat)


def cell(value: Any) -> str:
    """A figure with three decimals, a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
