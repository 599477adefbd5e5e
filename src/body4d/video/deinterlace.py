"""Interlaced film made progressive: one picture for each stored frame, by FFmpeg's bwdif, as the frames' own flags ask for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from av.error import BlockingIOError as NotReadyError
from av.error import EOFError as EndError
from av.filter import Graph
from av.video.frame import VideoFrame


def deinterlaced(frames: Iterable[VideoFrame], found: Callable[[], None]) -> Iterator[VideoFrame]:
    """``frames``, those that say they are interlaced with the lines of their second moment filled in; ``found`` is called at the first.

    The time stamps stay. Until an interlaced frame comes, frames pass untouched and without delay.
    """
    filtering: _Filter | None = None
    for frame in frames:
        if filtering is not None and filtering.format != _format(frame):
            yield from filtering.rest()
            filtering = None
        if filtering is None and not frame.interlaced_frame:
            yield frame
            continue
        if filtering is None:
            found()
            filtering = _Filter(frame)
        yield from filtering.push(frame)
    if filtering is not None:
        yield from filtering.rest()


def _format(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


class _Filter:
    """bwdif over frames of one size. It looks at the next frame, so that each comes back when the one after it was pushed."""

    def __init__(self, frame: VideoFrame) -> None:
        self.format = _format(frame)
        self._stamps: deque[tuple[int | None, int | None]] = deque()
        self._graph = Graph()
        source = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
        filters = self._graph.add("bwdif", "mode=send_frame:deint=interlaced"), self._graph.add("buffersink")
        source.link_to(filters[0])
        filters[0].link_to(filters[1])
        self._graph.configure()

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        self._stamps.append((frame.pts, frame.dts))
        self._graph.vpush(frame)
        yield from self._ready()

    def rest(self) -> Iterator[VideoFrame]:
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[VideoFrame]:
        while True:
            try:
                frame = self._graph.vpull()
            except (NotReadyError, EndError):
                return
            frame.pts, frame.dts = self._stamps.popleft()  # The filter counts in halves of its input's unit.
            yield frame
