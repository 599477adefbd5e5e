"""Which side of a person is which, decided over the whole clip before anything is fitted. Pure numpy.

BlazePose reads each frame almost by itself, and takes a person's front for the back, or the left arm for the right one, for a frame or for
a second. Every frame therefore has several readings, and a chain over time chooses among them (Viterbi): between frames a body moves no
faster than bodies do, each frame's readings are more or less consistent in themselves, and the network is right more often than not.
A frame that fits neither its past nor its future in any reading may be left out, and is interpolated.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import median_filter

from body4d.core.errors import RunWarning
from body4d.core.joints import Body29 as B
from body4d.models.anny_fit.limb_swaps import momentary_swaps
from body4d.models.anny_fit.observations import BodyLandmarks

AS_SEEN, TURNED, DEPTH, EXCHANGED, TURNED_ABOVE = range(5)
"""Readings of a whole body. As seen; turned: front taken for back, so that labels are exchanged in the picture; depth: the depth of
shoulders and hips reversed, labels right; exchanged: labels exchanged, depth with them; turned above: as turned, but for the legs."""
NUM_READINGS = 5

TRUNK_NOISE_M, LIMB_NOISE_M = 0.03, 0.06
"""Landmarks differ by this much from frame to frame on a person at rest."""
DEPTH_SHARE = 0.6
"""Motion in depth counts by this factor: the network's depth is rougher than its picture coordinates."""
SIDES_EXCHANGED_COST = 0.5
"""Cost of the first frame of a stretch in which the network is taken to be wrong, where a body that leaps all over costs 3."""
WRONG_PER_S = 0.5
"""Cost of each second of such a stretch: at this rate a leap at either end is believed rather than a stretch of 11 s."""
INCONSISTENT_PER_S = 2.0
"""Cost of each second in which trunk and feet or face point in opposite directions."""
HIDDEN_NEAR_PER_S = 1.0
"""Cost of each second in which the near side is the hidden one."""
CROSSED_PER_S = 4.0
"""Cost of each second in which a limb that is exchanged is longer or shorter than usual, for each share of its length."""
SKIP_COST, SKIP_PER_S = 0.5, 15.0
"""Cost of leaving out a run of frames, and of each second of it."""
TORN_SKIP_SHARE = 0.6
"""Leaving out frames in which the network is torn costs this share of it."""
MAX_FRAME_SHARE_S = 0.1
"""No frame stands for more time than this, however long the gap beside it."""
MAX_SKIP_S, MAX_SKIP_FRAMES = 0.12, 16
"""A longer run is not left out: what happens in it is not known from its ends."""
CUT_PER_HEIGHT = 0.5
"""A person whose hips leap by this share of height from one frame to the next is seen in a new shot, to which nothing carries over."""
TORN_WIDTH, SOUND_WIDTH = 0.5, 0.9
"""Shoulders and hips this much of their usual width (in three dimensions) show a network that is torn between two readings, or is not."""
USUAL_WIDTH_PERCENTILE = 75
AMBIGUITY_COST = 0.3
"""A second reading that costs this much more than the first is 1/e as likely."""
MAX_FRAMES_BETWEEN_FEET = 3
"""No more frames in a row are left out as between the two feet: a foot's way over more is not straight. Hands may meet and part in that
time, as in a clap, and are never left out so."""
SCALE_WINDOW_S = 0.5
"""The scale of the picture is a running median over this time."""
LOST_WINDOW_S, LOST_WINDOW_FRAMES = 0.3, 5
"""Where most frames of such a window are left out, no reading holds: the body is as unclear as that share says."""
INTERPOLATED_VISIBILITY = 0.2
"""Landmarks of frames left out are this visible: interpolated, they are near."""
DOUBT = 2.0
"""Standard deviations of landmarks that are not read as the network saw them, or may be read otherwise, grow by up to this factor and 1."""
UNCLEAR_AMBIGUITY, MIN_UNCLEAR_S = 0.4, 0.1
"""Stretches at least this ambiguous and long are reported."""

