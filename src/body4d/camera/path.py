"""The path of a clip's camera: how it turns, zooms and moves, from the background of every frame.

Corners are tracked through the clip (``tracks``); a camera that only turns and zooms is adjusted to them (``rotating``), and, where this
leaves parallax unexplained, one that changes its place (``moving``). What explains them better is the path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from body4d.camera.bundle import Adjusted, Cameras, Freedom, adjust, doubt_distortion, with_covariance
from body4d.camera.motion import MIN_MOTION_SHARE, BackgroundFrame, require_headless_opencv
from body4d.camera.moving import CornerDepths, FirstPath, LostWayError, adjust_moving, corner_depths, first_path, in_units
from body4d.camera.rotating import MIN_NOISE_SHARE, MIN_ZOOM_SHARE, FrameCameras, KeyframeProblem, adjust_rotating, all_frames
from body4d.camera.tracks import MIN_TRACKED, FeatureTracks, tie_keyframes, track_background
from body4d.core.camera import Camera, CameraPath, turn_homography
from body4d.core.errors import RunWarning
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import MaskTrack

FOCAL_SIGMA: Mapping[str, float] = {"fov": 0.0, "focal_mm35": 0.0, "metadata": 0.05, "moge": 0.1, "default": 0.25}
"""Standard deviation of a focal length as a share of it, by its source. What the user says is not doubted; metadata does not know how far
stabilisation crops; phones and cameras that film people have 20 to 50 mm and more."""
MIN_FRAMES_SHARE = 0.98
"""Share of the frames on which enough corners must be seen."""
GRIC_LIMIT = 9.0
"""Squared residual, in variances, beyond which an observation is an outlier to either model."""
MIN_GAIN = 0.1
"""Gain of a camera that changes its place from which it is believed. On synthetic tracks a tripod's is below 0, a hand's sway by 10 cm
gives 3 and more, and a walk that begins after a pan 0.2."""
DISTORTION_SIGMA, MAX_DISTORTION = 0.02, 0.06
"""Standard deviation of a lens's distortion, as a share of the distance of the picture's corner, and the largest that is believed. In
lensfun's database of lenses (August 2026) nine lenses of seven phones shift the corners of uncorrected photographs by 0.9 to 4.3 % against
the middle, root mean square 2.0 %; two ultrawide ones by 5.2 and 6.8 %."""
MAX_RESIDUAL_SHARE, MIN_EXPLAINED_SHARE = 1e-3, 0.5
"""A path must take this share of the observations to within this share of the diagonal: two pixels of 1080p."""
SELF_CALIBRATED, MAX_SIGMA_SHARE = "self_calibration", 0.5
"""``Camera.source`` of a focal length that the camera's turn gave, as it does where its standard deviation is less than this share of what
it was before."""


@dataclass(frozen=True)
class PathEstimate:
    """What the background says of the camera. ``path`` is None unless the camera was found to turn or move.

    Attributes:
        reason: Why nothing is known, as a sentence; empty where something is.
        facts: Figures of the estimate.
        corners: Of a path with places, depths of corners on the frames that were asked for.
    """

    kind: Literal["still", "rotating", "moving", "unknown"]
    path: CameraPath | None = None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    corners: CornerDepths | None = None


def estimate_path(
    frames: FrameSource,
    camera: Camera,
    masks: Sequence[MaskTrack] = (),
    motion: Literal["auto", "rotating", "moving"] = "auto",
    progress: ProgressFn = ignore_progress,
    depth_frames: Sequence[int] = (),
) -> PathEstimate:
    """The path of the camera of a clip that is one shot. Reads the clip once. ``camera`` gives the focal length to begin with, and by its
    source how far it is trusted. Corners' depths are kept on ``depth_frames``. Raises MissingDependencyError without OpenCV."""
    require_headless_opencv()
    tracks, pictures = track_background(frames, masks, progress)
    return path_from_tracks(tracks, camera, motion, pictures, depth_frames)


