"""A run in the world against the truth: the camera's path, and the people's ways over the floor. Definitions: docs/evaluation.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from body4d.core.types import BodyTrack, Camera, MaskTrack, Scene
from body4d.evaluate import metrics
from body4d.evaluate.score import FOOT_JOINTS, SCORED_JOINTS, matched_people, truth_frames
from body4d.geometry.rotations import matrix_to_rotvec

CameraKind = Literal["static", "rotating", "moving", "unknown"]

MIN_PATH_M = 0.05
"""A shorter path is none: errors have no length that they could be a share of."""


@dataclass(frozen=True)
class CameraScore:
    """A camera's path against the true one, both from the first frame's axes. NaN where there is nothing to compare.

    ``called`` is what the run takes the camera for: "static", "rotating", "moving", or "unknown" where it moves in an unknown way.
    """

    true_kind: CameraKind
    called: CameraKind
    frames: int
    rotation_error_deg: float
    """Mean over the frames of the angle between the rotation since the first frame and the true one."""
    rotation_p90_deg: float
    rotation_max_deg: float
    path_m: float
    """Length of the true path."""
    position_error_m: float
    position_max_m: float
    path_error_share: float
    """``position_error_m`` as a share of ``path_m``."""
    scaled_path_error_share: float
    """The same after the one factor of length that fits the true path best."""
    path_scale: float
    """The estimated path's length against the true one's, by that factor."""
    focal_error_share: float
    focal_max_share: float
    zoom_error_share: float
    """Mean error of the focal length relative to that of the first frame."""
    zoom_max_share: float


@dataclass(frozen=True)
class WorldPersonScore:
    """One true person's body in the world against the truth; NaN where the run has no body for them."""

    truth_id: int
    person_id: int | None
    frames: int
    w_mpjpe100_mm: float = float("nan")
    wa_mpjpe100_mm: float = float("nan")
    root_translation_error_share: float = float("nan")
    walked_m: float = float("nan")
    true_walked_m: float = float("nan")
    walked_error_share: float = float("nan")
    """Signed: positive where the run's way is too long."""
    foot_sliding_mm: float = float("nan")
    """From one frame to the next."""
    climbed_m: float = float("nan")
    """How much farther the lowest foot joint rises or sinks above the floor than the true one, from the lowest place to the highest."""


CAMERA_ROWS: tuple[tuple[str, str, float], ...] = (
    ("rotation error, mean (deg)", "rotation_error_deg", 1),
    ("rotation error of 90 % of frames (deg)", "rotation_p90_deg", 1),
    ("rotation error, worst (deg)", "rotation_max_deg", 1),
    ("path (m)", "path_m", 1),
    ("path error, share of length (%)", "path_error_share", 100),
    ("path error, scale aligned (%)", "scaled_path_error_share", 100),
    ("path's length against the true (%)", "path_scale", 100),
    ("place error, worst (m)", "position_max_m", 1),
    ("focal length error, worst (%)", "focal_max_share", 100),
    ("zoom error, worst (%)", "zoom_max_share", 100),
)
PERSON_ROWS: tuple[tuple[str, str, float], ...] = (
    ("W-MPJPE100 (mm)", "w_mpjpe100_mm", 1),
    ("WA-MPJPE100 (mm)", "wa_mpjpe100_mm", 1),
    ("root translation error (% of the way)", "root_translation_error_share", 100),
    ("walked (m)", "walked_m", 1),
    ("walked distance error (%)", "walked_error_share", 100),
    ("foot sliding (mm/frame)", "foot_sliding_mm", 1),
    ("rise and fall of the floor under the feet (m)", "climbed_m", 1),
)
"""Figures as tables show them: label, field, factor."""


@dataclass(frozen=True)
class WorldScore:
    """A run in the world: its camera, and its people in the truth's order."""

    camera: CameraScore
    people: tuple[WorldPersonScore, ...]


def score_world(scene: Scene, masks: Sequence[MaskTrack], truth_scene: Scene, truth_masks: Sequence[MaskTrack]) -> WorldScore:
    """Score a run against the truth of the same video. Raises InputError where the two are not of one video."""
    truth_frame = truth_frames(scene, truth_scene)
    pairs = matched_people(scene, masks, truth_scene, truth_masks)
    people = tuple(_score_person(truth, body, scene, truth_scene, truth_frame) for truth, body in pairs)
    factor = truth_scene.clip.width_px / scene.clip.width_px
    return WorldScore(score_camera(scene.camera.scaled(factor), truth_scene.camera, truth_frame), people)


def camera_kind(camera: Camera) -> CameraKind:
    """What ``camera`` is taken for."""
    if camera.path is not None and camera.path.kind != "unplaced":
        return camera.path.kind
    return "static" if camera.static else "unknown"


