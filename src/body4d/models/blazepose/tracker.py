"""Everybody in the picture, followed from frame to frame: BlazePose's detections given to people by ``association``."""

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from body4d.config import BlazePoseSettings
from body4d.core.types import MaskTrack
from body4d.models.blazepose.association import (
    MAX_COLOUR_DISTANCE_AFTER_ABSENCE,
    Box,
    Detection,
    TrackPrediction,
    clothing_points,
    consensus,
    group_duplicates,
    intersection_px,
    match_groups,
    occlusion_order,
    resolve_overlaps,
    similarity,
)
from body4d.models.blazepose.hands import (
    MIN_CANDIDATE_PRESENCE,
    HandDetection,
    HandRegion,
    Hands,
    HandSearch,
    regions,
    roi_from_hand,
    without_doubles,
)
from body4d.models.blazepose.landmarks import PoseDetection
from body4d.models.blazepose.networks import PoseNetworks
from body4d.models.blazepose.roi import MAX_ROI_SIZE_RATIO, TILE_SHARES, AlignmentFilter, RotatedRoi, search_tiles, tiles_around
from body4d.tracking.association import BODY_JOINTS, colour_distance, colour_histogram, linear_assignment
from body4d.tracking.main_subject import SubjectCandidate

MAX_DETECT_INTERVAL_S = 2.0
"""As long as nobody new is found, the whole picture is searched half as often each time, down to once in this time."""
COARSE_SEARCH_EVERY_S = 0.2
"""The largest tiles alone are searched this often, for people who come near; it costs about 20 ms."""
CLOSE_SEARCH_EVERY_S = 0.07
"""The detector runs this often around people who are lost or near others, as regions drift to neighbours."""
SAME_ROI_SHARE = 0.05
"""Regions whose centres are closer than this share of their side are of one person."""
SAME_ROI_SHARE_ALONE = 0.25
"""The same for a person with nobody near, whose region may be found anew a little beside itself."""
MAX_SETTLING_ROUNDS, SETTLED_SHARE = 8, 0.1
"""The region of somebody new is read at most so often, until it moves and changes by less than this share of its side."""
SETTLING_FRAMES, STEADY_FRAMES = 16, 3
"""Somebody whose region settles at another size within so many frames, and keeps it for so many, is read once more on those before."""
MAX_ROI_SIDE_SHARE = 4.0
"""Regions wider than this many of the picture's longer sides come from exploded landmarks."""
MIN_ROI_SIDE_PX = 4
FULL_TRUST_AGE_S = 0.5
"""People followed for less than this time give way, in proportion, to people followed for longer."""
COLOUR_UPDATE_SHARE = 0.02
"""Share of the newest frame in the colours by which a person is remembered."""
VELOCITY_WINDOW_S = 0.25
"""A person's velocity is the slope of the torso's place over this time."""
VELOCITY_DECAY_S = 0.5
"""The last velocity of an unseen person decays with this time constant."""
FOLLOW_PREDICTION_S = 0.4
"""A lost person's landmarks are read at the predicted place on every frame for this long."""
FIRST_STEP_S = 1 / 30
"""Time that counts as passed before the first frame."""


@dataclass
class PoseTrack:
    """One followed person. ``frames``, ``mask_codes``, ``poses`` and ``hands`` grow by one on every frame on which the person is seen.

    ``detection`` is the latest, with the colours averaged over time.
    """

    index: int
    roi: RotatedRoi
    detection: Detection
    first_seen_s: float
    last_seen_s: float
    roi_filter: AlignmentFilter = field(default_factory=AlignmentFilter)
    recent_centres: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    frames: list[int] = field(default_factory=list)
    mask_codes: list[bytes] = field(default_factory=list)
    poses: list[PoseDetection] = field(default_factory=list)
    hands: list[Hands] = field(default_factory=list)
    hand_searches: tuple[HandSearch, HandSearch] = field(default_factory=lambda: (HandSearch(), HandSearch()))
    is_read_back: bool = False

    def velocity_px_per_s(self) -> Float[np.ndarray, " 2"]:
        """Slope of the torso's place over the last ``VELOCITY_WINDOW_S``."""
        if len(self.recent_centres) < 3:
            return np.zeros(2)
        times = np.array([t for t, _ in self.recent_centres])
        centres = np.array([c for _, c in self.recent_centres])
        offset_s = times - times.mean()
        return (offset_s[:, None] * (centres - centres.mean(axis=0))).sum(axis=0) / max(float((offset_s**2).sum()), 1e-9)

    def predict(self, now_s: float) -> TrackPrediction:
        unseen_s = now_s - self.last_seen_s
        moving_s = VELOCITY_DECAY_S * (1 - np.exp(-unseen_s / VELOCITY_DECAY_S))
        return TrackPrediction(self.detection, self.velocity_px_per_s() * moving_s, unseen_s)

    def candidate(self) -> SubjectCandidate:
        """What the choice of the main subject needs."""
        points = np.array([pose.points_px[BODY_JOINTS] for pose in self.poses])
        visibility = np.array([pose.visibility[BODY_JOINTS].mean() for pose in self.poses])
        heights = np.linalg.norm(np.ptp(points, axis=1), axis=1)
        return SubjectCandidate(np.array(self.frames), points.mean(axis=1), heights, visibility)