_LEFT = [k for k in B if k.name.startswith("LEFT_")]
_LEFT_LEG = [B.LEFT_KNEE, B.LEFT_ANKLE, B.LEFT_HEEL, B.LEFT_BIG_TOE, B.LEFT_SMALL_TOE]
_TRUNK = (B.LEFT_SHOULDER, B.RIGHT_SHOULDER, B.LEFT_HIP, B.RIGHT_HIP)
_POINTING = (
    ((B.LEFT_EAR, B.RIGHT_EAR), (B.NOSE, B.LEFT_EYE, B.RIGHT_EYE)),
    ((B.LEFT_ANKLE,), (B.LEFT_HEEL, B.LEFT_BIG_TOE)),
    ((B.RIGHT_ANKLE,), (B.RIGHT_HEEL, B.RIGHT_BIG_TOE)),
)
"""Parts that point where the body faces, and what they point from."""

_MAX_SPEED_M_S = {"SHOULDER": 3.0, "HIP": 2.0, "ELBOW": 6.0, "WRIST": 12.0, "KNEE": 6.0, "ANKLE": 10.0}
"""Speeds about the hips that hardly anybody exceeds: a shoulder line that turns by 1000 degrees/s, a fast stroke, a kick."""
_LEAP_COST = {"SHOULDER": 0.5, "HIP": 0.35, "ELBOW": 0.2, "WRIST": 0.15, "KNEE": 0.2, "ANKLE": 0.1}
"""Cost of a leap of each: steady joints say more than quick ones."""
MIN_LEAP_VISIBILITY = 0.2
"""A leap of a hidden joint counts this much."""
_LIMBS = (
    ("SHOULDER", "ELBOW", "WRIST", ("ELBOW", "WRIST", "THUMB", "INDEX", "PINKY")),
    ("HIP", "KNEE", "ANKLE", ("KNEE", "ANKLE", "HEEL", "BIG_TOE", "SMALL_TOE")),
)
TURN_COST, TURN_NOISE_RAD, MAX_TURN_RAD_S = 1.0, np.radians(20.0), np.radians(900.0)
"""Cost of the whole body turning faster than bodies do, whatever its joints' speeds: where shoulders and hips are seen too narrow, a
reversal moves them little."""
_LIMB_LEAP_COST = 0.75
"""Cost of a leap of one joint of a limb that is judged by itself."""


@dataclass(frozen=True)
class SettledSides:
    """Landmarks whose sides are settled.

    Attributes:
        landmarks: In the chosen reading; interpolated in frames (or limbs) that were left out.
        ambiguity: How near the other reading of the body comes, in [0, 1].
        changed: Where the body is read otherwise than the network saw it, or was left out.
        measured: False where a keypoint was left out and is interpolated.
    """

    landmarks: BodyLandmarks
    ambiguity: Float[np.ndarray, " t"]
    changed: Bool[np.ndarray, " t"]
    measured: Bool[np.ndarray, "t 29"]

    @property
    def doubt(self) -> Float[np.ndarray, " t"]:
        """By what factor the standard deviations of depths grow."""
        return 1 + DOUBT * np.maximum(self.ambiguity, self.changed)


@dataclass(frozen=True)
class _Readings:
    """What a chain chooses from: S readings of K joints in each of T frames."""

    joints_m: Float[np.ndarray, "t s k 3"]
    visibility: Float[np.ndarray, "t s k"]
    max_speed_m_s: Float[np.ndarray, " k"]
    noise_m: Float[np.ndarray, " k"]
    leap_cost: Float[np.ndarray, " k"]
    cost_per_s: Float[np.ndarray, "t s"]
    soundness: Float[np.ndarray, " t"]
    is_cut: Bool[np.ndarray, " t"]
    facing: Float[np.ndarray, "t s 3"] | None = None


def settle_sides(landmarks: BodyLandmarks, times_s: Float[np.ndarray, " t"]) -> SettledSides:
    """Choose each frame's reading. ``landmarks`` are in camera axes, ``times_s`` in real seconds (slow motion already undone)."""
    T = len(times_s)
    measured = np.array(np.isfinite(landmarks.points_px).all(-1))
    if T < 3:
        return SettledSides(landmarks, np.zeros(T), np.zeros(T, bool), measured)
    readings = _body_readings(landmarks)
    path, costs = _best_path(readings, times_s)
    lost = path < 0
    settled = _interpolated(_read(landmarks, np.maximum(path, AS_SEEN)), times_s, lost, list(B))
    measured[lost] = False
    for limb in _LIMBS:
        settled, limb_measured = _settle_limbs(settled, times_s, limb, readings.is_cut)
        measured &= limb_measured
    ambiguity = np.maximum(_ambiguity(settled, costs), _share_lost(lost, times_s))
    return SettledSides(settled, ambiguity, path != AS_SEEN, measured)


