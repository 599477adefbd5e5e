"""A video file opened, and its timeline: which frames it has and when each is shown. Probing, reading and writing share it."""

import math
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float, Int

from body4d.core.errors import InputError, RunWarning
from body4d.video.metadata import edit_list_rates, quicktime_track_tags

Clock = Literal["pts", "dts", "count"]

_VIDEO_FORMATS = (
    "mov mp4 matroska webm avi mpegts mpeg mpegvideo mpeg2video h264 hevc vvc m4v flv asf ogg gif apng mxf nut ivf obu av1 "
    "yuv4mpegpipe mjpeg dv rm wtv"
)
_AUDIO_FORMATS = "mp3 wav w64 flac aac adts aiff amr caf ac3 eac3 au"
_IMAGE_FORMATS = (
    "image2 png_pipe jpeg_pipe jpegxl_pipe webp_pipe webp bmp_pipe tiff_pipe gif_pipe psd_pipe svg_pipe exr_pipe j2k_pipe "
    "ppm_pipe pgm_pipe avif"
)
_IMAGE_BRANDS = {"heic", "heix", "mif1", "avif"}

CONTAINER_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(f"{_VIDEO_FORMATS} {_AUDIO_FORMATS} {_IMAGE_FORMATS}".split()),
}
"""Playlists and scripts (HLS, DASH, concat, ...) name other files or addresses. A stranger's file must never make body4d read those."""

_ONE_FRAME_PER_PACKET = frozenset(
    ("h264", "hevc", "vvc", "av1", "vp9", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "prores", "dnxhd", "gif", "ffv1", "rawvideo")
)
"""Codecs in which every packet is one shown frame, so that packets alone give the times. Others (VP8 hides frames) are decoded."""

_NUM_HEAD_FRAMES = 3
"""Frames decoded from the start of a file to check that the decoder agrees with the packets."""

_MAX_DURATION_GAP = 0.05
"""Audio often outlasts the picture a little; a picture that is shorter than the file by more than this share is worth a warning."""

_MAX_CACHED_TIMELINES = 16


