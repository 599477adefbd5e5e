"""On a synthetic body of five joints: a trunk with two arms of two bones each, and a keypoint at most joints."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.config import MotionSettings
from body4d.core.joints import Coco17
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Clip
from body4d.geometry.rotations import geodesic_angle, matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.smoother import DISTANCE_VARIANCE_SCALE, ViewCoordinates, keypoint_relevance, smooth, smooth_rotations

DEFAULT = MotionSettings()
WRIST = Coco17.LEFT_WRIST
HANGS_FROM = {Coco17.LEFT_SHOULDER: 1, Coco17.LEFT_ELBOW: 2, Coco17.RIGHT_SHOULDER: 3, Coco17.RIGHT_ELBOW: 4}


@pytest.fixture(scope="module")
def rig():
    rest = np.array([[0, 0, 0], [0.2, -0.5, 0], [0.5, -0.5, 0], [-0.2, -0.5, 0], [-0.5, -0.5, 0]], float)
    weights, anchors = np.zeros((17, 5)), np.zeros((17, 5, 3))
    for keypoint in Coco17:
        joint = HANGS_FROM.get(keypoint, 0)
        place = rest[joint]
        if keypoint in (Coco17.LEFT_WRIST, Coco17.RIGHT_WRIST):
            joint = 2 if keypoint == Coco17.LEFT_WRIST else 4
            place = rest[joint] + [0.3 if joint == 2 else -0.3, 0, 0]
        weights[keypoint, joint], anchors[keypoint, joint] = 1, place
    return Rig(
        joint_names=("root", "arm.L", "forearm.L", "arm.R", "forearm.R"),
        parents=np.array([-1, 0, 1, 0, 3]),
        rest_joints_m=rest,
        rest_vertices_m=np.array([[0, -0.9, 0], [0, 0.9, 0], [0.1, 0, 0]], float),
        faces=np.array([[0, 1, 2]]),
        skin_indices=np.zeros((3, 1), int),
        skin_weights=np.ones((3, 1)),
        joint_set="coco17",
        keypoint_weights=weights,
        keypoint_anchors_m=anchors,
    )


def make_clip(frames, rate=30, capture_rate=None, times=None):
    times = np.arange(frames) / rate if times is None else times
    return Clip(Path("made.mp4"), 640, 480, Fraction(rate), times, np.arange(frames), capture_rate=capture_rate)


def make_track(rig, rotations, translation=None, frames=None, **changes):
    T = len(rotations)
    translation = np.tile([0.3, 0.1, 4.0], (T, 1)) if translation is None else translation
    fields = {
        "person_id": 1,
        "body": "made",
        "frame_index": np.arange(T) if frames is None else frames,
        "shape": np.zeros(1),
        "rotations": rotations,
        "translation_m": translation,
        "joints_m": rig.keypoints(*rig.forward(rotations, translation)),
        "keypoints_px": np.ones((T, 17, 2)),
        "visibility": np.ones((T, 17)),
        "confidence": np.ones(T),
        "observed": np.ones(T, bool),
        "joint_set": "coco17",
    }
    return BodyTrack(**{**fields, **changes})


def sway(times, seed=0, most_rad=0.6):
    """Slow, smooth turns of all five joints."""
    rng = np.random.default_rng(seed)
    hz, phase, size = rng.uniform(0.2, 0.7, (1, 5, 3)), rng.uniform(0, 6, (1, 5, 3)), rng.uniform(-1, 1, (1, 5, 3)) * most_rad
    return size * np.sin(2 * np.pi * hz * times[:, None, None] + phase)


def swing(times, at_s=1.5, lasts_s=0.25, turn_rad=4.0):
    """The left arm turns by ``turn_rad`` within ``lasts_s``, as a body does: with minimum jerk. Otherwise at rest."""
    u = np.clip((times - at_s) / lasts_s + 0.5, 0, 1)
    rotations = np.zeros((len(times), 5, 3))
    rotations[:, 1, 2] = turn_rad * (10 * u**3 - 15 * u**4 + 6 * u**5) - turn_rad / 2
    return rotations


def noisy(rotations, sigma_rad, seed=0):
    turns = rotvec_to_matrix(np.random.default_rng(seed).normal(0, sigma_rad, rotations.shape))
    return matrix_to_rotvec(rotvec_to_matrix(rotations) @ turns)


def off_rad(a, b):
    return geodesic_angle(rotvec_to_matrix(a), rotvec_to_matrix(b))


def speed(track, rate, keypoint=WRIST):
    return np.linalg.norm(np.diff(track.joints_m[:, keypoint], axis=0), axis=-1) * rate


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 40])
def test_constant_input_is_unchanged(rig, frames):
    rotations = np.tile(np.random.default_rng(0).normal(0, 1, (1, 5, 3)), (frames, 1, 1))
    track = make_track(rig, rotations)
    got = smooth(track, rig, make_clip(frames), DEFAULT)
    np.testing.assert_allclose(off_rad(got.rotations, track.rotations), 0, atol=1e-6)
    np.testing.assert_allclose(got.translation_m, track.translation_m, atol=1e-6)
    np.testing.assert_allclose(got.joints_m, track.joints_m, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6])
def test_short_and_noisy_tracks_work(rig, frames):
    track = make_track(rig, noisy(sway(np.arange(frames) / 30), 0.05))
    got = smooth(track, rig, make_clip(frames), DEFAULT)
    assert len(got) == frames
    assert off_rad(got.rotations, track.rotations).max() < 0.3


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_is_symmetric_in_time(rig, seed):
    times = np.cumsum(np.random.default_rng(seed).uniform(0.7, 1.3, 60)) / 30
    rng = np.random.default_rng(seed)
    track = make_track(rig, noisy(sway(times, seed), 0.03, seed), np.array([0, 0, 4]) + rng.normal(0, 0.02, (60, 3)))
    forwards = smooth(track, rig, make_clip(60, times=times), DEFAULT)
    reversed_track = dataclasses.replace(
        track, rotations=track.rotations[::-1], translation_m=track.translation_m[::-1], joints_m=track.joints_m[::-1]
    )
    backwards = smooth(reversed_track, rig, make_clip(60, times=-times[::-1]), DEFAULT)
    assert off_rad(backwards.rotations[::-1], forwards.rotations).max() < 1e-4
    np.testing.assert_allclose(backwards.translation_m[::-1], forwards.translation_m, atol=1e-4)


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_turning_the_whole_input_turns_the_output(rig, seed):
    times = np.arange(50) / 30
    rng = np.random.default_rng(seed)
    turn = rotvec_to_matrix(rng.normal(0, 1, 3))
    rotations = noisy(sway(times, seed), 0.03, seed)
    place = np.array([0.2, 0.1, 4]) + rng.normal(0, 0.02, (50, 3))
    turned = rotations.copy()
    turned[:, 0] = matrix_to_rotvec(turn @ rotvec_to_matrix(rotations[:, 0]))
    plain = smooth(make_track(rig, rotations, place), rig, make_clip(50), DEFAULT)
    got = smooth(make_track(rig, turned, place @ turn.T), rig, make_clip(50), DEFAULT)
    np.testing.assert_allclose(rotvec_to_matrix(got.rotations[:, 0]), turn @ rotvec_to_matrix(plain.rotations[:, 0]), atol=1e-5)
    np.testing.assert_allclose(got.translation_m, plain.translation_m @ turn.T, atol=1e-5)
    np.testing.assert_allclose(got.joints_m, plain.joints_m @ turn.T, atol=1e-5)


def test_noise_falls_on_slow_motion(rig):
    times = np.arange(240) / 30
    truth = sway(times)
    place = np.stack([0.2 * np.sin(times), 0 * times, 4 + 0.2 * np.cos(times)], -1)
    raw = make_track(rig, noisy(truth, 0.05), place + np.random.default_rng(1).normal(0, 1, (240, 3)) * [0.005, 0.005, 0.06])
    got = smooth(raw, rig, make_clip(240), DEFAULT)
    for joint in range(5):
        assert np.var(off_rad(got.rotations, truth)[:, joint]) < 0.3 * np.var(off_rad(raw.rotations, truth)[:, joint])
    for axis in range(3):
        assert np.var((got.translation_m - place)[:, axis]) < 0.5 * np.var((raw.translation_m - place)[:, axis])


@pytest.mark.parametrize("rate", [30, 60, 240])
@pytest.mark.parametrize("noise_deg", [0.0, 0.5])
def test_a_fast_swing_keeps_its_speed(rig, rate, noise_deg):
    """4 rad in a quarter of a second: the wrist peaks at 18 m/s, twice a golfer's."""
    times = np.arange(3 * rate) / rate
    truth = make_track(rig, swing(times))
    raw = make_track(rig, noisy(truth.rotations, np.radians(noise_deg)))
    got = smooth(raw, rig, make_clip(len(times), rate), DEFAULT)
    assert speed(got, rate).max() == pytest.approx(speed(truth, rate).max(), rel=0.03)
    assert abs(int(speed(got, rate).argmax()) - int(speed(truth, rate).argmax())) <= 1


