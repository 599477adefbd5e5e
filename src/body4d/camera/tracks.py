"""Features of the background, tracked through a whole clip: corners (Shi & Tomasi 1994) followed from frame to frame by pyramidal
Lucas-Kanade (Bouguet 2001) with a forward-backward check, outside the people's masks.

Corners are detected on *keyframes* alone: frames on which the picture has moved on, or corners have been lost. A corner that is on several
keyframes ties them together; keyframes that show the same place again after a while are tied by tracking from one to the other.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from body4d.camera.motion import MASK_MARGIN_SHARE, BackgroundFrame, people_mask
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import MaskTrack
from body4d.runtime.cores import in_threads

TRACKING_SIDE_PX = 960
"""Frames are shrunk by the whole number that brings their longer side nearest to this: 1080p and 720p are tracked at 960 and 1280 pixels.
Corners are tracked to about a tenth of a pixel."""
SHRINKING_THREADS = 3
"""Threads that shrink frames ahead: following the corners then takes longest."""
NUM_FEATURES = 300
"""Corners that are followed at a time. Their errors average out; more cost time."""
GRID = (8, 6)
"""Columns and rows of the cells over which corners are spread evenly, so that one textured object does not decide."""
DETECTIONS_PER_CELL = 3
"""Corners detected for each one that is wanted, from which the strongest of each cell are taken."""
CORNER_QUALITY, CORNER_DISTANCE_SHARE = 0.003, 1 / 90
"""Weakest corner as a share of the strongest, and distance between corners as a share of the longer side."""
WINDOW_PX, NUM_PYRAMID_LEVELS = 17, 4
MAX_ROUND_TRIP_PX = 0.5
"""A corner tracked to the next frame and back must return to within this distance."""
KEYFRAME_MOTION_SHARE = 0.06
"""A keyframe is made where the corners have moved, in the median, by this share of the diagonal since the last one ..."""
MIN_SURVIVING_SHARE = 0.7
"""... or where fewer of its corners are left."""
MIN_TRACKED = 16
"""With fewer corners from one frame to the next, the way is lost between them."""
MIN_SEEN_AGAIN, MAX_TIED_SHARE, MAX_TIES = 40, 0.25, 2
"""A keyframe is tied to at most so many earlier ones, of which it should see at least so many corners and has fewer than this share."""


@dataclass(frozen=True)
class FeatureTracks:
    """Where corners of the background were seen: one observation a row, sorted by frame, in pixels of the clip.

    Attributes:
        frame: The clip's frame of each observation.
        track: Which corner it is; those of one corner have one number.
        xy_px: Where it was seen.
        keyframes: Frames on which corners were detected, rising; the first is frame 0.
        breaks: Frames to which too few corners were followed from the frame before: what is before and after is not tied together.
    """

    frame: Int[np.ndarray, " n"]
    track: Int[np.ndarray, " n"]
    xy_px: Float[np.ndarray, "n 2"]
    keyframes: Int[np.ndarray, " k"]
    breaks: Int[np.ndarray, " b"]
    num_frames: int
    width_px: int
    height_px: int

    @property
    def diagonal_px(self) -> float:
        return float(np.hypot(self.width_px, self.height_px))

    def on(self, frame: int) -> slice:
        """Rows of the observations on a frame."""
        first, last = np.searchsorted(self.frame, [frame, frame + 1])
        return slice(int(first), int(last))

    def common(self, a: int, b: int) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Rows of the corners that are seen on both frames."""
        rows_a, rows_b = self.on(a), self.on(b)
        _, at_a, at_b = np.intersect1d(self.track[rows_a], self.track[rows_b], return_indices=True)
        return rows_a.start + at_a, rows_b.start + at_b


def track_background(
    frames: FrameSource, masks: Sequence[MaskTrack] = (), progress: ProgressFn = ignore_progress
) -> tuple[FeatureTracks, dict[int, BackgroundFrame]]:
    """Corners of the clip's background on every frame, and the keyframes' pictures; people's ``masks`` are left out, grown. Reads the clip
    once."""
    clip = frames.clip
    tracker = FeatureTracker()

    def shrink(frame: int, rgb: np.ndarray) -> tuple[int, BackgroundFrame]:
        return frame, shrunk(rgb, people_mask(masks, frame, rgb.shape[:2], shrink_factor(rgb.shape[1], rgb.shape[0])))

    with closing(in_threads(shrink, frames.read(), SHRINKING_THREADS, "body4d-shrink")) as pictures:
        for frame, picture in pictures:
            tracker.step(frame, picture)
            progress(frame + 1, len(clip))
    return tracker.finish(clip.width_px, clip.height_px), tracker.pictures