def joined_sides(parts: Sequence[SettledSides]) -> SettledSides:
    """What was settled in one shot after the other."""
    of_parts = [part.landmarks for part in parts]
    return SettledSides(
        BodyLandmarks(*(np.concatenate([getattr(p, f.name) for p in of_parts]) for f in dataclasses.fields(BodyLandmarks))),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("ambiguity", "changed", "measured")),
    )


def exchanged(landmarks: BodyLandmarks, rows: Bool[np.ndarray, " t"], left: list[B] | None = None) -> BodyLandmarks:
    """``landmarks`` with left and right exchanged in ``rows``, of all keypoints or of those of ``left`` and their counterparts."""
    left = _LEFT if left is None else left
    right = [B[k.name.replace("LEFT_", "RIGHT_")] for k in left]
    order = np.arange(len(B))
    order[left], order[right] = right, left

    def swap(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        out[rows] = values[rows][:, order]
        return out

    return BodyLandmarks(swap(landmarks.points_px), swap(landmarks.world_m), swap(landmarks.visibility))


def _read(landmarks: BodyLandmarks, path: Int[np.ndarray, " t"]) -> BodyLandmarks:
    """``landmarks`` in the reading of each frame."""
    is_turned = (path == TURNED) | (path == TURNED_ABOVE)
    out = exchanged(landmarks, is_turned | (path == EXCHANGED))
    out = exchanged(out, path == TURNED_ABOVE, _LEFT_LEG)
    world = out.world_m.copy()
    # Depth stays with its label (measured: 0.14 m off, against 0.33 m for a reflection of the whole body), feet and face turn round.
    world[is_turned, :, 2] = landmarks.world_m[is_turned, :, 2]
    for root, parts in _POINTING:
        middle = world[is_turned][:, list(root), 2].mean(1)
        for part in parts:
            world[is_turned, part, 2] = 2 * middle - world[is_turned, part, 2]
    mirrored = path == DEPTH
    for left, right in ((B.LEFT_SHOULDER, B.RIGHT_SHOULDER), (B.LEFT_HIP, B.RIGHT_HIP)):
        world[mirrored, left, 2], world[mirrored, right, 2] = world[mirrored, right, 2], world[mirrored, left, 2]
    return dataclasses.replace(out, world_m=world)


def _body_readings(landmarks: BodyLandmarks) -> _Readings:
    T = len(landmarks.visibility)
    joints = [B[f"{side}_{name}"] for name in _MAX_SPEED_M_S for side in ("LEFT", "RIGHT")]
    positions, visibility, costs, facing = [], [], [], []
    soundness = _soundness(landmarks.world_m)
    for reading in range(NUM_READINGS):
        read = _read(landmarks, np.full(T, reading))
        positions.append(read.world_m[:, joints])
        visibility.append(read.visibility[:, joints])
        facing.append(_facing(read.world_m))
        costs.append(_inconsistency(read) + (WRONG_PER_S * soundness if reading != AS_SEEN else 0.0))
    hips = landmarks.points_px[:, [B.LEFT_HIP, B.RIGHT_HIP]].mean(1)
    leap = np.linalg.norm(np.diff(hips, axis=0, prepend=hips[:1]), axis=-1)
    return _Readings(
        joints_m=np.stack(positions, 1),
        visibility=np.stack(visibility, 1),
        max_speed_m_s=np.repeat(list(_MAX_SPEED_M_S.values()), 2),
        noise_m=np.where(np.isin(joints, _TRUNK), TRUNK_NOISE_M, LIMB_NOISE_M),
        leap_cost=np.repeat([_LEAP_COST[name] for name in _MAX_SPEED_M_S], 2),
        cost_per_s=np.stack(costs, 1),
        soundness=soundness,
        is_cut=leap > CUT_PER_HEIGHT * landmarks.height_px,
        facing=np.stack(facing, 1),
    )


def _soundness(world_m: np.ndarray) -> Float[np.ndarray, " t"]:
    """0 where the network is torn between two readings, 1 where it is not, from the widths of shoulders and hips."""
    shares = []
    for left, right in ((B.LEFT_SHOULDER, B.RIGHT_SHOULDER), (B.LEFT_HIP, B.RIGHT_HIP)):
        width = np.linalg.norm(world_m[:, left] - world_m[:, right], axis=-1)
        shares.append(width / max(float(np.percentile(width, USUAL_WIDTH_PERCENTILE)), 1e-6))
    return np.clip((np.minimum(*shares) - TORN_WIDTH) / (SOUND_WIDTH - TORN_WIDTH), 0.0, 1.0)


def _facing(world_m: np.ndarray) -> Float[np.ndarray, "t 3"]:
    """Where shoulders and hips face."""
    up = world_m[:, [B.LEFT_SHOULDER, B.RIGHT_SHOULDER]].mean(1) - world_m[:, [B.LEFT_HIP, B.RIGHT_HIP]].mean(1)
    across = _unit(world_m[:, B.LEFT_SHOULDER] - world_m[:, B.RIGHT_SHOULDER]) + _unit(world_m[:, B.LEFT_HIP] - world_m[:, B.RIGHT_HIP])
    return _unit(np.cross(across, up))


def _inconsistency(read: BodyLandmarks) -> Float[np.ndarray, " t"]:
    """What a reading costs per second: its trunk faces where feet and face do not point, or its near side is the hidden one."""
    w = read.world_m
    facing = _facing(w)
    feet = (w[:, B.LEFT_BIG_TOE] - w[:, B.LEFT_HEEL]) + (w[:, B.RIGHT_BIG_TOE] - w[:, B.RIGHT_HEEL])
    face = w[:, B.NOSE] - w[:, [B.LEFT_EAR, B.RIGHT_EAR]].mean(1)
    apart = np.mean([(1 - np.sum(facing * _unit(front), -1)) / 2 for front in (feet, face)], axis=0)
    left, right = [B.LEFT_SHOULDER, B.LEFT_ELBOW], [B.RIGHT_SHOULDER, B.RIGHT_ELBOW]
    nearer = np.clip((w[:, right, 2] - w[:, left, 2]) / 0.2, -1, 1)
    hidden = np.clip(nearer * (read.visibility[:, right] - read.visibility[:, left]), 0, 1).mean(1)
    return INCONSISTENT_PER_S * apart + HIDDEN_NEAR_PER_S * hidden


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6)