def test_slow_motion_is_filtered_in_real_time(rig):
    """The same frames, said to be taken at 240 and played at 30, must come out as taken and played at 240."""
    times = np.arange(480) / 240
    track = make_track(rig, noisy(swing(times, 1.0), 0.01))
    slow = smooth(track, rig, make_clip(480, 30, capture_rate=Fraction(240)), DEFAULT)
    real = smooth(track, rig, make_clip(480, 240), DEFAULT)
    assert off_rad(slow.rotations, real.rotations).max() < 1e-6


def drifting(rate, seed, share=0.01, lasts_s=0.4):
    """What a network gets wrong of a distance: a slowly changing share of it (AR(1)), as large as its noise."""
    rng = np.random.default_rng(seed)
    keep, kick, out = np.exp(-1 / rate / lasts_s), rng.standard_normal(3 * rate), np.zeros(3 * rate)
    for t in range(1, len(out)):
        out[t] = keep * out[t - 1] + np.sqrt(1 - keep**2) * kick[t]
    return 1 + share * (out + rng.standard_normal(len(out)))


def test_drift_of_a_distance_is_no_motion(rig, monkeypatch):
    """Nobody moves, and the cut-off stays as low as for somebody who stands."""
    errors = []
    for variance_scale in (1.0, DISTANCE_VARIANCE_SCALE):
        monkeypatch.setattr("body4d.motion.smoother.DISTANCE_VARIANCE_SCALE", variance_scale)
        errors_m_s3 = []
        for seed in range(2):
            place = np.array([0.3, 0.1, 4.0]) * drifting(240, seed)[:, None]
            got = smooth(make_track(rig, np.zeros((720, 5, 3)), place), rig, make_clip(720, rate=240), DEFAULT)
            errors_m_s3.append(np.linalg.norm(np.diff(got.translation_m, n=3, axis=0), axis=-1).mean() * 240**3)
        errors.append(np.mean(errors_m_s3))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("rate", [30, 60, 240])
