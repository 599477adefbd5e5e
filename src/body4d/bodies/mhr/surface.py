"""A surface that is known at one moment and not how it moves: results of others, stored as vertices. It can be seen and exported."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from body4d.core.errors import InputError
from body4d.core.joints import JOINT_SETS
from body4d.core.rig import Rig


class SurfaceBody:
    """A rigid body of one joint with the triangles of ``mesh_path``.

    ``shape`` ((V + K) 3,) is the surface itself: V vertices and the K keypoints of ``joint_set``, metres, rest axes, one after the other.
    """

    def __init__(self, mesh_path: Path, joint_set: str = "mhr70") -> None:
        import trimesh

        self.name = f"surface:{mesh_path}"
        self._joint_set = joint_set
        try:
            mesh = trimesh.load_mesh(mesh_path, process=False)
        except (OSError, ValueError, NotImplementedError) as error:
            raise InputError(
                f"The triangles of {mesh_path} cannot be read ({error}): give a mesh file such as mhr_template.ply."
            ) from error
        self.faces = np.asarray(mesh.faces, np.int32)
        self.vertex_count = len(mesh.vertices)

    def rig(self, shape: np.ndarray) -> Rig:
        keypoints = len(JOINT_SETS[self._joint_set])
        wanted = (self.vertex_count + keypoints) * 3
        if np.shape(shape) != (wanted,):
            raise ValueError(
                f"a surface of {self.vertex_count} vertices and {keypoints} keypoints has {wanted} numbers, found {np.shape(shape)}"
            )
        points = np.asarray(shape, np.float64).reshape(-1, 3)
        return Rig(
            joint_names=("root",),
            parents=np.array([-1]),
            rest_joints_m=np.zeros((1, 3)),
            rest_vertices_m=points[: self.vertex_count],
            faces=self.faces,
            skin_indices=np.zeros((self.vertex_count, 1), np.int32),
            skin_weights=np.ones((self.vertex_count, 1)),
            joint_set=self._joint_set,
            keypoint_weights=np.ones((keypoints, 1)),
            keypoint_anchors_m=points[self.vertex_count :, None],
        )


@lru_cache(maxsize=8)
def surface_body(mesh_path: str) -> SurfaceBody:
    """The surface with the triangles of ``mesh_path``, read once per process. Raises InputError."""
    return SurfaceBody(Path(mesh_path))
