"""Passes over a clip that follow people both ways from where they were pointed at; each frame of a pass is encoded once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import Sam3Settings
from body4d.core.stages import ProgressFn
from body4d.core.types import Clip, MaskTrack
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import Followed
from body4d.models.sam3.streaming import SURE, Encoder, Writer


@dataclass(frozen=True)
class Whom:
    """Somebody to follow: from frame ``begin``, with something asked on the frames ``asked``."""

    follow: Followed
    begin: int
    asked: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """One person's part of a pass: from frame ``start`` to frame ``stop``, both included. ``give_up``: unseen frames that end it."""

    number: int
    follow: Followed
    start: int
    stop: int
    give_up: int | None = None

    def covers(self, frame: int) -> bool:
        return min(self.start, self.stop) <= frame <= max(self.start, self.stop)


class Progress:
    """Frames done and frames planned, told to ``report``; more may be planned on the way."""

    def __init__(self, report: ProgressFn) -> None:
        self._report = report
        self._done = self._total = 0

    def plan(self, frames: int) -> None:
        """So many frames more, or fewer."""
        self._total += frames
        if frames < 0:
            self._report(min(self._done, self._total), self._total)

    def step(self) -> None:
        self._done += 1
        self._report(min(self._done, self._total), self._total)


class Passes:
    """Follows people through ``clip``."""

    def __init__(self, network: Sam3Network, clip: Clip, encoder: Encoder, settings: Sam3Settings, progress: Progress) -> None:
        self._network, self._encoder, self._settings, self._progress = network, encoder, settings, progress
        self._size_px, self._last = (clip.width_px, clip.height_px), len(clip) - 1

    def run(self, people: Mapping[int, Whom], late: Mapping[int, MaskTrack]) -> dict[int, dict[int, bytes]]:
        """Codes by person and frame: ``people`` over the whole clip, those ``late`` back from their first frame, it not included."""
        self._prepare(people)
        with Writer(self._size_px, self._settings) as writer:
            begins = {key: min([whom.begin, *whom.follow.firm_frames]) for key, whom in people.items()}
            self._pass([Job(key, whom.follow, begins[key], self._last) for key, whom in people.items()], writer, reverse=False)
            back = [Job(key, whom.follow, begins[key] - 1, 0) for key, whom in people.items() if begins[key] > 0]
            for key, track in late.items():
                follow = Followed(self._network, self._size_px, self._last + 1, start=first_mask(track))
                back.append(Job(key, follow, int(track.frame_index[0]), 0, self._settings.give_up_frames))
            self._pass(back, writer, reverse=True)
            writer.finish()
        for key, track in late.items():
            writer.rows.get(key, {}).pop(int(track.frame_index[0]), None)
        return writer.rows

    def _prepare(self, people: Mapping[int, Whom]) -> None:
        """Obey every correction in the light of what is followed up to its frame, so that the passes to come know them all."""
        first = {key: min([whom.begin, *whom.asked]) for key, whom in people.items()}
        last = {key: max([whom.begin, *whom.asked]) for key, whom in people.items()}
        corrected = [key for key in people if first[key] < last[key]]
        self._pass([Job(key, people[key].follow, people[key].begin, last[key]) for key in corrected], None, reverse=False)
        back = [key for key in corrected if first[key] < people[key].begin]
        self._pass([Job(key, people[key].follow, people[key].begin, first[key]) for key in back], None, reverse=True)

    def _pass(self, jobs: Sequence[Job], writer: Writer | None, *, reverse: bool) -> None:
        """Follow everybody in ``jobs``; what they remember of it beside firm memory is forgotten at the end."""
        if not jobs:
            return
        first = min(min(job.start, job.stop) for job in jobs)
        last = max(max(job.start, job.stop) for job in jobs) + 1
        active = list(jobs)
        self._progress.plan(last - first)
        left = last - first

        def covered(frame: int) -> bool:
            return any(job.covers(frame) for job in active)

        for batch in self._encoder.stream(first, last, reverse=reverse, wanted=covered):
            for seen in batch:
                here = [job for job in active if job.covers(seen.frame)]
                told = [(job.number, job.follow.visit(seen.frame, seen.features, reverse=reverse), SURE) for job in here]
                if writer is not None:
                    writer.add(seen.frame, told)
                self._progress.step()
                left -= 1
            if writer is not None:
                writer.flush()
                active = [job for job in active if job.give_up is None or writer.unseen.get(job.number, 0) < job.give_up]
            if not active:
                break
        if left:
            self._progress.plan(-left)
        for job in jobs:
            job.follow.turn()


def first_mask(track: MaskTrack) -> tuple[int, np.ndarray]:
    """The first frame of somebody found, with the mask (H, W) there, 0 or 1."""
    return int(track.frame_index[0]), track.mask(0).astype(np.float32)
