"""On the real body: a walk and a jump of the body model with exact truth, and feet that wobble by a known amount."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.config import MotionSettings
from body4d.core.joints import Body29
from body4d.core.types import BodyTrack, Camera, Clip
from body4d.evaluate.synthetic.limb_poser import LimbPoser
from body4d.evaluate.synthetic.walk import WalkCycle
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.foot_contact import (
    LEAVE_RISE_M,
    MAX_WANDER_M,
    contact_constraint,
    detect_contacts,
    find_leg,
    hold_foot_contacts,
    longest_contacts,
    solve_two_bone_ik,
)
from body4d.motion.gaps import true_runs
from body4d.motion.world import points_to_frames
from scenes import moving_camera

pytestmark = pytest.mark.slow  # Anny is set up

DEFAULT = MotionSettings()
CAMERA = Camera(600.0, 320.0, 240.0, 640, 480)
FEET = [Body29.LEFT_HEEL, Body29.LEFT_BIG_TOE, Body29.RIGHT_HEEL, Body29.RIGHT_BIG_TOE]
WORLD = np.diag([1.0, -1.0, -1.0, 1.0])
UP = np.array([0.0, -1.0, 0.0])


@pytest.fixture(scope="module")
def rig():
    return anny_body().rig(DEFAULT_SHAPE)


def make_clip(frames, rate=30):
    return Clip(Path("made.mp4"), 640, 480, Fraction(rate), np.arange(frames) / rate, np.arange(frames))


def make_track(rig, rotations, translation):
    joints = rig.keypoints(*rig.forward(rotations, translation))
    T = len(joints)
    return BodyTrack(
        person_id=1,
        body="anny",
        frame_index=np.arange(T),
        shape=DEFAULT_SHAPE,
        rotations=rotations,
        translation_m=translation,
        joints_m=joints,
        keypoints_px=CAMERA.project(joints),
        visibility=np.ones((T, 29)),
        confidence=np.ones(T),
        observed=np.ones(T, bool),
    )


@pytest.fixture(scope="module")
def walk(rig):
    rotations, root = WalkCycle(rig).poses(np.arange(90) / 30 - 1.5)
    return make_track(rig, rotations, root + np.array([0.2, 1.0, 5.5]))


def held(track, rig, **changes):
    clip = make_clip(len(track))
    return hold_foot_contacts([track], {1: rig}, clip, CAMERA, WORLD, MotionSettings(**changes))[0]


def wobbling(track, rig, seed=0, size=(0.01, 0.01, 0.03)):
    """The track drifting as a whole, slowly, by ``size`` m in each axis."""
    rng = np.random.default_rng(seed)
    times = np.arange(len(track))[:, None] / 30
    drift = np.array(size) * np.sin(2 * np.pi * rng.uniform(0.4, 0.9, 3) * times + rng.uniform(0, 6, 3))
    return make_track(rig, track.rotations, track.translation_m + drift)


def sliding(track, truth):
    speed, true = (np.linalg.norm(np.diff(t.joints_m[:, FEET], axis=0), axis=-1) * 30 for t in (track, truth))
    return speed[true < 0.1].mean()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_leg_is_found_by_its_keypoints(rig, side):
    leg = find_leg(rig, side)
    letter = side[0].upper()
    assert [rig.joint_names[j] for j in dataclasses.astuple(leg)] == [f"upperleg01.{letter}", f"lowerleg01.{letter}", f"foot.{letter}"]


def test_a_joint_set_without_toes_has_no_legs(rig):
    few = dataclasses.replace(
        rig, joint_set="coco17", keypoint_weights=rig.keypoint_weights[:17], keypoint_anchors_m=rig.keypoint_anchors_m[:17]
    )
    assert find_leg(few, "left") is None


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(["left", "right"]))
def test_an_ankle_reaches_a_target_within_reach_and_only_its_leg_moves(seed, side):
    rig = anny_body().rig(DEFAULT_SHAPE)
    rng = np.random.default_rng(seed)
    body = LimbPoser(rig, np.zeros((5, 3)))
    letter = side[0].upper()
    body.set_local(f"upperleg01.{letter}", rotvec_to_matrix(rng.normal(0, 0.3, (5, 3))))
    body.set_local(f"lowerleg01.{letter}", rotvec_to_matrix(np.array([1.0, 0, 0]) * rng.uniform(0.7, 1.4, (5, 1))))
    G, p = rig.forward(body.local, body.root_m)
    leg = find_leg(rig, side)
    target = p[:, leg.ankle] + rng.uniform(-0.03, 0.03, (5, 3))
    turn = rotvec_to_matrix(rng.normal(0, 0.2, (5, 3)))
    local = body.local.copy()
    solve_two_bone_ik(rig, leg, local, G, p, target, turn)
    after_G, after = rig.forward(local, body.root_m)
    np.testing.assert_allclose(after[:, leg.ankle], target, atol=1e-6)
    np.testing.assert_allclose(after_G[:, leg.ankle], turn @ G[:, leg.ankle], atol=1e-9)
    touched = np.flatnonzero(np.abs(local - body.local).max((0, 2, 3)) > 1e-12)
    assert set(touched) <= {leg.hip, leg.knee, leg.ankle}


def test_a_target_out_of_reach_is_approached(rig):
    leg = find_leg(rig, "left")
    local = np.broadcast_to(np.eye(3), (1, len(rig.parents), 3, 3)).copy()
    G, p = rig.forward(local, np.zeros((1, 3)))
    target = p[:, leg.ankle] + [[0.0, 0.5, 0.0]]
    solve_two_bone_ik(rig, leg, local, G, p, target, np.eye(3)[None])
    _, after = rig.forward(local, np.zeros((1, 3)))
    assert np.linalg.norm(after[0, leg.ankle] - target[0]) < np.linalg.norm(p[0, leg.ankle] - target[0])


@pytest.mark.parametrize("seed", range(4))
def test_feet_in_contact_stop_sliding_and_the_body_comes_nearer(walk, rig, seed):
    given_track = wobbling(walk, rig, seed)
    got = held(given_track, rig)
    assert sliding(got, walk) < 0.4 * sliding(given_track, walk)
    error, before = (np.linalg.norm(t.joints_m - walk.joints_m, axis=-1).mean() for t in (got, given_track))
    assert error < before


def test_a_true_walk_is_left_nearly_as_it_is(walk, rig):
    got = held(walk, rig)
    assert np.linalg.norm(got.joints_m - walk.joints_m, axis=-1).max() < 0.03
    assert np.linalg.norm(got.joints_m - walk.joints_m, axis=-1).mean() < 0.004


def jump(rig, frames=60):
    """Standing, half a second in the air by ballistics, standing; a metre to the right meanwhile."""
    t = np.arange(frames) / 30
    air = np.clip(t - 0.75, 0, 0.5)
    up = 0.5 * 9.81 * air * (0.5 - air)
    across = np.clip((t - 0.75) / 0.5, 0, 1)
    return make_track(rig, np.zeros((frames, len(rig.parents), 3)), np.stack([across, 0.2 - up, 0 * t + 5], -1))


def test_a_jump_stays(rig):
    track = jump(rig)
    got = held(track, rig)
    flying = slice(25, 36)
    np.testing.assert_allclose(got.joints_m[flying], track.joints_m[flying], atol=0.01)
    np.testing.assert_allclose(got.joints_m[:, Body29.NOSE, 1].min(), track.joints_m[:, Body29.NOSE, 1].min(), atol=0.005)


def test_a_lifted_heel_stays_lifted(rig):
    """On one's toes, not moving: the heel is slow, but high."""
    frames = 90
    rise = np.clip((np.arange(frames) - 30) / 8, 0, 1) * np.radians(35)
    rotations = np.zeros((frames, len(rig.parents), 3))
    rotations[:, rig.joint_names.index("foot.L"), 0] = rise
    track = make_track(rig, rotations, np.tile([0, 0.2, 5.0], (frames, 1)))
    got = held(track, rig)
    heel = Body29.LEFT_HEEL
    np.testing.assert_allclose(got.joints_m[45:, heel, 1], track.joints_m[45:, heel, 1], atol=0.01)


