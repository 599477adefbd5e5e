"""When each frame of a file is shown: the one truth that probing, streaming and writing share."""

from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from av.video.frame import VideoFrame

from body4d.core.errors import InputError
from body4d.video.container import decode_frames, demux_packets, open_video, seek_to_key_frame
from body4d.video.metadata import quicktime_track_tags

Clock = Literal["pts", "dts", "count"]

# In these, every packet is one shown frame, so that packets alone tell the times. Others (VP8 with its hidden frames) are decoded once.
_ONE_FRAME_PER_PACKET = frozenset(
    ("h264", "hevc", "vvc", "av1", "vp9", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd", "gif", "ffv1", "rawvideo")
)
_HEAD_FRAMES = 3  # How many frames from the start are decoded to see that the decoder agrees with the packets.
_PROMISE_SLACK = 0.05  # Sound often outlasts the picture a little; a picture shorter by more than this share is worth a note.


@dataclass(frozen=True)
class Timeline:
    """Every frame of a file in presentation order.

    ``ticks`` (N,) rise, in units of ``time_base`` seconds: presentation time stamps, or decoding ones, or mere ordinals, as ``clock``
    says. ``key_ticks`` (K,) are those where decoding may start. ``rates`` are the frame rates the container names, best first.
    ``matrix`` is the stored rotation's upper left 2x2, row by row, in {-1, 0, 1}; ``pixel_aspect`` a stored pixel's width over its height.
    """

    ticks: np.ndarray
    key_ticks: tuple[int, ...]
    clock: Clock
    time_base: Fraction
    rates: tuple[Fraction, ...]
    stored_size_px: tuple[int, int]
    pixel_aspect: Fraction
    matrix: tuple[int, int, int, int]
    has_audio: bool
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()

    def times_s(self, frames: np.ndarray) -> np.ndarray:
        """Seconds of playback of file frames ``frames`` from the file's first frame."""
        return (self.ticks[frames] - self.ticks[0]) * self.time_base.numerator / self.time_base.denominator

    def key_before(self, tick: int) -> int:
        """Index of the last key tick at or before ``tick``; 0 where there is none."""
        return max(0, bisect_right(self.key_ticks, tick) - 1)


def frame_tick(frame: VideoFrame, ordinal: int, clock: Clock) -> int | None:
    """The tick of a decoded frame, the ``ordinal``-th to come out."""
    return frame.pts if clock == "pts" else frame.dts if clock == "dts" else ordinal


def timeline(path: Path) -> Timeline:
    """The timeline of ``path``, remembered while the file stays as it is. Raises InputError where not one frame can be had."""
    path = Path(path)
    stat = path.stat() if path.is_file() else None
    return _scan(path, stat and (stat.st_mtime_ns, stat.st_size))


@dataclass
class _Packets:
    ticks: list[int] = field(default_factory=list)
    keys: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    seen: int = 0
    shown: int = 0


@lru_cache(maxsize=16)
def _scan(path: Path, _stamp: Any) -> Timeline:
    packets = _Packets()
    with open_video(path) as (container, stream):
        quicktime = "mp4" in container.format.name
        promised = len(stream.index_entries) if quicktime else 0
        promised_s = (container.duration or 0) / 1e6
        for packet in demux_packets(container, stream):
            if packet.size:
                _note_packet(packets, packet)
        tags = (quicktime_track_tags(path) if quicktime else {}) | container.metadata | stream.metadata
        metadata = {key.lower(): value for key, value in tags.items()}
        has_audio = bool(container.streams.audio)
        time_base = stream.time_base or Fraction(1, 90_000)
        rates = tuple(dict.fromkeys(rate for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate) if rate))
        one_each = stream.codec.name in _ONE_FRAME_PER_PACKET
    ticks, clock = np.array(sorted(set(packets.ticks) - packets.broken), np.int64), "pts"
    timed = len(set(packets.ticks)) == packets.shown and bool(packets.keys)
    if not (one_each and timed and len(ticks) and _decoder_agrees(path, ticks, packets)):
        ticks, clock = _decode_all(path, packets.broken)
    if not len(ticks):
        raise InputError(f"{path} says it holds video, but not one frame of it can be decoded; it is damaged: copy it again or convert it.")
    if clock == "count":
        time_base = 1 / (rates[0] if rates else Fraction(25))
    result = Timeline(ticks, tuple(sorted(packets.keys)), clock, time_base, rates, *_first_frame(path), has_audio, metadata)
    notes = _notes(result, packets.shown + max(0, promised - packets.seen), promised_s)
    return Timeline(**{**result.__dict__, "notes": notes})


