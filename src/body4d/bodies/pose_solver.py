"""Poses of one body over a clip from what pictures tell: Gauss-Newton on the rotation group, all frames at once. Pure numpy.

Every term is a residual in units of its own standard deviation, so their weights need no tuning against each other: this is
maximum a posteriori estimation (Bogo et al., "Keep it SMPL", ECCV 2016, sec. 3, with analytic derivatives instead of autodiff).
Frames are coupled by how little joints accelerate; the normal equations are then block-banded and solved in time linear in length.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from body4d.bodies.anny_pose import Ranges
from body4d.bodies.chain import Chain, PointSet
from body4d.config import FitSettings
from body4d.geometry.rotations import matrix_to_rotvec, skew

Array = NDArray[Any]


@dataclass(frozen=True)
class Pose:
    """Local rotations (T, D, 3, 3) of a chain's joints and root positions (T, 3), metres, camera axes."""

    local: Array
    translation_m: Array


@dataclass(frozen=True)
class Evidence:
    """What was seen of one person, row for row (T frames, K keypoints of the point set).

    ``points_px`` (T, K, 2), ``sigma_px`` (T, K) their standard deviation (inf: not seen). ``depth_m`` (T, K) depth relative to the
    root, ``depth_sigma_m`` (T, K). ``acceleration_sigma_m`` (T, K, 3) how much a joint may deviate from uniform motion between
    frames, per axis. ``consecutive`` (T-1,) whether rows t and t+1 are neighbouring frames. ``held`` (T,) strength in [0, 1] with
    which the two hands are known to hold one thing. ``planted`` (T, 2) the same for the left and right foot resting on the floor,
    whose height is ``floor_y_m`` in camera axes (NaN: not known).
    """

    points_px: Array
    sigma_px: Array
    depth_m: Array
    depth_sigma_m: Array
    acceleration_sigma_m: Array
    consecutive: Array
    held: Array
    planted: Array
    floor_y_m: float = float("nan")


@dataclass(frozen=True)
class Anchors:
    """Surface points drawn to the outline in the picture: ``point`` (T, M) indices into ``surface``, ``target_px`` (T, M, 2),
    ``normal`` (T, M, 2) the direction along which they are drawn, ``sigma_px`` (T, M), inf where there is none."""

    surface: PointSet
    point: Array
    target_px: Array
    normal: Array
    sigma_px: Array


@dataclass(frozen=True)
class Parts:
    """Which keypoints (indices into the point set) stand for hands, feet and trunk, left before right."""

    hands: tuple[tuple[int, ...], tuple[int, ...]]
    feet: tuple[tuple[int, ...], tuple[int, ...]]
    hips: tuple[int, int]
    shoulders: tuple[int, int]
    arms: tuple[int, ...]
    apart: tuple[tuple[int, int], ...]


@dataclass
class _System:
    """Block-banded normal equations being gathered: H[t] on the diagonal, H1[t] couples t with t+1, H2[t] with t+2."""

    H: Array
    g: Array
    H1: Array
    H2: Array
    cost: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def empty(T: int, P: int) -> "_System":
        return _System(np.zeros((T, P, P)), np.zeros((T, P)), np.zeros((max(T - 1, 0), P, P)), np.zeros((max(T - 2, 0), P, P)))

    def add(self, name: str, residual: Array, jacobian: Array, soft: Array | float = 1.0) -> None:
        """Add rows: ``residual`` (T, M) and ``jacobian`` (T, M, P), both divided by their standard deviations, ``soft`` (T, M) or 1
        their weights under :func:`robust`, with which both are yet to be multiplied."""
        rows = jacobian * soft[..., None] if isinstance(soft, np.ndarray) else jacobian
        Jt = np.swapaxes(rows, -1, -2)
        self.H += Jt @ rows
        self.g += (Jt @ (residual * soft)[..., None])[..., 0]
        self.note(name, residual, soft)

    def note(self, name: str, residual: Array, soft: Array | float = 1.0) -> None:
        """Count the (robust) cost of ``residual``: r² / (1 + (r/scale)²)."""
        part = float(np.sum(residual**2 * soft))
        self.parts[name] = self.parts.get(name, 0.0) + part
        self.cost += part

    def solve(self, damping: float) -> Array:
        """The Gauss-Newton step (T, P)."""
        T, P = self.g.shape
        diagonal = np.einsum("tpp->tp", self.H)
        damped = self.H.copy()
        np.einsum("tpp->tp", damped)[...] = diagonal * (1 + damping) + 1e-6
        if not np.any(self.H1) and not np.any(self.H2):
            return -np.linalg.solve(damped, self.g[..., None])[..., 0]
        band = np.zeros((3 * P, T * P))
        for offset, blocks in ((0, damped), (1, self.H1), (2, self.H2)):
            _scatter_lower(band, blocks, offset, P)
        return -solveh_banded(band, self.g.ravel(), lower=True, overwrite_ab=True, check_finite=False).reshape(T, P)


