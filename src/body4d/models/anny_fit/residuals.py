"""The witnesses: each adds its residuals, in units of their own standard deviation, and their derivatives to the equations.

``x`` (T, K, 3) are keypoints in metres and ``J`` (T, K, 3, P) their derivatives by the unknowns of their frame.
"""

from collections.abc import Callable

import numpy as np

from body4d.config import FitSettings
from body4d.geometry.rotations import matrix_to_rotvec, skew
from body4d.models.anny_fit.equations import NormalEquations, robust
from body4d.models.anny_fit.joint_limits import Ranges
from body4d.models.anny_fit.kinematic_chain import Chain
from body4d.models.anny_fit.types import Anchors, Evidence, Parts

MovedPoints = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]

_FAST = 4.0
"""Motion this many standard deviations from ordinary is taken for fast motion, not for noise."""


def reprojection(
    system: NormalEquations, x: np.ndarray, J: np.ndarray, seen: Evidence, focal_px: float, centre: np.ndarray, outlier: float
) -> None:
    T, K = x.shape[:2]
    z = np.maximum(x[..., 2], 0.1)
    u = focal_px * x[..., :2] / z[..., None] + centre
    weight = np.where(np.isfinite(seen.sigma_px), 1.0 / seen.sigma_px, 0.0)
    residual = np.nan_to_num(u - seen.points_px) * weight[..., None]
    soft = robust(np.linalg.norm(residual, axis=-1), outlier)
    scale = (focal_px / z * weight)[..., None, None]
    slope = x[..., :2] / z[..., None]
    Ju = scale * (J[..., :2, :] - slope[..., None] * J[..., 2:, :])
    system.add("picture", residual.reshape(T, 2 * K), Ju.reshape(T, 2 * K, -1), np.repeat(soft, 2, axis=1))


def relative_depth(system: NormalEquations, x: np.ndarray, J: np.ndarray, seen: Evidence, parts: Parts, outlier: float) -> None:
    """Depth of each keypoint behind the middle of the hips, as a landmark network guesses it."""
    weight = np.where(np.isfinite(seen.depth_sigma_m), 1.0 / seen.depth_sigma_m, 0.0)
    hips = list(parts.hips)
    residual = np.nan_to_num(x[..., 2] - x[:, hips, 2].mean(1, keepdims=True) - seen.depth_m) * weight
    slope = (J[..., 2, :] - J[:, hips, 2].mean(1, keepdims=True)) * weight[..., None]
    system.add("depth", residual, slope, robust(residual, outlier))


def limits(system: NormalEquations, chain: Chain, local: np.ndarray, G: np.ndarray, ranges: Ranges, wall_rad: float) -> None:
    """Preference for the middle of each joint's range and a wall at its ends."""
    T, D = local.shape[:2]
    rotvec = matrix_to_rotvec(local[:, 1:])
    angle = np.einsum("dab,tdb->tda", ranges.axes, rotvec)
    # d(rotvec)/d(turn in camera axes): inverse left Jacobian of SO(3) (Sola et al. 2018, eq. 146) after going to the parent's axes.
    theta = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    safe = np.maximum(theta, 1e-4)
    cross = skew(rotvec)
    gain = 1.0 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.maximum(np.sin(safe), 1e-3))
    inverse_left = np.eye(3) - 0.5 * cross + np.where(theta < 1e-3, 1.0 / 12, gain) * (cross @ cross)
    up = chain.parent_rotations(G)[:, 1:]
    slope = np.einsum("dab,tdbc->tdac", ranges.axes, inverse_left @ np.swapaxes(up, -1, -2))
    beyond = np.maximum(angle - ranges.high, 0) + np.minimum(angle - ranges.low, 0)
    P = system.g.shape[1]
    for name, residual, weight in (
        ("prefer", (angle - ranges.middle) / ranges.spread, np.broadcast_to(1 / ranges.spread, angle.shape)),
        ("wall", beyond / wall_rad, (beyond != 0) / wall_rad),
    ):
        blocks = slope * weight[..., None]
        H = np.einsum("tdam,tdan->tdmn", blocks, blocks)
        g = np.einsum("tdam,tda->tdm", blocks, residual)
        view = system.H.reshape(T, P, P)
        for d in range(1, D):
            s = slice(3 + 3 * d, 6 + 3 * d)
            view[:, s, s] += H[:, d - 1]
            system.g[:, s] += g[:, d - 1]
        system.note(name, residual)


