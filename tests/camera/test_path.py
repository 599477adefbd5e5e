"""The camera's path from corners that were seen, of cameras whose path is known."""

import dataclasses

import numpy as np
import pytest

from body4d.camera import path
from body4d.camera.path import SELF_CALIBRATED, path_from_tracks, path_warnings, with_path
from body4d.camera.tracks import FeatureTracks
from body4d.core.camera import Camera
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

pytest.importorskip("cv2")
WIDTH, HEIGHT, FRAMES, FOCAL_PX = 640, 360, 40, 550.0
CAMERA = Camera(focal_px=FOCAL_PX, cx_px=WIDTH / 2, cy_px=HEIGHT / 2, width_px=WIDTH, height_px=HEIGHT, source="default")
TIME = np.linspace(0, 1, FRAMES)
KEYFRAMES = np.arange(0, FRAMES, 8)


def turned(degrees_right: float) -> np.ndarray:
    return rotvec_to_matrix(np.radians(degrees_right) * TIME[:, None] * [0.0, 1.0, 0.0])


def moved(right_m: float) -> np.ndarray:
    return right_m * TIME[:, None] * [1.0, 0.0, 0.0]


def corners_around(count: int, rng: np.random.Generator) -> np.ndarray:
    """Corners 4 to 25 m away all around in front."""
    angle, distance = rng.uniform(-1.2, 1.2, count), rng.uniform(4, 25, count)
    return np.stack([np.sin(angle) * distance, rng.uniform(-3, 2, count) * distance / 8, np.cos(angle) * distance], 1)


def seen_by(R: np.ndarray, place_m: np.ndarray, focal_px: np.ndarray, count: int = 900, noise_px: float = 0.1) -> FeatureTracks:
    """Corners as cameras (T, ...) see them, detected from the frame on that shows them."""
    rng = np.random.default_rng(1)
    points = corners_around(count, rng)
    rows = []
    for frame in range(FRAMES):
        own = (points - place_m[frame]) @ R[frame]
        xy = focal_px[frame] * own[:, :2] / np.maximum(own[:, 2:], 1e-3)
        shown = np.flatnonzero((own[:, 2] > 0.5) & (np.abs(xy) < [WIDTH / 2, HEIGHT / 2]).all(1))
        seen = xy[shown] + [CAMERA.cx_px, CAMERA.cy_px] + rng.normal(0, noise_px, (len(shown), 2))
        rows.append((np.full(len(shown), frame), shown, seen))
    frame, track, xy_px = (np.concatenate(part) for part in zip(*rows, strict=True))
    return FeatureTracks(frame, track, xy_px, KEYFRAMES, np.zeros(0, int), FRAMES, WIDTH, HEIGHT)


def rotation_error_deg(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(matrix_to_rotvec(np.swapaxes(found, 1, 2) @ true), axis=1)).max())


@pytest.mark.parametrize("zoom", [1.0, 1.6])
def test_a_pan_gives_its_turn_its_zoom_and_the_focal_length(zoom: float) -> None:
    R, focal = turned(45), FOCAL_PX * zoom**TIME
    guess = dataclasses.replace(CAMERA, focal_px=1.15 * FOCAL_PX)
    found = path_from_tracks(seen_by(R, moved(0), focal), guess)
    assert found.kind == "rotating"
    assert found.path is not None
    assert rotation_error_deg(found.path.T_reference_camera[:, :3, :3], R) < 0.1
    assert found.path.focal_px == pytest.approx(focal, rel=0.01)
    assert with_path(guess, found).source == SELF_CALIBRATED


def test_a_camera_on_rails_changes_its_place_and_leaves_the_given_focal_length() -> None:
    """With a camera that does not turn, all depths may be stretched with the focal length: nothing tells it."""
    R, place = turned(0), moved(2.5)
    found = path_from_tracks(seen_by(R, place, np.full(FRAMES, FOCAL_PX)), CAMERA)
    assert found.kind == "moving"
    assert found.path is not None
    assert found.path.focal_px == pytest.approx(FOCAL_PX)
    camera = with_path(CAMERA, found)
    assert (camera.source, camera.focal_spread) == ("default", CAMERA.focal_spread)
    assert rotation_error_deg(found.path.T_reference_camera[:, :3, :3], R) < 0.1
    way = found.path.T_reference_camera[:, :3, 3]
    assert way / np.linalg.norm(way[-1]) == pytest.approx(place / 2.5, abs=0.01)


