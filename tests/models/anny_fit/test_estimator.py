"""The fit from landmarks and masks to bodies, on people whose truth is known. No network: landmarks are made from the truth."""

import dataclasses

import numpy as np
import pytest

from body4d.bodies.anny import FEMALE, MALE, UNDECIDED
from body4d.bodies.registry import body_model
from body4d.config import FitSettings
from body4d.core.errors import Cancelled
from body4d.core.joints import Blazepose33, Body29
from body4d.core.stages import ignore_progress
from body4d.core.types import LandmarkTrack, MaskTrack, Scene
from body4d.models.anny_fit import estimator
from body4d.models.anny_fit.estimator import AnnyBodyEstimator
from body4d.models.anny_fit.mean_height import mean_height_m
from body4d.motion.world import to_frames, to_reference
from body4d.render.rasterizer import silhouette
from scenes import make_scene, moving_camera

FRAMES = 24
pytestmark = pytest.mark.slow  # Anny is set up


class Frames:
    """A FrameSource of which only the clip is ever asked."""

    def __init__(self, clip):
        self.clip = clip

    def read(self, first=0, last=None, step=1):
        raise AssertionError("the fit works from landmarks and masks and reads no frames")


def observed(scene: Scene, noise_px: float = 1.0, depth_noise_m: float = 0.05) -> tuple[MaskTrack, ...]:
    """Masks drawn from the true bodies, and BlazePose landmarks that stray from the true joints."""
    rng = np.random.default_rng(0)
    tracks = []
    for person in scene.people:
        rig = body_model("anny").rig(person.shape)
        vertices = rig.vertices(*rig.forward(person.rotations, person.translation_m))
        cameras = [scene.camera.at(frame) for frame in person.frame_index.tolist()]
        codes = tuple(MaskTrack.encode(silhouette(v, rig.faces, camera)) for v, camera in zip(vertices, cameras, strict=True))
        t = len(person)
        points = np.full((t, 33, 2), 0.0)
        world = np.zeros((t, 33, 3))
        hips = person.joints_m[:, [Body29.LEFT_HIP, Body29.RIGHT_HIP]].mean(1, keepdims=True)
        for joint in Body29:
            if joint.name in Blazepose33.__members__:
                z = Blazepose33[joint.name]
                points[:, z] = scene.camera.project_at(person.joints_m[:, joint], person.frame_index)
                world[:, z] = (person.joints_m - hips)[:, joint]
        points += rng.normal(size=points.shape) * noise_px
        world[..., 2] += rng.normal(size=(1, 33)) * depth_noise_m
        seen = LandmarkTrack(points, np.zeros((t, 33)), world, np.ones((t, 33)))
        tracks.append(MaskTrack(person.person_id, person.frame_index, codes, scene.clip.height_px, scene.clip.width_px, seen))
    return tuple(tracks)


def fit(scene: Scene, masks: tuple[MaskTrack, ...], height_m: float | None = None, **settings):
    return AnnyBodyEstimator(FitSettings(**settings), height_m).estimate(Frames(scene.clip), masks, scene.camera, ignore_progress).value


def relative(joints_m: np.ndarray) -> np.ndarray:
    return joints_m - joints_m[:, [Body29.LEFT_HIP, Body29.RIGHT_HIP]].mean(1, keepdims=True)


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=1, frames=FRAMES, seed=3)


@pytest.fixture(scope="module")
def masks(scene):
    return observed(scene)


@pytest.fixture(scope="module")
def found(scene, masks):
    return fit(scene, masks)[0]


def test_the_body_is_found(scene, found):
    truth = scene.people[0]
    error = np.linalg.norm(relative(found.joints_m) - relative(truth.joints_m), axis=-1)[:, : Body29.LEFT_BIG_TOE]
    assert error.mean() < 0.06
    in_picture = np.linalg.norm(scene.camera.project(found.joints_m) - scene.camera.project(truth.joints_m), axis=-1)
    assert in_picture[:, : Body29.LEFT_BIG_TOE].mean() < 5.0


def test_the_silhouette_covers_the_mask(scene, masks, found):
    rig = body_model("anny").rig(found.shape)
    vertices = rig.vertices(*rig.forward(found.rotations, found.translation_m))
    ious = []
    for row in range(0, FRAMES, 4):
        a, b = silhouette(vertices[row], rig.faces, scene.camera), masks[0].mask(row)
        ious.append((a & b).sum() / (a | b).sum())
    assert np.mean(ious) > 0.85


def test_frames_and_ids_are_the_masks(masks, found):
    assert found.person_id == masks[0].person_id
    assert np.array_equal(found.frame_index, masks[0].frame_index)
    assert found.observed.all()
    assert 0 < found.confidence.min() <= found.confidence.max() <= 1
    assert np.isnan(found.keypoints_px[:, Body29.LEFT_SMALL_TOE]).all()  # BlazePose does not mark it


def test_a_clip_shorter_than_a_chunk_is_fitted_whole(scene, masks, found):
    assert np.array_equal(fit(scene, masks, chunk_frames=32)[0].joints_m, found.joints_m)


def test_chunks_show_no_seams_and_err_no_more_than_the_whole():
    long = make_scene(people=1, frames=99, seed=3)
    seen = observed(long)
    whole, parts = fit(long, seen)[0], fit(long, seen, chunk_frames=33)[0]
    truth = relative(long.people[0].joints_m)
    apart = relative(whole.joints_m) - relative(parts.joints_m)
    error = np.linalg.norm(relative(whole.joints_m) - truth, axis=-1).mean()
    # Steps are damped by the whole chunk's cost, so chunks settle a little elsewhere: by far less than either is off.
    assert np.linalg.norm(apart, axis=-1).mean() < 0.25 * error
    assert np.linalg.norm(relative(parts.joints_m) - truth, axis=-1).mean() < 1.05 * error
    steps = np.abs(np.diff(whole.joints_m - parts.joints_m, axis=0)).max((1, 2))
    assert steps[[32, 65]].max() <= np.delete(steps, [32, 65]).max()


