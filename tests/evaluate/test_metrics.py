import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.evaluate import metrics as m
from body4d.geometry.rotations import rotvec_to_matrix

RNG = np.random.default_rng(0)
BODY = RNG.normal(size=(6, 13, 3)) * 0.4 + np.array([0.3, -0.1, 4.0])
FRAMES = np.arange(6)


def test_a_known_offset_is_the_absolute_error_and_pelvis_alignment_removes_it():
    moved = BODY + np.array([0.03, 0.0, 0.04])
    assert m.mpjpe_m(moved, BODY) == pytest.approx(0.05)
    assert m.mpjpe_m(m.pelvis_aligned(moved, 7, 8), m.pelvis_aligned(BODY, 7, 8)) == pytest.approx(0.0, abs=1e-12)


def test_one_joint_of_thirteen_off_counts_a_thirteenth():
    moved = BODY.copy()
    moved[:, 5, 2] += 0.13
    assert m.mpjpe_m(moved, BODY) == pytest.approx(0.01)


def test_pelvis_alignment_uses_the_middle_of_both_hips():
    joints = np.zeros((1, 3, 3))
    joints[0, 1], joints[0, 2] = (1, 0, 0), (3, 2, 0)
    np.testing.assert_allclose(m.pelvis_aligned(joints, 1, 2)[0, 0], (-2, -1, 0))


@given(st.integers(0, 2**31), st.floats(0.3, 3))
def test_procrustes_undoes_any_turn_scale_and_move(seed, scale):
    rng = np.random.default_rng(seed)
    turn = rotvec_to_matrix(rng.normal(size=(6, 1, 3)))
    other = scale * np.einsum("tkab,tkb->tka", np.broadcast_to(turn, (6, 13, 3, 3)), BODY) + rng.normal(size=(6, 1, 3))
    assert m.pa_mpjpe_m(other, BODY) < 1e-9
    assert m.mpjpe_m(other, BODY) > 1e-3


def test_procrustes_does_not_mirror():
    assert m.pa_mpjpe_m(BODY * [-1, 1, 1], BODY) > 0.05


def test_procrustes_is_the_least_squares_optimum():
    noisy = BODY + RNG.normal(size=BODY.shape) * 0.05
    aligned = m.procrustes_aligned(noisy, BODY)
    best = np.sum((aligned - BODY) ** 2)
    middle = aligned.mean(1, keepdims=True)
    for step in (0.01, -0.01):
        assert np.sum(((aligned - middle) * (1 + step) + middle - BODY) ** 2) > best
        assert np.sum((aligned + np.array([step, 0, 0]) - BODY) ** 2) > best
        turn = rotvec_to_matrix(np.array([0.0, step, 0.0]))
        assert np.sum(((aligned - middle) @ turn.T + middle - BODY) ** 2) > best


def test_lateral_and_depth_errors_are_separate():
    assert m.lateral_and_depth_error_m(BODY + np.array([0.03, -0.04, 0.0]), BODY) == pytest.approx((0.05, 0.0))
    assert m.lateral_and_depth_error_m(BODY + np.array([0.0, 0.0, -0.07]), BODY) == pytest.approx((0.0, 0.07))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_polynomials_are_exact_at_uneven_times(order):
    times = np.array([0.0, 0.03, 0.05, 0.11, 0.2, 0.21, 0.3])
    factor = {1: 1, 2: 2, 3: 6}[order]
    values = 1.7 * times**order - 2.0 * times ** (order - 1)
    np.testing.assert_allclose(m.derivative(values, times, order), 1.7 * factor, rtol=1e-7)


@pytest.mark.parametrize("rate", [30, 60, 240])
def test_acceleration_error_of_a_wrong_parabola_is_the_same_at_any_rate(rate):
    times = np.arange(rate) / rate
    truth = np.zeros((rate, 2, 3))
    wrong = truth + (0.5 * 3.0 * times**2)[:, None, None] * np.array([0.0, 0.6, 0.8])
    assert m.acceleration_error_m_s2(wrong, truth, times, np.arange(rate)) == pytest.approx(3.0, rel=1e-6)
    assert m.acceleration_error_m_s2(truth + 0.5, truth, times, np.arange(rate)) == pytest.approx(0.0, abs=1e-9)


def test_jitter_is_the_jerk_and_zero_for_a_parabola():
    times = np.cumsum(RNG.uniform(0.02, 0.05, 20))
    cubic = np.zeros((20, 1, 3))
    cubic[:, 0, 0] = 2.0 * times**3
    assert m.jitter_m_s3(cubic, times, np.arange(20)) == pytest.approx(12.0, rel=1e-5)
    assert m.jitter_m_s3(np.repeat((times**2)[:, None, None], 3, 2), times, np.arange(20)) == pytest.approx(0.0, abs=1e-6)


