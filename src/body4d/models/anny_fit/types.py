"""What the modules of the fit pass to each other: poses, observations, and where mask outlines pull the body."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.types import LEVEL_SIGMA_DEG
from body4d.models.anny_fit.kinematic_chain import PointSet


@dataclass(frozen=True)
class ChainPose:
    """Poses of a kinematic chain: local rotations of its joints, and positions of its root in camera axes."""

    local: Float[np.ndarray, "t joints 3 3"]
    translation_m: Float[np.ndarray, "t 3"]


@dataclass(frozen=True)
class Palms:
    """Which way the palms of both hands face, left before right.

    Attributes:
        directions: Unit vectors in camera axes: from the wrist to between the knuckles of index and little finger, and from the latter
            to the former; 0 where a hand is not seen.
        weight: How far each hand is to be trusted, in [0, 1]; 0 where it is not seen.
    """

    directions: Float[np.ndarray, "t 2 2 3"]
    weight: Float[np.ndarray, "t 2"]


@dataclass(frozen=True)
class Observations:
    """What is known of one person from the pictures, frame by frame, for the k keypoints of a ``PointSet``.

    Attributes:
        points_px: Landmarks in the picture; NaN where there is none.
        sigma_px: Their standard deviations; infinite where there is no landmark.
        depth_m: Depth of each landmark behind the middle of the hips.
        depth_sigma_m: Standard deviations of the depths.
        acceleration_sigma_m: How far a keypoint may deviate from uniform motion between frames, along each axis.
        angular_acceleration_sigma_rad: How far a joint's rotation may deviate from a uniform turn between frames.
        is_consecutive: Whether rows i and i + 1 are neighbouring frames.
        hands_joined: How surely the two hands hold one thing, in [0, 1].
        foot_contact: How surely the left and the right foot rest on the floor, in [0, 1].
        floor_m: Distance of the floor from the camera along ``down``, of all frames or of each; NaN where it is unknown.
        down: Direction of gravity in camera axes, of all frames or of each where the camera turns.
        pitch_sigma_deg: How far it may be off, about the camera's x axis.
        palms: Which way the palms face; None where no hands were read.
        R_reference_camera: Rotations from each frame's camera axes to axes that stay, where the camera turns; None where it does not.
        camera_m: Positions of a camera that moves, in axes that stay; None where it does not move, or how far is unknown.
    """

    points_px: Float[np.ndarray, "t k 2"]
    sigma_px: Float[np.ndarray, "t k"]
    depth_m: Float[np.ndarray, "t k"]
    depth_sigma_m: Float[np.ndarray, "t k"]
    acceleration_sigma_m: Float[np.ndarray, "t k 3"]
    angular_acceleration_sigma_rad: Float[np.ndarray, " t"]
    is_consecutive: Bool[np.ndarray, " t-1"]
    hands_joined: Float[np.ndarray, " t"]
    foot_contact: Float[np.ndarray, "t 2"]
    floor_m: float | Float[np.ndarray, " t"] = float("nan")
    down: Float[np.ndarray, " 3"] | Float[np.ndarray, "t 3"] = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    pitch_sigma_deg: float = LEVEL_SIGMA_DEG[0]
    palms: Palms | None = None
    R_reference_camera: Float[np.ndarray, "t 3 3"] | None = None
    camera_m: Float[np.ndarray, "t 3"] | None = None


@dataclass(frozen=True)
class SilhouetteMatches:
    """Points of the body's surface matched to points of a mask's outline.

    Attributes:
        surface: Sampled points of the body.
        point_index: Which of them is matched.
        target_px: The point of the outline it is pulled to.
        normal: Normal of the outline, along which alone it is pulled.
        sigma_px: Standard deviation of the match; infinite where there is none.
    """

    surface: PointSet
    point_index: Int[np.ndarray, "t m"]
    target_px: Float[np.ndarray, "t m 2"]
    normal: Float[np.ndarray, "t m 2"]
    sigma_px: Float[np.ndarray, "t m"]


@dataclass(frozen=True)
class BodyParts:
    """Keypoints (indices into the point set) that stand for hands, feet and trunk, left before right.

    ``separate`` are pairs of keypoints that cannot be in one place. ``mass_weights`` and ``feet_weights`` give the centre of mass and the
    middle of the feet as means of the keypoints.
    """

    hands: tuple[tuple[int, ...], tuple[int, ...]]
    feet: tuple[tuple[int, ...], tuple[int, ...]]
    hips: tuple[int, int]
    shoulders: tuple[int, int]
    arms: tuple[int, ...]
    separate: tuple[tuple[int, int], ...]
    mass_weights: Float[np.ndarray, " k"]
    feet_weights: Float[np.ndarray, " k"]