def test_a_dash_at_the_camera_is_followed(rig, rate):
    """Half a metre to and fro once a second: 3 m/s and 20 m/s², as an athlete can, with a network's noise and drift on it."""
    times = np.arange(3 * rate) / rate
    errors = []
    for seed in range(4):
        distance = 6 + 0.5 * np.sin(2 * np.pi * times)
        place = np.array([0.05, 0.02, 1.0]) * (distance * drifting(rate, seed, share=0.005))[:, None]
        got = smooth(make_track(rig, np.zeros((3 * rate, 5, 3)), place), rig, make_clip(3 * rate, rate=rate), DEFAULT)
        errors.append(got.translation_m[:, 2] - distance)
    assert np.sqrt(np.mean(np.square(errors))) < 0.06
    assert np.abs(np.diff(got.translation_m[:, 2])).max() * rate > 0.9 * np.pi


def test_a_turn_past_180_degrees_never_flips(rig):
    """Three whole turns on the spot: rotation vectors wrap, the body must not."""
    times = np.arange(120) / 30
    rotations = np.zeros((120, 5, 3))
    rotations[:, 0] = matrix_to_rotvec(rotvec_to_matrix(times[:, None] * [0, 3 * 2 * np.pi / 4, 0]))
    raw = make_track(rig, noisy(rotations, 0.03))
    got = smooth(raw, rig, make_clip(120), DEFAULT)
    assert off_rad(got.rotations, rotations).max() < 0.08
    steps = geodesic_angle(rotvec_to_matrix(got.rotations[:-1, 0]), rotvec_to_matrix(got.rotations[1:, 0]))
    np.testing.assert_allclose(steps, 3 * 2 * np.pi / 4 / 30, atol=0.02)


