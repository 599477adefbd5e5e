"""A run against joints that were measured by several cameras or by markers: an npz of plain arrays, one set of joints for each camera.

The file holds ``joint_names`` (N), ``fps``, ``source_frames`` (T, numbers of the video's frames) and, for each camera,
``<camera>/joints_m`` (T, N, 3) in that camera's axes, ``<camera>/up`` (3), the direction away from the floor in the same axes, and, where
the camera started at another time, ``<camera>/source_frames``. Definitions of the figures: docs/evaluation.md.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.errors import InputError
from body4d.core.joints import joint_names
from body4d.core.types import BodyTrack, MaskTrack, Scene
from body4d.evaluate import metrics

SIDES = ("left", "right")
JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
SCORED_JOINTS = tuple(f"{side}_{joint}" for joint in JOINTS for side in SIDES)
ANGLES = ("knee", "hip", "elbow", "shoulder")

MAX_WRIST_SPEED_M_S = 20.0
"""No wrist is faster: a tour player's in a driver swing move at about 10 m/s. What exceeds it is an arm that jumps."""

REVERSED_DEG = 90.0
"""A person whose hips or shoulders point further than this from the true direction, seen from above, is taken for turned round."""

Joints = Mapping[str, Float[np.ndarray, "t 3"]]


@dataclass(frozen=True)
class MeasuredTruth:
    """Measured joints of one person as one camera sees them."""

    joint_names: tuple[str, ...]
    joints_m: Float[np.ndarray, "t joints 3"]
    source_frames: Int[np.ndarray, " t"]
    """Numbers of the frames in the video file."""
    fps: float
    up: Float[np.ndarray, "3"]
    """Unit vector away from the floor, camera axes."""


@dataclass(frozen=True)
class JointScore:
    """One set of joints against the measured ones; hips' middles aligned, camera axes, twelve joints of the limbs.

    ``joint_mm`` and the like have one value for each of ``JOINTS``, the mean of both sides.
    """

    frames: int
    mpjpe_mm: float
    pa_mpjpe_mm: float
    across_mm: float
    depth_mm: float
    worst_frame_mm: float
    joint_mm: dict[str, float]
    joint_depth_mm: dict[str, float]
    angle_rmse_deg: dict[str, float]
    """Of ``ANGLES``, both sides together."""
    hip_turn_rmse_deg: float
    shoulder_turn_rmse_deg: float
    """Direction of the line from right to left shoulder, seen from above."""
    reversed_frames: tuple[int, ...]
    """Rows where hips or shoulders point more than ``REVERSED_DEG`` away from the true direction."""
    fast_wrist_samples: int
    """Steps of a wrist, relative to the hips, faster than ``MAX_WRIST_SPEED_M_S``."""
    peak_wrist_speed_kept: float
    """NaN where a true wrist is still."""
    jitter_m_s3: float
    truth_jitter_m_s3: float


@dataclass(frozen=True)
class MeasuredScore:
    """A run against measured joints: the result, and the landmark network's own 3D answer where the run has one."""

    frames_missing: int
    up_error_deg: float
    """Angle between the run's vertical and the true one."""
    result: JointScore
    landmarks: JointScore | None
    within_one_sigma: dict[str, float]
    """Share of errors of at most one ``joint_sigma_m``, by joint and over all of them (``all``); empty where the run has none."""
    within_two_sigma: dict[str, float]


