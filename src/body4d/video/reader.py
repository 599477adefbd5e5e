"""Streaming a clip's frames: upright RGB at the clip's size, decoded ahead in a thread, never more than a few in memory."""

import queue
import threading
from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import UInt8

from body4d.core.errors import InputError, RunWarning
from body4d.core.types import Clip
from body4d.video.deinterlace import deinterlaced
from body4d.video.timeline import Timeline, decode_frames, file_rotation_deg, open_video, seek_to_key_frame

MAX_QUEUE_MB = 64.0
"""Frames decoded ahead take at most this much memory; at least one is held."""

MIN_SEEK_GAP_FRAMES = 48
"""The reader jumps to a key frame where that saves decoding at least this many frames; a jump costs about as much as decoding them."""

_BT709, _BT601 = 1, 5  # Matrix coefficients of ISO/IEC 23091-2, as frames carry them.
_KNOWN_MATRICES = frozenset((1, 4, 5, 6, 7, 9))
_SD_LIMIT_PX = (1280, 577)
"""Frames that name no colour matrix: players take BT.709 from this width or height on, and BT.601 below it."""

_HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_MAX_QUEUE_FRAMES = 8


class VideoReader:
    """The frames of ``clip``, streamed in order as often as required (a ``body4d.core.stages.FrameSource``).

    A frame that does not decode is replaced by the last one before it that does, as in a player; ``warnings`` then names it.
    """

    def __init__(self, clip: Clip, *, max_queue_mb: float = MAX_QUEUE_MB, min_seek_gap_frames: int = MIN_SEEK_GAP_FRAMES) -> None:
        self._clip, self._max_queue_mb, self._min_seek_gap_frames = clip, max_queue_mb, min_seek_gap_frames
        self._timeline = Timeline.open(clip.path)
        if len(clip) and clip.source_frames[-1] >= len(self._timeline.ticks):
            raise InputError(
                f"{clip.path} has {len(self._timeline.ticks)} frames, but frame {clip.source_frames[-1]} is asked for: "
                "the file has changed since it was probed.",
                code="file_changed",
                hint="Start over with it.",
            )
        self._missing: set[int] = set()
        self._is_interlaced = False
        self._resized: tuple[int, int, int] | None = None  # the first row of another size, and that size
        # Kept between reads: for HDR, one takes a second to make. Each serves one read at a time.
        self._converters: list[_FrameConverter] = []

    @property
    def clip(self) -> Clip:
        return self._clip

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """What is wrong with the file, and which frames met so far do not decode."""
        notes = [*self._timeline.warnings, *self._film_warnings()]
        if not self._missing:
            return tuple(notes)
        some = ", ".join(str(i) for i in sorted(self._missing)[:5]) + (", ..." if len(self._missing) > 5 else "")
        message = f"{len(self._missing)} frames do not decode and repeat the one before ({some})."
        return (*notes, RunWarning("undecodable_frames", message, facts={"frames": sorted(self._missing)}))

    def _film_warnings(self) -> Iterator[RunWarning]:
        """What the frames met so far told of the film."""
        if self._resized is not None:
            row, width, height = self._resized
            at_s = round(float(self._clip.times_s[row]), 3)
            first = "x".join(map(str, self._timeline.stored_size_px))
            message = (
                f"The picture's size changes at {at_s:.2f} s from {first} to {width}x{height} pixels; it is fitted into the first size."
            )
            yield RunWarning("picture_size_changes", message, facts={"at_s": at_s, "size_px": [width, height]})
        if self._is_interlaced:
            message = (
                "The film is interlaced: each picture holds two moments. The first of them is kept and the lines between are filled in."
            )
            yield RunWarning("interlaced", message)

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
        """Yield (clip frame index, RGB picture) for frames first, first+step, ... below ``last``.

        Decoding runs ahead in a thread, which ends when the iterator is exhausted, closed or dropped.
        """
        if first < 0 or step < 1:
            raise ValueError(f"frames are read forwards from 0 on, found first={first}, step={step}")
        rows = range(first, len(self._clip) if last is None else min(last, len(self._clip)), step)
        return _decoded_ahead(self._frames(rows), self._queue_size()) if len(rows) else iter(())

    def _queue_size(self) -> int:
        frame_mb = self._clip.width_px * self._clip.height_px * 3 / 1e6
        return int(np.clip(self._max_queue_mb / frame_mb, 1, _MAX_QUEUE_FRAMES))

    def _frames(self, rows: range) -> Iterator[tuple[int, np.ndarray]]:
        ticks = self._timeline.ticks[self._clip.source_frames[rows.start : rows.stop : rows.step]].tolist()
        converter = self._converters.pop() if self._converters else _FrameConverter(self._clip, self._timeline)
        try:
            for row, (exact, frame) in zip(rows, self._frames_at(ticks), strict=True):
                if not exact:
                    self._missing.add(row)
                self._look_at(row, frame)
                yield row, converter(frame)
        finally:
            self._converters.append(converter)

    def _look_at(self, row: int, frame: VideoFrame) -> None:
        if (frame.width, frame.height) != self._timeline.stored_size_px and (self._resized is None or row < self._resized[0]):
            self._resized = (row, frame.width, frame.height)

    def _frames_at(self, ticks: list[int]) -> Iterator[tuple[bool, VideoFrame]]:
        """For each of the rising ``ticks``: (True, the frame shown then) or (False, its stand-in).

        The stand-in is the same wherever reading starts: if nothing decodes between the key frame jumped to and a missing frame, the
        jump is repeated further back.
        """
        done, back = 0, 0
        while done < len(ticks):
            start = max(0, self._timeline.last_key_index(ticks[done]) - back) if self._timeline.clock == "pts" else 0
            previous: VideoFrame | None = None
            needed = done
            for tick, frame in self._from_key(start):
                if previous is None and start and tick > ticks[done]:
                    break
                while done < len(ticks) and ticks[done] < tick:
                    yield False, previous or frame
                    done += 1
                if done < len(ticks) and ticks[done] == tick:
                    yield True, frame
                    done += 1
                previous = frame
                # A jump may land earlier than asked for, so the next one waits until this one has brought what it was for.
                if done == len(ticks) or (done > needed and self._seek_pays_off(tick, ticks[done])):
                    break
            else:
                if previous is None and not start:
                    message = f"{self._clip.path} can no longer be decoded: the file has changed since it was probed."
                    raise InputError(message, code="file_no_longer_decodes", hint="Start over with it.")
                if previous is not None:
                    for _ in ticks[done:]:
                        yield False, previous
                    return
            back = 2 * back + 1 if previous is None else 0

    def _from_key(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """(tick, frame) of everything that decodes from key frame number ``start`` on; from the file's beginning for 0."""
        with open_video(self._clip.path) as (container, stream):
            if start and not seek_to_key_frame(container, stream, self._timeline.key_ticks[start]):
                return
            frames = deinterlaced(decode_frames(container, stream, skip_to_key=start > 0), self._met_interlaced)
            for ordinal, frame in enumerate(frames):
                tick = self._timeline.tick_of(frame, ordinal)
                if tick is not None:
                    yield tick, frame

    def _met_interlaced(self) -> None:
        self._is_interlaced = True

    def _seek_pays_off(self, tick: int, next_tick: int) -> bool:
        if self._timeline.clock != "pts" or not self._timeline.key_ticks:
            return False
        key = self._timeline.key_ticks[self._timeline.last_key_index(next_tick)]
        current, target = np.searchsorted(self._timeline.ticks, [tick, key])
        return target - current > self._min_seek_gap_frames


class _FrameConverter:
    """Decoded frame to upright RGB of the clip's size: one conversion, which resizes and maps colours at once.

    A frame of another size than the file's first, as where a phone was turned while it recorded, keeps its aspect: it is fitted into the
    clip's size, with black beside it.
    """

    def __init__(self, clip: Clip, timeline: Timeline) -> None:
        a, b, c, d = timeline.matrix
        self._swap = a == 0
        self._flip_x, self._flip_y = a + c < 0, b + d < 0
        self._quarter_turns = (clip.rotation_deg - file_rotation_deg(timeline)) // 90 % 4  # asked for by the user, clockwise
        sideways = self._swap != (self._quarter_turns % 2 == 1)
        self._size_px = (clip.height_px, clip.width_px) if sideways else (clip.width_px, clip.height_px)
        self._stored_size_px, self._pixel_aspect = timeline.stored_size_px, float(timeline.pixel_aspect)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        rgb = self._fitted(frame) if (frame.width, frame.height) != self._stored_size_px else self._rgb(frame, *self._size_px)
        if self._swap:
            rgb = rgb.swapaxes(0, 1)
        rgb = rgb[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]
        return np.ascontiguousarray(np.rot90(rgb, -self._quarter_turns) if self._quarter_turns else rgb)

    def _fitted(self, frame: VideoFrame) -> np.ndarray:
        """The whole frame in the middle of a black picture."""
        width, height = self._size_px
        shown = frame.width * self._pixel_aspect
        scale = min(width / shown, height / frame.height)
        inner_width, inner_height = max(1, round(shown * scale)), max(1, round(frame.height * scale))
        out = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        out[top : top + inner_height, left : left + inner_width] = self._rgb(frame, inner_width, inner_height)
        return out

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        how = Interpolation.AREA if width < frame.width else Interpolation.BICUBIC
        hdr = frame.color_trc in _HDR_TRANSFERS and frame.color_primaries in tuple(ColorPrimaries)
        return self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            src_colorspace=_colour_matrix(frame),
            interpolation=how | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            dst_color_trc=ColorTrc.BT709 if hdr else None,
            dst_color_primaries=ColorPrimaries.BT709 if hdr else None,
        ).to_ndarray()


def _colour_matrix(frame: VideoFrame) -> int:
    """Colour matrix of a frame: what it names, or what players take where it names none or nonsense."""
    if frame.colorspace in _KNOWN_MATRICES:
        return frame.colorspace
    return _BT709 if frame.width >= _SD_LIMIT_PX[0] or frame.height >= _SD_LIMIT_PX[1] else _BT601


def _decoded_ahead(items: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """``items``, made in a thread at most ``size`` ahead. Its errors are raised here; it stops when this iterator is closed."""
    ready: queue.Queue[tuple[int, np.ndarray] | BaseException | None] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: tuple[int, np.ndarray] | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # Raised again where the frames are consumed.
            put(error)

    thread = threading.Thread(target=work, name="body4d-decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
