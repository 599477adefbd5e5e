"""Feet in contact with the floor do not slide. Pure numpy.

A heel or toe is in contact where it is slow and low, as it was fitted or as the picture shows it. Two thresholds each keep contacts from
flickering and from depending on the direction of time. A point in contact is held at its mean place: first the whole body is shifted along
the view, the direction that a camera measures worst and that all joints share; the legs take up the rest by two-bone inverse kinematics.
Beside a contact the correction fades. A lifted heel, a step and a jump are left alone.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from body4d.config import MotionSettings
from body4d.core.joints import joint_names
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix
from body4d.motion.gaps import true_runs
from body4d.motion.world import eye_path_m, points_to_frames

SIDES = ("left", "right")
POINTS = ("heel", "big_toe")

ENTER_SPEED_M_S = 0.25
"""A contact begins where a heel or toe is slower than this. What smoothing leaves of noise moves it by 0.1 to 0.2 m/s."""

LEAVE_SPEED_M_S = 0.5
"""A contact ends where the point is faster than this. A stepping foot moves at 3 m/s."""

ENTER_RISE_M = 0.05
"""A contact begins where the point is less than this above its standing height."""

LEAVE_RISE_M = 0.07
"""A contact ends where the point is more than this above its standing height: a lifted heel or a jump."""

STANDING_QUANTILE = 0.15
"""Quantile of a point's heights that is taken for its standing height: low, but with a few wrong heights below it."""

DEPTH_SHARE = 0.35
"""Speed along the view counts by this share, because depth is about three times as uncertain."""

WANDER_DEPTH_SHARE, WANDER_RISE_SHARE = 0.15, 0.3
"""Distances along the view and upwards from the place of a contact count by these shares: over a step, what a fit says of depth wanders by
a tenth of a metre where the foot stands still, and a camera that looks down sees that as a rise. More of them splits such a step in two,
and the foot slides from one place to the other. Whether a foot is lifted, ``LEAVE_RISE_M`` says."""

SPEED_WINDOW_S = 0.08
"""Speeds are taken over this time. The roll of a step takes 0.1 s."""

MIN_CONTACT_S = 0.1
"""Shorter contacts are none: even a runner's foot is down for 0.1 to 0.2 s."""

MAX_SEEN_OFF_M = 0.15
"""What was measured farther than this from the fitted point, half a foot, is something else."""

MAX_HASTE_S = 0.1
"""A low point that is fast for no longer than this has not left: even a hurried step keeps a foot in the air for 0.2 s. As the other leg
passes, a landmark leaps by some centimetres. Whether the point is where it was, ``MAX_WANDER_M`` says."""

MAX_WANDER_M = 0.02
"""A point that the picture shows to creep further than this from the place of its contact has moved. ``MAX_WANDER_SIGMAS`` is added."""

MAX_WANDER_SIGMAS = 3.0
"""How far a point may wander beyond ``MAX_WANDER_M``, in its own sigmas, for what errs from frame to frame also errs slowly."""

BLEND_S = 0.15
"""Time over which a correction fades in and out beside a contact."""

DEPTH_SMOOTHING_S = 0.1
"""The whole body follows its feet in depth, smoothed by a Gaussian of this sigma: about the time from one step to the next."""

MAX_REACH_SHARE = 0.999
"""Share of its length that a leg reaches at most: a straight leg has no plane to bend in."""

_EPSILON_S = 1e-6  # three frames at 30/s last 0.1 s, however times are rounded at either end of a clip


def hold_foot_contacts(
    people: Sequence[BodyTrack],
    rigs: Mapping[int, Rig],
    clip: Clip,
    camera: Camera,
    T_world_camera: Float[np.ndarray, "4 4"],
    settings: MotionSettings,
) -> tuple[BodyTrack, ...]:
    """Smoothed ``people`` with feet in contact held. ``rigs`` are by person id; ``T_world_camera`` is the floor-aligned world.

    Where the camera moves along a path, people are in reference axes (``body4d.motion.world``). They are unchanged where
    ``settings.ground`` is off, the camera moves on an unknown path, or a joint set has no heels and toes.
    """
    if settings.ground == "off" or not settings.enabled or not camera.has_world:
        return tuple(people)
    times_s = clip.times_s * clip.time_scale
    up = T_world_camera[1, :3]
    stretches = clip.stretch_index
    return tuple(
        _hold_person(track, rigs[track.person_id], times_s, stretches, up, settings.max_foot_correction_m, camera) for track in people
    )


