"""On made motions of five joints: a trunk with two arms, which walk-like motions swing in turn."""

import numpy as np
import pytest
from body4d.motion.repeats import BodyChannels, TrackGap, fill_from_repeats, find_gaps, find_reference, mirror_rotations, mirrored_joints
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.geometry.rotations import geodesic_angle, rotvec_to_matrix
from body4d.motion.smoother import smooth_rotations

PARENTS = np.array([-1, 0, 1, 0, 3])
REST_M = np.array([[0, 1, 0], [0.2, 1.5, 0], [0.5, 1.5, 0], [-0.2, 1.5, 0], [-0.5, 1.5, 0]])
OTHER = np.array([0, 3, 4, 1, 2])
FREE = np.arange(5) == 0
DEFAULT = MotionSettings()
OFF = MotionSettings(repeat_most_unlike=0)
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


def seen_without(*gaps, rows=300):
    seen = np.ones(rows, bool)
    for gap in gaps:
        seen[gap] = False
    return seen


def smoothed(truth, seen, settings, mirror=None, sigma_rad=0.01, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma_rad, (*truth.shape[:2], 3))
    variances = np.where(seen[:, None], sigma_rad**2, np.inf) * np.ones(truth.shape[1])
    return smooth_rotations(TIMES[: len(truth)], truth @ rotvec_to_matrix(noise), variances, settings, BodyChannels(FREE, mirror))


def off_rad(got, truth, rows):
    return float(np.sqrt(np.mean(geodesic_angle(got, truth)[rows] ** 2)))


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ("111", []),
        ("", []),
        ("101", [TrackGap(1, 2)]),
        ("0011", []),
        ("1100", []),
        ("0110010110", [TrackGap(3, 5), TrackGap(6, 7)]),
    ],
)
def test_absences_lie_between_rows_that_were_seen(seen, found):
    assert find_gaps(np.array([letter == "1" for letter in seen], bool)) == found


def test_a_second_without_sight_of_a_stride_is_the_stride():
    gap = slice(150, 200)
    truth, seen = stride(1.0 * TIMES), seen_without(gap)
    without = off_rad(smoothed(truth, seen, OFF)[0], truth, gap)
    got = off_rad(smoothed(truth, seen, DEFAULT)[0], truth, gap)
    assert without > 0.1
    assert got < 0.02
    assert off_rad(smoothed(truth, seen, DEFAULT)[0], truth, slice(0, 140)) < 0.01


def test_one_side_does_what_the_other_did():
    """One stride and a half, the second half of the first unseen: nothing like it was seen, but its mirror image was."""
    rows, gap = 96, slice(40, 64)
    truth, seen = stride(TIMES[:rows]), seen_without(gap, rows=rows)
    assert np.allclose(mirror_rotations(truth, OTHER), stride(TIMES[:rows] + 0.5))
    without = off_rad(smoothed(truth, seen, DEFAULT)[0], truth, gap)
    got = off_rad(smoothed(truth, seen, DEFAULT, mirror=OTHER)[0], truth, gap)
    assert without > 2 * got
    assert got < 0.02


def test_tempo_and_the_way_one_faces_may_differ():
    gap = slice(220, 250)
    phase = np.where(TIMES < 2.5, TIMES, 2.5 + 1.1 * (TIMES - 2.5))
    turned = np.where(TIMES < 2.5, 0.0, 1.5)
    truth = np.stack([stride(np.array([p]), f)[0] for p, f in zip(phase, turned, strict=True)])
    got, told = fill_from_repeats(TIMES, truth, seen_without(gap), BodyChannels(FREE, None), DEFAULT)
    assert np.isfinite(told[gap]).all()
    assert off_rad(got, truth, gap) < 0.03


def test_what_was_never_seen_is_left_to_the_smoother():
    """One gesture, made once: bridged as ever."""
    turns = np.zeros((len(TIMES), 5, 3))
    turns[:, 1, 0] = 1.5 / (1 + np.exp(-(TIMES - 2.5) / 0.1))
    truth, seen = rotvec_to_matrix(turns), seen_without(slice(140, 160))
    assert not np.isfinite(fill_from_repeats(TIMES, truth, seen, BodyChannels(FREE, None), DEFAULT)[1]).any()
    assert np.array_equal(smoothed(truth, seen, DEFAULT)[0], smoothed(truth, seen, OFF)[0])


