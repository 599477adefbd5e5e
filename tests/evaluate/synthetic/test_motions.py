"""The authored motions, held to what a golfer and a walker do."""

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.core.joints import Body29 as B
from body4d.core.rig import Rig
from body4d.evaluate import metrics
from body4d.evaluate.synthetic.limb_poser import LimbPoser, twist_angle, unit
from body4d.evaluate.synthetic.motions import CAMERA_VIEWS, CLIP_KINDS, DEFAULT_SECONDS, create_actors, place_camera
from body4d.evaluate.synthetic.swing import KEY_TIMES_S, GolfSwing, swing_duration_s
from body4d.evaluate.synthetic.walk import STRIDE_S, WalkCycle
from body4d.geometry.rotations import geodesic_angle, rotvec_to_matrix

pytestmark = pytest.mark.slow  # Anny is set up

RATE = 120
SHAPES = {
    "average": (0.5, 2 / 3, 0.5, 0.5, 0.5, 0.5, 1.0),
    "short woman": (0.95, 2 / 3, 0.45, 0.5, 0.3, 0.6, 1.0),
    "tall man": (0.05, 2 / 3, 0.6, 0.5, 0.6, 0.5, 1.0),
}


@pytest.fixture(scope="module", params=SHAPES, ids=list(SHAPES))
def rig(request) -> Rig:
    return body_model("anny").rig(np.array(SHAPES[request.param], np.float32))


@pytest.fixture(scope="module")
def swing(rig):
    """Times, joint positions by name, joint rotations by name, named keypoints and the club of a whole swing."""
    times = np.arange(0.0, swing_duration_s(), 1 / RATE)
    rotations, root, club = GolfSwing(rig).poses(times)
    G, p = rig.forward(rotations, root)
    return (
        times,
        dict(zip(rig.joint_names, np.moveaxis(p, 1, 0), strict=True)),
        dict(zip(rig.joint_names, np.moveaxis(G, 1, 0), strict=True)),
        rig.keypoints(G, p),
        club,
    )


def at(times, name):
    """Row of a key moment of the swing."""
    return int(np.argmin(np.abs(times - KEY_TIMES_S[name])))


def turn_deg(rotation):
    """How far the front of a body part (T, 3, 3) points to the target (+x) of straight ahead (−z), seen from above."""
    front = -rotation[..., 2]
    return np.degrees(np.unwrap(np.arctan2(front[:, 0], -front[:, 2])))


def test_both_hands_stay_on_one_grip(swing):
    _, joints, _, keypoints, _ = swing
    gap = np.linalg.norm(joints["wrist.L"] - joints["wrist.R"], axis=-1)
    assert gap.max() < 0.12
    assert gap.min() > 0.04
    assert np.linalg.norm(keypoints[:, B.LEFT_WRIST] - keypoints[:, B.RIGHT_WRIST], axis=-1).max() < 0.13


def test_fingers_close_around_the_shaft(rig, swing):
    _, joints, _, _, club = swing
    for side in "LR":
        for finger in (2, 3, 4):
            knuckle = joints[f"finger{finger}-2.{side}"] - club.hands_m
            off_shaft = np.linalg.norm(knuckle - np.sum(knuckle * club.shaft, -1, keepdims=True) * club.shaft, axis=-1)
            assert off_shaft.max() < 0.075


def test_timing_is_a_backswing_three_times_as_long_as_the_downswing():
    back, down = KEY_TIMES_S["top"] - KEY_TIMES_S["address"], KEY_TIMES_S["impact"] - KEY_TIMES_S["top"]
    assert back == pytest.approx(0.75)
    assert down == pytest.approx(0.25)
    assert sorted(KEY_TIMES_S.values()) == list(KEY_TIMES_S.values())
    assert KEY_TIMES_S["finish"] < DEFAULT_SECONDS["swing"]