def _motion_cost(r: _Readings, times_s: np.ndarray, lag: int) -> Float[np.ndarray, "_ s s"]:
    """What it costs to go from each reading of frame i to each of frame i + lag."""
    step = (times_s[lag:] - times_s[:-lag])[:, None, None, None]
    off = r.joints_m[lag:, None] - r.joints_m[:-lag, :, None]
    distance = np.linalg.norm(off * [1.0, 1.0, DEPTH_SHARE], axis=-1)
    ratio = (distance / (r.noise_m + r.max_speed_m_s * step)) ** 4
    seen = np.minimum(r.visibility[lag:, None], r.visibility[:-lag, :, None])
    cost = (np.nan_to_num(ratio / (1 + ratio)) * np.maximum(seen, MIN_LEAP_VISIBILITY)) @ r.leap_cost
    if r.facing is not None:
        angle = np.arccos(np.clip(np.einsum("tsa,tra->tsr", r.facing[:-lag], r.facing[lag:]), -1, 1))
        turn = (angle / (TURN_NOISE_RAD + MAX_TURN_RAD_S * step[..., 0])) ** 4
        cost = cost + TURN_COST * turn / (1 + turn)
    return cost


def _best_path(r: _Readings, times_s: np.ndarray) -> tuple[Int[np.ndarray, " t"], Float[np.ndarray, "t s"]]:
    """The cheapest reading of each frame, -1 where it is left out, and what the cheapest path through each reading of it costs."""
    T, S = r.cost_per_s.shape
    steps = np.diff(times_s)
    share_s = np.minimum((np.append(steps[0], steps) + np.append(steps, steps[-1])) / 2, MAX_FRAME_SHARE_S)
    unary = r.cost_per_s * share_s[:, None]
    lags = _lag_costs(r, times_s)
    before = _end_costs(times_s - times_s[0], len(lags))
    after = _end_costs((times_s[-1] - times_s)[::-1], len(lags))[::-1]
    first = np.where(np.arange(S) == AS_SEEN, 0.0, SIDES_EXCHANGED_COST)
    forward, origin = before[:, None] + first, np.full((T, S, 2), -1)
    for i in range(T):
        for lag, cost in enumerate(lags[:i], 1):
            candidates = forward[i - lag][:, None] + cost[i - lag]
            best = np.argmin(candidates, 0)
            better = candidates[best, np.arange(S)] < forward[i]
            forward[i, better] = candidates[best, np.arange(S)][better]
            origin[i, better, 0], origin[i, better, 1] = i - lag, best[better]
        forward[i] += unary[i]
    backward = np.repeat(after[:, None], S, 1)
    for i in reversed(range(T)):
        for lag, cost in enumerate(lags[: T - 1 - i], 1):
            backward[i] = np.minimum(backward[i], (cost[i] + (unary + backward)[i + lag]).min(1))
    path = np.full(T, -1)
    i, s = (int(v) for v in np.unravel_index(np.argmin(forward + after[:, None]), (T, S)))
    while i >= 0:
        path[i] = s
        i, s = (int(v) for v in origin[i, s])
    return path, forward + backward


