"""Feet that rest on the floor do not slide. Pure numpy.

A heel or toe rests where it is slow and low (two thresholds each, so that it neither flickers nor depends on the direction of time). It is
then held at its mean place: first the whole body follows along the view, which is what a camera sees worst and all its joints share;
what is left the legs take up. Beside a rest the hold fades; a lifted heel, a step and a jump are left alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix
from body4d.motion.gaps import true_runs
from body4d.motion.legs import LegJoints, find_leg, solve_two_bone_ik

SIDES = ("left", "right")
POINTS = ("heel", "big_toe")
_TICK_S = 1e-6  # three frames at 30/s last 0.1 s, whatever rounding makes of it at either end of a clip


def hold_foot_contacts(
    people: Sequence[BodyTrack], rigs: Mapping[int, Rig], clip: Clip, camera: Camera, T_world_camera: np.ndarray, settings: MotionSettings
) -> tuple[BodyTrack, ...]:
    """``people``, smoothed, with resting feet held. ``rigs`` by person id; ``T_world_camera`` (4, 4) as the floor was found.

    Unchanged where ``settings.ground`` is off, the camera moves, or a joint set has no heels and toes.
    """
    if settings.ground == "off" or not settings.enabled or not camera.static:
        return tuple(people)
    times_s = clip.times_s * clip.time_scale
    return tuple(_settled(track, rigs[track.person_id], times_s, T_world_camera[1, :3], settings) for track in people)


def _settled(track: BodyTrack, rig: Rig, times_s: np.ndarray, up: np.ndarray, settings: MotionSettings) -> BodyTrack:
    """One person with resting feet held; ``up`` (3,) is the world's upwards in camera axes."""
    legs = [leg for leg in (find_leg(rig, side) for side in SIDES) if leg is not None]
    if len(legs) < 2 or any(f"{side}_{part}" not in track.joint_names for side in SIDES for part in POINTS):
        return track
    local = rotvec_to_matrix(track.rotations.astype(np.float64))
    place = track.translation_m.astype(np.float64)
    cuts = np.flatnonzero(np.diff(track.frame_index) != 1) + 1
    for rows in np.split(np.arange(len(track)), cuts):
        if len(rows) > 3:
            local[rows], place[rows] = _hold(rig, legs, track, local[rows], place[rows], times_s[track.frame_index[rows]], up, settings)
    joints = rig.keypoints(*rig.forward(local, place))
    return dataclasses.replace(
        track,
        rotations=matrix_to_rotvec(local).astype(track.rotations.dtype),
        translation_m=place.astype(track.translation_m.dtype),
        joints_m=joints.astype(track.joints_m.dtype),
    )