def _hold_person(
    track: BodyTrack,
    rig: Rig,
    times_s: np.ndarray,
    stretches: np.ndarray,
    up: np.ndarray,
    max_correction_m: float,
    camera: Camera,
) -> BodyTrack:
    """One person with feet in contact held; ``up`` (3,) is the world's upward direction in the track's axes."""
    legs = [leg for leg in (find_leg(rig, side) for side in SIDES) if leg is not None]
    if len(legs) < 2 or any(f"{side}_{part}" not in track.joint_names for side in SIDES for part in POINTS):
        return track
    local = rotvec_to_matrix(track.rotations.astype(np.float64))
    root = track.translation_m.astype(np.float64)
    eye_m = eye_path_m(camera)
    to_seen_m = _from_fitted_to_seen(track, camera, times_s)
    cuts = np.flatnonzero((np.diff(track.frame_index) != 1) | (np.diff(stretches[track.frame_index]) > 0)) + 1
    for rows in np.split(np.arange(len(track)), cuts):
        if len(rows) > 3:
            frames = track.frame_index[rows]
            ray = root[rows] if eye_m is None else root[rows] - eye_m[frames]
            view = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
            local[rows], root[rows] = _hold_segment(
                rig, legs, track, local[rows], root[rows], view, times_s[frames], up, max_correction_m, to_seen_m[rows]
            )
    joints = rig.keypoints(*rig.forward(local, root))
    return dataclasses.replace(
        track,
        rotations=matrix_to_rotvec(local).astype(track.rotations.dtype),
        translation_m=root.astype(track.translation_m.dtype),
        joints_m=joints.astype(track.joints_m.dtype),
    )


def _hold_segment(
    rig: Rig,
    legs: Sequence["LegJoints"],
    track: BodyTrack,
    local: np.ndarray,
    root: np.ndarray,
    view: np.ndarray,
    times_s: np.ndarray,
    up: np.ndarray,
    max_correction_m: float,
    to_seen_m: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, 3, 3) and root positions (T, 3) of consecutive frames with feet in contact held; ``view`` (T, 3) are unit rays to
    the root, ``to_seen_m`` (T, 4, 3) lead from the feet's points to where the picture shows them."""
    sigma_m = np.zeros(len(track.joint_names)) if track.joint_sigma_m is None else np.median(track.joint_sigma_m, axis=0)
    columns = _point_columns(track)
    G, p = rig.forward(local, root)
    points = rig.keypoints(G, p)[:, columns]
    max_wander_m = MAX_WANDER_M + MAX_WANDER_SIGMAS * sigma_m[columns]
    fitted, seen = (detect_contacts(p, view, times_s, up, max_wander_m) for p in (points, points + to_seen_m))
    in_contact = np.stack([longest_contacts(fitted[:, i], seen[:, i], times_s) for i in range(len(columns))], axis=-1)
    constraints = [contact_constraint(points[:, i], in_contact[:, i], times_s) for i in range(len(columns))]
    shift = _depth_shift(constraints, view, times_s)[:, None] * view
    root = root + shift
    p = p + shift[:, None]
    local = local.copy()
    for s, leg in enumerate(legs):
        foot = slice(2 * s, 2 * s + 2)
        heel, toe = (constraint.after_shift(shift) for constraint in constraints[foot])
        _place_foot(rig, leg, local, G, p, points[:, foot] + shift[:, None], heel, toe, max_correction_m)
    return local, root


def _point_columns(track: BodyTrack) -> list[int]:
    """Columns of the feet's points among the joints."""
    return [track.joint_names.index(f"{side}_{part}") for side in SIDES for part in POINTS]


def _from_fitted_to_seen(track: BodyTrack, camera: Camera, times_s: np.ndarray) -> Float[np.ndarray, "t p 3"]:
    """Ways from the feet's points, at their depth, to where they were measured in the picture, in the track's axes. They are interpolated
    where they were not measured, zero for a point that never was, and as smooth as speeds are."""
    frames, columns = track.frame_index, _point_columns(track)
    in_frame = points_to_frames(track.joints_m[:, columns].astype(np.float64), frames, camera)
    off_px = track.keypoints_px[:, columns] - camera.project_at(in_frame, frames)
    off_m = off_px * (in_frame[..., 2] / camera.focal_px_at(frames)[:, None])[..., None]
    out = np.zeros_like(in_frame)
    is_near = np.linalg.norm(np.nan_to_num(off_m, nan=np.inf), axis=-1) <= MAX_SEEN_OFF_M
    for p, axis in np.ndindex(len(columns), 2):
        known = is_near[:, p]
        if known.any():
            out[:, p, axis] = np.interp(frames, frames[known], off_m[known, p, axis])
    if len(frames) > 1:
        smoothed = _gaussian_mean(out.reshape(len(frames), -1), np.ones(len(frames)), times_s[frames], SPEED_WINDOW_S / 2)
        out = smoothed.reshape(out.shape)
    return out if camera.path is None else np.einsum("tab,tpb->tpa", camera.T_reference_camera_at(frames)[:, :3, :3], out)


