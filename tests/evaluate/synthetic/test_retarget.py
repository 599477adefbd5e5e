"""A recorded motion on the Anny body: bones point as recorded, feet stand on the floor, left stays left."""

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.core.joints import Body29 as B
from body4d.core.scene_io import load_masks, load_scene
from body4d.evaluate import metrics
from body4d.evaluate.measured_truth import truth_of_scene
from body4d.evaluate.synthetic.clip import make_motion_clip
from body4d.evaluate.synthetic.limb_poser import unit
from body4d.evaluate.synthetic.motion_capture import MotionCapture
from body4d.evaluate.synthetic.motion_file import load_motion
from body4d.evaluate.synthetic.motions import MOTION_VIEWS, create_motion_actor, place_camera_around
from body4d.evaluate.synthetic.retarget import RetargetedMotion
from body4d.render.rasterizer import silhouette
from body4d.video import VideoReader, probe
from mocap_files import arms_down_and_a_step, write_bvh

pytestmark = pytest.mark.slow  # Anny is set up

FRAMES = 60
SHAPES = {"tall man": (0.05, 2 / 3, 0.6, 0.5, 0.6, 0.5, 1.0), "short woman": (0.95, 2 / 3, 0.45, 0.5, 0.3, 0.6, 1.0)}
OWN = {"hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist"}


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> MotionCapture:
    return load_motion(write_bvh(tmp_path_factory.mktemp("bvh") / "a.bvh", arms_down_and_a_step(FRAMES), FRAMES))


@pytest.fixture(scope="module", params=SHAPES, ids=list(SHAPES))
def performed(request, motion):
    """The rig, its joints by name, its named keypoints and its vertices over the whole motion."""
    rig = body_model("anny").rig(np.array(SHAPES[request.param], np.float32))
    rotations, root, club = RetargetedMotion(rig, motion).poses(motion.times_s)
    assert club is None
    G, p = rig.forward(rotations, root)
    return rig, dict(zip(rig.joint_names, np.moveaxis(p, 1, 0), strict=True)), rig.keypoints(G, p), rig.vertices(G, p)


def directions_off_deg(motion, joints, first, second):
    out = []
    for side, letter in (("left", "L"), ("right", "R")):
        recorded = unit(motion.joints[f"{side}_{second}"] - motion.joints[f"{side}_{first}"])
        own = unit(joints[f"{OWN[second]}.{letter}"] - joints[f"{OWN[first]}.{letter}"])
        out.append(np.degrees(np.arccos(np.clip(np.sum(recorded * own, -1), -1, 1))))
    return np.concatenate(out)


@pytest.mark.parametrize("bone", [("shoulder", "elbow"), ("elbow", "wrist")], ids="-".join)
def test_arms_point_where_the_recorded_ones_point(motion, performed, bone):
    # What is left is the share of a limb that never stretches out and the elbow's own plane where it is straight.
    assert directions_off_deg(motion, performed[1], *bone).max() < 2.5


@pytest.mark.parametrize("bone", [("hip", "knee"), ("knee", "ankle")], ids="-".join)
def test_legs_follow_the_recorded_ones(motion, performed, bone):
    # Ankles are placed, hips are as wide as the body's own, and the pelvis is lowered: a few degrees.
    assert directions_off_deg(motion, performed[1], *bone).max() < 10


def test_pelvis_and_thorax_are_turned_as_recorded(motion, performed):
    rig, joints, _, _ = performed
    hips = unit(joints["upperleg01.L"] - joints["upperleg01.R"])
    np.testing.assert_allclose(hips, motion.segments["pelvis"][..., 0], atol=1e-6)
    rotations, root, _ = RetargetedMotion(rig, motion).poses(motion.times_s)
    G, _ = rig.forward(rotations, root)
    np.testing.assert_allclose(G[:, rig.joint_names.index("spine01")], motion.segments["thorax"], atol=1e-6)


