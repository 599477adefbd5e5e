"""The length of a moving camera's path: from feet, from a network's metric depth, and from both."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.camera import scale as module
from body4d.camera.moving import CornerDepths
from body4d.camera.scale import ScaleEstimate, combined_scale, depth_at, scale_from_depth, settle_scale
from body4d.core.camera import Camera, DepthMap
from body4d.core.types import Clip
from body4d.motion.world import to_frames, to_reference
from scenes import moving_camera, stick_scene, with_moving_camera

FRAMES = 30
CLIP = Clip(Path("made.mp4"), 640, 480, Fraction(30), np.arange(FRAMES) / 30, np.arange(FRAMES))
GRID_X, GRID_Y = np.arange(64) * 10.0 + 0.5, np.arange(64) * 7.0 + 0.5


def unscaled(depth_scale: tuple[float, float] | None, reach: float = 1.0) -> Camera:
    """A camera that travels by ``reach`` units of an unknown length."""
    camera = moving_camera(FRAMES, "moving")
    assert camera.path is not None
    T = camera.path.T_reference_camera.copy()
    T[:, :3, 3] *= reach / np.linalg.norm(T[:, :3, 3], axis=1).max()
    path = dataclasses.replace(camera.path, T_reference_camera=T, scale_source="none", depth_scale=depth_scale)
    return dataclasses.replace(camera, path=path)


def plane(frame: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth in metres, at pixels, of a slanted wall 4 m away and more."""
    return 1 / (0.25 - 1e-4 * x - (1e-4 + 1e-6 * frame) * y)


def seen(frame: int, unit_m: float, count: int = 80) -> CornerDepths:
    xy = np.random.default_rng(frame).uniform([5, 5], [620, 430], (count, 2))
    return CornerDepths(np.full(count, frame), xy, plane(frame, *xy.T) / unit_m)


def depth_map(frame: int, factor: float = 1.0) -> DepthMap:
    return DepthMap(frame, GRID_X, GRID_Y, factor * plane(frame, GRID_X[None], GRID_Y[:, None]))


def joined(*parts: CornerDepths) -> CornerDepths:
    return CornerDepths(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(CornerDepths)))


def test_depth_is_exact_on_a_plane_and_unknown_beside_an_edge_and_outside() -> None:
    xy = np.array([[33.0, 45.0], [500.2, 301.9], [0.5, 0.5]])
    assert depth_at(depth_map(0), xy) == pytest.approx(plane(0, *xy.T), rel=1e-12)
    edge = depth_map(0)
    edge.z_m[:, :10] = 2.0
    edge.z_m[20, 30] = np.nan
    beside = np.array([[95.0, 50.0], [295.0, 139.0], [-3.0, 50.0], [639.0, 50.0]])
    assert np.isnan(depth_at(edge, beside)).all()


def test_the_scale_is_the_metric_depth_of_the_corners() -> None:
    corners, maps = joined(seen(3, 2.5), seen(12, 2.5), seen(21, 2.5)), [depth_map(frame) for frame in (3, 12, 21)]
    exact = scale_from_depth(corners, maps)
    assert exact is not None
    assert (exact.metres_per_unit, exact.sigma_share, exact.source) == (pytest.approx(2.5), pytest.approx(0.1), "moge")
    # A third of the corners on something else changes nothing; frames that differ are less sure.
    corners.depth[::3] *= 0.3
    other = scale_from_depth(corners, [depth_map(3, 0.8), depth_map(12), depth_map(21, 1.25)])
    assert other is not None
    assert other.metres_per_unit == pytest.approx(2.5)
    assert other.sigma_share == pytest.approx(math.hypot(0.1, 1.4826 * math.log(1.25)), rel=1e-6)


def test_too_few_corners_and_depths_of_another_scene_say_nothing() -> None:
    assert scale_from_depth(seen(3, 2.5, count=15), [depth_map(3)]) is None
    assert scale_from_depth(seen(3, 2.5), []) is None
    scattered = seen(3, 2.5)
    scattered.depth[:] *= np.exp(np.random.default_rng(0).normal(0, 0.6, 80))
    assert scale_from_depth(scattered, [depth_map(3)]) is None


