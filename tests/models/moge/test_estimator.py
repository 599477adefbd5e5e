"""MoGe-2 as camera estimator: used only where nothing better is known, and what it estimates on a clip."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.config import CameraSettings, ComputeSettings, MogeSettings
from body4d.core.errors import DeviceError, SettingsError, WeightsError
from body4d.core.stages import ignore_progress
from body4d.core.types import Camera, Clip
from body4d.models.moge import estimator as moge_estimator
from body4d.models.moge.checkpoint import load_moge
from body4d.models.moge.estimator import (
    FocalEstimator,
    FrameGeometry,
    MogeCameraEstimator,
    MogeFocalEstimator,
    metric_depth,
    moge_from_folder,
)
from body4d.models.moge.network.camera import sampled_uv
from moge_files import write_tiny_moge

CPU = ComputeSettings(device="cpu")
FOUR = MogeSettings(num_frames=4)
W, H, COUNT = 160, 90, 30


class Frames:
    """Noise, and which frames were asked for."""

    def __init__(self, focal_mm35: float | None = None) -> None:
        times = np.arange(COUNT) / 30
        self.clip = Clip(Path("noise.mp4"), W, H, Fraction(30), times, np.arange(COUNT), focal_mm35=focal_mm35)
        self.asked: list[int] = []

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, COUNT if last is None else last, step):
            self.asked.append(frame)
            yield frame, np.random.default_rng(frame).integers(0, 255, (H, W, 3), dtype=np.uint8)


class FixedFocals:
    """A network that answers with these focal lengths in turn; ``max_batch`` frames fit into memory."""

    def __init__(self, focals: Sequence[float], max_batch: int = 8) -> None:
        self.left, self.max_batch = list(focals), max_batch

    def look_at(self, images: Sequence[np.ndarray]) -> list[FrameGeometry]:
        if len(images) > self.max_batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [FrameGeometry(self.left.pop(0)) for _ in images]

    def bytes_per_frame(self, height_px: int, width_px: int) -> int:
        return 1


def never(device: torch.device, dtype: torch.dtype) -> FixedFocals:
    raise AssertionError("the network was loaded")


@pytest.mark.parametrize(
    ("settings", "metadata", "source"),
    [({"fov_deg": 60}, None, "fov"), ({"focal_mm35": 50}, 26.0, "focal_mm35"), ({}, 26.0, "metadata")],
)
def test_what_is_known_needs_no_network(settings: dict[str, float], metadata: float | None, source: str) -> None:
    frames = Frames(metadata)
    camera = MogeCameraEstimator(never, CameraSettings(**settings), FOUR, CPU).estimate(frames, ignore_progress).value
    assert camera.source == source
    assert camera.focal_spread is None
    assert not frames.asked


def test_a_contradiction_is_an_error_before_anything_is_loaded() -> None:
    with pytest.raises(SettingsError, match="contradict"):
        MogeCameraEstimator(never, CameraSettings(fov_deg=30, focal_mm35=20), FOUR, CPU).estimate(Frames(), ignore_progress)


def test_a_persons_height_gives_no_focal_length() -> None:
    network = FixedFocals([150.0] * 4)
    assert (
        MogeCameraEstimator(lambda d, t: network, CameraSettings(person_height_m=1.7), FOUR, CPU)
        .estimate(Frames(), ignore_progress)
        .value.source
        == "moge"
    )


def test_the_median_of_sampled_frames_counts() -> None:
    frames, reported = Frames(), list[tuple[int, int]]()
    estimator = MogeCameraEstimator(lambda d, t: FixedFocals([150.0, 160.0, 140.0, 900.0]), CameraSettings(), FOUR, CPU)
    output = estimator.estimate(frames, lambda done, total: reported.append((done, total)))
    camera = output.value
    assert frames.asked == [4, 11, 18, 25]
    assert (camera.focal_px, camera.source) == (155.0, "moge")
    assert camera.focal_spread == pytest.approx(1.4826 * 10 / 155, rel=0.05)
    assert (camera.cx_px, camera.cy_px, camera.width_px, camera.height_px, camera.static) == (80, 45, W, H, True)
    assert reported[0] == (0, 4)
    assert reported[-1] == (4, 4)
    assert [warning.code for warning in output.warnings] == ["fov_estimated"]


def test_the_network_is_loaded_ahead_where_it_will_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a large GPU has the room; here it is given."""
    monkeypatch.setattr(moge_estimator, "has_room_ahead", lambda device: True)
    for unasked in (CameraSettings(fov_deg=60), CameraSettings(fov_deg=30, focal_mm35=20)):
        MogeCameraEstimator(never, unasked, FOUR, CPU).load_ahead(Frames().clip)
    loaded: list[FixedFocals] = []

    def load(device: torch.device, dtype: torch.dtype) -> FixedFocals:
        loaded.append(FixedFocals([150.0] * 4))
        return loaded[-1]

    estimator, frames = MogeCameraEstimator(load, CameraSettings(), FOUR, CPU), Frames()
    estimator.load_ahead(frames.clip)
    assert estimator.estimate(frames, ignore_progress).value.focal_px == 150
    assert len(loaded) == 1