def test_pelvis_leads_the_thorax_into_the_downswing(swing):
    times, _, rotations, _, _ = swing
    pelvis, thorax = turn_deg(rotations["root"]), turn_deg(rotations["spine01"])
    back_to = {name: times[np.argmin(values[: at(times, "impact")])] for name, values in (("pelvis", pelvis), ("thorax", thorax))}
    assert back_to["pelvis"] <= back_to["thorax"] + 1e-9
    top, impact, finish = at(times, "top"), at(times, "impact"), at(times, "finish")
    # Between the top and half-way down the pelvis has undone more of its turn than the thorax.
    down = at(times, "arm_down")
    assert (pelvis[down] - pelvis[top]) / -pelvis[top] > (thorax[down] - thorax[top]) / -thorax[top]
    assert -55 < pelvis[top] < -35
    assert -110 < thorax[top] < -80
    assert 30 < pelvis[impact] < 50
    assert thorax[impact] < pelvis[impact]
    assert pelvis[finish] > 80


def test_the_head_is_stable_until_impact_and_the_feet_stand(rig, swing):
    times, joints, _, keypoints, _ = swing
    until = at(times, "impact") + 1
    scale = rig.height_m / 1.8
    assert np.ptp(joints["head"][:until], axis=0).max() < 0.09 * scale
    lead = keypoints[:, [B.LEFT_HEEL, B.LEFT_BIG_TOE]]
    assert np.ptp(lead, axis=0).max() < 0.006
    # The trail foot turns on its ball: it stays while the heel rises.
    ball = np.mean([joints[f"toe{n}-1.R"] for n in range(1, 6)], axis=0)
    assert np.ptp(ball, axis=0).max() < 0.002
    heel_up = -(keypoints[:, B.RIGHT_HEEL, 1] - keypoints[0, B.RIGHT_HEEL, 1])
    assert heel_up[: at(times, "top")].max() < 0.01
    assert heel_up[-1] > 0.12


def test_the_club_meets_the_ball_and_swings_on_one_inclined_plane(rig, swing):
    times, _, _, _, club = swing
    head = club.head_m
    address, impact = at(times, "address"), at(times, "impact")
    assert np.linalg.norm(head[address] - head[impact]) < 0.12
    assert abs(head[impact, 1]) < 0.12
    # Hands around a plane: from the top of the swing to the follow-through they leave their best plane by little.
    path = club.hands_m[at(times, "top") : at(times, "through")]
    middle = path - path.mean(0)
    _, size, axes = np.linalg.svd(middle, full_matrices=False)
    assert size[2] / size[0] < 0.12
    steepness = np.degrees(np.arccos(abs(axes[2, 1])))
    assert 40 < steepness < 75
    assert club.shaft[at(times, "top"), 0] > 0.8  # at the top the shaft points to the target


def test_hands_are_fastest_about_impact(swing):
    times, _, _, keypoints, _ = swing
    hands = keypoints[:, [B.LEFT_WRIST, B.RIGHT_WRIST]].mean(1)
    speed = np.linalg.norm(metrics.derivative(hands, times, 1), axis=-1)
    assert 4.5 < speed.max() < 11
    assert abs(times[speed.argmax()] - times[at(times, "impact")]) < 0.12


def test_joints_stay_within_what_bodies_do(rig, swing):
    _, joints, rotations, _, _ = swing
    for side in "LR":
        thigh, shank = (
            unit(joints[f"lowerleg01.{side}"] - joints[f"upperleg01.{side}"]),
            unit(joints[f"foot.{side}"] - joints[f"lowerleg01.{side}"]),
        )
        # A knee bends backwards: the shank's front turns up, against the thigh's front.
        forward = -rotations[f"upperleg01.{side}"][..., 2]
        assert np.sum((shank - thigh) * forward, -1).max() < 0.09
        hand = joints[f"finger3-1.{side}"] - joints[f"wrist.{side}"]
        fore = joints[f"wrist.{side}"] - joints[f"lowerarm01.{side}"]
        assert np.degrees(np.arccos(np.sum(unit(hand) * unit(fore), -1))).max() < 85


def test_the_swing_is_smooth(rig):
    times = np.arange(0.0, swing_duration_s(), 1 / 480)
    rotations, root, _ = GolfSwing(rig).poses(times)
    step = geodesic_angle(rotvec_to_matrix(rotations[:-1]), rotvec_to_matrix(rotations[1:]))
    assert np.degrees(step.max()) * 480 < 2500  # degrees a second: no joint flips
    assert np.linalg.norm(np.diff(root, axis=0), axis=-1).max() * 480 < 1.5


