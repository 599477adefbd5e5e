"""Carry a clip's sound into a written video: packets copied as they are where MP4 can hold them, else re-encoded to AAC."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer
from av.error import FFmpegError

from body4d.core.types import Clip
from body4d.video.container import demux_packets, open_audio
from body4d.video.timeline import timeline

_COPIED = frozenset(("aac", "mp3", "ac3", "eac3", "alac"))
_AAC_RATES = frozenset((8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000))


class AudioMuxer:
    """The sound of ``clip``'s range, fed into an output step by step so that sound and picture lie side by side in the file.

    A copied packet starts where it started in the source, to the tick; the range is cut at packet borders (about 20 ms).
    """

    def __init__(self, clip: Clip) -> None:
        line = timeline(clip.path)
        self._start_s = int(line.ticks[clip.source_frames[0]]) * line.time_base if line.clock == "pts" else Fraction(0)
        self._input, self._source = open_audio(clip.path)
        self._time_base = self._source.time_base or Fraction(1, 48_000)
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._next: tuple[float, Any] | None = None

    def open(self, output: OutputContainer) -> None:
        """Add a sound stream to ``output``."""
        if self._start_s > 0:
            self._input.seek(int(self._start_s / self._time_base), stream=self._source)
        copied = self._source.codec.name in _COPIED
        self._packets = self._copies(output) if copied else self._encoded(output)
        self._next = next(self._packets, None)

    def mux_until(self, output: OutputContainer, end_s: float) -> None:
        """Write what starts before ``end_s`` seconds of the output."""
        while self._next is not None and self._next[0] < end_s:
            output.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._packets = iter(())
        self._input.close()

    def _copies(self, output: OutputContainer) -> Iterator[tuple[float, Any]]:
        stream = output.add_stream_from_template(self._source)
        shift = round(self._start_s / self._time_base)
        for packet in demux_packets(self._input, self._source):
            if packet.size and packet.pts is not None and packet.pts >= shift and not packet.is_discard:
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = stream
                yield float(packet.pts * self._time_base), packet

    def _encoded(self, output: OutputContainer) -> Iterator[tuple[float, Any]]:
        rate = self._source.rate if self._source.rate in _AAC_RATES else 48_000
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