def _hold(
    rig: Rig,
    legs: Sequence[LegJoints],
    track: BodyTrack,
    local: np.ndarray,
    place: np.ndarray,
    times_s: np.ndarray,
    up: np.ndarray,
    settings: MotionSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, 3, 3) and places (T, 3) of consecutive frames with resting feet held."""
    sigma_m = np.zeros(len(track.joint_names)) if track.joint_sigma_m is None else np.median(track.joint_sigma_m, axis=0)
    columns = [track.joint_names.index(f"{side}_{part}") for side in SIDES for part in POINTS]
    G, p = rig.forward(local, place)
    points = rig.keypoints(G, p)[:, columns]
    view = place / np.linalg.norm(place, axis=-1, keepdims=True)
    wander = settings.foot_wander_m + settings.foot_wander_sigmas * sigma_m[columns]
    rests = detect_contacts(points, view, times_s, up, wander, settings)
    holds = [contact_constraint(points[:, i], rests[:, i], times_s, settings) for i in range(len(columns))]
    deeper = _deeper(holds, view, times_s, settings)
    shift = deeper[:, None] * view
    place = place + shift
    p = p + shift[:, None]
    local = local.copy()
    for s, leg in enumerate(legs):
        heel, toe = holds[2 * s : 2 * s + 2]
        _plant(rig, leg, local, G, p, points[:, 2 * s : 2 * s + 2] + shift[:, None], heel.without(shift), toe.without(shift), settings)
    return local, place


def detect_contacts(
    points_m: np.ndarray, view: np.ndarray, times_s: np.ndarray, up: np.ndarray, wander_m: np.ndarray, settings: MotionSettings
) -> np.ndarray:
    """Which foot points (T, P) rest. ``points_m`` (T, P, 3), ``view`` (T, 3) unit, along the view, ``up`` (3,) unit, same axes.

    A rest is slower than ``foot_leave_m_s`` and lower than ``foot_leave_rise_m`` over where the point usually stands, for ``foot_least_s``
    at least, and somewhere within slower and lower than the ``foot_enter_...`` thresholds; and it stays within ``wander_m`` (P,) of a
    place, see :func:`staying`.
    """
    half = settings.foot_window_s / 2
    start, stop = np.clip(times_s - half, times_s[0], times_s[-1]), np.clip(times_s + half, times_s[0], times_s[-1])
    flat = points_m.reshape(len(points_m), -1)
    moved = np.stack([np.interp(stop, times_s, c) - np.interp(start, times_s, c) for c in flat.T], -1).reshape(points_m.shape)
    velocity = moved / np.maximum(stop - start, 1e-9)[:, None, None]
    along = np.einsum("tpa,ta->tp", velocity, view)
    velocity = velocity - (1 - settings.foot_depth_share) * along[..., None] * view[:, None]
    speed = np.linalg.norm(velocity, axis=-1)
    height = points_m @ up
    rise = height - np.quantile(height, settings.foot_level_quantile, axis=0)
    may = (speed < settings.foot_leave_m_s) & (rise < settings.foot_leave_rise_m)
    surely = (speed < settings.foot_enter_m_s) & (rise < settings.foot_enter_rise_m)
    out = np.zeros_like(may)
    for i in range(may.shape[1]):
        for first, last in true_runs(may[:, i]):
            rows = slice(first, last + 1)
            if surely[rows, i].any() and times_s[last] - times_s[first] >= settings.foot_least_s - _TICK_S:
                out[rows, i] = stationary_rows(points_m[rows, i], view[rows], times_s[rows], wander_m[i], settings)
    return out


def stationary_rows(points_m: np.ndarray, view: np.ndarray, times_s: np.ndarray, wander_m: float, settings: MotionSettings) -> np.ndarray:
    """In which rows of a slow stretch a point (T, 3) stays at a place, as opposed to creeping or being turned on its toes.

    What the camera sees is believed: a stretch that leaves ``wander_m`` of its mean place, evened over ``foot_blend_s``, is two, cut
    where two means explain it best; between them, and where a part is shorter than ``foot_least_s``, the point is free.
    """
    out = np.zeros(len(points_m), bool)
    # Depth counts by the same share as in speeds. One direction for the whole stretch: turning with the person, it would hide their way.
    ahead = view.mean(0) / np.linalg.norm(view.mean(0))
    seen = points_m - (1 - settings.foot_depth_share) * (points_m @ ahead)[:, None] * ahead
    even = _evened(seen, np.ones(len(seen)), times_s, settings.foot_blend_s / 2)
    waiting = [(0, len(points_m))]
    while waiting:
        first, stop = waiting.pop()
        if stop - first < 2 or times_s[stop - 1] - times_s[first] < settings.foot_least_s - _TICK_S:
            continue
        part = even[first:stop]
        if np.linalg.norm(part - part.mean(0), axis=-1).max() <= wander_m:
            out[first:stop] = True
            continue
        cut_s = _cut_s(part, times_s[first:stop])
        half = settings.foot_blend_s / 2
        waiting.append((first, int(np.searchsorted(times_s, cut_s - half, side="right"))))
        waiting.append((int(np.searchsorted(times_s, cut_s + half)), stop))
    return out


def _cut_s(points: np.ndarray, times_s: np.ndarray) -> float:
    """The moment between two rows that parts ``points`` (T, D) into two with the least squares about their own means."""
    sums, count = np.cumsum(points, axis=0)[:-1], np.arange(1, len(points))
    rest = points.sum(0) - sums
    explained = (sums**2).sum(-1) / count + (rest**2).sum(-1) / (len(points) - count)
    at = int(np.argmax(explained))
    return float(times_s[at] + times_s[at + 1]) / 2


@dataclass(frozen=True)
class ContactConstraint:
    """How a foot point is to be moved: by ``offset_m`` (T, 3), as far as ``share`` (T,) says: 1 at rest, fading beside."""

    offset_m: np.ndarray
    share: np.ndarray

    def without(self, shift_m: np.ndarray) -> "ContactConstraint":
        """The same hold once the whole body has moved by ``shift_m`` (T, 3)."""
        return ContactConstraint(self.offset_m - shift_m, self.share)


def contact_constraint(points_m: np.ndarray, rests: np.ndarray, times_s: np.ndarray, settings: MotionSettings) -> ContactConstraint:
    """The hold of one foot point ``points_m`` (T, 3) where it ``rests`` (T,): at the mean place of each rest.

    Beside a rest the offset of its end fades within ``foot_blend_s``, or halfway to the next rest.
    """
    offset, share = np.zeros_like(points_m), np.zeros(len(points_m))
    bounds = true_runs(rests)
    for i, (first, last) in enumerate(bounds):
        rows = slice(first, last + 1)
        anchor = points_m[rows].mean(0)
        offset[rows], share[rows] = anchor - points_m[rows], 1.0
        room_before = times_s[first] - times_s[bounds[i - 1][1]] if i else np.inf
        room_after = times_s[bounds[i + 1][0]] - times_s[last] if i + 1 < len(bounds) else np.inf
        away_s = np.maximum(times_s[first] - times_s, times_s - times_s[last])
        room = np.where(times_s < times_s[first], room_before, room_after) / 2
        fade = 1 - _eased(away_s / np.minimum(settings.foot_blend_s, room))
        beside = (away_s > 0) & (fade > share)
        share[beside] = fade[beside]
        offset[beside] = np.where(np.arange(len(points_m))[beside, None] < first, offset[first], offset[last])
    sigma_s = settings.foot_blend_s / 6
    return ContactConstraint(_evened(offset, share, times_s, sigma_s), _evened(share[:, None], np.ones_like(share), times_s, sigma_s)[:, 0])


def _eased(x: np.ndarray) -> np.ndarray:
    """0 to 1 (...) as ``x`` goes from 0 to 1, with no speed at either end."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _evened(values: np.ndarray, weights: np.ndarray, times_s: np.ndarray, sigma_s: float) -> np.ndarray:
    """Means (T, D) of ``values`` over a Gaussian of ``sigma_s`` in time, by ``weights`` (T,); 0 where there is no weight near."""
    reach_rows = int(np.ceil(3 * sigma_s / float(np.median(np.diff(times_s)))))
    top, bottom = np.zeros_like(values), np.zeros(len(values))
    for offset in range(-reach_rows, reach_rows + 1):
        here = np.arange(max(0, -offset), min(len(values), len(values) - offset))
        kernel = weights[here + offset] * np.exp(-0.5 * ((times_s[here + offset] - times_s[here]) / sigma_s) ** 2)
        top[here] += kernel[:, None] * values[here + offset]
        bottom[here] += kernel
    return np.where(bottom[:, None] > 1e-12, top / np.maximum(bottom, 1e-12)[:, None], 0.0)


