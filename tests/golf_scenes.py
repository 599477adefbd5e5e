"""Scenes of exact golf swings without any film: the authored swing on an Anny body before a camera, and what else hands can do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from body4d.bodies.registry import body_model
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.evaluate.synthetic.motions import MOTION_VIEWS, ActorMotion, place_camera_around, transform_motion
from body4d.evaluate.synthetic.swing import GolfSwing
from body4d.evaluate.synthetic.walk import WalkCycle
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

SHAPE = np.array([0.05, 2 / 3, 0.6, 0.52, 0.4, 0.55, 1.0], np.float32)
Poses = Callable[[np.ndarray], ActorMotion]


@cache
def golfer() -> tuple[Rig, GolfSwing]:
    rig = body_model("anny").rig(SHAPE)
    return rig, GolfSwing(rig)


@cache
def swing_poses(*, start_s: float = 0.4, speed: float = 1.0) -> Poses:
    """The authored swing, whose takeaway begins at ``start_s``."""
    return lambda times_s: ActorMotion(*golfer()[1].poses((times_s - start_s) * speed)[:2])


def walk_poses() -> Poses:
    walk = WalkCycle(golfer()[0])
    return lambda times_s: ActorMotion(*walk.poses(times_s - 1.5))


def through_poses(moments: Sequence[tuple[float, ActorMotion]]) -> Poses:
    """From pose to pose of one row each at given seconds, starting and ending each way at rest."""
    at = np.array([moment for moment, _ in moments])

    def poses(times_s: np.ndarray) -> ActorMotion:
        left = np.clip(np.searchsorted(at, times_s, side="right") - 1, 0, len(at) - 2)
        share = np.clip((times_s - at[left]) / (at[left + 1] - at[left]), 0, 1)
        share = share * share * (3 - 2 * share)
        rows = np.concatenate([motion.rotations for _, motion in moments]).astype(np.float64)
        roots = np.concatenate([motion.root_m for _, motion in moments])
        a, b = rotvec_to_matrix(rows[left]), rotvec_to_matrix(rows[left + 1])
        turned = a @ rotvec_to_matrix(share[:, None, None] * matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b))
        return ActorMotion(matrix_to_rotvec(turned), roots[left] + share[:, None] * (roots[left + 1] - roots[left]))

    return poses


def pose_at(since_takeaway_s: float) -> ActorMotion:
    return ActorMotion(*golfer()[1].poses(np.array([since_takeaway_s]))[:2])


@cache
def make_scene(poses: Poses, seconds: float, *, rate: float = 30, view: str = "face-on", turn_deg: float = 0.0) -> Scene:
    """``poses`` before a camera of a named view, turned further about the golfer by ``turn_deg``, as a scene of exact truth."""
    rig, _ = golfer()
    times_s = np.arange(round(seconds * rate)) / rate
    motion = poses(times_s)
    points = rig.keypoints(*rig.forward(motion.rotations.astype(np.float64), motion.root_m)).reshape(-1, 3)
    azimuth, elevation = MOTION_VIEWS[view]
    camera, T_camera_stage = place_camera_around(points, azimuth + turn_deg, elevation, (544, 720))
    seen = transform_motion(motion, T_camera_stage[:3, :3], T_camera_stage[:3, 3])
    joints = rig.keypoints(*rig.forward(seen.rotations.astype(np.float64), seen.root_m))
    t = len(times_s)
    track = BodyTrack(
        person_id=1,
        body="anny",
        frame_index=np.arange(t),
        shape=SHAPE,
        rotations=seen.rotations,
        translation_m=seen.root_m,
        joints_m=joints,
        keypoints_px=camera.project(joints),
        visibility=np.ones(joints.shape[:2], np.float32),
        confidence=np.ones(t, np.float32),
        observed=np.ones(t, bool),
        rig=rig,
    )
    clip = Clip(Path("swing.mp4"), 544, 720, Fraction(rate).limit_denominator(1000), times_s, np.arange(t))
    return Scene(clip, camera, (track,), np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(T_camera_stage), preset="truth")


def mirrored_scene(scene: Scene) -> Scene:
    """The scene as a mirror shows it: a left-handed golfer, the picture's left and right exchanged."""
    track = scene.people[0]
    rig = golfer()[0]

    def other(name: str) -> str:
        if name.endswith((".L", ".R")):
            return name[:-1] + ("R" if name.endswith("L") else "L")
        side, _, rest = name.partition("_")
        return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)

    bones = [rig.joint_names.index(other(name)) for name in rig.joint_names]
    points = [track.joint_names.index(other(name)) for name in track.joint_names]
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = replace(
        track,
        rotations=track.rotations[:, bones] * [1.0, -1.0, -1.0],
        translation_m=track.translation_m * flip,
        joints_m=track.joints_m[:, points] * flip,
    )
    to_world = np.diag([-1.0, 1.0, 1.0, 1.0]) @ scene.T_world_camera @ np.diag([-1.0, 1.0, 1.0, 1.0])
    return replace(scene, people=(mirrored,), T_world_camera=to_world)


def cut(scene: Scene, first: int, last: int) -> Scene:
    """Frames ``first`` up to ``last`` of a scene with one person."""
    track, clip = scene.people[0], scene.clip
    rows = slice(first, last)
    part = replace(
        track,
        frame_index=np.arange(last - first),
        **{
            name: getattr(track, name)[rows]
            for name in ("rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
        },
    )
    times_s = clip.times_s[rows] - clip.times_s[first]
    return replace(scene, people=(part,), clip=replace(clip, times_s=times_s, source_frames=np.arange(last - first)))
