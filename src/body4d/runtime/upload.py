"""Frames to the device while it works on the ones before."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Upload:
    """Copies pictures to ``device``. On CUDA by way of two pinned buffers in turn, so that the host waits for no copy: neither for this
    one nor, unless it is two calls ahead, for earlier ones."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots: list[tuple[Tensor, torch.cuda.Event] | None] = [None, None]

    def __call__(self, pictures: Sequence[NDArray[Any]]) -> Tensor:
        """Pictures, all of one shape, as one tensor (F, ...) on the device."""
        if self._device.type != "cuda":
            return torch.from_numpy(np.stack(pictures)).to(self._device)
        staged, copied = self._buffer(len(pictures), pictures[0])
        for place, picture in zip(staged, pictures, strict=True):
            place.copy_(torch.from_numpy(picture))
        there = staged.to(self._device, non_blocking=True)
        copied.record()
        return there

    def _buffer(self, count: int, like: NDArray[Any]) -> tuple[Tensor, torch.cuda.Event]:
        """The buffer not used last, once its copy is done; a new one where it is too small."""
        self._slots.reverse()
        slot = self._slots[0]
        if slot is not None:
            slot[1].synchronize()
        if slot is None or len(slot[0]) < count or slot[0].shape[1:] != like.shape:
            dtype = torch.from_numpy(like[:0]).dtype
            slot = (torch.empty((count, *like.shape), dtype=dtype, pin_memory=True), torch.cuda.Event())
            self._slots[0] = slot
        return slot[0][:count], slot[1]
