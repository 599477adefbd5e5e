"""Frames to SAM-3 and masks from it, both in a bounded window: memory does not grow with the clip, in either direction."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from body4d.config import Sam3Settings
from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack
from body4d.models.sam3.network import Features, Finds, Sam3Network, Text
from body4d.models.sam3.transformers_compat import one_ahead
from body4d.runtime.device import AdaptiveBatcher
from body4d.tracking.masks import assign_pixel_owners, fill_holes_and_specks

_LANES = 4
"""Masks are enlarged and coded side by side: a 1080-line mask takes about 10 ms, the tracker's next frame about as long."""
_AHEAD_MOST = 32
"""Frames whose masks may wait to be coded."""

YIELDS, ON_TRIAL, SURE = -1, 0, 1
"""Ranks in a claim for pixels; who yields has no mask on the frame."""


@dataclass(frozen=True)
class Seen:
    """One frame: its picture (H, W, 3) uint8, what the tracker needs of it, and the finds where it was searched."""

    frame: int
    picture: np.ndarray
    features: Features
    finds: Finds | None


def windows(
    frames: FrameSource,
    first: int,
    last: int,
    size: Callable[[], int],
    *,
    reverse: bool,
    most_bytes: float,
    wanted: Callable[[int], bool] = lambda frame: True,
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Frames ``first`` to below ``last`` in lists of ``size()``, last first where ``reverse``.

    Videos are decoded forwards alone: backwards, up to ``most_bytes`` of frames are read at once, the next stretch while one is used;
    stretches of which no frame is ``wanted`` are not read.
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
    stretch = max(size(), int(most_bytes / 2 / frame_bytes))  # one in use, one being read
    with ThreadPoolExecutor(1, thread_name_prefix="body4d-backward") as reader:
        stretches = [(max(first, end - stretch), end) for end in range(last, first, -stretch)]
        ahead: deque[Future[list[tuple[int, np.ndarray]]]] = deque()
        for begin, end in [*stretches, (last, last)]:
            if any(wanted(frame) for frame in range(begin, end)):
                ahead.append(reader.submit(lambda a=begin, b=end: list(frames.read(a, b))))
            pictures = ahead.popleft().result() if len(ahead) > (1 if begin < end else 0) else []
            while pictures:
                count = min(size(), len(pictures))
                yield pictures[-count:][::-1]
                del pictures[-count:]


class Encoder:
    """Encodes a clip's frames in batches, on CUDA one batch ahead of the tracker; what was handed out is freed with the next."""

    def __init__(self, network: Sam3Network, frames: FrameSource, batches: AdaptiveBatcher, settings: Sam3Settings) -> None:
        self._network, self._frames, self._batches, self._settings = network, frames, batches, settings

    def stream(
        self,
        first: int,
        last: int,
        *,
        reverse: bool = False,
        texts: Sequence[Text] = (),
        wanted: Callable[[int], bool] = lambda frame: True,
    ) -> Iterator[list[Seen]]:
        """Frames ``first`` to below ``last`` that are ``wanted``, a batch at a time; with ``texts`` every n-th frame is searched."""
        batches = self._encoded(first, last, reverse, texts, wanted)
        return one_ahead(batches, self._network.device, lambda batch: (t for seen in batch for t in seen.features.tensors))

    def _encoded(self, first: int, last: int, reverse: bool, texts: Sequence[Text], wanted: Callable[[int], bool]) -> Iterator[list[Seen]]:
        s = self._settings
        size = lambda: self._batches.size  # noqa: E731
        for window in windows(self._frames, first, last, size, reverse=reverse, most_bytes=s.backward_mb * 1e6, wanted=wanted):
            window = [item for item in window if wanted(item[0])]
            pictures = [picture for _, picture in window]
            search = [bool(texts) and (frame - first) % s.detect_every_frames == 0 for frame, _ in window]
            parts = self._batches.run(len(window), lambda rows, p=pictures, w=search: self._network.encode(p[rows], w[rows], texts))
            told = [one for part in parts for one in part]
            if window:
                yield [Seen(frame, picture, *one) for (frame, picture), one in zip(window, told, strict=True)]


class Writer:
    """Turns mask logits into run-length codes of the clip's size, in threads, while the network goes on.

    ``rows`` are the codes by person and frame. Where people claim one pixel, the higher rank and then the higher logit has it.
    """

    def __init__(self, size_px: tuple[int, int], settings: Sam3Settings) -> None:
        self.rows: dict[int, dict[int, bytes]] = {}
        self.unseen: dict[int, int] = {}
        self._size_px, self._settings = size_px, settings
        self._pool = ThreadPoolExecutor(_LANES, thread_name_prefix="body4d-masks")
        self._waiting: list[tuple[int, list[int], list[int], list[Tensor]]] = []
        self._coded: deque[Future[tuple[int, list[int], list[bytes | None]]]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, frame: int, people: Sequence[tuple[int, Tensor, int]]) -> None:
        """People on a frame: (number, logits (h, w), rank). Nothing is waited for."""
        if people:
            self._waiting.append((frame, [p[0] for p in people], [p[2] for p in people], [p[1] for p in people]))

    def flush(self) -> None:
        """Send what was added to the host in one go, and hand it to the threads."""
        if not self._waiting:
            return
        host, there = on_host(torch.stack([one for _, _, _, logits in self._waiting for one in logits]))
        at = 0
        for frame, numbers, ranks, logits in self._waiting:
            part = host[at : at + len(logits)]
            at += len(logits)
            self._coded.append(self._pool.submit(_coded, frame, numbers, part, ranks, self._size_px, self._settings, there))
        self._waiting = []
        while self._coded and (len(self._coded) > _AHEAD_MOST or self._coded[0].done()):
            self._take()

    def finish(self) -> None:
        """Wait until everything is coded."""
        self.flush()
        while self._coded:
            self._take()

    def drop(self, number: int) -> None:
        """Forget a person, also what is still being coded of them."""
        self.finish()
        self.rows.pop(number, None)

    def _take(self) -> None:
        frame, numbers, codes = self._coded.popleft().result()
        for number, code in zip(numbers, codes, strict=True):
            self.unseen[number] = self.unseen.get(number, 0) + 1 if code is None else 0
            if code is not None:
                self.rows.setdefault(number, {})[frame] = code


def on_host(tensor: Tensor) -> tuple[np.ndarray, Callable[[], object]]:
    """A tensor's numbers on the host, and what to call before they are read: from CUDA they are sent, and nothing is waited for."""
    if not tensor.is_cuda:
        return tensor.cpu().numpy(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    sent = torch.cuda.Event()
    sent.record()
    return host.numpy(), sent.synchronize


def _coded(
    frame: int,
    numbers: list[int],
    logits: np.ndarray,
    ranks: list[int],
    size_px: tuple[int, int],
    settings: Sam3Settings,
    there: Callable[[], object] = lambda: None,
) -> tuple[int, list[int], list[bytes | None]]:
    """(frame, numbers, code of each or None where nobody is seen). ``there`` returns when the logits have arrived."""
    there()
    tidy = [fill_holes_and_specks(one, settings.hole_cells) for one in logits]
    seen = [i for i, one in enumerate(tidy) if ranks[i] != YIELDS and np.count_nonzero(one > 0) >= settings.least_cells]
    codes: list[bytes | None] = [None] * len(numbers)
    if len(seen) == 1:
        codes[seen[0]] = MaskTrack.encode(enlarged(tidy[seen[0]], size_px) > 0)
    elif seen:
        height, width = size_px[1], size_px[0]
        owner = assign_pixel_owners((enlarged(tidy[i], size_px) for i in seen), [ranks[i] for i in seen], (height, width))
        for place, i in enumerate(seen):
            mask = owner == place
            codes[i] = MaskTrack.encode(mask) if mask.any() else None
    return frame, numbers, codes


def enlarged(logits: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Logits (h, w) at the clip's size (H, W), bilinear between cells' centres; columns lie together in memory, as COCO wants them."""
    turned = torch.from_numpy(np.ascontiguousarray(logits.T, np.float32))[None, None]
    return interpolate(turned, (size_px[0], size_px[1]), mode="bilinear", align_corners=False)[0, 0].numpy().T
