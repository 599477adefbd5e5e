"""A stretch of a result's video in slow motion, as MP4 or as GIF, to keep or to send.

Made here and not in the browser: browsers record only as fast as they play and mostly as WebM, which messengers refuse, and a GIF would
need an encoder of its own on the page.
"""

import io
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float
from PIL import Image

from body4d.core.errors import InputError
from body4d.video.writer import VideoWriter

Kind = Literal["mp4", "gif"]

MAX_FRAMES = {"mp4": 900, "gif": 240}
MAX_SIDE_PX = {"mp4": 1280, "gif": 480}
"""The longer side at most. GIF stores every picture whole or nearly so."""

MIN_SPEED, MAX_SPEED = 0.05, 1.0
GIF_COLOURS = 128
_GIF_STEP_S = 0.01
_GIF_MIN_STEP_S = 0.02
"""Browsers show shorter steps as 0.1 s."""


def slow_motion(video: Path, first: int, last: int, speed: float, kind: Kind) -> bytes:
    """Frames ``first`` to ``last``, both included, of ``video`` at ``speed`` times its own. Raises InputError where they are too many, are
    not there, or cannot be read."""
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise InputError(f"The speed must be from {MIN_SPEED} to {MAX_SPEED}.", code="stretch_speed", speed=speed)
    count = last - first + 1
    if first < 0 or count < 2:
        raise InputError("Choose a stretch of at least two frames.", code="stretch_empty", hint="Set its beginning and its end.")
    if count > MAX_FRAMES[kind]:
        message = f"This stretch has {count} frames, and {MAX_FRAMES[kind]} is the most for a {kind.upper()}."
        raise InputError(message, code="stretch_too_long", hint="Set its beginning and its end closer together.", frames=count)
    try:
        times_s = _times_s(video)[first : last + 1]
        if len(times_s) < 2:
            raise InputError("This stretch lies outside the video.", code="stretch_outside", first=first, last=last)
        times_s = (times_s - times_s[0]) / speed
        return _gif(video, first, times_s) if kind == "gif" else _mp4(video, first, times_s)
    except (OSError, FFmpegError) as error:
        raise InputError("The video could not be read.", code="stretch_unreadable", hint="Run the clip again.") from error


def _times_s(video: Path) -> Float[np.ndarray, " n"]:
    """The time of every frame, without decoding any."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        ticks = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        return np.array(ticks, np.float64) * float(stream.time_base or 1)


def _pictures(video: Path, first: int, count: int, kind: Kind) -> Iterator[Image.Image]:
    """``count`` small pictures from frame ``first`` on. Frames are counted and not looked up by time, so that none can be one off."""
    with av.open(str(video)) as container:
        for frame in itertools.islice(container.decode(video=0), first, first + count):
            yield _small(frame, MAX_SIDE_PX[kind])


def _small(frame: Any, max_side_px: int) -> Image.Image:
    share = min(1.0, max_side_px / max(frame.width, frame.height))
    width, height = (max(2, 2 * round(share * side / 2)) for side in (frame.width, frame.height))
    return frame.to_image(width=width, height=height)


def _mp4(video: Path, first: int, times_s: Float[np.ndarray, " n"]) -> bytes:
    pictures = _pictures(video, first, len(times_s), "mp4")
    picture = next(pictures)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stretch.mp4"
        with VideoWriter(path, *picture.size, times_s, crf=20) as writer:
            for now in itertools.chain([picture], pictures):
                writer.write(np.asarray(now.convert("RGB")))
        return path.read_bytes()


def _gif(video: Path, first: int, times_s: Float[np.ndarray, " n"]) -> bytes:
    keep = gif_frames(times_s)
    pictures = enumerate(_pictures(video, first, len(times_s), "gif"))
    shown = [picture.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for i, picture in pictures if i in set(keep)]
    steps_s = np.diff(np.append(times_s[keep], times_s[-1] + (times_s[-1] - times_s[-2])))
    durations_ms = [max(int(1000 * _GIF_MIN_STEP_S), 10 * round(step_s / _GIF_STEP_S)) for step_s in steps_s]
    out = io.BytesIO()
    shown[0].save(out, "GIF", save_all=True, append_images=shown[1:], duration=durations_ms, loop=0, disposal=1)
    return out.getvalue()


def gif_frames(times_s: Float[np.ndarray, " n"]) -> list[int]:
    """Which frames a GIF can show: none earlier than the shortest step after the one before it. Pure."""
    kept = [0]
    for i in range(1, len(times_s)):
        if times_s[i] - times_s[kept[-1]] >= _GIF_MIN_STEP_S - 1e-6:
            kept.append(i)
    return kept
