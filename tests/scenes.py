"""Scenes to test with: people with plausible, smooth, seeded Anny poses before a still camera. No video, no network, no model but Anny."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from body4d.bodies.anny import DEFAULT_SHAPE
from body4d.bodies.registry import body_model
from body4d.core.camera import CameraPath
from body4d.core.errors import RunWarning
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip, HandTrack, LandmarkTrack, MaskTrack, Scene
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from fakes import stick_rig

# How far joints swing, in radians; all others stay as they rest, as they do in a fit.
SWING_RAD = {
    "upperleg01": 0.5,
    "lowerleg01": 0.5,
    "foot": 0.2,
    "clavicle": 0.15,
    "upperarm01": 0.8,
    "lowerarm01": 0.6,
    "wrist": 0.3,
    "spine05": 0.15,
    "spine03": 0.15,
    "spine01": 0.15,
    "neck01": 0.2,
    "head": 0.2,
}


def make_clip(frames: int = 10, *, rate: Fraction = Fraction(30000, 1001), variable_rate: bool = False, seed: int = 0) -> Clip:
    """A 640x480 clip of ``frames`` frames; with ``variable_rate`` the steps differ by up to half of themselves."""
    step = float(1 / rate)
    times = np.arange(frames) * step
    if variable_rate:
        times[1:-1] += np.random.default_rng(seed).uniform(-0.25, 0.25, max(frames - 2, 0)) * step
    return Clip(
        path=Path("made.mp4"),
        width_px=640,
        height_px=480,
        rate=rate,
        times_s=times,
        source_frames=np.arange(frames),
        variable_rate=variable_rate,
    )


def moving_camera(frames: int, kind: Literal["rotating", "moving"] | None, zoom: float = 1.0, pan_deg: float = 40.0) -> Camera:
    """A camera of 640x480 that pans to the right and nods, on the spot or while it travels to the left and sways; still where ``kind`` is
    None. Its focal length grows by the factor ``zoom``."""
    still = Camera(600.0, 320.0, 240.0, 640, 480)
    if kind is None:
        return still
    share = np.linspace(0, 1, frames)
    turns = np.stack([0.03 * np.sin(9 * share), np.radians(pan_deg) * share, 0.02 * np.sin(7 * share)], -1)
    T = np.tile(np.eye(4), (frames, 1, 1))
    T[:, :3, :3] = rotvec_to_matrix(turns)
    if kind == "moving":
        T[:, :3, 3] = np.stack([-1.0 * share, 0.05 * np.sin(20 * share), 0.1 * np.sin(11 * share)], -1)
    none = np.zeros(frames)
    focal_px = 600.0 * zoom**share
    return dataclasses.replace(still, static=False, path=CameraPath(kind, T, focal_px, none, none, none, scale_source="bodies"))


def make_track(person_id: int, frame_index: np.ndarray, clip: Clip, camera: Camera, *, seed: int = 0, body: str = "anny") -> BodyTrack:
    """One person moving smoothly some 3.5 m in front of ``camera``, with measured keypoints 1 px off; a box where ``body`` is "stick"."""
    rng = np.random.default_rng([seed, person_id])
    shape = DEFAULT_SHAPE.copy()
    shape[[0, 2, 3, 4, 5]] = rng.uniform(0.2, 0.8, 5)
    rig = stick_rig() if body == "stick" else body_model(body).rig(shape)
    times = clip.times_s[frame_index]
    rotations = make_rotations(rig, times, rng)
    place = np.array([1.1 * (person_id - 1), 0.1, 3.5])
    translation = place + 0.15 * np.sin(2 * np.pi * (times[:, None] * rng.uniform(0.3, 0.8, 3) + rng.uniform(0, 1, 3)))
    joints = rig.keypoints(*rig.forward(rotations, translation))
    t, k = joints.shape[:2]
    observed = np.ones(t, bool)
    observed[t // 2] = False
    return BodyTrack(
        person_id=person_id,
        body=body,
        frame_index=frame_index,
        shape=shape,
        rotations=rotations.astype(np.float32),
        translation_m=translation.astype(np.float32),
        joints_m=joints.astype(np.float32),
        keypoints_px=np.where(observed[:, None, None], camera.project(joints) + rng.normal(0, 1, (t, k, 2)), np.nan).astype(np.float32),
        visibility=rng.uniform(0.5, 1, (t, k)).astype(np.float32) * observed[:, None],
        confidence=rng.uniform(0.5, 1, t).astype(np.float32),
        observed=observed,
        mask_iou=np.where(observed, rng.uniform(0.8, 0.95, t), np.nan).astype(np.float32),
        joints_raw_m=(joints + rng.normal(0, 0.01, joints.shape)).astype(np.float32),
    )


def track_of_joints(joints_m: np.ndarray, /, **changes: Any) -> BodyTrack:
    """A track of made joints (T, 29, 3), seen well on every frame, for what looks at joints alone."""
    t = len(joints_m)
    whole = BodyTrack(
        person_id=1,
        body="made",
        frame_index=np.arange(t),
        shape=np.zeros(1),
        rotations=np.zeros((t, 1, 3)),
        translation_m=joints_m[:, 0],
        joints_m=joints_m,
        keypoints_px=np.zeros((t, 29, 2)),
        visibility=np.ones((t, 29)),
        confidence=np.ones(t),
        observed=np.ones(t, bool),
    )
    return dataclasses.replace(whole, **changes)


def make_rotations(rig: Rig, times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotation vectors (T, J, 3): each joint of SWING_RAD sways about an axis of its own, the root turns on the spot."""
    rotations = np.zeros((len(times_s), len(rig.joint_names), 3))
    for j, name in enumerate(rig.joint_names):
        swing = SWING_RAD.get(name.split(".")[0])
        if swing is not None:
            phase = 2 * np.pi * (times_s * rng.uniform(0.4, 1.2) + rng.uniform())
            rotations[:, j] = swing * np.sin(phase)[:, None] * rng.uniform(-1, 1, 3)
    rotations[:, 0, 1] = rng.uniform(-0.5, 0.5) + 0.8 * times_s
    rotations[:, 0, [0, 2]] = rng.uniform(-0.1, 0.1, 2)
    return rotations


