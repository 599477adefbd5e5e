"""The focal length from a map of points that is known up to a shift along the optical axis: points must project to their own pixels.

The published fit: the focal length follows from the shift in closed form, and the shift is found by Levenberg-Marquardt from zero over
64 x 64 points. Lengths are in the network's units, focal lengths relative to half the image's diagonal.
"""

import numpy as np
from jaxtyping import Float, Int

SAMPLES = 64
"""Rows and columns of points that the fit uses, whatever the image's size."""

MIN_POINTS = 2
"""Fewer do not determine a focal length."""

TOLERANCE = 1e-3
"""Published: the fit ends when a step lowers the squared distance by less than this share."""


def sampled_index(size: int) -> Int[np.ndarray, "64"]:
    """The rows (or columns) that the fit uses of an image with ``size`` of them."""
    return np.arange(SAMPLES) * size // SAMPLES


def sampled_uv(height: int, width: int) -> Float[np.ndarray, "64 64 2"]:
    """Centres of these pixels: x right, y down from the image's centre, in half diagonals."""
    diagonal = np.hypot(height, width)
    y, x = np.meshgrid(2 * sampled_index(height) + 1 - height, 2 * sampled_index(width) + 1 - width, indexing="ij")
    return np.stack([x, y], -1) / diagonal


def focal_and_shift(
    points: Float[np.ndarray, "p 3"], uv: Float[np.ndarray, "p 2"], tolerance: float = TOLERANCE, focal: float | None = None
) -> tuple[float, float]:
    """Focal length and shift along z with which ``points`` project nearest to ``uv``; (nan, 0) for fewer than two points. With a ``focal``
    length that is known, only the shift is found.

    The result need not be a camera: for points that belong to none the focal length may be tiny or negative.
    """
    if len(points) < MIN_POINTS:
        return float("nan"), 0.0
    shift = _shift(points, uv, tolerance, focal)
    return _focal(points, uv, shift) if focal is None else focal, shift


def focal_px(focal: float, width_px: int, height_px: int) -> float:
    """A focal length in half diagonals, in pixels; the same along x and y."""
    return float(focal * np.hypot(width_px, height_px) / 2)


def _shift(points: np.ndarray, uv: np.ndarray, tolerance: float, focal: float | None) -> float:
    from scipy.optimize import least_squares

    points, uv = points.astype(np.float64), uv.astype(np.float64)

    def residuals(shift: np.ndarray) -> np.ndarray:
        projected = points[:, :2] / (points[:, 2:] + shift)
        f = (projected * uv).sum() / np.square(projected).sum() if focal is None else focal
        return (f * projected - uv).ravel()

    with np.errstate(divide="ignore", invalid="ignore"):
        if not np.isfinite(residuals(np.zeros(1))).all():
            return 0.0  # A point lies in the camera's plane, so there is nothing to start from.
        return float(least_squares(residuals, x0=np.zeros(1), ftol=tolerance, method="lm").x[0])


def _focal(points: np.ndarray, uv: np.ndarray, shift: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        projected = points[:, :2].astype(np.float64) / (points[:, 2:] + shift)
    norm = np.square(projected).sum()
    return float((projected * uv).sum() / norm) if norm > 0 and np.isfinite(norm) else float("nan")