@dataclass(frozen=True)
class Timeline:
    """Every frame of a file in presentation order.

    ``ticks`` rise, in units of ``time_base`` seconds: presentation time stamps, or decoding ones, or mere ordinals, as ``clock`` says.
    ``has_audio`` counts sound that can be decoded here, ``has_unknown_audio`` says that there is other sound alone.
    ``key_ticks`` are those where decoding may start. ``rates`` are the frame rates the container names, best first.
    ``header_size_px`` is the size that the header claims, ``stored_size_px`` that of the first decoded frame. ``matrix`` is the stored
    rotation's upper left 2x2, row by row, in {-1, 0, 1}; ``pixel_aspect`` a stored pixel's width over its height.
    """

    ticks: Int[np.ndarray, " frames"]
    key_ticks: tuple[int, ...]
    clock: Clock
    time_base: Fraction
    rates: tuple[Fraction, ...]
    header_size_px: tuple[int, int]
    stored_size_px: tuple[int, int]
    pixel_aspect: Fraction
    matrix: tuple[int, int, int, int]
    has_audio: bool
    tags: dict[str, str]
    has_unknown_audio: bool = False
    warnings: tuple[RunWarning, ...] = ()

    @staticmethod
    def open(path: Path, max_megapixels: float = math.inf) -> "Timeline":
        """The timeline of the file at ``path``, kept in memory while the file stays as it is.

        The file is opened once: its header is checked, its packets are read to the end, and a few frames are decoded to check that the
        decoder agrees with the packets. Only where it does not is the file opened again and decoded whole.
        Raises InputError where there is no video, its frames are larger than ``max_megapixels``, or not one frame decodes.
        """
        path = Path(path)
        stat = path.stat() if path.is_file() else None
        key = (path, stat and (stat.st_mtime_ns, stat.st_size))
        with _cache_lock:
            timeline = _cache.get(key)
        if timeline is None:
            timeline = _scan(path, max_megapixels)
            with _cache_lock:
                _cache[key] = timeline
                while len(_cache) > _MAX_CACHED_TIMELINES:
                    _cache.popitem(last=False)
        check_frame_size(path, *timeline.header_size_px, max_megapixels)
        return timeline

    def times_s(self, frames: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Seconds of playback of file frames ``frames`` from the file's first frame."""
        return (self.ticks[frames] - self.ticks[0]) * self.time_base.numerator / self.time_base.denominator

    def last_key_index(self, tick: int) -> int:
        """Index of the last key tick at or before ``tick``; 0 where there is none."""
        return max(0, bisect_right(self.key_ticks, tick) - 1)

    def tick_of(self, frame: VideoFrame, ordinal: int) -> int | None:
        """The tick of a decoded frame, the ``ordinal``-th that the decoder returns."""
        return frame.pts if self.clock == "pts" else frame.dts if self.clock == "dts" else ordinal


_cache: "OrderedDict[tuple[Path, Any], Timeline]" = OrderedDict()
_cache_lock = threading.Lock()


def check_frame_size(path: Path, width_px: int, height_px: int, max_megapixels: float) -> None:
    """Raises InputError where a frame has more than ``max_megapixels``."""
    if width_px * height_px > max_megapixels * 1e6:
        raise InputError(
            f"{path} is {width_px}x{height_px} pixels, more than the {max_megapixels:g} megapixels that a frame may have.",
            code="frame_too_large",
            hint="Scale it down first, or raise video.max_megapixels.",
            width_px=width_px,
            height_px=height_px,
            max_megapixels=max_megapixels,
        )


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``path`` and its video stream; other streams are not read. Raises InputError where there is no video in it."""
    path = Path(path)
    _check_path(path)
    try:
        container = av.open(str(path.resolve()), container_options=CONTAINER_OPTIONS, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise _open_error(path, error) from error
    with container:
        stream = _video_stream(path, container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.codec_context.thread_type = "AUTO"
        yield container, stream


def decode_frames(container: InputContainer, stream: VideoStream, skip_to_key: bool = False) -> Iterator[VideoFrame]:
    """Every frame that decodes from here on. Packets that do not decode are skipped: the caller notices the gap.

    ``skip_to_key`` skips packets up to the first key frame, as is needed after a seek that landed between two.
    """
    for packet in demux_packets(container, stream):
        if skip_to_key and packet.size:
            if not packet.is_keyframe:
                continue
            skip_to_key = False
        yield from _decode(stream, packet)


def seek_to_key_frame(container: InputContainer, stream: VideoStream, tick: int) -> bool:
    """Jump to the key frame at or before ``tick``; False where a damaged file does not allow it."""
    try:
        container.seek(tick, stream=stream)
    except FFmpegError:
        return False
    return True


def demux_packets(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[av.Packet]:
    """The packets of ``stream`` and the empty one that flushes the decoder; a file that breaks off ends as if it stopped there."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except IndexError:  # PyAV: a transport stream announced one more stream on the way. That packet is another stream's.
            packets = container.demux(stream)
            continue
        except FFmpegError:
            break
        yield packet
    yield av.Packet()


def _decode(stream: VideoStream, packet: av.Packet) -> list[VideoFrame]:
    try:
        return stream.decode(packet if packet.size else None)
    except FFmpegError:
        return []


@dataclass
class _PacketIndex:
    """What the packets of a file say: ``ticks`` of shown frames, ``keys`` where decoding may start, ``corrupt`` ones."""

    ticks: list[int] = field(default_factory=list)
    keys: set[int] = field(default_factory=set)
    corrupt: set[int] = field(default_factory=set)
    num_packets: int = 0
    num_shown: int = 0

    def add(self, packet: Any) -> None:
        self.num_packets += 1
        self.num_shown += not packet.is_discard
        if packet.pts is None:
            return
        if not packet.is_discard:  # An edit list cuts it away, but decoding may have to start at it.
            self.ticks.append(packet.pts)
        if packet.is_keyframe:
            self.keys.add(packet.pts)
        if packet.is_corrupt:
            self.corrupt.add(packet.pts)

    @property
    def is_timed(self) -> bool:
        """Whether every shown packet has a time of its own and decoding may start somewhere."""
        return len(set(self.ticks)) == self.num_shown and bool(self.keys)


def _scan(path: Path, max_megapixels: float) -> Timeline:
    packets = _PacketIndex()
    first: dict[str, Any] = {}
    head: list[int | None] = []
    with open_video(path) as (container, stream):
        header_size_px = (stream.codec_context.width, stream.codec_context.height)
        # Before anything is decoded: a header may claim a size that would fill the memory.
        check_frame_size(path, *header_size_px, max_megapixels)
        is_quicktime = "mp4" in container.format.name
        num_promised = len(stream.index_entries) if is_quicktime else 0
        promised_s = (container.duration or 0) / 1e6
        for packet in demux_packets(container, stream):
            if packet.size:
                packets.add(packet)
            if len(head) < _NUM_HEAD_FRAMES:
                for frame in _decode(stream, packet):
                    first = first or _geometry(frame, stream)
                    head += [frame.pts] if frame.pts not in packets.corrupt else []
        tags = (quicktime_track_tags(path) if is_quicktime else {}) | container.metadata | stream.metadata
        # Sound in a codec that is not known here, as of spatial recordings, is as good as none.
        has_audio = any(other.codec_context is not None for other in container.streams.audio)
        has_unknown_audio = bool(container.streams.audio) and not has_audio
        notes = _stream_warnings(container, stream)
        time_base = stream.time_base or Fraction(1, 90_000)
        rates = tuple(dict.fromkeys(rate for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate) if rate))
        clock: Clock = "pts"
        ticks = np.array(sorted(set(packets.ticks) - packets.corrupt), np.int64)
        agrees = (
            stream.codec.name in _ONE_FRAME_PER_PACKET
            and packets.is_timed
            and len(ticks) > 0
            and head[:_NUM_HEAD_FRAMES] == ticks[:_NUM_HEAD_FRAMES].tolist()
            and _tail_agrees(container, stream, ticks, packets)
        )
    if not agrees:
        ticks, clock = _decode_all(path, packets.corrupt)
    if not len(ticks) or not first:
        raise InputError(
            f"{path} claims to hold video, but not one frame of it can be decoded: it is damaged.",
            code="no_decodable_frame",
            hint="Copy it again or convert it.",
        )
    if clock == "count":
        time_base = 1 / (rates[0] if rates else Fraction(25))
    timeline = Timeline(
        ticks=ticks,
        key_ticks=tuple(sorted(packets.keys)),
        clock=clock,
        time_base=time_base,
        rates=rates,
        header_size_px=header_size_px,
        **first,
        has_audio=has_audio,
        has_unknown_audio=has_unknown_audio,
        tags={key.lower(): value for key, value in tags.items()},
    )
    promised = packets.num_shown + max(0, num_promised - packets.num_packets)
    if is_quicktime:
        notes += _edit_warnings(edit_list_rates(path))
    return replace(timeline, warnings=(*notes, *_warnings(timeline, promised, promised_s)))


