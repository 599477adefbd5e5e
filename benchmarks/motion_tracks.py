"""Synthetic tracks as a network would give them: the body model's exact motion, and errors injected into it from a seed.

The errors: white noise and slow drift (AR(1)) of the rotation of every driven joint and of the translation, across the view and, far
larger, along it; outliers of 1 to 4 frames in a row (a wrong limb, a body turned round, a jump in depth) without lower confidence, because
a network does not know; gaps of 5 to 30 frames; and where two people cross, stretches of low confidence, more noise, and single frames in
which the crop of the hidden person gave the other's body. Gaps and outliers keep away from the stroke of the swing, where a lost frame is
lost speed whatever the filter; noise and drift do not.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip
from body4d.evaluate.synthetic.motions import Actor, ClipKind, create_actors, place_camera, transform_motion
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

WHITE_DEG = 0.6  # with the chain's levers: 19 mm per frame squared of acceleration error at 30 fps, as single-frame networks have
DRIFT_DEG, DRIFT_S = 1.2, 0.4
ACROSS_M, ACROSS_DRIFT_M = 0.003, 0.006
ALONG_M, ALONG_DRIFT_M = 0.03, 0.04
OUTLIER_EVERY_FRAMES, MAX_OUTLIER_FRAMES = 40, 4
GAP_EVERY_S, GAP_FRAMES = 1.2, (5, 30)
CLEAR_OF_GAP_S, CLEAR_OF_OUTLIER_S = 0.3, 0.15
NEAR_M = 0.7  # two people whose roots are this near across the view hide each other
CONFIDENCE, HIDDEN_CONFIDENCE = 0.9, 0.25
LIMBS = ("upperarm01", "lowerarm01", "upperleg01", "lowerleg01")


@dataclass(frozen=True)
class SyntheticPerson:
    """One person of one clip: the true track, the track with injected errors, and the rows of its gaps."""

    truth: BodyTrack
    raw: BodyTrack
    rig: Rig
    gaps: tuple[slice, ...]


@dataclass(frozen=True)
class SyntheticTracks:
    """The people of one clip; ``name`` is what the table shows."""

    name: str
    kind: ClipKind
    clip: Clip
    camera: Camera
    T_camera_stage: np.ndarray
    people: tuple[SyntheticPerson, ...]


def make_tracks(kind: ClipKind, rate: int, seed: int, seconds: float = 3.0, drift: float = 1.0) -> SyntheticTracks:
    """A clip of ``kind`` at ``rate`` frames/s, from the default side of the synthetic clips' camera.

    ``drift`` is 1 for the drift of a network, 0 for none, so that errors in a gap are errors of the bridge.
    """
    size = (640, 480)
    times_s = np.arange(round(seconds * rate)) / rate
    view = {"swing": "face-on", "walk": "oblique", "crossing": "side"}[kind]
    camera, T_camera_stage = place_camera(kind, view, size)  # pyright: ignore[reportArgumentType]
    actors = create_actors(kind, seconds, 0)
    truths = [_true_track(actor, times_s, T_camera_stage, camera) for actor in actors]
    rng = np.random.default_rng([seed, rate, ("swing", "walk", "crossing").index(kind)])
    people = []
    for i, (actor, truth) in enumerate(zip(actors, truths, strict=True)):
        other = truths[1 - i] if len(truths) == 2 else None
        person = _inject_errors(truth, other, actor.rig, times_s, kind, drift, rng)
        # The picture shows no more than what is estimated from it.
        seen_px = np.where(person.raw.observed[:, None, None], camera.project(person.raw.joints_m), np.nan)
        people.append(replace(person, raw=replace(person.raw, keypoints_px=seen_px)))
    clip = Clip(Path(f"{kind}.mp4"), *size, Fraction(rate), times_s, np.arange(len(times_s)))
    return SyntheticTracks(f"{kind} {rate}", kind, clip, camera, T_camera_stage, tuple(people))


def _true_track(actor: Actor, times_s: np.ndarray, T_camera_stage: np.ndarray, camera: Camera) -> BodyTrack:
    motion = transform_motion(actor.poses(times_s), T_camera_stage[:3, :3], T_camera_stage[:3, 3])
    joints = actor.rig.keypoints(*actor.rig.forward(motion.rotations, motion.root_m))
    T = len(times_s)
    return BodyTrack(
        person_id=actor.person_id,
        body="anny",
        frame_index=np.arange(T),
        shape=actor.shape,
        rotations=motion.rotations,
        translation_m=motion.root_m,
        joints_m=joints,
        keypoints_px=camera.project(joints),
        visibility=np.ones(joints.shape[:2]),
        confidence=np.full(T, CONFIDENCE),
        observed=np.ones(T, bool),
    )


def posed(track: BodyTrack, rig: Rig, rotations: np.ndarray, translation_m: np.ndarray) -> BodyTrack:
    """``track`` with another motion and the joints that belong to it."""
    joints = rig.keypoints(*rig.forward(rotations, translation_m))
    return replace(track, rotations=rotations, translation_m=translation_m, joints_m=joints)


def _inject_errors(
    truth: BodyTrack, other: BodyTrack | None, rig: Rig, times_s: np.ndarray, kind: ClipKind, drift: float, rng: np.random.Generator
) -> SyntheticPerson:
    T = len(times_s)
    wrist = np.linalg.norm(np.gradient(truth.joint("left_wrist"), times_s, axis=0), axis=-1)
    stroke_s = times_s[wrist.argmax()] if kind == "swing" else np.inf
    gaps = _choose_gaps(times_s, stroke_s, rng)
    in_gap = np.zeros(T, bool)
    for gap in gaps:
        in_gap[gap] = True
    hidden = np.zeros(T, bool)
    if other is not None:
        apart = np.linalg.norm((truth.translation_m - other.translation_m)[:, :2], axis=-1)
        # Only the one behind is hidden.
        hidden = (apart < NEAR_M) & (truth.translation_m[:, 2] > other.translation_m[:, 2])
    scale = np.where(hidden, 3.0, 1.0)
    local, place = _add_noise(truth, scale, times_s, drift, rng)
    free = ~in_gap & (np.abs(times_s - stroke_s) > CLEAR_OF_OUTLIER_S)
    _add_outliers(local, place, rig, free, rng)
    if other is not None:
        taken = np.flatnonzero(hidden & (rng.random(T) < 0.2))
        local[taken], place[taken] = rotvec_to_matrix(other.rotations[taken]), other.translation_m[taken]
    raw = posed(truth, rig, matrix_to_rotvec(local), place)
    confidence = np.where(hidden, HIDDEN_CONFIDENCE, CONFIDENCE)
    visibility = np.where(hidden[:, None], 0.4, truth.visibility)
    return SyntheticPerson(truth, replace(raw, observed=~in_gap, confidence=confidence, visibility=visibility), rig, gaps)


def _add_noise(
    truth: BodyTrack, scale: np.ndarray, times_s: np.ndarray, drift: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, 3, 3) and translations (T, 3) with noise and ``drift``; ``scale`` (T,) multiplies both."""
    local = rotvec_to_matrix(truth.rotations)
    driven = np.flatnonzero(np.abs(truth.rotations - truth.rotations[:1]).max((0, 2)) > 1e-3)
    off = np.radians(WHITE_DEG) * rng.standard_normal((len(local), len(driven), 3))
    off += drift * np.radians(DRIFT_DEG) * _drift(off.shape, times_s, rng)
    local[:, driven] = local[:, driven] @ rotvec_to_matrix(off * scale[:, None, None])
    sizes = np.array([[ACROSS_M, ACROSS_DRIFT_M], [ACROSS_M, ACROSS_DRIFT_M], [ALONG_M, ALONG_DRIFT_M]])
    shake = sizes[:, 0] * rng.standard_normal((len(local), 3)) + drift * sizes[:, 1] * _drift((len(local), 3), times_s, rng)
    # Depth errs along the ray to the person, not along the camera's axis.
    ray = truth.translation_m / truth.translation_m[:, 2:]
    place = truth.translation_m + (shake * [1, 1, 0] + shake[:, 2:] * ray) * scale[:, None]
    return local, place


