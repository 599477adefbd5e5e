"""The few joints that a fit moves, with analytic derivatives.

A rig has a hundred joints, of which pictures determine about two dozen. A ``KinematicChain`` keeps those and attaches every other
joint rigidly to its nearest driven ancestor, so that points cost little and their derivatives have a closed form (the geometric Jacobian
of robotics: a small rotation ``ω`` of joint ``j`` moves a point ``x`` below it by ``ω × (x − p_j)``).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from body4d.core.compiled import compiled
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
        index = np.tile(np.arange(len(points.weights)), (len(G), 1))
        x, levers = self.points_and_levers(G, p, points, index)
        jacobian = np.zeros((*x.shape, 3 + 3 * len(self.names)))
        _fill_jacobian(levers, jacobian)
        return x, jacobian

    def points_and_levers(
        self, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"], points: PointSet, index: Int[np.ndarray, "t m"]
    ) -> tuple[Float[np.ndarray, "t m 3"], Float[np.ndarray, "t m joints 3"]]:
        """Positions of the points of ``index``, others in each frame, and their levers: a small rotation ``ω`` of joint ``j`` moves
        a point by ``ω × lever_j``."""
        T, M = index.shape
        x, levers = np.empty((T, M, 3)), np.empty((T, M, len(self.names), 3))
        pose = np.ascontiguousarray(G), np.ascontiguousarray(p)
        _fill_points_and_levers(*pose, self.parents, points.weights, points.offsets_m, np.ascontiguousarray(index), x, levers)
        return x, levers

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


def slopes_along(gradient: Float[np.ndarray, "t m 3"], levers: Float[np.ndarray, "t m joints 3"]) -> Float[np.ndarray, "t m parameters"]:
    """Derivatives, by the parameters of a pose, of functions of points with these ``gradient``s and ``levers``."""
    out = np.empty((*levers.shape[:2], 3 + 3 * levers.shape[2]))
    _fill_slopes(gradient, levers, out)
    return out


@compiled
def _fill_points_and_levers(
    G: np.ndarray,
    p: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray,
    offsets_m: np.ndarray,
    index: np.ndarray,
    x: np.ndarray,
    levers: np.ndarray,
) -> None:
    """Fill ``x`` (T, M, 3) and ``levers`` (T, M, D, 3), as ``KinematicChain.points_and_levers``."""
    T, M = index.shape
    D = parents.shape[0]
    share = np.empty(D)
    for t in range(T):
        for m in range(M):
            k = index[t, m]
            for d in range(D):
                w, u, v, z = weights[k, d], offsets_m[k, d, 0], offsets_m[k, d, 1], offsets_m[k, d, 2]
                share[d] = w
                for a in range(3):
                    levers[t, m, d, a] = 0.0
                    if w != 0 or u != 0 or v != 0 or z != 0:
                        levers[t, m, d, a] = G[t, d, a, 0] * u + G[t, d, a, 1] * v + G[t, d, a, 2] * z + w * p[t, d, a]
            # A joint moves all that hangs below it: children are added to their parents, which come before them.
            for d in range(D - 1, 0, -1):
                share[parents[d]] += share[d]
                for a in range(3):
                    levers[t, m, parents[d], a] += levers[t, m, d, a]
            for a in range(3):
                x[t, m, a] = levers[t, m, 0, a]
                for d in range(D):
                    levers[t, m, d, a] -= share[d] * p[t, d, a]


@compiled
def _fill_jacobian(levers: np.ndarray, jacobian: np.ndarray) -> None:
    """Fill ``jacobian`` (T, K, 3, 3 + 3 D), which holds zeros: d(ω × m)/dω = −[m]×."""
    T, K, D = levers.shape[0], levers.shape[1], levers.shape[2]
    for t in range(T):
        for k in range(K):
            for a in range(3):
                jacobian[t, k, a, a] = 1.0
            for d in range(D):
                x, y, z = levers[t, k, d, 0], levers[t, k, d, 1], levers[t, k, d, 2]
                first = 3 + 3 * d
                jacobian[t, k, 0, first + 1], jacobian[t, k, 0, first + 2] = z, -y
                jacobian[t, k, 1, first], jacobian[t, k, 1, first + 2] = -z, x
                jacobian[t, k, 2, first], jacobian[t, k, 2, first + 1] = y, -x


@compiled
def _fill_slopes(gradient: np.ndarray, levers: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (T, M, 3 + 3 D): the gradient, and for each joint lever × gradient, as g · (ω × m) = ω · (m × g)."""
    T, M, D = levers.shape[0], levers.shape[1], levers.shape[2]
    for t in range(T):
        for m in range(M):
            u, v, w = gradient[t, m, 0], gradient[t, m, 1], gradient[t, m, 2]
            out[t, m, 0], out[t, m, 1], out[t, m, 2] = u, v, w
            for d in range(D):
                x, y, z = levers[t, m, d, 0], levers[t, m, d, 1], levers[t, m, d, 2]
                first = 3 + 3 * d
                out[t, m, first] = y * w - z * v
                out[t, m, first + 1] = z * u - x * w
                out[t, m, first + 2] = x * v - y * u
