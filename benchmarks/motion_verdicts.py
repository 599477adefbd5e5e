"""What is sought of the smoother, line by line, and whether it holds. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

Figures = dict[str, dict[str, dict[str, float]]]
"""Mean figures by clip, filter and name."""

JITTER_LEFT, SLIDING_LEFT, GAP_LEFT = 0.25, 0.40, 0.50  # of raw's; of raw's; of straight lines'
WRIST_OFF = 0.03
NOISE = 0.05  # two draws of three differ by this share in what one filter gets; nearer figures are equal
BEST_OF = {
    "mpjpe_mm": "MPJPE",
    "acceleration_m_s2": "acceleration error",
    "jitter_m_s3": "jitter",
    "wrist_speed_kept": "peak wrist speed",
    "foot_sliding_m_s": "foot sliding",
    "gap_mm": "gap error",
}


@dataclass(frozen=True)
class Verdict:
    """What was ``sought``, what was ``found`` (clip by clip where it is not the same for all), and whether it ``holds`` on every clip."""

    sought: str
    found: str
    holds: bool


def verdicts(found: Figures) -> list[Verdict]:
    """One for each line of what is sought; lines of which the clips tell nothing are left out."""
    lines = [
        _line("jitter at most 25 % of raw", found, "jitter_m_s3", _share, lambda x: x <= JITTER_LEFT),
        _line("MPJPE not worse than raw", found, "mpjpe_mm", _share, lambda x: x <= 1),
        _line("peak wrist speed of the swing within 3 %", found, "wrist_speed_kept", _own, lambda x: abs(x - 1) <= WRIST_OFF),
        _line("foot sliding at most 40 % of raw", found, "foot_sliding_m_s", _share, lambda x: x <= SLIDING_LEFT),
        _line("gap error at most 50 % of straight lines", found, "gap_mm", _share, lambda x: x <= GAP_LEFT),
        *(_best(found, figure, title) for figure, title in BEST_OF.items()),
        _line("nobody nearer to the other person", found, "swapped_frames", _own, lambda x: x == 0),
    ]
    return [line for line in lines if line is not None]


def _share(by: dict[str, dict[str, float]], figure: str) -> float:
    return by["ours"][figure] / by["raw"][figure]


def _own(by: dict[str, dict[str, float]], figure: str) -> float:
    return by["ours"][figure]


def _line(
    sought: str, found: Figures, figure: str, of: Callable[[dict[str, dict[str, float]], str], float], holds: Callable[[float], bool]
) -> Verdict | None:
    values = {clip: of(by, figure) for clip, by in found.items()}
    values = {clip: value for clip, value in values.items() if not math.isnan(value)}
    if not values:
        return None
    told = ", ".join(f"{clip} {value:.3g}{'' if holds(value) else ' (!)'}" for clip, value in values.items())
    return Verdict(sought, told, all(holds(value) for value in values.values()))


def _best(found: Figures, figure: str, title: str) -> Verdict | None:
    """Ours best, or within :data:`NOISE` of the best."""
    beaten, told = [], False
    for clip, by in found.items():
        off = {name: abs(row[figure] - 1) if figure == "wrist_speed_kept" else row[figure] for name, row in by.items()}
        if math.isnan(off["ours"]):
            continue
        told = True
        name = min(off, key=lambda n: off[n])
        # Of speeds kept, within noise is a matter of hundredths of the truth, not of the distance from it.
        slack = NOISE / 2 if figure == "wrist_speed_kept" else NOISE * off[name]
        if off["ours"] > off[name] + slack:
            beaten.append(f"{clip}: {name} {by[name][figure]:.3g}, ours {by['ours'][figure]:.3g}")
    return Verdict(f"{title}: ours best or within noise", "; ".join(beaten) or "on every clip", not beaten) if told else None