def _drift(shape: tuple[int, ...], times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """AR(1) of unit variance and correlation time ``DRIFT_S``."""
    keep = np.exp(-np.diff(times_s, prepend=times_s[0] - 1.0) / DRIFT_S)
    kick = rng.standard_normal(shape)
    out = np.empty(shape)
    out[0] = kick[0]
    for t in range(1, shape[0]):
        out[t] = keep[t] * out[t - 1] + np.sqrt(1 - keep[t] ** 2) * kick[t]
    return out


def _choose_gaps(times_s: np.ndarray, stroke_s: float, rng: np.random.Generator) -> tuple[slice, ...]:
    """Gaps that touch neither each other, the ends, nor the stroke."""
    T = len(times_s)
    taken = np.zeros(T, bool)
    margin = max(8, T // 12)
    taken[:margin] = taken[-margin:] = True
    taken |= np.abs(times_s - stroke_s) < CLEAR_OF_GAP_S
    out: list[slice] = []
    for _ in range(200):
        if len(out) >= round(times_s[-1] / GAP_EVERY_S):
            break
        length = int(rng.integers(GAP_FRAMES[0], GAP_FRAMES[1] + 1))
        first = int(rng.integers(0, T - length))
        if not taken[first : first + length].any():
            out.append(slice(first, first + length))
            taken[max(0, first - margin) : first + length + margin] = True
    return tuple(sorted(out, key=lambda gap: gap.start))


def _add_outliers(local: np.ndarray, place: np.ndarray, rig: Rig, free: np.ndarray, rng: np.random.Generator) -> None:
    """Write outliers into rotations (T, J, 3, 3) and translations (T, 3), on rows ``free`` (T,)."""
    T = len(local)
    for _ in range(round(T / OUTLIER_EVERY_FRAMES)):
        length = int(rng.integers(1, MAX_OUTLIER_FRAMES + 1))
        first = int(rng.integers(0, T - length))
        rows = slice(first, first + length)
        kind = rng.choice(["limb", "limb", "turned", "depth"])
        axis = rng.standard_normal(3)
        turn = rotvec_to_matrix(axis / np.linalg.norm(axis) * rng.uniform(0.6, 1.6))
        name = f"{rng.choice(LIMBS)}.{rng.choice(['L', 'R'])}"
        jump = 1 + rng.choice([-1, 1]) * rng.uniform(0.08, 0.2)
        if not free[rows].all():
            continue
        if kind == "limb":
            joint = rig.joint_names.index(name)
            local[rows, joint] = local[rows, joint] @ turn
        elif kind == "turned":
            local[rows, 0] = local[rows, 0] @ rotvec_to_matrix(np.array([0.0, 2.8, 0.0]))
        else:
            place[rows] *= jump
