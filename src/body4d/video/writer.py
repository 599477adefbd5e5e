"""Write pictures as a video anybody can play: H.264 yuv420p, index first, with the source's timing to the tick."""

import math
import os
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from jaxtyping import Float, Int, UInt8

from body4d.core.errors import OutputError
from body4d.core.files import WRITE_ERRORS, output_error
from body4d.core.types import Clip
from body4d.video.audio import AudioMuxer, sound_problem
from body4d.video.encoders import CODECS, Encoder, encoder_options, possible_encoders

DEFAULT_CRF, DEFAULT_PRESET = 18.0, "veryfast"
_MAX_TICKS_PER_S = 1_000_000  # Times that fit no common grid are kept to a microsecond.
_MAX_STEP_DENOMINATOR = 120_000  # Above every time base in use; fractions below it are 2e-10 apart, so that rounding does not confuse them.
_TIME_DECIMALS = 11  # What is left of a float64 difference after hours.
_LONE_FRAME_S = Fraction(1, 25)


class VideoWriter:
    """Writes pictures shown at ``times_s`` to ``path``; use as a context manager.

    Sizes are padded to even by repeating the last row or column. With ``audio_from`` the sound of that clip's range is copied, unless it
    has a ``sound_problem``. ``crf`` and ``preset`` are those of x264; ``encoder`` "auto" takes NVENC, of like quality, where it works.
    The file appears under its name when the block ends without error; until then, and after an error, whatever was there before stays.
    ``max_key_distance`` is the most frames from one key frame to the next, from which a player must decode when somebody steps back;
    None: the encoder's 250. Raises OutputError where it cannot be written, and DeviceError where NVENC is asked for and missing.

    ``write`` takes pictures one by one. To spread the work over threads, ``converted`` may be called by any number of them at once;
    ``encode``, and after the last frame ``finish``, by one at a time.
    """

    def __init__(
        self,
        path: Path | str,
        width_px: int,
        height_px: int,
        times_s: Float[np.ndarray, " frames"],
        audio_from: Clip | None = None,
        *,
        crf: float = DEFAULT_CRF,
        preset: str = DEFAULT_PRESET,
        max_key_distance: int | None = None,
        encoder: Literal["auto", "x264", "nvenc"] = "x264",
    ) -> None:
        if not len(times_s):
            raise ValueError("a video needs at least one frame")
        self._path = Path(path)
        self._partial = self._path.with_name(f".{self._path.name}.partial")
        self._size_px = (width_px, height_px)
        self._crf, self._preset, self._max_key_distance = crf, preset, max_key_distance
        self._encoders = possible_encoders(encoder, width_px + width_px % 2, height_px + height_px % 2)
        self._ticks, self._time_base = exact_ticks(np.asarray(times_s, np.float64))
        self._audio = AudioMuxer(audio_from) if audio_from is not None and sound_problem(audio_from) is None else None
        self._written = 0
        self._finished = False
        self._of_thread = threading.local()  # Two threads cannot share a reformatter.

    def __enter__(self) -> Self:
        *hopes, last = self._encoders
        for encoder in hopes:
            try:
                return self._open(encoder)
            except OutputError:  # As where other programs hold all of NVENC's sessions.
                continue
        return self._open(last)

    def _open(self, encoder: Encoder) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = self._open_stream(encoder)
            if self._audio:
                self._audio.open(self._container)
        except (OSError, FFmpegError) as error:
            self._discard()
            raise self._failure(error) from error
        return self

    def _open_stream(self, encoder: Encoder) -> Any:
        width, height = (side + side % 2 for side in self._size_px)
        options = encoder_options(encoder, self._crf, self._preset, self._max_key_distance)
        stream: Any = self._container.add_stream(CODECS[encoder], rate=self._average_rate(), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._time_base
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1  # BT.709
        stream.codec_context.color_range = ColorRange.MPEG
        if encoder == "nvenc":
            stream.codec_context.open()  # It may fail, and another is taken: better now than at the first picture.
        return stream

    def _average_rate(self) -> Fraction:
        if len(self._ticks) < 2:
            return 1 / _LONE_FRAME_S
        return (Fraction(len(self._ticks) - 1) / (int(self._ticks[-1]) * self._time_base)).limit_denominator(1001)

    def write(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Add the next picture, of the size given at the start."""
        self.encode(self.converted(rgb))

    def converted(self, rgb: UInt8[np.ndarray, "h w 3"]) -> VideoFrame:
        """A picture of the size given at the start in the encoder's colours, for ``encode``. Any thread may ask, in any order."""
        width, height = self._size_px
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"pictures must be uint8 ({height}, {width}, 3), found {rgb.dtype} {rgb.shape}")
        if height % 2 or width % 2:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        reformatter = getattr(self._of_thread, "reformatter", None)
        if reformatter is None:
            reformatter = self._of_thread.reformatter = VideoReformatter()
        return reformatter.reformat(
            VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24"),  # Read once, here, so that it needs no copy.
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )

    def encode(self, frame: VideoFrame) -> None:
        """Add the next picture, as ``converted`` gave it."""
        if self._written == len(self._ticks):
            raise ValueError(f"all {len(self._ticks)} frames are written already")
        i = self._written
        frame.pts, frame.time_base, frame.duration = int(self._ticks[i]), self._time_base, self._duration(i)
        frame.pict_type = 0
        try:
            if self._audio:
                self._audio.mux_until(self._container, float(self._ticks[i] * self._time_base))
            self._container.mux(self._stream.encode(frame))
        except (OSError, FFmpegError) as error:
            raise self._failure(error) from error
        self._written += 1

    def finish(self) -> None:
        """Encode what the encoder still holds, after the last frame. The block's end does it where nobody has."""
        if self._finished:
            return
        if self._written != len(self._ticks):
            raise ValueError(f"{self._written} of {len(self._ticks)} frames were written")
        try:
            if self._audio:
                self._audio.mux_until(self._container, float(self._ticks[-1] + self._duration(self._written - 1)) * float(self._time_base))
            self._container.mux(self._stream.encode(None))
        except (OSError, FFmpegError) as error:
            raise self._failure(error) from error
        self._finished = True

    def _duration(self, i: int) -> int:
        """Ticks until the next frame; the last is shown as long as the one before it."""
        n = len(self._ticks)
        if n == 1:
            return max(1, round(_LONE_FRAME_S / self._time_base))
        j = min(i, n - 2)
        return int(self._ticks[j + 1] - self._ticks[j])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self.finish()
            self._container.close()
            if self._audio:
                self._audio.close()
            os.replace(self._partial, self._path)
        except (OSError, FFmpegError) as failure:
            self._discard()
            raise self._failure(failure) from failure
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        with suppress(Exception):  # What broke is being reported already; here only the half-written file goes.
            self._container.close()
        with suppress(OSError):
            self._partial.unlink()
        if self._audio:
            self._audio.close()

    def _failure(self, error: Exception) -> OutputError:
        if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
            return output_error(self._path, error)
        # FFmpeg's own errors (a codec, a time stamp) have nothing to do with the disk.
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"{self._path} cannot be encoded ({reason}).", code="video_not_written", hint="Please report it.", reason=reason)