def path_from_tracks(
    tracks: FeatureTracks,
    camera: Camera,
    motion: Literal["auto", "rotating", "moving"] = "auto",
    pictures: Mapping[int, BackgroundFrame] | None = None,
    depth_frames: Sequence[int] = (),
) -> PathEstimate:
    """The path of the camera that saw the tracked corners. Keyframes that see a place again are tied where their ``pictures`` are given."""
    if problem := _why_unknown(tracks):
        return PathEstimate("unknown", reason=problem)
    if motion == "auto" and _largest_motion_share(tracks) < MIN_MOTION_SHARE:
        return PathEstimate("still")
    # Where a moving camera of known focal length is asked for, a turn has nothing to say.
    turning = None if motion == "moving" and _focal_sigma(camera) == 0 else _turning(tracks, camera, pictures)
    travelling = None
    if motion != "rotating":
        try:
            travelling = _travelling(tracks, camera, turning)
        except LostWayError as error:
            if motion == "moving":
                return PathEstimate("unknown", reason=str(error))
    gain = 0.0 if turning is None or travelling is None else parallax_gain(turning, travelling)
    chosen = travelling if turning is None or (travelling is not None and (motion == "moving" or gain > MIN_GAIN)) else turning
    assert chosen is not None
    explained_share = float(np.mean(chosen.adjusted.residual_px < MAX_RESIDUAL_SHARE * tracks.diagonal_px))
    if explained_share < MIN_EXPLAINED_SHARE:
        reason = f"neither a turn nor a change of place explains more than {100 * explained_share:.0f}% of what the background does"
        return PathEstimate("unknown", reason=reason)
    found = all_frames(chosen.tracks, camera, chosen.problem, chosen.adjusted, chosen.freedom)
    kind = "moving" if chosen.freedom.moving else "rotating"
    facts = {**_facts(found, chosen), "explained_share": round(explained_share, 3)}
    if turning is not None:
        facts["parallax_gain"] = round(gain, 3)
    corners = None
    if kind == "moving" and len(depth_frames):
        corners = corner_depths(chosen.tracks, camera, chosen.problem, chosen.adjusted, found.cameras, depth_frames)
    return PathEstimate(kind, _path(kind, found), facts=facts, corners=corners)


@dataclass(frozen=True)
class Model:
    """What a kind of motion makes of the keyframes, and the corners it was adjusted to. ``focal_spread`` is how far its focal length may be
    off, as a share of it, where the lens may have distortion."""

    tracks: FeatureTracks
    problem: KeyframeProblem
    adjusted: Adjusted
    freedom: Freedom
    focal_spread: float = 0.0


def _focal_sigma(camera: Camera) -> float:
    return FOCAL_SIGMA.get(camera.source, FOCAL_SIGMA["default"])


def _turning(tracks: FeatureTracks, camera: Camera, pictures: Mapping[int, BackgroundFrame] | None) -> Model:
    """A camera that only turns and zooms, with keyframes that see a place again tied."""
    problem, adjusted, freedom = adjust_rotating(tracks, camera, _focal_sigma(camera), may_zoom=True)
    if pictures:
        tied = tie_keyframes(tracks, pictures, _Homographies(adjusted.cameras, camera))
        if len(tied.frame) > len(tracks.frame):
            tracks = tied
            zooms = freedom.focal == "each"
            problem, adjusted, freedom = adjust_rotating(tracks, camera, _focal_sigma(camera), zooms, adjusted.cameras)
    return _with_lens(Model(tracks, problem, adjusted, freedom))


def _travelling(tracks: FeatureTracks, camera: Camera, turning: Model | None) -> Model:
    """A camera that changes its place. Raises LostWayError."""
    prior, min_noise_px = _focal_sigma(camera), MIN_NOISE_SHARE * tracks.diagonal_px
    focal_px, distortion, distortion_sigma = camera.focal_px, 0.0, 0.0
    # Far from the right ones the adjustment may end in wrong ones; what a turn tells of the lens is near, even where the place changes too.
    if turning is not None and turning.freedom.focal == "shared" and turning.adjusted.focal_sigma < MAX_SIGMA_SHARE * prior:
        focal_px = float(np.exp(turning.adjusted.cameras.log_focal[0]))
    if turning is not None:
        distortion, distortion_sigma = turning.adjusted.cameras.distortion, turning.freedom.distortion_sigma

    def adjusted(first: FirstPath, focal_sigma: float) -> Model:
        return _with_lens(Model(tracks, first.problem, *adjust_moving(first, camera, focal_sigma, min_noise_px, distortion_sigma)))

    first = first_path(tracks, camera, min_noise_px, focal_px, distortion)
    model = adjusted(first, prior)
    if prior > 0 and model.adjusted.focal_sigma >= MAX_SIGMA_SHARE * prior:
        # A camera that hardly turns leaves the focal length open: all depths may be stretched with it. Then the given one stays.
        if focal_px != camera.focal_px:
            first = first_path(tracks, camera, min_noise_px, camera.focal_px, distortion)
        model = adjusted(first, 0.0)
        model = replace(model, adjusted=replace(model.adjusted, focal_sigma=prior), focal_spread=prior)
    return model


