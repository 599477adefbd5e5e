"""Which way is down, from the picture's own verticals: walls, posts, windows and doors, whose lines meet where gravity points.

Line segments (von Gioi et al. 2012, "LSD: a Line Segment Detector") that stand nearly upright in the picture vote for the direction that
all of them would share in space: the plane through the camera and a segment holds it (Barnard 1983, "Interpreting perspective images").
The vote is a posterior over pitch and roll on a grid, whose prior is how people hold cameras; so its spread is wide where there are few
lines, and where they stand close together or agree on no direction.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from body4d.core.types import LEVEL_SIGMA_DEG, Camera

SIDE_PX = 960
"""Longer side to which frames are shrunk."""
MIN_LENGTH_SHARE = 0.04
"""Shorter segments, as a share of the longer side, point anywhere."""
FULL_WEIGHT, FULL_WEIGHT_SHARE = 0.5, 0.12
"""A segment of this length, as a share of the longer side, counts as half a witness, as a post has two edges; a shorter one as less."""
MAX_SLANT_DEG = 35.0
"""Segments that slant more in the picture are no verticals of a camera held upright."""
ANGLE_SIGMA_DEG = 0.6
"""How far a vertical of a building, as LSD finds it, is off: warped boards, lens distortion."""
END_SIGMA_PX = 0.7
"""Error of a segment's ends in the shrunken picture, which turns a short one by more."""
INLIER_SHARE = 0.4
"""Share of nearly upright segments that are verticals; the rest may lie anywhere in the range that MAX_SLANT_DEG allows."""
PITCH_PRIOR_DEG = (-5.0, LEVEL_SIGMA_DEG[0])
"""Mean and standard deviation of a camera's pitch, negative where it looks down: a phone at breast height films a whole person."""
ROLL_PRIOR_DEG = (0.0, LEVEL_SIGMA_DEG[1])
MAX_PITCH_DEG, MAX_ROLL_DEG, STEP_DEG = 50.0, 15.0, 0.5
MIN_SIGMA_DEG = (2.5, 1.0)
"""Pitch and roll are not known better however many lines agree: edges that lead away from the camera pass for verticals, and the principal
point and the focal length are not exact."""
FOCAL_SIGMA_SHARE = 0.1
"""A focal length that was assumed errs by so much, and with it the tangent of the pitch."""


@dataclass(frozen=True)
class GravityEstimate:
    """The direction of gravity in camera axes, as a unit vector, with standard deviations of pitch and roll in degrees.

    ``num_lines`` is the weight of the segments that agree, in whole witnesses.
    """

    down: tuple[float, float, float]
    sigma_deg: tuple[float, float]
    num_lines: float