@dataclass(frozen=True)
class _FrameDetection:
    """A person's landmarks and mask on one frame with what identifies them.

    ``is_new``: from a search, not from the region of somebody followed. ``is_unambiguous``: from the region of somebody with nobody
    near; no detection of a search replaces it, as that would only make the landmarks jitter.
    """

    pose: PoseDetection
    detection: Detection
    is_new: bool
    is_unambiguous: bool = False


class PoseTracker:
    """Follows everybody through frames given in order.

    Attributes:
        tracks: Everybody ever followed, in order of discovery.
        track_limit_reached: Whether somebody was not followed because ``max_people`` were.

    Args:
        networks: Finds people and reads their landmarks.
        settings: When people are searched for, and how visible they have to be.
        search_frames: Frames on which the whole picture is searched in any case.
    """

    def __init__(self, networks: PoseNetworks, settings: BlazePoseSettings, search_frames: frozenset[int] = frozenset()) -> None:
        self.tracks: list[PoseTrack] = []
        self.track_limit_reached = False
        self._networks = networks
        self._settings = settings
        self._search_frames = search_frames
        self._full_search_s = self._coarse_search_s = self._close_search_s = -np.inf
        self._detect_interval_s = settings.detect_every_s
        self._last_frame_s: float | None = None
        self._shot_begin_s = -np.inf
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=SETTLING_FRAMES)

    def step(self, frame: int, now_s: float, rgb: UInt8[np.ndarray, "h w 3"], is_cut: bool = False) -> None:
        """Follow everybody on the next frame, and from time to time search it for others.

        Where it ``is_cut``, nobody is followed from the frame before: everybody is searched for, and known again by their clothes alone.
        """
        if is_cut:
            self._last_frame_s, self._shot_begin_s = None, now_s
            self._detect_interval_s = self._settings.detect_every_s
            self._recent.clear()
        step_s = now_s - self._last_frame_s if self._last_frame_s is not None else FIRST_STEP_S
        in_shot = [t for t in self.tracks if t.last_seen_s >= self._shot_begin_s]
        alive = [t for t in in_shot if now_s - t.last_seen_s <= self._settings.max_lost_s + step_s]
        predictions = [track.predict(now_s) for track in alive]
        detections = self._detect(rgb, frame, now_s, alive, predictions)
        is_new = [d.is_new for d in detections]
        groups = self._group(detections, alive, predictions)
        chosen, pairs = match_groups(predictions, [d.detection for d in detections], groups, is_new)
        matched = [detections[i] for i in sorted(pairs)]
        tracks = [alive[pairs[i]] for i in sorted(pairs)]
        unmatched = [i for i in chosen if i not in pairs]
        min_visibility = self._settings.min_start_visibility
        strangers = [detections[i] for i in unmatched if is_new[i] and detections[i].detection.mean_visibility >= min_visibility]
        others = [*matched, *(detections[i] for i in unmatched if not is_new[i])]
        confirmed = self._confirm(rgb, strangers, others)
        known = self._known_again(confirmed)
        for i, one in enumerate(confirmed):
            if len(tracks) >= self._settings.max_people:
                self.track_limit_reached = True
                break
            matched.append(one)
            if i in known:
                tracks.append(known[i])
                known[i].hand_searches = (HandSearch(), HandSearch())
                continue
            roi = RotatedRoi.from_alignment(one.pose.alignment_px)
            tracks.append(PoseTrack(len(self.tracks), roi, one.detection, now_s, now_s))
            self.tracks.append(tracks[-1])
            self._detect_interval_s = self._settings.detect_every_s  # where one person comes others may follow
        hands = self._read_hands(rgb, now_s, tracks, [one.pose for one in matched])
        masks = _masks_without_overlap(matched, rgb.shape)
        for track, one, own_hands, mask in zip(tracks, matched, hands, masks, strict=True):
            track.hands.append(own_hands)
            self._update(track, one, mask, rgb.shape, frame, now_s, step_s)
        self._recent.append((frame, rgb))
        for track in tracks:
            if _settles_late(track):
                self._read_back(track)
        if not any(frame - track.frames[0] < SETTLING_FRAMES for track in self.tracks):
            self._recent.clear()
        self._last_frame_s = now_s

    def _read_back(self, track: PoseTrack) -> None:
        """Read somebody once more on the frames before this one, the latest first, each in the region of the next, as long as it stays.

        A region that takes in a tree behind somebody may settle there, and come off it only as they walk on.
        """
        track.is_read_back = True
        at = {frame: i for i, frame in enumerate(track.frames)}
        others = {frame for other in self.tracks if other is not track for frame in other.frames[-SETTLING_FRAMES:]}
        roi = RotatedRoi.from_alignment(track.poses[-1].alignment_px)
        for frame, rgb in reversed(list(self._recent)[:-1]):
            if frame < track.frames[0] or frame in others:
                return
            if frame not in at:
                continue
            own = RotatedRoi.from_alignment(track.poses[at[frame]].alignment_px)
            (one,) = self._read_each(rgb, [roi], [True])
            if one is None or one.detection.mean_visibility < self._settings.min_start_visibility:
                return
            found = RotatedRoi.from_alignment(one.pose.alignment_px)
            if not _is_settled(roi, found):
                return
            roi = found
            if _is_settled(own, roi):
                continue
            (mask,) = _masks_without_overlap([one], rgb.shape)
            track.mask_codes[at[frame]] = MaskTrack.encode(mask, one.pose.box_px[:2], (rgb.shape[0], rgb.shape[1]))
            track.poses[at[frame]], track.hands[at[frame]] = one.pose.without_mask(), (None, None)

    def _known_again(self, found: Sequence[_FrameDetection]) -> dict[int, PoseTrack]:
        """The track of an earlier shot that each of ``found`` continues, by the colours worn; others are new."""
        earlier = [track for track in self.tracks if track.last_seen_s < self._shot_begin_s]
        if not earlier or not found:
            return {}
        costs = np.array([[colour_distance(track.detection.colour, one.detection.colour) for one in found] for track in earlier])
        pairs = linear_assignment(np.where(costs <= MAX_COLOUR_DISTANCE_AFTER_ABSENCE, costs, np.inf))
        return {one: earlier[track] for one, track in pairs.items()}

    def _detect(
        self, rgb: np.ndarray, frame: int, now_s: float, alive: list[PoseTrack], predictions: list[TrackPrediction]
    ) -> list[_FrameDetection]:
        """Who is seen in the regions of the people followed, and in those that the searches due on this frame find."""
        followed = [
            (t.roi if t.last_seen_s == self._last_frame_s else t.roi.shifted(p.shift_px), t.last_seen_s == self._last_frame_s)
            for t, p in zip(alive, predictions, strict=True)
            if t.last_seen_s == self._last_frame_s or now_s - t.last_seen_s <= FOLLOW_PREDICTION_S
        ]
        rois = [roi for roi, _ in followed]
        is_unambiguous = [seen_last and not any(roi.is_near(other) for other in rois if other is not roi) for roi, seen_last in followed]
        detections = self._read_landmarks(rgb, rois, is_unambiguous)
        return detections + self._read_landmarks(rgb, self._search(frame, now_s, rgb, alive, predictions, rois), None)

    def _read_landmarks(self, rgb: np.ndarray, rois: Sequence[RotatedRoi], is_unambiguous: Sequence[bool] | None) -> list[_FrameDetection]:
        """Usable detections in regions of followed people, each unambiguous or not, or (None) in regions of a search."""
        return [one for one in self._read_each(rgb, rois, is_unambiguous) if one is not None]

    def _read_each(
        self, rgb: np.ndarray, rois: Sequence[RotatedRoi], is_unambiguous: Sequence[bool] | None
    ) -> list[_FrameDetection | None]:
        """The same by region, None where nothing usable is."""
        flags = is_unambiguous if is_unambiguous is not None else [False] * len(rois)
        return [
            None if pose is None else self._usable(rgb, _without_stray_pieces(pose), is_unambiguous is None, flag)
            for pose, flag in zip(self._networks.landmarks(rgb, rois), flags, strict=True)
        ]

    def _usable(self, rgb: np.ndarray, pose: PoseDetection, is_new: bool, is_unambiguous: bool) -> _FrameDetection | None:
        if not _is_usable(pose, rgb.shape, self._settings.min_keep_visibility):
            return None
        detection = _identify(pose, rgb)
        is_clear = detection.mean_visibility >= self._settings.min_start_visibility
        return _FrameDetection(pose, detection, is_new, is_unambiguous and is_clear)

    def _confirm(self, rgb: np.ndarray, strangers: list[_FrameDetection], others: list[_FrameDetection]) -> list[_FrameDetection]:
        """New people who are still there, and are none of the others, when read again in the region of their own landmarks.

        The detector's regions are rough, and landmarks read in them may be far off; the first detection is what a person is known by.
        """
        if not strangers:
            return []
        settled = self._settled(rgb, [RotatedRoi.from_alignment(d.pose.alignment_px) for d in strangers])
        again = [d for d in settled if d.detection.mean_visibility >= self._settings.min_start_visibility]
        groups = self._group([*others, *again], [], [])
        heads = sorted(group[0] - len(others) for group in groups if min(group) >= len(others))
        return [again[i] for i in heads]

    def _settled(self, rgb: np.ndarray, rois: Sequence[RotatedRoi]) -> list[_FrameDetection]:
        """Who is read in each region, and again in the region of the landmarks found there, until it stays where it is.

        A region that takes in a tree behind somebody shrinks to the person over some readings; on later frames the last one's is near.
        """
        places, found = dict(enumerate(rois)), dict[int, _FrameDetection]()
        for _ in range(MAX_SETTLING_ROUNDS):
            again = self._read_each(rgb, list(places.values()), None)
            moved: dict[int, RotatedRoi] = {}
            for (i, before), one in zip(places.items(), again, strict=True):
                if one is not None:
                    found[i], roi = one, RotatedRoi.from_alignment(one.pose.alignment_px)
                    if not _is_settled(before, roi):
                        moved[i] = roi
            if not moved:
                break
            places = moved
        return [found[i] for i in sorted(found)]

    def _search(
        self,
        frame: int,
        now_s: float,
        rgb: np.ndarray,
        alive: list[PoseTrack],
        predictions: list[TrackPrediction],
        rois: list[RotatedRoi],
    ) -> list[RotatedRoi]:
        """Regions that may show somebody who is not followed yet, in the tiles that are due on this frame."""
        tiles = self._tiles_due(frame, now_s, rgb, alive, predictions)
        if not tiles:
            return []
        # A lone person's region may be found anew a little beside itself; near others, a little beside may be somebody else.
        shares = [SAME_ROI_SHARE if any(r.is_near(o) for o in rois if o is not r) else SAME_ROI_SHARE_ALONE for r in rois]
        new_rois: list[RotatedRoi] = []
        for roi in sorted(self._networks.detect(rgb, list(dict.fromkeys(tiles))), key=lambda r: -r.score):
            known = zip((*rois, *new_rois), (*shares, *[SAME_ROI_SHARE] * len(new_rois)), strict=True)
            if not any(roi.is_same(other, share) for other, share in known):
                new_rois.append(roi)
        # Several may be of one person, so more are read than there is room for, the largest first.
        return sorted(new_rois, key=lambda r: -r.side_px)[: 2 * self._settings.max_people]

    def _tiles_due(
        self, frame: int, now_s: float, rgb: np.ndarray, alive: list[PoseTrack], predictions: list[TrackPrediction]
    ) -> list[Box]:
        """Tiles to search: all when it is time, else the largest ones and those around people who are lost or near others."""
        height, width = rgb.shape[:2]
        if now_s - self._full_search_s >= self._detect_interval_s or frame in self._search_frames or self._last_frame_s is None:
            self._full_search_s = self._coarse_search_s = self._close_search_s = now_s
            longest_s = max(MAX_DETECT_INTERVAL_S, self._settings.detect_every_s)
            self._detect_interval_s = min(2 * self._detect_interval_s, longest_s)
            return search_tiles(width, height)
        tiles: list[Box] = []
        if now_s - self._coarse_search_s >= COARSE_SEARCH_EVERY_S:
            self._coarse_search_s = now_s
            tiles += search_tiles(width, height, TILE_SHARES[:1])
        if now_s - self._close_search_s >= CLOSE_SEARCH_EVERY_S:
            self._close_search_s = now_s
            tiles += self._tiles_around_ambiguous(alive, predictions, width, height)
        return tiles

    def _tiles_around_ambiguous(self, alive: list[PoseTrack], predictions: list[TrackPrediction], width: int, height: int) -> list[Box]:
        """Tiles around everybody who is lost or near somebody else."""
        rois = [track.roi.shifted(prediction.shift_px) for track, prediction in zip(alive, predictions, strict=True)]
        return [
            tile
            for i, (track, roi) in enumerate(zip(alive, rois, strict=True))
            if track.last_seen_s != self._last_frame_s or any(roi.is_near(other) for k, other in enumerate(rois) if k != i)
            for tile in tiles_around(roi, width, height)
        ]

    def _read_hands(self, rgb: np.ndarray, now_s: float, tracks: Sequence[PoseTrack], poses: Sequence[PoseDetection]) -> list[Hands]:
        """Both hands of everybody on this frame, where they are large enough and seen.

        A hand that is not followed is read twice, the second time in the region of its own landmarks, as that of the body is rough.
        """
        if not self._networks.reads_hands:
            return [(None, None)] * len(tracks)
        asked: list[tuple[PoseTrack, HandRegion]] = []
        for track, pose in zip(tracks, poses, strict=True):
            seen_last = bool(track.poses) and track.last_seen_s == self._last_frame_s
            last_px, last_hands = (track.poses[-1].points_px, track.hands[-1]) if seen_last else (None, (None, None))
            due = regions(pose.points_px, pose.visibility, last_px, last_hands)
            asked += [(track, region) for region in due if track.hand_searches[region.side].is_due(now_s)]
        read = self._networks.hands(rgb, [region.roi for _, region in asked])
        rough = {
            k: roi_from_hand(h.points_px) for k, h in enumerate(read) if h and not asked[k][1].follows and h.score > MIN_CANDIDATE_PRESENCE
        }
        for k, hand in zip(rough, self._networks.hands(rgb, list(rough.values())), strict=True):
            read[k] = hand
        found: dict[int, list[HandDetection | None]] = {track.index: [None, None] for track in tracks}
        for (track, region), hand in zip(asked, read, strict=True):
            is_seen, search = region.is_seen(hand), track.hand_searches[region.side]
            found[track.index][region.side] = hand if is_seen else None
            search.read_s, search.seen_s = now_s, now_s if is_seen else search.seen_s
        return [without_doubles((found[track.index][0], found[track.index][1])) for track in tracks]

    def _group(self, detections: list[_FrameDetection], alive: list[PoseTrack], predictions: list[TrackPrediction]) -> list[list[int]]:
        """Detections by person; those come first that continue the track of somebody long followed, then the more visible ones."""
        masks = [_mask_in_box(d) for d in detections]
        n = len(detections)
        intersections = np.array([[intersection_px(*a, *b) for b in masks] for a in masks], float).reshape(n, n)
        trust = [min(1.0, (track.last_seen_s - track.first_seen_s) / FULL_TRUST_AGE_S) for track in alive]
        rank = np.array(
            [
                d.detection.mean_visibility
                + max((w * similarity(p, d.detection) for p, w in zip(predictions, trust, strict=True)), default=0.0)
                for d in detections
            ]
        )
        identities = [d.detection for d in detections]
        rank += consensus(identities, intersections)
        order = sorted(range(n), key=lambda i: (not detections[i].is_unambiguous, -rank[i], i))
        return group_duplicates(identities, intersections, order, [d.is_new for d in detections])

    def _update(
        self, track: PoseTrack, detected: _FrameDetection, mask: np.ndarray, shape: tuple[int, ...], frame: int, now_s: float, step_s: float
    ) -> None:
        pose, detection = detected.pose, detected.detection
        if track.last_seen_s != self._last_frame_s:  # new, or back after an absence: the filter's past no longer holds
            track.roi_filter = AlignmentFilter()
            track.recent_centres.clear()
        track.roi = RotatedRoi.from_alignment(track.roi_filter(pose.alignment_px, step_s))
        share = max(COLOUR_UPDATE_SHARE, 1 / (len(track.frames) + 1))  # a plain mean at first
        colour = (1 - share) * track.detection.colour + share * detection.colour
        track.detection = dataclasses.replace(detection, colour=colour)
        track.last_seen_s = now_s
        track.recent_centres.append((now_s, detection.centre_px))
        while now_s - track.recent_centres[0][0] > VELOCITY_WINDOW_S:
            track.recent_centres.popleft()
        track.frames.append(frame)
        track.mask_codes.append(MaskTrack.encode(mask, pose.box_px[:2], (shape[0], shape[1])))
        track.poses.append(pose.without_mask())


