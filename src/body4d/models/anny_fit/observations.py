"""From what BlazePose saw to what the pose solver weighs: landmarks by name, each with its standard deviation."""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from body4d.config import ContactSettings, FitSettings
from body4d.core.joints import Blazepose33, joint_names
from body4d.core.joints import Body29 as B
from body4d.core.types import Camera, Clip, LandmarkTrack
from body4d.geometry.rotations import rotation_between
from body4d.models.anny_fit.contact import holding, resting
from body4d.models.anny_fit.types import Evidence, Parts

PARTS = Parts(
    hands=((B.LEFT_INDEX, B.LEFT_PINKY), (B.RIGHT_INDEX, B.RIGHT_PINKY)),
    feet=((B.LEFT_HEEL, B.LEFT_BIG_TOE), (B.RIGHT_HEEL, B.RIGHT_BIG_TOE)),
    hips=(B.LEFT_HIP, B.RIGHT_HIP),
    shoulders=(B.LEFT_SHOULDER, B.RIGHT_SHOULDER),
    arms=(B.LEFT_ELBOW, B.RIGHT_ELBOW, B.LEFT_WRIST, B.RIGHT_WRIST),
    apart=(
        (B.LEFT_ANKLE, B.RIGHT_ANKLE),
        (B.LEFT_HEEL, B.RIGHT_HEEL),
        (B.LEFT_BIG_TOE, B.RIGHT_BIG_TOE),
        (B.LEFT_KNEE, B.RIGHT_KNEE),
    ),
)
KNUCKLES = (B.LEFT_THUMB, B.LEFT_INDEX, B.LEFT_PINKY, B.RIGHT_THUMB, B.RIGHT_INDEX, B.RIGHT_PINKY)


@dataclass(frozen=True)
class Seen:
    """A LandmarkTrack in Body29 order; what BlazePose does not mark is NaN with visibility 0. Shapes as in LandmarkTrack."""

    points_px: np.ndarray
    world_m: np.ndarray
    visibility: np.ndarray

    @staticmethod
    def of(track: LandmarkTrack) -> "Seen":
        T, names = len(track.points_px), joint_names("body29")
        points = np.full((T, len(B), 2), np.nan)
        world, visibility = np.full((T, len(B), 3), np.nan), np.zeros((T, len(B)))
        for k, name in enumerate(names):
            if name.upper() in Blazepose33.__members__:
                z = Blazepose33[name.upper()]
                points[:, k] = track.points_px[:, z]
                world[:, k], visibility[:, k] = track.world_m[:, z], track.visibility[:, z]
        return Seen(points, world, visibility)

    def turned_to(self, camera: Camera) -> "Seen":
        """``world_m`` in camera axes. BlazePose sees each person in a crop, as if the camera looked straight at them; its axes are
        those of the ray through the hips, which differ by up to half the field of view."""
        hips = self.points_px[:, list(PARTS.hips)].mean(1)
        ray = np.concatenate([(hips - [camera.cx_px, camera.cy_px]) / camera.focal_px, np.ones((len(hips), 1))], axis=-1)
        turn = rotation_between(np.broadcast_to([0.0, 0.0, 1.0], ray.shape), ray)
        return dataclasses.replace(self, world_m=np.einsum("tab,tkb->tka", turn, self.world_m))

    @property
    def height_px(self) -> float:
        """The person's size in the picture: the length of trunk and legs as drawn, with head and feet added by their usual share.

        A limb pointing at the camera looks short, so the upper part of the clip's distribution is what counts.
        """
        p = self.points_px

        def length(*chain: B) -> np.ndarray:
            return np.sum([np.linalg.norm(p[:, a] - p[:, b], axis=-1) for a, b in itertools.pairwise(chain)], axis=0)

        left = length(B.LEFT_SHOULDER, B.LEFT_HIP, B.LEFT_KNEE, B.LEFT_ANKLE)
        right = length(B.RIGHT_SHOULDER, B.RIGHT_HIP, B.RIGHT_KNEE, B.RIGHT_ANKLE)
        # Shoulder to ankle along the bones is 0.78 of standing height (Winter, Biomechanics, fig. 4.1: 0.818 - 0.039).
        return float(np.nanpercentile(np.maximum(left, right), 90) / 0.78)


def gather(
    seen: Seen, frame_index: np.ndarray, clip: Clip, depth_m: np.ndarray, focal_px: float, fit: FitSettings, contact: ContactSettings
) -> Evidence:
    """Evidence of one person. ``depth_m`` (T,) is the person's distance, to turn motion in the picture into metres."""
    height = seen.height_px
    known = np.isfinite(seen.points_px).all(-1)
    scatter = fit.landmark_sigma_of_height * height / np.sqrt(np.clip(seen.visibility, fit.least_visibility, 1))
    scatter[:, KNUCKLES] *= fit.hand_sigma_factor
    depth_sigma = fit.depth_sigma_m / np.sqrt(np.clip(seen.visibility, 2 * fit.least_visibility, 1))
    times = clip.times_s[frame_index] * clip.time_scale
    rows = np.diff(frame_index) == 1
    p = seen.points_px
    planted = [
        resting(p[:, heel], times, height, contact) & resting(p[:, toe], times, height, contact)
        for heel, toe in ((B.LEFT_HEEL, B.LEFT_BIG_TOE), (B.RIGHT_HEEL, B.RIGHT_BIG_TOE))
    ]
    return Evidence(
        points_px=p,
        sigma_px=np.where(known, scatter, np.inf),
        depth_m=seen.world_m[..., 2] - seen.world_m[:, list(PARTS.hips), 2].mean(1, keepdims=True),
        depth_sigma_m=np.where(known, depth_sigma, np.inf),
        acceleration_sigma_m=_acceleration_sigma(p, times, depth_m / focal_px, fit),
        consecutive=rows,
        held=holding(p[:, B.LEFT_WRIST], p[:, B.RIGHT_WRIST], times, height, contact).astype(float),
        planted=np.stack(planted, -1).astype(float),
    )


def _acceleration_sigma(points_px: np.ndarray, times_s: np.ndarray, m_per_px: np.ndarray, fit: FitSettings) -> np.ndarray:
    """How much each keypoint may leave uniform motion from frame to frame (T, K, 3), metres: what people do ordinarily, and where
    the picture itself shows more, that much. In depth, where no picture speaks, half as much."""
    T, K = points_px.shape[:2]
    dt = float(np.median(np.diff(times_s))) if T > 1 else 1.0
    usual = fit.acceleration_mps2 * dt**2
    sigma = np.full((T, K), usual)
    if T >= 5:
        calm = gaussian_filter1d(np.nan_to_num(points_px), 1.0, axis=0)
        second = np.zeros((T, K))
        second[1:-1] = np.linalg.norm(np.diff(calm, 2, axis=0), axis=-1)
        shown = maximum_filter1d(gaussian_filter1d(second, 1.0, axis=0), 3, axis=0) * m_per_px[:, None]
        sigma = np.hypot(sigma, shown)
    return np.stack([sigma, sigma, fit.depth_acceleration_share * sigma], -1)


def rows_of(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """The evidence of some frames, ``rows`` rising; neighbours in time stay marked as such."""
    fields = ("points_px", "sigma_px", "depth_m", "depth_sigma_m", "acceleration_sigma_m", "held", "planted")
    joined = np.concatenate([[0], np.cumsum(~evidence.consecutive)])
    neighbours = (np.diff(rows) == 1) & (np.diff(joined[rows]) == 0)
    return dataclasses.replace(evidence, consecutive=neighbours, **{f: getattr(evidence, f)[rows] for f in fields})