def detect_contacts(
    points_m: Float[np.ndarray, "t p 3"],
    view: Float[np.ndarray, "t 3"],
    times_s: Float[np.ndarray, " t"],
    up: Float[np.ndarray, "3"],
    max_wander_m: Float[np.ndarray, " p"],
) -> Bool[np.ndarray, "t p"]:
    """Which foot points are in contact with the floor. ``view``, along the view, and ``up`` are unit vectors in the axes of the points.

    In a contact a point is slower than ``LEAVE_SPEED_M_S`` and lower than ``LEAVE_RISE_M`` above its standing height for at least
    ``MIN_CONTACT_S``, and somewhere within it is below both ``ENTER_...`` thresholds. And it stays within ``max_wander_m`` of one place
    (``stationary_rows``).
    """
    half = SPEED_WINDOW_S / 2
    start, stop = np.clip(times_s - half, times_s[0], times_s[-1]), np.clip(times_s + half, times_s[0], times_s[-1])
    flat = points_m.reshape(len(points_m), -1)
    moved = np.stack([np.interp(stop, times_s, c) - np.interp(start, times_s, c) for c in flat.T], -1).reshape(points_m.shape)
    velocity = moved / np.maximum(stop - start, 1e-9)[:, None, None]
    along = np.einsum("tpa,ta->tp", velocity, view)
    velocity = velocity - (1 - DEPTH_SHARE) * along[..., None] * view[:, None]
    speed = np.linalg.norm(velocity, axis=-1)
    height = (points_m * up).sum(-1)  # not `@`: its last bits depend on where in memory the points lie
    rise = height - np.quantile(height, STANDING_QUANTILE, axis=0)
    is_low = rise < LEAVE_RISE_M
    possible = (speed < LEAVE_SPEED_M_S) & is_low
    certain = (speed < ENTER_SPEED_M_S) & (rise < ENTER_RISE_M)
    out = np.zeros_like(possible)
    for i in range(possible.shape[1]):
        _bridge_haste(possible[:, i], is_low[:, i], times_s)
        for first, last in true_runs(possible[:, i]):
            rows = slice(first, last + 1)
            if certain[rows, i].any() and times_s[last] - times_s[first] >= MIN_CONTACT_S - _EPSILON_S:
                places = points_m[rows, i] - (1 - WANDER_RISE_SHARE) * height[rows, i, None] * up
                out[rows, i] = stationary_rows(places, view[rows], times_s[rows], max_wander_m[i])
    return out


def _bridge_haste(is_slow: np.ndarray, is_low: np.ndarray, times_s: np.ndarray) -> None:
    """Fill gaps in ``is_slow`` (T,), in place, in which a low point seems to move for ``MAX_HASTE_S``."""
    stretches = true_runs(is_slow)
    for (_, before), (after, _) in itertools.pairwise(stretches):
        if times_s[after] - times_s[before] <= MAX_HASTE_S + _EPSILON_S and is_low[before:after].all():
            is_slow[before:after] = True


def longest_contacts(
    fitted: Bool[np.ndarray, " t"], seen: Bool[np.ndarray, " t"], times_s: Float[np.ndarray, " t"]
) -> Bool[np.ndarray, " t"]:
    """The contacts of one point out of those it has as ``fitted`` and as ``seen`` in the picture, which the fit does not follow exactly: it
    may turn a foot that rests. The longest counts first, and others where they are not within ``BLEND_S`` of it. One that is only seen is
    none: seen from ahead, a heel that begins to rise hardly moves."""
    kinds = np.stack([fitted, seen])
    runs = [(kind, first, last) for kind in range(2) for first, last in true_runs(kinds[kind]) if fitted[first : last + 1].any()]
    out, taken = np.zeros(len(times_s), bool), ([], [])
    for kind, first, last in sorted(runs, key=lambda run: times_s[run[1]] - times_s[run[2]]):
        own_s = times_s[first : last + 1]
        is_free = np.ones(len(own_s), bool)
        for low, high in taken[1 - kind]:
            is_free &= (own_s < times_s[low] - BLEND_S) | (own_s > times_s[high] + BLEND_S)
        for low, high in true_runs(is_free):
            if own_s[high] - own_s[low] >= MIN_CONTACT_S - _EPSILON_S:
                out[first + low : first + high + 1] = True
                taken[kind].append((first + low, first + high))
    return out