def _is_settled(before: RotatedRoi, after: RotatedRoi) -> bool:
    """Whether a region has stayed where it was, and as large."""
    return after.is_same(before, SETTLED_SHARE) and abs(after.side_px / before.side_px - 1) < SETTLED_SHARE


def _settles_late(track: PoseTrack) -> bool:
    """Whether the region of somebody just found has now settled at a size that cannot be of the same person as the first one's."""
    if track.is_read_back or len(track.poses) <= STEADY_FRAMES or track.frames[-1] - track.frames[0] >= SETTLING_FRAMES:
        return False
    side_px = np.array([RotatedRoi.from_alignment(pose.alignment_px).side_px for pose in track.poses])
    latest = side_px[-STEADY_FRAMES:]
    ratio = max(side_px[0], latest[-1]) / max(min(side_px[0], latest[-1]), 1e-6)
    return bool(np.ptp(latest) < SETTLED_SHARE * latest[-1] and ratio > MAX_ROI_SIZE_RATIO)


def _without_stray_pieces(pose: PoseDetection) -> PoseDetection:
    """The same without the pieces of mask that hold none of the joints: specks on a neighbour or on the background."""
    count, pieces = cv2.connectedComponents((pose.mask_probability > 0.5).view(np.uint8), connectivity=4)
    if count <= 2:  # the background counts as a piece
        return pose
    x, y, inside = _pixels_in_box(pose.points_px, pose.box_px)
    keep = np.bincount(np.asarray(pieces, np.int64)[y[inside], x[inside]], minlength=count) > 0
    keep[0] = True  # what is no mask at all stays as it is
    return dataclasses.replace(
        pose, mask_probability=np.where(keep[np.asarray(pieces, np.int64)], pose.mask_probability, 0).astype(np.float32)
    )


