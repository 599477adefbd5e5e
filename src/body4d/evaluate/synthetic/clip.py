"""Clips with exact ground truth: bodies moved by joint curves over a meadow, or filmed by a moving camera in a yard, with a camera's noise
and motion blur.

Everything follows from the arguments: the same call renders the same pictures and writes the same truth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.errors import RunWarning
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Scene
from body4d.evaluate.synthetic.appearance import club_mesh, vertex_colours
from body4d.evaluate.synthetic.background import SUN, render_meadow, shadow_light
from body4d.evaluate.synthetic.camera_moves import CAMERA_MOVES, CameraMove, FilmingCamera, moving_camera, standing_camera
from body4d.evaluate.synthetic.motion_capture import MotionCapture
from body4d.evaluate.synthetic.motions import (
    CAMERA_VIEWS,
    CLIP_KINDS,
    DEFAULT_SECONDS,
    DEFAULT_SIZE_PX,
    MOTION_VIEWS,
    PHONE_MM35,
    Actor,
    ActorMotion,
    CameraView,
    ClipKind,
    create_actors,
    create_motion_actor,
    create_walkers,
    lens_camera,
    place_camera,
    place_camera_around,
    transform_motion,
)
from body4d.evaluate.synthetic.yard import Yard, make_yard
from body4d.render.rasterizer import Mesh, draw, visible_mesh_index
from body4d.render.shading import Light

MAX_EXPOSURE_S = 1 / 120
"""Exposure of a phone by day. It is never more than half of the time between frames."""

MAX_BLUR_STEP_PX = 2.5
"""Sub-frames of one exposure are at most this far apart on the fastest joint."""

MAX_CLUB_STEP_PX = 9.0
"""Sub-frames are at most this far apart at the head of a club, whose thin shaft may skip more."""

MAX_SUBFRAMES = 12
YARD_OFFSETS_PX = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))
"""Sub-frames of a yard look through these places of a pixel in turn (a rotated grid), at least once through each: its edges are smooth."""

MOVING_SECONDS, MOVING_SIZE_PX = 5.0, (768, 432)
"""A moving camera's film, unless something else is asked for: more than the 100 frames that world errors are measured over."""

SUBJECT_SMOOTH_S = 0.35
"""Who follows somebody with a camera follows their way, not their steps."""

READ_NOISE, SHOT_NOISE = 1.2, 0.035
"""Noise variance is read noise squared plus shot noise times level, in 8-bit levels."""

CHUNK_FRAMES = 24


@dataclass(frozen=True)
class SyntheticClip:
    """Files of one synthetic clip: the video, the truth as a Scene (scene.npz's schema) and the true visible masks."""

    video: Path
    truth: Path
    truth_masks: Path


@dataclass(frozen=True)
class _ClipSetup:
    """What does not change during a clip: how it is filmed, people with their vertex colours, and where they are."""

    filming: FilmingCamera
    actors: tuple[Actor, ...]
    colours: tuple[np.ndarray, ...]
    place: np.ndarray | Yard
    """The picture of what is behind the people of a camera that stands still, or the yard that it moves in."""

    @property
    def camera(self) -> Camera:
        """The lens on the first frame."""
        return self.filming.camera

    def view(self, time_s: float) -> tuple[Camera, np.ndarray]:
        """The lens and T_camera_stage at a moment."""
        views = self.filming.views(np.array([time_s]))
        return replace(self.camera, focal_px=float(views.focal_px[0])), views.T_camera_stage[0]


def make_clip(
    kind: ClipKind,
    folder: Path | str,
    *,
    rate: int | Fraction = 30,
    seed: int = 0,
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    view: CameraView | None = None,
) -> SyntheticClip:
    """Render a clip of ``kind`` into ``folder`` as ``<kind>.mp4``, ``truth.npz`` and ``truth_masks.npz``.

    ``rate`` is in frames/s, ``size`` is (width, height) in pixels, both even, and ``view`` is one of ``motions.CAMERA_VIEWS[kind]``.
    Keypoints of the truth are exact projections. Their ``visibility`` is 0 outside the picture and behind another person, 1 elsewhere
    (a body that hides its own arm does not count). Raises ValueError for other arguments, OutputError where the folder cannot be written.
    """
    if kind not in CLIP_KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(CLIP_KINDS)}")
    view = view or CAMERA_VIEWS[kind][0]
    if view not in CAMERA_VIEWS[kind]:
        raise ValueError(f"a {kind} cannot be filmed from {view!r}; choose from: {', '.join(CAMERA_VIEWS[kind])}")
    seconds = seconds or DEFAULT_SECONDS[kind]
    size_px = size or DEFAULT_SIZE_PX[kind]
    setup = _meadow_setup(*place_camera(kind, view, _checked_size(size_px)), create_actors(kind, seconds, seed), seed)
    return _film(setup, Path(folder), kind, Fraction(rate), seconds, seed, f"synthetic {kind}, {view}, seed {seed}")


