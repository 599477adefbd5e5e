"""Python, packages, GPU, driver, torch and memory: what each means for the presets. Pure."""

import re

from body4d.config import DoctorSettings
from body4d.doctor.facts import Packages
from body4d.doctor.verdict import PRESETS, Preset, Remark
from body4d.run.presets import LITE_PYTHONS
from body4d.runtime.hardware import NvidiaDriver, TorchInfo

LITE, SAM, NONE = frozenset({"lite"}), frozenset({"sam"}), frozenset[str]()
NEEDED = {
    "lite": ("mediapipe", "anny", "torch"),
    "sam": ("torch", "transformers", "safetensors", "huggingface_hub"),
}
"""What each preset imports, by module name."""

CUDA_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""Least driver (major, minor) of a CUDA's first number, which all its minor versions run with: NVIDIA's CUDA compatibility guide."""

_GB = 1e9
_INSTALL_TORCH = "see https://pytorch.org/get-started/locally"


def check_packages(packages: Packages) -> list[Remark]:
    """Whether this Python and its packages hold a preset."""
    version = ".".join(map(str, packages.python))
    remarks = []
    for preset, modules in NEEDED.items():
        missing = [name for name in modules if name not in packages.installed]
        if not missing:
            remarks.append(Remark(f"packages of {preset}", f"all there, Python {version}"))
            continue
        remedy = f"pip install 'body4d[{preset}]'"
        if "mediapipe" in missing and packages.python > LITE_PYTHONS[-1]:
            remedy = f"mediapipe has no wheels for Python {version}: make the environment with python3.11, then {remedy}"
        remarks.append(Remark(f"packages of {preset}", f"{' and '.join(missing)} not installed", remedy, frozenset({preset})))
    if packages.opencv_error:
        remedy = "take the headless build: pip install --no-deps --force-reinstall opencv-contrib-python-headless==4.11.0.86"
        remarks.append(Remark("OpenCV", f"cannot be loaded ({packages.opencv_error})", remedy, PRESETS))
    return remarks


def check_gpu(driver: NvidiaDriver | None, torch: TorchInfo | None, wanted: Preset) -> Remark:
    """Whether there is a GPU that torch can use. Without one ``auto`` never takes sam; asked for by name it runs, slowly."""
    stops = SAM if wanted == "auto" else NONE
    if torch is None:
        return Remark("GPU", "not looked at, as torch is not installed", "pip install 'body4d[sam]'", SAM)
    if torch.device == "cuda" and not torch.error:
        version = f", driver {driver.version}" if driver and driver.version else ""
        return Remark("GPU", f"{torch.name}, {torch.total_bytes / _GB:.0f} GB{version}")
    if torch.device == "mps" and not torch.error:
        return Remark("GPU", "Apple's, through MPS")
    if driver is not None and driver.error:
        return Remark("GPU", f"the driver is not well: {driver.error}", "restart the machine, or install the driver anew", stops)
    if driver is not None:
        return Remark("GPU", f"{driver.gpus[0]} is there, and torch cannot use it", "see the line CUDA", stops)
    slow = "; preset sam runs on the CPU, about a minute a frame" if wanted == "sam" else ""
    remedy = "preset lite needs none; for sam take a machine with an NVIDIA GPU, and start a container with --gpus all"
    return Remark("GPU", f"none found{slow}", remedy, stops)


def check_cuda(driver: NvidiaDriver | None, torch: TorchInfo | None, wanted: Preset) -> Remark:
    """Whether torch's build, the driver and the GPU fit each other."""
    stops = SAM if wanted == "auto" else NONE
    if torch is None:
        return Remark("CUDA", "not looked at, as torch is not installed", "pip install 'body4d[sam]'", SAM)
    if not torch.version:
        return Remark("CUDA", f"torch cannot be loaded ({torch.error})", f"install torch 2.13 anew: {_INSTALL_TORCH}", PRESETS)
    there = driver is not None and bool(driver.gpus)
    if not torch.cuda:
        if there:
            found = f"torch {torch.version} is a build for the CPU on a machine with a GPU"
            return Remark("CUDA", found, f"install torch's CUDA build, made for a driver like {_name(driver)}: {_INSTALL_TORCH}", stops)
        return Remark("CUDA", f"torch {torch.version}, a build without CUDA")
    least = CUDA_DRIVERS.get(int(torch.cuda.split(".")[0]))
    if there and least and driver_number(driver) < least:
        wish = f"wants driver {least[0]}.{least[1]} or later, found {_name(driver)}"
        found = f"torch {torch.version} is built with CUDA {torch.cuda}, which {wish}"
        return Remark("CUDA", found, f"update the driver, or install a torch built with an older CUDA: {_INSTALL_TORCH}", stops)
    if torch.error:
        found = f"torch {torch.version} with CUDA {torch.cuda} cannot use the GPU ({torch.error})"
        return Remark("CUDA", found, "restart the machine; in a container, start it with --gpus all", stops)
    if torch.capability and not has_kernels(torch.capability, torch.architectures):
        number = ".".join(map(str, torch.capability))
        found = f"torch {torch.version} holds no kernels for {torch.name} (compute capability {number})"
        return Remark("CUDA", found, f"install a torch built for it: {_INSTALL_TORCH}", stops)
    return Remark("CUDA", f"torch {torch.version}, CUDA {torch.cuda}")