def tie_keyframes(
    tracks: FeatureTracks, pictures: Mapping[int, BackgroundFrame], homographies: Callable[[int, int], Float[np.ndarray, "3 3"]]
) -> FeatureTracks:
    """The same corners with those added that a keyframe sees again after they were lost, as where the camera turns back.

    ``homographies(a, b)`` takes pixels of keyframe number a to where keyframe number b is expected to see them. The earlier picture is
    warped by it, and its corners are tracked from there.
    """
    added: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for b in range(2, len(tracks.keyframes)):
        later = int(tracks.keyframes[b])
        known = tracks.track[tracks.on(later)]
        for a, rows, expected in _seen_again(tracks, b, homographies):
            is_new = ~np.isin(tracks.track[rows], known)
            rows, expected = rows[is_new], expected[is_new]
            xy, good = _follow_warped(pictures[int(tracks.keyframes[a])], pictures[later], homographies(a, b), expected, tracks)
            ids = tracks.track[rows[good]]
            known = np.append(known, ids)
            added.append((np.full(len(ids), later), ids, xy[good]))
    if not added:
        return tracks
    frame = np.concatenate([tracks.frame, *(rows[0] for rows in added)])
    order = np.argsort(frame, kind="stable")
    track = np.concatenate([tracks.track, *(rows[1] for rows in added)])
    xy = np.concatenate([tracks.xy_px, *(rows[2] for rows in added)])
    return replace(tracks, frame=frame[order], track=track[order], xy_px=xy[order])