def make_motion_clip(
    motion: MotionCapture,
    folder: Path | str,
    *,
    view: str | tuple[float, float] = "face-on",
    rate: int | Fraction = 30,
    seed: int = 0,
    start_s: float = 0.0,
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    with_club: bool = False,
) -> SyntheticClip:
    """Render a recorded motion (``motion_file.load_motion``), performed by an Anny body, as ``recorded.mp4`` with its exact truth.

    ``view`` is a name of ``motions.MOTION_VIEWS`` or (azimuth, elevation) in degrees: see ``motions.place_camera_around``. ``seconds`` from
    ``start_s`` on are filmed (default: to the end). Without ``size`` the picture is upright, or lies where the motion is wider than tall.
    With ``with_club`` the person holds a golf club. Else as ``make_clip``.
    """
    if isinstance(view, str) and view not in MOTION_VIEWS:
        raise ValueError(f"a motion cannot be filmed from {view!r}; choose from: {', '.join(MOTION_VIEWS)}, or give azimuth and elevation")
    azimuth, elevation = MOTION_VIEWS[view] if isinstance(view, str) else view
    seconds = max(motion.seconds - start_s, 0.0) if seconds is None else seconds
    whole, _ = create_motion_actor(motion, seed, with_club=with_club)
    actor = replace(whole, poses=lambda times_s: whole.poses(times_s + start_s))
    moments = actor.poses(np.linspace(0.0, seconds, 60))
    points = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m)).reshape(-1, 3)
    upright = DEFAULT_SIZE_PX["swing"]
    camera, T_camera_stage = place_camera_around(points, azimuth, elevation, _checked_size(size or upright))
    if size is None:
        extent = np.ptp(camera.project(points @ T_camera_stage[:3, :3].T + T_camera_stage[:3, 3]), axis=0)
        if extent[0] > extent[1]:
            camera, T_camera_stage = place_camera_around(points, azimuth, elevation, (upright[1], upright[0]))
    note = f"recorded motion, {azimuth:g} degrees of azimuth and {elevation:g} of elevation, seed {seed}"
    return _film(_meadow_setup(camera, T_camera_stage, (actor,), seed), Path(folder), "recorded", Fraction(rate), seconds, seed, note)


def make_moving_clip(
    move: CameraMove,
    folder: Path | str,
    *,
    rate: int | Fraction = 30,
    seed: int = 0,
    seconds: float = MOVING_SECONDS,
    size: tuple[int, int] = MOVING_SIZE_PX,
    people: int = 1,
    focal_mm35: float = PHONE_MM35,
) -> SyntheticClip:
    """Render people who walk through a yard as ``<move>.mp4``, filmed by a camera that moves as ``camera_moves.CAMERA_MOVES`` name it.

    The people do the same whatever the camera does. The camera of the truth has its exact ``path``. ``people``: 1 or 2. ``focal_mm35`` is
    the lens, in a zoom that of the first frame. Else as ``make_clip``.
    """
    if move not in CAMERA_MOVES:
        raise ValueError(f"unknown camera move {move!r}; known: {', '.join(CAMERA_MOVES)}")
    if people not in (1, 2):
        raise ValueError(f"one or two people walk through a yard, found {people}")
    actors = create_walkers(people, seconds, seed)
    filming = moving_camera(move, lens_camera(_checked_size(size), focal_mm35), _way(actors[0], seconds), seconds, seed)
    yard = make_yard(seed)
    place = _still_yard(yard, filming) if filming.kind == "static" else yard
    setup = _ClipSetup(filming, actors, _colours(actors), place)
    return _film(setup, Path(folder), move, Fraction(rate), seconds, seed, f"camera move {move}, seed {seed}")


