"""The few joints a fit moves, with analytic derivatives. Pure numpy.

A rig has a hundred joints; pictures tell about two dozen. A :class:`Chain` keeps those and lets every other joint ride on its nearest
driven ancestor, so that points cost little and their derivatives have a closed form (the geometric Jacobian of robotics: a
small turn ``ω`` of joint ``j`` moves a point ``x`` below it by ``ω × (x − p_j)``).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from body4d.core.rig import Rig
from body4d.geometry.rotations import rotvec_to_matrix


@dataclass(frozen=True)
class PointSet:
    """Points riding on a chain: ``weights`` (K, D) per joint, rows summing to 1, and ``reach_m`` (K, D, 3), so that
    point = sum_d G_d reach_kd + w_kd p_d."""

    weights: np.ndarray
    reach_m: np.ndarray

    def pick(self, which: np.ndarray) -> "PointSet":
        """The points with indices ``which``."""
        return PointSet(self.weights[which], self.reach_m[which])


@dataclass(frozen=True)
class Chain:
    """Driven joints of a rig, parents first: ``parents`` (D,), ``rest_joints_m`` (D, 3), ``rig_joint`` (D,) their rig indices."""

    names: tuple[str, ...]
    parents: np.ndarray
    rest_joints_m: np.ndarray
    rig_joint: np.ndarray
    driver: np.ndarray

    @staticmethod
    def of(rig: Rig, names: tuple[str, ...]) -> "Chain":
        """The chain of ``rig``'s joints ``names``; the first must be the root."""
        rig_joint = np.array([rig.joint_names.index(n) for n in names])
        slot = {int(j): d for d, j in enumerate(rig_joint)}
        driver = np.empty(len(rig.parents), np.int64)
        for j, parent in enumerate(rig.parents):
            driver[j] = slot[j] if j in slot else driver[parent]
        parents = np.array([driver[rig.parents[j]] if rig.parents[j] >= 0 else -1 for j in rig_joint])
        return Chain(names, parents, rig.rest_joints_m[rig_joint], rig_joint, driver)

    @cached_property
    def below(self) -> np.ndarray:
        """(D, D) 1.0 where joint ``b`` hangs below or is joint ``j``: ``below[j, b]``."""
        below = np.eye(len(self.names))
        for d in range(len(self.names) - 1, 0, -1):
            below[self.parents[d]] += below[d]
        return below

    def keypoints(self, rig: Rig) -> PointSet:
        """The rig's named keypoints on this chain."""
        return self._collect(rig.keypoint_weights, rig.keypoint_anchors_m)

    def surface(self, rig: Rig, vertices: np.ndarray) -> PointSet:
        """The rig's vertices with indices ``vertices`` (K,) on this chain."""
        weights = np.zeros((len(vertices), len(rig.parents)))
        np.put_along_axis(weights, rig.skin_indices[vertices].astype(np.int64), rig.skin_weights[vertices], axis=1)
        return self._collect(weights, weights[..., None] * rig.rest_vertices_m[vertices][:, None])

    def _collect(self, weights: np.ndarray, anchors: np.ndarray) -> PointSet:
        onto = np.zeros((len(self.driver), len(self.names)))
        onto[np.arange(len(self.driver)), self.driver] = 1.0
        w = weights @ onto
        a = np.einsum("kja,jd->kda", anchors, onto)
        return PointSet(w, a - w[..., None] * self.rest_joints_m)

    def forward(self, local: np.ndarray, translation_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint rotations G (T, D, 3, 3) and positions p (T, D, 3) for local rotations (T, D, 3, 3) and root positions (T, 3)."""
        G = np.empty_like(local)
        p = np.empty(local.shape[:3], local.dtype)
        G[:, 0], p[:, 0] = local[:, 0], translation_m
        for d in range(1, len(self.names)):
            up = self.parents[d]
            G[:, d] = G[:, up] @ local[:, d]
            p[:, d] = p[:, up] + G[:, up] @ (self.rest_joints_m[d] - self.rest_joints_m[up])
        return G, p

    def parent_rotations(self, G: np.ndarray) -> np.ndarray:
        """G of each joint's parent (T, D, 3, 3); the identity for the root."""
        up = G[:, self.parents]
        up[:, 0] = np.eye(3)
        return up

    def points(self, G: np.ndarray, p: np.ndarray, points: PointSet) -> np.ndarray:
        """Positions (T, K, 3) of ``points``."""
        T, D = G.shape[:2]
        reach = points.reach_m.transpose(1, 2, 0).reshape(D * 3, -1)
        rotated = G.transpose(0, 2, 1, 3).reshape(T * 3, D * 3) @ reach
        return rotated.reshape(T, 3, -1).transpose(0, 2, 1) + np.matmul(points.weights, p)

    def points_and_jacobian(self, G: np.ndarray, p: np.ndarray, points: PointSet) -> tuple[np.ndarray, np.ndarray]:
        """Positions (T, K, 3) and their derivatives (T, K, 3, 3 + 3 D) by root position and by a small turn of each joint.

        Turns are rotation vectors in camera axes, applied from the left: G_j <- exp(ω) G_j for joint j and all below it.
        """
        part = np.einsum("tdab,kdb->tkda", G, points.reach_m, optimize=True) + points.weights[None, :, :, None] * p[:, None]
        T, K, D = part.shape[:3]
        moved = np.matmul(self.below, part) - (points.weights @ self.below.T)[None, :, :, None] * p[:, None]
        jacobian = np.zeros((T, K, 3, 3 + 3 * D))
        jacobian[..., 0:3] = np.eye(3)
        turn = jacobian[..., 3:].reshape(T, K, 3, D, 3)
        x, y, z = moved[..., 0], moved[..., 1], moved[..., 2]
        # d(ω × m)/dω = −[m]×
        turn[..., 0, :, 1], turn[..., 0, :, 2] = z, -y
        turn[..., 1, :, 0], turn[..., 1, :, 2] = -z, x
        turn[..., 2, :, 0], turn[..., 2, :, 1] = y, -x
        jacobian[..., 3:] = turn.reshape(T, K, 3, 3 * D)
        return part.sum(2), jacobian

    def turned(self, local: np.ndarray, G: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Local rotations after small turns (T, D, 3) of the joints in camera axes."""
        up = self.parent_rotations(G)
        in_parent = np.einsum("tdba,tdb->tda", up, turns)
        return rotvec_to_matrix(in_parent) @ local

    def to_rig(self, local: np.ndarray) -> np.ndarray:
        """Local rotations (T, J, 3, 3) of all the rig's joints; those not driven stay at rest."""
        full = np.broadcast_to(np.eye(3), (len(local), len(self.driver), 3, 3)).copy()
        full[:, self.rig_joint] = local
        return full