@pytest.mark.parametrize("change", [{"ground": "off"}, {"enabled": False}])
def test_off_is_off(walk, rig, change):
    assert held(walk, rig, **change) is walk


def test_with_a_moving_camera_no_feet_are_held(walk, rig):
    camera = dataclasses.replace(CAMERA, static=False)
    assert hold_foot_contacts([walk], {1: rig}, make_clip(90), camera, WORLD, DEFAULT)[0] is walk


def test_before_a_camera_with_a_path_feet_are_held_in_the_world(walk, rig):
    """Of a camera on a tripod, a pan changes nothing; of one that travels, depth is along the ray of each frame."""
    clip, drifting = make_clip(len(walk)), wobbling(walk, rig)
    pan, travel = (moving_camera(len(walk), kind) for kind in ("rotating", "moving"))
    out = {c.path.kind: hold_foot_contacts([drifting], {1: rig}, clip, c, WORLD, MotionSettings())[0] for c in (pan, travel)}
    np.testing.assert_array_equal(out["rotating"].joints_m, held(drifting, rig).joints_m)
    assert sliding(out["moving"], walk) < 1.2 * sliding(held(drifting, rig), walk) < 0.6 * sliding(drifting, walk)


def test_is_symmetric_in_time(walk, rig):
    track = wobbling(walk, rig)
    back = make_track(rig, track.rotations[::-1].copy(), track.translation_m[::-1].copy())
    np.testing.assert_allclose(held(back, rig).joints_m[::-1], held(track, rig).joints_m, atol=1e-6)


