"""How much memory a stage takes at most, of this process and of the GPU, and how much is free on this machine."""

import os
import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

SAMPLE_EVERY_S = 0.05
"""Sampling this often catches a stage's peak within a few percent and takes a thousandth of a core."""

_MB = 1e6


@dataclass(frozen=True)
class DeviceMemory:
    """How the peak memory of the GPU is measured: call ``reset``, later ``peak``, which gives bytes, or None where no GPU is in use."""

    reset: Callable[[], None] = lambda: None
    peak: Callable[[], int | None] = lambda: None


NO_DEVICE = DeviceMemory()


class MemoryMonitor:
    """A context manager that measures peak memory. ``cpu_peak_mb`` and ``gpu_peak_mb`` (None without a GPU) are valid after it."""

    def __init__(self, device: DeviceMemory) -> None:
        self._device, self._stop = device, threading.Event()
        self._thread = threading.Thread(target=self._sample, name="body4d-memory", daemon=True)
        self._peak = 0
        self.gpu_peak_mb: float | None = None

    @property
    def cpu_peak_mb(self) -> float:
        return round(self._peak / _MB, 1)

    def __enter__(self) -> "MemoryMonitor":
        self._device.reset()
        self._peak = resident_bytes()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, resident_bytes())
        peak = self._device.peak()
        self.gpu_peak_mb = None if peak is None else round(peak / _MB, 1)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._peak = max(self._peak, resident_bytes())


def resident_bytes() -> int:
    """Memory this process holds now; on systems that do not report it, the most it ever held."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def machine_free_bytes() -> int:
    """Memory that can still be allocated: of the machine, or of the container that confines this process."""
    return min(_available_bytes(), _container_free_bytes())


def _available_bytes() -> int:
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return pages * os.sysconf("SC_PAGE_SIZE") // 2 if pages else 4 << 30


def _container_free_bytes() -> int:
    """What the control group (cgroup v2) of a container allows beyond what it uses; unlimited outside a container."""
    try:
        with open("/sys/fs/cgroup/memory.max") as limit_file, open("/sys/fs/cgroup/memory.current") as used_file:
            limit = limit_file.read().strip()
            return (1 << 62) if limit == "max" else max(int(limit) - int(used_file.read()), 0)
    except (OSError, ValueError):
        return 1 << 62