def _tail_agrees(container: InputContainer, stream: VideoStream, ticks: np.ndarray, packets: _PacketIndex) -> bool:
    """Whether everything from the last key frame on comes out of the decoder as the packets say."""
    last_key = max((key for key in packets.keys if key <= ticks[-1]), default=int(ticks[0]))
    if not seek_to_key_frame(container, stream, last_key):
        return False
    tail = {frame.pts for frame in decode_frames(container, stream, skip_to_key=True)}
    return set(ticks[ticks >= last_key].tolist()) <= tail <= set(packets.ticks)


def _decode_all(path: Path, corrupt: set[int]) -> tuple[np.ndarray, Clock]:
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
            return (known[~np.isin(known, list(corrupt))] if clock == "pts" else known), clock
    return np.arange(len(pts), dtype=np.int64), "count"


def _geometry(frame: VideoFrame, stream: VideoStream) -> dict[str, Any]:
    """Stored size, pixel aspect and rotation matrix, as the first decoded frame and its stream have them."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    rows = np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]] if matrix is not None else np.array([1, 0, 0, 1])
    return {
        "stored_size_px": (frame.width, frame.height),
        "pixel_aspect": Fraction(stream.sample_aspect_ratio or 1),
        "matrix": _nearest_quarter_turn(rows.astype(float)),
    }


def _nearest_quarter_turn(abcd: np.ndarray) -> tuple[int, int, int, int]:
    """The quarter turn or mirroring nearest to a 2x2 matrix [[a, b], [c, d]]; phones store nothing else."""
    a, b, c, d = abcd
    if not abcd.any():
        return (1, 0, 0, 1)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)


def _stream_warnings(container: InputContainer, stream: VideoStream) -> tuple[RunWarning, ...]:
    """What a user should know of the streams that are not looked at."""
    others = [s for s in container.streams.video if s.index != stream.index and not s.disposition & Disposition.attached_pic]
    if not others:
        return ()
    size = f"{stream.codec_context.width}x{stream.codec_context.height}"
    message = f"The file holds {len(others) + 1} films; number {stream.index} ({size}) is used, which players show too."
    return (RunWarning("several_video_streams", message, "Export another one to a file of its own to use it.", {"stream": stream.index}),)


def _edit_warnings(rates: tuple[float, ...]) -> tuple[RunWarning, ...]:
    """Slow motion that an editor only noted down in the file."""
    if not rates:
        return ()
    told = ", ".join(f"{rate:g}" for rate in rates)
    message = f"The file asks players to change the speed of parts of it (to {told} times); times are those of the recording instead."
    return (RunWarning("edit_list_rates", message, "Export the film again if its own tempo is meant.", {"rates": list(rates)}),)


def file_rotation_deg(timeline: Timeline) -> int:
    """Clockwise degrees by which stored frames are rotated to be upright (mirroring aside)."""
    _, _, c, d = timeline.matrix
    return {(0, 1): 0, (-1, 0): 90, (0, -1): 180, (1, 0): 270}[c, d]


def _warnings(timeline: Timeline, num_promised: int, promised_s: float) -> tuple[RunWarning, ...]:
    warnings = []
    end_s = float(timeline.times_s(np.array([-1]))[0])
    if len(timeline.ticks) < num_promised:
        message = f"The file is damaged or cut off: {len(timeline.ticks)} of its {num_promised} frames can be decoded, and those are used."
        warnings.append(RunWarning("file_cut_off", message, facts={"decodable_frames": len(timeline.ticks), "frames": num_promised}))
    elif timeline.clock == "pts" and promised_s - end_s > max(1.0, _MAX_DURATION_GAP * promised_s):
        message = f"The picture ends at {end_s:.2f} s, though the file says it lasts {promised_s:.2f} s; it may be cut off."
        warnings.append(RunWarning("picture_ends_early", message, facts={"end_s": end_s, "promised_s": promised_s}))
    if timeline.clock == "count":
        fps = float(1 / timeline.time_base)
        message = f"The file has no usable time stamps; its frames are taken to follow evenly, {fps:g} a second."
        warnings.append(RunWarning("no_time_stamps", message, facts={"fps": fps}))
    return tuple(warnings)


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder.", code="path_is_folder", hint="Give the path of one video file.")
    if not path.exists():
        raise InputError(f"There is no file at {path}.", code="no_such_file", hint="Check the path.")
    if not path.is_file():  # Opening a pipe would wait for its writer for ever; a device may never end.
        raise InputError(f"{path} is a device or a pipe.", code="path_is_device", hint="Give the path of one video file.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", code="file_unreadable", hint="Check its permissions.") from error
    if empty:
        raise InputError(f"{path} is empty (0 bytes).", code="file_empty", hint="Copy or download the video again.")


def _open_error(path: Path, error: Exception) -> InputError:
    """Why the file could not be opened, by what its first bytes show."""
    if _is_animated_webp(path):
        return _animated_webp_error(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return InputError(
            f"{path} is an MP4/MOV file whose index is missing or damaged, as when a recording or download was cut off.",
            code="index_damaged",
            hint="Copy it again or repair it.",
        )
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
        is_text = all(c.isprintable() or c in "\r\n\t" for c in text)
    except UnicodeDecodeError:
        is_text = False
    hint = "Give an MP4, MOV, MKV, WebM or AVI file."
    if is_text:
        return InputError(f"{path} holds text, not a video.", code="text_not_video", hint=hint)
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{path} is not a video that can be read ({reason}).", code="not_a_video", hint=hint, reason=reason)


def _is_animated_webp(path: Path) -> bool:
    """By the flags of the extended header (WebP Container Specification); FFmpeg sees a single picture in it, or nothing."""
    with path.open("rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def _animated_webp_error(path: Path) -> InputError:
    return InputError(f"{path} is an animated WebP, which cannot be read here.", code="animated_webp", hint="Convert it to MP4 or GIF.")


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    names = container.format.name.split(",")
    brand = container.metadata.get("major_brand", "").strip()
    if _is_animated_webp(path):
        raise _animated_webp_error(path)
    if set(names) & set(_IMAGE_FORMATS.split()) or brand in _IMAGE_BRANDS:
        raise InputError(f"{path} is a single picture, not a video.", code="picture_not_video", hint="Give a video file.")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "sound but no moving picture" if container.streams.audio else "no picture stream"
        raise InputError(f"{path} holds {what}.", code="no_video_stream", hint="Give a file with video in it.")
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if stream.codec_context is None:
        raise InputError(
            f"{path} holds video in a codec that cannot be decoded here.",
            code="unknown_codec",
            hint="Convert it to H.264, such as with HandBrake.",
        )
    return stream
