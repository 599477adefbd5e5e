"""One focal length for a clip from the estimates of single frames. Pure."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.core.errors import RunWarning

SIGMA_PER_MAD = 1.4826
"""Standard deviations in a median absolute deviation of a normal distribution."""

MIN_FOV_DEG = 5.0
"""Horizontal. Narrower is no lens that people are filmed with: 400 mm has 5 degrees."""

MAX_FOV_DEG = 130.0
"""Horizontal. Wider is no lens without distortion: 10 mm has 122 degrees."""

MAX_FOCAL_SPREAD = 0.15
"""Share of the focal length by which the frames' estimates may scatter before the user is warned."""


@dataclass(frozen=True)
class FocalConsensus:
    """``focal_px`` is None where no frame gives a plausible one. ``spread``: standard deviation of the frames' estimates as a share of it,
    None for a single frame."""

    focal_px: float | None
    spread: float | None
    warning: RunWarning | None = None


def fov_deg(focal_px: Float[np.ndarray, "*n"], width_px: int) -> Float[np.ndarray, "*n"]:
    """Horizontal field of view in degrees."""
    return np.degrees(2 * np.arctan2(width_px / 2, focal_px))


def agree_on_focal(focals_px: Float[np.ndarray, " f"], width_px: int) -> FocalConsensus:
    """The median of the plausible ones among the focal lengths of single frames; NaN is a frame that gives none."""
    focals = np.asarray(focals_px, np.float64)
    finite = focals[np.isfinite(focals)]
    fov = fov_deg(finite, width_px)
    plausible = finite[(finite > 0) & (fov >= MIN_FOV_DEG) & (fov <= MAX_FOV_DEG)]
    if not len(plausible):
        reason = f"only fields of view of {_span(fov)} degrees" if len(finite) else "nothing but sky or blur"
        message = f"No focal length could be estimated from the {len(focals)} frames examined: {reason}."
        return FocalConsensus(None, None, RunWarning("fov_not_estimated", message, facts={"frames": len(focals)}))
    median = float(np.median(plausible))
    if len(plausible) == 1:
        message = f"The focal length comes from one frame of {len(focals)} alone."
        single = RunWarning("fov_of_one_frame", message, facts={"frames": len(focals)})
        return FocalConsensus(median, None, single if len(focals) > 1 else None)
    spread = float(SIGMA_PER_MAD * np.median(np.abs(plausible / median - 1)))
    warning = None
    if spread > MAX_FOCAL_SPREAD:
        message = (
            f"Frames do not agree on the field of view: {_span(fov_deg(plausible, width_px))} degrees, "
            f"{_rounded_fov(median, width_px)} is taken. Distances depend on it."
        )
        warning = RunWarning("fov_uncertain", message, "--fov or --focal-mm35 settle them.", {"spread": spread})
    return FocalConsensus(median, spread, warning)


def sample_frames(num_frames: int, max_samples: int) -> range:
    """At most ``max_samples`` of ``num_frames`` frames, evenly spread and away from both ends where there is room."""
    step = max(1, num_frames // max_samples)
    count = min(max_samples, num_frames)
    first = max(0, (num_frames - 1 - step * (count - 1)) // 2)
    return range(first, first + step * (count - 1) + 1, step)


def _span(fov: np.ndarray) -> str:
    return f"{fov.min():.0f} to {fov.max():.0f}"


def _rounded_fov(focal_px: float, width_px: int) -> str:
    return f"{float(fov_deg(np.array(focal_px), width_px)):.0f}"