def score_camera(camera: Camera, truth: Camera, truth_frame: Int[np.ndarray, " t"]) -> CameraScore:
    """Score a camera, of pictures as large as the truth's, against the true one; ``truth_frame`` are the true frames of its own."""
    frames = np.arange(len(truth_frame))
    found, true = (_since_first(T) for T in (camera.T_reference_camera_at(frames), truth.T_reference_camera_at(truth_frame)))
    difference = np.swapaxes(found[:, :3, :3], 1, 2) @ true[:, :3, :3]
    angle_deg = np.degrees(np.linalg.norm(matrix_to_rotvec(difference), axis=-1))
    place, true_place = found[:, :3, 3], true[:, :3, 3]
    off = np.linalg.norm(place - true_place, axis=-1)
    length = float(np.linalg.norm(np.diff(true_place, axis=0), axis=-1).sum())
    size = float(np.sum(place**2))
    factor = float(np.sum(place * true_place)) / size if size > 0 else float("nan")
    scaled = np.linalg.norm(factor * place - true_place, axis=-1)
    moves = length > MIN_PATH_M
    focal, true_focal = camera.focal_px_at(frames), truth.focal_px_at(truth_frame)
    focal_off, zoom_off = np.abs(focal / true_focal - 1), np.abs(focal / focal[0] / (true_focal / true_focal[0]) - 1)
    return CameraScore(
        true_kind=camera_kind(truth),
        called=camera_kind(camera),
        frames=len(frames),
        rotation_error_deg=float(angle_deg.mean()),
        rotation_p90_deg=float(np.percentile(angle_deg, 90)),
        rotation_max_deg=float(angle_deg.max()),
        path_m=length,
        position_error_m=float(off.mean()),
        position_max_m=float(off.max()),
        path_error_share=float(off.mean()) / length if moves else float("nan"),
        scaled_path_error_share=float(scaled.mean()) / length if moves else float("nan"),
        path_scale=1 / factor if moves and factor else float("nan"),
        focal_error_share=float(focal_off.mean()),
        focal_max_share=float(focal_off.max()),
        zoom_error_share=float(zoom_off.mean()),
        zoom_max_share=float(zoom_off.max()),
    )


def _since_first(T_reference_camera: np.ndarray) -> np.ndarray:
    """Camera axes of each frame to those of the first frame there is."""
    return np.linalg.inv(T_reference_camera[0]) @ T_reference_camera


def joints_in_world(scene: Scene, person: BodyTrack, names: Sequence[str], rows: Int[np.ndarray, " t"]) -> np.ndarray:
    """Named joints (T, N, 3) of some rows of a track in the world, metres, y up."""
    T = scene.T_world_camera_at(person.frame_index[rows])
    joints = np.stack([person.joint(name)[rows] for name in names], axis=1).astype(np.float64)
    return np.einsum("tab,tkb->tka", T[:, :3, :3], joints) + T[:, None, :3, 3]


def _score_person(truth: BodyTrack, body: BodyTrack | None, scene: Scene, truth_scene: Scene, truth_frame: np.ndarray) -> WorldPersonScore:
    if body is None:
        return WorldPersonScore(truth.person_id, None, 0)
    both = [(f, truth.row(int(t)), body.row(f)) for f, t in enumerate(truth_frame)]
    kept = [(f, a, b) for f, a, b in both if a is not None and b is not None]
    if len(kept) < 2:
        return WorldPersonScore(truth.person_id, body.person_id, len(kept))
    frames, truth_rows, body_rows = (np.array(column) for column in zip(*kept, strict=True))
    times_s = scene.clip.times_s[frames] * scene.clip.time_scale

    def world(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        return joints_in_world(scene, body, names, body_rows), joints_in_world(truth_scene, truth, names, truth_rows)

    joints, true_joints = world(SCORED_JOINTS)
    feet, true_feet = world(FOOT_JOINTS)
    root, true_root = (hips.mean(1) for hips in world(("left_hip", "right_hip")))
    walked, true_walked = (metrics.walked_m(way[:, [0, 2]], times_s) for way in (root, true_root))
    w_mpjpe, wa_mpjpe = metrics.world_mpjpe_m(joints, true_joints)
    step_s = float(np.median(np.diff(times_s))) / max(float(np.median(np.diff(frames))), 1.0)
    climbs = feet[..., 1].min(1) - true_feet[..., 1].min(1)
    return WorldPersonScore(
        truth_id=truth.person_id,
        person_id=body.person_id,
        frames=len(frames),
        w_mpjpe100_mm=1e3 * w_mpjpe,
        wa_mpjpe100_mm=1e3 * wa_mpjpe,
        root_translation_error_share=metrics.root_translation_error_share(root, true_root),
        walked_m=walked,
        true_walked_m=true_walked,
        walked_error_share=walked / true_walked - 1 if true_walked > 0 else float("nan"),
        foot_sliding_mm=1e3 * step_s * metrics.foot_sliding_m_s(feet, true_feet, times_s, frames),
        climbed_m=float(np.ptp(climbs)),
    )


def world_table(score: WorldScore) -> str:
    """The score as text: the camera, then one column per true person."""
    lines = [f"camera {score.camera.true_kind}, called {score.camera.called}"]
    lines += [f"{label:<48}{_cell(getattr(score.camera, name) * factor)}" for label, name, factor in CAMERA_ROWS]
    lines.append(f"{'':<48}" + "".join(f"{f'person {p.truth_id}':>12}" for p in score.people))
    for label, name, factor in PERSON_ROWS:
        lines.append(f"{label:<48}" + "".join(_cell(getattr(p, name) * factor) for p in score.people))
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{value:>12.2f}" if np.isfinite(value) else f"{'–':>12}"