def test_the_result_does_not_depend_on_the_number_of_cores(monkeypatch):
    scene = make_scene(1, 70)
    masks = observed(scene)

    def on_cores(count: int):
        monkeypatch.setattr(estimator, "usable_cores", lambda: count)
        return fit(scene, masks, chunk_frames=32)

    for one, many in zip(on_cores(1), on_cores(2), strict=True):
        assert one.rotations.tobytes() == many.rotations.tobytes()
        assert one.translation_m.tobytes() == many.translation_m.tobytes()


def test_a_given_height_is_met_and_leaves_the_picture(scene, masks, found):
    tall = fit(scene, masks, height_m=2.0)[0]
    rig, usual = body_model("anny").rig(tall.shape), body_model("anny").rig(found.shape)
    assert rig.height_m == pytest.approx(2.0, abs=1e-4)
    assert tall.height_assumed is False
    farther = np.median(tall.translation_m[:, 2] / found.translation_m[:, 2])
    assert farther == pytest.approx(2.0 / usual.height_m, rel=0.05)
    apart = np.linalg.norm(scene.camera.project(tall.joints_m) - scene.camera.project(found.joints_m), axis=-1)
    assert apart[:, : Body29.LEFT_BIG_TOE].mean() < 3


def test_a_height_that_is_not_given_is_the_mean_and_is_called_assumed(scene, masks, found):
    rig = body_model("anny").rig(found.shape)
    assert found.height_assumed is True
    assert rig.height_m == pytest.approx(mean_height_m(found.shape[0]), abs=1e-4)
    boy = fit(scene, masks, sex="male", age_years=8.0)[0]
    assert boy.shape[0] == MALE
    assert body_model("anny").rig(boy.shape).height_m == pytest.approx(1.273, abs=1e-4)
    assert boy.height_assumed is True


@pytest.mark.parametrize("kind", ["rotating", "moving"])
def test_before_a_camera_that_turns_zooms_and_moves_the_body_is_the_same(scene, found, kind):
    camera = moving_camera(FRAMES, kind, zoom=1.6, pan_deg=10.0)
    still = dataclasses.replace(scene.camera, focal_px=camera.focal_px)
    camera = dataclasses.replace(camera, cx_px=still.cx_px, cy_px=still.cy_px, width_px=still.width_px, height_px=still.height_px)
    moved = dataclasses.replace(scene, people=to_frames(scene.people, camera), camera=camera)
    masks = observed(moved)
    (seen,) = fit(moved, masks)
    projected = camera.project_at(seen.joints_m, seen.frame_index)
    assert np.nanmean(np.linalg.norm(projected - seen.keypoints_px, axis=-1)) < 5.0
    np.testing.assert_allclose(seen.keypoints_px[:, Body29.NOSE], masks[0].landmarks.points_px[:, Blazepose33.NOSE])
    (placed,) = to_reference((seen,), camera)
    truth = scene.people[0]
    assert np.linalg.norm(relative(placed.joints_m) - relative(truth.joints_m), axis=-1)[:, : Body29.LEFT_BIG_TOE].mean() < 0.06
    # The camera's own path is not the person's: the root goes as before the camera that stands still.
    apart = (placed.translation_m - truth.translation_m) - (found.translation_m - truth.translation_m).mean(0)
    assert np.linalg.norm(apart - apart.mean(0), axis=-1).mean() < 0.05


def test_sex_and_age_are_the_main_persons():
    both = make_scene(people=2, frames=4, seed=5)
    first, second = fit(both, observed(both), height_m=1.4, sex="female", age_years=11)
    assert (first.shape[0], first.height_assumed) == (FEMALE, False)
    assert (second.shape[1], second.height_assumed) == (np.float32(2 / 3), True)


def test_mean_heights():
    assert (mean_height_m(MALE), mean_height_m(FEMALE), mean_height_m(UNDECIDED, 40)) == pytest.approx((1.765, 1.632, 1.6985))
    assert mean_height_m(FEMALE, 8.5) == pytest.approx((1.266 + 1.325) / 2)


def test_people_do_not_influence_each_other():
    both = make_scene(people=2, frames=8, seed=5)
    seen = observed(both)
    together, alone = fit(both, seen), fit(both, seen[1:])
    assert [t.person_id for t in together] == [1, 2]
    assert np.array_equal(together[1].joints_m, alone[0].joints_m)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips(frames):
    short = make_scene(people=1, frames=frames, seed=2)
    assert len(fit(short, observed(short))[0]) == frames


def test_frames_that_are_missing_stay_missing(scene, masks):
    kept = np.r_[0:8, 14:FRAMES]
    track, lm = masks[0], masks[0].landmarks
    some = LandmarkTrack(lm.points_px[kept], lm.depth_px[kept], lm.world_m[kept], lm.visibility[kept])
    cut = dataclasses.replace(track, frame_index=track.frame_index[kept], codes=tuple(track.codes[i] for i in kept), landmarks=some)
    assert np.array_equal(fit(scene, (cut,))[0].frame_index, kept)


def test_it_stops_when_progress_raises(scene, masks):
    def refuse(done: int, total: int) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        AnnyBodyEstimator(FitSettings()).estimate(Frames(scene.clip), masks, scene.camera, refuse)


def test_masks_without_landmarks_are_refused(scene, masks):
    with pytest.raises(ValueError, match="no landmarks"):
        fit(scene, (dataclasses.replace(masks[0], landmarks=None),))