def held_together(system: NormalEquations, x: np.ndarray, J: np.ndarray, seen: Evidence, parts: Parts, settings: FitSettings) -> None:
    """Hands that hold one thing are at one depth, and side by side. The latter is left loose: where the hands are seen, the picture
    says better how they lie across the ray."""
    if not np.any(seen.held > 0):
        return
    left, right = (list(side) for side in parts.hands)
    gap = x[:, left].mean(1) - x[:, right].mean(1)
    slope = J[:, left].mean(1) - J[:, right].mean(1)
    across = settings.held_across_sigma_m
    scale = seen.held[:, None] / np.array([across, across, settings.held_sigma_m])
    system.add("held", gap * scale, slope * scale[..., None])


def on_the_floor(system: NormalEquations, x: np.ndarray, J: np.ndarray, seen: Evidence, parts: Parts, settings: FitSettings) -> None:
    """Planted feet stand at one height, and the trunk stands over them: what tells depth when the camera looks along the stance."""
    if not np.isfinite(seen.floor_m):
        return
    height, slope = x @ seen.down, np.einsum("tkap,a->tkp", J, seen.down)
    for side, feet in enumerate(parts.feet):
        scale = (seen.planted[:, side] / settings.floor_sigma_m)[:, None]
        for k in feet:
            system.add("floor", (height[:, k, None] - seen.floor_m) * scale, slope[:, k, None] * scale[..., None])
    # Along the floor, away from the camera: across the ray the picture itself says where the trunk is.
    away = np.array([0.0, 0.0, 1.0]) - seen.down[2] * seen.down
    feet, trunk = [k for side in parts.feet for k in side], [*parts.hips, *parts.shoulders]
    lean = (x[:, trunk].mean(1) - x[:, feet].mean(1)) @ away
    slope = np.einsum("tap,a->tp", J[:, trunk].mean(1) - J[:, feet].mean(1), away)
    scale = seen.planted.min(1) / settings.balance_sigma_m
    system.add("balance", (lean * scale)[:, None], (slope * scale[:, None])[:, None])


def apart(system: NormalEquations, x: np.ndarray, J: np.ndarray, parts: Parts, settings: FitSettings) -> None:
    """Feet and knees do not pass through each other, nor arms through the trunk."""

    def push(between: np.ndarray, slope: np.ndarray, least_m: float) -> None:
        distance = np.maximum(np.linalg.norm(between, axis=-1, keepdims=True), 1e-3)
        short = np.maximum(least_m - distance, 0) / settings.apart_sigma_m
        if short.any():
            towards = -np.einsum("ta,tap->tp", between / distance, slope) * ((short > 0) / settings.apart_sigma_m)
            system.add("apart", short, towards[:, None])

    for a, b in parts.apart:
        push(x[:, a] - x[:, b], J[:, a] - J[:, b], settings.feet_apart_m)
    low, high = x[:, list(parts.hips)].mean(1), x[:, list(parts.shoulders)].mean(1)
    Jlow, Jhigh = J[:, list(parts.hips)].mean(1), J[:, list(parts.shoulders)].mean(1)
    axis = high - low
    for k in parts.arms:
        share = np.sum((x[:, k] - low) * axis, -1) / np.maximum(np.sum(axis**2, -1), 1e-6)
        share = np.clip(share, 0, 1)[:, None]
        nearest = low + share * axis
        push(x[:, k] - nearest, J[:, k] - ((1 - share[..., None]) * Jlow + share[..., None] * Jhigh), settings.trunk_radius_m)