def check_memory(torch: TorchInfo | None, memory_bytes: int, wanted: Preset, settings: DoctorSettings) -> list[Remark]:
    """Whether memory holds each preset. ``memory_bytes`` is what the machine, or the container, still has."""
    free = memory_bytes / _GB
    lite = Remark("memory for lite", f"{free:.1f} GB free")
    if free < settings.lite_memory_gb:
        remedy = f"close other programs or take a machine with {settings.lite_memory_gb:.0f} GB free"
        lite = Remark("memory for lite", f"only {free:.1f} GB free", remedy, LITE)
    if torch is None or torch.device != "cuda" or torch.error:
        if wanted == "sam" and free < settings.sam_memory_gb:
            remedy = f"take a GPU, or a machine with {settings.sam_memory_gb:.0f} GB free"
            return [lite, Remark("memory for sam", f"only {free:.1f} GB free", remedy, SAM)]
        return [lite]
    return [lite, _gpu_memory(torch, settings)]


def _gpu_memory(torch: TorchInfo, settings: DoctorSettings) -> Remark:
    total, free = torch.total_bytes / _GB, torch.free_bytes / _GB
    found = f"{free:.1f} of {total:.1f} GB of the GPU free"
    if total < settings.sam_gpu_least_gb:
        remedy = f"take a GPU with {settings.sam_gpu_gb:.0f} GB ({settings.sam_gpu_least_gb:.0f} at the very least)"
        return Remark("memory for sam", found, remedy, SAM)
    if free < settings.sam_gpu_least_gb:
        return Remark("memory for sam", found, "end the other programs that hold the GPU's memory (nvidia-smi names them)", SAM)
    if free < settings.sam_gpu_gb:
        remedy = f"it will work in small batches, slower; {settings.sam_gpu_gb:.0f} GB free is what it takes at speed"
        return Remark("memory for sam", found, remedy)
    return Remark("memory for sam", found)


def driver_number(driver: NvidiaDriver | None) -> tuple[int, int]:
    """``580.95.05`` as (580, 95); of a version that cannot be read, one that is never too old."""
    numbers = re.match(r"(\d+)\.(\d+)", driver.version if driver else "")
    return (int(numbers[1]), int(numbers[2])) if numbers else (1 << 30, 0)


def has_kernels(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a build's kernels run on a GPU: ``sm_86`` on 8.6 and later minors of 8, ``compute_90`` on everything from 9.0 on."""
    for name in architectures:
        known = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if known is None:
            continue
        number = int(known[2]), int(known[3])
        if capability >= number and (known[1] == "compute" or capability[0] == number[0]):
            return True
    return not architectures


def _name(driver: NvidiaDriver | None) -> str:
    return driver.version if driver else ""