def stationary_rows(
    points_m: Float[np.ndarray, "t 3"], view: Float[np.ndarray, "t 3"], times_s: Float[np.ndarray, " t"], max_wander_m: float
) -> Bool[np.ndarray, " t"]:
    """In which rows of a slow stretch a point stays at a place, as opposed to creeping or being turned on the toes.

    What the camera sees is believed. A stretch that leaves ``max_wander_m`` around its mean place, smoothed over ``BLEND_S``, is cut in
    two where two means explain it best. Between the two, and where a part is shorter than ``MIN_CONTACT_S``, the point is free.
    """
    out = np.zeros(len(points_m), bool)
    # One direction is taken for the whole stretch: one that turned with the person would hide their path.
    depth_axis = view.mean(0) / np.linalg.norm(view.mean(0))
    weighted = points_m - (1 - WANDER_DEPTH_SHARE) * (points_m * depth_axis).sum(-1, keepdims=True) * depth_axis
    smoothed = _gaussian_mean(weighted, np.ones(len(weighted)), times_s, BLEND_S / 2)
    pending = [(0, len(points_m))]
    while pending:
        first, stop = pending.pop()
        if stop - first < 2 or times_s[stop - 1] - times_s[first] < MIN_CONTACT_S - _EPSILON_S:
            continue
        part = smoothed[first:stop]
        if np.linalg.norm(part - part.mean(0), axis=-1).max() <= max_wander_m:
            out[first:stop] = True
            continue
        split_s = _best_split_s(part, times_s[first:stop])
        half = BLEND_S / 2
        pending.append((first, int(np.searchsorted(times_s, split_s - half, side="right"))))
        pending.append((int(np.searchsorted(times_s, split_s + half)), stop))
    return out


def _best_split_s(points: np.ndarray, times_s: np.ndarray) -> float:
    """The time between two rows that splits ``points`` (T, D) into two parts of the least squared distance from their own means."""
    sums, count = np.cumsum(points, axis=0)[:-1], np.arange(1, len(points))
    rest = points.sum(0) - sums
    explained = (sums**2).sum(-1) / count + (rest**2).sum(-1) / (len(points) - count)
    at = int(np.argmax(explained))
    return float(times_s[at] + times_s[at + 1]) / 2


@dataclass(frozen=True)
class ContactConstraint:
    """How a foot point is to be moved: by ``offset_m``, weighted by ``share``, which is 1 in contact and fades beside it."""

    offset_m: Float[np.ndarray, "t 3"]
    share: Float[np.ndarray, " t"]

    def after_shift(self, shift_m: Float[np.ndarray, "t 3"]) -> "ContactConstraint":
        """The same constraint once the whole body has moved by ``shift_m``."""
        return ContactConstraint(self.offset_m - shift_m, self.share)


