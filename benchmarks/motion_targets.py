"""Targets of the smoother, and whether they are met. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

ClipFigures = dict[str, dict[str, float]]
"""Mean figures of one clip, by filter and name."""

Figures = dict[str, ClipFigures]
"""Mean figures by clip, filter and name."""

MAX_JITTER_SHARE, MAX_SLIDING_SHARE = 0.25, 0.40
"""Shares of the raw input's figures."""

MAX_GAP_SHARE = 0.50
"""Share of the gap error of straight lines, by which the raw input is bridged."""

MAX_SPEED_ERROR = 0.03

NOISE_SHARE = 0.05
"""Two draws of three differ by this share in the figures of one filter. Figures that are nearer count as equal."""

BEST_OF = {
    "mpjpe_mm": "MPJPE",
    "acceleration_m_s2": "acceleration error",
    "jitter_m_s3": "jitter",
    "wrist_speed_kept": "peak wrist speed",
    "foot_sliding_m_s": "foot sliding",
    "gap_mm": "gap error",
}


@dataclass(frozen=True)
class TargetCheck:
    """One ``target``, the ``values`` measured for it, clip by clip where they differ, and whether it ``holds`` on every clip."""

    target: str
    values: str
    holds: bool


def check_targets(figures: Figures) -> list[TargetCheck]:
    """One check for each target; targets without a figure on any clip are left out."""
    checks = [
        _check(figures, "jitter at most 25 % of raw", "jitter_m_s3", _share_of_raw, lambda x: x <= MAX_JITTER_SHARE),
        _check(figures, "MPJPE not worse than raw", "mpjpe_mm", _share_of_raw, lambda x: x <= 1),
        _check(figures, "peak wrist speed of the swing within 3 %", "wrist_speed_kept", _ours, lambda x: abs(x - 1) <= MAX_SPEED_ERROR),
        _check(figures, "foot sliding at most 40 % of raw", "foot_sliding_m_s", _share_of_raw, lambda x: x <= MAX_SLIDING_SHARE),
        _check(figures, "gap error at most 50 % of straight lines", "gap_mm", _share_of_raw, lambda x: x <= MAX_GAP_SHARE),
        *(_check_best(figures, figure, title) for figure, title in BEST_OF.items()),
        _check(figures, "nobody nearer to the other person", "swapped_frames", _ours, lambda x: x == 0),
    ]
    return [check for check in checks if check is not None]


def _share_of_raw(by_filter: ClipFigures, figure: str) -> float:
    return by_filter["ours"][figure] / by_filter["raw"][figure]


def _ours(by_filter: ClipFigures, figure: str) -> float:
    return by_filter["ours"][figure]


def _check(
    figures: Figures, target: str, figure: str, measure: Callable[[ClipFigures, str], float], holds: Callable[[float], bool]
) -> TargetCheck | None:
    values = {clip: measure(by_filter, figure) for clip, by_filter in figures.items()}
    values = {clip: value for clip, value in values.items() if not math.isnan(value)}
    if not values:
        return None
    text = ", ".join(f"{clip} {value:.3g}{'' if holds(value) else ' (!)'}" for clip, value in values.items())
    return TargetCheck(target, text, all(holds(value) for value in values.values()))


def _check_best(figures: Figures, figure: str, title: str) -> TargetCheck | None:
    """Whether ours is the best filter, or within ``NOISE_SHARE`` of the best."""
    beaten, measured = [], False
    for clip, by_filter in figures.items():
        error = {name: abs(row[figure] - 1) if figure == "wrist_speed_kept" else row[figure] for name, row in by_filter.items()}
        if math.isnan(error["ours"]):
            continue
        measured = True
        best = min(error, key=lambda name: error[name])
        # The noise of a speed is a share of the true speed, not of the distance from it.
        tolerance = NOISE_SHARE / 2 if figure == "wrist_speed_kept" else NOISE_SHARE * error[best]
        if error["ours"] > error[best] + tolerance:
            beaten.append(f"{clip}: {best} {by_filter[best][figure]:.3g}, ours {by_filter['ours'][figure]:.3g}")
    return TargetCheck(f"{title}: ours best or within noise", "; ".join(beaten) or "on every clip", not beaten) if measured else None