def _scatter_lower(band: Array, blocks: Array, offset: int, P: int) -> None:
    """Write blocks (N, P, P), standing at block column t and block row t + offset, into LAPACK's lower band form."""
    n = len(blocks)
    if n == 0:
        return
    view = band.reshape(3 * P, -1, P)
    for column in range(P):
        first = 0 if offset else column
        rows = offset * P + np.arange(first, P) - column
        # blocks[t] couples t (columns) with t + offset (rows), so its transpose is what stands below the diagonal.
        view[rows, :n, column] = blocks[:, column, first:].T


def robust(residual: Array, scale: float) -> Array:
    """Square-root weights (T, M) of the Geman-McClure loss for residual norms (T, M) in standard deviations."""
    return 1.0 / (1.0 + (residual / scale) ** 2)


def _reprojection(system: _System, x: Array, J: Array, seen: Evidence, focal_px: float, centre: Array, outlier: float) -> None:
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


def _relative_depth(system: _System, x: Array, J: Array, root: Array, seen: Evidence, outlier: float) -> None:
    weight = np.where(np.isfinite(seen.depth_sigma_m), 1.0 / seen.depth_sigma_m, 0.0)
    residual = np.nan_to_num(x[..., 2] - root[:, None, 2] - seen.depth_m) * weight
    soft = robust(residual, outlier)
    Jz = J[..., 2, :].copy()
    Jz[..., 2] -= 1.0
    system.add("depth", residual, Jz * weight[..., None], soft)


def _limits(system: _System, chain: Chain, local: Array, G: Array, ranges: Ranges, wall_rad: float) -> None:
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


def _held_together(system: _System, x: Array, J: Array, seen: Evidence, parts: Parts, sigma_m: float) -> None:
    """Hands that hold one thing are at one depth; across the ray the picture itself says where each hand is."""
    if not np.any(seen.held > 0):
        return
    left, right = (list(side) for side in parts.hands)
    gap = x[:, left, 2].mean(1) - x[:, right, 2].mean(1)
    slope = J[:, left, 2].mean(1) - J[:, right, 2].mean(1)
    scale = seen.held / sigma_m
    system.add("held", (gap * scale)[:, None], (slope * scale[:, None])[:, None])


def _on_the_floor(system: _System, x: Array, J: Array, seen: Evidence, parts: Parts, settings: FitSettings) -> None:
    """Planted feet stand at one height, and the trunk stands over them: what tells depth when the camera looks along the stance."""
    if not np.isfinite(seen.floor_y_m):
        return
    for side, feet in enumerate(parts.feet):
        scale = (seen.planted[:, side] / settings.floor_sigma_m)[:, None]
        for k in feet:
            system.add("floor", (x[:, k, 1:2] - seen.floor_y_m) * scale, J[:, k, 1:2] * scale[..., None])
    feet, trunk = [k for side in parts.feet for k in side], [*parts.hips, *parts.shoulders]
    lean = x[:, trunk, 2].mean(1) - x[:, feet, 2].mean(1)
    slope = J[:, trunk, 2].mean(1) - J[:, feet, 2].mean(1)
    scale = seen.planted.min(1) / settings.balance_sigma_m
    system.add("balance", (lean * scale)[:, None], (slope * scale[:, None])[:, None])


def _apart(system: _System, x: Array, J: Array, parts: Parts, settings: FitSettings) -> None:
    """Feet and knees do not pass through each other, nor arms through the trunk."""

    def push(between: Array, slope: Array, least_m: float) -> None:
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


