"""What one reading of the background gives: gravity for a still camera, warnings for a moving one."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.camera.background import read_background
from body4d.config import CameraSettings
from body4d.core.types import Camera, Clip

pytest.importorskip("cv2")
WIDTH, HEIGHT = 640, 360
CAMERA = Camera(focal_px=550, cx_px=320, cy_px=180, width_px=WIDTH, height_px=HEIGHT, source="fov")


class Room:
    """A FrameSource: a wall with posts and specks, which the camera passes by ``step_px`` a frame."""

    def __init__(self, step_px=0, count=30):
        rng = np.random.default_rng(0)
        self._wall = np.full((HEIGHT, WIDTH * 3, 3), 80, np.uint8)
        for _ in range(1500):
            x, y = rng.integers(0, WIDTH * 3 - 6), rng.integers(0, HEIGHT - 6)
            self._wall[y : y + 5, x : x + 5] = rng.integers(0, 255, 3)
        for x in range(40, WIDTH * 3, 150):
            self._wall[30:330, x : x + 25] = 230
        self._step = step_px
        self.warnings = ()
        self.clip = Clip(Path("room.mp4"), WIDTH, HEIGHT, Fraction(30), np.arange(count) / 30, np.arange(count))

    def read(self, first=0, last=None, step=1):
        for frame in range(first, len(self.clip) if last is None else last, step):
            yield frame, self._wall[:, frame * self._step : frame * self._step + WIDTH]


def test_a_still_camera_before_posts_is_level():
    output = read_background(Room(), CAMERA, CameraSettings())
    assert output.warnings == ()
    assert output.value.gravity == pytest.approx((0, 1, 0), abs=0.06)
    assert output.value.gravity_sigma_deg is not None
    assert output.value.gravity_sigma_deg[1] < 2.5


def test_a_moving_camera_has_no_one_direction_of_gravity():
    output = read_background(Room(step_px=8), CAMERA, CameraSettings())
    assert [warning.code for warning in output.warnings] == ["camera_seems_to_move"]
    assert output.value.gravity is None
    told = dataclasses.replace(CAMERA, static=False)
    assert read_background(Room(), told, CameraSettings(motion="moving")).value.gravity is None


def test_beyond_a_cut_there_is_another_camera_or_the_same():
    class Cut(Room):
        def __init__(self, jump_px):
            super().__init__()
            self.clip = dataclasses.replace(self.clip, cuts=np.array([15]))
            self._jump = jump_px

        def read(self, first=0, last=None, step=1):
            for frame in range(first, len(self.clip) if last is None else last, step):
                left = self._jump if frame >= 15 else 0
                yield frame, self._wall[:, left : left + WIDTH]

    same, other = read_background(Cut(0), CAMERA, CameraSettings()), read_background(Cut(WIDTH + 70), CAMERA, CameraSettings())
    assert same.value.static
    assert same.warnings == ()
    assert not other.value.static
    assert [warning.code for warning in other.warnings] == ["several_cameras"]