@pytest.mark.parametrize("guess", [0.8, 1.3])
def test_a_camera_that_turns_while_it_moves_tells_the_focal_length_too_however_wrong_the_first_guess_is(guess: float) -> None:
    R, place = turned(45), moved(0.3)
    lens = dataclasses.replace(CAMERA, focal_px=guess * FOCAL_PX)
    found = path_from_tracks(seen_by(R, place, np.full(FRAMES, FOCAL_PX)), lens)
    assert found.kind == "moving"
    assert found.path is not None
    assert found.path.focal_px == pytest.approx(FOCAL_PX, rel=0.01)
    assert rotation_error_deg(found.path.T_reference_camera[:, :3, :3], R) < 0.1


def pan_deg(time_s: np.ndarray) -> np.ndarray:
    """A pan of 30 degrees in two seconds, which begins and ends at rest and turns at 30 degrees a second at its fastest."""
    return 15 * (time_s - np.sin(np.pi * time_s) / np.pi)


def seen_through(readout_s: float, k1: float, num_frames: int = 60, count: int = 1500) -> FeatureTracks:
    """Corners as the camera of that pan sees them at 30 frames a second, whose rows are read one after the other, the middle one at the
    frame's time, and whose lens has radial distortion: ``1 + k1 r^2``, in focal lengths."""
    rng = np.random.default_rng(1)
    points, rows = corners_around(count, rng), []
    for frame in range(num_frames):
        time_s = np.full(count, frame / 30)
        for _ in range(5):
            own = np.einsum("nij,ni->nj", rotvec_to_matrix(np.radians(pan_deg(time_s))[:, None] * [0.0, 1.0, 0.0]), points)
            ray = own[:, :2] / np.maximum(own[:, 2:], 1e-3)
            xy = FOCAL_PX * ray * (1 + k1 * (ray**2).sum(1, keepdims=True))
            time_s = frame / 30 + readout_s * np.clip(xy[:, 1] / HEIGHT, -0.5, 0.5)
        shown = np.flatnonzero((own[:, 2] > 0.5) & (np.abs(ray) < 2).all(1) & (np.abs(xy) < [WIDTH / 2, HEIGHT / 2]).all(1))
        rows.append((np.full(len(shown), frame), shown, xy[shown] + [CAMERA.cx_px, CAMERA.cy_px] + rng.normal(0, 0.1, (len(shown), 2))))
    frame, track, xy_px = (np.concatenate(part) for part in zip(*rows, strict=True))
    return FeatureTracks(frame, track, xy_px, np.arange(0, num_frames, 8), np.zeros(0, int), num_frames, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("readout_s", "k1", "source", "error_deg", "focal_share", "distortion_share"),
    [
        (1 / 60, 0.0, "default", (0.1, 0.25), (-0.001, 0.001), 0.0),
        (0.0, -0.05, "default", (0.0, 0.05), (-0.001, 0.001), 0.024),
        (0.0, -0.05, "fov", (0.0, 0.02), (0.0, 0.0), 0.024),
        (0.0, 0.02, "default", (0.0, 0.05), (-0.001, 0.001), -0.009),
        (0.0, -0.005, "default", (0.1, 0.3), (0.005, 0.01), 0.0),
    ],
)
def test_a_pans_lens_has_distortion_where_the_corners_say_so_clearly_and_its_focal_length_is_doubted_elsewhere(
    readout_s: float, k1: float, source: str, error_deg: tuple[float, float], focal_share: tuple[float, float], distortion_share: float
) -> None:
    """The figures of docs/camera.md: the largest error of a rotation over the pan, and that of the focal length."""
    found = path_from_tracks(seen_through(readout_s, k1), dataclasses.replace(CAMERA, source=source))
    assert found.kind == "rotating"
    assert found.path is not None
    R = rotvec_to_matrix(np.radians(pan_deg(np.arange(60) / 30))[:, None] * [0.0, 1.0, 0.0])
    assert error_deg[0] <= rotation_error_deg(found.path.T_reference_camera[:, :3, :3], R) < error_deg[1]
    error = found.path.focal_px[0] / FOCAL_PX - 1
    assert focal_share[0] <= error <= focal_share[1]
    assert found.facts["distortion"] == pytest.approx(distortion_share, abs=5e-4)
    # The figure given to the user covers what distortion that was not seen does.
    assert abs(error) <= 2 * found.facts["focal_spread"]
    assert ("corners" in path_warnings(CAMERA, found)[0].message) == (distortion_share != 0)


