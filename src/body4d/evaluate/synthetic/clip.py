"""Clips with exact ground truth: a body moved by joint curves, filmed over a meadow with a camera's noise and motion blur.

Everything follows from the arguments: the same call films the same pictures and writes the same truth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.errors import RunWarning
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Scene
from body4d.evaluate.synthetic.appearance import club_mesh, vertex_colours
from body4d.evaluate.synthetic.background import SUN, render_meadow, shadow_light
from body4d.evaluate.synthetic.motions import (
    CAMERA_VIEWS,
    CLIP_KINDS,
    DEFAULT_SECONDS,
    DEFAULT_SIZE_PX,
    Actor,
    ActorMotion,
    CameraView,
    ClipKind,
    create_actors,
    place_camera,
    transform_motion,
)
from body4d.render.rasterizer import Mesh, draw, visible_mesh_index
from body4d.render.shading import Light

MAX_EXPOSURE_S = 1 / 120  # a phone by day; never more than half of the time between frames
_BLUR_STEP_PX = 2.5  # sub-frames are at most this far apart on the fastest joint
_CLUB_STEP_PX = 9.0  # a thin shaft may skip more
_MOST_SUBFRAMES = 12
_READ_NOISE, _SHOT_NOISE = 1.2, 0.035  # noise variance = read² + shot · level, in 8-bit levels
_CHUNK = 24


@dataclass(frozen=True)
class SyntheticClip:
    """Files of one synthetic clip: the video, the truth as a Scene (scene.npz's schema) and the true visible masks."""

    video: Path
    truth: Path
    truth_masks: Path


@dataclass(frozen=True)
class _FilmSet:
    """What stays the same through a clip."""

    camera: Camera
    T_camera_stage: np.ndarray
    actors: tuple[Actor, ...]
    colours: tuple[np.ndarray, ...]
    background: np.ndarray
    light: Light


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
    """Film ``kind`` into ``folder`` as ``<kind>.mp4``, ``truth.npz`` and ``truth_masks.npz``.

    ``rate`` in frames/s, ``size`` (width, height) in pixels, both even; ``view`` one of ``motions.VIEWS[kind]``. Keypoints of the truth
    are exact projections; their ``visibility`` is 0 outside the picture and behind another person, 1 elsewhere (a body hiding its own
    arm does not count). Raises ValueError for arguments outside these, OutputError where the folder cannot be written.
    """
    from body4d.core.scene_io import save_masks, save_scene
    from body4d.video import VideoWriter, probe

    if kind not in CLIP_KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(CLIP_KINDS)}")
    view = view or CAMERA_VIEWS[kind][0]
    if view not in CAMERA_VIEWS[kind]:
        raise ValueError(f"a {kind} cannot be filmed from {view!r}; choose from: {', '.join(CAMERA_VIEWS[kind])}")
    seconds = seconds or DEFAULT_SECONDS[kind]
    width, height = size or DEFAULT_SIZE_PX[kind]
    if width % 2 or height % 2 or min(width, height) < 16:
        raise ValueError(f"the size must be even and at least 16 pixels, found {width}x{height}")
    count = max(round(seconds * rate), 1)
    times_s = np.array([float(Fraction(i) / Fraction(rate)) for i in range(count)])
    stage = _set_stage(kind, view, (width, height), seconds, seed)
    folder = Path(folder)
    clip = SyntheticClip(folder / f"{kind}.mp4", folder / "truth.npz", folder / "truth_masks.npz")
    masks: list[list[np.ndarray]] = []
    with VideoWriter(clip.video, width, height, times_s) as writer:
        for picture, frame_masks in _frames(stage, times_s, min(MAX_EXPOSURE_S, 0.5 / float(rate)), seed):
            writer.write(picture)
            masks.append(frame_masks)
    mask_tracks = _mask_tracks(stage, masks)
    save_masks(mask_tracks, clip.truth_masks)
    save_scene(_truth(stage, probe(clip.video), times_s, masks, f"synthetic {kind}, {view}, seed {seed}"), clip.truth)
    return clip


