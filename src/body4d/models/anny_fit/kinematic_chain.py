"""The few joints that a fit moves, with analytic derivatives. Pure numpy.

A rig has a hundred joints, of which pictures determine about two dozen. A ``KinematicChain`` keeps those and attaches every other
joint rigidly to its nearest driven ancestor, so that points cost little and their derivatives have a closed form (the geometric Jacobian
of robotics: a small rotation ``ω`` of joint ``j`` moves a point ``x`` below it by ``ω × (x − p_j)``).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from body4d.core.rig import Rig
from body4d.geometry.rotations import rotvec_to_matrix


@dataclass(frozen=True)
class PointSet:
    """Points skinned to a chain: point_k = sum_d G_d offset_kd + w_kd p_d.

    ``weights`` of the joints sum to 1 for each point, or to 0 for directions.
    """

    weights: Float[np.ndarray, "k joints"]
    offsets_m: Float[np.ndarray, "k joints 3"]

    def subset(self, index: Int[np.ndarray, " n"]) -> "PointSet":
        """The points with these indices."""
        return PointSet(self.weights[index], self.offsets_m[index])


@dataclass(frozen=True)
class KinematicChain:
    """The driven joints of a rig, parents first.

    Attributes:
        names: Of the driven joints; the first is the root.
        parents: Index of each driven joint's parent in the chain, −1 for the root.
        rest_joints_m: Rest positions of the driven joints.
        rig_joints: Index of each driven joint in the rig.
        driver: For each joint of the rig, the driven joint that moves it.
    """

    names: tuple[str, ...]
    parents: Int[np.ndarray, " joints"]
    rest_joints_m: Float[np.ndarray, "joints 3"]
    rig_joints: Int[np.ndarray, " joints"]
    driver: Int[np.ndarray, " rig_joints"]

    @staticmethod
    def from_rig(rig: Rig, names: tuple[str, ...]) -> "KinematicChain":
        """The chain of ``rig``'s joints ``names``; the first must be the root."""
        rig_joints = np.array([rig.joint_names.index(n) for n in names])
        slot = {int(j): d for d, j in enumerate(rig_joints)}
        driver = np.empty(len(rig.parents), np.int64)
        for j, parent in enumerate(rig.parents):
            driver[j] = slot[j] if j in slot else driver[parent]
        parents = np.array([driver[rig.parents[j]] if rig.parents[j] >= 0 else -1 for j in rig_joints])
        return KinematicChain(names, parents, rig.rest_joints_m[rig_joints], rig_joints, driver)

    @cached_property
    def descendants(self) -> Float[np.ndarray, "joints joints"]:
        """``descendants[j, b]`` is 1.0 where joint ``b`` is joint ``j`` or hangs below it, else 0."""
        descendants = np.eye(len(self.names))
        for d in range(len(self.names) - 1, 0, -1):
            descendants[self.parents[d]] += descendants[d]
        return descendants

    def keypoints(self, rig: Rig) -> PointSet:
        """The rig's named keypoints on this chain."""
        return self._collect(rig.keypoint_weights, rig.keypoint_anchors_m)

    def surface(self, rig: Rig, vertices: Int[np.ndarray, " k"]) -> PointSet:
        """The rig's vertices with indices ``vertices`` on this chain."""
        weights = np.zeros((len(vertices), len(rig.parents)))
        np.put_along_axis(weights, rig.skin_indices[vertices].astype(np.int64), rig.skin_weights[vertices], axis=1)
        return self._collect(weights, weights[..., None] * rig.rest_vertices_m[vertices][:, None])

    def _collect(self, weights: np.ndarray, anchors: np.ndarray) -> PointSet:
        onto = np.zeros((len(self.driver), len(self.names)))
        onto[np.arange(len(self.driver)), self.driver] = 1.0
        w = weights @ onto
        a = np.einsum("kja,jd->kda", anchors, onto)
        return PointSet(w, a - w[..., None] * self.rest_joints_m)

    def forward(
        self, local: Float[np.ndarray, "t joints 3 3"], translation_m: Float[np.ndarray, "t 3"]
    ) -> tuple[Float[np.ndarray, "t joints 3 3"], Float[np.ndarray, "t joints 3"]]:
        """Rotations G and positions p of the joints in camera axes, for local rotations and root positions."""
        G = np.empty_like(local)
        p = np.empty(local.shape[:3], local.dtype)
        G[:, 0], p[:, 0] = local[:, 0], translation_m
        for d in range(1, len(self.names)):
            up = self.parents[d]
            G[:, d] = G[:, up] @ local[:, d]
            p[:, d] = p[:, up] + G[:, up] @ (self.rest_joints_m[d] - self.rest_joints_m[up])
        return G, p

    def parent_rotations(self, G: Float[np.ndarray, "t joints 3 3"]) -> Float[np.ndarray, "t joints 3 3"]:
        """G of each joint's parent; the identity for the root."""
        up = G[:, self.parents]
        up[:, 0] = np.eye(3)
        return up

    def points(
        self, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"], points: PointSet
    ) -> Float[np.ndarray, "t k 3"]:
        """Positions of ``points``."""
        T, D = G.shape[:2]
        offsets = points.offsets_m.transpose(1, 2, 0).reshape(D * 3, -1)
        rotated = G.transpose(0, 2, 1, 3).reshape(T * 3, D * 3) @ offsets
        return rotated.reshape(T, 3, -1).transpose(0, 2, 1) + np.matmul(points.weights, p)

    def points_and_jacobian(
        self, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"], points: PointSet
    ) -> tuple[Float[np.ndarray, "t k 3"], Float[np.ndarray, "t k 3 parameters"]]:
        """Positions and their derivatives by the root's position and by a small rotation of each joint, 3 + 3 per joint.

        Rotations are rotation vectors in camera axes, applied from the left: G_j <- exp(ω) G_j for joint j and all below it.
        """
        part = np.einsum("tdab,kdb->tkda", G, points.offsets_m, optimize=True) + points.weights[None, :, :, None] * p[:, None]
        T, K, D = part.shape[:3]
        moved = np.matmul(self.descendants, part) - (points.weights @ self.descendants.T)[None, :, :, None] * p[:, None]
        jacobian = np.zeros((T, K, 3, 3 + 3 * D))
        jacobian[..., 0:3] = np.eye(3)
        rotation = jacobian[..., 3:].reshape(T, K, 3, D, 3)
        x, y, z = moved[..., 0], moved[..., 1], moved[..., 2]
        # d(ω × m)/dω = −[m]×
        rotation[..., 0, :, 1], rotation[..., 0, :, 2] = z, -y
        rotation[..., 1, :, 0], rotation[..., 1, :, 2] = -z, x
        rotation[..., 2, :, 0], rotation[..., 2, :, 1] = y, -x
        jacobian[..., 3:] = rotation.reshape(T, K, 3, 3 * D)
        return part.sum(2), jacobian

    def rotated(
        self, local: Float[np.ndarray, "t joints 3 3"], G: Float[np.ndarray, "t joints 3 3"], rotvecs: Float[np.ndarray, "t joints 3"]
    ) -> Float[np.ndarray, "t joints 3 3"]:
        """Local rotations after small rotations ``rotvecs`` of the joints in camera axes."""
        up = self.parent_rotations(G)
        in_parent = np.einsum("tdba,tdb->tda", up, rotvecs)
        return rotvec_to_matrix(in_parent) @ local

    def to_rig(self, local: Float[np.ndarray, "t joints 3 3"]) -> Float[np.ndarray, "t rig_joints 3 3"]:
        """Local rotations of all the rig's joints; those that are not driven stay at rest."""
        full = np.broadcast_to(np.eye(3), (len(local), len(self.driver), 3, 3)).copy()
        full[:, self.rig_joints] = local
        return full