def test_turning_camera_and_person_together_turns_the_result(walk, rig):
    track = wobbling(walk, rig)
    turn = rotvec_to_matrix(np.array([0.1, 0.4, -0.2]))
    rotations = track.rotations.copy()
    rotations[:, 0] = matrix_to_rotvec(turn @ rotvec_to_matrix(rotations[:, 0]))
    world = WORLD.copy()
    world[:3, :3] = WORLD[:3, :3] @ turn.T
    turned = make_track(rig, rotations, track.translation_m @ turn.T)
    got = hold_foot_contacts([turned], {1: rig}, make_clip(90), CAMERA, world, DEFAULT)[0]
    np.testing.assert_allclose(got.joints_m, held(track, rig).joints_m @ turn.T, atol=1e-6)


def test_people_do_not_affect_each_other(walk, rig):
    one = wobbling(walk, rig, 1)
    two = dataclasses.replace(wobbling(walk, rig, 2), person_id=2)
    both = hold_foot_contacts([one, two], {1: rig, 2: rig}, make_clip(90), CAMERA, WORLD, DEFAULT)
    np.testing.assert_array_equal(both[0].joints_m, held(one, rig).joints_m)
    assert [p.person_id for p in both] == [1, 2]


def test_a_contact_is_both_slow_and_low():
    """A point that stands, rises slowly to 20 cm, stays there, and comes back."""
    times = np.arange(120) / 30
    height = 0.2 * np.clip(np.minimum(times - 1, 3.5 - times), 0, 1)
    points = np.stack([0 * times, -height, 5 + 0 * times], -1)[:, None]
    view = np.tile([0.0, 0, 1], (120, 1))
    contacts = detect_contacts(points, view, times, UP, np.array([MAX_WANDER_M]))[:, 0]
    assert contacts[:30].all()
    assert not contacts[height > LEAVE_RISE_M].any()
    assert contacts[-10:].all()


