"""Made clips and real ones: does the camera move? Corners are found and followed in pixels."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from body4d.camera.motion import camera_motion, follow, look_at
from body4d.camera.moving_camera import motion_warnings
from body4d.config import CameraSettings, VideoSettings
from body4d.core.types import Clip, MaskTrack

S = CameraSettings()
W, H, COUNT = 320, 180, 60


def canvas(seed: int, height: int = 700, width: int = 1100) -> np.ndarray:
    """A picture with structure of all sizes, as streets have."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for size in (4, 10, 30, 90):
        small = rng.random((height // size + 2, width // size + 2, 3), np.float32)
        out += cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return (out / 4 * 255).astype(np.uint8)


STREET, COAT = canvas(0), canvas(1)


class Made:
    """Frames cut from a canvas: (middle x, middle y, zoom, roll in degrees) of each moment 0 to 1; a person walks across it if wanted."""

    def __init__(self, view: Callable[[float], tuple[float, float, float, float]], person_px: int = 0, noise: float = 2.0) -> None:
        self.clip = Clip(Path("made.mp4"), W, H, Fraction(30), np.arange(COUNT) / 30, np.arange(COUNT))
        self._view, self._person, self._noise = view, person_px, noise

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, COUNT if last is None else last, step):
            moment = frame / (COUNT - 1)
            x, y, zoom, roll = self._view(moment)
            turn = cv2.getRotationMatrix2D((x, y), roll, zoom)
            turn[:, 2] += np.array([W / 2 - x, H / 2 - y])
            picture = cv2.warpAffine(STREET, turn, (W, H))
            if self._person:
                picture[self.where(frame)] = COAT[: 0 + 150, 7 * (frame % 3) : 7 * (frame % 3) + self._person].reshape(-1, 3)
            noise = self._noise * np.random.default_rng(frame).standard_normal(picture.shape)
            yield frame, np.clip(picture + noise, 0, 255).astype(np.uint8)

    def where(self, frame: int) -> np.ndarray:
        """Mask (H, W) of the person on a frame."""
        left = int(frame / COUNT * (W - self._person))
        mask = np.zeros((H, W), bool)
        mask[20:170, left : left + self._person] = True
        return mask

    def masks(self) -> tuple[MaskTrack, ...]:
        return (MaskTrack(1, np.arange(COUNT), tuple(MaskTrack.encode(self.where(frame)) for frame in range(COUNT)), H, W),)


def fixed(moment: float) -> tuple[float, float, float, float]:
    return 550, 350, 1, 0


VIEWS: dict[str, tuple[Made, str]] = {
    "still": (Made(fixed), "still"),
    "still, a person": (Made(fixed, 60), "still"),
    "still, a large person": (Made(fixed, 120), "still"),
    "trembling tripod": (Made(lambda t: (550 + np.sin(40 * t), 350 + np.cos(50 * t), 1, 0)), "still"),
    "slow pan": (Made(lambda t: (550 + 25 * t, 350, 1, 0)), "moving"),
    "pan": (Made(lambda t: (350 + 400 * t, 350, 1, 0)), "moving"),
    "pan after a while": (Made(lambda t: (350 + 250 * max(0, t - 0.5), 350, 1, 0)), "moving"),
    "there and back": (Made(lambda t: (550 + 60 * np.sin(6.283 * t), 350, 1, 0)), "moving"),
    "tilt": (Made(lambda t: (550, 250 + 150 * t, 1, 0)), "moving"),
    "zoom": (Made(lambda t: (550, 350, 1 + t, 0)), "moving"),
    "zoom out": (Made(lambda t: (550, 350, 1.6 - 0.6 * t, 0)), "moving"),
    "roll": (Made(lambda t: (550, 350, 1, 12 * t)), "moving"),
    "pan with a person": (Made(lambda t: (400 + 200 * t, 350, 1, 0), 60), "moving"),
    "hand": (Made(lambda t: (550 + 14 * np.sin(9 * t), 350 + 10 * np.sin(13 * t), 1, np.sin(7 * t))), "moving"),
    "a grey wall": (Made(lambda t: (-900, -900, 1, 0), noise=0), "unknown"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_made_clips(name: str) -> None:
    frames, kind = VIEWS[name]
    assert camera_motion(frames, S).kind == kind


def test_how_far_is_told() -> None:
    zoom = camera_motion(VIEWS["zoom"][0], S)
    # From the first frame looked at to the last it is 1.75; nothing of the first is found in the last, which are too different.
    assert 1.4 < zoom.zoom < 1.76
    assert "zoomed" in motion_warnings(zoom, S)[0].message
    slow = camera_motion(VIEWS["slow pan"][0], S)
    assert slow.shift_share == pytest.approx(25 / np.hypot(W, H), rel=0.25)


def test_a_camera_that_follows_someone_is_told_by_their_mask() -> None:
    """Someone large who stays in the middle while the street goes by: without the mask most of the picture stands still."""
    frames = Made(lambda t: (400 + 200 * t, 350, 1, 0), 190)
    frames.where = lambda frame: Made.where(frames, 30)  # type: ignore[method-assign]
    assert camera_motion(frames, S, frames.masks()).kind == "moving"


def test_masks_of_a_still_clip_change_nothing() -> None:
    frames = VIEWS["still, a person"][0]
    assert camera_motion(frames, S, frames.masks()).kind == "still"


def test_nothing_of_a_person_is_followed() -> None:
    frames = VIEWS["still, a person"][0]
    (_, a), (_, b) = frames.read(10, 31, 20)
    looks = [look_at(picture, frames.where(frame), S) for picture, frame in ((a, 10), (b, 30))]
    before, after = follow(looks[0], looks[1], S)
    assert len(before) > 50
    for points, frame in ((before, 10), (after, 30)):
        x, y = np.floor(points).astype(int).T
        assert not frames.where(frame)[y, x].any()


def test_a_single_frame_stands_still() -> None:
    frames = Made(fixed)
    frames.clip = Clip(Path("one.png"), W, H, Fraction(30), np.zeros(1), np.zeros(1, int))
    assert camera_motion(frames, S).kind == "still"


@pytest.mark.parametrize("name", ["golf_swing.mp4", "street_dance.mp4"])
def test_real_clips_on_a_stand(shared: Path, name: str) -> None:
    from body4d.video import VideoReader, probe

    frames = VideoReader(probe(shared / "videos" / name, VideoSettings()))
    taken = []
    for _ in range(3):
        start = time.process_time()
        motion = camera_motion(frames, S)
        taken.append(time.process_time() - start)
    assert motion.kind == "still"
    assert motion.moved == 0
    assert min(taken) < 2
