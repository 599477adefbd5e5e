"""What one reading of the background gives: gravity for a still camera, warnings for a moving one."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.camera import background as module
from body4d.camera.background import read_background
from body4d.camera.moving import CornerDepths
from body4d.camera.path import PathEstimate
from body4d.config import CameraSettings
from body4d.core.camera import DepthMap
from body4d.core.stages import DepthSource, StageOutput
from body4d.core.types import Camera, Clip
from scenes import moving_camera

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


class TurningRoom(Room):
    """The wall seen by a camera that turns to the right by half a degree a frame."""

    def read(self, first=0, last=None, step=1):
        import cv2

        for frame in range(first, len(self.clip) if last is None else last, step):
            turn = np.eye(3)
            turn[[0, 0, 2, 2], [0, 2, 0, 2]] = [f(np.radians(0.5 * frame)) for f in (np.cos, np.sin, lambda a: -np.sin(a), np.cos)]
            K = CAMERA.K
            # From the middle of the wall, which the first frame looks at.
            homography = K @ turn.T @ np.linalg.inv(K) @ np.array([[1, 0, -WIDTH], [0, 1, 0], [0, 0, 1.0]])
            yield frame, cv2.warpPerspective(self._wall, homography, (WIDTH, HEIGHT))


def test_a_still_camera_before_posts_is_level():
    output = read_background(Room(), CAMERA, CameraSettings())
    assert output.warnings == ()
    assert output.value.gravity == pytest.approx((0, 1, 0), abs=0.06)
    assert output.value.gravity_sigma_deg is not None
    assert output.value.gravity_sigma_deg[1] < 2.5


def never(camera, progress):
    raise AssertionError("a network was asked for depth")


def test_a_camera_taken_for_static_that_moves_has_no_one_direction_of_gravity():
    output = read_background(Room(step_px=8), CAMERA, CameraSettings(motion="static"))
    assert [warning.code for warning in output.warnings] == ["camera_seems_to_move"]
    assert output.value.gravity is None
    assert output.value.path is None


def test_a_turning_camera_has_a_path_and_gravity_in_the_axes_of_its_first_frame():
    output = read_background(TurningRoom(), CAMERA, CameraSettings(), depth=DepthSource((4,), never))
    assert [warning.code for warning in output.warnings] == ["camera_path"]
    camera = output.value
    assert camera.path is not None
    assert not camera.static
    assert camera.gravity == pytest.approx((0, 1, 0), abs=0.06)
    assert camera.path.kind == "rotating"
    # To the right: what the last frame looks at lies towards the first one's x axis.
    turned = np.degrees(np.arctan2(*camera.path.T_reference_camera[:, [0, 2], 2].T))
    assert turned == pytest.approx(0.5 * np.arange(30), abs=0.1)


def test_depth_is_asked_once_where_the_camera_changes_its_place(monkeypatch):
    path = dataclasses.replace(moving_camera(30, "moving").path, scale_source="none")
    xy, asked, wanted = np.random.default_rng(0).uniform(50, 300, (60, 2)), [], []
    facts = {"rotation_deg": 40.0, "zoom": 1.0, "focal_sigma": 0.01}
    found = PathEstimate("moving", path, facts=facts, corners=CornerDepths(np.full(60, 4), xy, np.full(60, 2.0)))

    def estimate(frames, camera, masks, motion, progress, depth_frames):
        wanted.append(depth_frames)
        return found

    def measure(camera, progress):
        asked.append(camera)
        grid = np.linspace(0, 360, 64)
        return StageOutput((DepthMap(4, grid, grid, np.full((64, 64), 3.0)),))

    monkeypatch.setattr(module, "estimate_path", estimate)
    camera = read_background(Room(step_px=8), CAMERA, CameraSettings(motion="moving"), depth=DepthSource((4,), measure)).value
    assert (len(asked), wanted) == (1, [(4,)])
    assert asked[0].path is path
    assert camera.path.depth_scale == pytest.approx((1.5, 0.1))
    assert read_background(Room(step_px=8), CAMERA, CameraSettings(motion="moving")).value.path.depth_scale is None


def test_a_moving_camera_without_corners_stays_in_camera_space():
    room = Room(step_px=8)
    plain = dataclasses.replace(CAMERA, static=False)
    room._wall[:] = 80
    output = read_background(room, plain, CameraSettings(motion="moving"))
    assert [warning.code for warning in output.warnings] == ["camera_moves"]
    assert "too few corners" in output.warnings[0].text
    assert (output.value.path, output.value.static, output.value.gravity) == (None, False, None)


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
