"""One focal length for a clip, of what single frames say. Pure."""

from dataclasses import dataclass

import numpy as np

from body4d.config import MogeSettings

_SIGMA_OF_MAD = 1.4826
"""Standard deviations in a median absolute deviation, of a normal spread."""


@dataclass(frozen=True)
class Lens:
    """``focal_px`` None where no frame tells one. ``spread``: by what share of it frames scatter, None for one frame. ``note`` for the
    user, or empty."""

    focal_px: float | None
    spread: float | None
    note: str


def fov_deg(focal_px: np.ndarray, width_px: int) -> np.ndarray:
    """Horizontal field of view in degrees."""
    return np.degrees(2 * np.arctan2(width_px / 2, focal_px))


def agree_on_lens(focals_px: np.ndarray, width_px: int, settings: MogeSettings) -> Lens:
    """The median of the plausible ones among ``focals_px`` (F,), one of each frame looked at; NaN: the frame told none."""
    focals = np.asarray(focals_px, np.float64)
    told = focals[np.isfinite(focals)]
    fov = fov_deg(told, width_px)
    sound = told[(told > 0) & (fov >= settings.fov_least_deg) & (fov <= settings.fov_most_deg)]
    if not len(sound):
        found = f"only fields of view of {_span(fov)} degrees" if len(told) else "nothing but sky or blur"
        return Lens(None, None, f"No lens could be told from the {len(focals)} frames looked at: {found}.")
    middle = float(np.median(sound))
    if len(sound) == 1:
        return Lens(middle, None, f"The lens was told by one frame of {len(focals)} alone." if len(focals) > 1 else "")
    spread = float(_SIGMA_OF_MAD * np.median(np.abs(sound / middle - 1)))
    note = ""
    if spread > settings.spread_most:
        note = (
            f"Frames do not agree on the lens: {_span(fov_deg(sound, width_px))} degrees, {_number(middle, width_px)} was taken. "
            "Distances depend on it; --fov or --focal-mm35 settle them."
        )
    return Lens(middle, spread, note)


def spread_frames(count: int, wanted: int) -> range:
    """``wanted`` of ``count`` frames, evenly spread and away from both ends where there is room; fewer where there are fewer."""
    step = max(1, count // wanted)
    taken = min(wanted, count)
    first = max(0, (count - 1 - step * (taken - 1)) // 2)
    return range(first, first + step * (taken - 1) + 1, step)


def _span(fov: np.ndarray) -> str:
    return f"{fov.min():.0f} to {fov.max():.0f}"


def _number(focal_px: float, width_px: int) -> str:
    return f"{float(fov_deg(np.array(focal_px), width_px)):.0f}"
