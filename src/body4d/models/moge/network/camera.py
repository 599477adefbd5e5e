"""From a map of points, right but for its distance, to the focal length: where the points fall must be where they are seen.

The published fit: one unknown shift along the axis, the focal length follows from it in closed form; Levenberg-Marquardt from zero over
64 x 64 points. Lengths are in the network's units, focal lengths relative to half the picture's diagonal.
"""

import numpy as np

SAMPLES = 64
"""Rows and columns of points the fit looks at, whatever the picture's size."""

LEAST_POINTS = 2
"""Fewer do not tell a focal length."""


def sampled_index(size: int) -> np.ndarray:
    """Which rows (or columns) of a picture ``size`` long the fit looks at (64,)."""
    return np.arange(SAMPLES) * size // SAMPLES


def sampled_uv(height: int, width: int) -> np.ndarray:
    """Where these pixels' centres are (64, 64, 2): x right, y down from the middle, half diagonal 1."""
    diagonal = np.hypot(height, width)
    y, x = np.meshgrid(2 * sampled_index(height) + 1 - height, 2 * sampled_index(width) + 1 - width, indexing="ij")
    return np.stack([x, y], -1) / diagonal


def focal_and_shift(points: np.ndarray, uv: np.ndarray, tolerance: float = 1e-3) -> tuple[float, float]:
    """Focal length and shift that bring ``points`` (P, 3) nearest to ``uv`` (P, 2). (nan, 0) for fewer than two points.

    ``tolerance``: the fit ends when a step lowers the squared distance by less than this share. Not always a camera: the focal length
    of points that belong to none may come out tiny or negative.
    """
    if len(points) < LEAST_POINTS:
        return float("nan"), 0.0
    shift = _shift(points, uv, None, tolerance)
    return _focal(points, uv, shift), shift


def shift_for_focal(points: np.ndarray, uv: np.ndarray, focal: float, tolerance: float = 1e-3) -> float:
    """The shift alone where the focal length is known; 0 for fewer than two points."""
    return _shift(points, uv, focal, tolerance) if len(points) >= LEAST_POINTS else 0.0


def focal_px(focal: float, width_px: int, height_px: int) -> float:
    """In pixels, alike along x and y."""
    return float(focal * np.hypot(width_px, height_px) / 2)


def focal_of_fov(fov_x_deg: float, aspect: float) -> float:
    """Relative to half the diagonal, of a horizontal field of view on a picture ``aspect`` times as wide as high."""
    return float(aspect / np.sqrt(1 + aspect**2) / np.tan(np.radians(fov_x_deg) / 2))


def _shift(points: np.ndarray, uv: np.ndarray, focal: float | None, tolerance: float) -> float:
    from scipy.optimize import least_squares

    points, uv = points.astype(np.float64), uv.astype(np.float64)

    def gaps(shift: np.ndarray) -> np.ndarray:
        seen = points[:, :2] / (points[:, 2:] + shift)
        f = (seen * uv).sum() / np.square(seen).sum() if focal is None else focal
        return (f * seen - uv).ravel()

    with np.errstate(divide="ignore", invalid="ignore"):
        if not np.isfinite(gaps(np.zeros(1))).all():
            return 0.0  # A point on the camera's plane: there is nothing to start from.
        return float(least_squares(gaps, x0=np.zeros(1), ftol=tolerance, method="lm").x[0])


def _focal(points: np.ndarray, uv: np.ndarray, shift: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = points[:, :2].astype(np.float64) / (points[:, 2:] + shift)
    size = np.square(seen).sum()
    return float((seen * uv).sum() / size) if size > 0 and np.isfinite(size) else float("nan")