def _seen_again(tracks: FeatureTracks, b: int, homographies: Callable[[int, int], np.ndarray]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Earlier keyframes of which keyframe number ``b`` should see many corners and has few, the most promising first: their number, rows
    of those corners, and where they are expected (pixels of the clip)."""
    out = []
    later = int(tracks.keyframes[b])
    for a in range(b - 1):
        H = homographies(a, b)
        rows = np.arange(*tracks.on(int(tracks.keyframes[a])).indices(len(tracks.frame)))
        at = np.column_stack([tracks.xy_px[rows], np.ones(len(rows))]) @ H.T
        expected = at[:, :2] / np.maximum(at[:, 2:], 1e-6)
        inside = (at[:, 2] > 0) & np.all((expected > 0) & (expected < [tracks.width_px, tracks.height_px]), axis=1)
        common = len(tracks.common(int(tracks.keyframes[a]), later)[0])
        if inside.sum() >= MIN_SEEN_AGAIN and common < MAX_TIED_SHARE * inside.sum():
            out.append((a, rows[inside], expected[inside]))
    return sorted(out, key=lambda pair: -len(pair[1]))[:MAX_TIES]


def _follow_warped(
    before: BackgroundFrame, after: BackgroundFrame, H: np.ndarray, expected_px: np.ndarray, tracks: FeatureTracks
) -> tuple[np.ndarray, np.ndarray]:
    """Where corners expected at ``expected_px`` are, in pixels of the clip, and which were followed safely."""
    import cv2

    height, width = after.grey.shape
    factor = float(shrink_factor(tracks.width_px, tracks.height_px))
    # From OpenCV's pixel centres of the small picture to ours of the clip, and back.
    to_clip = np.array([[factor, 0, factor / 2], [0, factor, factor / 2], [0, 0, 1]])
    warp = np.linalg.inv(to_clip) @ H @ to_clip
    warped = BackgroundFrame(cv2.warpPerspective(before.grey, warp, (width, height), borderMode=cv2.BORDER_REPLICATE), before.background)
    start = expected_px / factor - 0.5
    found, good = follow(warped, after, start.astype(np.float32))
    return (found.astype(np.float64) + 0.5) * factor, good


def shrink_factor(width_px: int, height_px: int) -> int:
    """The whole number by which frames of this size are shrunk."""
    return max(1, round(max(width_px, height_px) / TRACKING_SIDE_PX))


def shrunk(rgb: UInt8[np.ndarray, "h w 3"], people: Bool[np.ndarray, "rows columns"]) -> BackgroundFrame:
    """A frame as it is tracked, with the people, of whom each ``shrink_factor``th pixel is given, grown. It is shrunk by a whole number,
    which is several times as quick as by another."""
    import cv2

    factor = shrink_factor(rgb.shape[1], rgb.shape[0])
    height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
    whole = rgb[: factor * height, : factor * width]
    grey = cv2.resize(cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
    background = np.full((height, width), 255, np.uint8)
    small = people[:height, :width]
    if small.any():
        margin = 2 * round(max(width, height) * MASK_MARGIN_SHARE) + 1
        background[cv2.dilate(small.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0] = 0
    return BackgroundFrame(grey, background)


class FeatureTracker:
    """Follows corners from frame to frame. ``step`` takes the frames in order, ``finish`` gives what was seen."""

    def __init__(self) -> None:
        self._previous: BackgroundFrame | None = None
        self._points = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._at_keyframe: dict[int, np.ndarray] = {}
        self._num_tracks = 0
        self._rows: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._keyframes: list[int] = []
        self._breaks: list[int] = []
        self._num_at_keyframe = 0
        self.pictures: dict[int, BackgroundFrame] = {}
        """The keyframes' pictures."""

    def step(self, frame: int, picture: BackgroundFrame) -> None:
        if self._previous is None:
            self._make_keyframe(frame, picture)
        else:
            points, kept = follow(self._previous, picture, self._points)
            if kept.sum() < MIN_TRACKED and len(self._points) >= MIN_TRACKED:
                self._breaks.append(frame)
            self._points, self._ids = points[kept], self._ids[kept]
            if self._has_moved_on(picture):
                self._make_keyframe(frame, picture)
        self._rows.append((frame, self._ids, self._points.copy()))
        self._previous = picture

    def finish(self, width_px: int, height_px: int) -> FeatureTracks:
        frames = np.repeat([row[0] for row in self._rows], [len(row[1]) for row in self._rows]).astype(np.int64)
        ids = np.concatenate([row[1] for row in self._rows])
        xy = np.concatenate([row[2] for row in self._rows]).astype(np.float64)
        # OpenCV's pixel centres are whole numbers, ours are halves.
        xy = (xy + 0.5) * shrink_factor(width_px, height_px)
        keyframes, breaks = np.array(self._keyframes), np.array(self._breaks, np.int64)
        return FeatureTracks(frames, ids, xy, keyframes, breaks, len(self._rows), width_px, height_px)

    def _has_moved_on(self, picture: BackgroundFrame) -> bool:
        if len(self._points) < max(MIN_SURVIVING_SHARE * self._num_at_keyframe, MIN_TRACKED):
            return True
        start = np.array([self._at_keyframe[i] for i in self._ids if i in self._at_keyframe])  # pyright: ignore[reportArgumentType]
        now = self._points[[i in self._at_keyframe for i in self._ids]]
        moved = float(np.median(np.linalg.norm(now - start, axis=1))) if len(now) else np.inf
        return moved > KEYFRAME_MOTION_SHARE * float(np.hypot(*picture.grey.shape))

    def _make_keyframe(self, frame: int, picture: BackgroundFrame) -> None:
        new = detect(picture, self._points)
        self._points = np.concatenate([self._points, new])
        self._ids = np.concatenate([self._ids, self._num_tracks + np.arange(len(new))])
        self._num_tracks += len(new)
        self._at_keyframe = dict(zip(self._ids.tolist(), self._points, strict=True))
        self._num_at_keyframe = len(self._points)
        self._keyframes.append(frame)
        self.pictures[frame] = picture


def follow(
    before: BackgroundFrame,
    after: BackgroundFrame,
    points: Float[np.ndarray, "n 2"],
    guess: Float[np.ndarray, "n 2"] | None = None,
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Where points of one picture are in another, in its pixels (OpenCV's, whole at a pixel's centre), and which were followed safely:
    back to where they came from, and not onto a person. ``guess`` says where to begin."""
    import cv2

    if not len(points):
        return points, np.zeros(0, bool)
    options = {"winSize": (WINDOW_PX, WINDOW_PX), "maxLevel": NUM_PYRAMID_LEVELS}
    start = points.astype(np.float32)[:, None]
    flags = 0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW
    first = None if guess is None else guess.astype(np.float32)[:, None]
    found, is_found, _ = cv2.calcOpticalFlowPyrLK(before.grey, after.grey, start, first, flags=flags, **options)  # type: ignore[call-overload]
    home = None if first is None else found - (guess.astype(np.float32)[:, None] - start)  # pyright: ignore[reportOptionalMemberAccess]
    back, is_back, _ = cv2.calcOpticalFlowPyrLK(after.grey, before.grey, found, home, flags=flags, **options)  # type: ignore[call-overload]
    round_trip = np.linalg.norm(back[:, 0] - start[:, 0], axis=1)
    good = (is_found[:, 0] > 0) & (is_back[:, 0] > 0) & (round_trip < MAX_ROUND_TRIP_PX)
    x, y = np.nan_to_num(np.floor(found[:, 0] + 0.5), nan=-1.0, posinf=-1.0, neginf=-1.0).astype(int).T
    height, width = after.background.shape
    good &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    good &= after.background[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0
    return found[:, 0], good


def detect(picture: BackgroundFrame, known: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """New corners of the background, away from the known ones, that fill up each cell's share of ``NUM_FEATURES``."""
    import cv2

    height, width = picture.grey.shape
    distance = max(height, width) * CORNER_DISTANCE_SHARE
    free = picture.background.copy()
    for x, y in known:
        cv2.circle(free, (round(float(x)), round(float(y))), round(distance), 0, -1)
    corners = cv2.goodFeaturesToTrack(picture.grey, DETECTIONS_PER_CELL * NUM_FEATURES, CORNER_QUALITY, distance, mask=free)
    if corners is None:
        return np.zeros((0, 2), np.float32)
    wanted = -(-NUM_FEATURES // (GRID[0] * GRID[1]))
    counts = np.bincount(_cells(known, width, height), minlength=GRID[0] * GRID[1])
    kept = []
    for point, cell in zip(corners[:, 0], _cells(corners[:, 0], width, height), strict=True):
        if counts[cell] < wanted:
            counts[cell] += 1
            kept.append(point)
    return np.array(kept, np.float32).reshape(-1, 2)


def _cells(points: np.ndarray, width: int, height: int) -> np.ndarray:
    column = np.clip(points[:, 0] * GRID[0] // width, 0, GRID[0] - 1).astype(int)
    row = np.clip(points[:, 1] * GRID[1] // height, 0, GRID[1] - 1).astype(int)
    return row * GRID[0] + column
