"""The benchmark of motion: what it injects comes from the seed alone, and each target is checked by its own figure."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

GOOD = {
    "mpjpe_mm": 10.0, "acceleration_m_s2": 1.0, "jitter_m_s3": 20.0, "wrist_speed_kept": 0.99,
    "foot_sliding_m_s": 0.1, "gap_mm": 20.0, "swapped_frames": 0.0,
}  # fmt: skip
RAW = GOOD | {
    "mpjpe_mm": 20.0,
    "acceleration_m_s2": 50.0,
    "jitter_m_s3": 900.0,
    "wrist_speed_kept": 1.2,
    "foot_sliding_m_s": 1.0,
    "gap_mm": 60.0,
}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"jitter_m_s3": 300.0}, ["jitter at most"]),
        ({"mpjpe_mm": 20.5}, ["MPJPE not worse"]),
        ({"wrist_speed_kept": 0.95}, ["peak wrist speed of"]),
        ({"foot_sliding_m_s": 0.5}, ["foot sliding at most"]),
        ({"gap_mm": 40.0}, ["gap error at most"]),
        ({"swapped_frames": 1.0}, ["nobody nearer"]),
        ({"wrist_speed_kept": float("nan"), "gap_mm": float("nan")}, []),
        ({"acceleration_m_s2": 60.0}, ["acceleration error: ours best"]),
    ],
)
def test_each_target_is_checked_by_its_own_figure(change, missed):
    from motion_targets import check_targets

    failed = [check.target for check in check_targets({"swing-30": {"raw": RAW, "ours": GOOD | change}}) if not check.holds]
    assert len(failed) == len(missed)
    assert all(target.startswith(start) for target, start in zip(failed, missed, strict=True))


@pytest.mark.slow  # Anny is set up
def test_the_same_seed_gives_the_same_clip_and_another_another():
    from motion_tracks import make_tracks

    one, again, other = (make_tracks("walk", 30, seed, seconds=1.5).people[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.raw.joints_m, again.raw.joints_m)
    np.testing.assert_array_equal(one.raw.observed, again.raw.observed)
    assert np.abs(one.raw.joints_m - other.raw.joints_m).max() > 0.01
    np.testing.assert_array_equal(one.truth.joints_m, other.truth.joints_m)


@pytest.mark.slow  # Anny is set up
def test_without_drift_only_single_frames_are_off():
    """Averaged over a tenth of a second, noise is nearly gone and drift is not."""
    from motion_tracks import make_tracks

    off = []
    for drift in (0.0, 1.0):
        made = make_tracks("walk", 30, 3, seconds=1.5, drift=drift).people[0]
        apart = np.median(np.lib.stride_tricks.sliding_window_view(made.raw.joints_m - made.truth.joints_m, 9, axis=0), axis=-1)
        off.append(np.linalg.norm(apart[made.raw.observed[4:-4]], axis=-1).mean())
    assert off[0] < off[1] / 2