def _outline(system: _System, problem: "PoseProblem", pose: Pose, G: Array, p: Array, drawn: Anchors) -> None:
    """Rim points of the body are drawn to the mask's outline, each along the outline's normal only."""
    focal_px, centre = problem.focal_px, problem.centre_px
    for t in range(len(drawn.point)):
        use = np.isfinite(drawn.sigma_px[t])
        if not use.any():
            continue
        which, at = drawn.point[t, use], slice(t, t + 1)
        x, J = problem.chain.points_and_jacobian(G[at], p[at], drawn.surface.pick(which))
        J = problem.with_shape_slopes(x, J, pose, which, at)
        x, J, n = x[0], J[0], drawn.normal[t, use]
        z = np.maximum(x[:, 2], 0.1)
        u = focal_px * x[:, :2] / z[:, None] + centre
        residual = np.sum(n * (u - drawn.target_px[t, use]), -1) / drawn.sigma_px[t, use]
        soft = robust(residual, problem.settings.outlier_sigmas)
        along = n / drawn.sigma_px[t, use][:, None] * (focal_px / z * soft)[:, None]
        # d(pixel)/d(point) seen along the normal: (n_x, n_y, -n . slope) f / z
        gradient = np.concatenate([along, -np.sum(along * x[:, :2] / z[:, None], -1, keepdims=True)], -1)
        Jn = np.einsum("ma,map->mp", gradient, J)
        system.H[t] += Jn.T @ Jn
        system.g[t] += Jn.T @ (residual * soft)
        system.note("outline", residual, soft)


def _smooth_motion(system: _System, chain: Chain, local: Array, x: Array, J: Array, G: Array, seen: Evidence, turn_sigma: float) -> None:
    """Second differences of keypoints (per axis) and of joint turns between consecutive frames."""
    T = len(x)
    if T < 3:
        return
    both = (seen.consecutive[:-1] & seen.consecutive[1:]).astype(float)
    weight = both[:, None, None] / seen.acceleration_sigma_m[1:-1]
    residual = (x[:-2] - 2 * x[1:-1] + x[2:]) * weight
    soft = robust(np.linalg.norm(residual, axis=-1), 4.0)[..., None]
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


def _smooth_turns(system: _System, chain: Chain, local: Array, G: Array, both: Array, turn_sigma: float) -> None:
    """Turns of joints about their own bones move no keypoint, so they are held still by their own second differences."""
    n, D = len(both), G.shape[1]
    in_parent = matrix_to_rotvec(local[1:] @ np.swapaxes(local[:-1], -1, -2))
    # In camera axes, where a joint's own unknown turn enters with slope one as long as its parent turns little from frame to frame.
    step = np.einsum("tdab,tdb->tda", chain.parent_rotations(G)[:-1], in_parent)
    r = (step[1:] - step[:-1]) * (both / turn_sigma)[:, None, None]
    w2 = (both / turn_sigma) ** 2
    index = 3 + np.arange(3 * D)
    rr = r.reshape(n, -1) * (both / turn_sigma)[:, None]
    for first, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
        system.H[first : first + n, index, index] += factor**2 * w2[:, None]
        system.g[first : first + n, 3:] += factor * rr
    system.H1[:-1][:, index, index] += -2.0 * w2[:, None]
    system.H1[1:][:, index, index] += -2.0 * w2[:, None]
    system.H2[:, index, index] += w2[:, None]
    system.note("turns", r)