def test_an_implausible_focal_length_gives_the_default_and_a_warning() -> None:
    estimator = MogeCameraEstimator(lambda d, t: FixedFocals([3.0] * 4), CameraSettings(), FOUR, CPU)
    output = estimator.estimate(Frames(), ignore_progress)
    assert output.value.source == "default"
    assert [warning.code for warning in output.warnings] == ["fov_assumed", "fov_not_estimated"]
    assert "only fields of view of 176 to 176 degrees" in output.warnings[1].message


def test_running_out_of_memory_halves_the_batch_and_warns() -> None:
    estimator = MogeCameraEstimator(
        lambda d, t: FixedFocals([150.0] * 4, max_batch=1), CameraSettings(), FOUR, CPU.model_copy(update={"batch_size": 4})
    )
    output = estimator.estimate(Frames(), ignore_progress)
    assert output.value.focal_px == 150
    assert "4 frames at once" in output.warnings[-1].message
    with pytest.raises(DeviceError, match="even one of the frames"):
        MogeCameraEstimator(lambda d, t: FixedFocals([], max_batch=0), CameraSettings(), FOUR, CPU).estimate(Frames(), ignore_progress)


def test_a_moving_camera_is_what_the_user_says() -> None:
    estimator = MogeCameraEstimator(lambda d, t: FixedFocals([150.0] * 4), CameraSettings(motion="moving"), FOUR, CPU)
    assert not estimator.estimate(Frames(), ignore_progress).value.static


def test_a_checkpoint_on_disk_gives_its_focal_length(tmp_path: Path) -> None:
    """The made-up network sees with a focal length of 1.5 half diagonals, whatever it looks at."""
    write_tiny_moge(tmp_path)
    camera = MogeCameraEstimator(moge_from_folder(tmp_path, FOUR), CameraSettings(), FOUR, CPU).estimate(Frames(), ignore_progress).value
    assert camera.source == "moge"
    assert camera.focal_px == pytest.approx(1.5 * np.hypot(W, H) / 2, rel=0.01)
    assert camera.focal_spread is not None
    assert camera.focal_spread < 0.01


def test_the_metric_depth_of_made_up_points_is_found_with_the_focal_length_that_is_known() -> None:
    """Points of a room that the network has in other units and too near; its own focal length is not used."""
    camera = Camera(140.0, W / 2, H / 2, W, H)
    uv, focal, scale = sampled_uv(H, W), 140.0 / (np.hypot(W, H) / 2), 3.0
    z_m = 4 + uv[..., 0] + 0.5 * np.sin(5 * uv[..., 1])
    points = np.concatenate([uv * z_m[..., None] / focal, z_m[..., None]], -1) / scale - [0, 0, 0.4]
    points[:20] = np.nan
    depth = metric_depth(FrameGeometry(900.0, points, scale), 7, camera)
    assert depth is not None
    assert (depth.frame, depth.x_px[0], depth.y_px[0]) == (7, 0.5, 0.5)
    assert depth.z_m[20:] == pytest.approx(z_m[20:], rel=1e-3)
    assert np.isnan(depth.z_m[:20]).all()
    points[:] = np.nan
    assert metric_depth(FrameGeometry(900.0, points, scale), 7, camera) is None