def _lag_costs(r: _Readings, times_s: np.ndarray) -> list[Float[np.ndarray, "_ s s"]]:
    """For each lag, what going from frame i to frame i + lag costs, the frames between left out."""
    T, S = r.cost_per_s.shape
    enter = np.full((S, S), SIDES_EXCHANGED_COST / 2)
    enter[AS_SEEN] = SIDES_EXCHANGED_COST
    enter[:, AS_SEEN] = 0
    np.fill_diagonal(enter, 0)
    cuts = np.cumsum(r.is_cut)
    weight = np.concatenate([[0.0], np.cumsum(TORN_SKIP_SHARE + (1 - TORN_SKIP_SHARE) * r.soundness)])
    lags: list[np.ndarray] = []
    for lag in range(1, min(MAX_SKIP_FRAMES + 1, T - 1) + 1):
        skip = np.zeros(T - lag)
        if lag > 1:
            step_s = times_s[lag:] - times_s[:-lag]
            mean_weight = (weight[lag:-1] - weight[1 : T - lag + 1]) / (lag - 1)
            skip = np.where(step_s <= MAX_SKIP_S, (SKIP_COST + SKIP_PER_S * step_s) * mean_weight, np.inf)
            if not np.isfinite(skip).any():
                break
        motion = np.where((cuts[lag:] != cuts[:-lag])[:, None, None], 0.0, _motion_cost(r, times_s, lag))
        lags.append(motion + enter + skip[:, None, None])
    return lags


def _end_costs(away_s: np.ndarray, num_lags: int) -> Float[np.ndarray, " t"]:
    """What leaving out all frames before each costs, given the times since the first."""
    is_near = (away_s <= MAX_SKIP_S) & (np.arange(len(away_s)) < num_lags)
    costs = np.where(is_near, SKIP_COST + SKIP_PER_S * away_s, np.inf)
    costs[0] = 0.0
    return costs


def _interpolated(landmarks: BodyLandmarks, times_s: np.ndarray, lost: np.ndarray, keypoints: list[B]) -> BodyLandmarks:
    """``landmarks`` with some keypoints of the frames ``lost`` interpolated between the others, and hardly visible."""
    if not lost.any() or lost.all():
        return landmarks
    kept = ~lost
    points, world, visibility = landmarks.points_px.copy(), landmarks.world_m.copy(), landmarks.visibility.copy()
    for values in (points, world):
        for k in keypoints:
            for a in range(values.shape[-1]):
                values[lost, k, a] = np.interp(times_s[lost], times_s[kept], values[kept, k, a])
    visibility[np.ix_(lost, np.array(keypoints))] *= INTERPOLATED_VISIBILITY
    return BodyLandmarks(points, world, visibility)


