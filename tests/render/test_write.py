"""The pictures of whole clips, written and read back."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from body4d.config import PictureSettings
from body4d.core.errors import Cancelled, OutputError
from body4d.core.types import Clip, Scene
from body4d.render import contact_sheet
from body4d.render.frame_renderer import PanelLayout
from body4d.render.write import write_pictures
from body4d.video import VideoWriter
from body4d.video.writer import DEFAULT_CRF, DEFAULT_PRESET
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up

CELL_PX = 64
QUICK = PictureSettings(panel_height_px=180, num_sheet_frames=4, encoder="x264")
GREY = 90


class GreyFrames:
    """A clip of even grey."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, len(self.clip) if last is None else last, step):
            yield frame, np.full((self.clip.height_px, self.clip.width_px, 3), GREY, np.uint8)


def write(scene: Scene, folder: Path, settings: PictureSettings = QUICK, report: Any = lambda done, total: None) -> list[Path]:
    paths = [folder / name for name in ("overlay.mp4", "views.mp4", "contact_sheet.png")]
    write_pictures(scene, GreyFrames(scene.clip), *paths, settings, report)
    return paths


def read(path: Path) -> tuple[list[Any], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [float(frame.time) for frame in frames]


def resized_scene(scene: Scene, width_px: int, height_px: int) -> Scene:
    clip = dataclasses.replace(scene.clip, width_px=width_px, height_px=height_px)
    camera = dataclasses.replace(
        scene.camera, focal_px=height_px * 1.2, cx_px=width_px / 2, cy_px=height_px / 2, width_px=width_px, height_px=height_px
    )
    return dataclasses.replace(scene, clip=clip, camera=camera)


@pytest.fixture(scope="module", autouse=True)
def small_sheet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contact_sheet, "CELL_HEIGHT_PX", CELL_PX)
        yield


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2, 9, gaps=True, variable_rate=True)