def _set_stage(kind: ClipKind, view: CameraView, size_px: tuple[int, int], seconds: float, seed: int) -> _FilmSet:
    camera, T_camera_stage = place_camera(kind, view, size_px)
    actors = create_actors(kind, seconds, seed)
    colours = tuple(vertex_colours(a.rig, a.outfit).astype(np.float32) / 255 for a in actors)
    x, y, z = (float(c) for c in np.negative(T_camera_stage[:3, :3] @ SUN))
    a, b, c = (float(v) for v in -T_camera_stage[:3, 1])
    light = Light(key_direction=(x, y, z), fill_direction=(a, b, c), up=(a, b, c), sky=0.34, ground=0.16, rim=0.04, gloss=0.02)
    return _FilmSet(camera, T_camera_stage, actors, colours, render_meadow(camera, T_camera_stage, seed), light)


def _in_camera(stage: _FilmSet, actor: Actor, times_s: np.ndarray) -> ActorMotion:
    return transform_motion(actor.poses(times_s), stage.T_camera_stage[:3, :3], stage.T_camera_stage[:3, 3])


def _frames(stage: _FilmSet, times_s: np.ndarray, exposure_s: float, seed: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Each frame's picture, and everybody's visible mask at the middle of the exposure."""
    for first in range(0, len(times_s), _CHUNK):
        chunk = times_s[first : first + _CHUNK]
        middle = [_skinned(stage, a, chunk)[0] for a in stage.actors]
        counts = _subframes(stage, chunk, exposure_s)
        spread = [time_s + exposure_s * ((np.arange(n) + 0.5) / n - 0.5) for time_s, n in zip(chunk, counts, strict=True)]
        exposed = [_skinned(stage, a, np.concatenate(spread)) for a in stage.actors]
        ends = np.cumsum(counts)
        for i in range(len(chunk)):
            now = [v[i] for v in middle]
            light = np.zeros(stage.background.shape, np.float32)
            floor = _lit_floor(stage, now)
            for k in range(ends[i] - counts[i], ends[i]):
                light += _drawn(stage, [v[k] for v, _ in exposed], [m.club for _, m in exposed], k, floor)
            yield _developed(light / counts[i], np.random.default_rng([seed, 3, first + i])), visible_masks(stage, now)


def _skinned(stage: _FilmSet, actor: Actor, times_s: np.ndarray) -> tuple[np.ndarray, ActorMotion]:
    """Vertices (T, V, 3) in camera axes, and the moments they are of."""
    moments = _in_camera(stage, actor, times_s)
    return actor.rig.vertices(*actor.rig.forward(moments.rotations, moments.root_m)), moments


def _subframes(stage: _FilmSet, times_s: np.ndarray, exposure_s: float) -> list[int]:
    """How many pictures of each frame to average so that nothing visibly jumps between them."""
    around = np.concatenate([times_s - exposure_s / 2, times_s + exposure_s / 2])
    most = np.ones(len(times_s))

    def note(points_m: np.ndarray, step_px: float) -> None:
        px = stage.camera.project(points_m)
        travel = np.linalg.norm(px[len(times_s) :] - px[: len(times_s)], axis=-1).reshape(len(times_s), -1)
        np.maximum(most, np.nan_to_num(travel).max(1) / step_px, out=most)

    for actor in stage.actors:
        moments = _in_camera(stage, actor, around)
        note(actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m)), _BLUR_STEP_PX)
        if moments.club is not None:
            note(moments.club.head_m, _CLUB_STEP_PX)
    return np.minimum(np.ceil(most).astype(int), _MOST_SUBFRAMES).tolist()


def _lit_floor(stage: _FilmSet, vertices_m: Sequence[np.ndarray]) -> np.ndarray:
    """The background with everybody's shadow, as uint8."""
    lit = stage.background
    R, t = stage.T_camera_stage[:3, :3], stage.T_camera_stage[:3, 3]
    for v in vertices_m:
        lit = lit * shadow_light((v - t) @ R, stage.camera, stage.T_camera_stage)
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8)