@pytest.mark.parametrize("settings", [{}, {"focal_mm35": 26.0}], ids=["estimated", "given"])
def test_a_checkpoint_gives_metric_depth_where_it_is_asked_and_is_loaded_once(tmp_path: Path, settings: dict[str, float]) -> None:
    from_folder = moge_from_folder(write_tiny_moge(tmp_path).parent, FOUR)
    loaded = list[torch.device]()

    def load(device: torch.device, dtype: torch.dtype) -> FocalEstimator:
        loaded.append(device)
        return from_folder(device, dtype)

    frames = Frames()
    output = MogeCameraEstimator(load, CameraSettings(**settings), FOUR, CPU).estimate(frames, ignore_progress)
    assert output.depth is not None
    assert len(loaded) == (0 if settings else 1)
    assert list(output.depth.frames) == [4, 11, 18, 25]
    maps = output.depth.measure(output.value, ignore_progress).value
    assert len(loaded) == 1
    assert [depth.frame for depth in maps] == [4, 11, 18, 25]
    network, dtype = load_moge(tmp_path / "model.pt"), torch.float32
    _, image = next(iter(frames.read(18)))
    with torch.inference_mode():
        whole = network.to(dtype)(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, network.num_tokens(FOUR.detail))
    z, metres = whole.points[0, ..., 2].numpy(), whole.metric_scale
    assert metres is not None
    rows, columns = (np.floor(grid).astype(int) for grid in (maps[2].y_px, maps[2].x_px))
    # All but a shift along z is what the whole network gives.
    shift = maps[2].z_m / float(metres) - z[rows][:, columns]
    assert np.ptp(shift) < 1e-3
    assert abs(shift.mean()) < (0.01 if not settings else 1.0)


def test_a_checkpoint_that_knows_no_metres_gives_no_depth(tmp_path: Path) -> None:
    write_tiny_moge(tmp_path, scale_head=None)
    output = MogeCameraEstimator(moge_from_folder(tmp_path, FOUR), CameraSettings(), FOUR, CPU).estimate(Frames(), ignore_progress)
    assert output.value.source == "moge"
    assert output.depth is not None
    assert output.depth.measure(output.value, ignore_progress).value == ()


def test_batches_change_nothing(tmp_path: Path) -> None:
    write_tiny_moge(tmp_path)
    one, many = (
        MogeCameraEstimator(moge_from_folder(tmp_path, FOUR), CameraSettings(), FOUR, CPU.model_copy(update={"batch_size": n}))
        .estimate(Frames(), ignore_progress)
        .value
        for n in (1, 3)
    )
    assert one.focal_px == pytest.approx(many.focal_px, rel=1e-6)


def test_an_empty_mask_gives_no_focal_length(tmp_path: Path) -> None:
    network = MogeFocalEstimator(load_moge(write_tiny_moge(tmp_path)), FOUR, torch.device("cpu"), torch.float32)
    points, mask, _ = network.predict_points([image for _, image in Frames().read(0, 1)])
    assert np.isfinite(network.fit_focal_px(points[0], mask[0], H, W))
    assert np.isnan(network.fit_focal_px(points[0], np.zeros_like(mask[0]), H, W))
    assert network.bytes_per_frame(2 * H, 2 * W) > network.bytes_per_frame(H, W) > 0


def test_a_missing_checkpoint_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected model\.pt"):
        moge_from_folder(tmp_path, FOUR)