def _settle_limbs(
    landmarks: BodyLandmarks, times_s: np.ndarray, limb: tuple[str, str, str, tuple[str, ...]], is_cut: np.ndarray
) -> tuple[BodyLandmarks, Bool[np.ndarray, "t 29"]]:
    """The two arms or legs: exchanged where they were, and interpolated, each by itself, where one leaps away and back.

    Also which keypoints are still measured.
    """
    root, middle, end, names = limb
    T = len(times_s)
    left = [B[f"LEFT_{name}"] for name in names if f"LEFT_{name}" in B.__members__]
    joints = [B[f"{side}_{name}"] for name in (middle, end) for side in ("LEFT", "RIGHT")]
    other = exchanged(landmarks, np.ones(T, bool), left)
    upper = np.stack([_upper_lengths(read, root, middle) for read in (landmarks, other)], 1)
    usual = max(float(np.median(upper[:, 0])), 1e-6)
    max_speed = np.array([_MAX_SPEED_M_S[name] for name in (middle, end)])
    pair = _Readings(
        joints_m=np.stack([landmarks.world_m[:, joints], other.world_m[:, joints]], 1),
        visibility=np.stack([landmarks.visibility[:, joints], other.visibility[:, joints]], 1),
        max_speed_m_s=np.repeat(max_speed, 2),
        noise_m=np.full(4, LIMB_NOISE_M),
        leap_cost=np.full(4, _LIMB_LEAP_COST),
        cost_per_s=CROSSED_PER_S * np.abs(upper / usual - 1).mean(-1) + [0.0, WRONG_PER_S],
        soundness=np.ones(T),
        is_cut=is_cut,
    )
    settled = exchanged(landmarks, _best_path(pair, times_s)[0] == 1, left)
    measured = np.ones((T, len(B)), bool)
    max_between = MAX_FRAMES_BETWEEN_FEET if root == "HIP" else 0
    for keypoints in (left[:1], left[1:]):  # the knee, then the foot
        settled, between = _without_momentary_swaps(settled, times_s, keypoints, is_cut, max_between)
        measured[np.ix_(between, np.array(_with_counterparts(keypoints)))] = False
    for side in ("LEFT", "RIGHT"):
        single = dataclasses.replace(
            pair,
            joints_m=settled.world_m[:, [B[f"{side}_{middle}"], B[f"{side}_{end}"]]][:, None],
            visibility=np.ones((T, 1, 2)),
            max_speed_m_s=max_speed,
            noise_m=np.full(2, LIMB_NOISE_M),
            leap_cost=np.full(2, _LIMB_LEAP_COST),
            cost_per_s=np.zeros((T, 1)),
        )
        lost = _best_path(single, times_s)[0] < 0
        own = [B[k.name.replace("LEFT", side)] for k in left]
        settled = _interpolated(settled, times_s, lost, own)
        measured[np.ix_(lost, np.array(own))] = False
    return settled, measured


def _without_momentary_swaps(
    landmarks: BodyLandmarks, times_s: np.ndarray, left: list[B], is_cut: np.ndarray, max_between: int
) -> tuple[BodyLandmarks, Bool[np.ndarray, " t"]]:
    """``landmarks`` with ``left`` and their counterparts exchanged in the picture where the first of them is, for a moment, and
    interpolated where it lies between its own place and its counterpart's; and where that is."""
    pair = _with_counterparts(left[:1])
    swapped, between = momentary_swaps(_across_m(landmarks, times_s)[:, pair], times_s, is_cut, max_between)
    out = exchanged(landmarks, swapped, left)
    out = dataclasses.replace(out, world_m=np.concatenate([out.world_m[..., :2], landmarks.world_m[..., 2:]], axis=-1))
    return _interpolated(out, times_s, between, _with_counterparts(left)), between


def _with_counterparts(left: list[B]) -> list[B]:
    """Keypoints of the left side, and those of the right side."""
    return [*left, *(B[k.name.replace("LEFT_", "RIGHT_")] for k in left)]


def _across_m(landmarks: BodyLandmarks, times_s: np.ndarray) -> Float[np.ndarray, "t 29 2"]:
    """Where the picture shows each keypoint from the hips, at the scale of the network's bodies.

    Their own places in metres follow the picture late where a foot is taken for the other one, and scatter more.
    """
    hips = [B.LEFT_HIP, B.RIGHT_HIP]
    px = landmarks.points_px - landmarks.points_px[:, hips].mean(1, keepdims=True)
    world = landmarks.world_m[..., :2] - landmarks.world_m[:, hips, :2].mean(1, keepdims=True)
    m_per_px = np.sqrt(np.nansum(world**2, axis=(1, 2)) / np.maximum(np.nansum(px**2, axis=(1, 2)), 1e-12))
    frames = 1 + 2 * int(SCALE_WINDOW_S / 2 / max(float(np.median(np.diff(times_s))), 1e-6))
    return px * median_filter(m_per_px, frames, mode="nearest")[:, None, None]