def test_a_walking_foot_is_still_while_it_stands(rig):
    times = np.arange(0.0, 2 * STRIDE_S, 1 / 120)
    G, p = rig.forward(*WalkCycle(rig).poses(times))
    names = rig.joint_names
    for side, ahead in (("L", 0.0), ("R", 0.5)):
        phase = (times / STRIDE_S + ahead) % 1
        flat = (phase > 0.16) & (phase < 0.34)
        points = [p[:, names.index(f"toe{n}-1.{side}")] for n in range(1, 6)] + [p[:, names.index(f"foot.{side}")]]
        speed = np.linalg.norm(metrics.derivative(np.stack(points, 1), times, 1), axis=-1)
        assert speed[flat[1:] & flat[:-1]].max() < 1e-6
        assert speed.max() > 2  # and it does swing
    vertices = rig.vertices(G, p)
    lowest = vertices[..., 1].max(1)
    assert np.abs(lowest).max() < 0.02


def test_a_walk_goes_forwards_at_a_walking_pace(rig):
    times = np.arange(0.0, 2 * STRIDE_S, 1 / 60)
    _, root = WalkCycle(rig).poses(times)
    speed = -(root[-1, 2] - root[0, 2]) / (times[-1] - times[0])
    assert 0.9 < speed < 1.6
    assert 0.02 < np.ptp(root[:, 1]) < 0.06


def test_a_walk_repeats_itself(rig):
    walk = WalkCycle(rig)
    a, root_a = walk.poses(np.array([0.2, 0.5]))
    b, root_b = walk.poses(np.array([0.2, 0.5]) + STRIDE_S)
    np.testing.assert_allclose(a, b, atol=1e-7)
    assert np.ptp(root_b - root_a, axis=0).max() < 1e-9


@pytest.mark.parametrize(("kind", "view"), [(k, v) for k in CLIP_KINDS for v in CAMERA_VIEWS[k]])
def test_everybody_is_in_the_picture_at_mid_clip(kind, view):
    camera, T = place_camera(kind, view, (640, 720))
    for actor in create_actors(kind, 3.0, seed=1):
        moments = actor.poses(np.array([1.5]))
        keypoints = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m))
        px = camera.project(keypoints @ T[:3, :3].T + T[:3, 3])
        assert (px > 0).all()
        assert (px < [640, 720]).all()
        assert np.ptp(px[..., 1]) > 720 * 0.2


def test_the_two_who_cross_differ_and_pass_each_other():
    first, second = create_actors("crossing", 3.0, seed=0)
    assert np.abs(first.shape - second.shape).max() > 0.5
    assert first.outfit != second.outfit
    ends = np.array([0.0, 3.0])
    gap = first.poses(ends).root_m[:, 0] - second.poses(ends).root_m[:, 0]
    assert gap[0] < -2 < 2 < gap[1]


def test_a_limb_reaches_its_target_and_bends_towards_its_pole():
    rig = body_model("anny").rig(np.array(SHAPES["average"], np.float32))
    poser = LimbPoser(rig, np.zeros((2, 3)))
    target = poser.position("upperarm01.L") + np.array([[0.1, 0.35, -0.2], [0.3, -0.2, -0.1]])
    pole = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    poser.solve_limb("upperarm01.L", "lowerarm01.L", "wrist.L", target, pole)
    np.testing.assert_allclose(poser.position("wrist.L"), target, atol=1e-9)
    middle = (poser.position("upperarm01.L") + target) / 2
    assert (np.sum((poser.position("lowerarm01.L") - middle) * pole, -1) > 0.05).all()
    assert poser.overreach_m["wrist"] <= 0
    poser.solve_limb("upperarm01.L", "lowerarm01.L", "wrist.L", target + np.array([0.5, 0, 0]), pole)
    assert poser.overreach_m["wrist"] > 0.1


def test_twist_is_the_part_about_the_axis():
    axis = unit(np.array([1.0, 2.0, -0.5]))
    aside = unit(np.cross(axis, [0.0, 0.0, 1.0]))
    turn = rotvec_to_matrix(0.4 * aside)[None] @ rotvec_to_matrix(0.9 * axis)[None]
    assert twist_angle(turn, axis)[0] == pytest.approx(0.9)
    assert twist_angle(turn @ rotvec_to_matrix(-0.9 * axis), axis)[0] == pytest.approx(0.0, abs=1e-9)