def outline(system: NormalEquations, moved: MovedPoints, drawn: Anchors, focal_px: float, centre: np.ndarray, outlier: float) -> None:
    """Rim points of the body are drawn to the mask's outline, each along the outline's normal only. ``moved(t, which)`` gives
    surface points ``which`` of frame ``t`` (M, 3) and their derivatives (M, 3, P)."""
    for t in range(len(drawn.point)):
        use = np.isfinite(drawn.sigma_px[t])
        if not use.any():
            continue
        (x, J), n = moved(t, drawn.point[t, use]), drawn.normal[t, use]
        z = np.maximum(x[:, 2], 0.1)
        u = focal_px * x[:, :2] / z[:, None] + centre
        residual = np.sum(n * (u - drawn.target_px[t, use]), -1) / drawn.sigma_px[t, use]
        soft = robust(residual, outlier)
        along = n / drawn.sigma_px[t, use][:, None] * (focal_px / z * soft)[:, None]
        # d(pixel)/d(point) seen along the normal: (n_x, n_y, -n . slope) f / z
        gradient = np.concatenate([along, -np.sum(along * x[:, :2] / z[:, None], -1, keepdims=True)], -1)
        Jn = np.einsum("ma,map->mp", gradient, J)
        system.H[t] += Jn.T @ Jn
        system.g[t] += Jn.T @ (residual * soft)
        system.note("outline", residual, soft)


def smooth_motion(
    system: NormalEquations, chain: Chain, local: np.ndarray, x: np.ndarray, J: np.ndarray, G: np.ndarray, seen: Evidence, turn_sigma: float
) -> None:
    """Second differences of keypoints (per axis) and of joint turns between consecutive frames."""
    T = len(x)
    if T < 3:
        return
    both = (seen.consecutive[:-1] & seen.consecutive[1:]).astype(float)
    weight = both[:, None, None] / seen.acceleration_sigma_m[1:-1]
    residual = (x[:-2] - 2 * x[1:-1] + x[2:]) * weight
    soft = robust(np.linalg.norm(residual, axis=-1), _FAST)[..., None]
    n, K = residual.shape[:2]
    scale = (weight * soft).reshape(n, 3 * K, 1)
    r = (residual * soft).reshape(n, 3 * K)
    P = J.shape[-1]
    rows = J.reshape(T, 3 * K, P)
    a, b, c = rows[:-2] * scale, -2 * rows[1:-1] * scale, rows[2:] * scale
    at, bt, ct = (np.swapaxes(m, -1, -2) for m in (a, b, c))
    for block, first, g in ((at @ a, 0, at), (bt @ b, 1, bt), (ct @ c, 2, ct)):
        system.H[first : first + n] += block
        system.g[first : first + n] += (g @ r[..., None])[..., 0]
    ab, bc, ac = at @ b, bt @ c, at @ c
    system.H1[:-1] += ab
    system.H1[1:] += bc
    system.H2 += ac
    system.note("motion", residual.reshape(n, 3 * K), np.repeat(soft[..., 0], 3, axis=1))
    _smooth_turns(system, chain, local, G, both, turn_sigma)


def _smooth_turns(system: NormalEquations, chain: Chain, local: np.ndarray, G: np.ndarray, both: np.ndarray, turn_sigma: float) -> None:
    """Turns of joints about their own bones move no keypoint, so they are held still by their own second differences."""
    n, D = len(both), G.shape[1]
    in_parent = matrix_to_rotvec(local[1:] @ np.swapaxes(local[:-1], -1, -2))
    # In camera axes, where a joint's own unknown turn enters with slope one as long as its parent turns little from frame to frame.
    step = np.einsum("tdab,tdb->tda", chain.parent_rotations(G)[:-1], in_parent)
    r = (step[1:] - step[:-1]) * (both / turn_sigma)[:, None, None]
    # A forearm at impact turns faster than anyone's ordinary motion, for a frame or two: robust, so that it may.
    soft = np.repeat(robust(np.linalg.norm(r, axis=-1), 4 * _FAST), 3, axis=1)
    w2 = (both / turn_sigma)[:, None] ** 2 * soft**2
    index = 3 + np.arange(3 * D)
    rr = r.reshape(n, -1) * soft**2 * (both / turn_sigma)[:, None]
    for first, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
        system.H[first : first + n, index, index] += factor**2 * w2
        system.g[first : first + n, 3:] += factor * rr
    system.H1[:-1][:, index, index] += -2.0 * w2
    system.H1[1:][:, index, index] += -2.0 * w2
    system.H2[:, index, index] += w2
    system.note("turns", r.reshape(n, -1), soft)