def leaping_arm(joints_m: Float[np.ndarray, "t 29 3"], times_s: Float[np.ndarray, " t"], side: str) -> Bool[np.ndarray, " t"]:
    """In which frames the fitted arm of ``side`` ("LEFT" or "RIGHT") leaps away and back, which is another of a hidden arm's poses."""
    T, own = len(times_s), [B[f"{side}_ELBOW"], B[f"{side}_WRIST"]]
    hips = joints_m[:, [B.LEFT_HIP, B.RIGHT_HIP]].mean(1, keepdims=True)
    if T < 3:
        return np.zeros(T, bool)
    single = _Readings(
        joints_m=(joints_m[:, own] - hips)[:, None],
        visibility=np.ones((T, 1, 2)),
        max_speed_m_s=np.array([_MAX_SPEED_M_S["ELBOW"], _MAX_SPEED_M_S["WRIST"]]),
        noise_m=np.full(2, LIMB_NOISE_M),
        leap_cost=np.full(2, 2 * _LIMB_LEAP_COST),
        cost_per_s=np.zeros((T, 1)),
        soundness=np.ones(T),
        is_cut=np.zeros(T, bool),
    )
    return _best_path(single, times_s)[0] < 0


def _upper_lengths(read: BodyLandmarks, root: str, middle: str) -> Float[np.ndarray, "t 2"]:
    sides = [read.world_m[:, B[f"{side}_{middle}"]] - read.world_m[:, B[f"{side}_{root}"]] for side in ("LEFT", "RIGHT")]
    return np.linalg.norm(np.stack(sides, 1), axis=-1)


def _share_lost(lost: np.ndarray, times_s: np.ndarray) -> Float[np.ndarray, " t"]:
    """The share of frames left out around each."""
    sums = np.concatenate([[0], np.cumsum(lost)])
    first = np.searchsorted(times_s, times_s - LOST_WINDOW_S / 2)
    stop = np.searchsorted(times_s, times_s + LOST_WINDOW_S / 2, side="right")
    return (sums[stop] - sums[first]) / np.maximum(stop - first, LOST_WINDOW_FRAMES)


def _ambiguity(settled: BodyLandmarks, costs: np.ndarray) -> Float[np.ndarray, " t"]:
    """How near another reading of each frame comes, by how much it would turn the body: one that turns it little is no other."""
    best = np.min(costs, 1, keepdims=True)
    likely = np.exp(-np.nan_to_num(costs - best, posinf=1e3) / AMBIGUITY_COST)
    f = _facing(settled.world_m)
    chosen = np.argmin(costs, 1)
    # Facing under the other readings, seen from the chosen one: which of x and z change their sign.
    flips = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1], [1, -1]], float)
    relative = flips[None, :, :] * flips[chosen][:, None, :]
    turned = np.clip(-np.sum(relative * (f[:, None, [0, 2]] ** 2), -1) * 2, 0, 1)
    return np.clip((likely * turned).max(1), 0, 1)


def unclear_spans(ambiguity: Float[np.ndarray, " t"], times_s: Float[np.ndarray, " t"]) -> list[tuple[float, float]]:
    """From when to when it is unclear which way a person faces."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (ambiguity > UNCLEAR_AMBIGUITY).astype(int), [0]])))
    spans = [(float(times_s[a]), float(times_s[b - 1])) for a, b in edges.reshape(-1, 2)]
    return [(a, b) for a, b in spans if b - a >= MIN_UNCLEAR_S]


def sides_warning(person_id: int, spans: list[tuple[float, float]]) -> RunWarning | None:
    """The warning about ``unclear_spans`` in seconds of the clip, or None without any."""
    if not spans:
        return None
    named = ", ".join(f"from {a:.2f} s to {b:.2f} s" for a, b in spans)
    return RunWarning(
        "sides_unclear",
        f"It is unclear which way person {person_id} faces {named}.",
        "A view from another side, or more light on the person, settles it.",
        {"person": person_id, "spans_s": [list(span) for span in spans]},
    )