def contact_constraint(
    points_m: Float[np.ndarray, "t 3"], in_contact: Bool[np.ndarray, " t"], times_s: Float[np.ndarray, " t"]
) -> ContactConstraint:
    """Holds one foot point, while it is ``in_contact``, at the mean place of each contact.

    Beside a contact the offset of its end fades within ``BLEND_S``, or halfway to the next contact.
    """
    offset, share = np.zeros_like(points_m), np.zeros(len(points_m))
    contacts = true_runs(in_contact)
    for i, (first, last) in enumerate(contacts):
        rows = slice(first, last + 1)
        anchor = points_m[rows].mean(0)
        offset[rows], share[rows] = anchor - points_m[rows], 1.0
        room_before = times_s[first] - times_s[contacts[i - 1][1]] if i else np.inf
        room_after = times_s[contacts[i + 1][0]] - times_s[last] if i + 1 < len(contacts) else np.inf
        away_s = np.maximum(times_s[first] - times_s, times_s - times_s[last])
        room = np.where(times_s < times_s[first], room_before, room_after) / 2
        fade = 1 - _smoothstep(away_s / np.minimum(BLEND_S, room))
        beside = (away_s > 0) & (fade > share)
        share[beside] = fade[beside]
        offset[beside] = np.where(np.arange(len(points_m))[beside, None] < first, offset[first], offset[last])
    sigma_s = BLEND_S / 6
    smoothed_share = _gaussian_mean(share[:, None], np.ones_like(share), times_s, sigma_s)[:, 0]
    return ContactConstraint(_gaussian_mean(offset, share, times_s, sigma_s), smoothed_share)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    """From 0 to 1 (...) as ``x`` goes from 0 to 1, with zero slope at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _gaussian_mean(values: np.ndarray, weights: np.ndarray, times_s: np.ndarray, sigma_s: float) -> np.ndarray:
    """Means (T, D) of ``values`` over a Gaussian of ``sigma_s`` in time, weighted by ``weights`` (T,); 0 without any weight near."""
    radius = int(np.ceil(3 * sigma_s / float(np.median(np.diff(times_s)))))
    numerator, denominator = np.zeros_like(values), np.zeros(len(values))
    for offset in range(-radius, radius + 1):
        rows = np.arange(max(0, -offset), min(len(values), len(values) - offset))
        kernel = weights[rows + offset] * np.exp(-0.5 * ((times_s[rows + offset] - times_s[rows]) / sigma_s) ** 2)
        numerator[rows] += kernel[:, None] * values[rows + offset]
        denominator[rows] += kernel
    return np.where(denominator[:, None] > 1e-12, numerator / np.maximum(denominator, 1e-12)[:, None], 0.0)


def _depth_shift(constraints: Sequence[ContactConstraint], view: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """How far (T,) the whole body follows its constraints along ``view`` (T, 3): smoothed over time, fading without any contact."""
    shares = np.stack([constraint.share for constraint in constraints])
    along = np.stack([np.einsum("ta,ta->t", constraint.offset_m, view) for constraint in constraints])
    weight = shares.sum(0)
    mean = (shares * along).sum(0) / np.maximum(weight, 1e-9)
    trust = np.minimum(weight, 1.0)
    follow = _gaussian_mean(mean[:, None], trust, times_s, DEPTH_SMOOTHING_S)[:, 0]
    return follow * _gaussian_mean(trust[:, None], np.ones_like(trust), times_s, DEPTH_SMOOTHING_S)[:, 0]


def _place_foot(
    rig: Rig,
    leg: "LegJoints",
    local: np.ndarray,
    G: np.ndarray,
    p: np.ndarray,
    points_m: np.ndarray,
    heel: ContactConstraint,
    toe: ContactConstraint,
    max_correction_m: float,
) -> None:
    """Bring one leg's heel and toe ``points_m`` (T, 2, 3) to where their constraints hold them, in ``local`` (T, J, 3, 3)."""
    # A free point goes along with the one that is held, so that only a foot held at both ends is turned.
    moves = []
    for own, other in ((heel, toe), (toe, heel)):
        follow = ((1 - own.share) * other.share)[:, None] * other.offset_m
        moves.append(own.share[:, None] * own.offset_m + follow)
    distance_m = np.linalg.norm(np.stack(moves), axis=-1).max(0)
    allowed = 1 - _smoothstep(distance_m / max_correction_m - 1)
    moves = [move * allowed[:, None] for move in moves]
    sole = points_m[:, 1] - points_m[:, 0]
    turn = rotation_between(sole, sole + moves[1] - moves[0])
    ankle = p[:, leg.ankle]
    target = np.mean([points_m[:, i] + moves[i] - np.einsum("tab,tb->ta", turn, points_m[:, i] - ankle) for i in range(2)], axis=0)
    rows = np.flatnonzero(distance_m > 1e-7)
    if len(rows):
        corrected = local[rows]
        solve_two_bone_ik(rig, leg, corrected, G[rows], p[rows], target[rows], turn[rows])
        local[rows] = corrected


@dataclass(frozen=True)
class LegJoints:
    """Joints of one leg, by index in the rig: they rotate the thigh, the shank and the foot."""

    hip: int
    knee: int
    ankle: int


