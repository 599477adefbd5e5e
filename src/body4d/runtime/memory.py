"""How much memory a stretch of work took at most: of this process, and of the GPU where one is at work."""

import os
import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

SAMPLE_EVERY_S = 0.05
"""Often enough to meet every stage's peak within a few percent, at a thousandth of a core."""

_MB = 1e6


@dataclass(frozen=True)
class DeviceMemory:
    """How the GPU's peak is asked for: ``reset`` it, then read it in bytes with ``peak`` (None: no GPU was used)."""

    reset: Callable[[], None] = lambda: None
    peak: Callable[[], int | None] = lambda: None


NO_DEVICE = DeviceMemory()


class MemoryMonitor:
    """Watches memory while it is entered; ``cpu_peak_mb`` and ``gpu_peak_mb`` (None without a GPU) afterwards."""

    def __init__(self, device: DeviceMemory) -> None:
        self._device, self._stop = device, threading.Event()
        self._thread = threading.Thread(target=self._look, name="body4d-memory", daemon=True)
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

    def _look(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._peak = max(self._peak, resident_bytes())


def resident_bytes() -> int:
    """Memory this process holds now; where the system does not tell, the most it ever held."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def machine_free_bytes() -> int:
    """Memory that can still be taken: of the machine, or of the group (container) this process is confined to."""
    return min(_machine_free_bytes(), _group_free_bytes())


def _machine_free_bytes() -> int:
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return pages * os.sysconf("SC_PAGE_SIZE") // 2 if pages else 4 << 30


def _group_free_bytes() -> int:
    """What a container may still take (cgroup v2), as its machine's free memory says nothing about it."""
    try:
        with open("/sys/fs/cgroup/memory.max") as most, open("/sys/fs/cgroup/memory.current") as now:
            limit = most.read().strip()
            return (1 << 62) if limit == "max" else max(int(limit) - int(now.read()), 0)
    except (OSError, ValueError):
        return 1 << 62
