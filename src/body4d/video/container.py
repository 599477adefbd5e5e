"""Opening a file that is said to be a video, and saying in one sentence why it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from body4d.core.errors import InputError

_VIDEO_FORMATS = (
    "mov mp4 matroska webm avi mpegts mpeg mpegvideo mpeg2video h264 hevc vvc m4v flv asf ogg gif apng mxf nut ivf obu av1 "
    "yuv4mpegpipe mjpeg dv rm wtv"
)
_SOUND_FORMATS = "mp3 wav w64 flac aac adts aiff amr caf ac3 eac3 au"
_PICTURE_FORMATS = (
    "image2 png_pipe jpeg_pipe jpegxl_pipe webp_pipe webp bmp_pipe tiff_pipe gif_pipe psd_pipe svg_pipe exr_pipe j2k_pipe "
    "ppm_pipe pgm_pipe avif"
)
_PICTURE_BRANDS = {"heic", "heix", "mif1", "avif"}

# Playlists and scripts (HLS, DASH, concat, ...) name other files or addresses. A file from a stranger must never make us read those.
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(f"{_VIDEO_FORMATS} {_SOUND_FORMATS} {_PICTURE_FORMATS}".split())}


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``path`` and its picture stream; other streams are not read. Raises InputError where there is no video to be had."""
    path = Path(path)
    _check_path(path)
    try:
        container = av.open(str(path.resolve()), container_options=_OPTIONS, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(_why_not_opened(path, error)) from error
    with container:
        stream = _picture_stream(path, container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.codec_context.thread_type = "AUTO"
        yield container, stream


def open_audio(path: Path) -> tuple[InputContainer, AudioStream]:
    """Open ``path`` for its sound. Raises InputError where no sound stream can be decoded; the caller closes the container."""
    container = av.open(str(Path(path).resolve()), container_options=_OPTIONS, metadata_errors="replace")
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        container.close()
        raise InputError(f"{path} has no sound that can be decoded; run without the sound.")
    best = container.streams.best("audio")
    return container, next((s for s in streams if best is not None and s.index == best.index), streams[0])


def decode_frames(container: InputContainer, stream: VideoStream, skip_to_key: bool = False) -> Iterator[VideoFrame]:
    """Every frame that decodes from here on. Packets that do not decode are passed over: who needs them notices the gap.

    ``skip_to_key`` passes over packets up to the first key frame, as wanted after a seek that landed between two.
    """
    for packet in demux_packets(container, stream):
        if skip_to_key and packet.size:
            if not packet.is_keyframe:
                continue
            skip_to_key = False
        try:
            frames = stream.decode(packet if packet.size else None)
        except FFmpegError:
            continue
        yield from frames


def seek_to_key_frame(container: InputContainer, stream: VideoStream, tick: int) -> bool:
    """Jump to the key frame at or before ``tick``; False where a damaged file does not let itself be sought in."""
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


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of one video file.")
    if not path.exists():
        raise InputError(f"There is no file at {path}; check the path.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    if empty:
        raise InputError(f"{path} is empty (0 bytes); copy or download the video again.")


def _why_not_opened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return (
            f"{path} is an MP4/MOV file whose index is missing or damaged, as when a recording or download was cut off; "
            "copy it again or repair it."
        )
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
        is_text = all(c.isprintable() or c in "\r\n\t" for c in text)
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        return f"{path} holds text, not a video; give an MP4, MOV, MKV, WebM or AVI file."
    reason = getattr(error, "strerror", None) or str(error)
    return f"{path} is not a video that can be read ({reason}); give an MP4, MOV, MKV, WebM or AVI file."


def _picture_stream(path: Path, container: InputContainer) -> VideoStream:
    names = container.format.name.split(",")
    brand = container.metadata.get("major_brand", "").strip()
    if set(names) & set(_PICTURE_FORMATS.split()) or brand in _PICTURE_BRANDS:
        raise InputError(f"{path} is a single picture, not a video; give a video file.")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "sound but no moving picture" if container.streams.audio else "no picture stream"
        raise InputError(f"{path} holds {what}; give a file with video in it.")
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if stream.codec_context is None:
        raise InputError(f"{path} holds video in a codec that cannot be decoded here; convert it to H.264, such as with HandBrake.")
    return stream
