"""Helpers around torch that several networks share: exact products, compiling, and frames on their way to the device."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from body4d.core.caches import cache_folder
from body4d.runtime.fused import has_fused_kernels


def float32_matmul(a: Float[Tensor, "*#batch n k"], b: Float[Tensor, "*#batch k m"]) -> Float[Tensor, "*batch n m"]:
    """``a @ b`` in float32 even under autocast: for angles, positions and bodies, where half precision is off by centimetres."""
    with torch.autocast(a.device.type, enabled=False):
        return a.float() @ b.float()


def should_compile(num_images: int, device_type: str, choice: Literal["auto", "on", "off"], min_images: int) -> bool:
    """Whether to compile a network through which ``num_images`` images go on a device of type "cuda", "mps" or "cpu".

    ``choice`` "on" and "off" are followed. "auto" compiles on CUDA alone where Triton's own kernels are missing (``fused``), and only from
    ``min_images`` on, where the seconds that compiling takes are won back.
    """
    if choice != "auto":
        return choice == "on"
    return device_type == "cuda" and not has_fused_kernels(torch.device(device_type)) and num_images >= min_images


def set_compile_cache(folder: Path | None = None) -> Path:
    """Let torch keep compiled code in ``folder`` and return the folder in use. Call this before the first compilation.

    The default is ``$XDG_CACHE_HOME/body4d/compiled`` or ``~/.cache/body4d/compiled`` (``core.caches``). A folder that the user chose with
    ``TORCHINDUCTOR_CACHE_DIR`` stays in use.
    """
    in_use = os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder or cache_folder() / "body4d" / "compiled"))
    # Triton's own kernels are kept in a folder of their own; outside the cache they are built anew in every process.
    os.environ.setdefault("TRITON_CACHE_DIR", str(Path(in_use) / "triton"))
    return Path(in_use)


def copy_to_host(tensor: Tensor) -> tuple[np.ndarray, Callable[[], object]]:
    """A tensor's numbers on the host, and what to call before they are read: the copy from CUDA is not waited for."""
    if not tensor.is_cuda:
        return tensor.cpu().numpy(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host.numpy(), copied.synchronize


COPY_THREADS = 4
"""Images are copied into pinned memory side by side: one thread moves a frame of 1080 lines in one to two milliseconds."""


class FrameUploader:
    """Copies images to ``device``.

    On CUDA two pinned buffers are used in turn, so that the host waits for a copy only where it is two calls ahead.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = ThreadPoolExecutor(COPY_THREADS, thread_name_prefix="body4d-upload") if device.type == "cuda" else None
        self._slots: list[tuple[Tensor, torch.cuda.Event] | None] = [None, None]

    def __call__(self, images: Sequence[Shaped[np.ndarray, "..."]]) -> Shaped[Tensor, "f ..."]:
        """The images, all of one shape, as one tensor on the device."""
        if self._pool is None:
            return torch.from_numpy(np.stack(images)).to(self._device)
        staged, copied = self._buffer(len(images), images[0])
        list(self._pool.map(np.copyto, staged.numpy(), images))
        uploaded = staged.to(self._device, non_blocking=True)
        copied.record()
        return uploaded

    def _buffer(self, count: int, like: np.ndarray) -> tuple[Tensor, torch.cuda.Event]:
        """The buffer that was not used last, once its copy is done; a new one where it is too small."""
        self._slots.reverse()
        slot = self._slots[0]
        if slot is not None:
            slot[1].synchronize()
        if slot is None or len(slot[0]) < count or slot[0].shape[1:] != like.shape:
            dtype = torch.from_numpy(like[:0]).dtype
            slot = (torch.empty((count, *like.shape), dtype=dtype, pin_memory=True), torch.cuda.Event())
            self._slots[0] = slot
        return slot[0][:count], slot[1]