def test_a_constraint_is_whole_in_contact_and_fades_beside():
    times = np.arange(60) / 30
    points = np.stack([0.01 * np.sin(3 * times), 0 * times, 5 + 0 * times], -1)
    in_contact = (times > 0.6) & (times < 1.2)
    constraint = contact_constraint(points, in_contact, times)
    assert constraint.share[25:30].min() > 0.999
    assert constraint.share[:8].max() == constraint.share[-8:].max() == 0
    moved = points + constraint.share[:, None] * constraint.offset_m
    assert np.ptp(moved[22:33, 0]) < 0.1 * np.ptp(points[22:33, 0])


def standing(rig, heel_x):
    """A body that stands and moves as a whole to the right by ``heel_x`` (T,) metres."""
    frames = len(heel_x)
    return make_track(rig, np.zeros((frames, len(rig.parents), 3)), np.stack([heel_x, 0 * heel_x + 0.2, 0 * heel_x + 5], -1))


def test_a_foot_that_creeps_is_not_held_at_one_place(rig):
    """20 cm in 4 s, slower than any speed threshold: the picture shows it, so it stays."""
    creeping = standing(rig, 0.2 * np.arange(120) / 120)
    got = held(creeping, rig)
    assert np.abs(got.joints_m - creeping.joints_m).max() < 2 * MAX_WANDER_M
    np.testing.assert_allclose(np.ptp(got.joints_m[:, FEET, 0], axis=0), 0.2, atol=0.05)


@pytest.mark.parametrize("kind", [None, "rotating", "moving"])
def test_a_foot_that_the_fit_turns_and_the_picture_shows_at_rest_rests(rig, kind):
    """A fit turns a foot by 25 degrees in a quarter of a second; its landmarks, a pixel to one side, stay where they are."""
    frames = 90
    camera = CAMERA if kind is None else moving_camera(frames, kind)
    at_rest = standing(rig, np.zeros(frames))
    rotations = at_rest.rotations.copy()
    turn = np.clip((np.arange(frames) - 41) / 8, 0, 1) * np.radians(25)
    rotations[:, rig.joint_names.index("foot.L"), 1] = turn
    turned = make_track(rig, rotations, at_rest.translation_m)
    toe = Body29.LEFT_BIG_TOE
    assert np.ptp(turned.joints_m[:, toe], axis=0).max() > 0.06
    in_frames = points_to_frames(at_rest.joints_m, np.arange(frames), camera)
    seen_px = camera.project_at(in_frames, np.arange(frames)) + np.array([1.0, 0.0])
    seen = dataclasses.replace(turned, keypoints_px=seen_px)
    got, alone = (hold_foot_contacts([t], {1: rig}, make_clip(frames), camera, WORLD, DEFAULT)[0] for t in (seen, turned))
    assert np.ptp(got.joints_m[:, toe], axis=0).max() < 0.01
    if kind is None:
        assert np.ptp(alone.joints_m[:, toe], axis=0).max() > 0.04


def test_what_was_measured_far_from_the_fitted_point_says_nothing_of_its_contact(rig):
    creeping = standing(rig, 0.2 * np.arange(120) / 120)
    elsewhere = dataclasses.replace(creeping, keypoints_px=np.zeros_like(creeping.keypoints_px))
    np.testing.assert_array_equal(held(elsewhere, rig).joints_m, held(creeping, rig).joints_m)


def test_of_fitted_and_seen_contacts_the_longest_counts():
    times = np.arange(60) / 30

    def at(*spans):
        return np.any([(np.arange(60) >= a) & (np.arange(60) <= b) for a, b in spans], axis=0)

    split = at((0, 12), (18, 30), (50, 58))
    assert (longest_contacts(split, at((2, 31)), times) == at((2, 31), (50, 58))).all()
    assert (longest_contacts(split, at((40, 45)), times) == split).all()  # what is seen alone is none
    assert (longest_contacts(split, split, times) == split).all()
    assert (longest_contacts(at((0, 30)), at((20, 58)), times) == at((0, 15), (20, 58))).all()