def _with_lens(model: Model) -> Model:
    """The same, adjusted again with a lens that has distortion where that explains the corners clearly better; else with a focal length
    of as much doubt as a lens with distortion casts on it.

    A pan takes distortion for a longer or shorter focal length. But what else is not modelled, a rolling shutter or a hand that sways a
    little, can be taken for distortion as well, so that it is not always looked for.
    """
    seen, freedom, before = model.problem.seen, model.freedom, model.adjusted
    if freedom.distortion_sigma > 0:
        return replace(model, focal_spread=before.focal_sigma)
    doubt = doubt_distortion(before, seen, freedom, DISTORTION_SIGMA)
    if doubt.gain > MIN_GAIN / 2 and abs(doubt.distortion) < MAX_DISTORTION:
        free = replace(freedom, distortion_sigma=DISTORTION_SIGMA)
        after = adjust(before.cameras, before.points, seen, free, MIN_NOISE_SHARE * model.tracks.diagonal_px)
        gain = (_misfit(before.residual_px, after.noise_px) - _misfit(after.residual_px, after.noise_px)) / len(seen.camera)
        if gain > MIN_GAIN and abs(after.cameras.distortion) < MAX_DISTORTION:
            after = in_units(after, seen) if freedom.moving else after
            after = with_covariance(after, seen, free)
            return replace(model, adjusted=after, freedom=free, focal_spread=after.focal_sigma)
    return replace(model, focal_spread=doubt.focal_sigma)


def _misfit(residual_px: np.ndarray, noise_px: float) -> float:
    """Sum of the squared residuals in variances, outliers' cut off."""
    return float(np.minimum((residual_px / noise_px) ** 2, GRIC_LIMIT).sum())


def parallax_gain(turning: Model, travelling: Model) -> float:
    """By how much a camera that changes its place explains the corners better than one that only turns, for each observation: the
    difference of their geometric robust information criteria (Torr 1998), which charge a model for every number that it may choose.
    """
    # What a model may choose lies nearer to the observations than the truth does: a corner that two keyframes see, by half.
    num_values = 2 * len(travelling.adjusted.residual_px)
    num_free = 3 * len(travelling.problem.track) + 6 * len(travelling.problem.keyframes)
    noise_px = travelling.adjusted.noise_px * np.sqrt(num_values / max(num_values - num_free, 1))
    cost = 0.0
    for model, sign, of_point, of_camera in ((turning, 1, 2, 3), (travelling, -1, 3, 6)):
        num_points, num_seen = len(model.problem.track), len(model.adjusted.residual_px)
        misfit = _misfit(model.adjusted.residual_px, noise_px)
        price = of_point * num_points * np.log(2 * num_seen / num_points) + of_camera * len(model.problem.keyframes) * np.log(num_seen)
        cost += sign * (misfit + float(price)) / num_seen
    return cost


class _Homographies:
    """Where a keyframe sees what another one saw, of a camera that only turns and zooms."""

    def __init__(self, cameras: Cameras, camera: Camera) -> None:
        self._cameras = cameras
        self._K = np.tile(camera.K, (len(cameras), 1, 1))
        self._K[:, 0, 0] = self._K[:, 1, 1] = np.exp(cameras.log_focal)

    def __call__(self, a: int, b: int) -> np.ndarray:
        return turn_homography(self._K[a], self._cameras.R[a], self._K[b], self._cameras.R[b])


def _why_unknown(tracks: FeatureTracks) -> str:
    """Why the corners say nothing of the camera; empty where they do."""
    counts = np.bincount(tracks.frame, minlength=tracks.num_frames)
    few = float(np.mean(counts < MIN_TRACKED))
    if few > 1 - MIN_FRAMES_SHARE:
        return f"the background has too few corners to follow on {100 * few:.0f}% of the frames"
    if len(tracks.breaks):
        return f"the background is lost between frames {tracks.breaks[0] - 1} and {tracks.breaks[0]}, by a blur or a fast turn"
    return ""