def load_measured_truth(path: str | os.PathLike[str], camera: str) -> MeasuredTruth:
    """Read what ``camera`` sees from a file of measured joints. Raises InputError where the file or the camera is not there."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as measured joints ({error}).", code="truth_file", hint="It is an .npz file.") from error
    cameras = sorted(name.split("/")[0] for name in arrays if name.endswith("/joints_m"))
    if camera not in cameras:
        raise InputError(
            f"{path} has no camera {camera!r}.", code="truth_camera", hint=f"Its cameras: {', '.join(cameras)}.", cameras=cameras
        )
    frames = arrays.get(f"{camera}/source_frames", arrays["source_frames"])
    up = np.asarray(arrays[f"{camera}/up"], np.float64)
    return MeasuredTruth(
        joint_names=tuple(str(name) for name in arrays["joint_names"]),
        joints_m=np.asarray(arrays[f"{camera}/joints_m"], np.float64),
        source_frames=np.asarray(frames, np.int64),
        fps=float(arrays["fps"]),
        up=up / np.linalg.norm(up),
    )


def truth_of_scene(truth: Scene, person_id: int = 1) -> MeasuredTruth:
    """The exact truth of a synthetic clip in the same form."""
    person = truth.person(person_id)
    return MeasuredTruth(
        joint_names=person.joint_names,
        joints_m=person.joints_m.astype(np.float64),
        source_frames=truth.clip.source_frames[person.frame_index].astype(np.int64),
        fps=float(truth.clip.capture_rate or truth.clip.rate),
        up=truth.T_world_camera[1, :3] / np.linalg.norm(truth.T_world_camera[1, :3]),
    )


def score_measured(scene: Scene, masks: tuple[MaskTrack, ...], truth: MeasuredTruth, person_id: int = 1) -> MeasuredScore:
    """Score ``person_id`` of a run. Frames are those that body, landmarks and truth share; InputError where there are fewer than four."""
    person = scene.person(person_id)
    body_rows = {int(scene.clip.source_frames[f]): row for row, f in enumerate(person.frame_index)}
    mask = next((m for m in masks if m.person_id == person_id), None)
    seen = mask if mask is not None and mask.landmarks is not None else None
    mask_rows = body_rows if seen is None else {int(scene.clip.source_frames[f]): row for row, f in enumerate(seen.frame_index)}
    shared = [row for row, f in enumerate(truth.source_frames.tolist()) if f in body_rows and f in mask_rows]
    if len(shared) < 4:
        raise InputError(
            f"Person {person_id} and the measured joints share {len(shared)} frames.",
            code="truth_of_other_frames",
            hint="Give the video from which the joints were measured.",
            frames=len(shared),
        )
    frames = truth.source_frames[shared].tolist()
    rows = np.array([body_rows[f] for f in frames])
    true = dict(zip(truth.joint_names, np.moveaxis(truth.joints_m[shared], 1, 0), strict=True))
    found = {name: person.joint(name)[rows].astype(np.float64) for name in person.joint_names}
    landmarks = None
    if seen is not None and seen.landmarks is not None:
        world = seen.landmarks.world_m[[mask_rows[f] for f in frames]].astype(np.float64)
        named = dict(zip(joint_names(seen.landmarks.joint_set), np.moveaxis(world, 1, 0), strict=True))
        landmarks = score_joints(named, true, truth.up, truth.fps)
    up = scene.T_world_camera[1, :3]  # the world's y in camera axes
    cosine = float(up @ truth.up / np.linalg.norm(up))
    one, two = (_shares_within_sigma(person, rows, found, true, factor) for factor in (1.0, 2.0))
    return MeasuredScore(
        frames_missing=len(truth.source_frames) - len(frames),
        up_error_deg=float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))),
        result=score_joints(found, true, truth.up, truth.fps),
        landmarks=landmarks,
        within_one_sigma=one,
        within_two_sigma=two,
    )


def score_joints(found: Joints, true: Joints, up: Float[np.ndarray, "3"], fps: float) -> JointScore:
    """Joints by name against the measured ones by name, frame by frame at ``fps``."""
    a, b = _hip_aligned(found), _hip_aligned(true)
    error = np.linalg.norm(a - b, axis=-1)
    depth = np.abs((a - b)[..., 2])
    across, along = metrics.lateral_and_depth_error_m(a, b)
    turn = {part: _wrapped_deg(_heading_deg(found, part, up) - _heading_deg(true, part, up)) for part in ("hip", "shoulder")}
    away = np.maximum(np.abs(turn["hip"]), np.abs(turn["shoulder"])) > REVERSED_DEG
    times_s, index = np.arange(len(a)) / fps, np.arange(len(a))
    speed = {
        name: [np.linalg.norm(metrics.derivative(points[:, SCORED_JOINTS.index(f"{s}_wrist")], times_s, 1), axis=-1) for s in SIDES]
        for name, points in (("found", a), ("true", b))
    }
    return JointScore(
        frames=len(a),
        mpjpe_mm=1e3 * float(error.mean()),
        pa_mpjpe_mm=1e3 * metrics.pa_mpjpe_m(a, b),
        across_mm=1e3 * across,
        depth_mm=1e3 * along,
        worst_frame_mm=1e3 * float(error.mean(1).max()),
        joint_mm=_by_joint(1e3 * error),
        joint_depth_mm=_by_joint(1e3 * depth),
        angle_rmse_deg={angle: _rms(np.concatenate(_angle_errors_deg(found, true, angle))) for angle in ANGLES},
        hip_turn_rmse_deg=_rms(turn["hip"]),
        shoulder_turn_rmse_deg=_rms(turn["shoulder"]),
        reversed_frames=tuple(np.flatnonzero(away).tolist()),
        fast_wrist_samples=int(sum((v > MAX_WRIST_SPEED_M_S).sum() for v in speed["found"])),
        peak_wrist_speed_kept=float(
            np.mean([v.max() / t.max() if t.max() > 0 else np.nan for v, t in zip(speed["found"], speed["true"], strict=True)])
        ),
        jitter_m_s3=metrics.jitter_m_s3(a, times_s, index),
        truth_jitter_m_s3=metrics.jitter_m_s3(b, times_s, index),
    )


def _hip_aligned(joints: Joints) -> Float[np.ndarray, "t 12 3"]:
    points = np.stack([joints[name] for name in SCORED_JOINTS], axis=1)
    return metrics.pelvis_aligned(points, SCORED_JOINTS.index("left_hip"), SCORED_JOINTS.index("right_hip"))


def _by_joint(values: Float[np.ndarray, "t 12"]) -> dict[str, float]:
    return {joint: float(values[:, 2 * i : 2 * i + 2].mean()) for i, joint in enumerate(JOINTS)}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _wrapped_deg(angle: np.ndarray) -> np.ndarray:
    return (angle + 180.0) % 360.0 - 180.0


def _middle(joints: Joints, joint: str) -> Float[np.ndarray, "t 3"]:
    return (joints[f"left_{joint}"] + joints[f"right_{joint}"]) / 2


def joint_angle_deg(joints: Joints, side: str, angle: str) -> Float[np.ndarray, " t"]:
    """One of ``ANGLES`` in degrees: at the knee and elbow between the two bones, at the hip and shoulder between the limb and the trunk's
    line through the middles of hips and shoulders. 180 is a straight knee or elbow; an arm that hangs has 0."""
    trunk = _middle(joints, "shoulder") - _middle(joints, "hip")
    at = {joint: joints[f"{side}_{joint}"] for joint in JOINTS}
    u, v = {
        "knee": (at["hip"] - at["knee"], at["ankle"] - at["knee"]),
        "elbow": (at["shoulder"] - at["elbow"], at["wrist"] - at["elbow"]),
        "hip": (trunk, at["knee"] - at["hip"]),
        "shoulder": (-trunk, at["elbow"] - at["shoulder"]),
    }[angle]
    cosine = np.sum(u * v, -1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _angle_errors_deg(found: Joints, true: Joints, angle: str) -> list[np.ndarray]:
    return [joint_angle_deg(found, side, angle) - joint_angle_deg(true, side, angle) for side in SIDES]


@dataclass(frozen=True)
class TurnAtTop:
    """How far pelvis and shoulders are turned at the top of a golfer's backswing from where they were at first, in degrees."""

    row: int
    pelvis_deg: float
    shoulders_deg: float


