"""A chain moves points as its rig does, and its derivatives equal finite differences."""

import numpy as np
import pytest

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.geometry.rotations import rotvec_to_matrix
from body4d.models.anny_fit.joint_limits import DRIVEN_JOINTS
from body4d.models.anny_fit.kinematic_chain import KinematicChain

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def posed():
    rig = anny_body().rig(DEFAULT_SHAPE)
    chain = KinematicChain.from_rig(rig, DRIVEN_JOINTS)
    rng = np.random.default_rng(0)
    local = rotvec_to_matrix(rng.normal(size=(4, len(DRIVEN_JOINTS), 3)) * 0.4)
    return rig, chain, local, rng.normal(size=(4, 3))


def test_keypoints_equal_the_rigs(posed):
    rig, chain, local, translation = posed
    G, p = chain.forward(local, translation)
    whole = rig.keypoints(*rig.forward(chain.to_rig(local), translation))
    assert np.allclose(chain.points(G, p, chain.keypoints(rig)), whole, atol=1e-9)


def test_surface_points_equal_the_rigs_vertices(posed):
    rig, chain, local, translation = posed
    G, p = chain.forward(local, translation)
    some = np.arange(0, len(rig.rest_vertices_m), 97)
    whole = rig.vertices(*rig.forward(chain.to_rig(local), translation))[:, some]
    assert np.allclose(chain.points(G, p, chain.surface(rig, some)), whole, atol=1e-5)


def test_jacobian_is_the_derivative(posed):
    rig, chain, local, translation = posed
    points = chain.keypoints(rig)
    G, p = chain.forward(local, translation)
    x, J = chain.points_and_jacobian(G, p, points)
    rng = np.random.default_rng(1)
    for _ in range(5):
        step = rng.normal(size=(4, J.shape[-1]))
        moved = chain.rotated(local, G, 1e-6 * step[:, 3:].reshape(4, -1, 3))
        there = chain.points(*chain.forward(moved, translation + 1e-6 * step[:, :3]), points)
        assert np.allclose((there - x) / 1e-6, np.einsum("tkap,tp->tka", J, step), atol=1e-4)