def test_the_better_it_repeats_the_more_it_counts():
    gap = slice(150, 180)
    seen = seen_without(gap)
    rng = np.random.default_rng(0)
    told = []
    for wobble in (0.0, 0.02, 0.06):
        slow = np.cumsum(rng.normal(0, wobble / 8, (len(TIMES), 5, 3)), 0)
        truth = stride(TIMES) @ rotvec_to_matrix(slow)
        told.append(fill_from_repeats(TIMES, truth, seen, BodyChannels(FREE, None), MotionSettings(repeat_most_unlike=1))[1][gap].mean())
    assert told[0] < told[1] < told[2]


def test_short_absences_and_stillness_are_nothing_to_look_up():
    truth = stride(TIMES)
    still = np.broadcast_to(truth[10], truth.shape)
    assert not np.isfinite(fill_from_repeats(TIMES, truth, seen_without(slice(150, 156)), BodyChannels(FREE, None), DEFAULT)[1]).any()
    assert not np.isfinite(fill_from_repeats(TIMES, still, seen_without(slice(150, 190)), BodyChannels(FREE, None), DEFAULT)[1]).any()
    assert not np.isfinite(
        fill_from_repeats(TIMES, truth, seen_without(slice(150, 190)), BodyChannels(np.ones(5, bool), None), DEFAULT)[1]
    ).any()


@given(st.integers(0, 10_000))
def test_nothing_unseen_is_ever_taken_over(seed):
    rng = np.random.default_rng(seed)
    seen = rng.random(80) > 0.1
    seen[[0, -1]] = True
    rotations = rotvec_to_matrix(rng.normal(0, 0.3, (80, 5, 3)))
    for gap in find_gaps(seen):
        donor = find_reference(rotations, rotations, seen, gap, 2, DEFAULT)
        if donor is not None:
            assert seen[donor.before : donor.after + 1].all()
            assert donor.unlike >= -1e-12


def test_backwards_it_is_the_same():
    gap = slice(150, 190)
    seen, truth = seen_without(gap), stride(TIMES + 0.02 * np.sin(3 * TIMES))
    there, told = fill_from_repeats(TIMES, truth, seen, BodyChannels(FREE, None), DEFAULT)
    back, told_back = fill_from_repeats(TIMES, truth[::-1], seen[::-1], BodyChannels(FREE, None), DEFAULT)
    assert np.allclose(back[::-1][gap], there[gap], atol=1e-9)
    assert np.allclose(told_back[::-1][gap], told[gap])


def test_sides_are_found_in_any_rest_pose_and_only_where_there_are_some():
    assert mirrored_joints(bones(PARENTS, REST_M)).tolist() == OTHER.tolist()
    lopsided = REST_M + np.where(np.arange(5)[:, None] == 4, [0.0, 0.2, 0.0], 0.0)
    assert mirrored_joints(bones(PARENTS, lopsided)) is None
    assert mirrored_joints(bones(PARENTS[:4], REST_M[:4])) is None
    # Both arms begin in one point: what hangs from it tells them apart.
    together = REST_M.copy()
    together[[1, 3]] = [0, 1.5, 0]
    assert mirrored_joints(bones(PARENTS, together)).tolist() == OTHER.tolist()


def test_a_mirrored_pose_is_the_pose_in_a_mirror():
    rig = bones(PARENTS, REST_M)
    rotations = rotvec_to_matrix(np.random.default_rng(0).normal(0, 0.5, (4, 5, 3)))
    _, places = rig.forward(rotations, np.zeros((4, 3)))
    _, flipped = rig.forward(mirror_rotations(rotations, OTHER), np.zeros((4, 3)))
    assert np.allclose(flipped[:, OTHER], places * [-1, 1, 1], atol=1e-9)