def turn_at_top(joints: Joints, up: Float[np.ndarray, "3"], row: int | None = None) -> TurnAtTop:
    """The turns of the lines of hips and shoulders, seen from above, at ``row``; without one, where the shoulders are turned furthest
    before the hands are fastest."""
    turn = {part: np.unwrap(_heading_deg(joints, part, up), period=360.0) for part in ("hip", "shoulder")}
    turn = {part: angle - angle[0] for part, angle in turn.items()}
    if row is None:
        speed = np.linalg.norm(np.diff(_middle(joints, "wrist"), axis=0), axis=-1)
        row = int(np.abs(turn["shoulder"][: int(speed.argmax()) + 1]).argmax())
    return TurnAtTop(row, float(turn["hip"][row]), float(turn["shoulder"][row]))


def _heading_deg(joints: Joints, joint: str, up: Float[np.ndarray, "3"]) -> Float[np.ndarray, " t"]:
    """Where the line from right to left ``joint`` points, seen from above."""
    line = joints[f"left_{joint}"] - joints[f"right_{joint}"]
    x = np.cross([0.0, 0.0, 1.0], up)
    x = x / np.linalg.norm(x)
    return np.degrees(np.arctan2(line @ np.cross(up, x), line @ x))


def _shares_within_sigma(person: BodyTrack, rows: np.ndarray, found: Joints, true: Joints, factor: float) -> dict[str, float]:
    if person.joint_sigma_m is None:
        return {}
    sigma = np.stack([person.joint_sigma_m[rows, person.joint_names.index(name)] for name in SCORED_JOINTS], axis=1)
    error = np.linalg.norm(_hip_aligned(found) - _hip_aligned(true), axis=-1)
    inside: Bool[np.ndarray, "t 12"] = error <= factor * sigma
    return {**_by_joint(inside.astype(np.float64)), "all": float(inside.mean())}


