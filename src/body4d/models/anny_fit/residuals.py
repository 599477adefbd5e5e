"""The terms of the fit, and the normal equations of a whole clip that they are added to. Pure numpy and scipy.

Each term adds its residuals, in units of their own standard deviation, and their derivatives. In all of them ``x`` (T, K, 3) are the
keypoints in metres and ``J`` (T, K, 3, P) their derivatives by the parameters of their frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded

from body4d.geometry.rotations import matrix_to_rotvec, skew
from body4d.models.anny_fit.joint_limits import JointLimits
from body4d.models.anny_fit.kinematic_chain import KinematicChain
from body4d.models.anny_fit.types import BodyParts, Observations, SilhouetteMatches

OUTLIER_SIGMAS = 3.0
"""Beyond this many standard deviations an observation loses its influence (Geman-McClure)."""
FAST_MOTION_SIGMAS = 4.0
"""Motion this many standard deviations from the ordinary is fast motion rather than noise."""
LIMIT_SOFTNESS_RAD = np.radians(3.5)
"""Standard deviation by which joints exceed the end of their range."""
HANDS_JOINED_DEPTH_SIGMA_M = 0.03
"""Difference in depth between hands on one grip: a fist's width."""
HANDS_JOINED_ACROSS_SIGMA_M = 0.08
"""The same across the ray: two fists. It matters for hidden hands; where they are visible, the picture says better how they lie."""
PALM_SIGMA_RAD, PALM_DEPTH_SIGMA_RAD = 0.14, 0.28
"""How far off the direction from one hand landmark to another is in the picture, as both err by a tenth of the palm, and in depth."""
FLOOR_SIGMA_M = 0.06
"""Differences in height of resting feet: grass, a camera 8 degrees off level."""
TILT_SIGMA_DEG = 6.0
"""How far a landmark network's depths tilt a whole body towards the camera or away from it."""
BALANCE_SIGMA_M, RESTING_BALANCE_SIGMA_M = 0.12, 0.08
"""Distance of the centre of mass from above the feet, of people who move and of those whose feet both rest (a foot is 0.25 m long)."""
MIN_STANDING_RISE_M = 0.45
"""Height of the centre of mass above the feet from which a person stands: about 0.9 m in an adult who stands, 0.5 m in a deep squat."""
MIN_LEGS_DISTANCE_M = 0.09
"""Ankles, heels, toes and knees of the two legs are at least this far apart."""
TRUNK_RADIUS_M = 0.15
"""Elbows and wrists stay this far from the trunk's axis."""
SEPARATION_SIGMA_M = 0.02
"""Standard deviation by which body parts come closer than that."""
MIN_DEPTH_M = 0.1
"""Points nearer to the camera plane are projected as if they were this far away."""

