"""On synthetic motions of five joints: a trunk with two arms, which swing in turn as in a walk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.geometry.rotations import geodesic_angle, rotvec_to_matrix
from body4d.motion.gaps import BodyChannels, TrackGap, fill_from_repeats, find_gaps, find_reference, mirror_rotations, mirrored_joints
from body4d.motion.smoother import smooth_rotations

PARENTS = np.array([-1, 0, 1, 0, 3])
REST_M = np.array([[0, 1, 0], [0.2, 1.5, 0], [0.5, 1.5, 0], [-0.2, 1.5, 0], [-0.5, 1.5, 0]])
MIRROR = np.array([0, 3, 4, 1, 2])
IS_ROOT = np.arange(5) == 0
DEFAULT = MotionSettings()
RATE = 60
TIMES = np.arange(5 * RATE) / RATE


def bones(parents, rest_m):
    """A rig of which only the bones count."""
    one = np.ones((1, 1))
    names = tuple(str(j) for j in range(len(parents)))
    return Rig(names, parents, rest_m, rest_m, np.zeros((1, 3), int), one, one, "coco17", one, one)


def stride(phase, facing_rad=0.0):
    """Rotations (T, 5, 3, 3) of arms that swing in turn, bending at the elbow as they come forwards; ``phase`` (T,) in strides."""
    turns = np.zeros((len(phase), 5, 3))
    for first, sign in ((1, 1.0), (3, -1.0)):
        swing = sign * np.sin(2 * np.pi * phase)
        turns[:, first] = np.stack([0.7 * swing, 0 * swing, sign * (0.2 + 0.1 * swing)], -1)
        turns[:, first + 1, 0] = 0.4 * (1 + swing) ** 2 / 4
    turns[:, 0, 2] = 0.05 * np.sin(2 * np.pi * phase)
    rotations = rotvec_to_matrix(turns)
    rotations[:, 0] = rotvec_to_matrix(np.array([0.0, facing_rad, 0.0])) @ rotations[:, 0]
    return rotations


def observed_except(*gaps, rows=300):
    observed = np.ones(rows, bool)
    for gap in gaps:
        observed[gap] = False
    return observed


WITHOUT_MIRROR = BodyChannels(IS_ROOT, None)


def smoothed(truth, observed, channels=WITHOUT_MIRROR, sigma_rad=0.01, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma_rad, (*truth.shape[:2], 3))
    variances = np.where(observed[:, None], sigma_rad**2, np.inf) * np.ones(truth.shape[1])
    return smooth_rotations(TIMES[: len(truth)], truth @ rotvec_to_matrix(noise), variances, DEFAULT, channels)


def off_rad(got, truth, rows):
    return float(np.sqrt(np.mean(geodesic_angle(got, truth)[rows] ** 2)))


@pytest.mark.parametrize(
    ("observed", "gaps"),
    [
        ("111", []),
        ("", []),
        ("101", [TrackGap(1, 2)]),
        ("0011", []),
        ("1100", []),
        ("0110010110", [TrackGap(3, 5), TrackGap(6, 7)]),
    ],
)
def test_gaps_lie_between_rows_that_were_observed(observed, gaps):
    assert find_gaps(np.array([letter == "1" for letter in observed], bool)) == gaps


def test_a_second_stride_that_was_not_observed_is_filled_from_the_others():
    gap = slice(150, 200)
    truth, observed = stride(1.0 * TIMES), observed_except(gap)
    without = off_rad(smoothed(truth, observed, None)[0], truth, gap)
    got = off_rad(smoothed(truth, observed)[0], truth, gap)
    assert without > 0.1
    assert got < 0.02
    assert off_rad(smoothed(truth, observed)[0], truth, slice(0, 140)) < 0.01


def test_one_side_does_what_the_other_did():
    """One stride and a half, the second half of the first not observed: nothing like it was, but its mirror image was."""
    rows, gap = 96, slice(40, 64)
    truth, observed = stride(TIMES[:rows]), observed_except(gap, rows=rows)
    assert np.allclose(mirror_rotations(truth, MIRROR), stride(TIMES[:rows] + 0.5))
    without = off_rad(smoothed(truth, observed)[0], truth, gap)
    got = off_rad(smoothed(truth, observed, BodyChannels(IS_ROOT, MIRROR))[0], truth, gap)
    assert without > 2 * got
    assert got < 0.02


def test_tempo_and_heading_may_differ():
    gap = slice(220, 250)
    phase = np.where(TIMES < 2.5, TIMES, 2.5 + 1.1 * (TIMES - 2.5))
    turned = np.where(TIMES < 2.5, 0.0, 1.5)
    truth = np.stack([stride(np.array([p]), f)[0] for p, f in zip(phase, turned, strict=True)])
    got, variances = fill_from_repeats(TIMES, truth, observed_except(gap), WITHOUT_MIRROR)
    assert np.isfinite(variances[gap]).all()
    assert off_rad(got, truth, gap) < 0.03


def test_a_motion_without_any_repeat_is_left_to_the_smoother():
    """One gesture, made once: bridged by the path of minimum jerk."""
    turns = np.zeros((len(TIMES), 5, 3))
    turns[:, 1, 0] = 1.5 / (1 + np.exp(-(TIMES - 2.5) / 0.1))
    truth, observed = rotvec_to_matrix(turns), observed_except(slice(140, 160))
    assert not np.isfinite(fill_from_repeats(TIMES, truth, observed, WITHOUT_MIRROR)[1]).any()
    assert np.array_equal(smoothed(truth, observed)[0], smoothed(truth, observed, None)[0])


def test_the_better_a_motion_repeats_the_smaller_is_its_variance():
    gap = slice(150, 180)
    observed = observed_except(gap)
    rng = np.random.default_rng(0)
    variances = []
    for wobble in (0.0, 0.02, 0.06):
        slow = np.cumsum(rng.normal(0, wobble / 8, (len(TIMES), 5, 3)), 0)
        truth = stride(TIMES) @ rotvec_to_matrix(slow)
        variances.append(fill_from_repeats(TIMES, truth, observed, WITHOUT_MIRROR, max_dissimilarity=1.0)[1][gap].mean())
    assert variances[0] < variances[1] < variances[2]


def test_short_gaps_stillness_and_a_root_alone_are_not_filled():
    truth = stride(TIMES)
    still = np.broadcast_to(truth[10], truth.shape)
    assert not np.isfinite(fill_from_repeats(TIMES, truth, observed_except(slice(150, 156)), WITHOUT_MIRROR)[1]).any()
    assert not np.isfinite(fill_from_repeats(TIMES, still, observed_except(slice(150, 190)), WITHOUT_MIRROR)[1]).any()
    assert not np.isfinite(fill_from_repeats(TIMES, truth, observed_except(slice(150, 190)), BodyChannels(np.ones(5, bool), None))[1]).any()


@given(st.integers(0, 10_000))
def test_a_reference_is_observed_throughout(seed):
    rng = np.random.default_rng(seed)
    observed = rng.random(80) > 0.1
    observed[[0, -1]] = True
    rotations = rotvec_to_matrix(rng.normal(0, 0.3, (80, 5, 3)))
    for gap in find_gaps(observed):
        reference = find_reference(rotations, rotations, observed, gap, 2)
        if reference is not None:
            assert observed[reference.before : reference.after + 1].all()
            assert reference.dissimilarity >= -1e-12


def test_filling_is_symmetric_in_time():
    gap = slice(150, 190)
    observed, truth = observed_except(gap), stride(TIMES + 0.02 * np.sin(3 * TIMES))
    forwards, variances = fill_from_repeats(TIMES, truth, observed, WITHOUT_MIRROR)
    backwards, backwards_variances = fill_from_repeats(TIMES, truth[::-1], observed[::-1], WITHOUT_MIRROR)
    assert np.allclose(backwards[::-1][gap], forwards[gap], atol=1e-9)
    assert np.allclose(backwards_variances[::-1][gap], variances[gap])


def test_sides_are_found_in_any_rest_pose_and_only_where_there_are_some():
    assert mirrored_joints(bones(PARENTS, REST_M)).tolist() == MIRROR.tolist()
    lopsided = REST_M + np.where(np.arange(5)[:, None] == 4, [0.0, 0.2, 0.0], 0.0)
    assert mirrored_joints(bones(PARENTS, lopsided)) is None
    assert mirrored_joints(bones(PARENTS[:4], REST_M[:4])) is None
    # Both arms begin in one point: what hangs from it tells them apart.
    together = REST_M.copy()
    together[[1, 3]] = [0, 1.5, 0]
    assert mirrored_joints(bones(PARENTS, together)).tolist() == MIRROR.tolist()


def test_a_mirrored_pose_is_the_pose_in_a_mirror():
    rig = bones(PARENTS, REST_M)
    rotations = rotvec_to_matrix(np.random.default_rng(0).normal(0, 0.5, (4, 5, 3)))
    _, places = rig.forward(rotations, np.zeros((4, 3)))
    _, flipped = rig.forward(mirror_rotations(rotations, MIRROR), np.zeros((4, 3)))
    assert np.allclose(flipped[:, MIRROR], places * [-1, 1, 1], atol=1e-9)