def _still_yard(yard: Yard, filming: FilmingCamera) -> np.ndarray:
    """What a camera that stands still sees of ``yard``, drawn once for all frames."""
    T_camera_stage = filming.views(np.zeros(1)).T_camera_stage[0]
    return np.mean([yard.picture(filming.camera, T_camera_stage, offset) for offset in YARD_OFFSETS_PX], axis=0)


def _way(actor: Actor, seconds: float) -> Callable[[np.ndarray], np.ndarray]:
    """Where somebody is at seconds (T,), their steps smoothed away: (T, 3) in stage axes."""
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import gaussian_filter1d

    step_s, margin_s = 0.05, 1.5
    times_s = np.arange(-margin_s, seconds + margin_s + step_s, step_s)
    return CubicSpline(times_s, gaussian_filter1d(actor.poses(times_s).root_m, SUBJECT_SMOOTH_S / step_s, axis=0, mode="nearest"))


def _checked_size(size_px: tuple[int, int]) -> tuple[int, int]:
    width, height = size_px
    if width % 2 or height % 2 or min(width, height) < 16:
        raise ValueError(f"the size must be even and at least 16 pixels, found {width}x{height}")
    return size_px


def _film(setup: _ClipSetup, folder: Path, name: str, rate: Fraction, seconds: float, seed: int, note: str) -> SyntheticClip:
    """Render what ``setup`` holds, and write the truth beside it; the truth is written last."""
    from body4d.core.scene_io import save_masks, save_scene
    from body4d.video import VideoWriter, probe

    count = max(round(seconds * rate), 1)
    times_s = np.array([float(Fraction(i) / rate) for i in range(count)])
    clip = SyntheticClip(folder / f"{name}.mp4", folder / "truth.npz", folder / "truth_masks.npz")
    masks: list[list[np.ndarray]] = []
    with VideoWriter(clip.video, setup.camera.width_px, setup.camera.height_px, times_s) as writer:
        for picture, frame_masks in _render_frames(setup, times_s, min(MAX_EXPOSURE_S, 0.5 / float(rate)), seed):
            writer.write(picture)
            masks.append(frame_masks)
    save_masks(_mask_tracks(setup, masks), clip.truth_masks)
    save_scene(_truth_scene(setup, probe(clip.video), times_s, masks, note), clip.truth)
    return clip


def _meadow_setup(camera: Camera, T_camera_stage: np.ndarray, actors: tuple[Actor, ...], seed: int) -> _ClipSetup:
    meadow = render_meadow(camera, T_camera_stage, seed)
    return _ClipSetup(standing_camera(camera, T_camera_stage), actors, _colours(actors), meadow)


def _colours(actors: Sequence[Actor]) -> tuple[np.ndarray, ...]:
    return tuple(vertex_colours(a.rig, a.outfit).astype(np.float32) / 255 for a in actors)


def _daylight(T_camera_stage: np.ndarray) -> Light:
    x, y, z = (float(c) for c in np.negative(T_camera_stage[:3, :3] @ SUN))
    a, b, c = (float(v) for v in -T_camera_stage[:3, 1])
    return Light(key_direction=(x, y, z), fill_direction=(a, b, c), up=(a, b, c), sky=0.34, ground=0.16, rim=0.04, gloss=0.02)


def _in_camera(setup: _ClipSetup, actor: Actor, times_s: np.ndarray) -> ActorMotion:
    """The motion in the camera axes of each moment."""
    still = setup.filming.kind == "static"
    T_camera_stage = setup.view(0.0)[1] if still else setup.filming.views(times_s).T_camera_stage
    return transform_motion(actor.poses(times_s), T_camera_stage[..., :3, :3], T_camera_stage[..., :3, 3])