def _drawn(stage: _FilmSet, vertices_m: Sequence[np.ndarray], clubs: Sequence[Any], moment: int, background: np.ndarray) -> np.ndarray:
    meshes = [Mesh(v, a.rig.faces, c) for v, a, c in zip(vertices_m, stage.actors, stage.colours, strict=True)]
    for club in clubs:
        if club is not None:
            v, faces, colours = club_mesh(club.hands_m[moment], club.shaft[moment], club.face[moment], club.length_m)
            meshes.append(Mesh(v, faces, colours / 255, two_sided=True))
    return draw(meshes, stage.camera, background, light=stage.light)


def visible_masks(stage: _FilmSet, vertices_m: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the camera sees of each person, bool (H, W), others in front taken away. A club is nobody: it neither counts nor hides."""
    seen = visible_mesh_index(
        [Mesh(v, a.rig.faces, np.ones(3), lit=False) for v, a in zip(vertices_m, stage.actors, strict=True)], stage.camera
    )
    return [seen == i for i in range(len(stage.actors))]


def _developed(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) uint8 with a sensor's noise: constant read noise and shot noise that grows with the light."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise *= np.sqrt(_READ_NOISE**2 + _SHOT_NOISE * light)
    return np.clip(light + noise + 0.5, 0, 255).astype(np.uint8)


def _mask_tracks(stage: _FilmSet, masks: Sequence[Sequence[np.ndarray]]) -> tuple[MaskTrack, ...]:
    """One track per person over the frames where anything of them is seen."""
    tracks = []
    for i, actor in enumerate(stage.actors):
        seen = [f for f, frame in enumerate(masks) if frame[i].any()]
        codes = tuple(MaskTrack.encode(masks[f][i]) for f in seen)
        tracks.append(MaskTrack(actor.person_id, np.array(seen, np.int64), codes, stage.camera.height_px, stage.camera.width_px))
    return tuple(tracks)


def _truth(stage: _FilmSet, clip: Clip, times_s: np.ndarray, masks: Sequence[Sequence[np.ndarray]], note: str) -> Scene:
    """The truth as a scene, in the axes of the camera that filmed it; a person is in it wherever anything of them is in the picture."""
    people = []
    for i, actor in enumerate(stage.actors):
        frames = np.array([f for f, frame in enumerate(masks) if frame[i].any()], np.int64)
        moments = _in_camera(stage, actor, times_s[frames])
        joints = actor.rig.keypoints(*actor.rig.forward(moments.rotations, moments.root_m))
        keypoints = stage.camera.project(joints)
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
    return Scene(clip, stage.camera, tuple(people), _world(stage, people), preset="truth", warnings=(RunWarning("synthetic_truth", note),))


def _visibility(keypoints_px: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """(T, K) 1 where a keypoint lies in the picture and not on somebody else's visible mask (T of (H, W))."""
    out = np.zeros(keypoints_px.shape[:2], np.float32)
    for t, mask in enumerate(others):
        x, y = np.floor(np.nan_to_num(keypoints_px[t], nan=-1.0)).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        out[t, inside] = ~mask[y[inside], x[inside]]
    return out


def _world(stage: _FilmSet, people: Sequence[BodyTrack]) -> np.ndarray:
    """T_world_camera: y up, origin on the floor under the first person's first frame."""
    to_stage = np.linalg.inv(stage.T_camera_stage)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    if people and len(people[0]):
        start = to_stage @ np.append(people[0].translation_m[0], 1.0)
        flip[:3, 3] = [-start[0], 0.0, start[2]]
    return flip @ to_stage