def test_no_derivative_is_taken_across_a_gap():
    frames = np.array([0, 1, 2, 3, 10, 11, 12, 13])
    times = frames / 30
    jump = np.zeros((8, 1, 3))
    jump[4:] = 5.0
    assert m.jitter_m_s3(jump, times, frames) == pytest.approx(0.0)
    assert m.peak_speed_m_s(jump[:, 0], times, frames) == pytest.approx(0.0)
    assert m.jitter_m_s3(jump, np.arange(8) / 30, np.arange(8)) > 1e4


def test_too_few_frames_give_nan_not_zero():
    assert np.isnan(m.jitter_m_s3(BODY[:3], FRAMES[:3] / 30, FRAMES[:3]))
    assert np.isnan(m.acceleration_error_m_s2(BODY[:2], BODY[:2], FRAMES[:2] / 30, FRAMES[:2]))
    assert np.isnan(m.peak_speed_m_s(BODY[:1, 0], FRAMES[:1] / 30, FRAMES[:1]))


def test_foot_sliding_counts_only_standing_feet():
    times = np.arange(10) / 30
    truth = np.zeros((10, 2, 3))
    truth[:, 1, 0] = 2.0 * times  # the second foot truly moves
    predicted = truth + 0.0
    predicted[:, 0, 0] = 0.3 * times  # the first slides
    predicted[:, 1, 0] = 9.0 * times  # wrong, but not standing
    assert m.foot_sliding_m_s(predicted, truth, times, np.arange(10)) == pytest.approx(0.3)
    assert np.isnan(m.foot_sliding_m_s(predicted[:, 1:], truth[:, 1:], times, np.arange(10)))


def test_peak_speed_is_in_metres_a_second_of_true_time():
    times = np.array([0.0, 0.1, 0.2, 0.25])
    point = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.2, 0], [0.1, 0.2, 0.4]])
    assert m.peak_speed_m_s(point, times, np.arange(4)) == pytest.approx(8.0)


def test_mask_iou_of_known_rectangles():
    a, b = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    a[:, :6] = True
    b[:, 4:] = True
    assert m.mask_iou(a, b) == pytest.approx(0.2)
    assert m.mask_iou(a, a) == 1.0
    assert np.isnan(m.mask_iou(a & ~a, a & ~a))


def frame(pairs, truth_ids=(1, 2), track_ids=(7, 8)):
    """Overlaps of one frame from {(true id, track id): iou}."""
    iou = np.array([[pairs.get((t, f), 0.0) for f in track_ids] for t in truth_ids]).reshape(len(truth_ids), len(track_ids))
    return m.FrameOverlaps(list(truth_ids), list(track_ids), iou)


STRAIGHT = {(1, 7): 0.9, (2, 8): 0.9}
SWAPPED = {(1, 8): 0.9, (2, 7): 0.9}


def test_perfect_tracking():
    counts = m.clear_mot([frame(STRAIGHT)] * 5)
    assert (counts.matches, counts.misses, counts.false_positives, counts.identity_switches, counts.mota) == (10, 0, 0, 0, 1.0)
    assert m.match_identities(counts.overlap_sum) == {1: 7, 2: 8}


def test_swapped_ids_are_two_switches_and_swapping_back_two_more():
    counts = m.clear_mot([frame(STRAIGHT)] * 3 + [frame(SWAPPED)] * 2 + [frame(STRAIGHT)] * 3)
    assert counts.identity_switches == 4
    assert counts.mota == pytest.approx(1 - 4 / 16)
    assert m.match_identities(counts.overlap_sum) == {1: 7, 2: 8}


def test_a_switch_after_an_absence_counts():
    gone = frame({(2, 8): 0.9}, track_ids=(8,))
    counts = m.clear_mot([frame(STRAIGHT), gone, gone, frame({(1, 9): 0.9, (2, 8): 0.9}, track_ids=(9, 8))])
    assert (counts.identity_switches, counts.misses) == (1, 2)


def test_a_pair_holds_while_it_overlaps_enough_though_another_overlaps_more():
    crossing = frame({(1, 7): 0.4, (1, 8): 0.6, (2, 7): 0.6, (2, 8): 0.4})
    assert m.clear_mot([frame(STRAIGHT), crossing]).identity_switches == 0
    lost = frame({(1, 7): 0.1, (1, 8): 0.6, (2, 7): 0.6, (2, 8): 0.1})
    assert m.clear_mot([frame(STRAIGHT), lost]).identity_switches == 2


def test_misses_and_false_positives():
    counts = m.clear_mot([frame({(1, 7): 0.9, (2, 8): 0.1})])
    assert (counts.matches, counts.misses, counts.false_positives) == (1, 1, 1)
    assert np.isnan(m.clear_mot([frame({}, truth_ids=(), track_ids=())]).mota)


def test_nobody_matched_assigns_nobody():
    assert m.match_identities({}) == {}