def measured_scores_table(scores: Mapping[str, MeasuredScore]) -> str:
    """Scores of clips as text, ``result / landmarks`` where the run has landmarks; then the vertical's mean and worst error."""
    rows: dict[str, list[str]] = {}

    def add(label: str, cell: str) -> None:
        rows.setdefault(label, []).append(cell)

    for score in scores.values():
        both = [score.result] if score.landmarks is None else [score.result, score.landmarks]

        def pair(values: list[float]) -> str:
            return " / ".join(f"{v:.0f}" if abs(v) >= 20 else f"{v:.1f}" for v in values)

        add("frames, missing", f"{score.result.frames}, {score.frames_missing}")
        add("MPJPE (mm)", pair([s.mpjpe_mm for s in both]))
        add("PA-MPJPE (mm)", pair([s.pa_mpjpe_mm for s in both]))
        add("across (mm)", pair([s.across_mm for s in both]))
        add("depth (mm)", pair([s.depth_mm for s in both]))
        add("worst frame (mm)", pair([s.worst_frame_mm for s in both]))
        for joint in JOINTS:
            add(f"{joint} (mm)", pair([s.joint_mm[joint] for s in both]))
        for joint in ("wrist", "ankle"):
            add(f"{joint} in depth (mm)", pair([s.joint_depth_mm[joint] for s in both]))
        for angle in ANGLES:
            add(f"{angle} angle, RMSE (deg)", pair([s.angle_rmse_deg[angle] for s in both]))
        add("shoulder turn, RMSE (deg)", pair([s.shoulder_turn_rmse_deg for s in both]))
        add("reversed frames", " / ".join(str(len(s.reversed_frames)) for s in both))
        add(f"wrist above {MAX_WRIST_SPEED_M_S:.0f} m/s", " / ".join(str(s.fast_wrist_samples) for s in both))
        add("peak wrist speed kept", " / ".join(f"{s.peak_wrist_speed_kept:.2f}" for s in both))
        add("jitter (m/s³)", pair([s.jitter_m_s3 for s in both]))
        add("up direction off (deg)", f"{score.up_error_deg:.1f}")
        for joint in (*JOINTS, "all") if score.within_one_sigma else ():
            shares = score.within_one_sigma[joint], score.within_two_sigma[joint]
            add(f"within 1, 2 sigma: {joint}", f"{shares[0]:.2f}, {shares[1]:.2f}")
    label_width = max(len(label) for label in rows)
    width = max([len(name) for name in scores] + [len(cell) for cells in rows.values() for cell in cells]) + 2
    lines = [" " * label_width + "".join(f"{name:>{width}}" for name in scores)]
    lines += [f"{label:<{label_width}}" + "".join(f"{cell:>{width}}" for cell in cells) for label, cells in rows.items()]
    up = [score.up_error_deg for score in scores.values()]
    lines += ["", f"up direction off: mean {np.mean(up):.1f}, worst {np.max(up):.1f} degrees over {len(up)} clips"]
    return "\n".join(lines)


def load_run(folder: Path) -> tuple[Scene, tuple[MaskTrack, ...]]:
    """Scene and masks of a finished run folder."""
    from body4d.core.scene_io import load_masks, load_scene

    return load_scene(folder / "scene.npz"), load_masks(folder / "masks.npz")
