"""The length of a moving camera's path. Pictures alone give it up to a scale; people's feet, or a network's metric depth, give the scale.

A foot that rests stays where it is in the world. Bodies are metric, as far as the person's height is known: the scale is the one at which,
at every moment, one of somebody's feet rests best. Pure numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from body4d.camera.lens import SIGMA_PER_MAD
from body4d.camera.moving import CornerDepths
from body4d.core.camera import Camera, CameraPath, DepthMap
from body4d.core.errors import RunWarning
from body4d.core.stages import StageOutput
from body4d.core.types import BodyTrack, Clip

SUPPORTS = ("left_heel", "left_big_toe", "right_heel", "right_big_toe", "left_ankle", "right_ankle")
"""Joints one of which rests while somebody stands or walks."""
STEP_S = 0.14
"""Time over which a resting joint is compared with itself: a foot rests for 0.25 s and more while somebody runs, 0.6 s in a walk."""
ACROSS_SIGMA_M, ALONG_SIGMA_M = 0.015, 0.06
"""How far a resting joint seems to move in that time, across the line of sight and along it."""
LOSS_LIMIT = 3.0
"""Misfit, in standard deviations, beyond which nobody's foot rests at that moment, as in a jump."""
MIN_TRAVEL_SHARE = 0.02
"""A camera that moves by less than this share of the background's distance is turned alone where its length is not known."""
RESTLESS_SIGMA = 0.4
"""Standard deviation of the scale, as a share of it, if no foot ever rested; where feet rest half of the time, as in a run, half of it."""
MIN_SIGMA_SHARE = 0.03
"""No scale is better known: feet of a fitted body slide a little wherever they are."""
MIN_MOMENTS = 8
"""Moments with a foot to look at, at least."""
MAX_SIGMA_SHARE = 0.35
"""A scale that is less certain is none."""
MIN_DEPTH_SIGMA_SHARE = 0.1
"""No metric depth of a single picture is better known: the published mean errors of such networks are 10 % and more, and most of that is
the scene's scale, in which all frames of a clip err alike."""
MIN_CORNERS = 20
"""Corners with a depth on a frame that counts, at least."""
MAX_GRID_STEP = 1.25
"""Ratio of depths around a corner from which they belong to different surfaces."""
MAX_DISAGREEMENT = 3.0
"""Standard deviations by which feet and depth may differ before they contradict each other."""
MIN_REACH_M = 0.05
"""A camera that goes less far from where it begins is not said to move: a hand sways as much."""
NUM_SCALES, NUM_RESAMPLED, BLOCK_S = 600, 60, 1.0
"""Scales tried on a logarithmic grid, and resampled sets of blocks of the clip by which the scale's spread is found (Künsch 1989)."""


@dataclass(frozen=True)
class ScaleEstimate:
    """Metres in a unit of the path, its standard deviation as a share of it, and another source's metres that contradict it."""

    metres_per_unit: float
    sigma_share: float
    source: Literal["bodies", "moge", "bodies_and_moge"]
    other_metres_per_unit: float | None = None


def settle_scale(camera: Camera, people: Sequence[BodyTrack], clip: Clip) -> StageOutput[Camera]:
    """The camera with its path in metres. ``people`` are in the camera axes of their frames.

    Unchanged where it has no path, one without length (a camera that turns in one place), or one in metres already. Where the scale cannot
    be found, a path that hardly leaves its place is taken to turn alone; of any other only the focal lengths are kept, with a warning.
    """
    path = camera.path
    if path is None or path.kind == "rotating" or path.scale_source != "none":
        return StageOutput(camera)
    feet = scale_from_bodies(path, people, clip)
    depth = None if path.depth_scale is None else ScaleEstimate(*path.depth_scale, "moge")
    scale = combined_scale(*(one if one is not None and one.sigma_share <= MAX_SIGMA_SHARE else None for one in (feet, depth)))
    if scale is not None:
        return StageOutput(replace(camera, path=scaled_path(path, scale)), scale_warnings(scale, path))
    if np.linalg.norm(path.T_reference_camera[:, :3, 3], axis=1).max() < MIN_TRAVEL_SHARE:
        T = path.T_reference_camera.copy()
        T[:, :3, 3] = 0
        still = replace(path, kind="rotating", T_reference_camera=T, position_sigma_m=0 * path.focal_px, depth_scale=None)
        return StageOutput(replace(camera, path=still))
    message = (
        "The camera changes its place, but nobody's feet show how far: bodies stay in the camera's axes of their frame, and no floor is "
        "claimed to be fixed."
    )
    facts = {} if feet is None else {"sigma_share": round(feet.sigma_share, 3)}
    return StageOutput(replace(camera, path=_without_places(path)), (RunWarning("camera_scale_unknown", message, facts=facts),))