def _render_frames(setup: _ClipSetup, times_s: np.ndarray, exposure_s: float, seed: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Each frame's picture, and the visible mask of each person at the middle of the exposure."""
    for first in range(0, len(times_s), CHUNK_FRAMES):
        chunk = times_s[first : first + CHUNK_FRAMES]
        middle = [_skinned(setup, a, chunk)[0] for a in setup.actors]
        counts = _subframe_counts(setup, chunk, exposure_s)
        spread = [time_s + exposure_s * ((np.arange(n) + 0.5) / n - 0.5) for time_s, n in zip(chunk, counts, strict=True)]
        moments = np.concatenate(spread)
        exposed = [_skinned(setup, a, moments) for a in setup.actors]
        ends = np.cumsum(counts)
        for i in range(len(chunk)):
            vertices = [v[i] for v in middle]
            camera, T_camera_stage = setup.view(chunk[i])
            shadows = _shadows(camera, T_camera_stage, vertices)
            still = _shadowed(setup.place, shadows) if isinstance(setup.place, np.ndarray) else None
            light = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
            for k in range(ends[i] - counts[i], ends[i]):
                view = setup.view(moments[k])
                background = still if still is not None else _shadowed(_yard_picture(setup, *view, k), shadows)
                light += _draw_subframe(setup, *view, [v[k] for v, _ in exposed], [m.club for _, m in exposed], k, background)
            picture = _add_sensor_noise(light / counts[i], np.random.default_rng([seed, 3, first + i]))
            yield picture, _visible_masks(setup, camera, vertices)


def _skinned(setup: _ClipSetup, actor: Actor, times_s: np.ndarray) -> tuple[np.ndarray, ActorMotion]:
    """Vertices (T, V, 3) in camera axes, and the motion they belong to."""
    moments = _in_camera(setup, actor, times_s)
    return actor.rig.vertices(*actor.rig.forward(moments.rotations, moments.root_m)), moments


def _subframe_counts(setup: _ClipSetup, times_s: np.ndarray, exposure_s: float) -> list[int]:
    """How many sub-frames to average for each frame, so that nothing visibly jumps between them."""
    around = np.concatenate([times_s - exposure_s / 2, times_s + exposure_s / 2])
    # The change of focal length during an exposure is a fraction of a pixel.
    zoom = setup.filming.views(around).focal_px / setup.camera.focal_px
    counts = np.full(len(times_s), float(len(YARD_OFFSETS_PX)) if isinstance(setup.place, Yard) else 1.0)

    def raise_counts(points_m: np.ndarray, step_px: float) -> None:
        px = setup.camera.project(points_m)
        travel = np.linalg.norm(px[len(times_s) :] - px[: len(times_s)], axis=-1).reshape(len(times_s), -1)
        np.maximum(counts, np.nan_to_num(travel).max(1) * zoom[: len(times_s)] / step_px, out=counts)

    for actor in setup.actors:
        moments = _in_camera(setup, actor, around)
        raise_counts(actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m)), MAX_BLUR_STEP_PX)
        if moments.club is not None:
            raise_counts(moments.club.head_m, MAX_CLUB_STEP_PX)
    return np.minimum(np.ceil(counts).astype(int), MAX_SUBFRAMES).tolist()


def _yard_picture(setup: _ClipSetup, camera: Camera, T_camera_stage: np.ndarray, moment: int) -> np.ndarray:
    assert isinstance(setup.place, Yard)
    return setup.place.picture(camera, T_camera_stage, YARD_OFFSETS_PX[moment % len(YARD_OFFSETS_PX)])


