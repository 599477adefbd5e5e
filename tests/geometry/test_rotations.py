import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from body4d.geometry.rotations import (
    geodesic_angle,
    matrix_to_quat,
    matrix_to_rotvec,
    quat_to_rotvec,
    rotation_between,
    rotvec_to_matrix,
    skew,
)

vectors = arrays(np.float64, 3, elements=st.floats(-1, 1)).filter(lambda v: np.linalg.norm(v) > 1e-3)
angles = st.one_of(st.floats(0, np.pi), st.floats(0, 1e-6), st.floats(np.pi - 1e-6, np.pi), st.just(np.pi))


@st.composite
def rotvecs(draw):
    axis = draw(vectors)
    return axis / np.linalg.norm(axis) * draw(angles)


@given(rotvecs())
def test_rotvec_to_matrix_is_scipys(v):
    np.testing.assert_allclose(rotvec_to_matrix(v), Rotation.from_rotvec(v).as_matrix(), atol=1e-12)


@given(rotvecs())
def test_matrix_to_quat_is_scipys_up_to_sign(v):
    m = Rotation.from_rotvec(v).as_matrix()
    q = matrix_to_quat(m)
    x, y, z, w = Rotation.from_matrix(m).as_quat()
    assert q[0] >= 0
    assert abs(np.dot(q, [w, x, y, z])) == pytest.approx(1, abs=1e-12)


@given(rotvecs())
def test_rotvec_comes_back_as_the_same_rotation(v):
    again = matrix_to_rotvec(rotvec_to_matrix(v))
    assert np.linalg.norm(again) <= np.pi + 1e-9
    np.testing.assert_allclose(rotvec_to_matrix(again), rotvec_to_matrix(v), atol=1e-8)


@given(rotvecs().filter(lambda v: np.linalg.norm(v) < np.pi - 1e-3))
def test_rotvec_comes_back_as_the_same_vector(v):
    np.testing.assert_allclose(matrix_to_rotvec(rotvec_to_matrix(v)), v, atol=1e-8)


@given(rotvecs())
def test_both_signs_of_a_quaternion_are_one_rotation(v):
    q = matrix_to_quat(rotvec_to_matrix(v))
    np.testing.assert_allclose(rotvec_to_matrix(quat_to_rotvec(-q)), rotvec_to_matrix(quat_to_rotvec(q)), atol=1e-8)


@given(rotvecs(), rotvecs())
def test_geodesic_angle_is_scipys(a, b):
    wanted = (Rotation.from_rotvec(a).inv() * Rotation.from_rotvec(b)).magnitude()
    assert geodesic_angle(rotvec_to_matrix(a), rotvec_to_matrix(b)) == pytest.approx(wanted, abs=1e-6)


@given(vectors, vectors)
def test_rotation_between_turns_one_direction_into_the_other_the_shortest_way(a, b):
    R = rotation_between(a, b)
    ua, ub = a / np.linalg.norm(a), b / np.linalg.norm(b)
    np.testing.assert_allclose(R @ ua, ub, atol=1e-6)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
    assert geodesic_angle(np.eye(3), R) == pytest.approx(np.arctan2(np.linalg.norm(np.cross(ua, ub)), ua @ ub), abs=1e-6)


@given(vectors)
def test_rotation_between_opposites_is_a_half_turn(a):
    R = rotation_between(a, -a)
    np.testing.assert_allclose(R @ a, -a, atol=1e-9)
    assert np.linalg.det(R) == pytest.approx(1)


@given(vectors, vectors)
def test_skew_is_the_cross_product(a, b):
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-12)


def test_any_leading_shape_and_float32_are_kept():
    v = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    m = rotvec_to_matrix(v)
    assert m.shape == (2, 5, 3, 3)
    assert m.dtype == np.float32
    assert matrix_to_rotvec(m).shape == (2, 5, 3)