def _deeper(holds: Sequence[ContactConstraint], view: np.ndarray, times_s: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """How far (T,) the whole body follows its holds along ``view`` (T, 3); evened over time, and fading where nothing rests."""
    shares = np.stack([hold.share for hold in holds])
    along = np.stack([np.einsum("ta,ta->t", hold.offset_m, view) for hold in holds])
    weight = shares.sum(0)
    mean = (shares * along).sum(0) / np.maximum(weight, 1e-9)
    trusted = np.minimum(weight, 1.0)
    follow = _evened(mean[:, None], trusted, times_s, settings.foot_depth_s)[:, 0]
    return follow * _evened(trusted[:, None], np.ones_like(trusted), times_s, settings.foot_depth_s)[:, 0]


def _plant(
    rig: Rig,
    leg: LegJoints,
    local: np.ndarray,
    G: np.ndarray,
    p: np.ndarray,
    points_m: np.ndarray,
    heel: ContactConstraint,
    toe: ContactConstraint,
    settings: MotionSettings,
) -> None:
    """Bring one leg's heel and toe ``points_m`` (T, 2, 3) to their holds, in ``local`` (T, J, 3, 3)."""
    # A point that is free goes along with the one that is held, so that only a foot held at both ends is turned.
    moves = []
    for own, other in ((heel, toe), (toe, heel)):
        follow = ((1 - own.share) * other.share)[:, None] * other.offset_m
        moves.append(own.share[:, None] * own.offset_m + follow)
    far = np.linalg.norm(np.stack(moves), axis=-1).max(0)
    allowed = 1 - _eased(far / settings.foot_most_m - 1)
    moves = [move * allowed[:, None] for move in moves]
    sole = points_m[:, 1] - points_m[:, 0]
    turn = rotation_between(sole, sole + moves[1] - moves[0])
    ankle = p[:, leg.ankle]
    wanted = np.mean([points_m[:, i] + moves[i] - np.einsum("tab,tb->ta", turn, points_m[:, i] - ankle) for i in range(2)], axis=0)
    moved = np.flatnonzero(far > 1e-7)
    if len(moved):
        part = local[moved]
        solve_two_bone_ik(rig, leg, part, G[moved], p[moved], wanted[moved], turn[moved])
        local[moved] = part