def _without_places(path: CameraPath) -> CameraPath | None:
    """What is left of a path whose places are given up: bodies were fitted with each frame's focal length, and fit the picture with no
    other. None where it is one for all frames."""
    if np.ptp(path.focal_px) == 0:
        return None
    T, none = np.tile(np.eye(4), (len(path), 1, 1)), np.zeros(len(path))
    return replace(path, kind="unplaced", T_reference_camera=T, rotation_sigma_deg=none, position_sigma_m=none, depth_scale=None)


def combined_scale(feet: ScaleEstimate | None, depth: ScaleEstimate | None) -> ScaleEstimate | None:
    """Both estimates' mean on a logarithmic scale, weighed by their variances. Where they contradict each other it is the feet's: bodies
    then stand still in the world, whatever its scale is."""
    if feet is None or depth is None:
        return feet or depth
    difference = float(np.log(depth.metres_per_unit / feet.metres_per_unit))
    if abs(difference) > MAX_DISAGREEMENT * float(np.hypot(feet.sigma_share, depth.sigma_share)):
        return replace(feet, other_metres_per_unit=depth.metres_per_unit)
    weight = feet.sigma_share**2 / (feet.sigma_share**2 + depth.sigma_share**2)
    sigma = float((feet.sigma_share**-2 + depth.sigma_share**-2) ** -0.5)
    return ScaleEstimate(feet.metres_per_unit * float(np.exp(weight * difference)), sigma, "bodies_and_moge")


def scale_warnings(scale: ScaleEstimate, path: CameraPath) -> tuple[RunWarning, ...]:
    """How far the camera goes, and how sure that is. Nothing of a way that its own uncertainty hides."""
    places = path.T_reference_camera[:, :3, 3]
    farthest = int(np.linalg.norm(places, axis=1).argmax())
    reach_units = float(np.linalg.norm(places[farthest]))
    reach_m = scale.metres_per_unit * reach_units
    if reach_m < max(MIN_REACH_M, float(scaled_path(path, scale).position_sigma_m[farthest])):
        return ()
    tells = {"bodies": "people's feet that rest tell", "moge": "MoGe-2's depth tells"}
    tells["bodies_and_moge"] = "people's feet that rest and MoGe-2's depth tell"
    share = 100 * scale.sigma_share
    message = f"The camera moves by up to {_length(reach_m)} from where it begins, as {tells[scale.source]} to within {share:.0f} %."
    if scale.other_metres_per_unit is not None:
        message += f" MoGe-2's depth contradicts them: by it that would be {_length(scale.other_metres_per_unit * reach_units)}."
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    facts = {
        "length_m": round(scale.metres_per_unit * float(steps.sum()), 2),
        "sigma_share": round(scale.sigma_share, 3),
        "source": scale.source,
        **({} if scale.other_metres_per_unit is None else {"other_ratio": round(scale.other_metres_per_unit / scale.metres_per_unit, 3)}),
    }
    # The height says how large the bodies are; a length that the depth gives does not depend on them.
    hint = "" if scale.source == "moge" else "--person-height settles it."
    return (RunWarning("camera_scale", message, hint, facts),)