def upright_segments(rgb: UInt8[np.ndarray, "h w 3"], people: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "n 4"]:
    """Ends (x0, y0, x1, y1), in the picture's pixels, of nearly upright segments that do not touch the ``people``."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    if found is None:
        return np.zeros((0, 4))
    segments = found.reshape(-1, 4).astype(np.float64) / scale  # (n, 1, 4) before OpenCV 5
    across, along = np.abs(segments[:, 2] - segments[:, 0]), np.abs(segments[:, 3] - segments[:, 1])
    keep = (np.hypot(across, along) > MIN_LENGTH_SHARE * max(height, width)) & (across < np.tan(np.radians(MAX_SLANT_DEG)) * along)
    for share in (0.1, 0.5, 0.9):
        at = ((1 - share) * segments[:, :2] + share * segments[:, 2:]).astype(int).clip(0, [width - 1, height - 1])
        keep &= ~people[at[:, 1], at[:, 0]]
    return segments[keep]


def witness_weights(segments: Float[np.ndarray, "n 4"], side_px: int) -> Float[np.ndarray, " n"]:
    """How much of a witness each segment is, of a frame ``side_px`` on its longer side: at most ``FULL_WEIGHT``."""
    return FULL_WEIGHT * np.minimum(_lengths(segments) / (FULL_WEIGHT_SHARE * side_px), 1)


def gravity_from_segments(
    segments: Float[np.ndarray, "n 4"], weights: Float[np.ndarray, " n"], camera: Camera, frames: Int[np.ndarray, " n"] | None = None
) -> GravityEstimate:
    """Mean and spread of the posterior over pitch and roll. ``weights`` say how many witnesses each segment is, and ``frames`` which frame
    showed it: of a camera with a path, gravity is in the axes of the first."""
    pitch, roll = np.meshgrid(
        np.arange(-MAX_PITCH_DEG, MAX_PITCH_DEG + STEP_DEG, STEP_DEG),
        np.arange(-MAX_ROLL_DEG, MAX_ROLL_DEG + STEP_DEG, STEP_DEG),
        indexing="ij",
    )
    log_posterior = -0.5 * (
        ((pitch - PITCH_PRIOR_DEG[0]) / PITCH_PRIOR_DEG[1]) ** 2 + ((roll - ROLL_PRIOR_DEG[0]) / ROLL_PRIOR_DEG[1]) ** 2
    )
    directions = down_vector(pitch, roll)
    normals, sigma = _segment_planes(segments, camera, np.zeros(len(segments), int) if frames is None else frames)
    num_lines = 0.0
    for normal, s, weight in zip(normals, sigma, weights, strict=True):
        log_posterior += weight * np.log(_likelihood(np.arcsin(np.clip(directions @ normal, -1, 1)), s))
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()
    mean = np.array([(posterior * pitch).sum(), (posterior * roll).sum()])
    spread = np.sqrt([(posterior * (pitch - mean[0]) ** 2).sum(), (posterior * (roll - mean[1]) ** 2).sum()])
    down = down_vector(*mean)
    if len(normals):
        off = np.arcsin(np.clip(normals @ down, -1, 1))
        inlier = INLIER_SHARE * _gaussian(off, sigma)
        num_lines = float((weights * inlier / (inlier + _outlier())).sum())
    focal = 0.0 if camera.source != "default" else FOCAL_SIGMA_SHARE
    focal_deg = np.degrees(focal * abs(np.sin(2 * np.radians(mean[0])))) / 2
    sigma = float(np.sqrt(spread[0] ** 2 + MIN_SIGMA_DEG[0] ** 2 + focal_deg**2)), float(np.hypot(spread[1], MIN_SIGMA_DEG[1]))
    return GravityEstimate((float(down[0]), float(down[1]), float(down[2])), sigma, num_lines)


def down_vector(pitch_deg: Float[np.ndarray, "*n"] | float, roll_deg: Float[np.ndarray, "*n"] | float) -> Float[np.ndarray, "*n 3"]:
    """Gravity in camera axes: pitch is negative where the camera looks down, roll positive where things fall to the right."""
    pitch, roll = np.radians(pitch_deg), np.radians(roll_deg)
    return np.stack([np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch), -np.sin(pitch) * np.ones_like(roll)], axis=-1)


def _segment_planes(segments: np.ndarray, camera: Camera, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (N, 3) of the planes through the camera and each segment, in reference axes, and the standard deviations (N,) of their
    angles."""
    focal_px = camera.focal_px_at(frames)[:, None, None]
    ends = np.concatenate([(segments.reshape(-1, 2, 2) - [camera.cx_px, camera.cy_px]) / focal_px, np.ones((len(segments), 2, 1))], axis=2)
    if camera.path is not None:
        ends = ends @ camera.path.T_reference_camera[frames, :3, :3].swapaxes(1, 2)
    normals = np.cross(ends[:, 0], ends[:, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shrunken = _lengths(segments) * min(1.0, SIDE_PX / max(camera.width_px, camera.height_px))
    return normals, np.hypot(np.radians(ANGLE_SIGMA_DEG), END_SIGMA_PX * np.sqrt(2) / np.maximum(shrunken, 1))


def _likelihood(off: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return INLIER_SHARE * _gaussian(off, sigma) + _outlier()


def _gaussian(off: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (off / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def _outlier() -> float:
    return (1 - INLIER_SHARE) / (2 * np.radians(MAX_SLANT_DEG))


def _lengths(segments: np.ndarray) -> np.ndarray:
    return np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])
