"""Which device the networks run on, in which precision, and how many pictures go through at once.

Nothing here is decided on import; every network's adapter asks when it starts to work.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from body4d.config import ComputeSettings
from body4d.core.errors import DeviceError
from body4d.runtime.memory import machine_free_bytes

Result = TypeVar("Result")

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
"""How torch says it on CUDA, on the CPU of Linux and Windows, and on MPS."""


def choose_device(settings: ComputeSettings) -> torch.device:
    """The device of ``settings``, "auto" resolved. Raises DeviceError where it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    wanted = settings.device
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if (wanted == "cuda" and not cuda) or (wanted == "mps" and not mps):
        why = "is built without it" if wanted == "cuda" and torch.version.cuda is None else "sees none"
        raise DeviceError(f"--device {wanted} was asked for, but torch {torch.__version__} {why}: use --device auto or another torch.")
    return torch.device(wanted)


def choose_dtype(settings: ComputeSettings, device: torch.device) -> torch.dtype:
    """Precision of the large networks. bfloat16 on the CPU and on MPS is rarely the faster one, so float32 there."""
    if settings.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings.precision]


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken: of the device, else of the machine or of the group it is confined to."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for itself but does not use is free too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), 0)
    return machine_free_bytes()


def batch_that_fits(free: int, bytes_each: int, settings: ComputeSettings, most: int) -> int:
    """How many items of ``bytes_each`` go through at once, 1 to ``most``. Pure."""
    if settings.batch is not None:
        return settings.batch
    return max(1, min(most, int(free * settings.memory_share) // max(bytes_each, 1)))


@dataclass
class Batches:
    """Work in batches of ``size``; where memory runs out ``size`` is halved, for good, and ``note`` says so."""

    size: int
    what: str
    note: str = ""

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """``work`` on consecutive rows that cover ``count``. Raises DeviceError where not even one fits."""
        out, first = [], 0
        while first < count:
            rows = slice(first, min(first + self.size, count))
            try:
                out.append(work(rows))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                short = str(error).splitlines()[0]
            else:
                first = rows.stop
                continue
            # Outside the handler: the error's frames hold the tensors that must go.
            self._halve(rows.stop - rows.start, short)
        return out

    def _halve(self, tried: int, short: str) -> None:
        if tried == 1:
            raise DeviceError(f"Memory does not hold even one of the {self.what} ({short}). Close other programs, or use --device cpu.")
        if not self.note:
            self.note = f"Memory ran out with {tried} {self.what} at once; the work went on with fewer. Results are the same."
        self.size = tried // 2
        release()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release() -> None:
    """Give back memory that nothing uses any more, so that the next model finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def reset_gpu_peak() -> None:
    """Begin to measure the GPU's peak anew, where one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def gpu_peak_bytes() -> int | None:
    """Most GPU memory taken since :func:`reset_gpu_peak`, None where no GPU is in use."""
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