def _length(metres: float) -> str:
    return f"{metres:.1f} m" if metres >= 1 else f"{100 * metres:.0f} cm"


def scaled_path(path: CameraPath, scale: ScaleEstimate) -> CameraPath:
    """A path in units of its own, in metres. The scale's uncertainty grows with the distance from where the camera began."""
    T = path.T_reference_camera.copy()
    T[:, :3, 3] *= scale.metres_per_unit
    distance_m = np.linalg.norm(T[:, :3, 3], axis=1)
    sigma_m = np.hypot(path.position_sigma_m * scale.metres_per_unit, scale.sigma_share * distance_m)
    return replace(path, T_reference_camera=T, position_sigma_m=sigma_m, scale_source=scale.source, depth_scale=None)


def scale_from_bodies(path: CameraPath, people: Sequence[BodyTrack], clip: Clip) -> ScaleEstimate | None:
    """The scale at which, at every moment, one foot of each person rests best; None where feet say nothing."""
    moments = [_resting_misfits(path, track, clip) for track in people]
    moments = [moment for moment in moments if moment is not None]
    if not moments or sum(len(a) for a, _, _ in moments) < MIN_MOMENTS:
        return None
    a, b, time_s = (np.concatenate(parts) for parts in zip(*moments, strict=True))
    # A joint's shift is a + s b, in standard deviations; a scale of its own size is where both are alike.
    lengths = np.linalg.norm(b, axis=2)
    if np.quantile(lengths, 0.9) < 1e-9:
        return None
    typical = float(np.median(np.linalg.norm(a, axis=2).min(1)) + 1) / float(np.quantile(lengths, 0.9))
    scales = typical * np.geomspace(1e-2, 1e2, NUM_SCALES)
    loss = np.array([_losses(a, b, scale) for scale in scales])  # scales, moments
    best = int(loss.mean(1).argmin())
    if best in (0, NUM_SCALES - 1):
        return None
    scale = _refined(a, b, float(scales[best - 1]), float(scales[best + 1]))
    block = np.floor((time_s - time_s.min()) / BLOCK_S).astype(int)
    rng = np.random.default_rng(0)
    blocks = np.unique(block)
    sums = np.array([loss[:, block == k].sum(1) for k in blocks])
    picked = rng.integers(0, len(blocks), (NUM_RESAMPLED, len(blocks)))
    resampled = np.log(scales[sums[picked].sum(1).argmin(1)] / scale)
    spread = SIGMA_PER_MAD * float(np.median(np.abs(resampled))) if len(blocks) > 1 else MAX_SIGMA_SHARE / 2
    resting_share = float(np.mean(((a + scale * b) ** 2).sum(-1).min(1) < LOSS_LIMIT**2))
    sigma = float(np.linalg.norm([spread, MIN_SIGMA_SHARE, RESTLESS_SIGMA * (1 - resting_share)]))
    return ScaleEstimate(scale, sigma, "bodies")


def _resting_misfits(path: CameraPath, track: BodyTrack, clip: Clip) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """For each moment and joint the shift of the joint in ``STEP_S`` with a camera that stays (M, J, 3), the shift of the camera per unit
    of scale (M, J, 3), both in standard deviations, and the moments' times (M,)."""
    names = track.joint_names
    columns = [names.index(name) for name in SUPPORTS if name in names]
    rows = np.flatnonzero(track.observed)
    if not columns or len(rows) < 2:
        return None
    frames, times_s = track.frame_index[rows], clip.times_s[track.frame_index[rows]] * clip.time_scale
    later = np.searchsorted(times_s, times_s + STEP_S - 1e-6)
    earlier = np.flatnonzero(later < len(rows))
    later = later[earlier]
    is_step = (times_s[later] - times_s[earlier] < 2 * STEP_S) & (clip.stretch_index[frames[later]] == clip.stretch_index[frames[earlier]])
    earlier, later = earlier[is_step], later[is_step]
    if not len(earlier):
        return None
    joints = track.joints_m[rows][:, columns].astype(np.float64)
    T = path.T_reference_camera[frames]
    turned = joints @ T[:, :3, :3].swapaxes(1, 2)
    shift = turned[later] - turned[earlier]
    camera_shift = np.broadcast_to((T[later, :3, 3] - T[earlier, :3, 3])[:, None], shift.shape)
    sight = turned[earlier] / np.linalg.norm(turned[earlier], axis=-1, keepdims=True)

    def in_sigmas(x: np.ndarray) -> np.ndarray:
        along = (x * sight).sum(-1, keepdims=True) * sight
        return along / ALONG_SIGMA_M + (x - along) / ACROSS_SIGMA_M

    return in_sigmas(shift), in_sigmas(camera_shift), times_s[earlier]


