"""Pose and shape of a SMPL body from points of it: least squares by Levenberg and Marquardt's method, many frames at once.

A turn ω of joint j moves point v by ω × c, c = Σ w_k (v_k - p_j) over the joints k at and below j, where v_k is the point as joint k alone
would carry it. Normal equations need no more than sums of products of these c. How the pose's own corrections of the surface change with
the pose is left out of the derivative, not of the error, so that it costs steps and no accuracy.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from body4d.bodies.smpl.model import SkinnedPoints
from body4d.geometry.rotations import rotvec_to_matrix, skew

_MAX_STEPS = 40
_DONE_SHARE, _DONE_M = 1e-4, 1e-7
"""A step that changes the squared error by less than this share of it, or this distance squared, is the last."""
_FIRST_DAMPING, _MAX_DAMPING = 1e-4, 1e8
_MIN_OWN_WEIGHT = 0.05
"""A joint that carries less of the points' weight than this share of an even one starts turned as its parent."""

_CHUNK_VALUES = 6_000_000
"""Numbers in the largest array of a step: 48 MB."""


@dataclass(frozen=True)
class FittedPoses:
    """Rotations relative to the parent, and the root joint in the world, metres."""

    rotations: Float[np.ndarray, "t joints 3 3"]
    root_m: Float[np.ndarray, "t 3"]