def exact_ticks(times_s: Float[np.ndarray, " frames"]) -> tuple[Int[np.ndarray, " frames"], Fraction]:
    """(ticks from 0, time base) whose products are ``times_s``, on the coarsest grid that holds them all, else in microseconds."""
    elapsed_s = times_s - times_s[0]
    ticks_per_s = 1 if len(times_s) > 1 else int(1 / _LONE_FRAME_S)
    for step_s in np.unique(np.round(np.diff(times_s), _TIME_DECIMALS)).tolist():
        ticks_per_s = math.lcm(ticks_per_s, Fraction(step_s).limit_denominator(_MAX_STEP_DENOMINATOR).denominator)
        if ticks_per_s > _MAX_TICKS_PER_S:
            break
    ticks = np.round(elapsed_s * ticks_per_s)
    if ticks_per_s > _MAX_TICKS_PER_S or np.max(np.abs(ticks / ticks_per_s - elapsed_s)) > 10.0**-_TIME_DECIMALS:
        ticks_per_s = _MAX_TICKS_PER_S
        ticks = np.round(elapsed_s * ticks_per_s)
    if np.any(np.diff(ticks) <= 0):
        raise ValueError("times_s must rise by at least a microsecond")
    return ticks.astype(np.int64), Fraction(1, ticks_per_s)