def _is_usable(pose: PoseDetection, shape: tuple[int, ...], min_visibility: float) -> bool:
    """Whether these landmarks can be followed: visible, inside the picture, of a plausible size, and with a mask."""
    height, width = shape[:2]
    roi = RotatedRoi.from_alignment(pose.alignment_px)
    is_inside = 0 <= roi.x_px < width and 0 <= roi.y_px < height
    is_sized = MIN_ROI_SIDE_PX <= roi.side_px <= MAX_ROI_SIDE_SHARE * max(width, height)
    is_visible = float(pose.visibility[BODY_JOINTS].mean()) >= min_visibility
    return is_inside and is_sized and is_visible and bool((pose.mask_probability > 0.5).any())


def _identify(pose: PoseDetection, rgb: np.ndarray) -> Detection:
    """Joints, size and colours of a detected pose."""
    points, is_upper = clothing_points(pose.points_px)
    x, y, inside = _pixels_in_box(points, pose.box_px)
    x, y, is_upper = x[inside], y[inside], is_upper[inside]
    x0, y0, _, _ = pose.box_px
    colour = colour_histogram(rgb[y + y0, x + x0], pose.mask_probability[y, x], is_upper)
    size_px = float(2 * np.linalg.norm(pose.alignment_px[1] - pose.alignment_px[0]))
    return Detection(pose.points_px, pose.visibility, size_px, colour)


def _pixels_in_box(points_px: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column and row of each point, counted from the box's corner, and whether the point lies inside the box."""
    x0, y0, x1, y1 = box
    x, y = np.floor(points_px).astype(int).T
    return x - x0, y - y0, (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def _mask_in_box(detected: _FrameDetection) -> tuple[Bool[np.ndarray, "h w"], Box]:
    return detected.pose.mask_probability > 0.5, detected.pose.box_px


def _masks_without_overlap(detections: Sequence[_FrameDetection], shape: tuple[int, ...]) -> list[np.ndarray]:
    masks = [_mask_in_box(d) for d in detections]
    orders = [occlusion_order(d.detection, i, masks) for i, d in enumerate(detections)]
    poses = [d.pose for d in detections]
    return resolve_overlaps([p.mask_probability for p in poses], [p.box_px for p in poses], orders, (shape[0], shape[1]))
