"""What hand landmarks say of a body: which way its palms face, where its knuckles are, and how its fingers bend. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from body4d.bodies.anny import FINGER_CHAINS, finger_flexion
from body4d.core.joints import Body29 as B
from body4d.core.joints import Hand21 as H
from body4d.core.types import Camera, HandTrack
from body4d.geometry.rotations import rotation_between
from body4d.models.anny_fit.observations import BodyLandmarks
from body4d.models.anny_fit.types import Palms

LANDMARK_SIGMA_PER_PALM = 0.1
"""Standard deviation of a hand landmark in the picture, as a share of the palm's length (Zhang et al. 2020, "MediaPipe Hands", table 2)."""
CONFIRMED_WITHIN_S = 0.1
"""A hand is trusted in the share of the frames within this time before and after in which it is seen too: one that flashes up is none."""
LANDMARK_SIGMA_PX = 1.5
"""The same of hands so small that the picture's own pixels and blur decide."""
_KNUCKLES = (
    (H.THUMB_MCP, B.LEFT_THUMB, B.RIGHT_THUMB),
    (H.INDEX_MCP, B.LEFT_INDEX, B.RIGHT_INDEX),
    (H.PINKY_MCP, B.LEFT_PINKY, B.RIGHT_PINKY),
)
_WRISTS = [B.LEFT_WRIST, B.RIGHT_WRIST]


@dataclass(frozen=True)
class SeenHands:
    """Both hands of a person on each frame, left before right, in camera axes.

    Attributes:
        points_px: Hand21 landmarks; NaN where a hand is not seen.
        world_m: Metric landmarks about the middle of each hand; NaN likewise.
        weight: How far each is to be trusted, in [0, 1]; 0 where it is not seen.
    """

    points_px: Float[np.ndarray, "t 2 21 2"]
    world_m: Float[np.ndarray, "t 2 21 3"]
    weight: Float[np.ndarray, "t 2"]

    @property
    def palms(self) -> Palms:
        """Which way the palms face."""
        w = self.world_m
        along = (w[..., H.INDEX_MCP, :] + w[..., H.PINKY_MCP, :]) / 2 - w[..., H.WRIST, :]
        across = w[..., H.INDEX_MCP, :] - w[..., H.PINKY_MCP, :]
        directions = np.stack([along, across], -2)
        directions = directions / np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-9)
        return Palms(np.nan_to_num(directions), self.weight)

    @property
    def flexion(self) -> Float[np.ndarray, "t 2 5 3"]:
        """Flexion of each finger's three joints in radians, 0 where all lie in one line; 0 too where a hand is not seen."""
        chains = np.nan_to_num(self.world_m)[:, :, FINGER_CHAINS]
        return np.stack([finger_flexion(chains[:, side], is_right=side == 1) for side in range(2)], axis=1)

    def knuckles(self) -> tuple[Float[np.ndarray, "t 29 2"], Float[np.ndarray, "t 29"]]:
        """Where the knuckles of Body29 are in the picture, and their standard deviations; infinite where they are not seen."""
        T = len(self.weight)
        points, sigma = np.full((T, len(B), 2), np.nan), np.full((T, len(B)), np.inf)
        palm_px = _palm_px(self.points_px, self.world_m)
        is_seen = self.weight > 0
        for landmark, *keypoints in _KNUCKLES:
            for side, keypoint in enumerate(keypoints):
                seen = is_seen[:, side]
                points[seen, keypoint] = self.points_px[seen, side, landmark]
                sigma[seen, keypoint] = LANDMARK_SIGMA_PER_PALM * palm_px[seen, side] / np.sqrt(self.weight[seen, side])
        return points, sigma


def seen_hands(track: HandTrack, raw: BodyLandmarks, settled: BodyLandmarks, times_s: Float[np.ndarray, " t"], camera: Camera) -> SeenHands:
    """The hands of a person whose body's ``raw`` landmarks were ``settled``: each goes with its wrist. ``times_s`` are the clip's own.

    A hand whose wrist was left out is left out. The shape of a hand that is rather one of the other side is read wrong (its back taken for
    its palm), so it weighs nothing. One that may be of either side weighs little, as does one of few pixels or seen for a moment alone.
    """
    rows = np.arange(len(track.score))
    order = np.full((len(rows), 2), -1)
    for side, wrist in enumerate(_WRISTS):
        for other in (1 - side, side):
            order[np.all(settled.points_px[:, wrist] == raw.points_px[:, _WRISTS[other]], axis=-1), side] = other
    at = rows[:, None], np.maximum(order, 0)
    score = np.where(order >= 0, track.score[at], 0).astype(np.float64)
    right = np.nan_to_num(track.right_probability[at], nan=0.5)
    belongs = np.stack([1 - right[:, 0], right[:, 1]], axis=1)
    weight = score * np.clip(2 * belongs - 1, 0, 1) * _share_around(score > 0, times_s)
    share = LANDMARK_SIGMA_PX / (LANDMARK_SIGMA_PER_PALM * np.maximum(_palm_px(track.points_px[at], track.world_m[at]), 1e-6))
    weight = weight / (1 + np.where(weight > 0, share, 0) ** 2)
    points = np.where(weight[..., None, None] > 0, track.points_px[at], np.nan).astype(np.float64)
    # As in ``BodyLandmarks.in_camera_axes``: each hand is seen in a crop, as if the camera looked straight at it.
    middle = np.nan_to_num(points[..., H.MIDDLE_MCP, :])
    ray = np.concatenate([(middle - [camera.cx_px, camera.cy_px]) / camera.focal_px, np.ones((*middle.shape[:-1], 1))], axis=-1)
    turn = rotation_between(np.broadcast_to([0.0, 0.0, 1.0], ray.shape), ray)
    world = np.where(weight[..., None, None] > 0, track.world_m[at], np.nan).astype(np.float64)
    return SeenHands(points, np.einsum("tsab,tskb->tska", turn, world), weight)


def _palm_px(points_px: Float[np.ndarray, "*t 21 2"], world_m: Float[np.ndarray, "*t 21 3"]) -> Float[np.ndarray, "*t"]:
    """Length of the palm at the picture's scale, however it is foreshortened."""
    spread_px, spread_m = (np.sqrt(np.square(p - p.mean(-2, keepdims=True)).sum((-2, -1))) for p in (points_px, world_m[..., :2]))
    palm_m = np.linalg.norm(world_m[..., H.MIDDLE_MCP, :] - world_m[..., H.WRIST, :], axis=-1)
    return palm_m * spread_px / np.maximum(spread_m, 1e-6)


def _share_around(is_seen: Bool[np.ndarray, "t 2"], times_s: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
    """The share of frames within ``CONFIRMED_WITHIN_S`` in which each hand is seen."""
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(is_seen, axis=0)])
    first = np.searchsorted(times_s, times_s - CONFIRMED_WITHIN_S)
    stop = np.searchsorted(times_s, times_s + CONFIRMED_WITHIN_S, side="right")
    return (sums[stop] - sums[first]) / (stop - first)[:, None]
