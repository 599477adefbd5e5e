"""Frames to SAM-3 and masks from it, both in a bounded window: memory does not grow with the clip, in either direction."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack
from body4d.models.sam3.network import MIN_MASK_CELLS, Sam3Detections, Sam3Network, TextFeatures, TrackerFeatures
from body4d.runtime.device import AdaptiveBatcher, side_stream
from body4d.runtime.torch_utils import copy_to_host
from body4d.tracking.masks import assign_pixel_owners, fill_holes_and_specks

Item = TypeVar("Item")

BACKWARD_BUFFER_BYTES = 512_000_000
"""Frames that are read at once when going back: with less, the same key frames are decoded more often."""

MAX_HOLE_CELLS = 16
"""Holes and specks of a mask, of up to so many cells, are closed or dropped."""

_NUM_WORKERS = 4
"""Masks are enlarged and coded side by side: a 1080-line mask takes about 10 ms, the tracker's next frame about as long."""

_MAX_PENDING_FRAMES = 32
"""Frames whose masks may wait to be coded."""


class MaskRank(IntEnum):
    """Where people claim one pixel, the higher rank has it. A duplicate has no mask on the frame."""

    DUPLICATE = -1
    TENTATIVE = 0
    CONFIRMED = 1


@dataclass(frozen=True)
class EncodedFrame:
    """One frame: the image, its features for the tracker, and the detections where the detector ran."""

    frame: int
    image: UInt8[np.ndarray, "height width 3"]
    features: TrackerFeatures
    detections: Sam3Detections | None