@pytest.mark.parametrize(("leap_m", "frames", "contacts"), [(0.04, 2, 1), (0.04, 5, 3), (0.12, 2, 2)])
def test_a_moments_haste_ends_no_contact_and_a_new_place_does(leap_m, frames, contacts):
    """A resting point that comes back within a moment has not left; one that rests elsewhere, too, or stays away, has."""
    times = np.arange(60) / 30
    rows = np.arange(60)
    comes_back = leap_m < 0.1
    x = leap_m * np.where(comes_back, (rows >= 30) & (rows < 30 + frames), np.clip((rows - 29) / frames, 0, 1))
    points = np.stack([x, 0 * x, 5 + 0 * x], -1)[:, None]
    held_rows = detect_contacts(points, np.tile([0.0, 0, 1], (60, 1)), times, UP, np.array([MAX_WANDER_M]))[:, 0]
    assert len(true_runs(held_rows)) == contacts


def test_a_foot_set_down_elsewhere_has_two_places(rig):
    """8 cm to the right in half a second, then still: both contacts are held where they are, not between them."""
    x = 0.08 * np.clip((np.arange(120) - 52) / 15, 0, 1)
    track = standing(rig, x + 0.003 * np.sin(np.arange(120) / 4))
    got = held(track, rig)
    for rows, place in ((slice(8, 44), 0.0), (slice(76, 112), 0.08)):
        feet = got.joints_m[rows][:, FEET, 0] - standing(rig, np.zeros(1)).joints_m[0, FEET, 0]
        np.testing.assert_allclose(feet.mean(0), place, atol=0.004)
        assert np.ptp(feet, axis=0).max() < 0.002


def test_the_less_certain_a_foot_is_the_farther_it_may_wander(rig):
    """A sway by 8 cm to each side: a foot known to a millimetre does sway, of one known to 3 cm it is noise."""
    track = standing(rig, 0.08 * np.sin(2 * np.pi * 0.2 * np.arange(120) / 30))
    moved = []
    for sigma in (0.001, 0.03):
        uncertain = dataclasses.replace(track, joint_sigma_m=np.full(track.joints_m.shape[:2], sigma))
        moved.append(np.ptp(held(uncertain, rig).joints_m[:, FEET, 0], axis=0).max())
    assert moved[0] > 0.08
    assert moved[1] < 0.03


def test_feet_already_held_hardly_move_again(walk, rig):
    once = held(wobbling(walk, rig), rig)
    twice = held(once, rig)
    given_track = wobbling(walk, rig)
    first = np.linalg.norm(once.joints_m[:, FEET] - given_track.joints_m[:, FEET], axis=-1).mean()
    assert np.linalg.norm(twice.joints_m[:, FEET] - once.joints_m[:, FEET], axis=-1).mean() < 0.35 * first


def test_a_body_that_stands_still_is_unchanged(rig):
    track = standing(rig, np.zeros(60))
    np.testing.assert_allclose(held(track, rig).joints_m, track.joints_m, atol=1e-6)


def test_mhrs_joint_set_has_feet_too(walk, rig):
    """The same body under MHR's 70 keypoints: feet are held alike."""
    from body4d.core.joints import Mhr70

    columns = [Body29[joint.name] if joint.name in Body29.__members__ else Body29.NOSE for joint in Mhr70]
    rig70 = dataclasses.replace(
        rig, joint_set="mhr70", keypoint_weights=rig.keypoint_weights[columns], keypoint_anchors_m=rig.keypoint_anchors_m[columns]
    )
    track = wobbling(walk, rig)
    chosen = {name: getattr(track, name)[:, columns] for name in ("joints_m", "keypoints_px", "visibility")}
    track70 = dataclasses.replace(track, body="mhr", joint_set="mhr70", **chosen)
    got = hold_foot_contacts([track70], {1: rig70}, make_clip(len(track)), CAMERA, WORLD, DEFAULT)[0]
    np.testing.assert_allclose(got.joints_m, held(track, rig).joints_m[:, columns], atol=1e-9)