class PointFit:
    """Fits the body of ``points`` to where they were found; ``point_weights`` say how much each counts, ``free`` which joints turn."""

    def __init__(self, points: SkinnedPoints, point_weights: Float[np.ndarray, " points"], free: Bool[np.ndarray, " joints"]) -> None:
        self._points, self._free = points, np.flatnonzero(free)
        self._point_weights = point_weights / point_weights.sum()
        below = np.eye(len(points.parents))
        for j in range(len(points.parents) - 1, 0, -1):
            below[points.parents[j]] += below[j]
        self._below = below[self._free]
        self._subtree = points.weights @ self._below.T
        self._chunk = max(_CHUNK_VALUES // max(3 * points.weights.size, 1), 1)

    def shape(self, targets_m: Float[np.ndarray, "t points 3"], prior_m: float) -> Float[np.ndarray, " betas"]:
        """One shape for all frames. A unit of a shape parameter counts as an error of ``prior_m``, which holds what points do not show."""
        betas = np.zeros(self._points.shapes_m.shape[-1])
        poses = self._start(betas, targets_m)
        damping, cost = _FIRST_DAMPING, self._cost(betas, poses, targets_m).sum()
        for _ in range(_MAX_STEPS):
            step = self._shape_step(betas, poses, targets_m, prior_m, damping)
            moved_betas = betas + step[0]
            moved = self._moved(poses, step[1], betas)
            new = self._cost(moved_betas, moved, targets_m).sum() + len(targets_m) * prior_m**2 * (moved_betas @ moved_betas)
            is_last = abs(cost - new) < _DONE_SHARE * cost + len(targets_m) * _DONE_M**2 or damping > _MAX_DAMPING
            if new < cost:
                cost, betas, poses, damping = new, moved_betas, moved, damping * 0.2
            else:
                damping *= 10
            if is_last:
                break
        return betas

    def poses(self, targets_m: Float[np.ndarray, "t points 3"], betas: Float[np.ndarray, " betas"]) -> FittedPoses:
        """The pose of each frame for a known shape."""
        parts = [self._poses(targets_m[k : k + self._chunk], betas) for k in range(0, len(targets_m), self._chunk)]
        return FittedPoses(np.concatenate([part.rotations for part in parts]), np.concatenate([part.root_m for part in parts]))

    def _poses(self, targets_m: np.ndarray, betas: np.ndarray) -> FittedPoses:
        poses = self._start(betas, targets_m)
        damping, cost = np.full(len(targets_m), _FIRST_DAMPING), self._cost(betas, poses, targets_m)
        active = np.ones(len(targets_m), bool)
        for _ in range(_MAX_STEPS):
            H, g, *_ = self._equations(betas, _rows(poses, active), targets_m[active])
            moved = self._moved(_rows(poses, active), -_solve(H, g, damping[active]), betas)
            new = self._cost(betas, moved, targets_m[active])
            rows = np.flatnonzero(active)
            better = new < cost[rows]
            is_last = (np.abs(cost[rows] - new) < _DONE_SHARE * cost[rows] + _DONE_M**2) | (damping[rows] > _MAX_DAMPING)
            poses.rotations[rows[better]], poses.root_m[rows[better]] = moved.rotations[better], moved.root_m[better]
            cost[rows[better]] = new[better]
            damping[rows] *= np.where(better, 0.2, 10)
            active[rows[is_last]] = False
            if not active.any():
                break
        return poses

    def _cost(self, betas: np.ndarray, poses: FittedPoses, targets_m: np.ndarray) -> Float[np.ndarray, " t"]:
        miss = self._points.posed(betas, poses.rotations, poses.root_m) - targets_m
        return np.einsum("tpa,tpa,p->t", miss, miss, self._point_weights)

    def _start(self, betas: np.ndarray, targets_m: np.ndarray) -> FittedPoses:
        """Each joint turned by its own points as a rigid body, from the root on."""
        points = self._points
        rest, joints = points.rest_m + points.shapes_m @ betas, points.rest_joints(betas)
        count = len(targets_m)
        G, p = np.empty((count, len(joints), 3, 3)), np.empty((count, len(joints), 3))
        for j, parent in enumerate(points.parents):
            weights = points.weights[:, j] * self._point_weights
            own = weights.sum() * len(joints)
            if parent < 0:
                # The root's own points may be few: those of all joints around it say where it is.
                weights = weights if own > _MIN_OWN_WEIGHT else self._point_weights
                weights = weights / weights.sum()
                middle, seen = weights @ rest, np.einsum("p,tpa->ta", weights, targets_m)
                G[:, 0] = _turns(np.einsum("p,tpa,pb->tab", weights, targets_m - seen[:, None], rest - middle))
                p[:, 0] = seen + G[:, 0] @ (joints[0] - middle)
                continue
            p[:, j] = p[:, parent] + G[:, parent] @ (joints[j] - joints[parent])
            G[:, j] = G[:, parent]
            if own > _MIN_OWN_WEIGHT and j in self._free:
                G[:, j] = _turns(np.einsum("p,tpa,pb->tab", weights, targets_m - p[:, j, None], rest - joints[j]))
        local = G.copy()
        local[:, 1:] = np.swapaxes(G[:, points.parents[1:]], -1, -2) @ G[:, 1:]
        return FittedPoses(local, p[:, 0].copy())

    def _moved(self, poses: FittedPoses, step: Float[np.ndarray, "t unknowns"], betas: np.ndarray) -> FittedPoses:
        """``poses`` after turns of the free joints, in world axes, and a shift of the root."""
        G, _ = self._points.forward(self._points.rest_joints(betas), poses.rotations, poses.root_m)
        rotations, parents = poses.rotations.copy(), self._points.parents
        turned = rotvec_to_matrix(step[:, :-3].reshape(len(step), -1, 3))
        for k, j in enumerate(self._free):
            world = turned[:, k] @ G[:, j]
            rotations[:, j] = world if parents[j] < 0 else np.swapaxes(G[:, parents[j]], -1, -2) @ world
        return FittedPoses(rotations, poses.root_m + step[:, -3:])

    def _equations(
        self, betas: np.ndarray, poses: FittedPoses, targets_m: np.ndarray, directions: Float[np.ndarray, "t points 3 betas"] | None = None
    ) -> tuple[np.ndarray, ...]:
        """Normal matrix and gradient of the turns and the shift, then, with the points' ``directions`` of change by the shape, the mixed
        block, the shape's own block and its gradient."""
        points, w = self._points, self._point_weights
        joints = points.rest_joints(betas)
        G, p = points.forward(joints, poses.rotations, poses.root_m)
        rest = points.rest_points(betas, poses.rotations)
        count, free = len(G), len(self._free)
        # Laid out (t, joints, axes, points), so that all sums are plain matrix products.
        carried = (G.reshape(count, -1, 3) @ np.swapaxes(rest, 1, 2)).reshape(count, len(joints), 3, -1)
        carried += (p - np.einsum("tjab,jb->tja", G, joints))[..., None]
        carried *= points.weights.T[:, None]
        miss = np.swapaxes(carried.sum(1), 1, 2) - targets_m
        arms = (self._below @ carried.reshape(count, len(joints), -1)).reshape(count, free, 3, -1)
        arms -= p[:, self._free, :, None] * self._subtree.T[:, None]
        arms = arms.reshape(count, free * 3, -1)
        weighted = arms * w
        M = (weighted @ np.swapaxes(arms, 1, 2)).reshape(count, free, 3, free, 3)
        H = np.zeros((count, free * 3 + 3, free * 3 + 3))
        traces = np.einsum("tjaka->tjk", M)
        turns = np.einsum("tjk,ab->tjakb", traces, np.eye(3)) - np.swapaxes(M, 2, 4)
        H[:, :-3, :-3] = turns.reshape(count, free * 3, free * 3)
        shift = skew(weighted.sum(2).reshape(count, free, 3)).reshape(count, free * 3, 3)
        H[:, :-3, -3:], H[:, -3:, :-3] = shift, np.swapaxes(shift, 1, 2)
        H[:, -3:, -3:] = np.eye(3)  # the weights sum to 1
        g = np.concatenate([_cross_sums(weighted @ miss), np.einsum("p,tpa->ta", w, miss)], axis=1)
        if directions is None:
            return H, g
        mixed = np.concatenate(
            [
                np.stack([_cross_sums(weighted @ directions[..., b]) for b in range(directions.shape[-1])], -1),
                np.einsum("p,tpab->tab", w, directions),
            ],
            axis=1,
        )
        own = np.einsum("p,tpab,tpac->tbc", w, directions, directions, optimize=True)
        return H, g, mixed, own, np.einsum("p,tpab,tpa->tb", w, directions, miss, optimize=True)

    def _shape_step(
        self, betas: np.ndarray, poses: FittedPoses, targets_m: np.ndarray, prior_m: float, damping: float
    ) -> tuple[Float[np.ndarray, " betas"], Float[np.ndarray, "t unknowns"]]:
        """Steps of the shape and of all poses: the poses are eliminated, as each frame has its own."""
        own = np.eye(len(betas)) * len(targets_m) * prior_m**2
        gradient = own @ betas
        kept = []
        for k in range(0, len(targets_m), self._chunk):
            rows = slice(k, k + self._chunk)
            part = FittedPoses(poses.rotations[rows], poses.root_m[rows])
            H, g, mixed, block, slope = self._equations(betas, part, targets_m[rows], self._shape_directions(betas, part))
            both = _solve(H, np.concatenate([g[..., None], mixed], -1), np.full(len(H), damping))
            own = own + (block - np.swapaxes(mixed, 1, 2) @ both[..., 1:]).sum(0)
            gradient = gradient + (slope - np.einsum("tub,tu->tb", mixed, both[..., 0])).sum(0)
            kept.append(both)
        both = np.concatenate(kept)
        step = -np.linalg.solve(own + damping * np.diag(np.diag(own)), gradient)
        return step, -both[..., 0] - both[..., 1:] @ step

    def _shape_directions(self, betas: np.ndarray, poses: FittedPoses) -> Float[np.ndarray, "t points 3 betas"]:
        """How the posed points move with each shape parameter; the root joint is held where it is."""
        points = self._points
        G, _ = points.forward(points.rest_joints(betas), poses.rotations, poses.root_m)
        blended = (points.weights @ G.reshape(len(G), G.shape[1], 9)).reshape(len(G), -1, 3, 3)
        out = blended @ points.shapes_m
        for b in range(len(betas)):
            shifts = points.joint_shapes_m[..., b]
            _, p = points.forward(shifts, poses.rotations, np.zeros((len(G), 3)))
            out[..., b] += points.weights @ (p - np.einsum("tjab,jb->tja", G, shifts))
        return out


def _rows(poses: FittedPoses, rows: np.ndarray) -> FittedPoses:
    return FittedPoses(poses.rotations[rows], poses.root_m[rows])


def _turns(products: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 3 3"]:
    """The rotations nearest to Σ target restᵀ (Kabsch)."""
    U, _, Vt = np.linalg.svd(products)
    U[..., -1] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    return U @ Vt


def _cross_sums(products: Float[np.ndarray, "t joints3 3"]) -> Float[np.ndarray, "t joints3"]:
    """Σ c × r of each joint, of the sums of c rᵀ."""
    m = products.reshape(len(products), -1, 3, 3)
    sums = [m[..., 1, 2] - m[..., 2, 1], m[..., 2, 0] - m[..., 0, 2], m[..., 0, 1] - m[..., 1, 0]]
    return np.stack(sums, -1).reshape(len(products), -1)


def _solve(H: np.ndarray, g: np.ndarray, damping: Float[np.ndarray, " t"]) -> np.ndarray:
    """(H + damping · its diagonal)⁻¹ g, with a little more where a joint has nothing that shows its turn."""
    diagonal = np.einsum("tuu->tu", H)
    floor = 1e-9 * diagonal.mean(1, keepdims=True)
    A = H.copy()
    np.einsum("tuu->tu", A)[:] += damping[:, None] * diagonal + floor
    return np.linalg.solve(A, g[..., None])[..., 0] if g.ndim == 2 else np.linalg.solve(A, g)
