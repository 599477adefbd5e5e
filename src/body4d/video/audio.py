"""A clip's sound copied into a written video: packets as they are where MP4 can hold them, else re-encoded to AAC.

Sound that cannot be kept in step with the picture is left out, and ``sound_problem`` says why before any work is done.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from body4d.core.errors import InputError, RunWarning
from body4d.core.types import Clip
from body4d.video.timeline import CONTAINER_OPTIONS, Timeline, demux_packets

_COPIED_CODECS = frozenset(("aac", "mp3", "ac3", "eac3", "alac"))
_AAC_RATES_HZ = frozenset((8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000))
_INDEXED_FORMATS = frozenset(("mov", "matroska"))
"""A jump lands where it was asked to only in files with an index. Others are read from their beginning."""
MAX_BACKWARD_S = Fraction(3, 100)
"""Sound that goes back by more is heard out of step with the picture; less is rounding between a packet's end and the next one's start."""


def sound_problem(clip: Clip) -> RunWarning | None:
    """Why the sound of ``clip``'s range cannot be written in step with its pictures, or None. Packets are read, nothing is decoded."""
    hint = "The pictures are written without it."
    timeline = Timeline.open(clip.path)
    if timeline.has_unknown_audio:
        return RunWarning("sound_not_decodable", "The film's sound is in a codec that cannot be decoded here.", hint)
    if not timeline.has_audio:
        return RunWarning("no_sound", "The film has no sound.", hint)
    if timeline.clock != "pts":
        return RunWarning(
            "sound_not_in_step", "The film's clock repeats or goes back, so that its sound has no place in the pictures.", hint
        )
    container, source = open_audio(clip.path)
    with container:
        ticks = timeline.ticks[clip.source_frames[[0, -1]]].tolist()
        start_s, end_s = (tick * timeline.time_base for tick in ticks)
        last_s: Fraction | None = None
        for packet in _packets_from(container, source, start_s):
            if not packet.size or packet.pts is None or packet.is_discard:
                continue
            at_s = packet.pts * packet.time_base
            if last_s is not None and at_s < last_s - MAX_BACKWARD_S:
                message = f"The film's sound repeats or goes back by {float(last_s - at_s):.2f} s."
                return RunWarning("sound_goes_back", message, hint, {"by_s": float(last_s - at_s)})
            if at_s > end_s:
                break
            last_s = at_s + (packet.duration or 0) * packet.time_base
    return None


def _packets_from(container: InputContainer, source: AudioStream, start_s: Fraction) -> Iterator[Any]:
    """Packets of ``source`` from ``start_s`` or somewhat earlier."""
    if start_s > 0 and _INDEXED_FORMATS & set(container.format.name.split(",")):
        container.seek(int(start_s / (source.time_base or Fraction(1, 48_000))), stream=source)
    return demux_packets(container, source)


class AudioMuxer:
    """The sound of ``clip``'s range, fed into an output step by step so that sound and picture are interleaved in the file.

    A copied packet starts where it started in the source, to the tick; the range is cut at packet borders (about 20 ms). ``clip`` has
    sound without a ``sound_problem``.
    """

    def __init__(self, clip: Clip) -> None:
        timeline = Timeline.open(clip.path)
        first_tick = int(timeline.ticks[clip.source_frames[0]])
        self._start_s = first_tick * timeline.time_base if timeline.clock == "pts" else Fraction(0)
        self._input, self._source = open_audio(clip.path)
        self._time_base = self._source.time_base or Fraction(1, 48_000)
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._next: tuple[float, Any] | None = None

    def open(self, output: OutputContainer) -> None:
        """Add a sound stream to ``output``."""
        copied = self._source.codec.name in _COPIED_CODECS
        self._packets = self._copied_packets(output) if copied else self._encoded_packets(output)
        self._next = next(self._packets, None)

    def mux_until(self, output: OutputContainer, end_s: float) -> None:
        """Write what starts before ``end_s`` seconds of the output."""
        while self._next is not None and self._next[0] < end_s:
            output.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._packets = iter(())
        self._input.close()

    def _copied_packets(self, output: OutputContainer) -> Iterator[tuple[float, Any]]:
        stream = output.add_stream_from_template(self._source)
        shift = round(self._start_s / self._time_base)
        last = -1
        for packet in _packets_from(self._input, self._source, self._start_s):
            # A packet that repeats the time of the one before it is left out: MP4's clock only rises.
            if packet.size and packet.pts is not None and packet.pts - shift > last and not packet.is_discard:
                packet.pts = last = packet.pts - shift
                packet.dts = packet.pts
                packet.stream = stream
                yield float(packet.pts * self._time_base), packet

    def _encoded_packets(self, output: OutputContainer) -> Iterator[tuple[float, Any]]:
        rate = self._source.rate if self._source.rate in _AAC_RATES_HZ else 48_000
        stream = output.add_stream("aac", rate=rate, layout="stereo" if self._source.channels > 1 else "mono")
        resampler = av.AudioResampler("fltp", stream.layout, rate)
        last = -1
        for packet in _packets_from(self._input, self._source, self._start_s):
            try:
                frames = self._source.decode(packet if packet.size else None)
            except FFmpegError:
                continue  # A damaged stretch of sound is silent, as in a player; the times of the rest still hold.
            for frame in frames:
                for piece in resampler.resample(frame):
                    if piece.pts is None or piece.time_base is None:
                        continue
                    start = round((piece.pts * piece.time_base - self._start_s) * rate)
                    if start > last:
                        piece.pts, piece.time_base = start, Fraction(1, rate)
                        last = start
                        yield from ((start / rate, p) for p in stream.encode(piece))
        yield from ((0.0, p) for p in stream.encode(None))


def open_audio(path: Path) -> tuple[InputContainer, AudioStream]:
    """Open ``path`` for its sound. Raises InputError where no sound stream can be decoded; the caller closes the container."""
    container = av.open(str(Path(path).resolve()), container_options=CONTAINER_OPTIONS, metadata_errors="replace")
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        container.close()
        raise InputError(f"{path} has no sound that can be decoded.", code="no_decodable_audio", hint="Run without --audio.")
    best = container.streams.best("audio")
    return container, next((s for s in streams if best is not None and s.index == best.index), streams[0])
