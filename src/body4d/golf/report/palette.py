"""Colours of the report, by day and by night.

Figures are drawn in the day's colours; the page swaps each for a variable of its style sheet.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour of the page: its name in the style sheet and its two values."""

    name: str
    day: str
    night: str


PAPER = Colour("paper", "#ffffff", "#14181d")
CARD = Colour("card", "#f6f7f9", "#1d232a")
INK = Colour("ink", "#1c232b", "#e9edf1")
PALE = Colour("pale", "#56606b", "#a7b1bc")
"""Less important text, and class C."""
LINE = Colour("line", "#d3d9df", "#39424c")
ACCENT = Colour("accent", "#0a6b4b", "#58c79d")

# Okabe and Ito's order of hues, darkened by day and lightened by night to 4.5 : 1 on the paper.
PELVIS = Colour("pelvis", "#0067a5", "#62b6ee")
THORAX = Colour("thorax", "#b34700", "#f39a4f")
SHOULDERS = Colour("shoulders", "#8a3b7a", "#dc95c6")
ARM = Colour("arm", "#0b7a57", "#4ec79c")
UNSURE = Colour("unsure", "#6a737d", "#949ea9")
"""Curves of class C."""
BAND = Colour("band", "#b9c9c2", "#33524a")
QUARTILES = Colour("quartiles", "#7fa898", "#4f8a78")

ALL = (PAPER, CARD, INK, PALE, LINE, ACCENT, PELVIS, THORAX, SHOULDERS, ARM, UNSURE, BAND, QUARTILES)
TEXT = (INK, PALE, ACCENT, PELVIS, THORAX, SHOULDERS, ARM)
"""Those that letters are written in."""