def test_feet_and_depth_count_by_their_variances_and_feet_win_where_they_contradict() -> None:
    feet, depth = ScaleEstimate(2.0, 0.05, "bodies"), ScaleEstimate(2.4, 0.1, "moge")
    both = combined_scale(feet, depth)
    assert both is not None
    assert math.log(both.metres_per_unit) == pytest.approx(0.8 * math.log(2.0) + 0.2 * math.log(2.4))
    assert both.sigma_share == pytest.approx(1 / math.hypot(1 / 0.05, 1 / 0.1))
    assert combined_scale(feet, dataclasses.replace(depth, metres_per_unit=3.0)) == dataclasses.replace(feet, other_metres_per_unit=3.0)
    assert combined_scale(feet, None) is feet
    assert combined_scale(None, depth) is depth


@pytest.mark.parametrize(
    ("feet", "depth", "metres", "source", "words"),
    [
        (
            ScaleEstimate(2.0, 0.05, "bodies"),
            (2.0, 0.1),
            2.0,
            "bodies_and_moge",
            "2.0 m from where it begins, as people's feet that rest and",
        ),
        (ScaleEstimate(2.0, 0.05, "bodies"), (4.0, 0.1), 2.0, "bodies", "contradicts them: by it that would be 4.0 m"),
        (ScaleEstimate(2.0, 0.9, "bodies"), (3.0, 0.1), 3.0, "moge", "as MoGe-2's depth tells to within 10 %"),
        (None, (0.5, 0.1), 0.5, "moge", "by up to 50 cm from"),
        (None, (0.5, 0.6), None, "", "nobody's feet show how far"),
        (None, None, None, "", "nobody's feet show how far"),
    ],
)
def test_a_path_gets_its_length_from_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
    feet: ScaleEstimate | None,
    depth: tuple[float, float] | None,
    metres: float | None,
    source: str,
    words: str,
) -> None:
    monkeypatch.setattr(module, "scale_from_bodies", lambda path, people, clip: feet)
    output = settle_scale(unscaled(depth), (), CLIP)
    assert words in output.warnings[0].message
    path = output.value.path
    if metres is None:
        assert path is None
        return
    assert path is not None
    assert (path.scale_source, path.depth_scale) == (source, None)
    assert np.linalg.norm(path.T_reference_camera[:, :3, 3], axis=1).max() == pytest.approx(metres)


@pytest.mark.parametrize(("reach_m", "sigma_share", "said"), [(0.3, 0.2, "by up to 30 cm"), (0.04, 0.05, ""), (1.2, 0.3, "by up to 1.2 m")])
def test_how_far_the_camera_goes_is_said_in_centimetres_below_a_metre_and_not_below_five(
    monkeypatch: pytest.MonkeyPatch, reach_m: float, sigma_share: float, said: str
) -> None:
    monkeypatch.setattr(module, "scale_from_bodies", lambda path, people, clip: ScaleEstimate(reach_m, sigma_share, "bodies"))
    warnings = settle_scale(unscaled(None), (), CLIP).warnings
    assert said in " ".join(warning.message for warning in warnings)
    assert bool(warnings) == bool(said)


def test_a_zooming_path_whose_places_are_given_up_leaves_the_overlay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies were fitted with each frame's own focal length; they have no world, but the pixels they had."""
    monkeypatch.setattr(module, "scale_from_bodies", lambda path, people, clip: None)
    scene = with_moving_camera(stick_scene(frames=FRAMES), zoom=1.6)
    camera = settle_scale(scene.camera, scene.people, scene.clip).value
    assert not camera.has_world
    assert camera.path is not None
    assert camera.path.kind == "unplaced"
    for before, after in zip(scene.people, to_frames(to_reference(scene.people, camera), camera), strict=True):
        frames = before.frame_index
        expected = scene.camera.project_at(before.joints_m.astype(np.float64), frames)
        assert np.abs(camera.project_at(after.joints_m.astype(np.float64), frames) - expected).max() < 1e-3
        one_lens = dataclasses.replace(camera, path=None).project_at(before.joints_m.astype(np.float64), frames)
        assert np.abs(one_lens - expected).max() > 20


def test_a_way_that_its_own_uncertainty_hides_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "scale_from_bodies", lambda path, people, clip: ScaleEstimate(0.5, 0.1, "bodies"))
    camera = unscaled(None)
    assert camera.path is not None
    vague = dataclasses.replace(camera, path=dataclasses.replace(camera.path, position_sigma_m=np.full(FRAMES, 1.2)))
    assert settle_scale(vague, (), CLIP).warnings == ()
