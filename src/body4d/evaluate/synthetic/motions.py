"""The three scenes that a synthetic clip can show: people, their motions and the camera.

Stage axes are camera-like: x right and z away as a camera in front of the people sees them, y down, floor at y = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from body4d.bodies.registry import body_model
from body4d.core.rig import Rig
from body4d.core.types import Camera
from body4d.evaluate.synthetic.appearance import OUTFITS, Outfit
from body4d.evaluate.synthetic.limb_poser import axis_rotation
from body4d.evaluate.synthetic.motion_capture import MotionCapture
from body4d.evaluate.synthetic.retarget import RetargetedMotion
from body4d.evaluate.synthetic.swing import ADDRESS_SHARE, GolfClub, GolfSwing, swing_duration_s
from body4d.evaluate.synthetic.walk import STRIDE_M, STRIDE_S, WalkCycle
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

ClipKind = Literal["swing", "walk", "crossing"]
CameraView = Literal["down-the-line", "face-on", "front", "side", "oblique"]
CLIP_KINDS: tuple[ClipKind, ...] = get_args(ClipKind)
CAMERA_VIEWS: dict[ClipKind, tuple[CameraView, ...]] = {
    "swing": ("down-the-line", "face-on", "oblique"),
    "walk": ("oblique", "front", "side"),
    "crossing": ("side",),
}
"""Views that each kind of clip can have; the first is the default."""

DEFAULT_SECONDS: dict[ClipKind, float] = {"swing": 2.5, "walk": 3.0, "crossing": 3.0}
DEFAULT_SIZE_PX: dict[ClipKind, tuple[int, int]] = {"swing": (544, 720), "walk": (640, 480), "crossing": (848, 480)}

# A phone's main lens, by the diagonal of the picture (CIPA DCG-001), as in config.CameraSettings.
PHONE_MM35, _DIAGONAL_MM35 = 26.0, 43.2666

# Anny's parameters: gender (0 male), age, muscle, weight, height, proportions, scale; then how far a seed moves each.
_SHAPES: tuple[tuple[float, ...], ...] = (
    (0.05, 2 / 3, 0.60, 0.52, 0.40, 0.55, 1.0),
    (0.92, 2 / 3, 0.45, 0.50, 0.42, 0.55, 1.0),
)
_SHAPE_SPREAD = np.array([0.05, 0.0, 0.10, 0.10, 0.05, 0.05, 0.0])

MOTION_VIEWS: dict[str, tuple[float, float]] = {
    "face-on": (0.0, 5.0),
    "down-the-line": (90.0, 5.0),
    "oblique": (40.0, 5.0),
    "behind": (180.0, 5.0),
    "other-side": (270.0, 5.0),
}
"""Named views of a recorded motion: azimuth and elevation of the camera in degrees, see ``place_camera_around``."""

_PICTURE_SHARE = 0.8
"""A recorded motion takes at most this share of the picture's width and height."""

_CROSSING_DEPTHS_M = (-0.45, 0.55)  # where the two walk, in front of and behind the middle of the stage


@dataclass(frozen=True)
class ActorMotion:
    """One body over time: rotation vectors and root positions in stage axes, and the club it swings."""

    rotations: Float[np.ndarray, "t j 3"]
    root_m: Float[np.ndarray, "t 3"]
    club: GolfClub | None = None


@dataclass(frozen=True)
class Actor:
    """One person of a clip. ``poses`` gives the motion at seconds (T,) from the clip's first frame."""

    person_id: int
    shape: Float[np.ndarray, " s"]
    rig: Rig
    outfit: Outfit
    poses: Callable[[np.ndarray], ActorMotion]


def create_actors(kind: ClipKind, seconds: float, seed: int) -> tuple[Actor, ...]:
    """The people of a clip of ``seconds``. Their shapes and clothes depend on ``seed``, their motions do not."""
    rng = np.random.default_rng([seed, 2])
    clothes = rng.permutation(len(OUTFITS))
    people = []
    for i in range(2 if kind == "crossing" else 1):
        base = np.array(_SHAPES[i])
        shape = (base + _SHAPE_SPREAD * rng.uniform(-1, 1, len(base))).astype(np.float32)
        rig = body_model("anny").rig(shape)
        people.append(Actor(i + 1, shape, rig, OUTFITS[clothes[i]], _action(kind, i, rig, seconds)))
    return tuple(people)


