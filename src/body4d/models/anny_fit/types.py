"""What a fit is given and what it gives: poses, what was seen, and where outlines draw the body. Frozen; plain arrays."""

from dataclasses import dataclass, field

import numpy as np

from body4d.models.anny_fit.kinematic_chain import PointSet


@dataclass(frozen=True)
class Pose:
    """Local rotations (T, D, 3, 3) of a chain's joints and root positions (T, 3), metres, camera axes."""

    local: np.ndarray
    translation_m: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What was seen of one person, row for row (T frames, K keypoints of the point set).

    ``points_px`` (T, K, 2), ``sigma_px`` (T, K) their standard deviation (inf: not seen). ``depth_m`` (T, K) depth behind the
    middle of the hips, ``depth_sigma_m`` (T, K). ``acceleration_sigma_m`` (T, K, 3) how much a joint may deviate from uniform motion
    between frames, per axis. ``consecutive`` (T-1,) whether rows t and t+1 are neighbouring frames. ``held`` (T,) strength in [0, 1] with
    which the two hands are known to hold one thing. ``planted`` (T, 2) the same for the left and right foot resting on the floor,
    which lies ``floor_m`` from the camera (NaN: not known) along ``down`` (3,), the direction of gravity in camera axes.
    """

    points_px: np.ndarray
    sigma_px: np.ndarray
    depth_m: np.ndarray
    depth_sigma_m: np.ndarray
    acceleration_sigma_m: np.ndarray
    consecutive: np.ndarray
    held: np.ndarray
    planted: np.ndarray
    floor_m: float = float("nan")
    down: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))


@dataclass(frozen=True)
class Anchors:
    """Surface points drawn to the outline in the picture: ``point`` (T, M) indices into ``surface``, ``target_px`` (T, M, 2),
    ``normal`` (T, M, 2) the direction along which they are drawn, ``sigma_px`` (T, M), inf where there is none."""

    surface: PointSet
    point: np.ndarray
    target_px: np.ndarray
    normal: np.ndarray
    sigma_px: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Which keypoints (indices into the point set) stand for hands, feet and trunk, left before right."""

    hands: tuple[tuple[int, ...], tuple[int, ...]]
    feet: tuple[tuple[int, ...], tuple[int, ...]]
    hips: tuple[int, int]
    shoulders: tuple[int, int]
    arms: tuple[int, ...]
    apart: tuple[tuple[int, int], ...]
