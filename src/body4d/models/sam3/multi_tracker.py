"""Everybody whom a text detects, followed through a clip: detections are given to tracks by ``body4d.models.sam3.identity``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from body4d.config import Sam3Settings
from body4d.core.types import Clip
from body4d.models.sam3.identity import (
    SAME_PERSON_IOU,
    Appearance,
    LostTrack,
    describe_appearance,
    find_duplicates,
    is_false_positive,
    mask_iou,
    match_detections,
    reidentify,
)
from body4d.models.sam3.network import MIN_MASK_CELLS, Sam3Detections, Sam3Network
from body4d.models.sam3.object_tracker import GroupTracker, ObjectTracker
from body4d.models.sam3.streaming import EncodedFrame, MaskRank

CONDITIONING_EVERY_FRAMES = 16
"""A confirmed mask becomes a conditioning frame this often, against drift ..."""

MIN_CONDITIONING_SCORE = 0.8
"""... where the detection's probability ..."""

MIN_CONDITIONING_IOU = 0.8
"""... and its overlap with the tracked mask are at least this."""

MAX_CONDITIONING_FRAMES = 4
"""Conditioning frames kept of a person; the network reads no more than four."""

SUSPEND_AFTER_S = 3.0
"""A person who is out of sight for longer is not looked for on every frame any more, only recognized again in a detection."""

COLOUR_UPDATE_RATE = 0.2
"""Weight of the newest detection in a person's remembered colours."""

ObjectLogits = tuple[int, Float[Tensor, "h w"], MaskRank]
"""A person's object id, mask logits and rank on a frame."""