def find_leg(rig: Rig, side: str) -> LegJoints | None:
    """The leg of ``side`` ("left" or "right"): the joints above the big toe that are nearest to the keypoints of hip, knee and ankle.

    None where the joint set has no such keypoints, or the rig no three joints in this order.
    """
    names = joint_names(rig.joint_set)
    if any(f"{side}_{part}" not in names for part in ("hip", "knee", "ankle", "big_toe")):
        return None
    at = {part: names.index(f"{side}_{part}") for part in ("hip", "knee", "ankle", "big_toe")}
    anchors = rig.keypoint_anchors_m.sum(1)
    chain = [int(np.argmax(np.nan_to_num(rig.keypoint_weights[at["big_toe"]])))]
    while rig.parents[chain[0]] >= 0:
        chain.insert(0, int(rig.parents[chain[0]]))
    distance_m = np.linalg.norm(rig.rest_joints_m[chain][:, None] - anchors[[at["hip"], at["knee"], at["ankle"]]], axis=-1)
    hip, knee, ankle = (int(i) for i in distance_m.argmin(0))
    if not (0 < hip < knee < ankle) or not np.isfinite(distance_m).all():
        return None
    return LegJoints(chain[hip], chain[knee], chain[ankle])


def solve_two_bone_ik(
    rig: Rig,
    leg: LegJoints,
    local: Float[np.ndarray, "t j 3 3"],
    G: Float[np.ndarray, "t j 3 3"],
    p: Float[np.ndarray, "t j 3"],
    ankle_m: Float[np.ndarray, "t 3"],
    foot_turn: Float[np.ndarray, "t 3 3"],
) -> None:
    """Turn ``leg`` in ``local``, in place, so that its ankle comes to ``ankle_m`` and its foot is turned by ``foot_turn``.

    ``G`` and ``p`` are the posed rotations and positions before the turn, in the axes of ``ankle_m`` and ``foot_turn``. In closed form:
    the knee's angle follows from the law of cosines, the rest is the smallest turn at the hip. Twist joints between them keep their own
    rotations, so that each bone is taken as it is posed. A target out of reach is approached.
    """
    hip, knee, ankle = p[:, leg.hip], p[:, leg.knee], p[:, leg.ankle]
    thigh_m, shank_m = np.linalg.norm(knee - hip, axis=-1), np.linalg.norm(ankle - knee, axis=-1)
    current_m, target_m = np.linalg.norm(ankle - hip, axis=-1), np.linalg.norm(ankle_m - hip, axis=-1)
    # No straighter than a leg can be, but a leg that is straighter already is not bent either.
    target_m = np.clip(target_m, np.abs(thigh_m - shank_m) * 1.001, np.maximum((thigh_m + shank_m) * MAX_REACH_SHARE, current_m))
    bend = _knee_angle(thigh_m, shank_m, target_m) - _knee_angle(thigh_m, shank_m, current_m)
    knee_turn = rotvec_to_matrix(_knee_axis(G[:, leg.hip], hip, knee, ankle) * bend[:, None])
    bent_ankle = knee + np.einsum("tab,tb->ta", knee_turn, ankle - knee)
    hip_turn = rotation_between(bent_ankle - hip, ankle_m - hip)
    ankle_parent = G[:, rig.parents[leg.ankle]]
    local[:, leg.hip] = np.swapaxes(G[:, rig.parents[leg.hip]], 1, 2) @ hip_turn @ G[:, leg.hip]
    local[:, leg.knee] = np.swapaxes(G[:, rig.parents[leg.knee]], 1, 2) @ knee_turn @ G[:, leg.knee]
    local[:, leg.ankle] = np.swapaxes(hip_turn @ knee_turn @ ankle_parent, 1, 2) @ foot_turn @ G[:, leg.ankle]


def _knee_angle(thigh_m: np.ndarray, shank_m: np.ndarray, hip_to_ankle_m: np.ndarray) -> np.ndarray:
    """Angle (T,) between the directions of thigh and shank, 0 for a straight leg."""
    cosine = (hip_to_ankle_m**2 - thigh_m**2 - shank_m**2) / (2 * thigh_m * shank_m)
    return np.arccos(np.clip(cosine, -1, 1))


def _knee_axis(G_hip: np.ndarray, hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray) -> np.ndarray:
    """Unit axes (T, 3) about which a turn of the shank by a positive angle bends the leg further."""
    thigh, shank = knee - hip, ankle - knee
    axis = np.cross(thigh, shank)
    size = np.linalg.norm(axis, axis=-1, keepdims=True)
    # A straight leg bends about the thigh's own x axis: heels go backwards, and rest axes look along -z.
    own = np.cross(thigh, G_hip[:, :, 2])
    own = own / np.maximum(np.linalg.norm(own, axis=-1, keepdims=True), 1e-9)
    scale = np.linalg.norm(thigh, axis=-1, keepdims=True) * np.linalg.norm(shank, axis=-1, keepdims=True)
    return np.where(size > 1e-3 * scale, axis / np.maximum(size, 1e-12), own)