SurfacePoints = Callable[[slice, np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]
"""Gives, for some frames and the indices (T, M) of M surface points in each, their positions (T, M, 3), and a function that turns
gradients (T, M, 3) by these positions into derivatives (T, M, P) by the parameters."""

BLOCK_FRAMES = 64
"""Frames whose rows are multiplied at a time: a few megabytes, which fit into a cache."""


def frame_blocks(T: int) -> list[slice]:
    """``T`` frames in blocks of ``BLOCK_FRAMES``."""
    return [slice(first, min(first + BLOCK_FRAMES, T)) for first in range(0, T, BLOCK_FRAMES)]


@dataclass
class NormalEquations:
    """Normal equations of a clip, block-banded in time: H[t] on the diagonal, H1[t] couples t with t+1, H2[t] with t+2.

    ``cost`` is the sum of ``cost_by_term``. Rows that terms ``add`` are in ``H`` and ``g`` once they are assembled.
    """

    H: Float[np.ndarray, "t p p"]
    g: Float[np.ndarray, "t p"]
    H1: Float[np.ndarray, "_ p p"]
    H2: Float[np.ndarray, "_ p p"]
    cost: float = 0.0
    cost_by_term: dict[str, float] = field(default_factory=dict)
    rows: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @staticmethod
    def empty(T: int, P: int) -> "NormalEquations":
        return NormalEquations(np.zeros((T, P, P)), np.zeros((T, P)), np.zeros((max(T - 1, 0), P, P)), np.zeros((max(T - 2, 0), P, P)))

    def add(self, term: str, residual: np.ndarray, jacobian: np.ndarray, weights: np.ndarray | float = 1.0) -> None:
        """Add rows of a term.

        Args:
            term: Name under which the cost is counted.
            residual: (T, M), divided by the standard deviations.
            jacobian: (T, M, P), divided by them too.
            weights: (T, M) of ``robust_weights``, with which both are multiplied here.
        """
        rows = jacobian * weights[..., None] if isinstance(weights, np.ndarray) else jacobian
        self.rows.append((rows, residual * weights))
        self.add_cost(term, residual, weights)

    def add_block(self, frames: slice, rows: np.ndarray, residual: np.ndarray) -> None:
        """Add weighted rows (n, M, P) and residuals (n, M) of some frames to ``H`` and ``g`` at once."""
        transposed = np.swapaxes(rows, -1, -2)
        self.H[frames] += transposed @ rows
        self.g[frames] += (transposed @ residual[..., None])[..., 0]

    def assemble(self) -> None:
        """Bring all rows added so far into ``H`` and ``g``: one product for all terms, as many of them have only a row or two."""
        for frames in frame_blocks(len(self.g)) if self.rows else ():
            rows = np.concatenate([rows[frames] for rows, _ in self.rows], axis=1)
            self.add_block(frames, rows, np.concatenate([residual[frames] for _, residual in self.rows], axis=1))
        self.rows.clear()

    def add_cost(self, term: str, residual: np.ndarray, weights: np.ndarray | float = 1.0) -> None:
        """Add the robust cost of ``residual``: r² / (1 + (r/scale)²)."""
        cost = float(np.sum(residual**2 * weights))
        self.cost_by_term[term] = self.cost_by_term.get(term, 0.0) + cost
        self.cost += cost

    def solve(self, damping: float) -> np.ndarray:
        """The damped Gauss-Newton step (T, P), in time linear in the length of the clip."""
        T, P = self.g.shape
        diagonal = np.einsum("tpp->tp", self.H)
        damped = self.H.copy()
        np.einsum("tpp->tp", damped)[...] = diagonal * (1 + damping) + 1e-6
        if not np.any(self.H1) and not np.any(self.H2):
            return -np.linalg.solve(damped, self.g[..., None])[..., 0]
        # Column by column, as LAPACK keeps it: another order would be copied.
        band = np.zeros((T * P, 3 * P))
        for offset, blocks in ((0, damped), (1, self.H1), (2, self.H2)):
            _scatter_lower(band, blocks, offset, P)
        return -solveh_banded(band.T, self.g.ravel(), lower=True, overwrite_ab=True, check_finite=False).reshape(T, P)


def _scatter_lower(band: np.ndarray, blocks: np.ndarray, offset: int, P: int) -> None:
    """Write blocks (N, P, P), standing at block column t and block row t + offset, into the transpose of LAPACK's lower band form."""
    n = len(blocks)
    view = band.reshape(-1, P, 3 * P)
    for column in range(P):
        first = 0 if offset else column
        # blocks[t] couples t (columns) with t + offset (rows), so its transpose is what stands below the diagonal.
        view[:n, column, offset * P + first - column : (offset + 1) * P - column] = blocks[:, column, first:]


def extent_along(x: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far points (T, 3) or (T, K, 3) lie along ``direction``, one (3,) for all frames or one for each (T, 3)."""
    return x @ direction if direction.ndim == 1 else np.einsum("t...a,ta->t...", x, direction)


def _slope_along(J: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The same of derivatives (T, 3, P)."""
    return direction @ J if direction.ndim == 1 else np.einsum("tap,ta->tp", J, direction)


def robust_weights(residual: np.ndarray, scale: float) -> np.ndarray:
    """Square roots of the weights (T, M) of the Geman-McClure loss, for residual norms (T, M) in standard deviations."""
    return 1.0 / (1.0 + (residual / scale) ** 2)


def reprojection(
    system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations, focal_px: float, centre_px: np.ndarray
) -> None:
    """Keypoints project to the landmarks."""
    T, K = x.shape[:2]
    z = np.maximum(x[..., 2], MIN_DEPTH_M)
    u = focal_px * x[..., :2] / z[..., None] + centre_px
    inverse_sigma = np.where(np.isfinite(observations.sigma_px), 1.0 / observations.sigma_px, 0.0)
    residual = np.nan_to_num(u - observations.points_px) * inverse_sigma[..., None]
    weights = robust_weights(np.linalg.norm(residual, axis=-1), OUTLIER_SIGMAS)
    scale = (focal_px / z * inverse_sigma)[..., None, None]
    slope = x[..., :2] / z[..., None]
    Ju = scale * (J[..., :2, :] - slope[..., None] * J[..., 2:, :])
    system.add("reprojection", residual.reshape(T, 2 * K), Ju.reshape(T, 2 * K, -1), np.repeat(weights, 2, axis=1))


def relative_depth(system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations) -> None:
    """Keypoints lie behind each other as far as the landmark network estimates: all against their weighted mean."""
    inverse_sigma = np.where(np.isfinite(observations.depth_sigma_m), 1.0 / observations.depth_sigma_m, 0.0)
    share = inverse_sigma**2 / np.maximum((inverse_sigma**2).sum(1, keepdims=True), 1e-12)

    def against_mean(depth: np.ndarray) -> np.ndarray:
        return depth - np.einsum("tk,tk...->t...", share, depth)[:, None]

    residual = (against_mean(x[..., 2]) - against_mean(np.nan_to_num(observations.depth_m))) * inverse_sigma
    weights = robust_weights(residual, OUTLIER_SIGMAS)
    residual, slope = residual * weights, against_mean(J[..., 2, :]) * (inverse_sigma * weights)[..., None]
    # Besides its own error each depth has that of the whole body's tilt. Their covariance is I + t h h' in units of the former, where h is
    # how high each keypoint lies, and its inverse square root takes out most of what a tilt explains.
    height = against_mean(x[..., 1]) * inverse_sigma * weights
    size = np.linalg.norm(height, axis=1, keepdims=True)
    along = height / np.maximum(size, 1e-9)
    taken = 1 - 1 / np.sqrt(1 + np.tan(np.radians(TILT_SIGMA_DEG)) ** 2 * size**2)
    residual -= taken * along * np.einsum("tk,tk->t", along, residual)[:, None]
    slope -= (taken * along)[..., None] * np.einsum("tk,tkp->tp", along, slope)[:, None]
    system.add("depth", residual, slope)


def joint_range(system: NormalEquations, chain: KinematicChain, local: np.ndarray, G: np.ndarray, limits: JointLimits) -> None:
    """Joints prefer the middle of their range, and hardly leave it."""
    D = local.shape[1]
    rotvec = matrix_to_rotvec(local[:, 1:])
    angle = np.einsum("dab,tdb->tda", limits.axes, rotvec)
    # d(rotvec)/d(rotation in camera axes): inverse left Jacobian of SO(3) (Sola et al. 2018, eq. 146), in the parent's axes.
    theta = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    safe = np.maximum(theta, 1e-4)
    cross = skew(rotvec)
    gain = 1.0 / safe**2 - (1 + np.cos(safe)) / (2 * safe * np.maximum(np.sin(safe), 1e-3))
    inverse_left = np.eye(3) - 0.5 * cross + np.where(theta < 1e-3, 1.0 / 12, gain) * (cross @ cross)
    up = chain.parent_rotations(G)[:, 1:]
    slope = limits.axes @ (inverse_left @ np.swapaxes(up, -1, -2))
    beyond = np.maximum(angle - limits.high, 0) + np.minimum(angle - limits.low, 0)
    from_middle, exceeding = (angle - limits.middle) / limits.spread, beyond / LIMIT_SOFTNESS_RAD
    weight = 1 / limits.spread**2 + (beyond != 0) / LIMIT_SOFTNESS_RAD**2
    transposed = np.swapaxes(slope, -1, -2)
    H = (transposed * weight[..., None, :]) @ slope
    g = (transposed @ (from_middle / limits.spread + exceeding / LIMIT_SOFTNESS_RAD)[..., None])[..., 0]
    for d in range(1, D):
        s = slice(3 + 3 * d, 6 + 3 * d)
        system.H[:, s, s] += H[:, d - 1]
        system.g[:, s] += g[:, d - 1]
    system.add_cost("prior", from_middle)
    system.add_cost("limits", exceeding)


def joined_hands(system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations, parts: BodyParts) -> None:
    """Hands that hold one thing are at one depth, and side by side."""
    if not np.any(observations.hands_joined > 0):
        return
    left, right = (list(side) for side in parts.hands)
    gap = x[:, left].mean(1) - x[:, right].mean(1)
    slope = J[:, left].mean(1) - J[:, right].mean(1)
    across = HANDS_JOINED_ACROSS_SIGMA_M
    scale = observations.hands_joined[:, None] / np.array([across, across, HANDS_JOINED_DEPTH_SIGMA_M])
    system.add("hands", gap * scale, slope * scale[..., None])


def palm_directions(system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations, parts: BodyParts) -> None:
    """Palms face as the hand landmarks say: forearm and wrist turn with them."""
    palms = observations.palms
    if palms is None:
        return
    inverse_sigma = 1 / np.array([PALM_SIGMA_RAD, PALM_SIGMA_RAD, PALM_DEPTH_SIGMA_RAD])
    for side, (index, pinky) in enumerate(parts.hands):
        wrist, weight = parts.arms[2 + side], np.sqrt(palms.weight[:, side])
        if not weight.any():
            continue
        vectors = np.stack([(x[:, index] + x[:, pinky]) / 2 - x[:, wrist], x[:, index] - x[:, pinky]], 1)
        slopes = np.stack([(J[:, index] + J[:, pinky]) / 2 - J[:, wrist], J[:, index] - J[:, pinky]], 1)
        # Bones are rigid, so the vectors' lengths are constants of the body, and only their directions are compared.
        length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
        scale = weight[:, None, None] * inverse_sigma
        residual = (vectors / length - palms.directions[:, side]) * scale
        robust = np.repeat(robust_weights(np.linalg.norm(residual, axis=-1), OUTLIER_SIGMAS), 3, axis=1)
        rows = slopes / length[..., None] * scale[..., None]
        system.add("palms", residual.reshape(len(x), 6), rows.reshape(len(x), 6, -1), robust)


def floor_contact(system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations, parts: BodyParts) -> None:
    """Resting feet stand at one height, and the trunk above them; this gives depth when the camera looks along the stance."""
    floor_m = np.broadcast_to(observations.floor_m, len(x))
    is_known = np.isfinite(floor_m)
    if not is_known.any():
        return
    floor_m = np.where(is_known, floor_m, 0.0)[:, None]
    for side, points in enumerate(parts.feet):
        scale = (observations.foot_contact[:, side] * is_known / FLOOR_SIGMA_M)[:, None]
        for k in points:
            height, slope = extent_along(x[:, k], observations.down), _slope_along(J[:, k], observations.down)
            system.add("floor", (height[:, None] - floor_m) * scale, slope[:, None] * scale[..., None])


def balance(system: NormalEquations, x: np.ndarray, J: np.ndarray, observations: Observations, parts: BodyParts) -> None:
    """The centre of mass is above the feet, in depth: a person who stands or walks does not fall over.

    Across the ray the picture itself says where the body is. People who lie, or stand on their hands, have no balance to keep.
    """
    down = observations.down
    centre, feet = parts.mass_weights, parts.feet_weights
    over = np.einsum("k,tka->ta", centre - feet, x)
    is_standing = -extent_along(over, down) > MIN_STANDING_RISE_M
    if not is_standing.any():
        return
    away = np.array([0.0, 0.0, 1.0]) - down[..., 2:] * down
    away /= np.linalg.norm(away) if away.ndim == 1 else np.linalg.norm(away, axis=-1, keepdims=True)
    at_rest = observations.foot_contact.min(1)
    sigma = BALANCE_SIGMA_M * (1 - at_rest) + RESTING_BALANCE_SIGMA_M * at_rest
    scale = is_standing / np.hypot(sigma, -extent_along(over, down) * np.tan(np.radians(observations.pitch_sigma_deg)))
    residual = (extent_along(over, away) * scale)[:, None]
    of_point = np.einsum("tkap,a->tkp", J, away) if away.ndim == 1 else np.einsum("tkap,ta->tkp", J, away)
    slope = np.einsum("k,tkp->tp", centre - feet, of_point)
    system.add("balance", residual, (slope * scale[:, None])[:, None], robust_weights(residual, OUTLIER_SIGMAS))


def separation(system: NormalEquations, x: np.ndarray, J: np.ndarray, parts: BodyParts) -> None:
    """Feet and knees do not pass through each other, nor arms through the trunk."""

    def push_apart(between: np.ndarray, slope: np.ndarray, min_distance_m: float) -> None:
        distance = np.maximum(np.linalg.norm(between, axis=-1, keepdims=True), 1e-3)
        residual = np.maximum(min_distance_m - distance, 0) / SEPARATION_SIGMA_M
        if residual.any():
            jacobian = -np.einsum("ta,tap->tp", between / distance, slope) * ((residual > 0) / SEPARATION_SIGMA_M)
            system.add("separation", residual, jacobian[:, None])

    for a, b in parts.separate:
        push_apart(x[:, a] - x[:, b], J[:, a] - J[:, b], MIN_LEGS_DISTANCE_M)
    low, high = x[:, list(parts.hips)].mean(1), x[:, list(parts.shoulders)].mean(1)
    Jlow, Jhigh = J[:, list(parts.hips)].mean(1), J[:, list(parts.shoulders)].mean(1)
    axis = high - low
    for k in parts.arms:
        share = np.sum((x[:, k] - low) * axis, -1) / np.maximum(np.sum(axis**2, -1), 1e-6)
        share = np.clip(share, 0, 1)[:, None]
        nearest = low + share * axis
        push_apart(x[:, k] - nearest, J[:, k] - ((1 - share[..., None]) * Jlow + share[..., None] * Jhigh), TRUNK_RADIUS_M)


def silhouette_distance(
    system: NormalEquations, surface_points: SurfacePoints, matches: SilhouetteMatches, focal_px: float, centre_px: np.ndarray
) -> None:
    """The body's silhouette lies on the mask's outline, measured along the outline's normal only."""
    for frames in frame_blocks(len(matches.point_index)):
        sigma, n = matches.sigma_px[frames], matches.normal[frames]
        inverse_sigma = np.where(np.isfinite(sigma), 1.0 / sigma, 0.0)
        x, slopes = surface_points(frames, matches.point_index[frames])
        z = np.maximum(x[..., 2], MIN_DEPTH_M)
        u = focal_px * x[..., :2] / z[..., None] + centre_px
        residual = np.sum(n * (u - matches.target_px[frames]), -1) * inverse_sigma
        weights = robust_weights(residual, OUTLIER_SIGMAS)
        along = n * (inverse_sigma * focal_px / z * weights)[..., None]
        # d(pixel)/d(point) along the normal: (n_x, n_y, -n . slope) f / z
        gradient = np.concatenate([along, -np.sum(along * x[..., :2] / z[..., None], -1, keepdims=True)], -1)
        system.add_block(frames, slopes(gradient), residual * weights)
        system.add_cost("silhouette", residual, weights)


def acceleration(
    system: NormalEquations,
    chain: KinematicChain,
    local: np.ndarray,
    x: np.ndarray,
    J: np.ndarray,
    G: np.ndarray,
    observations: Observations,
) -> None:
    """Keypoints (along each axis) and joint rotations accelerate little between consecutive frames."""
    T = len(x)
    if T < 3:
        return
    both = (observations.is_consecutive[:-1] & observations.is_consecutive[1:]).astype(float)
    inverse_sigma = both[:, None, None] / observations.acceleration_sigma_m[1:-1]
    residual = (x[:-2] - 2 * x[1:-1] + x[2:]) * inverse_sigma
    weights = robust_weights(np.linalg.norm(residual, axis=-1), FAST_MOTION_SIGMAS)[..., None]
    n, K = residual.shape[:2]
    P = J.shape[-1]
    rows = J.reshape(T, 3 * K, P)
    w = ((inverse_sigma * weights) ** 2).reshape(n, 3 * K)
    wr = (residual * weights**2 * inverse_sigma).reshape(n, 3 * K)
    own, pull, to_next = second_difference_shares(w, wr)
    for frames in frame_blocks(T):
        block = rows[frames]
        transposed = np.swapaxes(block, -1, -2)
        scaled = block * np.sqrt(own[frames])[..., None]
        system.H[frames] += np.swapaxes(scaled, -1, -2) @ scaled
        system.g[frames] += (transposed @ pull[frames][..., None])[..., 0]
        for ahead, coupled, weight in ((1, system.H1, to_next), (2, system.H2, w)):
            last = min(frames.stop, T - ahead)
            some = slice(frames.start, last)
            later = slice(frames.start + ahead, last + ahead)
            coupled[some] += transposed[: max(last - frames.start, 0)] @ (rows[later] * weight[some][..., None])
    system.add_cost("acceleration", residual.reshape(n, 3 * K), np.repeat(weights[..., 0], 3, axis=1))
    _angular_acceleration(system, chain, local, G, both, observations.angular_acceleration_sigma_rad)


def second_difference_shares(w: np.ndarray, wr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What second differences x[t] - 2 x[t+1] + x[t+2], weighted by ``w`` (T - 2, ...), give to each frame and to pairs of frames.

    Their squares give the first result (T, ...) to each frame and the last (T - 1, ...) to it with the next one, and ``w`` to it with the
    one after that; they themselves, weighted (``wr``, T - 2, ...), the second (T, ...) to each frame.
    """
    zero, nothing = np.zeros_like(w[:1]), np.zeros_like(wr[:1])
    own = np.concatenate([w, zero, zero]) + 4 * np.concatenate([zero, w, zero]) + np.concatenate([zero, zero, w])
    pull = np.concatenate([wr, nothing, nothing]) - 2 * np.concatenate([nothing, wr, nothing]) + np.concatenate([nothing, nothing, wr])
    return own, pull, -2 * (np.concatenate([w, zero]) + np.concatenate([zero, w]))


def _angular_acceleration(
    system: NormalEquations, chain: KinematicChain, local: np.ndarray, G: np.ndarray, both: np.ndarray, sigma_rad: np.ndarray
) -> None:
    """Rotations of joints about their own bones move no keypoint, so their own second differences are kept small."""
    n, D = len(both), G.shape[1]
    inverse_sigma = both / sigma_rad[1:-1]
    in_parent = matrix_to_rotvec(local[1:] @ np.swapaxes(local[:-1], -1, -2))
    # In camera axes, where a joint's own unknown rotation enters with slope one as long as its parent turns little between frames.
    step = np.einsum("tdab,tdb->tda", chain.parent_rotations(G)[:-1], in_parent)
    r = (step[1:] - step[:-1]) * inverse_sigma[:, None, None]
    # A forearm at impact turns faster than in anyone's ordinary motion for a frame or two; the robust weights let it.
    weights = np.repeat(robust_weights(np.linalg.norm(r, axis=-1), 4 * FAST_MOTION_SIGMAS), 3, axis=1)
    w2 = inverse_sigma[:, None] ** 2 * weights**2
    index = 3 + np.arange(3 * D)
    rr = r.reshape(n, -1) * weights**2 * inverse_sigma[:, None]
    for first, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
        system.H[first : first + n, index, index] += factor**2 * w2
        system.g[first : first + n, 3:] += factor * rr
    system.H1[:-1][:, index, index] += -2.0 * w2
    system.H1[1:][:, index, index] += -2.0 * w2
    system.H2[:, index, index] += w2
    system.add_cost("angular acceleration", r.reshape(n, -1), weights)