@dataclass
class Tracklet:
    """A person who was detected. ``visible_since``: the frame since when they are in sight without a break, on the frames searched.

    ``tracker`` is None while they are not looked for on every frame. ``text_hits`` counts, by text, the detections that confirmed them.
    """

    obj_id: int
    first_frame: int
    visible_since: int
    last_seen_s: float
    appearance: Appearance
    tracker: ObjectTracker | None
    last_conditioning_frame: int
    num_searches: int = 1
    num_confirmations: int = 0
    score_sum: float = 0.0
    text_hits: Counter[int] = field(default_factory=Counter)
    velocity_px_per_s: Float[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    tentative: bool = True
    is_duplicate: bool = False
    lost: bool = False

    @property
    def rank(self) -> MaskRank:
        return MaskRank.DUPLICATE if self.is_duplicate else MaskRank.TENTATIVE if self.tentative else MaskRank.CONFIRMED

    @property
    def mean_score(self) -> float:
        return self.score_sum / max(self.num_confirmations, 1)

    def confirm(self, detections: Sam3Detections, index: int) -> None:
        """Count a detection as this person's."""
        self.num_confirmations += 1
        self.score_sum += float(detections.scores[index])
        self.text_hits.update(detections.texts[index])

    def update_appearance(self, appearance: Appearance, frame: int, time_s: float) -> None:
        """The person is in sight on a searched frame."""
        elapsed = time_s - self.last_seen_s
        if self.lost or elapsed <= 0:
            self.velocity_px_per_s = np.zeros(2)
            self.visible_since = frame if self.lost else self.visible_since
        else:
            self.velocity_px_per_s = 0.5 * (self.velocity_px_per_s + (appearance.centre_px - self.appearance.centre_px) / elapsed)
        colour = (1 - COLOUR_UPDATE_RATE) * self.appearance.colour + COLOUR_UPDATE_RATE * appearance.colour
        self.appearance = Appearance(appearance.centre_px, appearance.height_px, colour)
        self.last_seen_s, self.lost = time_s, False


class MultiObjectTracker:
    """Follows everybody who is detected, through frames given in order.

    ``tracklets`` are the people in order of discovery, tentative ones included; ``false_positives`` are the object ids of those who were
    dropped. ``track_limit_reached``: somebody was not followed because of ``settings.max_people``.
    """

    def __init__(self, network: Sam3Network, clip: Clip, settings: Sam3Settings, group: GroupTracker) -> None:
        self.tracklets: list[Tracklet] = []
        self.false_positives: list[int] = []
        self.track_limit_reached = False
        self._network, self._clip, self._settings, self._group = network, clip, settings, group
        self._next_obj_id = 0

    def track_frame(self, frame: EncodedFrame) -> list[ObjectLogits]:
        """Everybody on this frame."""
        active = [t for t in self.tracklets if t.tracker is not None]
        tracked = self._group.track_frame([t.tracker for t in active if t.tracker is not None], frame.frame, frame.features)
        logits = {t.obj_id: one for t, one in zip(active, tracked, strict=True)}
        if frame.detections is not None:
            self._associate(frame, frame.detections, active, logits)
        kept = {t.obj_id: t for t in self.tracklets}
        return [(obj_id, one, kept[obj_id].rank) for obj_id, one in logits.items() if obj_id in kept]

    def _associate(self, frame: EncodedFrame, detections: Sam3Detections, active: list[Tracklet], logits: dict[int, Tensor]) -> None:
        """Compare detections with tracks; people who come into sight are added to ``logits``."""
        time_s = float(self._clip.times_s[frame.frame])
        masks = np.zeros((0, *self._network.mask_size), bool)
        if active:
            masks = (torch.stack([logits[t.obj_id] for t in active]) > 0).cpu().numpy()
        in_sight = masks.sum((1, 2)) >= MIN_MASK_CELLS
        masks = masks & in_sight[:, None, None]
        ious = mask_iou(detections.masks, masks)
        matches = match_detections(ious, detections.scores, self._settings.min_new_track_score)
        for i, tracklet in enumerate(active):
            self._update(tracklet, frame, detections, masks[i], matches.confirmed.get(i), ious[:, i], time_s)
        self._drop_duplicates(frame.frame, active, mask_iou(masks, masks) >= SAME_PERSON_IOU, in_sight)
        self._add_new(frame, detections, matches.new, time_s, logits)
        for tracklet in self.tracklets:
            if time_s - tracklet.last_seen_s > SUSPEND_AFTER_S:
                tracklet.tracker = None

    def _update(
        self,
        tracklet: Tracklet,
        frame: EncodedFrame,
        detections: Sam3Detections,
        mask: np.ndarray,
        detection: int | None,
        ious: np.ndarray,
        time_s: float,
    ) -> None:
        appearance = describe_appearance(mask, frame.image)
        if appearance is None:
            tracklet.lost = True
            return
        tracklet.update_appearance(appearance, frame.frame, time_s)
        tracklet.num_searches += 1
        if detection is None:
            return
        tracklet.confirm(detections, detection)
        due = frame.frame - tracklet.last_conditioning_frame >= CONDITIONING_EVERY_FRAMES
        certain = detections.scores[detection] >= MIN_CONDITIONING_SCORE and ious[detection] >= MIN_CONDITIONING_IOU
        if tracklet.tracker is not None and due and certain:
            tracklet.tracker.add_conditioning_frame(frame.frame)
            tracklet.tracker.trim_conditioning_frames(MAX_CONDITIONING_FRAMES)
            tracklet.last_conditioning_frame = frame.frame

    def _drop_duplicates(
        self, frame: int, active: list[Tracklet], same_body: Bool[np.ndarray, "t t"], in_sight: Bool[np.ndarray, " t"]
    ) -> None:
        """End the tentative time of tracks, and mark duplicates, of which tentative ones are dropped."""
        dropped: set[int] = set()
        for tracklet in active:
            if tracklet.tentative:
                false_positive = is_false_positive(frame - tracklet.first_frame, tracklet.num_searches, tracklet.num_confirmations)
                tracklet.tentative = false_positive is None
                if false_positive:
                    dropped.add(tracklet.obj_id)
            tracklet.is_duplicate = False
        rows = [i for i, tracklet in enumerate(active) if in_sight[i] and tracklet.obj_id not in dropped]
        for i, _ in find_duplicates(same_body[np.ix_(rows, rows)], [active[row].visible_since for row in rows]):
            tracklet = active[rows[i]]
            tracklet.is_duplicate = True
            if tracklet.tentative:
                dropped.add(tracklet.obj_id)
        self.tracklets = [t for t in self.tracklets if t.obj_id not in dropped]
        self.false_positives += sorted(dropped)

    def _add_new(
        self, frame: EncodedFrame, detections: Sam3Detections, new: Sequence[int], time_s: float, logits: dict[int, Tensor]
    ) -> None:
        """People are detected where nobody is tracked: some who were lost, or new ones."""
        appearances = {i: one for i in new if (one := describe_appearance(detections.masks[i], frame.image)) is not None}
        lost = [t for t in self.tracklets if t.lost]
        lost_tracks = [LostTrack(t.appearance, t.velocity_px_per_s, time_s - t.last_seen_s) for t in lost]
        known = reidentify(lost_tracks, list(appearances.values()), self._settings.memory_s)
        for place, (detection, appearance) in enumerate(appearances.items()):
            if place in known:
                tracklet = lost[known[place]]
                tracklet.update_appearance(appearance, frame.frame, time_s)
            elif sum(t.tracker is not None for t in self.tracklets) < self._settings.max_people:
                tracklet = Tracklet(self._next_obj_id, frame.frame, frame.frame, time_s, appearance, None, frame.frame)
                self._next_obj_id += 1
                self.tracklets.append(tracklet)
            else:
                self.track_limit_reached = True
                continue
            tracklet.confirm(detections, detection)
            logits[tracklet.obj_id] = self._start_tracking(tracklet, frame, detections.masks[detection])

    def _start_tracking(self, tracklet: Tracklet, frame: EncodedFrame, mask: np.ndarray) -> Tensor:
        """Follow a person from the mask of a detection."""
        if tracklet.tracker is None:
            tracklet.tracker = ObjectTracker(self._network, (self._clip.width_px, self._clip.height_px), len(self._clip))
        tracklet.tracker.reinit_from_mask(frame.frame, mask.astype(np.float32))
        logits = tracklet.tracker.track_frame(frame.frame, frame.features)
        tracklet.tracker.trim_conditioning_frames(MAX_CONDITIONING_FRAMES)
        tracklet.last_conditioning_frame = frame.frame
        return logits