def _shadows(camera: Camera, T_camera_stage: np.ndarray, vertices_m: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The light that each body leaves on the floor. During an exposure it does not visibly change."""
    R, t = T_camera_stage[:3, :3], T_camera_stage[:3, 3]
    return [shadow_light((v - t) @ R, camera, T_camera_stage) for v in vertices_m]


def _shadowed(background: np.ndarray, shadows: Sequence[np.ndarray]) -> np.ndarray:
    """The background with everybody's shadow, as uint8."""
    for light in shadows:
        background = background * light
    return np.clip(background + 0.5, 0, 255).astype(np.uint8)


def _draw_subframe(
    setup: _ClipSetup,
    camera: Camera,
    T_camera_stage: np.ndarray,
    vertices_m: Sequence[np.ndarray],
    clubs: Sequence[Any],
    moment: int,
    background: np.ndarray,
) -> np.ndarray:
    meshes = [Mesh(v, a.rig.faces, c) for v, a, c in zip(vertices_m, setup.actors, setup.colours, strict=True)]
    for club in clubs:
        if club is not None:
            v, faces, colours = club_mesh(club.hands_m[moment], club.shaft[moment], club.face[moment], club.length_m)
            meshes.append(Mesh(v, faces, colours / 255, two_sided=True))
    return draw(meshes, camera, background, light=_daylight(T_camera_stage))


def _visible_masks(setup: _ClipSetup, camera: Camera, vertices_m: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each person's mask (H, W) without what other people hide. A club is no person: it neither belongs to a mask nor hides anything."""
    mesh_index = visible_mesh_index(
        [Mesh(v, a.rig.faces, np.ones(3), lit=False) for v, a in zip(vertices_m, setup.actors, strict=True)], camera
    )
    return [mesh_index == i for i in range(len(setup.actors))]


def _add_sensor_noise(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) uint8 with the noise of a sensor: constant read noise, and shot noise that grows with the light."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise *= np.sqrt(READ_NOISE**2 + SHOT_NOISE * light)
    return np.clip(light + noise + 0.5, 0, 255).astype(np.uint8)


def _mask_tracks(setup: _ClipSetup, masks: Sequence[Sequence[np.ndarray]]) -> tuple[MaskTrack, ...]:
    """One track per person over the frames where any of their pixels is visible."""
    tracks = []
    for i, actor in enumerate(setup.actors):
        frames = [f for f, frame in enumerate(masks) if frame[i].any()]
        codes = tuple(MaskTrack.encode(masks[f][i]) for f in frames)
        tracks.append(MaskTrack(actor.person_id, np.array(frames, np.int64), codes, setup.camera.height_px, setup.camera.width_px))
    return tuple(tracks)


def _truth_scene(setup: _ClipSetup, clip: Clip, times_s: np.ndarray, masks: Sequence[Sequence[np.ndarray]], note: str) -> Scene:
    """The truth as a scene. A person is in it on the frames where any of their pixels is visible."""
    people = []
    for i, actor in enumerate(setup.actors):
        frames = np.array([f for f, frame in enumerate(masks) if frame[i].any()], np.int64)
        moments = _in_camera(setup, actor, times_s[frames])
        joints = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m))
        keypoints = np.stack([setup.view(times_s[f])[0].project(points) for f, points in zip(frames, joints, strict=True)])  # pyright: ignore[reportArgumentType]
        track = BodyTrack(
            person_id=actor.person_id,
            body="anny",
            frame_index=frames,
            shape=actor.shape,
            rotations=moments.rotations,
            translation_m=moments.root_m,
            joints_m=joints,
            keypoints_px=keypoints,
            visibility=_visibility(
                keypoints, [np.any([m for j, m in enumerate(masks[f]) if j != i] or [masks[f][i] & False], 0) for f in frames]
            ),
            confidence=np.ones(len(frames), np.float32),
            observed=np.ones(len(frames), bool),
        )
        people.append(track)
    origin = RunWarning("synthetic_truth", note)
    camera = replace(setup.camera, static=setup.filming.kind == "static", path=setup.filming.path(times_s))
    return Scene(clip, camera, tuple(people), _world(setup, people, times_s), preset="truth", warnings=(origin,))


def _visibility(keypoints_px: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Visibility (T, K): 1 where a keypoint is in the picture and not on the visible masks of ``others`` (T of (H, W))."""
    out = np.zeros(keypoints_px.shape[:2], np.float32)
    for t, mask in enumerate(others):
        x, y = np.floor(np.nan_to_num(keypoints_px[t], nan=-1.0)).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        out[t, inside] = ~mask[y[inside], x[inside]]
    return out


def _world(setup: _ClipSetup, people: Sequence[BodyTrack], times_s: np.ndarray) -> np.ndarray:
    """T_world_camera of the first frame: y up, origin on the floor where the first person is when first seen."""
    to_stage = np.linalg.inv(setup.view(0.0)[1])
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    if people and len(people[0]):
        seen_s = float(times_s[people[0].frame_index[0]])
        start = np.linalg.inv(setup.view(seen_s)[1]) @ np.append(people[0].translation_m[0], 1.0)
        flip[:3, 3] = [-start[0], 0.0, start[2]]
    return flip @ to_stage