@pytest.fixture(scope="module")
def written(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(scene, tmp_path_factory.mktemp("pictures"))


def test_every_frame_is_there_at_its_own_time_even_with_nobody_in_it(scene: Scene, written: list[Path]) -> None:
    assert not any(True for _ in scene.visible_at(0))
    assert any(True for _ in scene.visible_at(3))
    for path in written[:2]:
        frames, times = read(path)
        np.testing.assert_allclose(times, scene.clip.times_s, atol=2e-6)
        assert len(frames) == len(scene.clip)
    overlays, _ = read(written[0])
    assert overlays[0].shape == (480, 640, 3)
    assert np.abs(overlays[0].astype(int) - GREY).max() < 6
    assert np.abs(overlays[3].astype(int) - GREY).max() > 60


def test_views_hold_three_panels_and_a_floor(scene: Scene, written: list[Path]) -> None:
    frames, _ = read(written[1])
    layout = PanelLayout.of(640, 480, QUICK.panel_height_px)
    assert frames[0].shape == (layout.size_px[1], layout.size_px[0], 3)
    for box in (layout.side, layout.top):
        x0, y0, x1, y1 = box
        empty, full = (frames[i][y0:y1, x0:x1].astype(int) for i in (0, 7))
        assert empty.std() > 2  # The grid is there before anybody comes,
        assert (np.abs(full - empty).max(-1) > 40).mean() > 0.004  # and then somebody comes.
    x0, y0, x1, y1 = layout.front
    assert abs(int(np.median(frames[0][y0:y1, x0:x1])) - GREY) < 6


def test_drawing_is_the_same_in_any_order_and_number_of_workers(scene: Scene, tmp_path: Path, written: list[Path]) -> None:
    (tmp_path / "one").mkdir()
    for path, other in zip(write(scene, tmp_path / "one", QUICK.model_copy(update={"num_workers": 1})), written, strict=True):
        if path.suffix == ".png":
            assert path.read_bytes() == other.read_bytes()
        else:
            for a, b in zip(read(path)[0], read(other)[0], strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_sheet_shows_its_frames_three_ways(written: list[Path]) -> None:
    page = np.asarray(Image.open(written[2]))
    assert page.ndim == 3
    assert page.shape[0] > 3 * CELL_PX
    assert page.shape[1] <= contact_sheet.MAX_WIDTH_PX
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 200


@pytest.mark.parametrize(("width_px", "height_px"), [(8, 8), (354, 492), (97, 33), (2500, 40), (30, 900)])
def test_clips_of_any_size_give_legible_panels(width_px: int, height_px: int, tmp_path: Path) -> None:
    small = resized_scene(make_scene(1, 3), width_px, height_px)
    settings = QUICK.model_copy(update={"max_overlay_px": 1200})
    overlay_path, views_path, sheet_path = write(small, tmp_path, settings)
    shrink = min(1.0, 1200 / max(width_px, height_px))
    frame = read(overlay_path)[0][0]
    assert abs(frame.shape[1] - width_px * shrink) <= 2  # H.264 has even sides.
    assert abs(frame.shape[0] - height_px * shrink) <= 2
    assert read(views_path)[0][0].shape[0] == 180
    assert Image.open(sheet_path).height > 3 * 64


@pytest.mark.parametrize("frames", [1, 3])
def test_the_shortest_clips_and_clips_of_nobody(frames: int, tmp_path: Path) -> None:
    for people in (0, 1):
        (tmp_path / str(people)).mkdir()
        paths = write(make_scene(people, frames), tmp_path / str(people))
        assert len(read(paths[0])[0]) == len(read(paths[1])[0]) == frames
        assert paths[2].exists()


def test_reports_every_frame_and_leaves_nothing_when_stopped(scene: Scene, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    def stop_at_five(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 5:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        write(scene, tmp_path, report=stop_at_five)
    assert heard == [(i, len(scene.clip)) for i in range(1, 6)]
    assert not list(tmp_path.iterdir())


def test_an_error_while_drawing_is_told_and_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    class Broken(GreyFrames):
        def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
            for frame, rgb in super().read(first, last, step):
                yield frame, rgb[:, :, :2] if frame == 6 else rgb

    with pytest.raises((ValueError, TypeError)):
        write_pictures(scene, Broken(scene.clip), *(tmp_path / n for n in ("a.mp4", "b.mp4", "c.png")), QUICK, lambda done, total: None)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_fails_is_told_and_leaves_nothing(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = VideoWriter.encode

    def full_at_four(self: VideoWriter, frame: Any) -> None:
        if frame.width != 640 and self._written == 4:
            raise OutputError("There is no room left.", code="no_room")
        encode(self, frame)

    monkeypatch.setattr(VideoWriter, "encode", full_at_four)
    with pytest.raises(OutputError, match="no room"):
        write(scene, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "in_stream"), [({"encode_crf": 40.0}, b"crf=40.0"), ({"encode_preset": "ultrafast"}, b"subme=0")])
def test_both_videos_are_encoded_as_the_settings_say(change: dict[str, Any], in_stream: bytes, tmp_path: Path) -> None:
    """x264 writes its options into the stream; its default preset here, veryfast, has subme=2."""
    assert (QUICK.encode_crf, QUICK.encode_preset) == (DEFAULT_CRF, DEFAULT_PRESET)
    overlay_path, views_path, _ = write(make_scene(1, 2), tmp_path, QUICK.model_copy(update=change))
    for path in (overlay_path, views_path):
        assert in_stream in path.read_bytes()


def test_a_place_that_cannot_be_written_is_named(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        write(scene, tmp_path / "file")


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """Pictures in flight are bounded by the number of workers, however slowly they are written."""
    scene, alive, most = make_scene(1, 40), 0, 0

    class Counting(GreyFrames):
        def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
            nonlocal alive, most
            for frame, rgb in super().read(first, last, step):
                alive += 1
                most = max(most, alive)
                yield frame, rgb

    def slow(done: int, total: int) -> None:
        nonlocal alive
        alive -= 1

    settings = QUICK.model_copy(update={"num_workers": 2})
    write_pictures(scene, Counting(scene.clip), *(tmp_path / n for n in ("a.mp4", "b.mp4", "c.png")), settings, slow)
    assert most <= 2 * 2 + 1