def make_scene(
    people: int = 1,
    frames: int = 10,
    *,
    seed: int = 0,
    rate: Fraction = Fraction(30000, 1001),
    variable_rate: bool = False,
    gaps: bool = False,
    body: str = "anny",
) -> Scene:
    """A scene of ``people`` persons with ids from 1. With ``gaps`` they come late, leave early and are away for a while between."""
    clip = make_clip(frames, rate=rate, variable_rate=variable_rate, seed=seed)
    camera = Camera(focal_px=600.0, cx_px=320.0, cy_px=240.0, width_px=640, height_px=480, source="fov")
    tracks = []
    for person_id in range(1, people + 1):
        index = np.arange(frames)
        if gaps:
            away = (index < person_id) | (index >= frames - 1) | (index // 2 == frames // 4)
            index = index[~away]
        tracks.append(make_track(person_id, index, clip, camera, seed=seed, body=body))
    return Scene(
        clip=clip,
        camera=camera,
        people=tuple(tracks),
        T_world_camera=make_floor(),
        warnings=(RunWarning("height_assumed", "The height was assumed: 1.70 m.", facts={"height_m": 1.7}),),
    )


def stick_scene(**choices: Any) -> Scene:
    """``make_scene`` with boxes that carry their rig, for what needs no body model and is quick."""
    scene = make_scene(body="stick", **choices)
    return dataclasses.replace(scene, people=tuple(dataclasses.replace(track, rig=stick_rig()) for track in scene.people))


def with_moving_camera(scene: Scene, *, pan_deg: float = 25.0, zoom: float = 1.4, aside_m: float = 0.8) -> Scene:
    """The same people in the same world, seen by a camera that pans to the right, rolls a little, zooms in and moves to the left."""
    camera, share = scene.camera, np.linspace(0, 1, len(scene.clip))
    turns = rotvec_to_matrix(share[:, None] * np.radians(pan_deg) * np.array([0.1, 1.0, 0.05]))
    to_reference = np.tile(np.eye(4), (len(share), 1, 1))
    to_reference[:, :3, :3] = turns
    to_reference[:, :3, 3] = share[:, None] * np.array([-aside_m, 0.05, 0.1])
    zeros = np.zeros(len(share))
    path = CameraPath("moving", to_reference, camera.focal_px * (1 + (zoom - 1) * share), zeros, zeros, zeros)
    moving = dataclasses.replace(camera, path=path, static=False)
    people = []
    for track in scene.people:
        back, at = np.swapaxes(turns[track.frame_index], 1, 2), to_reference[track.frame_index, :3, 3]
        rotations = track.rotations.copy()
        rotations[:, 0] = matrix_to_rotvec(back @ rotvec_to_matrix(track.rotations[:, 0].astype(np.float64)))
        joints = np.einsum("tab,tkb->tka", back, track.joints_m - at[:, None]).astype(np.float32)
        places = np.einsum("tab,tb->ta", back, track.translation_m - at).astype(np.float32)
        seen_px = np.stack([moving.at(int(f)).project(points) for f, points in zip(track.frame_index, joints, strict=True)])
        measured = np.where(np.isnan(track.keypoints_px), np.nan, seen_px).astype(np.float32)
        changes = {"rotations": rotations, "joints_m": joints, "translation_m": places, "keypoints_px": measured, "joints_raw_m": joints}
        people.append(dataclasses.replace(track, **changes))
    return dataclasses.replace(scene, camera=moving, people=tuple(people))


def make_floor(tilt_rad: float = 0.15, camera_height_m: float = 1.4) -> np.ndarray:
    """T_world_camera (4, 4) of a camera that looks down by ``tilt_rad`` from ``camera_height_m`` above the floor."""
    c, s = np.cos(tilt_rad), np.sin(tilt_rad)
    transform = np.eye(4)
    transform[:3, :3] = np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ np.diag([1.0, -1.0, -1.0])
    transform[:3, 3] = [0.1, camera_height_m, 3.5]
    return transform


def make_hands(t: int, rng: np.random.Generator) -> HandTrack:
    """Made-up hand landmarks; the left hand is not seen on the first frame."""
    points, world = (rng.normal(size=(t, 2, 21, n)).astype(np.float32) for n in (2, 3))
    score, right = np.full((t, 2), 0.9, np.float32), np.full((t, 2), 0.5, np.float32)
    points[0, 0], world[0, 0], score[0, 0], right[0, 0] = np.nan, np.nan, 0, np.nan
    return HandTrack(points, world, score, right)


def make_masks(scene: Scene, *, landmarks: bool = True, hands: bool = False, seed: int = 0) -> tuple[MaskTrack, ...]:
    """Masks of ``scene``'s people: a box around their joints, with made-up BlazePose landmarks on request."""
    rng = np.random.default_rng(seed)
    tracks = []
    for person in scene.people:
        codes = []
        for joints in scene.camera.project(person.joints_m):
            mask = np.zeros((scene.clip.height_px, scene.clip.width_px), bool)
            (x0, y0), (x1, y1) = np.clip(joints.min(0), 0, None).astype(int), joints.max(0).astype(int)
            mask[y0:y1, x0:x1] = True
            codes.append(MaskTrack.encode(mask))
        t = len(person)
        seen = LandmarkTrack(
            points_px=rng.uniform(0, 480, (t, 33, 2)).astype(np.float32),
            depth_px=rng.normal(0, 30, (t, 33)).astype(np.float32),
            world_m=rng.normal(0, 0.5, (t, 33, 3)).astype(np.float32),
            visibility=rng.uniform(0, 1, (t, 33)).astype(np.float32),
            hands=make_hands(t, rng) if hands else None,
        )
        tracks.append(
            MaskTrack(
                person_id=person.person_id,
                frame_index=person.frame_index,
                codes=tuple(codes),
                height_px=scene.clip.height_px,
                width_px=scene.clip.width_px,
                landmarks=seen if landmarks else None,
            )
        )
    return tuple(tracks)


def same(a: Any, b: Any) -> bool:
    """Whether two nouns hold the same values, dtypes included, NaN equal to NaN."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
