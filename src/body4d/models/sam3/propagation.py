"""Passes over a clip that follow people both ways from where they were pointed at or detected; a pass encodes each frame once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.core.stages import ProgressFn
from body4d.core.types import Clip, MaskTrack
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import GroupTracker, ObjectTracker
from body4d.models.sam3.streaming import FrameEncoder, MaskEncoder, MaskRank

MAX_LOST_FRAMES = 30
"""Going back from where a person was first detected ends after so many frames without them."""


@dataclass(frozen=True)
class PromptedObject:
    """A person to follow from frame ``start_frame``, with prompts on ``prompted_frames``."""

    tracker: ObjectTracker
    start_frame: int
    prompted_frames: tuple[int, ...]


@dataclass(frozen=True)
class PropagationJob:
    """One person's part of a pass, from frame ``start`` to frame ``stop``, both included. It ends after ``max_lost_frames`` frames
    without the person."""

    key: int
    tracker: ObjectTracker
    start: int
    stop: int
    max_lost_frames: int | None = None

    def covers(self, frame: int) -> bool:
        return min(self.start, self.stop) <= frame <= max(self.start, self.stop)


class FrameProgress:
    """Frames done and frames planned, for ``report``; more may be planned on the way."""

    def __init__(self, report: ProgressFn) -> None:
        self._report = report
        self._done = self._total = 0

    def plan(self, frames: int) -> None:
        """So many more frames, or fewer."""
        self._total += frames
        if frames < 0:
            self._report(min(self._done, self._total), self._total)

    def step(self) -> None:
        self._done += 1
        self._report(min(self._done, self._total), self._total)


class Propagator:
    """Follows people through ``clip``."""

    def __init__(self, network: Sam3Network, clip: Clip, encoder: FrameEncoder, group: GroupTracker, progress: FrameProgress) -> None:
        self._network, self._encoder, self._group, self._progress = network, encoder, group, progress
        self._size_px, self._last_frame = (clip.width_px, clip.height_px), len(clip) - 1

    def run(self, prompted: Mapping[int, PromptedObject], detected_late: Mapping[int, MaskTrack]) -> dict[int, dict[int, bytes]]:
        """Mask codes by person and frame: ``prompted`` people over the whole clip, those ``detected_late`` before their first frame."""
        self._apply_corrections(prompted)
        with MaskEncoder(self._size_px) as masks:
            starts = {key: min([one.start_frame, *one.tracker.conditioning_frames]) for key, one in prompted.items()}
            self._run_pass(
                [PropagationJob(key, one.tracker, starts[key], self._last_frame) for key, one in prompted.items()], masks, reverse=False
            )
            backward = [PropagationJob(key, one.tracker, starts[key] - 1, 0) for key, one in prompted.items() if starts[key] > 0]
            for key, track in detected_late.items():
                tracker = ObjectTracker(self._network, self._size_px, self._last_frame + 1, initial_mask=first_mask(track))
                backward.append(PropagationJob(key, tracker, int(track.frame_index[0]), 0, MAX_LOST_FRAMES))
            self._run_pass(backward, masks, reverse=True)
            masks.finish()
        for key, track in detected_late.items():
            masks.codes.get(key, {}).pop(int(track.frame_index[0]), None)
        return masks.codes

    def _apply_corrections(self, prompted: Mapping[int, PromptedObject]) -> None:
        """Track up to every correction and apply it there, so that the passes to come know them all."""
        first = {key: min([one.start_frame, *one.prompted_frames]) for key, one in prompted.items()}
        last = {key: max([one.start_frame, *one.prompted_frames]) for key, one in prompted.items()}
        corrected = [key for key in prompted if first[key] < last[key]]
        forward = [PropagationJob(key, prompted[key].tracker, prompted[key].start_frame, last[key]) for key in corrected]
        self._run_pass(forward, None, reverse=False)
        earlier = [key for key in corrected if first[key] < prompted[key].start_frame]
        backward = [PropagationJob(key, prompted[key].tracker, prompted[key].start_frame, first[key]) for key in earlier]
        self._run_pass(backward, None, reverse=True)

    def _run_pass(self, jobs: Sequence[PropagationJob], masks: MaskEncoder | None, *, reverse: bool) -> None:
        """Follow everybody in ``jobs``; of what the trackers remember, only conditioning frames are kept at the end."""
        if not jobs:
            return
        first = min(min(job.start, job.stop) for job in jobs)
        last = max(max(job.start, job.stop) for job in jobs) + 1
        active = list(jobs)
        self._progress.plan(last - first)
        remaining = last - first

        def needed(frame: int) -> bool:
            return any(job.covers(frame) for job in active)

        for batch in self._encoder.stream(first, last, reverse=reverse, needed=needed):
            for encoded in batch:
                here = [job for job in active if job.covers(encoded.frame)]
                logits = self._group.track_frame([job.tracker for job in here], encoded.frame, encoded.features, reverse=reverse)
                if masks is not None:
                    masks.add(encoded.frame, [(job.key, one, MaskRank.CONFIRMED) for job, one in zip(here, logits, strict=True)])
                self._progress.step()
                remaining -= 1
            if masks is not None:
                masks.flush()
                lost = masks.lost_frames
                active = [job for job in active if job.max_lost_frames is None or lost.get(job.key, 0) < job.max_lost_frames]
            if not active:
                break
        if remaining:
            self._progress.plan(-remaining)
        for job in jobs:
            job.tracker.clear_memory()


def first_mask(track: MaskTrack) -> tuple[int, Float[np.ndarray, "height width"]]:
    """The first frame of a track, with the mask on it, 0 or 1."""
    return int(track.frame_index[0]), track.mask(0).astype(np.float32)
