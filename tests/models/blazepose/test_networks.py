"""BlazePose's published files through LiteRT, held to what MediaPipe's own graphs say of one picture; skipped where the files are not.

``mediapipe_answers.npz`` is written by ``benchmarks/parity.py blazepose --write`` from ``two_people.png``, a rendering of our own.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from body4d.core.errors import WeightsError
from body4d.models.blazepose.model_files import BlazePoseModels
from body4d.models.blazepose.networks import PoseNetworks, suppress_native_logs
from body4d.models.blazepose.roi import RotatedRoi

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def networks(models):
    with PoseNetworks(models) as both:
        yield both


@pytest.fixture(scope="module")
def rgb():
    return np.asarray(Image.open(HERE / "two_people.png").convert("RGB"))


@pytest.fixture(scope="module")
def answers():
    return dict(np.load(HERE / "mediapipe_answers.npz"))


def test_people_are_detected_as_mediapipe_detects_them(networks, rgb, answers):
    found = 0
    for number, tile in enumerate(answers["tiles"]):
        ours, theirs = networks.detect(rgb, [tuple(tile.tolist())]), answers[f"detections_0_{number}"]
        assert len(ours) == len(theirs)
        for roi, row in zip(ours, theirs, strict=True):
            expected = RotatedRoi.from_alignment(row[:4].reshape(2, 2).astype(float))
            assert (roi.x_px, roi.y_px, roi.side_px) == pytest.approx((expected.x_px, expected.y_px, expected.side_px), abs=0.05)
            assert roi.angle == pytest.approx(expected.angle, abs=0.002)
            assert roi.score == pytest.approx(row[4], abs=1e-3)
            found += 1
    assert found >= 2


def test_regions_are_read_as_mediapipe_reads_them(networks, rgb, answers):
    regions = [RotatedRoi(*row) for row in answers["regions"].tolist()]
    for number, ours in enumerate(networks.landmarks(rgb, regions)):
        theirs = {name.rsplit("_", 2)[0]: value for name, value in answers.items() if name.endswith(f"_0_{number}")}
        assert ours is not None
        assert np.abs(ours.points_px - theirs["points_px"]).max() < 0.1
        assert np.abs(ours.alignment_px - theirs["alignment_px"]).max() < 0.1
        assert np.abs(ours.depth_px - theirs["depth_px"]).max() < 0.2
        assert np.abs(ours.world_m - theirs["world_m"]).max() < 0.002
        assert np.abs(ours.visibility - theirs["visibility"]).max() < 0.003
        x0, y0, x1, y1 = ours.box_px
        theirs_mask = np.unpackbits(theirs["mask"])[: rgb.shape[0] * rgb.shape[1]].reshape(rgb.shape[:2])[y0:y1, x0:x1].astype(bool)
        mask = ours.mask_probability > 0.5
        assert (mask & theirs_mask).sum() / (mask | theirs_mask).sum() > 0.99


def test_answers_do_not_depend_on_the_number_of_workers(models, networks, rgb, answers):
    regions = [RotatedRoi(*row) for row in answers["regions"].tolist()]
    with PoseNetworks(models, 1) as alone:
        pairs = [
            (alone.landmarks(rgb, regions[:1])[0], networks.landmarks(rgb, regions[:1])[0]),  # one thread, two threads
            (alone.landmarks(rgb, regions)[0], networks.landmarks(rgb, regions)[0]),
            (alone.landmarks(rgb, regions[:1])[0], networks.landmarks(rgb, regions)[0]),
        ]
    for one, other in pairs:
        assert one is not None
        assert other is not None
        for name in ("points_px", "depth_px", "world_m", "visibility", "mask_probability"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_a_region_outside_the_picture_holds_nobody(networks, rgb):
    outside = [RotatedRoi(-500, -500, 100, 0), RotatedRoi(20, 20, 0.5, 0)]
    assert networks.landmarks(rgb, outside) == [None, None]
    assert networks.landmarks(rgb, []) == []
    assert networks.detect(rgb, []) == []


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_a_file_that_is_not_the_network_is_named(models, tmp_path, content):
    path = models.detector  # the other network's file
    if content is not None:
        path = tmp_path / "pose_landmark_full.tflite"
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="is not the model file") as raised:
        PoseNetworks(BlazePoseModels(models.detector, path, "full"))
    assert "body4d weights download lite" in str(raised.value.hint)


def test_loading_and_running_says_nothing_on_standard_error(models, rgb, capfd):
    with PoseNetworks(models) as both:
        both.landmarks(rgb, [RotatedRoi(90, 80, 90, 0)])
    assert capfd.readouterr().err == ""


def test_quiet_stderr_drops_the_runtimes_lines_and_keeps_others(capfd):
    with suppress_native_logs():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nW0000 00:00:1795.9  12 x.cc:1] hush\nkeep this\n")

    def fail():
        with suppress_native_logs():
            os.write(2, b"and this\n")
            raise KeyError("gone wrong")

    with pytest.raises(KeyError, match="gone wrong"):
        fail()
    assert capfd.readouterr().err == "keep this\nand this\n"