def test_a_single_flipped_frame_is_not_followed(rig):
    times = np.arange(90) / 30
    truth = sway(times)
    rotations = noisy(truth, 0.01)
    rotations[40, 2] = matrix_to_rotvec(rotvec_to_matrix(rotations[40, 2]) @ rotvec_to_matrix(np.array([0, 0, 2.5])))
    got = smooth(make_track(rig, rotations), rig, make_clip(90), DEFAULT)
    assert off_rad(got.rotations, truth)[38:43, 2].max() < 0.03


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_few_wrong_frames_in_a_row_are_not_followed(rig, length):
    times = np.arange(90) / 30
    truth = sway(times)
    rotations = noisy(truth, 0.01)
    wrong = slice(40, 40 + length)
    turn = rotvec_to_matrix(np.array([0.2, 0.3, 1.2]))
    rotations[wrong, 2] = matrix_to_rotvec(rotvec_to_matrix(rotations[wrong, 2]) @ turn)
    place = np.tile([0.3, 0.1, 4.0], (90, 1)) + np.random.default_rng(1).normal(0, 0.002, (90, 3))
    true_place = np.tile([0.3, 0.1, 4.0], (90, 1))
    place[wrong] *= 1.2
    got = smooth(make_track(rig, rotations, place), rig, make_clip(90), DEFAULT)
    assert off_rad(got.rotations, truth)[35:50, 2].max() < 0.05
    assert np.abs(got.translation_m - true_place)[35:50].max() < 0.02


def test_uncertainty_is_the_size_of_the_error_and_grows_into_a_gap(rig):
    times = np.arange(240) / 30
    truth = make_track(rig, sway(times), np.stack([0.2 * np.sin(times), 0 * times, 4 + 0.2 * np.cos(times)], -1))
    errors, variances = [], []
    for seed in range(6):
        shaken = truth.translation_m + np.random.default_rng(seed).normal(0, 1, (240, 3)) * [0.005, 0.005, 0.05]
        got = smooth(make_track(rig, noisy(truth.rotations, 0.03, seed), shaken), rig, make_clip(240), DEFAULT)
        errors.append(((got.joints_m - truth.joints_m) ** 2).sum(-1))
        variances.append(got.joint_sigma_m**2)
    ratio = np.sqrt(np.mean(errors, (0, 1)) / np.mean(variances, (0, 1)))
    assert ratio.min() > 0.7
    assert ratio.max() < 1.5
    raw = make_track(rig, noisy(truth.rotations, 0.03), truth.translation_m)
    sigma = smooth(with_gap(raw, 100, 120), rig, make_clip(240), DEFAULT).joint_sigma_m
    assert np.all(np.diff(sigma[100:109], axis=0) > 0)
    assert np.all(np.diff(sigma[111:120], axis=0) < 0)
    assert sigma[110, WRIST] > 3 * sigma[90, WRIST]
    assert np.all(sigma[:, WRIST] > sigma[:, Coco17.LEFT_ELBOW])


def test_nobody_is_swapped_where_two_cross(rig):
    """Two walk past each other; the one behind is taken for the other in half of the frames in between, without confidence."""
    times = np.arange(90) / 30
    place = [np.stack([s * (times - 1.5), 0 * times, 4 + d + 0 * times], -1) for s, d in ((1.0, 0.0), (-1.0, 1.0))]
    hidden = np.flatnonzero(np.abs(times - 1.5) < 0.25)
    rng = np.random.default_rng(0)
    shown = place[1] + rng.normal(0, 0.005, (90, 3))
    taken = hidden[rng.random(len(hidden)) < 0.5]
    shown[taken] = place[0][taken]
    confidence = np.ones(90)
    confidence[hidden] = 0.2
    track = make_track(rig, noisy(sway(times), 0.01), shown, confidence=confidence)
    got = smooth(track, rig, make_clip(90), DEFAULT)
    to_other, to_own = (np.linalg.norm(got.translation_m - p, axis=-1) for p in place)
    assert np.all(to_own < to_other)
    assert to_own.max() < 0.15