def test_feet_stand_on_the_floor_and_do_not_slide(motion, performed):
    _, _, keypoints, vertices = performed
    assert np.abs(vertices[..., 1].max(1)).max() < 0.015
    right = keypoints[:, [B.RIGHT_HEEL, B.RIGHT_BIG_TOE]]  # the foot that stands all the time
    assert np.ptp(right, axis=0).max() < 1e-3
    left_heel_up = -keypoints[:, B.LEFT_HEEL, 1]
    assert left_heel_up[FRAMES // 2] > left_heel_up[0] + 0.07


def test_left_stays_left(performed):
    _, _, keypoints, vertices = performed
    for left, right in ((B.LEFT_HIP, B.RIGHT_HIP), (B.LEFT_ANKLE, B.RIGHT_ANKLE), (B.LEFT_SHOULDER, B.RIGHT_SHOULDER)):
        assert keypoints[0, left, 0] > 0.05 > -0.05 > keypoints[0, right, 0]
    # It is the left foot that is lifted, and the person faces the camera: the nose is nearer than the ears.
    assert keypoints[FRAMES // 2, B.LEFT_ANKLE, 1] < keypoints[FRAMES // 2, B.RIGHT_ANKLE, 1] - 0.07
    assert keypoints[0, B.NOSE, 2] < keypoints[0, [B.LEFT_EAR, B.RIGHT_EAR], 2].min() - 0.03
    assert vertices.shape[-1] == 3


def joined_hands(motion: MotionCapture) -> MotionCapture:
    """Both hands at one place before the body, the right one 10 cm below."""
    joints = dict(motion.joints)
    middle = (joints["left_shoulder"] + joints["right_shoulder"]) / 2 + np.array([0.0, 28.0, -26.0])
    for side, down in (("left", 0.0), ("right", 10.0)):
        joints[f"{side}_wrist"] = middle + np.array([0.0, down, 0.0])
        joints[f"{side}_elbow"] = (joints[f"{side}_shoulder"] + joints[f"{side}_wrist"]) / 2 + np.array([0.0, 3.0, 0.0])
    return MotionCapture(motion.times_s, joints, motion.segments)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_hands_that_are_joined_stay_joined_and_hold_a_club_that_reaches_the_floor(motion, shape):
    rig = body_model("anny").rig(np.array(shape, np.float32))
    joined = joined_hands(motion)
    assert joined.hands_joined_share == 1
    assert motion.hands_joined_share == 0
    rotations, root, club = RetargetedMotion(rig, joined, with_club=True).poses(motion.times_s)
    _, p = rig.forward(rotations, root)
    wrists = p[:, rig.joint_names.index("wrist.R")] - p[:, rig.joint_names.index("wrist.L")]
    leg = np.linalg.norm(rig.rest_joints_m[rig.joint_names.index("foot.L")] - rig.rest_joints_m[rig.joint_names.index("upperleg01.L")])
    np.testing.assert_allclose(np.linalg.norm(wrists, axis=-1), 10 * leg / 82, atol=0.006)
    assert club is not None
    np.testing.assert_allclose(np.linalg.norm(club.shaft, axis=-1), 1, atol=1e-9)
    np.testing.assert_allclose(np.sum(club.shaft * club.face, -1), 0, atol=1e-9)
    assert abs(club.head_m[0, 1]) < 0.3


@pytest.mark.parametrize("view", [*MOTION_VIEWS.values(), (123.0, 30.0)])
def test_every_view_has_the_whole_person_in_the_picture(motion, view):
    actor, performed = create_motion_actor(motion, seed=2)
    moments = actor.poses(np.linspace(0, performed.seconds, 9))
    points = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m)).reshape(-1, 3)
    camera, T = place_camera_around(points, *view, (544, 720))
    px = camera.project(points @ T[:3, :3].T + T[:3, 3])
    assert (px > 0).all()
    assert (px < [544, 720]).all()
    assert np.ptp(px, axis=0).max() > 0.4 * 544  # and is not lost in it
    if view[1] > 20:
        assert T[1, 2] < 0 or T[2, 1] > 0.3  # it looks down


def test_the_right_hand_is_at_the_left_of_a_picture_from_the_front_and_near_one_from_the_right(motion):
    actor, _ = create_motion_actor(motion, seed=0)
    moments = actor.poses(np.zeros(1))
    points = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m))[0]
    for name, nearer in (("face-on", None), ("down-the-line", True), ("other-side", False)):
        camera, T = place_camera_around(points, *MOTION_VIEWS[name], (400, 400))
        seen = points @ T[:3, :3].T + T[:3, 3]
        if nearer is None:
            assert camera.project(seen)[B.RIGHT_WRIST, 0] < camera.project(seen)[B.LEFT_WRIST, 0]
        else:
            assert (seen[B.RIGHT_WRIST, 2] < seen[B.LEFT_WRIST, 2]) == nearer


def test_a_camera_below_the_floor_is_refused(motion):
    with pytest.raises(ValueError, match="below the floor"):
        place_camera_around(np.array([[0.0, -1.8, 0.0], [0.0, 0.0, 0.0]]), 0.0, -40.0, (400, 400))


def test_a_film_of_a_motion_has_the_truth_beside_it(motion, tmp_path):
    clip = make_motion_clip(motion, tmp_path, view=(20.0, 12.0), rate=10, seed=1, start_s=0.2, seconds=0.6, size=(160, 200))
    scene, masks = load_scene(clip.truth, clip.video), load_masks(clip.truth_masks)
    frames = [picture for _, picture in VideoReader(probe(clip.video)).read()]
    assert len(scene.clip) == len(frames) == 6
    person = scene.people[0]
    rig = body_model("anny").rig(person.shape)
    joints = rig.keypoints(*rig.forward(person.rotations, person.translation_m))
    np.testing.assert_allclose(joints, person.joints_m, atol=2e-4)
    vertices = rig.vertices(*rig.forward(person.rotations[:1], person.translation_m[:1]))[0]
    assert np.count_nonzero(silhouette(vertices, rig.faces, scene.camera) ^ masks[0].mask(0)) <= 4
    truth = truth_of_scene(scene)
    assert truth.fps == 10
    assert np.degrees(np.arccos(-truth.up[1])) == pytest.approx(12.0, abs=1e-3)
    # The floor of the truth's world is under the soles.
    world = vertices @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3]
    assert abs(world[:, 1].min()) < 0.02
    assert metrics.peak_speed_m_s(person.joint("left_wrist"), scene.clip.times_s, person.frame_index) > 0.1


def test_an_unknown_view_is_refused(motion, tmp_path):
    with pytest.raises(ValueError, match="choose from"):
        make_motion_clip(motion, tmp_path, view="from above")
