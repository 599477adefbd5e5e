"""Which device the networks run on, in which precision, and how many images go through at once.

Nothing here is decided on import: the adapter of each network asks when it starts to work.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch

from body4d.config import ComputeSettings
from body4d.core.errors import DeviceError, RunWarning
from body4d.runtime.memory import machine_free_bytes

Result = TypeVar("Result")

OUT_OF_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
"""What torch says on CUDA, on the CPU of Linux and Windows, and on MPS."""


def choose_device(compute: ComputeSettings) -> torch.device:
    """The device that the settings name, with "auto" resolved. Raises DeviceError where it is missing."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    name = compute.device
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if (name == "cuda" and not cuda) or (name == "mps" and not mps):
        reason = "is built without it" if name == "cuda" and torch.version.cuda is None else "finds none"
        raise DeviceError(
            f"The device {name} is asked for, but torch {torch.__version__} {reason}.",
            code="device_missing",
            hint="Use --device auto, or install a torch that supports the device.",
            device=name,
            torch=str(torch.__version__),
        )
    return torch.device(name)


def choose_dtype(compute: ComputeSettings, device: torch.device, published: torch.dtype) -> torch.dtype:
    """Precision of a large network. "auto" means ``published``, the one its publishers run it in, on CUDA, and float32 on the CPU and on
    MPS, where short numbers are rarely faster."""
    if compute.precision == "auto":
        return published if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[compute.precision]


def cuda_bytes() -> int:
    """Memory of the CUDA device that this process may use, free or not; 0 without one."""
    return _allowed_bytes(torch.device("cuda", 0)) if torch.cuda.is_available() else 0


def _allowed_bytes(device: torch.device) -> int:
    """Memory of a CUDA device, or the share of it to which ``torch.cuda.set_per_process_memory_fraction`` holds this process."""
    # The latter takes no device without a number.
    index = torch.cuda.current_device() if device.index is None else device.index
    return int(torch.cuda.get_device_properties(index).total_memory * torch.cuda.get_per_process_memory_fraction(index))


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be allocated: of the device, else of the machine or of the container that confines the process."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device)
        # What torch reserves and does not use is free too.
        return max(min(free, _allowed_bytes(device) - reserved) + reserved - torch.cuda.memory_allocated(device), 0)
    if device.type == "mps":
        return max(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), 0)
    return machine_free_bytes()


def choose_batch_size(free_bytes: int, bytes_per_item: int, compute: ComputeSettings, max_size: int) -> int:
    """How many items of ``bytes_per_item`` go through at once, 1 to ``max_size``, unless the settings say how many."""
    if compute.batch_size is not None:
        return compute.batch_size
    return max(1, min(max_size, int(free_bytes * compute.max_memory_share) // max(bytes_per_item, 1)))


@dataclass
class AdaptiveBatcher:
    """Runs work in batches of ``size``. Where memory runs out, ``size`` is halved for good and ``warning`` is set."""

    size: int
    items: str
    """What the items are called, in the plural, such as "people"."""
    warning: RunWarning | None = None

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """The results of ``work`` on consecutive rows that cover ``count``. Raises DeviceError where not even one row fits."""
        results, first = [], 0
        while first < count:
            rows = slice(first, min(first + self.size, count))
            try:
                results.append(work(rows))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            else:
                first = rows.stop
                continue
            # Outside the handler: the error's frames hold the tensors that must be freed.
            self._halve(rows.stop - rows.start, reason)
        return results

    def _halve(self, tried: int, reason: str) -> None:
        if tried == 1:
            raise DeviceError(
                f"Memory does not hold even one of the {self.items} ({reason}).",
                code="out_of_memory",
                hint="Close other programs, or use --device cpu.",
                items=self.items,
            )
        if not self.warning:
            message = f"Memory ran out with {tried} {self.items} at once, and the work went on with fewer. The results are the same."
            self.warning = RunWarning("smaller_batches", message, facts={"tried": tried, "items": self.items})
        self.size = tried // 2
        release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # What is kept for one stream does not serve another.


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out."""
    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in message for words in OUT_OF_MEMORY_MESSAGES)


MAX_KEPT = 2
"""Precisions in which a network is kept at most."""


def kept(load: Callable[..., Result], compute: ComputeSettings) -> Callable[..., Result]:
    """``load``, or where the settings ask for it a function that loads once for each device and precision and hands the same out again."""
    return lru_cache(MAX_KEPT)(load) if compute.keep_loaded else load


@lru_cache
def side_stream(device: torch.device, purpose: str, priority: int = 0) -> torch.cuda.Stream:
    """The process' one CUDA stream for a purpose: memory that was used on a stream serves that stream again."""
    return torch.cuda.Stream(device, priority=priority)


@contextmanager
def ahead_of_others(device: torch.device) -> Iterator[None]:
    """Within the context, work on a CUDA device goes before that of streams without priority, which keep it busy in the gaps."""
    if device.type != "cuda":
        yield
        return
    before, stream = torch.cuda.current_stream(device), side_stream(device, "ahead", -1)
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        before.wait_stream(stream)


NEGLIGIBLE_BYTES = 64_000_000
"""Constants and the like that a stage may leave on a GPU."""


def allocated_bytes(device: torch.device) -> int | None:
    """What torch's tensors take on a GPU; None elsewhere, where nobody counts."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def release_memory(device: torch.device | None = None, before: int | None = None) -> None:
    """Free what nothing uses any more, so that the next model finds it. On CUDA torch keeps it for this process: to give it back to the
    driver and to ask for it again takes half a second a stage.

    Where a ``device`` holds no more than ``before`` (``allocated_bytes``), Python does not look for cycles, which takes it a quarter of a
    second.
    """
    if device is None or before is None or torch.cuda.memory_allocated(device) > before + NEGLIGIBLE_BYTES:
        gc.collect()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def reset_gpu_peak() -> None:
    """Start a new measurement of the GPU's peak memory, where a GPU is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def gpu_peak_bytes() -> int | None:
    """Most GPU memory in use since ``reset_gpu_peak``; None where no GPU is in use."""
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
