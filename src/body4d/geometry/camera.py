"""Where a known shape stands, told by where its points are seen. Pure numpy."""

import numpy as np


def solve_translation(points_m: np.ndarray, pixels: np.ndarray, K: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Translations (T, 3) that put points (T, N, 3), in camera axes about their own origin, in front of the camera where they are seen.

    ``pixels`` (T, N, 2), ``K`` (3, 3) intrinsics, ``weights`` (T, N), 0 where a point was not seen. Each point gives two equations linear
    in the translation (Hartley & Zisserman 2004, section 7.1, with rotation known); least squares over rays, NaN where fewer than two
    points count.
    """
    ray = (np.nan_to_num(pixels) - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])
    # X + tx = rx (Z + tz), so tx - rx tz = rx Z - X; the same for y.
    weight = np.where(np.isfinite(pixels).all(-1), weights, 0.0).astype(np.float64)
    rest = ray * points_m[..., 2:] - points_m[..., :2]
    total = weight.sum(1)
    mean_ray, mean_rest = (np.einsum("tn,tnc->tc", weight, a) / np.maximum(total, 1e-12)[:, None] for a in (ray, rest))
    spread_ray, spread_rest = ray - mean_ray[:, None], rest - mean_rest[:, None]
    below = np.einsum("tn,tnc->t", weight, spread_ray**2)
    above = np.einsum("tn,tnc->t", weight, spread_ray * spread_rest)
    known = ((weight > 0).sum(1) >= 2) & (below > 1e-12)
    depth = np.where(known, -above / np.where(known, below, 1.0), np.nan)
    return np.concatenate([mean_rest + mean_ray * depth[:, None], depth[:, None]], axis=1)