WALK_OFF_SIDEWAYS_RAD = 0.25
"""Walkers before a camera that moves come nearer by this angle while they cross the picture, so that their depth changes, too."""

_OTHER_WALKER_M = 1.4  # the second walker is this much farther off


def create_walkers(people: int, seconds: float, seed: int) -> tuple[Actor, ...]:
    """One or two people who walk past the middle of the stage in opposite directions, the first to the right, dressed by ``seed``."""
    rng = np.random.default_rng([seed, 2])
    clothes = rng.permutation(len(OUTFITS))

    def action(rig: Rig, heading: float, place: np.ndarray) -> Callable[[np.ndarray], ActorMotion]:
        walk = WalkCycle(rig)
        return lambda times_s: _placed(ActorMotion(*walk.poses(times_s - seconds / 2)), heading, place)

    walkers = []
    for i in range(people):
        shape = (np.array(_SHAPES[i]) + _SHAPE_SPREAD * rng.uniform(-1, 1, len(_SHAPES[i]))).astype(np.float32)
        rig = body_model("anny").rig(shape)
        heading = (-np.pi / 2 + WALK_OFF_SIDEWAYS_RAD, np.pi / 2 + WALK_OFF_SIDEWAYS_RAD)[i]
        walkers.append(Actor(i + 1, shape, rig, OUTFITS[clothes[i]], action(rig, heading, np.array([0.0, 0.0, i * _OTHER_WALKER_M]))))
    return tuple(walkers)


def create_motion_actor(motion: MotionCapture, seed: int, *, with_club: bool = False) -> tuple[Actor, RetargetedMotion]:
    """One person who performs a recorded ``motion``; shape and clothes depend on ``seed``."""
    rng = np.random.default_rng([seed, 2])
    clothes = rng.permutation(len(OUTFITS))
    base = np.array(_SHAPES[0])
    shape = (base + _SHAPE_SPREAD * rng.uniform(-1, 1, len(base))).astype(np.float32)
    rig = body_model("anny").rig(shape)
    performed = RetargetedMotion(rig, motion, with_club=with_club)
    return Actor(1, shape, rig, OUTFITS[clothes[0]], lambda times_s: ActorMotion(*performed.poses(times_s))), performed


def _action(kind: ClipKind, person: int, rig: Rig, seconds: float) -> Callable[[np.ndarray], ActorMotion]:
    if kind == "swing":
        swing = GolfSwing(rig)
        start = max(seconds - swing_duration_s(), 0.0) * ADDRESS_SHARE
        return lambda times_s: ActorMotion(*swing.poses(times_s - start))
    walk = WalkCycle(rig)
    middle = seconds / 2
    if kind == "walk":
        return lambda times_s: _placed(ActorMotion(*walk.poses(times_s - middle)), 0.0, np.zeros(3))
    # The second is half a step out of phase with the first and walks the other way, farther off.
    heading, offset_s = ((-np.pi / 2, 0.0), (np.pi / 2, STRIDE_S / 3))[person]
    place = np.array([0.0, 0.0, _CROSSING_DEPTHS_M[person]])
    shift = np.array([0.0, 0.0, offset_s * STRIDE_M / STRIDE_S])
    return lambda times_s: _placed(ActorMotion(*walk.poses(times_s - middle + offset_s)), heading, place, shift)


def _placed(motion: ActorMotion, heading_rad: float, place_m: np.ndarray, shift_m: np.ndarray | None = None) -> ActorMotion:
    """``motion``, first moved by ``shift_m``, then turned about the vertical through the origin, then moved to ``place_m``."""
    turn = axis_rotation(1, np.array(heading_rad))
    return transform_motion(replace(motion, root_m=motion.root_m + (0.0 if shift_m is None else shift_m)), turn, place_m)


