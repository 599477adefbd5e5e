"""Tempo of tour players, counted from the labels of GolfDB's real-time swings (McNally et al. 2019, arXiv 1903.06528)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TempoBand:
    """How tempo is spread over many swings."""

    swings: int
    players: int
    ratio: tuple[float, float, float, float, float]
    """Backswing by downswing: the values below which 5, 25, 50, 75 and 95 % of the swings lie."""


GOLFDB_TEMPO = TempoBand(758, 246, (2.57, 3.00, 3.43, 4.13, 5.33))
