"""A clip's sound copied into a written video: packets as they are where MP4 can hold them, else re-encoded to AAC."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from body4d.core.errors import InputError
from body4d.core.types import Clip
from body4d.video.timeline import CONTAINER_OPTIONS, Timeline, demux_packets

_COPIED_CODECS = frozenset(("aac", "mp3", "ac3", "eac3", "alac"))
_AAC_RATES_HZ = frozenset((8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000))


class AudioMuxer:
    """The sound of ``clip``'s range, fed into an output step by step so that sound and picture are interleaved in the file.

    A copied packet starts where it started in the source, to the tick; the range is cut at packet borders (about 20 ms).
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
        if self._start_s > 0:
            self._input.seek(int(self._start_s / self._time_base), stream=self._source)
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
        for packet in demux_packets(self._input, self._source):
            if packet.size and packet.pts is not None and packet.pts >= shift and not packet.is_discard:
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = stream
                yield float(packet.pts * self._time_base), packet

    def _encoded_packets(self, output: OutputContainer) -> Iterator[tuple[float, Any]]:
        rate = self._source.rate if self._source.rate in _AAC_RATES_HZ else 48_000
        stream = output.add_stream("aac", rate=rate, layout="stereo" if self._source.channels > 1 else "mono")
        resampler = av.AudioResampler("fltp", stream.layout, rate)
        for packet in demux_packets(self._input, self._source):
            try:
                frames = self._source.decode(packet if packet.size else None)
            except FFmpegError:
                continue  # A damaged stretch of sound is silent, as in a player; the times of the rest still hold.
            for frame in frames:
                for piece in resampler.resample(frame):
                    if piece.pts is None or piece.time_base is None:
                        continue
                    start = round((piece.pts * piece.time_base - self._start_s) * rate)
                    if start >= 0:
                        piece.pts, piece.time_base = start, Fraction(1, rate)
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
