"""Does the camera move? Corners of the background are tracked between a few frames of the clip with OpenCV.

Between two frames of a turning or zooming camera the whole picture is shifted, rotated and scaled nearly alike (a similarity, estimated by
RANSAC); of a camera that stands still, most of the picture stays where it is, whoever moves in front of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from body4d.camera.lens import sample_frames
from body4d.config import CameraSettings
from body4d.core.errors import MissingDependencyError, RunWarning
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import MaskTrack

INSTALL_HEADLESS_OPENCV = "pip install --no-deps --force-reinstall 'opencv-python-headless>=4.11,<5'"
"""Replaces a build of OpenCV that some other package brought and that needs the libraries of a window system."""

NUM_FRAMES = 9
"""Frames, spread over the clip, that are compared: each with the one before it and with the first."""
SIDE_PX = 480
"""Longer side to which frames are shrunk; half a pixel is a thousandth of it."""
MASK_MARGIN_SHARE = 1 / 40
"""Share of the longer side by which people's masks are grown, as limbs blur."""
MAX_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_SHARE = 400, 0.01, 1 / 60
WINDOW_PX, NUM_PYRAMID_LEVELS = 21, 4
MAX_ROUND_TRIP_PX = 1.0
"""A corner tracked to the other frame and back must return to within this distance."""
GRID_COLUMNS, GRID_ROWS, MAX_POINTS_PER_CELL = 8, 6, 8
"""No more points of one cell of the picture count, so that one textured object does not decide."""
MIN_POINTS, MIN_CELLS = 20, 6
"""With fewer points, or points in fewer cells (which may all lie on one moving object), nothing can be said."""
SAME_PLACE_SHARE = 0.004
"""Points within this share of the diagonal are in the same place; half of it is error of the tracking."""
MODEL_ERROR_SHARE = 0.3
"""A similarity misses points by up to this share of their motion: a turn moves the border of a wide lens farther than the middle."""
MIN_MOTION_SHARE = 0.01
"""Smaller motions of the picture's corners, as a share of the diagonal, are wind on a tripod: half a degree with a phone."""
MIN_INLIER_SHARE, MIN_LEAD_SHARE = 0.5, 0.2
"""Share of the points that a motion must explain, and by how much more than standing still it must explain."""
MAX_STILL_SHARE = 0.15
"""Where fewer points than this stay in place, and no similarity explains the others, the camera travels past things at many distances."""
MIN_MOVED_PAIRS = 2
"""One pair of frames alone may have been misread."""
MIN_ZOOM = 1.03
"""A picture that grows by a smaller factor is not called zoomed."""


@dataclass(frozen=True)
class PairMotion:
    """What the picture did between two frames.

    Attributes:
        kind: "travelled" where things moved, but not alike, as when the camera itself changes its place.
        shift_share: Motion of the picture's centre (where it travelled: median motion), as a share of the diagonal.
        zoom: Factor by which the picture grew.
        roll_deg: Rotation of the picture, clockwise.
    """

    kind: Literal["still", "moved", "travelled", "unknown"]
    shift_share: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0


@dataclass(frozen=True)
class ClipMotion:
    """The largest motions among a clip's pairs of frames. ``num_moved`` of the ``num_pairs`` that are not unknown did not stand still.

    ``has_other_cameras``: a cut leads to another camera, or to another place of it. Motions are those within shots. ``is_lost``: nothing is
    known although the frames have corners enough, as where the camera turns away between any two of them.
    """

    kind: Literal["still", "moving", "unknown"]
    shift_share: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0
    num_pairs: int = 0
    num_moved: int = 0
    has_other_cameras: bool = False
    is_lost: bool = False


class BackgroundFrame(NamedTuple):
    """A shrunk frame; ``background`` is 255 where nobody is, else 0."""

    grey: UInt8[np.ndarray, "h w"]
    background: UInt8[np.ndarray, "h w"]