def read_windows(
    frames: FrameSource,
    first: int,
    last: int,
    size: Callable[[], int],
    *,
    reverse: bool,
    max_bytes: float,
    needed: Callable[[int], bool] = lambda frame: True,
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Frames ``first`` to below ``last`` in lists of ``size()``, last first where ``reverse``.

    Videos can be decoded forwards only. Backwards, frames of up to ``max_bytes`` are read at once, the next stretch while one is in use;
    stretches of which no frame is ``needed`` are not read.
    """
    if not reverse:
        window: list[tuple[int, np.ndarray]] = []
        for item in frames.read(first, last):
            window.append(item)
            if len(window) >= size():
                yield window
                window = []
        if window:
            yield window
        return
    if first >= last:
        return
    frame_bytes = 3 * frames.clip.width_px * frames.clip.height_px
    stretch = max(size(), int(max_bytes / 2 / frame_bytes))  # One is in use while another is read.
    with ThreadPoolExecutor(1, thread_name_prefix="body4d-backward") as reader:
        stretches = [(max(first, end - stretch), end) for end in range(last, first, -stretch)]
        pending: deque[Future[list[tuple[int, np.ndarray]]]] = deque()
        for begin, end in [*stretches, (last, last)]:
            if any(needed(frame) for frame in range(begin, end)):
                pending.append(reader.submit(lambda a=begin, b=end: list(frames.read(a, b))))
            images = pending.popleft().result() if len(pending) > (1 if begin < end else 0) else []
            while images:
                count = min(size(), len(images))
                yield images[-count:][::-1]
                del images[-count:]


class FrameEncoder:
    """Encodes a clip's frames in batches, on CUDA one batch ahead of the tracker; a batch is freed when the next is handed out."""

    def __init__(self, network: Sam3Network, frames: FrameSource, batches: AdaptiveBatcher, detect_every_frames: int) -> None:
        self._network, self._frames, self._batches, self._detect_every_frames = network, frames, batches, detect_every_frames

    def stream(
        self,
        first: int,
        last: int,
        *,
        reverse: bool = False,
        texts: Sequence[TextFeatures] = (),
        needed: Callable[[int], bool] = lambda frame: True,
    ) -> Iterator[list[EncodedFrame]]:
        """Those frames from ``first`` to below ``last`` that are ``needed``, in batches; with ``texts`` the detector runs on every n-th."""
        batches = self._encode(first, last, reverse, texts, needed)
        return prefetch(batches, self._network.device, lambda batch: (t for frame in batch for t in frame.features.tensors))

    def _encode(
        self, first: int, last: int, reverse: bool, texts: Sequence[TextFeatures], needed: Callable[[int], bool]
    ) -> Iterator[list[EncodedFrame]]:
        windows = read_windows(
            self._frames, first, last, lambda: self._batches.size, reverse=reverse, max_bytes=BACKWARD_BUFFER_BYTES, needed=needed
        )
        cuts = frozenset(self._frames.clip.cuts.tolist())
        for window in windows:
            window = [item for item in window if needed(item[0])]
            images = [image for _, image in window]
            due = ((frame - first) % self._detect_every_frames == 0 or frame in cuts for frame, _ in window)
            detect = [bool(texts) and is_due for is_due in due]
            parts = self._batches.run(len(window), lambda rows, i=images, d=detect: self._network.encode_frames(i[rows], d[rows], texts))
            encoded = [one for part in parts for one in part]
            if window:
                yield [EncodedFrame(frame, image, *one) for (frame, image), one in zip(window, encoded, strict=True)]


def prefetch(items: Iterator[Item], device: torch.device, tensors: Callable[[Item], Iterator[Tensor]]) -> Iterator[Item]:
    """``items``, the next one made while one is used: on CUDA in a thread with a stream of its own, elsewhere without a thread.

    ``tensors`` of an item are what the stream of its user waits for.
    """
    if device.type != "cuda":
        yield from items
        return
    stream = side_stream(device, "encode")
    stream.wait_stream(torch.cuda.current_stream(device))

    def make() -> tuple[Item | None, Any]:
        with torch.cuda.stream(stream):
            return next(items, None), stream.record_event()

    worker = _encode_thread()
    pending = worker.submit(make)
    try:
        while True:
            item, made = pending.result()
            if item is None:
                return
            pending = worker.submit(make)
            here = torch.cuda.current_stream(device)
            here.wait_event(made)
            with torch.inference_mode():  # They may be inference tensors, which can be touched nowhere else.
                for tensor in tensors(item):
                    tensor.record_stream(here)
            yield item
    finally:
        wait_for([pending])
        close = getattr(items, "close", None)
        if close is not None:
            close()


@lru_cache
def _encode_thread() -> ThreadPoolExecutor:
    """The process' one thread for encoding ahead: cuDNN plans its attention anew in every thread, which takes half a second."""
    return ThreadPoolExecutor(1, thread_name_prefix="body4d-encode")


class MaskEncoder:
    """Turns mask logits into run-length codes of the clip's size, in threads, while the network goes on.

    ``codes`` are those of each person by frame, ``lost_frames`` the frames since a person was last seen. Where people claim one pixel, the
    higher rank and then the higher logit has it.
    """

    def __init__(self, size_px: tuple[int, int], *, min_cells: int = MIN_MASK_CELLS, max_hole_cells: int = MAX_HOLE_CELLS) -> None:
        self.codes: dict[int, dict[int, bytes]] = {}
        self.lost_frames: dict[int, int] = {}
        self._size_px, self._min_cells, self._max_hole_cells = size_px, min_cells, max_hole_cells
        self._pool = ThreadPoolExecutor(_NUM_WORKERS, thread_name_prefix="body4d-masks")
        self._added: list[tuple[int, list[int], list[MaskRank], list[Tensor]]] = []
        self._pending: deque[Future[tuple[int, list[int], list[bytes | None]]]] = deque()

    def __enter__(self) -> "MaskEncoder":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, frame: int, people: Sequence[tuple[int, Float[Tensor, "h w"], MaskRank]]) -> None:
        """People on a frame: (object id, logits, rank). Returns at once."""
        if people:
            self._added.append((frame, [p[0] for p in people], [p[2] for p in people], [p[1] for p in people]))

    def flush(self) -> None:
        """Send what was added to the host in one go, and hand it to the threads."""
        if not self._added:
            return
        host, wait = copy_to_host(torch.stack([one for _, _, _, logits in self._added for one in logits]))
        start = 0
        for frame, obj_ids, ranks, logits in self._added:
            part = host[start : start + len(logits)]
            start += len(logits)
            self._pending.append(self._pool.submit(self._encode, frame, obj_ids, part, ranks, wait))
        self._added = []
        while self._pending and (len(self._pending) > _MAX_PENDING_FRAMES or self._pending[0].done()):
            self._collect()

    def finish(self) -> None:
        """Wait until everything is coded."""
        self.flush()
        while self._pending:
            self._collect()

    def drop(self, obj_id: int) -> None:
        """Forget a person, including what is still being coded."""
        self.finish()
        self.codes.pop(obj_id, None)

    def _collect(self) -> None:
        frame, obj_ids, codes = self._pending.popleft().result()
        for obj_id, code in zip(obj_ids, codes, strict=True):
            self.lost_frames[obj_id] = self.lost_frames.get(obj_id, 0) + 1 if code is None else 0
            if code is not None:
                self.codes.setdefault(obj_id, {})[frame] = code

    def _encode(
        self, frame: int, obj_ids: list[int], logits: np.ndarray, ranks: list[MaskRank], wait: Callable[[], object]
    ) -> tuple[int, list[int], list[bytes | None]]:
        """(frame, object ids, the code of each or None where the person is not visible). ``wait`` returns when the logits have arrived."""
        wait()
        cleaned = [fill_holes_and_specks(one, self._max_hole_cells) for one in logits]
        visible = [i for i, one in enumerate(cleaned) if ranks[i] != MaskRank.DUPLICATE and np.count_nonzero(one > 0) >= self._min_cells]
        codes: list[bytes | None] = [None] * len(obj_ids)
        if not visible:
            return frame, obj_ids, codes
        shape = self._size_px[1], self._size_px[0]
        parts = [enlarged_part(cleaned[i] > 0, shape) for i in visible]
        enlarged = (upsample_logits(cleaned[i], self._size_px) for i in visible)
        if len(visible) == 1:
            masks = [next(enlarged)[parts[0]] > 0]
        else:
            owner = assign_pixel_owners(enlarged, [ranks[i] for i in visible], shape, parts)
            masks = [owner[part] == place for place, part in enumerate(parts)]
        for i, (rows, columns), mask in zip(visible, parts, masks, strict=True):
            # A person alone has a code even where the mask is lost in enlarging.
            codes[i] = MaskTrack.encode(mask, (columns.start, rows.start), shape) if len(visible) == 1 or mask.any() else None
        return frame, obj_ids, codes


def enlarged_part(cells: Bool[np.ndarray, "h w"], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns, of a picture of ``shape``, outside which logits that are positive in ``cells`` are not when they are enlarged."""
    parts = []
    for axis, side in enumerate(shape):
        (filled,) = np.nonzero(cells.any(1 - axis))
        pixels_per_cell = side / cells.shape[axis]
        # A pixel lies between the centres of two cells; one pixel more is for the rounding of its place.
        first, last = (filled[0] - 1.5) * pixels_per_cell - 1, (filled[-1] + 1.5) * pixels_per_cell + 1
        parts.append(slice(max(0, math.floor(first)), min(side, math.ceil(last))))
    return parts[0], parts[1]


def upsample_logits(logits: Float[np.ndarray, "h w"], size_px: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Logits at the clip's size (width, height), bilinear between the cells' centres; columns are contiguous, as COCO's codes want them."""
    transposed = torch.from_numpy(np.ascontiguousarray(logits.T, np.float32))[None, None]
    return interpolate(transposed, (size_px[0], size_px[1]), mode="bilinear", align_corners=False)[0, 0].numpy().T