def _losses(a: Float[np.ndarray, "m j 3"], b: Float[np.ndarray, "m j 3"], scale: float) -> Float[np.ndarray, " m"]:
    """At each moment, the misfit of the joint that rests best: Welsch's loss, which does not grow beyond ``LOSS_LIMIT``."""
    squared = ((a + scale * b) ** 2).sum(-1).min(1)
    return 1 - np.exp(-squared / (2 * LOSS_LIMIT**2))


def _refined(a: np.ndarray, b: np.ndarray, low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: float(_losses(a, b, float(np.exp(log))).mean()), bounds=(np.log(low), np.log(high)), method="bounded"
    )
    return float(np.exp(found.x))


def scale_from_depth(corners: CornerDepths, maps: Sequence[DepthMap]) -> ScaleEstimate | None:
    """The scale at which corners of the background are as far away as a network's metric depth has them; None where it has too few of them.

    Each frame's is the median over its corners, so that neither a moving thing nor an edge decides, and the scale is the frames' median.
    """
    logs = []
    for depth in maps:
        rows = corners.frame == depth.frame
        ratios = np.log(depth_at(depth, corners.xy_px[rows]) / corners.depth[rows])
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios) >= MIN_CORNERS and _spread(ratios) < MAX_SIGMA_SHARE:
            logs.append(float(np.median(ratios)))
    if not logs:
        return None
    # Frames of one scene err alike: what they have in common does not show in how they differ, nor does it average out.
    return ScaleEstimate(float(np.exp(np.median(logs))), float(np.hypot(MIN_DEPTH_SIGMA_SHARE, _spread(np.array(logs)))), "moge")


def depth_at(depth: DepthMap, xy_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Depth at pixels; NaN outside the grid and where its surroundings are not one surface. Inverse depth is interpolated bilinearly, which
    is exact on planes."""
    (column, across), (row, down) = (_grid_position(grid, at) for grid, at in ((depth.x_px, xy_px[:, 0]), (depth.y_px, xy_px[:, 1])))
    inverse = np.stack([1 / depth.z_m[row + i, column + j] for i in (0, 1) for j in (0, 1)])
    weight = np.stack([(1 - down, down)[i] * (1 - across, across)[j] for i in (0, 1) for j in (0, 1)])
    inside = (across >= 0) & (across <= 1) & (down >= 0) & (down <= 1)
    smooth = inverse.max(0) < MAX_GRID_STEP * inverse.min(0)
    return np.where(inside & smooth, 1 / (weight * inverse).sum(0), np.nan)


def _grid_position(grid_px: np.ndarray, at_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid line before each coordinate, and how far it is towards the next one: not within 0 to 1 outside the grid."""
    before = np.clip(np.searchsorted(grid_px, at_px, side="right") - 1, 0, len(grid_px) - 2)
    return before, (at_px - grid_px[before]) / (grid_px[before + 1] - grid_px[before])


def _spread(values: np.ndarray) -> float:
    return SIGMA_PER_MAD * float(np.median(np.abs(values - np.median(values))))