def transform_motion(motion: ActorMotion, rotation: Float[np.ndarray, "*t 3 3"], offset_m: Float[np.ndarray, "*t 3"]) -> ActorMotion:
    """``motion`` in other axes: x' = rotation x + offset, one for all moments or one for each."""

    def turned(vectors: np.ndarray) -> np.ndarray:
        return vectors @ rotation.T if rotation.ndim == 2 else np.einsum("tab,tb->ta", rotation, vectors)

    rotations = motion.rotations.copy()
    rotations[:, 0] = matrix_to_rotvec(rotation @ rotvec_to_matrix(rotations[:, 0]))
    club = motion.club
    if club is not None:
        club = GolfClub(turned(club.hands_m) + offset_m, turned(club.shaft), turned(club.face), club.length_m)
    return ActorMotion(rotations, turned(motion.root_m) + offset_m, club)


def lens_camera(size_px: tuple[int, int], focal_mm35: float = PHONE_MM35) -> Camera:
    """A lens, if nothing else is asked for a phone's main one, for pictures of ``size_px`` (width, height)."""
    width, height = size_px
    focal = focal_mm35 / _DIAGONAL_MM35 * float(np.hypot(width, height))
    return Camera(focal, width / 2, height / 2, width, height, source="default")


def place_camera(kind: ClipKind, view: CameraView, size_px: tuple[int, int]) -> tuple[Camera, Float[np.ndarray, "4 4"]]:
    """The camera and its ``T_camera_stage``. It is at chest height and looks a little down."""
    width, height = size_px
    lens = lens_camera(size_px)
    focal = lens.focal_px
    # Bearing of the camera from the middle of the stage (0: in front, 90: at the −x side, behind a golfer's hands).
    bearing = {"down-the-line": 90.0, "face-on": 0.0, "front": 0.0, "side": 0.0, "oblique": 40.0}[view]
    if kind == "walk":
        bearing = {"front": 0.0, "side": 90.0, "oblique": 40.0}[view]
    look_at = np.array([0.0, -0.98, -0.30 if view == "down-the-line" else -0.1])
    eye_height = 1.25
    # Far enough that 2.3 m of height, or the way walked, fits the picture with room around it.
    need = {"swing": (1.9, 2.45), "walk": (3.1, 2.5), "crossing": (4.5, 2.5)}[kind]
    distance = max(need[0] * focal / width, need[1] * focal / height)
    if kind == "walk" and view != "side":
        distance = need[1] * focal / height + 1.2
    yaw = axis_rotation(1, np.array(-np.radians(bearing)))
    pitch = axis_rotation(0, np.array(np.arctan2(eye_height + look_at[1], distance)))
    rotation = pitch @ yaw
    back = yaw.T @ np.array([0.0, 0.0, -1.0])
    eye = np.array([look_at[0], -eye_height, look_at[2]]) + distance * back
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = np.negative(rotation @ eye)
    return lens, transform


def place_camera_around(
    points_m: Float[np.ndarray, "n 3"], azimuth_deg: float, elevation_deg: float, size_px: tuple[int, int]
) -> tuple[Camera, Float[np.ndarray, "4 4"]]:
    """A camera that sees all ``points_m`` (stage axes), and its ``T_camera_stage``.

    It looks at the middle of the points. ``azimuth_deg`` is its bearing from there (0: in front, 90: at the −x side, the right hand's),
    ``elevation_deg`` is positive where it looks down. Raises ValueError where it would be below the floor.
    """
    lens = lens_camera(size_px)
    focal = lens.focal_px
    middle = (points_m.min(0) + points_m.max(0)) / 2
    rotation = axis_rotation(0, np.array(np.radians(elevation_deg))) @ axis_rotation(1, np.array(-np.radians(azimuth_deg)))
    seen = (points_m - middle) @ rotation.T
    need = np.abs(seen[:, :2]) * focal / (np.array(size_px) * _PICTURE_SHARE / 2) - seen[:, 2:]
    eye = middle + float(need.max()) * (rotation.T @ np.array([0.0, 0.0, -1.0]))
    if eye[1] > -0.05:
        raise ValueError(f"a camera at {elevation_deg:.0f} degrees of elevation would be below the floor")
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = np.negative(rotation @ eye)
    return lens, transform