@dataclass(frozen=True)
class PoseProblem:
    """One person's chain, keypoints, ranges and camera: what stays while poses are sought.

    ``shapes``: bodies that differ from this one by a unit of each shape parameter (chain, keypoints, surface), for
    :meth:`solve_with_shape`; empty while the shape stays.
    """

    chain: Chain
    keypoints: PointSet
    ranges: Ranges
    focal_px: float
    centre_px: Array
    parts: Parts
    settings: FitSettings
    shapes: tuple["ShapeVariant", ...] = ()

    def with_shape_slopes(self, x: Array, J: Array, pose: Pose, surface: Array | None = None, t: slice = slice(None)) -> Array:
        """``J`` with a column for each of ``shapes``: how points ``x`` move per unit of the parameter, poses kept."""
        columns = []
        for variant in self.shapes:
            G2, p2 = variant.chain.forward(pose.local[t], pose.translation_m[t])
            points = variant.keypoints if surface is None else variant.surface.pick(surface)
            columns.append(variant.chain.points(G2, p2, points) - x)
        return np.concatenate([J, np.stack(columns, -1)], -1) if columns else J

    def system(self, pose: Pose, seen: Evidence, drawn: Anchors | None, coupled: bool) -> _System:
        """Normal equations at ``pose``."""
        G, p = self.chain.forward(pose.local, pose.translation_m)
        x, J = self.chain.points_and_jacobian(G, p, self.keypoints)
        J = self.with_shape_slopes(x, J, pose)
        system = _System.empty(len(x), J.shape[-1])
        outlier = self.settings.outlier_sigmas
        _reprojection(system, x, J, seen, self.focal_px, self.centre_px, outlier)
        _relative_depth(system, x, J, pose.translation_m, seen, outlier)
        _limits(system, self.chain, pose.local, G, self.ranges, np.radians(self.settings.wall_deg))
        _held_together(system, x, J, seen, self.parts, self.settings.held_sigma_m)
        _on_the_floor(system, x, J, seen, self.parts, self.settings)
        _apart(system, x, J, self.parts, self.settings)
        if drawn is not None:
            _outline(system, self, pose, G, p, drawn)
        if coupled:
            _smooth_motion(system, self.chain, pose.local, x, J, G, seen, np.radians(self.settings.turn_acceleration_deg))
        return system

    def solve(self, pose: Pose, seen: Evidence, iterations: int, drawn: Anchors | None = None, coupled: bool = True) -> Pose:
        """``iterations`` damped Gauss-Newton steps from ``pose``; a step that raises the cost is taken back and damped more."""
        damping = 1e-3
        system = self.system(pose, seen, drawn, coupled)
        for _ in range(iterations):
            step = system.solve(damping)
            # A turn beyond half a radian leaves the linearisation's reach.
            largest = np.abs(step[:, 3:]).max(axis=1, keepdims=True)
            step = step * np.minimum(1.0, 0.5 / np.maximum(largest, 1e-9))
            trial = self.moved(pose, step)
            after = self.system(trial, seen, drawn, coupled)
            if after.cost < system.cost:
                done = system.cost - after.cost < 1e-4 * system.cost
                pose, system, damping = trial, after, max(damping / 3, 1e-5)
                if done:
                    break
            else:
                damping *= 8
                if damping > 1e4:
                    break
        return pose

    def moved(self, pose: Pose, step: Array) -> Pose:
        """``pose`` after a step (T, 3 + 3 D): root shift in metres, then joint turns in camera axes."""
        G, _ = self.chain.forward(pose.local, pose.translation_m)
        turns = step[:, 3:].reshape(len(step), -1, 3)
        return Pose(self.chain.turned(pose.local, G, turns), pose.translation_m + step[:, :3])

    def solve_with_shape(
        self, pose: Pose, seen: Evidence, drawn: Anchors | None, offset: Array, sigma: Array, iterations: int
    ) -> tuple[Pose, Array]:
        """Poses of a few frames and one shape for them all: steps of the poses and of the shape, the latter by Schur complement.

        ``offset`` (S,) where the shape stands, in units of its prior's ``sigma`` (S,) from the prior's mean. Returns the poses and the
        shape's change (S,). Frames are not coupled. The shape enters linearly, so keep the change small and rebuild the body after.
        """
        S = len(self.shapes)
        change = np.zeros(S)
        for _ in range(iterations):
            system = self.system(pose, seen, drawn, coupled=False)
            n = system.g.shape[1] - S
            Hp = system.H[:, :n, :n] + 1e-6 * np.eye(n)
            C, gs = system.H[:, :n, n:], system.g[:, n:].sum(0)
            # The system's shape columns are taken at the unchanged body; what the shape has moved since is added to first order.
            g_pose = system.g[:, :n] + C @ change
            g_shape = gs + system.H[:, n:, n:].sum(0) @ change + (offset * sigma + change) / sigma**2
            inv = np.linalg.solve(Hp, np.concatenate([C, g_pose[..., None]], -1))
            reduced = system.H[:, n:, n:].sum(0) + np.diag(1 / sigma**2) - np.einsum("tps,tpr->sr", C, inv[..., :S])
            ds = -np.linalg.solve(reduced, g_shape - np.einsum("tps,tp->s", C, inv[..., S]))
            step = -(inv[..., S] + inv[..., :S] @ ds)
            largest = np.abs(step[:, 3:]).max(axis=1, keepdims=True)
            pose = self.moved(pose, step * np.minimum(1.0, 0.5 / np.maximum(largest, 1e-9)))
            change = change + ds
        return pose, change


@dataclass(frozen=True)
class ShapeVariant:
    """A body that differs from the problem's by a unit of one shape parameter."""

    chain: Chain
    keypoints: PointSet
    surface: PointSet