def require_headless_opencv() -> None:
    """Raise MissingDependencyError where OpenCV cannot be loaded, as its usual build cannot without the libraries of a window system."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"OpenCV cannot be loaded: {error}.",
            code="opencv_not_loadable",
            hint=f"On a machine without a window system, install the headless build: {INSTALL_HEADLESS_OPENCV}",
        ) from error


def camera_motion(frames: FrameSource, masks: Sequence[MaskTrack] = (), progress: ProgressFn = ignore_progress) -> ClipMotion:
    """Whether the clip's camera moves; people's ``masks`` are left out. Raises MissingDependencyError without OpenCV."""
    require_headless_opencv()
    index, shots = sample_frames(len(frames.clip), NUM_FRAMES), frames.clip.shot_index
    prepared: list[BackgroundFrame] = []
    pairs: list[PairMotion] = []
    across: list[PairMotion] = []
    for frame, rgb in frames.read(index.start, index.stop, index.step):
        prepared.append(prepare_frame(rgb, people_mask(masks, frame, rgb.shape[:2])))
        now = len(prepared) - 1
        for before in sorted({0, now - 1} - {-1, now}):
            pair = pair_motion(*track_corners(prepared[before], prepared[now]), *prepared[now].grey.shape[::-1])
            (pairs if shots[index[before]] == shots[frame] else across).append(pair)
        progress(len(prepared), len(index))
    motion = clip_motion(pairs) if len(index) > 1 else ClipMotion("still")
    if motion.kind == "unknown":
        motion = replace(motion, is_lost=all(_has_corners(frame) for frame in prepared))
    # Where not even the same camera's corners are found again beyond a cut, it is another camera, or another place of it.
    return replace(motion, has_other_cameras=any(pair.kind != "still" for pair in across))


def _has_corners(frame: BackgroundFrame) -> bool:
    """Whether the background has corners enough to say something."""
    height, width = frame.grey.shape
    corners = _corners(frame)
    return len(corners) >= MIN_POINTS and _spread_points(corners[:, 0], width, height)[1] >= MIN_CELLS


def people_mask(masks: Sequence[MaskTrack], frame: int, size: tuple[int, ...], every: int = 1) -> Bool[np.ndarray, "h w"]:
    """Where people are in a frame of ``size`` (height, width); of its pixels, each ``every``th, from the middle of the first so many on."""
    middle = slice(every // 2, None, every)
    out = np.zeros(size, bool)[middle, middle]
    for track in masks:
        row = track.row(frame)
        if row is not None:
            out |= track.mask(row)[middle, middle]
    return out


def prepare_frame(rgb: UInt8[np.ndarray, "h w 3"], people: Bool[np.ndarray, "h w"]) -> BackgroundFrame:
    """A frame as far as its background is compared."""
    import cv2

    factor = min(1.0, SIDE_PX / max(rgb.shape))
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(people.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    margin = 2 * round(max(size) * MASK_MARGIN_SHARE) + 1
    grown = cv2.dilate(small, np.ones((margin, margin), np.uint8))
    return BackgroundFrame(grey, np.where(grown > 0, 0, 255).astype(np.uint8))


def _corners(frame: BackgroundFrame) -> Float[np.ndarray, "n 1 2"]:
    """Corners of the background, in OpenCV's pixels."""
    import cv2

    distance = max(frame.grey.shape) * CORNER_DISTANCE_SHARE
    corners = cv2.goodFeaturesToTrack(frame.grey, MAX_CORNERS, CORNER_QUALITY, distance, mask=frame.background)
    return np.zeros((0, 1, 2), np.float32) if corners is None else corners