def test_a_camera_that_turns_and_travels_finds_its_lens_distortion_too() -> None:
    R, place = turned(20), moved(2)
    seen = seen_by(R, place, np.full(FRAMES, FOCAL_PX))
    middle = np.array([CAMERA.cx_px, CAMERA.cy_px])
    xy = seen.xy_px - middle
    bent = dataclasses.replace(seen, xy_px=middle + xy * (1 - 0.05 * (xy**2).sum(1, keepdims=True) / FOCAL_PX**2))
    found = path_from_tracks(bent, CAMERA)
    assert found.kind == "moving"
    assert found.path is not None
    assert rotation_error_deg(found.path.T_reference_camera[:, :3, :3], R) < 0.1
    assert found.path.focal_px == pytest.approx(FOCAL_PX, rel=0.005)
    assert found.facts["distortion"] == pytest.approx(0.0235, abs=0.001)


def test_keyframes_are_put_in_place_once_though_the_focal_length_is_left_open_and_no_turn_is_looked_for_where_none_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    for name in ("first_path", "adjust_rotating"):
        whole = getattr(path, name)
        monkeypatch.setattr(path, name, lambda *args, name=name, whole=whole, **kw: (calls.append(name), whole(*args, **kw))[1])
    seen = seen_by(turned(0), moved(2.5), np.full(FRAMES, FOCAL_PX))
    asked = path_from_tracks(seen, dataclasses.replace(CAMERA, source="fov"), "moving")
    assert calls == ["first_path"]
    assert "parallax_gain" not in asked.facts
    calls.clear()
    travelling = path._travelling(seen, CAMERA, None)
    assert calls == ["first_path"]
    assert travelling.freedom.focal == "fixed"
    assert travelling.focal_spread == 0.25


def test_corners_depths_are_kept_in_the_paths_unit_on_the_frames_that_are_asked_for() -> None:
    R, place, focal = turned(20), moved(2.0), np.full(FRAMES, FOCAL_PX)
    found = path_from_tracks(seen_by(R, place, focal), CAMERA, depth_frames=(9, 30))
    assert found.path is not None
    assert found.corners is not None
    unit_m = 2.0 / np.linalg.norm(found.path.T_reference_camera[-1, :3, 3])
    points = corners_around(900, np.random.default_rng(1))
    assert set(found.corners.frame) == {9, 30}
    for frame in (9, 30):
        rows = found.corners.frame == frame
        own = (points - place[frame]) @ R[frame]
        with np.errstate(divide="ignore"):
            at_px = np.where(own[:, 2:] > 0, FOCAL_PX * own[:, :2] / own[:, 2:] + [CAMERA.cx_px, CAMERA.cy_px], np.inf)
        nearest = np.linalg.norm(found.corners.xy_px[rows, None] - at_px, axis=2).argmin(1)
        error = np.log(unit_m * found.corners.depth[rows] / own[nearest, 2])
        assert rows.sum() > 60
        assert abs(np.median(error)) < 0.01
        assert np.quantile(np.abs(error), 0.9) < 0.1
    assert path_from_tracks(seen_by(R, moved(0), focal), CAMERA, depth_frames=(9, 30)).corners is None


def test_corners_that_stay_are_seen_by_a_camera_that_stands_still() -> None:
    found = path_from_tracks(seen_by(turned(0), moved(0), np.full(FRAMES, FOCAL_PX)), CAMERA)
    assert (found.kind, found.path) == ("still", None)


def test_too_few_corners_and_a_break_say_nothing_and_why() -> None:
    few = path_from_tracks(seen_by(turned(30), moved(0), np.full(FRAMES, FOCAL_PX), count=15), CAMERA)
    assert few.kind == "unknown"
    assert "too few corners" in few.reason
    whole = seen_by(turned(30), moved(0), np.full(FRAMES, FOCAL_PX))
    broken = path_from_tracks(dataclasses.replace(whole, breaks=np.array([20])), CAMERA)
    assert "between frames 19 and 20" in broken.reason
