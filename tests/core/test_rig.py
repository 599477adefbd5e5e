"""The compiled kernels against the plain formulas."""

import time

import numpy as np
import pytest

from body4d.core.rig import Rig, vertex_normals


def random_rig(vertices: int = 500, joints: int = 12, seed: int = 0) -> Rig:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1, (vertices, 4)) * (rng.uniform(0, 1, (vertices, 4)) > 0.3)
    weights[:, 0] += 0.1
    return Rig(
        joint_names=tuple(f"j{j}" for j in range(joints)),
        parents=np.array([-1, *(rng.integers(0, j) for j in range(1, joints))]),
        rest_joints_m=rng.normal(0, 1, (joints, 3)),
        rest_vertices_m=rng.normal(0, 1, (vertices, 3)),
        faces=rng.integers(0, vertices, (900, 3)).astype(np.int32),
        skin_indices=rng.integers(0, joints, (vertices, 4)).astype(np.int32),
        skin_weights=weights / weights.sum(1, keepdims=True),
        joint_set="body29",
        keypoint_weights=np.zeros((29, joints)),
        keypoint_anchors_m=np.zeros((29, joints, 3)),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vertices_follow_the_formula_of_the_conventions(dtype: type) -> None:
    rig, rng = random_rig(), np.random.default_rng(1)
    G, p = rig.forward(rng.normal(0, 1, (7, 12, 3)).astype(dtype), rng.normal(0, 3, (7, 3)).astype(dtype))
    local = rig.rest_vertices_m[:, None] - rig.rest_joints_m[rig.skin_indices]  # (V, 4, 3)
    moved = np.einsum("tvwab,vwb->tvwa", G[:, rig.skin_indices], local) + p[:, rig.skin_indices]
    plain = np.einsum("vw,tvwa->tva", rig.skin_weights, moved)
    vertices = rig.vertices(G, p)
    assert vertices.dtype == np.float32
    np.testing.assert_allclose(vertices, plain, atol=2e-5)


def test_a_turned_and_moved_rest_pose_is_the_rest_pose_turned_and_moved() -> None:
    rig = random_rig()
    rotations = np.zeros((1, 12, 3))
    rotations[0, 0] = [0, np.pi / 2, 0]
    G, p = rig.forward(rotations, np.array([[1.0, 2.0, 3.0]]))
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    expected = (rig.rest_vertices_m - rig.rest_joints_m[0]) @ turn.T + [1, 2, 3]
    np.testing.assert_allclose(rig.vertices(G, p)[0], expected, atol=2e-5)


def test_no_frames_give_no_vertices() -> None:
    rig = random_rig()
    assert rig.vertices(np.zeros((0, 12, 3, 3)), np.zeros((0, 12, 3))).shape == (0, 500, 3)


def test_normals_are_the_mean_of_face_normals_by_area() -> None:
    rng = np.random.default_rng(2)
    vertices, faces = rng.normal(0, 1, (60, 3)), rng.integers(0, 50, (80, 3)).astype(np.int32)
    corners = vertices[faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    plain = np.zeros((60, 3))
    for corner in range(3):
        np.add.at(plain, faces[:, corner], crosses)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    expected = np.divide(plain, lengths, out=np.zeros_like(plain), where=lengths > 0)
    normals = vertex_normals(vertices, faces)
    np.testing.assert_allclose(normals, expected, atol=1e-3)
    assert np.all(normals[50:] == 0)  # Vertices 50 to 59 belong to no face.


def test_normals_of_a_ball_point_outwards() -> None:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3)
    normals = vertex_normals(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert np.min(np.sum(normals * ball.vertices, axis=1)) > 0.999


def test_skinning_is_fast() -> None:
    rig = random_rig(vertices=13_718, joints=104)
    G, p = rig.forward(np.random.default_rng(3).normal(0, 0.3, (20, 104, 3)), np.zeros((20, 3)))
    rig.vertices(G, p)

    def seconds() -> float:
        start = time.perf_counter()
        rig.vertices(G, p)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) / len(G) < 1.5e-3