def track_corners(before: BackgroundFrame, after: BackgroundFrame) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Corners of one frame's background and their places in another (Lucas-Kanade), in pixels of the shrunk frames."""
    import cv2

    corners = _corners(before)
    if not len(corners):
        return np.zeros((0, 2)), np.zeros((0, 2))
    options = {"winSize": (WINDOW_PX, WINDOW_PX), "maxLevel": NUM_PYRAMID_LEVELS}
    tracked, is_tracked, _ = cv2.calcOpticalFlowPyrLK(before.grey, after.grey, corners, None, **options)  # type: ignore[call-overload]
    returned, is_returned, _ = cv2.calcOpticalFlowPyrLK(after.grey, before.grey, tracked, None, **options)  # type: ignore[call-overload]
    a, b = corners[:, 0], tracked[:, 0]
    good = (is_tracked[:, 0] > 0) & (is_returned[:, 0] > 0) & (np.linalg.norm(returned[:, 0] - a, axis=1) < MAX_ROUND_TRIP_PX)
    x, y = np.floor(b + 0.5).astype(int).T
    height, width = after.background.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    good &= inside & (after.background[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0)
    return a[good] + 0.5, b[good] + 0.5  # OpenCV's pixel centres are whole numbers, ours are halves


def pair_motion(before_px: Float[np.ndarray, "n 2"], after_px: Float[np.ndarray, "n 2"], width_px: int, height_px: int) -> PairMotion:
    """What moved points of one frame of this size to their places in another."""
    import cv2

    kept, num_cells = _spread_points(before_px, width_px, height_px)
    if len(before_px) < MIN_POINTS or num_cells < MIN_CELLS:
        return PairMotion("unknown")
    # About the picture's centre, in diagonals.
    diagonal, centre = float(np.hypot(width_px, height_px)), np.array([width_px, height_px]) / 2
    a, b = ((points[kept] - centre) / diagonal for points in (before_px, after_px))
    distance = np.linalg.norm(b - a, axis=1)
    still_share = float(np.mean(distance < SAME_PLACE_SHARE))
    tolerance = SAME_PLACE_SHARE + MODEL_ERROR_SHARE * float(np.median(distance))
    matrix, _ = cv2.estimateAffinePartial2D(a, b, ransacReprojThreshold=tolerance)
    if matrix is not None:
        moved, corners = a @ matrix[:, :2].T + matrix[:, 2], np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * centre / diagonal
        tolerances = SAME_PLACE_SHARE + MODEL_ERROR_SHARE * np.linalg.norm(moved - a, axis=1)
        explained_share = float(np.mean(np.linalg.norm(b - moved, axis=1) < tolerances))
        border_share = float(np.linalg.norm(corners @ matrix[:, :2].T + matrix[:, 2] - corners, axis=1).max())
        if explained_share >= max(MIN_INLIER_SHARE, still_share + MIN_LEAD_SHARE) and border_share >= MIN_MOTION_SHARE:
            zoom, roll_deg = float(np.hypot(*matrix[:, 0])), float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
            return PairMotion("moved", float(np.linalg.norm(matrix[:, 2])), zoom, roll_deg)
    if still_share >= MIN_INLIER_SHARE:
        return PairMotion("still")
    if still_share <= MAX_STILL_SHARE:
        median = float(np.median(distance))
        return PairMotion("travelled", median) if median >= MIN_MOTION_SHARE else PairMotion("still")
    return PairMotion("unknown")


def _spread_points(points_px: np.ndarray, width_px: int, height_px: int) -> tuple[np.ndarray, int]:
    """Indices of at most ``MAX_POINTS_PER_CELL`` points of each cell of the picture, and the number of cells with points."""
    column = np.clip(points_px[:, 0] * GRID_COLUMNS // width_px, 0, GRID_COLUMNS - 1)
    row = np.clip(points_px[:, 1] * GRID_ROWS // height_px, 0, GRID_ROWS - 1)
    cells = [np.flatnonzero(row * GRID_COLUMNS + column == cell) for cell in range(GRID_COLUMNS * GRID_ROWS)]
    kept = [index[:MAX_POINTS_PER_CELL] for index in cells]
    return np.sort(np.concatenate(kept)), sum(len(index) > 0 for index in cells)


def clip_motion(pairs: Sequence[PairMotion]) -> ClipMotion:
    """Whether the camera of a clip moves, from pairs of its frames."""
    known = [pair for pair in pairs if pair.kind != "unknown"]
    moved = [pair for pair in known if pair.kind != "still"]
    if not known:
        return ClipMotion("unknown")
    if len(moved) < min(MIN_MOVED_PAIRS, len(known)):
        return ClipMotion("still", num_pairs=len(known), num_moved=len(moved))
    return ClipMotion(
        "moving",
        shift_share=max(pair.shift_share for pair in moved),
        zoom=max((pair.zoom for pair in moved), key=lambda zoom: abs(np.log(zoom))),
        roll_deg=max((pair.roll_deg for pair in moved), key=abs),
        num_pairs=len(known),
        num_moved=len(moved),
    )


def motion_warnings(motion: ClipMotion, settings: CameraSettings, reason: str = "") -> tuple[RunWarning, ...]:
    """What the user should know about ``motion`` where no path of the camera is known, in view of the setting ``motion``. ``reason`` says
    why a path that was looked for was not found."""
    if motion.has_other_cameras:
        message = (
            "A cut leads to another camera: bodies stay in the axes of the camera that sees them, and no floor is claimed to be fixed."
        )
        return (RunWarning("several_cameras", message, "--start and --end choose one shot, which then has its floor."),)
    stays = "bodies stay in the camera's axes of their frame, and no floor is claimed to be fixed."
    because = f" Its path is not known, as {reason}." if reason else " No path is looked for across cuts."
    zoom = max(motion.zoom, 1 / motion.zoom)
    facts = {"shift_share": motion.shift_share, "zoom": zoom, "reason": reason}
    if settings.motion in ("rotating", "moving"):
        message = f"The camera moves: {stays}{because}"
        if motion.kind != "still":
            return (RunWarning("camera_moves", message, facts=facts),)
        message += " The background stands still, though."
        return (RunWarning("camera_moves_but_still", message, "--camera static would give a floor and a path over it.", facts),)
    if motion.kind == "unknown":
        message = "Whether the camera moves cannot be seen from the background; it is taken to stand still."
        return (RunWarning("camera_motion_unknown", message, "Use --camera moving if it moves.", facts),)
    if motion.kind == "still":
        return ()
    what = [f"its picture shifts by {100 * motion.shift_share:.0f}% of the diagonal or more"]
    if zoom >= MIN_ZOOM:
        what.append(f"is zoomed by {zoom:.2f} or more, for which no one focal length is right")
    if settings.motion == "auto":
        message = f"The camera moves ({' and '.join(what)}): {stays}{because}"
        return (RunWarning("camera_moves", message, "--camera static gives a floor all the same, where it hardly moves.", facts),)
    message = f"The camera seems to move ({' and '.join(what)}): paths over the floor are not to be trusted."
    return (RunWarning("camera_seems_to_move", message, "--camera auto looks for its path.", facts),)
