"""The rig: a skinned body of one shape, how it is posed, and the surface that its pose gives. numpy alone, but for two compiled loops."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from body4d.core.compiled import compiled


@dataclass(frozen=True)
class Rig:
    """A skinned body of one shape in its rest pose. Rest axes and formulas: docs/conventions.md, "Bodies"."""

    joint_names: tuple[str, ...]
    parents: Int[np.ndarray, " joints"]
    """Parent of each joint, -1 at the root, which is joint 0. A parent comes before its children."""
    rest_joints_m: Float[np.ndarray, "joints 3"]
    rest_vertices_m: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    """Triangles, counter-clockwise seen from outside."""
    skin_indices: Int[np.ndarray, "vertices influences"]
    skin_weights: Float[np.ndarray, "vertices influences"]
    """Rows sum to 1."""
    joint_set: str
    """The named joint set of the keypoints, a key of ``body4d.core.joints.JOINT_SETS``."""
    keypoint_weights: Float[np.ndarray, "keypoints joints"]
    keypoint_anchors_m: Float[np.ndarray, "keypoints joints 3"]
    """A keypoint is a blend of skinned vertices, folded per joint: keypoint k = sum_j G_j (anchor_kj - w_kj rest_j) + w_kj p_j."""

    @cached_property
    def height_m(self) -> float:
        """Standing height of the rest pose, crown to sole."""
        return float(np.ptp(self.rest_vertices_m[:, 1]))

    def scaled(self, factor: float) -> "Rig":
        """The same body, ``factor`` times as large."""
        lengths = ("rest_joints_m", "rest_vertices_m", "keypoint_anchors_m")
        return replace(self, **{name: getattr(self, name) * factor for name in lengths})

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """Joint indices by depth below the root, so that the parents of a level are in earlier levels."""
        depth = np.zeros(len(self.parents), np.int64)
        for j, parent in enumerate(self.parents):
            depth[j] = depth[parent] + 1 if parent >= 0 else 0
        return [np.flatnonzero(depth == d) for d in range(depth.max() + 1)]

    def forward(
        self, rotations: Float[np.ndarray, "t joints 3"] | Float[np.ndarray, "t joints 3 3"], translation_m: Float[np.ndarray, "t 3"]
    ) -> tuple[Float[np.ndarray, "t joints 3 3"], Float[np.ndarray, "t joints 3"]]:
        """Forward kinematics: the joints' rotations ``G`` from rest to camera axes, and their positions ``p`` in metres.

        ``rotations`` are local rotation vectors in radians, or matrices; ``translation_m`` is the root's position.
        """
        from body4d.geometry.rotations import rotvec_to_matrix

        local = rotations if rotations.ndim == 4 else rotvec_to_matrix(rotations)
        G = np.empty_like(local)
        p = np.empty((*local.shape[:2], 3), local.dtype)
        G[:, 0], p[:, 0] = local[:, 0], translation_m
        for level in self.levels[1:]:
            parents = self.parents[level]
            G[:, level] = G[:, parents] @ local[:, level]
            offset = (self.rest_joints_m[level] - self.rest_joints_m[parents]).astype(local.dtype)
            p[:, level] = p[:, parents] + np.einsum("tjab,jb->tja", G[:, parents], offset)
        return G, p

    def keypoints(self, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"]) -> Float[np.ndarray, "t keypoints 3"]:
        """Named keypoints of posed joints, in metres and camera axes."""
        offsets = self.keypoint_anchors_m - self.keypoint_weights[..., None] * self.rest_joints_m
        T, J = G.shape[:2]
        rotated = G.transpose(0, 2, 1, 3).reshape(T * 3, J * 3) @ offsets.reshape(-1, J * 3).T
        return rotated.reshape(T, 3, -1).swapaxes(1, 2) + self.keypoint_weights @ p

    def vertices(self, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"]) -> Float[np.ndarray, "t vertices 3"]:
        """Vertices of posed joints by linear blend skinning, float32, in metres and camera axes. Pass long clips in chunks."""
        rest, indices, weights = self._skin_arrays
        transforms = np.empty((*G.shape[:2], 3, 4), np.float32)
        transforms[..., :3] = G
        transforms[..., 3] = p - np.einsum("tjab,jb->tja", G, self.rest_joints_m)
        out = np.empty((len(G), len(rest), 3), np.float32)
        _compiled_once(_skin)(transforms.reshape(*G.shape[:2], 12), rest, indices, weights, out)
        return out

    @cached_property
    def _skin_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rest vertices, skin indices and weights in the types that the compiled loop takes."""
        return (
            np.ascontiguousarray(self.rest_vertices_m, np.float32),
            np.ascontiguousarray(self.skin_indices, np.int32),
            np.ascontiguousarray(self.skin_weights, np.float32),
        )


class BodyModel(Protocol):
    """A parametric body: shape parameters in, a rig out."""

    name: str

    def rig(self, shape: Float[np.ndarray, " parameters"]) -> Rig:
        """The rig of one person, of as many shape parameters as the model documents."""
        ...


def vertex_normals(vertices_m: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals, float32, that point out of a surface whose ``faces`` are counter-clockwise seen from outside.

    Faces weigh by their area. A vertex of no face has the normal 0.
    """
    vertices = np.ascontiguousarray(vertices_m, np.float32)
    out = np.empty_like(vertices)
    _compiled_once(_add_face_normals)(vertices, np.ascontiguousarray(faces, np.int32), out)
    return out


@cache
def _compiled_once(function: Callable[..., Any]) -> Any:
    """``function`` compiled on first use: importing numba takes half a second, which a rig that is only read need not cost."""
    return compiled(function)


def _skin(transforms: np.ndarray, rest: np.ndarray, indices: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (T, V, 3) with skinned vertices: sum_w weights[v, w] (A rest[v] + b), with A, b of joint indices[v, w].

    ``transforms`` (T, J, 12): per joint the rows of (A | b), 3 x 4. ``rest`` (V, 3), ``indices`` (V, W) int32, ``weights`` (V, W).
    All float32 and contiguous.
    """
    for t in range(transforms.shape[0]):
        for v in range(rest.shape[0]):
            x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
            sum_x = np.float32(0)
            sum_y = np.float32(0)
            sum_z = np.float32(0)
            for k in range(indices.shape[1]):
                w = weights[v, k]
                if w == 0:
                    continue
                a = transforms[t, indices[v, k]]
                sum_x += w * (a[0] * x + a[1] * y + a[2] * z + a[3])
                sum_y += w * (a[4] * x + a[5] * y + a[6] * z + a[7])
                sum_z += w * (a[8] * x + a[9] * y + a[10] * z + a[11])
            out[t, v, 0] = sum_x
            out[t, v, 1] = sum_y
            out[t, v, 2] = sum_z


def _add_face_normals(vertices_m: np.ndarray, faces: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (V, 3) float32 with the normalised sum of the cross products of the faces around each vertex."""
    out[:] = 0
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices_m[j, 0] - vertices_m[i, 0], vertices_m[j, 1] - vertices_m[i, 1], vertices_m[j, 2] - vertices_m[i, 2]
        bx, by, bz = vertices_m[k, 0] - vertices_m[i, 0], vertices_m[k, 1] - vertices_m[i, 1], vertices_m[k, 2] - vertices_m[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            out[v, 0] /= length
            out[v, 1] /= length
            out[v, 2] /= length
