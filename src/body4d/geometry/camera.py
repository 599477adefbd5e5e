"""Points and the cameras that see them: a transform for each frame, and where a posed body is, from its points in the picture. Numpy."""

import numpy as np
from jaxtyping import Float


def transform_points(T_a_b: Float[np.ndarray, "t 4 4"], points: Float[np.ndarray, "t n 3"]) -> Float[np.ndarray, "t n 3"]:
    """Points of each frame in axes b, in axes a: by a rigid transform of its own."""
    return points @ np.swapaxes(T_a_b[:, :3, :3], 1, 2) + T_a_b[:, None, :3, 3]


def solve_translation(
    points_m: Float[np.ndarray, "t n 3"],
    pixels: Float[np.ndarray, "t n 2"],
    K: Float[np.ndarray, "3 3"],
    weights: Float[np.ndarray, "t n"],
) -> Float[np.ndarray, "t 3"]:
    """Translations that bring points, in camera axes about their own origin, in front of the camera where ``pixels`` show them.

    ``K`` are the intrinsics; ``weights`` are 0 for points that were not seen. Each point gives two equations linear in the translation
    (Hartley & Zisserman, "Multiple view geometry", 2004, section 7.1, with known rotation), solved by least squares over rays. The result
    is NaN where fewer than two points count.
    """
    ray = (np.nan_to_num(pixels) - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])
    # X + tx = rx (Z + tz), so tx - rx tz = rx Z - X; the same for y.
    weight = np.where(np.isfinite(pixels).all(-1), weights, 0.0).astype(np.float64)
    rest = ray * points_m[..., 2:] - points_m[..., :2]
    total = weight.sum(1)
    mean_ray, mean_rest = (np.einsum("tn,tnc->tc", weight, a) / np.maximum(total, 1e-12)[:, None] for a in (ray, rest))
    spread_ray, spread_rest = ray - mean_ray[:, None], rest - mean_rest[:, None]
    denominator = np.einsum("tn,tnc->t", weight, spread_ray**2)
    numerator = np.einsum("tn,tnc->t", weight, spread_ray * spread_rest)
    solvable = ((weight > 0).sum(1) >= 2) & (denominator > 1e-12)
    depth = np.where(solvable, -numerator / np.where(solvable, denominator, 1.0), np.nan)
    return np.concatenate([mean_rest + mean_ray * depth[:, None], depth[:, None]], axis=1)
