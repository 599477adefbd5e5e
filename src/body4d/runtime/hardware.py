"""Which GPU, driver and torch this machine has. Facts alone, without a model; ``body4d.doctor`` judges them."""

import csv
import subprocess
from dataclasses import dataclass

from body4d.config import ComputeSettings

DRIVER_TIMEOUT_S = 5.0
"""A driver that gives no answer in this time hangs. It usually takes a second, or two where the GPU sleeps."""

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class NvidiaDriver:
    """NVIDIA's driver and the GPUs it names."""

    version: str = ""
    """Such as ``580.95.05``."""
    gpus: tuple[str, ...] = ()
    error: str = ""
    """Why the driver cannot be used; empty where it can."""


@dataclass(frozen=True)
class TorchInfo:
    """The installed torch, and the device that it would run on."""

    version: str
    cuda: str = ""
    """The CUDA version it was built with, such as ``13.0``; empty where it was built for the CPU alone."""
    device: str = "cpu"
    """The device that the settings choose."""
    name: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    capability: tuple[int, int] | None = None
    """Compute capability (major, minor) of a GPU."""
    architectures: tuple[str, ...] = ()
    """GPU architectures that this build has kernels for, such as ``sm_90`` and ``compute_90``."""
    error: str = ""
    """Why torch cannot be imported, or its GPU not be used; empty where nothing is wrong."""


def query_nvidia_driver(command: tuple[str, ...] = NVIDIA_SMI) -> NvidiaDriver | None:
    """NVIDIA's driver, None where there is none. nvidia-smi is asked, since torch may be a build that knows no GPU."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S)
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        return NvidiaDriver(error=f"{command[0]} does not answer ({type(error).__name__})")
    if done.returncode != 0:
        return NvidiaDriver(error=" ".join((done.stdout or done.stderr).split()) or f"{command[0]} ended with {done.returncode}")
    return parse_nvidia_smi(done.stdout)


def parse_nvidia_smi(text: str) -> NvidiaDriver:
    """The driver named in nvidia-smi's lines ``name, MiB, MiB, version``."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if len(row) == 4]
    return NvidiaDriver(rows[0][3], tuple(row[0] for row in rows)) if rows else NvidiaDriver(error="nvidia-smi names no GPU")


def query_torch(compute: ComputeSettings) -> TorchInfo:
    """Import torch and describe it. Nothing is raised: ``error`` says what does not work."""
    try:
        import torch

        from body4d.runtime.device import choose_device, free_memory_bytes
    except Exception as error:
        # Mismatched libraries make the import fail in many ways, OSError among them.
        return TorchInfo("", error=_short(error))
    version, cuda = str(torch.__version__), torch.version.cuda or ""
    try:
        device = choose_device(compute)
        if device.type != "cuda":
            return TorchInfo(version, cuda, device.type, free_bytes=free_memory_bytes(device), error=_cuda_error(bool(cuda)))
        properties = torch.cuda.get_device_properties(device)
        # A driver or kernels that do not match the GPU show in a product on it and nowhere else.
        torch.ones(8, 8, device=device).mm(torch.ones(8, 8, device=device)).sum().item()
        return TorchInfo(
            version,
            cuda,
            "cuda",
            properties.name,
            properties.total_memory,
            free_memory_bytes(device),
            torch.cuda.get_device_capability(device),
            tuple(torch.cuda.get_arch_list()),
        )
    except Exception as error:
        return TorchInfo(version, cuda, error=_short(error))


def _cuda_error(built_with_cuda: bool) -> str:
    """The error with which CUDA fails to start; empty where it starts or torch is built without it."""
    if not built_with_cuda:
        return ""
    import torch

    try:
        torch.cuda.init()
    except Exception as error:
        return _short(error)
    return ""


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
