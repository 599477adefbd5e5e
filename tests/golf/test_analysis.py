"""The analysis of exact swings against what is computed here from the definitions, and of what is no swing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from body4d.core.errors import NoSwingError, SettingsError
from body4d.core.types import Scene
from body4d.evaluate.synthetic.swing import KEY_TIMES_S
from body4d.golf.analysis import analyze
from body4d.golf.types import EVENTS, ClubShaft, GolfAnalysis, GolfOptions, Swing
from golf_scenes import cut, golfer, make_scene, mirrored_scene, pose_at, swing_poses, through_poses, walk_poses

pytestmark = pytest.mark.slow  # Anny is set up

START_S = 0.4
FRAMES_OFF = {30: 1.0, 60: 2.0, 240: 6.0}


@pytest.fixture(scope="module")
def face_on() -> Scene:
    return make_scene(swing_poses(start_s=START_S), 2.6, rate=60)


@pytest.fixture(scope="module")
def analysis(face_on: Scene) -> GolfAnalysis:
    return analyze(face_on)


def main(analysis: GolfAnalysis) -> Swing:
    return analysis.swings[analysis.main]


def value(swing: Swing, name: str, event: str | None) -> float:
    measure = swing.measure(name, event)
    assert measure is not None
    return measure.value


@pytest.mark.parametrize(("rate", "view"), [(30, "face-on"), (60, "face-on"), (240, "face-on"), (30, "down-the-line"), (30, "oblique")])
def test_events_are_where_the_swing_was_made_to_have_them(rate: int, view: str) -> None:
    swing = main(analyze(make_scene(swing_poses(start_s=START_S), 2.6, rate=rate, view=view)))
    assert [event.name for event in swing.events] == list(EVENTS)
    assert swing.frame.view == view
    assert swing.frame.hand == "right"
    times = [event.frame_exact for event in swing.events]
    assert times == sorted(times)
    for name in ("address", "top", "impact", "finish"):
        event = swing.event(name)
        assert event is not None
        assert event.frame_exact == pytest.approx((START_S + KEY_TIMES_S[name]) * rate, abs=FRAMES_OFF[rate]), name
        assert event.time_s == pytest.approx(event.frame_exact / rate)
        assert event.confidence > 0.5
    assert {event.name for event in swing.events if event.proxy} == {"toe_up", "top", "impact", "mid_follow_through"}


def test_the_lead_arm_is_level_where_finer_frames_show_it() -> None:
    swing = main(analyze(make_scene(swing_poses(start_s=START_S), 2.6, rate=30)))
    fine = np.arange(0.4, 1.0, 0.002)
    rig = golfer()[0]
    motion = swing_poses(start_s=0.0)(fine)
    points = rig.keypoints(*rig.forward(motion.rotations, motion.root_m))
    arm = points[:, 9, 1] - points[:, 5, 1]  # left wrist and shoulder (COCO's order), y down
    level_s = fine[1:][np.diff(np.sign(arm)) != 0]
    for name, at_s in zip(("mid_backswing", "mid_downswing"), level_s, strict=True):
        event = swing.event(name)
        assert event is not None
        assert event.frame_exact == pytest.approx((START_S + at_s) * 30, abs=0.3)


def test_angles_are_those_of_the_definitions(face_on: Scene, analysis: GolfAnalysis) -> None:
    """With quaternions: the twist is the part of the quaternion about the vertical."""
    swing, track = main(analysis), face_on.people[0]
    rig = golfer()[0]
    G, _ = rig.forward(track.rotations, track.translation_m)
    to_world = face_on.T_world_camera[:3, :3]
    zero = np.stack([np.cross([0, 1, 0], swing.frame.ball), [0, 1, 0], swing.frame.ball], -1)
    for bone, name in (("root", "pelvis"), ("spine01", "thorax")):
        world = to_world @ G[:, rig.joint_names.index(bone)] @ np.diag([1.0, -1.0, -1.0])
        quaternion = Rotation.from_matrix(world @ zero.T).as_quat()  # x, y, z, w
        turn = np.degrees(2 * np.arctan2(quaternion[:, 1], quaternion[:, 3]))
        turn = np.degrees(np.unwrap(np.radians(turn)))
        turn -= 360 * np.round(turn[0] / 360)
        curve = next(c for c in swing.curves if c.name == f"{name}_turn_deg")
        np.testing.assert_allclose(curve.values, turn[swing.frames], atol=1e-4)
        top = swing.event("top")
        assert top is not None
        assert value(swing, f"{name}_turn_deg", "top") == pytest.approx(np.interp(top.frame_exact, np.arange(len(turn)), turn), abs=1e-3)
        # Bends: where the segment's up points, in its own turned directions.
        up, angle = world[:, :, 1], np.radians(turn)
        facing = np.cos(angle)[:, None] * swing.frame.ball - np.sin(angle)[:, None] * -swing.frame.target
        forward = np.degrees(np.arctan2(np.sum(up * facing, -1), up[:, 1]))
        impact = swing.event("impact")
        assert impact is not None
        at_impact = np.interp(impact.frame_exact, np.arange(len(turn)), forward)
        assert value(swing, f"{name}_forward_bend_deg", "impact") == pytest.approx(at_impact, abs=0.05)
    x = value(swing, "thorax_turn_deg", "top") - value(swing, "pelvis_turn_deg", "top")
    assert value(swing, "x_factor_deg", "top") == pytest.approx(-x)


def test_shifts_are_those_of_the_middle_of_the_hips(face_on: Scene, analysis: GolfAnalysis) -> None:
    swing, track = main(analysis), face_on.people[0]
    world = track.joints_m @ face_on.T_world_camera[:3, :3].T + face_on.T_world_camera[:3, 3]
    hips = (world[:, 11] + world[:, 12]) / 2
    address, impact = swing.event("address"), swing.event("impact")
    assert address is not None
    assert impact is not None
    at_impact = np.array([np.interp(impact.frame_exact, np.arange(len(hips)), hips[:, k]) for k in range(3)])
    moved = 100 * (at_impact - hips[: address.frame].mean(0))  # the authored golfer is still until then
    for name, direction in (("sway", swing.frame.target), ("lift", np.array([0, 1, 0])), ("thrust", swing.frame.ball)):
        assert value(swing, f"pelvis_{name}_cm", "impact") == pytest.approx(moved @ direction, abs=0.2)
    assert np.cross(swing.frame.target, [0, 1, 0]) == pytest.approx(swing.frame.ball)


def test_known_turns_of_the_authored_swing(analysis: GolfAnalysis) -> None:
    swing = main(analysis)
    # Its curves (swing.py) have the pelvis at -45 and the thorax at -92 degrees at the top; smoothing takes a degree.
    assert value(swing, "pelvis_turn_deg", "top") == pytest.approx(-45, abs=1.5)
    assert value(swing, "thorax_turn_deg", "top") == pytest.approx(-92, abs=1.5)
    assert value(swing, "tempo_ratio", None) == pytest.approx(3.0, abs=0.25)
    assert swing.tempo is not None
    assert swing.tempo.frame_time_s == pytest.approx(1 / 60)
    assert swing.tempo.ratio_bar == swing.measure("tempo_ratio", None).bar


@pytest.mark.parametrize("view", ["face-on", "down-the-line"])
def test_a_mirror_gives_the_same_numbers(view: str) -> None:
    scene = make_scene(swing_poses(), 2.6, view=view)
    right, left = main(analyze(scene)), main(analyze(mirrored_scene(scene)))
    assert (right.frame.hand, left.frame.hand) == ("right", "left")
    assert left.frame.hand_confidence > 0.9
    for a, b in zip((*right.measures, *right.research), (*left.measures, *left.research), strict=True):
        assert (a.name, a.event, a.class_) == (b.name, b.event, b.class_)
        assert b.value == pytest.approx(a.value, abs=0.3, rel=1e-3), (a.name, a.event)  # Anny is not quite symmetric
    np.testing.assert_allclose(left.hand_path_m, right.hand_path_m, atol=1e-3)


def test_view_hand_and_target_can_be_set(face_on: Scene) -> None:
    frame = main(analyze(face_on, GolfOptions(view="oblique", hand="right", target_deg=80.0))).frame
    assert (frame.view, frame.view_given, frame.hand_given, frame.target_source) == ("oblique", True, True, "user")
    usual = main(analyze(face_on)).frame
    assert np.degrees(np.arccos(frame.target @ usual.target)) == pytest.approx(10.0, abs=0.01)
    assert usual.target_source == "picture"
    assert frame.stance_deg - usual.stance_deg == pytest.approx(-10.0, abs=0.01)  # aimed further left, the same feet are closed


def test_an_oblique_view_is_said() -> None:
    assert [w.code for w in analyze(make_scene(swing_poses(), 2.6, view="oblique")).warnings] == ["view_oblique"]
    between = analyze(make_scene(swing_poses(), 2.6, turn_deg=31.0))
    assert "view_or_hand_unsure" in [w.code for w in between.warnings]


def test_slow_motion_is_noticed_and_its_rate_can_be_given() -> None:
    scene = make_scene(swing_poses(start_s=1.0, speed=0.25), 8.0)
    slowed = analyze(scene)
    assert [w.code for w in slowed.warnings] == ["swing_seems_slowed"]
    speed = main(slowed).measure("peak_hand_speed_m_s", None)
    assert speed is not None
    assert speed.class_ == "C"
    assert "slowed" in speed.reason
    told = analyze(scene, GolfOptions(capture_fps=120.0))
    assert not told.warnings
    assert (told.capture_fps, told.time_scale, told.time_source) == (120.0, 0.25, "user")
    real = main(analyze(make_scene(swing_poses(), 2.6, rate=120)))
    assert value(main(told), "peak_hand_speed_m_s", None) == pytest.approx(value(real, "peak_hand_speed_m_s", None), rel=0.02)
    assert value(main(told), "downswing_s", None) == pytest.approx(value(real, "downswing_s", None), abs=0.01)
    in_file = replace(scene, clip=replace(scene.clip, capture_rate=4 * scene.clip.rate))
    assert analyze(in_file).time_source == "file"


def test_a_cut_off_finish_is_named_and_its_measures_are_empty() -> None:
    whole = make_scene(swing_poses(start_s=START_S), 2.6)
    impact = round((START_S + 1.0) * 30)
    swing = main(analyze(cut(whole, 0, impact + 3)))
    assert "finish" in swing.cut_off
    assert swing.event("finish") is None
    turn = swing.measure("pelvis_turn_deg", "finish")
    assert turn is not None
    assert np.isnan(turn.value)
    assert "outside the clip" in turn.reason
    assert value(swing, "pelvis_turn_deg", "top") == pytest.approx(-45, abs=3)


def test_a_cut_off_address_leaves_turns_and_takes_shifts() -> None:
    whole = make_scene(swing_poses(start_s=START_S), 2.6)
    swing = main(analyze(cut(whole, round((START_S + 0.35) * 30), 78)))
    assert "address" in swing.cut_off
    assert np.isnan(value(swing, "pelvis_sway_cm", "impact"))
    assert value(swing, "pelvis_turn_deg", "top") == pytest.approx(-45, abs=3)
    assert swing.tempo is None


def test_several_swings_and_which_is_for_practice() -> None:
    slow, fast = swing_poses(start_s=0.5, speed=0.7), swing_poses(start_s=0.5)
    between = through_poses([(0.0, pose_at(3.0)), (1.5, pose_at(-1.0))])

    def poses(times_s: np.ndarray):
        parts = [slow(times_s), between(times_s - 3.5), fast(times_s - 5.0)]
        which = np.digitize(times_s, [3.5, 5.0])
        pick = [np.where(which.reshape(-1, *[1] * (parts[0].rotations.ndim - 1)) == k, parts[k].rotations, 0) for k in range(3)]
        roots = [np.where(which[:, None] == k, parts[k].root_m, 0) for k in range(3)]
        return replace(parts[0], rotations=sum(pick), root_m=sum(roots))

    analysis = analyze(make_scene(poses, 7.6))
    assert [swing.practice for swing in analysis.swings] == [True, False]
    assert analysis.main == 1
    tops = [swing.event("top") for swing in analysis.swings]
    assert [top.time_s for top in tops if top] == pytest.approx([0.5 + 0.75 / 0.7, 5.5 + 0.75], abs=0.06)
    struck = analyze(make_scene(poses, 7.6), audio_onset_s=[0.5 + 1.0 / 0.7 + 0.01])
    assert [swing.practice for swing in struck.swings] == [False, True]
    assert struck.main == 0


def test_the_sound_of_the_strike_is_the_impact(face_on: Scene) -> None:
    delay_s = np.linalg.norm(face_on.people[0].joint("left_ankle")[0]) / 343  # the camera is the origin
    impact = main(analyze(face_on, audio_onset_s=[0.1, START_S + 1.0 + delay_s, 2.4])).event("impact")
    assert impact is not None
    assert impact.time_s == pytest.approx(START_S + 1.0, abs=0.002)
    assert not impact.proxy
    elsewhere = main(analyze(face_on, audio_onset_s=[0.1, 2.4])).event("impact")
    assert elsewhere is not None
    assert elsewhere.proxy


def test_a_seen_club_tells_toe_up(face_on: Scene) -> None:
    frames = np.arange(len(face_on.clip))
    toe_up = (START_S + KEY_TIMES_S["takeaway"]) * 60
    angle = np.radians(np.interp(frames, [0, START_S * 60, toe_up, toe_up + 12], [90, 90, 0, -60]))  # below the horizontal
    grip = np.zeros((len(frames), 2))
    head = 100 * np.stack([-np.cos(angle), np.sin(angle)], -1)
    club = ClubShaft(frames[:60], grip[:60], head[:60], np.ones(60), "line")
    event = main(analyze(face_on, club=club)).event("toe_up")
    assert event is not None
    assert event.frame_exact == pytest.approx(toe_up, abs=0.5)
    assert not event.proxy


def test_the_order_of_the_sequence_needs_frames() -> None:
    fine = main(analyze(make_scene(swing_poses(), 2.6, rate=240))).sequence
    swing = main(analyze(make_scene(swing_poses(), 2.6, rate=30)))
    coarse, rate = swing.sequence, swing.measure("pelvis_turn_rate_deg_s", "impact")
    assert rate is not None
    assert rate.class_ == "C"
    assert fine is not None
    assert coarse is not None
    assert {peak.segment for peak in fine.peaks} == {"pelvis", "thorax", "lead arm"}
    assert not coarse.resolved
    assert "30 frames" in coarse.note


def test_depth_is_grey() -> None:
    for view, grey in (("face-on", "pelvis_thrust_cm"), ("down-the-line", "pelvis_sway_cm")):
        measure = main(analyze(make_scene(swing_poses(), 2.6, view=view))).measure(grey, "impact")
        assert measure is not None
        assert measure.class_ == "C"
        assert "camera" in measure.reason


def no_swing(scene: Scene) -> NoSwingError:
    with pytest.raises(NoSwingError) as caught:
        analyze(scene)
    assert (caught.value.code, caught.value.exit_code) == ("no_swing_found", 11)
    return caught.value


def test_a_walk_is_no_swing() -> None:
    no_swing(make_scene(walk_poses(), 3.0))


def test_standing_still_is_no_swing() -> None:
    no_swing(make_scene(swing_poses(start_s=9.0), 2.0))


def test_a_putt_is_no_full_swing() -> None:
    address, back, through = pose_at(0.0), pose_at(0.3), pose_at(1.06)
    putt = through_poses([(0, address), (0.6, address), (1.3, back), (1.75, through), (2.4, through), (3.2, address)])
    assert "putt" in no_swing(make_scene(putt, 3.2)).message


def test_of_two_people_the_one_who_swings_is_taken() -> None:
    swing, walk = make_scene(swing_poses(), 2.6), make_scene(walk_poses(), 2.6)
    both = replace(swing, people=(replace(walk.people[0], person_id=1), replace(swing.people[0], person_id=2)))
    assert analyze(both).person_id == 2
    with pytest.raises(SettingsError):
        analyze(both, GolfOptions(person_id=7))
    with pytest.raises(NoSwingError):
        analyze(both, GolfOptions(person_id=1))
    two = replace(swing, people=(replace(swing.people[0], person_id=1), replace(swing.people[0], person_id=2)))
    assert [w.code for w in analyze(two).warnings] == ["several_swingers"]