def with_gap(track, first, stop):
    keep = np.r_[0:first, stop : len(track)]
    changes = {
        f: getattr(track, f)[keep]
        for f in ("frame_index", "rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
    }
    return dataclasses.replace(track, **changes)


@pytest.mark.parametrize("gap_kind", ["no rows", "rows not observed"])
def test_a_gap_is_bridged_better_than_by_a_line_and_marked(rig, gap_kind):
    times = np.arange(120) / 30
    truth = make_track(rig, sway(times, seed=3), np.stack([0.4 * np.sin(4 * times), 0 * times, 0 * times + 4], -1))
    raw = make_track(rig, noisy(truth.rotations, 0.005), truth.translation_m)
    gap = np.arange(50, 68)
    if gap_kind == "no rows":
        given_track = with_gap(raw, 50, 68)
    else:
        nonsense = raw.rotations.copy()
        nonsense[gap] += 1.0
        given_track = dataclasses.replace(raw, rotations=nonsense, observed=~np.isin(np.arange(120), gap))
    got = smooth(given_track, rig, make_clip(120), DEFAULT)
    assert got.frame_index.tolist() == list(range(120))
    assert np.flatnonzero(~got.observed).tolist() == gap.tolist()
    line = np.stack([np.interp(times, np.delete(times, gap), np.delete(truth.translation_m[:, i], gap)) for i in range(3)], -1)
    ours = np.abs(got.translation_m - truth.translation_m)[gap].max()
    assert ours < 0.5 * np.abs(line - truth.translation_m)[gap].max()
    assert off_rad(got.rotations, truth.rotations)[gap].max() < 0.35
    assert np.isnan(got.keypoints_px[gap]).all()
    assert not got.visibility[gap].any()
    assert np.all(np.diff(got.confidence[50:58]) < 0)
    assert got.confidence[58] < 0.5
    assert np.isnan(got.joints_raw_m[gap]).all()
    np.testing.assert_array_equal(np.delete(got.joints_raw_m, gap, 0), np.delete(raw.joints_m, gap, 0))


def test_a_long_gap_stays_open_and_does_not_pull(rig):
    rotations = np.zeros((100, 5, 3))
    rotations[70:, 0, 1] = 1.0
    got = smooth(with_gap(make_track(rig, rotations), 30, 70), rig, make_clip(100), DEFAULT)
    assert got.frame_index.tolist() == [*range(30), *range(70, 100)]
    assert off_rad(got.rotations, rotations[got.frame_index]).max() < 1e-6


def test_unobserved_ends_are_left_out(rig):
    track = make_track(rig, np.zeros((20, 5, 3)), observed=np.isin(np.arange(20), range(4, 15)))
    assert smooth(track, rig, make_clip(20), DEFAULT).frame_index.tolist() == list(range(4, 15))


def test_what_is_not_visible_counts_less(rig):
    """The same disturbance of the left forearm, on frames where the wrist is seen and where it is not."""
    times = np.arange(90) / 30
    rotations = noisy(sway(times), 0.01)
    off = rotations.copy()
    off[40:44, 2, 2] += 0.15
    visibility = np.ones((90, 17))
    visibility[40:44, WRIST] = 0.0
    seen = smooth(make_track(rig, off), rig, make_clip(90), DEFAULT)
    hidden = smooth(make_track(rig, off, visibility=visibility), rig, make_clip(90), DEFAULT)
    plain = smooth(make_track(rig, rotations), rig, make_clip(90), DEFAULT)
    pulled = [off_rad(a.rotations, plain.rotations)[40:44, 2].mean() for a in (seen, hidden)]
    assert pulled[1] < 0.5 * pulled[0]


def test_completed_rows_stay_flagged_and_bridged_rows_are_not(rig):
    hidden = np.isin(np.arange(60), np.arange(20, 30))
    whole = make_track(rig, sway(np.arange(60) / 30))
    track = dataclasses.replace(with_gap(whole, 25, 35), hidden=np.delete(hidden, np.arange(25, 35)))
    got = smooth(track, rig, make_clip(60), DEFAULT)
    assert len(got) == 60
    assert np.flatnonzero(got.hidden).tolist() == [20, 21, 22, 23, 24]
    assert np.flatnonzero(~got.observed).tolist() == list(range(25, 35))


def test_joints_that_never_move_keep_their_rotation_exactly(rig):
    rotations = noisy(sway(np.arange(40) / 30), 0.02)
    rotations[:, 3] = [0.1, 0.2, 0.3]
    got = smooth(make_track(rig, rotations), rig, make_clip(40), DEFAULT)
    np.testing.assert_allclose(got.rotations[:, 3], rotations[:, 3], atol=1e-12)


def test_a_rig_of_another_body_is_refused(rig):
    track = make_track(rig, np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="one body"):
        smooth(track, dataclasses.replace(rig, joint_set="body29"), make_clip(4), DEFAULT)


def test_disabled_or_never_observed_comes_back_as_it_was(rig):
    track = make_track(rig, np.zeros((4, 5, 3)))
    assert smooth(track, rig, make_clip(4), MotionSettings(enabled=False)) is track
    unseen = dataclasses.replace(track, observed=np.zeros(4, bool))
    assert smooth(unseen, rig, make_clip(4), DEFAULT) is unseen


def test_relevant_keypoints_are_those_a_joint_moves(rig):
    relevance = keypoint_relevance(rig)
    np.testing.assert_allclose(relevance.sum(1), 1)
    assert set(np.flatnonzero(relevance[1])) == {Coco17.LEFT_ELBOW, WRIST}
    assert relevance[1, Coco17.LEFT_ELBOW] > relevance[1, WRIST]
    assert set(np.flatnonzero(relevance[2])) == {WRIST}
    assert {Coco17.LEFT_SHOULDER, Coco17.RIGHT_SHOULDER} <= set(np.flatnonzero(relevance[0]))


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_view_coordinates_and_back_are_the_same_points(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (20, 3)) + np.array([0, 0, 5])
    view = ViewCoordinates.around(points)
    np.testing.assert_allclose(view.to_points(*view.from_points(points)), points, atol=1e-9)


def test_rotations_of_one_joint_do_not_depend_on_the_others():
    times = np.arange(60) / 30
    local = rotvec_to_matrix(noisy(sway(times), 0.03))
    variances = np.full((60, 5), 0.03**2)
    together, _ = smooth_rotations(times, local, variances, DEFAULT)
    alone, _ = smooth_rotations(times, local[:, 2:3], variances[:, 2:3], DEFAULT)
    np.testing.assert_allclose(together[:, 2:3], alone, atol=1e-10)


@pytest.mark.slow  # Anny is set up
@pytest.mark.parametrize(("rate", "kept"), [(30, 0.04), (60, 0.03), (240, 0.03)])
def test_a_golf_swing_of_the_whole_body_keeps_its_speed_and_loses_its_jitter(rate, kept):
    """Noise in every joint of the body model, as a good fit has: 0.3 degrees, 2 mm across the view, 1 cm along it."""
    from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
    from body4d.core.joints import Body29
    from body4d.evaluate.synthetic.swing import GolfSwing

    rig = anny_body().rig(DEFAULT_SHAPE)
    times = np.arange(3 * rate) / rate
    rotations, root, _ = GolfSwing(rig).poses(times - 0.6)
    root = root + np.array([0, 0.2, 4.0])
    rng = np.random.default_rng(0)
    turned = np.abs(rotations - rotations[:1]).max((0, 2)) > 1e-3
    raw_rotations = rotations.copy()
    raw_rotations[:, turned] = noisy(rotations[:, turned], np.radians(0.3))
    raw_root = root + rng.normal(0, 1, root.shape) * [0.002, 0.002, 0.01]
    body29 = {"joint_set": "body29", "visibility": np.ones((len(times), 29)), "keypoints_px": np.ones((len(times), 29, 2))}
    truth = make_track(rig, rotations, root, **body29)
    raw = make_track(rig, raw_rotations, raw_root, **body29)
    got = smooth(raw, rig, make_clip(len(times), rate), DEFAULT)

    def jitter(track):
        return np.linalg.norm(np.diff(track.joints_m, 3, axis=0), axis=-1).mean() * rate**3

    def error(track):
        return np.linalg.norm(track.joints_m - truth.joints_m, axis=-1).mean()

    wrist = Body29.LEFT_WRIST  # the lead wrist, whose speed is measured in golf
    assert speed(got, rate, wrist).max() == pytest.approx(speed(truth, rate, wrist).max(), rel=kept)
    assert jitter(got) < 0.25 * jitter(raw)
    assert error(got) < 0.6 * error(raw)


def test_nothing_is_smoothed_or_bridged_across_a_cut(rig):
    times = np.arange(60) / 30
    rotations = noisy(sway(times), np.radians(2))
    rotations[30:] += np.array([0.0, 1.2, 0.0])
    track = make_track(rig, rotations)
    cut = dataclasses.replace(make_clip(60), cuts=np.array([30]))
    together = smooth(track, rig, cut, DEFAULT)
    first = smooth(make_track(rig, rotations[:30]), rig, make_clip(30), DEFAULT)
    # What the first shot becomes depends on the second only through the noise, which is estimated from both.
    assert off_rad(together.rotations[:30], first.rotations).max() < np.radians(2)
    hole = smooth(with_gap(track, 27, 33), rig, cut, DEFAULT)
    assert not set(range(27, 33)) & set(hole.frame_index.tolist())


def test_frames_far_apart_do_not_pull_at_each_other(rig):
    rotations = noisy(sway(np.arange(12) / 5), np.radians(5))
    out = smooth(make_track(rig, rotations), rig, make_clip(12, rate=5), DEFAULT)
    assert off_rad(out.rotations, rotations).max() < 1e-6
    assert len(out) == 12
