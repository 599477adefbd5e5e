"""From BlazePose's landmarks to what the pose solver weighs: landmarks with standard deviations, feet at rest, and joined hands."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter

from body4d.config import FitSettings
from body4d.core.joints import Blazepose33, joint_names
from body4d.core.joints import Body29 as B
from body4d.core.types import Camera, Clip, LandmarkTrack
from body4d.geometry.rotations import rotation_between
from body4d.models.anny_fit.types import BodyParts, Observations, Palms


def _mean_weights(shares: Mapping[tuple[B, ...], float]) -> Float[np.ndarray, " 29"]:
    """Weights of the keypoints in a mean to which each group adds its share."""
    weights = np.zeros(len(B))
    for group, share in shares.items():
        weights[list(group)] += share / len(group)
    return weights / weights.sum()


_SHOULDERS, _HIPS = (B.LEFT_SHOULDER, B.RIGHT_SHOULDER), (B.LEFT_HIP, B.RIGHT_HIP)
_SEGMENT_MASSES = (
    (0.081, 1.5, _SHOULDERS, _HIPS),  # head and neck, half a trunk above the shoulders
    (0.497, 0.5, _SHOULDERS, _HIPS),
    (0.056, 0.564, _SHOULDERS, (B.LEFT_ELBOW, B.RIGHT_ELBOW)),
    (0.044, 0.57, (B.LEFT_ELBOW, B.RIGHT_ELBOW), (B.LEFT_WRIST, B.RIGHT_WRIST)),
    (0.200, 0.567, _HIPS, (B.LEFT_KNEE, B.RIGHT_KNEE)),
    (0.122, 0.567, (B.LEFT_KNEE, B.RIGHT_KNEE), (B.LEFT_ANKLE, B.RIGHT_ANKLE)),
)
"""Share of the body's mass, and of its centre's place that the upper end has (Winter, Biomechanics and Motor Control of Human Movement,
table 4.1; feet go with the shanks, hands with the forearms, and the trunk's centre is taken in its middle)."""


def _mass_weights() -> Float[np.ndarray, " 29"]:
    shares: dict[tuple[B, ...], float] = {}
    for mass, upper, above, below in _SEGMENT_MASSES:
        shares[above] = shares.get(above, 0.0) + mass * upper
        shares[below] = shares.get(below, 0.0) + mass * (1 - upper)
    return _mean_weights(shares)


BODY_PARTS = BodyParts(
    hands=((B.LEFT_INDEX, B.LEFT_PINKY), (B.RIGHT_INDEX, B.RIGHT_PINKY)),
    feet=((B.LEFT_HEEL, B.LEFT_BIG_TOE), (B.RIGHT_HEEL, B.RIGHT_BIG_TOE)),
    hips=(B.LEFT_HIP, B.RIGHT_HIP),
    shoulders=(B.LEFT_SHOULDER, B.RIGHT_SHOULDER),
    arms=(B.LEFT_ELBOW, B.RIGHT_ELBOW, B.LEFT_WRIST, B.RIGHT_WRIST),
    separate=(
        (B.LEFT_ANKLE, B.RIGHT_ANKLE),
        (B.LEFT_HEEL, B.RIGHT_HEEL),
        (B.LEFT_BIG_TOE, B.RIGHT_BIG_TOE),
        (B.LEFT_KNEE, B.RIGHT_KNEE),
    ),
    mass_weights=_mass_weights(),
    feet_weights=_mean_weights({(B.LEFT_HEEL, B.LEFT_BIG_TOE, B.RIGHT_HEEL, B.RIGHT_BIG_TOE): 1.0}),
)
KNUCKLES = (B.LEFT_THUMB, B.LEFT_INDEX, B.LEFT_PINKY, B.RIGHT_THUMB, B.RIGHT_INDEX, B.RIGHT_PINKY)

SHOULDER_TO_ANKLE_PER_HEIGHT = 0.78
"""Length along the bones (Winter, Biomechanics and Motor Control of Human Movement, fig. 4.1: 0.818 − 0.039)."""
HIP_SIGMA_FACTOR = 3.0
"""Hips are marked by guess, nearer to or farther from the skin than the joints' centres, and alike in all frames."""
HAND_SIGMA_FACTOR = 1.5
"""Knuckles are that much less certain than other landmarks: a few pixels wide, and often blurred."""
MIN_VISIBILITY = 0.05
"""Visibility that a hidden landmark counts as having: the network's guess is near in the plane of the picture."""
MIN_DEPTH_VISIBILITY = 2 * MIN_VISIBILITY
ANGULAR_ACCELERATION_SIGMA_DEG = 2.0
"""Second difference per frame of a joint's rotation that is ordinary at any frame rate: the scatter of landmarks makes it."""
TURNING_LEVER_M = 1.0
"""A hand that leaves uniform motion is turned about the trunk, at this distance with the arms outstretched."""
STROKE_GAIN = 3.0
"""What the smoothing of landmarks takes from the second differences of a stroke that lasts four frames."""
DEPTH_ACCELERATION_SHARE = 0.5
"""In depth the picture says nothing, so motion is kept calmer by this factor."""

MEDIAN_FRAMES = 5
"""Length of the running median that keeps single wild landmarks from moving a foot or parting two hands."""
MIN_REST_S = 0.3
"""A foot at rest stays for this long; a running foot is on the floor for 0.1 to 0.2 s."""
MAX_REST_MOTION_PER_HEIGHT = 0.025
"""It moves by less than this share of body height meanwhile: the scatter of the landmarks."""
MAX_JOINED_GAP_PER_HEIGHT = 0.13
"""Hands on one grip are closer than this share of body height in the picture: 0.2 m on an adult."""
MAX_JOINED_PAUSE_S = 0.3
"""Blur parts the landmarks of joined hands for a few frames."""
HIDDEN_WRIST_VISIBILITY = 0.3
"""Of two hands on one grip one may be hidden; a wrist less visible than this is one, and its place is a guess."""
MIN_JOINED_S = 0.5
"""Hands that only pass each other are close for less."""
MIN_JOINED_TRAVEL_PER_HEIGHT = 0.25
"""Joined hands move together by this share of body height; folded hands rest."""


@dataclass(frozen=True)
class BodyLandmarks:
    """A LandmarkTrack in Body29 order; keypoints that BlazePose does not mark are NaN with visibility 0."""

    points_px: Float[np.ndarray, "t 29 2"]
    world_m: Float[np.ndarray, "t 29 3"]
    visibility: Float[np.ndarray, "t 29"]

    @staticmethod
    def from_track(track: LandmarkTrack) -> "BodyLandmarks":
        T, names = len(track.points_px), joint_names("body29")
        points = np.full((T, len(B), 2), np.nan)
        world, visibility = np.full((T, len(B), 3), np.nan), np.zeros((T, len(B)))
        for k, name in enumerate(names):
            if name.upper() in Blazepose33.__members__:
                z = Blazepose33[name.upper()]
                points[:, k] = track.points_px[:, z]
                world[:, k], visibility[:, k] = track.world_m[:, z], track.visibility[:, z]
        return BodyLandmarks(points, world, visibility)

    def rows(self, rows: Int[np.ndarray, " n"]) -> "BodyLandmarks":
        """Some rows of the track."""
        return BodyLandmarks(self.points_px[rows], self.world_m[rows], self.visibility[rows])

    def in_camera_axes(self, camera: Camera) -> "BodyLandmarks":
        """The same with ``world_m`` in camera axes.

        BlazePose sees each person in a crop, as if the camera looked straight at them; its axes are those of the ray through the hips,
        which differ from the camera's by up to half the field of view.
        """
        hips = self.points_px[:, list(BODY_PARTS.hips)].mean(1)
        ray = np.concatenate([(hips - [camera.cx_px, camera.cy_px]) / camera.focal_px, np.ones((len(hips), 1))], axis=-1)
        rotation = rotation_between(np.broadcast_to([0.0, 0.0, 1.0], ray.shape), ray)
        return dataclasses.replace(self, world_m=np.einsum("tab,tkb->tka", rotation, self.world_m))

    @property
    def height_px(self) -> float:
        """The person's height in the picture, from the lengths of trunk and legs.

        A limb that points at the camera looks short, so the 90th percentile of the clip counts.
        """
        p = self.points_px

        def length(*chain: B) -> np.ndarray:
            return np.sum([np.linalg.norm(p[:, a] - p[:, b], axis=-1) for a, b in itertools.pairwise(chain)], axis=0)

        left = length(B.LEFT_SHOULDER, B.LEFT_HIP, B.LEFT_KNEE, B.LEFT_ANKLE)
        right = length(B.RIGHT_SHOULDER, B.RIGHT_HIP, B.RIGHT_KNEE, B.RIGHT_ANKLE)
        return float(np.nanpercentile(np.maximum(left, right), 90) / SHOULDER_TO_ANKLE_PER_HEIGHT)


def build_observations(
    landmarks: BodyLandmarks,
    frame_index: Int[np.ndarray, " t"],
    clip: Clip,
    depth_m: Float[np.ndarray, " t"],
    focal_px: float,
    settings: FitSettings,
    steady_px: Float[np.ndarray, "t 29 3"] | None = None,
) -> Observations:
    """Observations of one person. ``depth_m`` is the person's distance, which turns motion in the picture into metres.

    Where the camera turns, ``steady_px`` are the landmarks' rays in axes that stay, at the picture's scale: motion is read from them.
    """
    height = landmarks.height_px
    is_known = np.isfinite(landmarks.points_px).all(-1)
    sigma = settings.landmark_sigma_per_height * height / np.sqrt(np.clip(landmarks.visibility, MIN_VISIBILITY, 1))
    sigma[:, KNUCKLES] *= HAND_SIGMA_FACTOR
    sigma[:, list(BODY_PARTS.hips)] *= HIP_SIGMA_FACTOR
    depth_sigma = settings.depth_sigma_m / np.sqrt(np.clip(landmarks.visibility, MIN_DEPTH_VISIBILITY, 1))
    times = clip.times_s[frame_index] * clip.time_scale
    p = landmarks.points_px if steady_px is None else steady_px
    is_hidden = landmarks.visibility[:, [B.LEFT_WRIST, B.RIGHT_WRIST]].min(1) < HIDDEN_WRIST_VISIBILITY
    foot_contact, joined = np.zeros((len(p), 2)), np.zeros(len(p))
    acceleration_sigma_m = np.zeros((len(p), len(B), 3))
    for rows in shot_rows(clip, frame_index):  # What moves from one shot to the next does not move.
        for side, (heel, toe) in enumerate(((B.LEFT_HEEL, B.LEFT_BIG_TOE), (B.RIGHT_HEEL, B.RIGHT_BIG_TOE))):
            foot_contact[rows, side] = foot_at_rest(p[rows, heel], times[rows], height) & foot_at_rest(p[rows, toe], times[rows], height)
        acceleration_sigma_m[rows] = acceleration_sigma(p[rows], times[rows], depth_m[rows] / focal_px, settings.acceleration_m_s2)
        joined[rows] = hands_joined(p[rows, B.LEFT_WRIST], p[rows, B.RIGHT_WRIST], times[rows], height, is_hidden[rows])
    return Observations(
        points_px=landmarks.points_px,
        sigma_px=np.where(is_known, sigma, np.inf),
        depth_m=landmarks.world_m[..., 2] - landmarks.world_m[:, list(BODY_PARTS.hips), 2].mean(1, keepdims=True),
        depth_sigma_m=np.where(is_known, depth_sigma, np.inf),
        acceleration_sigma_m=acceleration_sigma_m,
        angular_acceleration_sigma_rad=np.hypot(
            np.radians(ANGULAR_ACCELERATION_SIGMA_DEG), acceleration_sigma_m.max((1, 2)) / TURNING_LEVER_M
        ),
        is_consecutive=(np.diff(frame_index) == 1) & (np.diff(clip.stretch_index[frame_index]) == 0),
        hands_joined=joined,
        foot_contact=foot_contact,
    )


def steady_rays_px(
    points_px: Float[np.ndarray, "t k 2"], R_reference_camera: Float[np.ndarray, "t 3 3"], camera: Camera
) -> Float[np.ndarray, "t k 3"]:
    """Unit rays to points of the picture in axes that stay, times the focal length: they move as the points would in a steady picture."""
    off = points_px - [camera.cx_px, camera.cy_px]
    ray = np.concatenate([off, np.full((*off.shape[:-1], 1), camera.focal_px)], axis=-1)
    ray *= camera.focal_px / np.linalg.norm(ray, axis=-1, keepdims=True)
    return np.einsum("tab,tkb->tka", R_reference_camera, ray)


def shot_rows(clip: Clip, frame_index: Int[np.ndarray, " t"]) -> list[Int[np.ndarray, " rows"]]:
    """The rows of a track that lie in each shot of the clip."""
    begins = np.flatnonzero(np.diff(clip.shot_index[frame_index])) + 1
    return np.split(np.arange(len(frame_index)), begins)


def select_rows(observations: Observations, rows: Int[np.ndarray, " n"]) -> Observations:
    """The observations of some frames, given by rising ``rows``."""
    fields = (
        "points_px",
        "sigma_px",
        "depth_m",
        "depth_sigma_m",
        "acceleration_sigma_m",
        "angular_acceleration_sigma_rad",
        "hands_joined",
        "foot_contact",
    )
    breaks = np.concatenate([[0], np.cumsum(~observations.is_consecutive)])
    is_consecutive = (np.diff(rows) == 1) & (np.diff(breaks[rows]) == 0)
    palms = observations.palms and Palms(observations.palms.directions[rows], observations.palms.weight[rows])
    parts = {f: getattr(observations, f)[rows] for f in fields}
    floor_m = np.broadcast_to(observations.floor_m, len(observations.points_px))[rows]
    if observations.R_reference_camera is not None:
        parts |= {"down": observations.down[rows], "R_reference_camera": observations.R_reference_camera[rows]}
        parts |= {"camera_m": None if observations.camera_m is None else observations.camera_m[rows]}
    return dataclasses.replace(observations, is_consecutive=is_consecutive, palms=palms, floor_m=floor_m, **parts)


def acceleration_sigma(points_px: np.ndarray, times_s: np.ndarray, m_per_px: np.ndarray, acceleration_m_s2: float) -> np.ndarray:
    """How far each keypoint may leave uniform motion from frame to frame (T, K, 3), metres: what is ordinary for people and, where the
    picture itself shows more, that much."""
    T, K = points_px.shape[:2]
    dt = float(np.median(np.diff(times_s))) if T > 1 else 1.0
    ordinary = acceleration_m_s2 * dt**2
    sigma = np.full((T, K), ordinary)
    if T >= 5:
        smooth = gaussian_filter1d(np.nan_to_num(points_px), 1.0, axis=0)
        second = np.zeros((T, K))
        second[1:-1] = np.linalg.norm(np.diff(smooth, 2, axis=0), axis=-1)
        observed = maximum_filter1d(gaussian_filter1d(second, 1.0, axis=0), 3, axis=0)
        # Beyond what is usual for the keypoint, its scatter among it, is a stroke, which smoothing has flattened.
        stroke = STROKE_GAIN * (observed - np.median(observed, axis=0))
        observed = np.maximum(observed, stroke) * m_per_px[:, None]
        sigma = np.hypot(sigma, observed)
    return np.stack([sigma, sigma, DEPTH_ACCELERATION_SHARE * sigma], -1)


def foot_at_rest(points_px: Float[np.ndarray, "t d"], times_s: Float[np.ndarray, " t"], height_px: float) -> Bool[np.ndarray, " t"]:
    """On which frames a point of a foot rests: where it hardly moves within ``MIN_REST_S``.

    ``times_s`` are real seconds (slow motion already undone). A track shorter than three frames never rests.
    """
    if len(points_px) < 3:
        return np.zeros(len(points_px), bool)
    return _motion_within(_running_median(points_px), times_s, MIN_REST_S) < MAX_REST_MOTION_PER_HEIGHT * height_px


def hands_joined(
    left_px: Float[np.ndarray, "t d"],
    right_px: Float[np.ndarray, "t d"],
    times_s: Float[np.ndarray, " t"],
    height_px: float,
    is_hidden: Bool[np.ndarray, " t"] | None = None,
) -> Bool[np.ndarray, " t"]:
    """On which frames two hands hold one thing: where they stay close for ``MIN_JOINED_S`` and travel together meanwhile.

    Hands that pass each other do not, and folded hands at rest do not travel. Where one of them ``is_hidden`` for no longer than
    ``MAX_JOINED_PAUSE_S``, and both are close before and after, they hold it throughout.
    """
    T = len(left_px)
    if T < 3:
        return np.zeros(T, bool)
    left, right = _running_median(left_px), _running_median(right_px)
    is_close = np.linalg.norm(left - right, axis=-1) < MAX_JOINED_GAP_PER_HEIGHT * height_px
    joined = np.zeros(T, bool)
    middle = (left + right) / 2
    for first, stop in _runs(is_close, times_s, MAX_JOINED_PAUSE_S):
        is_long = times_s[stop - 1] - times_s[first] >= MIN_JOINED_S
        travel = np.linalg.norm(np.ptp(middle[first:stop], axis=0))
        if is_long and travel >= MIN_JOINED_TRAVEL_PER_HEIGHT * height_px:
            joined[first:stop] = is_close[first:stop] if is_hidden is None else is_close[first:stop] | is_hidden[first:stop]
    return joined


def _running_median(points_px: np.ndarray) -> np.ndarray:
    return median_filter(points_px, size=(MEDIAN_FRAMES, 1), mode="nearest")


def _motion_within(points_px: np.ndarray, times_s: np.ndarray, window_s: float) -> np.ndarray:
    """How far (T,) each point moves between ``window_s``/2 before and after each frame, interpolated in time."""
    half = window_s / 2
    start, stop = times_s[0], times_s[-1]
    before, after = np.clip(times_s - half, start, stop), np.clip(times_s + half, start, stop)
    moved = [np.interp(after, times_s, points_px[:, a]) - np.interp(before, times_s, points_px[:, a]) for a in range(points_px.shape[1])]
    span = np.maximum(after - before, 1e-9)
    return functools.reduce(np.hypot, moved) * window_s / span


def _runs(flags: np.ndarray, times_s: np.ndarray, max_pause_s: float) -> list[tuple[int, int]]:
    """Half-open ranges of rows in which ``flags`` hold, with pauses up to ``max_pause_s`` bridged."""
    rows = np.flatnonzero(flags)
    if len(rows) == 0:
        return []
    breaks = np.flatnonzero((np.diff(rows) > 1) & (np.diff(times_s[rows]) > max_pause_s))
    firsts = np.concatenate([[rows[0]], rows[breaks + 1]])
    lasts = np.concatenate([rows[breaks], [rows[-1]]])
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]
