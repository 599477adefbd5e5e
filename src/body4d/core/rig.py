"""The rig: what every parametric body becomes for one shape, and how it moves. Pure numpy."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Rig:
    """A skinned body of one shape in rest pose. Rest axes and the formulas: docs/conventions.md, "Bodies".

    ``parents`` (J,) with -1 at the root (joint 0); a parent comes before its children. ``rest_joints_m`` (J, 3).
    ``rest_vertices_m`` (V, 3), ``faces`` (F, 3) wound counter-clockwise seen from outside. ``skin_indices``,
    ``skin_weights`` (V, W), rows summing to 1. ``keypoint_weights`` (K, J) and ``keypoint_anchors_m`` (K, J, 3): the named keypoints,
    a linear blend of skinned vertices folded per joint: keypoint = sum_j G_j (anchor_kj - w_kj rest_j) + w_kj p_j.
    """

    joint_names: tuple[str, ...]
    parents: np.ndarray
    rest_joints_m: np.ndarray
    rest_vertices_m: np.ndarray
    faces: np.ndarray
    skin_indices: np.ndarray
    skin_weights: np.ndarray
    joint_set: str
    keypoint_weights: np.ndarray
    keypoint_anchors_m: np.ndarray

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
        """Joint indices by depth below the root, so that a level's parents lie in earlier levels."""
        depth = np.zeros(len(self.parents), np.int64)
        for j, parent in enumerate(self.parents):
            depth[j] = depth[parent] + 1 if parent >= 0 else 0
        return [np.flatnonzero(depth == d) for d in range(depth.max() + 1)]

    def forward(self, rotations: np.ndarray, translation_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posed joints: rotations ``G`` (T, J, 3, 3) from rest to camera axes and positions (T, J, 3), metres.

        ``rotations`` (T, J, 3) local rotation vectors or (T, J, 3, 3) matrices; ``translation_m`` (T, 3) of the root.
        """
        from body4d.geometry.rotations import rotvec_to_matrix

        local = rotations if rotations.ndim == 4 else rotvec_to_matrix(rotations)
        G = np.empty_like(local)
        p = np.empty((*local.shape[:2], 3), local.dtype)
        G[:, 0], p[:, 0] = local[:, 0], translation_m
        for level in self.levels[1:]:
            up = self.parents[level]
            G[:, level] = G[:, up] @ local[:, level]
            offset = (self.rest_joints_m[level] - self.rest_joints_m[up]).astype(local.dtype)
            p[:, level] = p[:, up] + np.einsum("tjab,jb->tja", G[:, up], offset)
        return G, p

    def keypoints(self, G: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Named keypoints (T, K, 3) of posed joints, metres, camera axes."""
        reach = self.keypoint_anchors_m - self.keypoint_weights[..., None] * self.rest_joints_m
        return np.einsum("tjab,kjb->tka", G, reach) + np.einsum("kj,tja->tka", self.keypoint_weights, p)

    def vertices(self, G: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Skinned vertices (T, V, 3) float32, metres, camera axes (linear blend skinning). Feed long clips in chunks."""
        from body4d.core.skinning import skin

        rest, indices, weights = self._skin_arrays
        transforms = np.empty((*G.shape[:2], 3, 4), np.float32)
        transforms[..., :3] = G
        transforms[..., 3] = p - np.einsum("tjab,jb->tja", G, self.rest_joints_m)
        out = np.empty((len(G), len(rest), 3), np.float32)
        skin(transforms.reshape(*G.shape[:2], 12), rest, indices, weights, out)
        return out

    @cached_property
    def _skin_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rest vertices, skin indices and weights as the compiled kernel takes them."""
        return (
            np.ascontiguousarray(self.rest_vertices_m, np.float32),
            np.ascontiguousarray(self.skin_indices, np.int32),
            np.ascontiguousarray(self.skin_weights, np.float32),
        )


class BodyModel(Protocol):
    """A parametric body: shape parameters in, a rig out."""

    name: str

    def rig(self, shape: np.ndarray) -> Rig:
        """The rig of one person; ``shape`` (S,) as the model documents."""
        ...
