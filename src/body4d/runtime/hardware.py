"""Which GPU, driver and torch this machine has: facts alone, gathered without a model. What they mean is decided in ``doctor``."""

import csv
import subprocess
from dataclasses import dataclass

from body4d.config import ComputeSettings

ANSWER_MOST_S = 5.0
"""A driver that does not answer for this long hangs; it answers within a second, or two where it sleeps."""

_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver tells: its version, such as ``580.95.05``, and each GPU's name. ``error``: there is one, and it is not well."""

    version: str = ""
    gpus: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Torch:
    """What torch tells. ``cuda`` is the CUDA it was built with, such as ``13.0`` (empty: a build for the CPU).

    ``device`` is what ``--device auto`` would take, with its name, memory, and the compute capability (major, minor) of a GPU.
    ``architectures`` are those it holds kernels for (``sm_90``, ``compute_90``). ``error``: it cannot be loaded, or its GPU cannot be used.
    """

    version: str
    cuda: str = ""
    device: str = "cpu"
    name: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    capability: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()
    error: str = ""


def look_at_driver(command: tuple[str, ...] = _QUERY) -> Driver | None:
    """Ask NVIDIA's driver, None where there is none. torch is not asked: it may be a build that knows no GPU."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_MOST_S)
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(error=f"{command[0]} does not answer ({type(error).__name__})")
    if said.returncode != 0:
        return Driver(error=" ".join((said.stdout or said.stderr).split()) or f"{command[0]} ended with {said.returncode}")
    return read_driver(said.stdout)


def read_driver(text: str) -> Driver:
    """The driver of nvidia-smi's lines ``name, MiB, MiB, version``. Pure."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if len(row) == 4]
    return Driver(rows[0][3], tuple(row[0] for row in rows)) if rows else Driver(error="nvidia-smi names no GPU")


def look_at_torch(compute: ComputeSettings) -> Torch:
    """Load torch and ask it. Nothing is raised: what does not work is an ``error``."""
    try:
        import torch

        from body4d.runtime.device import choose_device, free_bytes
    except Exception as error:
        # A torch whose libraries do not fit fails to load in many ways, OSError among them.
        return Torch("", error=_short(error))
    version, cuda = str(torch.__version__), torch.version.cuda or ""
    try:
        device = choose_device(compute)
        if device.type != "cuda":
            return Torch(version, cuda, device.type, free_bytes=free_bytes(device), error=_why_no_cuda(bool(cuda)))
        about = torch.cuda.get_device_properties(device)
        # One product on the GPU: a driver and kernels that do not fit show here and nowhere else.
        torch.ones(8, 8, device=device).mm(torch.ones(8, 8, device=device)).sum().item()
        return Torch(
            version,
            cuda,
            "cuda",
            about.name,
            about.total_memory,
            free_bytes(device),
            torch.cuda.get_device_capability(device),
            tuple(torch.cuda.get_arch_list()),
        )
    except Exception as error:
        return Torch(version, cuda, error=_short(error))


def _why_no_cuda(built_with_it: bool) -> str:
    """What CUDA says when it is asked to begin, empty where torch is a build without it or nothing is amiss."""
    if not built_with_it:
        return ""
    import torch

    try:
        torch.cuda.init()
    except Exception as error:
        return _short(error)
    return ""


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