def _largest_motion_share(tracks: FeatureTracks) -> float:
    """How far the background moves, as a share of the diagonal: the largest median way of the corners of a keyframe while they are seen."""
    largest = 0.0
    for frame in range(tracks.num_frames):
        keyframe = int(tracks.keyframes[np.searchsorted(tracks.keyframes, frame, side="right") - 1])
        for first in {0, keyframe}:
            a, b = tracks.common(first, frame)
            if len(a) >= MIN_TRACKED:
                largest = max(largest, float(np.median(np.linalg.norm(tracks.xy_px[a] - tracks.xy_px[b], axis=1))))
    return largest / tracks.diagonal_px


def _path(kind: Literal["rotating", "moving"], found: FrameCameras) -> CameraPath:
    """In the form of the results. Numbers are rounded, so that the last bits, which differ between machines, are not carried along."""
    cameras, covariance = found.cameras, found.covariance
    T = np.tile(np.eye(4), (len(cameras), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = cameras.R, cameras.position
    rotation = np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[:, :3, :3])[:, -1].clip(0)))
    position = np.sqrt(np.linalg.eigvalsh(covariance[:, 3:6, 3:6])[:, -1].clip(0))
    focal = np.sqrt(covariance[:, 6, 6].clip(0))
    return CameraPath(
        kind,
        np.round(T, 9),
        np.round(np.exp(cameras.log_focal), 4),
        *(np.round(sigma, 6) for sigma in (rotation, position, focal)),  # pyright: ignore[reportArgumentType]
    )


def _facts(found: FrameCameras, model: Model) -> dict[str, Any]:
    adjusted = model.adjusted
    focal = np.exp(found.cameras.log_focal)
    angle = np.degrees(np.arccos(np.clip((np.trace(found.cameras.R, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return {
        "rotation_deg": round(float(angle.max()), 2),
        "zoom": round(float(focal.max() / focal.min()), 3),
        "focal_sigma": round(adjusted.focal_sigma, 4),
        "focal_spread": round(model.focal_spread, 4),
        "noise_px": round(adjusted.noise_px, 3),
        "distortion": round(adjusted.cameras.distortion, 4),
        "explained_share": round(float(np.mean(adjusted.weight > 0.5)), 3),
    }


def with_path(camera: Camera, estimate: PathEstimate) -> Camera:
    """The camera as the estimate has it: with its path, not static without one unless it stands still. A focal length that was not given
    and that the path knows better is the path's."""
    if estimate.path is None:
        return replace(camera, static=camera.static if estimate.kind == "unknown" else estimate.kind == "still")
    focal_px = float(estimate.path.focal_px[0])
    sigma = float(estimate.facts["focal_sigma"])
    prior = FOCAL_SIGMA.get(camera.source, FOCAL_SIGMA["default"])
    known_better = sigma < MAX_SIGMA_SHARE * prior
    return replace(
        camera,
        focal_px=focal_px,
        static=False,
        path=estimate.path,
        source=SELF_CALIBRATED if known_better else camera.source,
        focal_spread=estimate.facts["focal_spread"] if known_better else camera.focal_spread,
    )


def path_warnings(camera: Camera, estimate: PathEstimate) -> tuple[RunWarning, ...]:
    """What the user should know of a path that was found: which, and how sure it is."""
    if estimate.path is None:
        return ()
    path, facts = estimate.path, dict(estimate.facts)
    what = f"turns by up to {facts['rotation_deg']:.0f} degrees"
    if facts["zoom"] > 1 + MIN_ZOOM_SHARE:
        what += f" and zooms by {facts['zoom']:.2f}"
    if path.kind == "moving":
        what += " and changes its place"
    sigma = float(np.quantile(path.rotation_sigma_deg, 0.9))
    # A sway by centimetres is taken for part of the turn, and no residual says by how much it is off (docs/camera.md).
    unless = ", if it kept its place" if path.kind == "rotating" else ""
    message = (
        f"The camera {what}: its path is estimated from the background, on nine frames of ten to within {max(sigma, 0.01):.2g} degrees"
        f"{unless}."
    )
    if camera.source == SELF_CALIBRATED:
        message += f" It also tells the horizontal field of view, {camera.fov_deg:.1f} degrees, from a focal length that may be "
        message += f"{100 * max(facts['focal_spread'], 1e-4):.2g} % off."
    if distortion := facts.get("distortion"):
        share = f"{100 * abs(distortion):.1f} % too {'near to' if distortion > 0 else 'far from'} the middle"
        message += f" Its lens shows the picture's corners {share}: the path allows for that, bodies do not."
    return (RunWarning("camera_path", message, "--camera static, rotating or moving decides otherwise.", {"kind": path.kind, **facts}),)