def _note_packet(packets: _Packets, packet: Any) -> None:
    packets.seen += 1
    packets.shown += not packet.is_discard
    if packet.pts is None:
        return
    if not packet.is_discard:  # An edit list cuts it away, but decoding may have to start at it.
        packets.ticks.append(packet.pts)
    if packet.is_keyframe:
        packets.keys.add(packet.pts)
    if packet.is_corrupt:
        packets.broken.add(packet.pts)


def _decoder_agrees(path: Path, ticks: np.ndarray, packets: _Packets) -> bool:
    """Whether the first frames and everything from the last key frame on come out of the decoder as the packets say."""
    with open_video(path) as (container, stream):
        head: list[int | None] = []
        for frame in decode_frames(container, stream):
            head += [frame.pts] if frame.pts not in packets.broken else []
            if len(head) == _HEAD_FRAMES:
                break
        if head != ticks[:_HEAD_FRAMES].tolist():
            return False
        last_key = max((key for key in packets.keys if key <= ticks[-1]), default=int(ticks[0]))
        if not seek_to_key_frame(container, stream, last_key):
            return False
        tail = {frame.pts for frame in decode_frames(container, stream, skip_to_key=True)}
    return set(ticks[ticks >= last_key].tolist()) <= tail <= set(packets.ticks)


def _decode_all(path: Path, broken: set[int]) -> tuple[np.ndarray, Clock]:
    """Ticks of everything that decodes, by the first clock that runs forwards without gaps."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    with open_video(path) as (container, stream):
        for frame in decode_frames(container, stream):
            pts.append(frame.pts)
            dts.append(frame.dts)
    clocks: tuple[tuple[Clock, list[int | None]], ...] = (("pts", pts), ("dts", dts))
    for clock, stamps in clocks:
        known = np.array([t for t in stamps if t is not None], np.int64)
        if len(known) == len(stamps) and np.all(np.diff(known) > 0):
            return (known[~np.isin(known, list(broken))] if clock == "pts" else known), clock
    return np.arange(len(pts), dtype=np.int64), "count"


def _first_frame(path: Path) -> tuple[tuple[int, int], Fraction, tuple[int, int, int, int]]:
    """Stored size, pixel aspect and rotation matrix, as the first decoded frame and its stream tell them."""
    with open_video(path) as (container, stream):
        frame = next(decode_frames(container, stream))
        aspect = stream.sample_aspect_ratio or Fraction(1)
        matrix = frame.side_data.get("DISPLAYMATRIX")
        rows = np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]] if matrix is not None else np.array([1, 0, 0, 1])
        return (frame.width, frame.height), Fraction(aspect), _quarter_turn(rows.astype(float))


def _quarter_turn(abcd: np.ndarray) -> tuple[int, int, int, int]:
    """The quarter turn or mirroring nearest to a 2x2 matrix [[a, b], [c, d]]; phones store nothing else."""
    a, b, c, d = abcd
    if not abcd.any():
        return (1, 0, 0, 1)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)


def _notes(line: Timeline, promised: int, promised_s: float) -> tuple[str, ...]:
    notes = []
    end_s = float(line.times_s(np.array([-1]))[0])
    if len(line.ticks) < promised:
        notes.append(f"The file is damaged or cut off: {len(line.ticks)} of its {promised} frames can be decoded, and those are used.")
    elif line.clock == "pts" and promised_s - end_s > max(1.0, _PROMISE_SLACK * promised_s):
        notes.append(f"The picture ends at {end_s:.2f} s, though the file says it lasts {promised_s:.2f} s; it may be cut off.")
    if line.clock == "count":
        notes.append(f"The file has no usable time stamps; its frames are taken to follow evenly, {float(1 / line.time_base):g} a second.")
    return tuple(notes)
