"""What each fact means for the presets: pure functions, each beside its thresholds. None of the thresholds changes a run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from body4d.camera.motion import INSTALL_HEADLESS_OPENCV
from body4d.checkpoints.folders import MIN_FREE_DISK_GB
from body4d.checkpoints.gated_access import SourceAccess
from body4d.checkpoints.local import LocalCheckpoint
from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS
from body4d.doctor.facts import (
    CODECS,
    REQUIRED_MODULES,
    CacheFacts,
    CheckpointFacts,
    FolderFacts,
    MachineFacts,
    PackageFacts,
    Preset,
    RendererFacts,
    SpaceEnvironment,
)
from body4d.runtime.hardware import NvidiaDriver, TorchInfo

PRESETS = frozenset({"lite", "sam"})

MIN_LITE_MEMORY_GB = 2.0
"""Free memory for preset lite: a short clip of one person took 1.2 GB."""

RECOMMENDED_SAM_GPU_GB = 16.0
"""GPU memory for preset sam at full speed: held to 16.1 GB, every stage ran, bodies 58 at once instead of 64 (benchmarks/cards.py)."""

TRIED_SAM_GPU_GB = 7.5
"""The least GPU memory with which preset sam was tried: what is left of a card of 8 GB (benchmarks/cards.py)."""

MIN_SAM_GPU_GB = 6.0
"""With less GPU memory, preset sam is not expected to start: SAM-3's checkpoint alone has 3.4 GB. An estimate, not measured."""

MIN_SAM_CPU_GB = 7.0
"""Free memory for preset sam on the CPU: one frame took up to 6.7 GiB."""

RECOMMENDED_RUN_DISK_GB = 2.0
"""Free disk for runs: masks, bodies and pictures of a long clip need room."""

MIN_RUN_DISK_GB = 0.1
"""With less free disk, not even a run of a short clip is expected to end."""

MIN_CUDA_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""The oldest driver (major, minor) for a CUDA major version; all its minor versions run with it: NVIDIA's CUDA compatibility guide."""

RENDERED_SHARE = (0.2, 0.3)
"""The test picture covers a quarter of itself; a right renderer differs from that by the edge's pixels alone."""

_GB = 1e9
_LITE, _SAM, _NONE = frozenset({"lite"}), frozenset({"sam"}), frozenset[str]()
_INSTALL_TORCH = "see https://pytorch.org/get-started/locally"
_REQUIRED_CODECS = ("h264", "libx264")
"""Without these no run can read a common clip or write a picture."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. ``hint`` is what to do (empty: nothing is wrong); ``blocks`` are the presets that it keeps from running."""

    name: str
    message: str
    hint: str = ""
    blocks: frozenset[str] = _NONE

    def __post_init__(self) -> None:
        if self.blocks and not self.hint:
            raise ValueError(f"the check {self.name!r} blocks {sorted(self.blocks)} and gives no hint")


def run_checks(facts: MachineFacts, preset: Preset) -> list[CheckResult]:
    """All checks on ``facts``."""
    return [
        *check_packages(facts.packages),
        check_gpu(facts.driver, facts.torch, preset),
        check_cuda(facts.driver, facts.torch, preset),
        *check_memory(facts.torch, facts.memory_bytes, preset),
        *check_checkpoints(facts.checkpoints),
        *check_gates(facts.checkpoints),
        check_checkpoint_folder(facts.checkpoint_folder, facts.checkpoints),
        check_codecs(facts.codecs),
        check_renderer(facts.renderer),
        check_run_folder(facts.run_folder),
        check_cache(facts.cache),
        *check_space(facts.space),
    ]


def check_packages(packages: PackageFacts) -> list[CheckResult]:
    """Whether this Python and its packages can run each preset."""
    version = ".".join(map(str, packages.python))
    results = []
    for preset, modules in REQUIRED_MODULES.items():
        missing = [name for name in modules if name not in packages.installed]
        if not missing:
            results.append(CheckResult(f"packages of {preset}", f"all installed, Python {version}"))
            continue
        hint = f"pip install 'body4d[{preset}]'"
        results.append(CheckResult(f"packages of {preset}", f"{' and '.join(missing)} not installed", hint, frozenset({preset})))
    if packages.opencv_error:
        hint = f"install the headless build: {INSTALL_HEADLESS_OPENCV}"
        results.append(CheckResult("OpenCV", f"cannot be loaded ({packages.opencv_error})", hint, PRESETS))
    return results


def check_gpu(driver: NvidiaDriver | None, torch: TorchInfo | None, preset: Preset) -> CheckResult:
    """Whether there is a GPU that torch can use. Without one ``auto`` never takes sam; requested by name, sam runs slowly on the CPU."""
    blocks = _SAM if preset == "auto" else _NONE
    if torch is None:
        return CheckResult("GPU", "not checked, because torch is not installed", "pip install 'body4d[sam]'", _SAM)
    if torch.device == "cuda" and not torch.error:
        version = f", driver {driver.version}" if driver and driver.version else ""
        return CheckResult("GPU", f"{torch.name}, {torch.total_bytes / _GB:.0f} GB{version}")
    if torch.device == "mps" and not torch.error:
        return CheckResult("GPU", "Apple's, through MPS")
    if driver is not None and driver.error:
        return CheckResult("GPU", f"the driver fails: {driver.error}", "restart the machine, or install the driver again", blocks)
    if driver is not None:
        return CheckResult("GPU", f"{driver.gpus[0]} is present, but torch cannot use it", "see the line CUDA", blocks)
    slow = "; preset sam runs on the CPU, about a minute a frame" if preset == "sam" else ""
    hint = "preset lite needs none; for sam use a machine with an NVIDIA GPU, and start a container with --gpus all"
    return CheckResult("GPU", f"none found{slow}", hint, blocks)


def check_cuda(driver: NvidiaDriver | None, torch: TorchInfo | None, preset: Preset) -> CheckResult:
    """Whether torch's build, the driver and the GPU fit each other."""
    blocks = _SAM if preset == "auto" else _NONE
    if torch is None:
        return CheckResult("CUDA", "not checked, because torch is not installed", "pip install 'body4d[sam]'", _SAM)
    if not torch.version:
        return CheckResult("CUDA", f"torch cannot be loaded ({torch.error})", f"install torch 2.13 again: {_INSTALL_TORCH}", PRESETS)
    gpu_driver = driver if driver is not None and driver.gpus else None
    if not torch.cuda:
        if gpu_driver:
            message = f"torch {torch.version} is a build for the CPU on a machine with a GPU"
            hint = f"install torch's CUDA build, made for a driver like {gpu_driver.version}: {_INSTALL_TORCH}"
            return CheckResult("CUDA", message, hint, blocks)
        return CheckResult("CUDA", f"torch {torch.version}, a build without CUDA")
    oldest = MIN_CUDA_DRIVERS.get(int(torch.cuda.split(".")[0]))
    if gpu_driver and oldest and driver_number(gpu_driver.version) < oldest:
        needs = f"needs driver {oldest[0]}.{oldest[1]} or later, found {gpu_driver.version}"
        message = f"torch {torch.version} is built with CUDA {torch.cuda}, which {needs}"
        hint = f"update the driver, or install a torch built with an older CUDA: {_INSTALL_TORCH}"
        return CheckResult("CUDA", message, hint, blocks)
    if torch.error:
        message = f"torch {torch.version} with CUDA {torch.cuda} cannot use the GPU ({torch.error})"
        return CheckResult("CUDA", message, "restart the machine; in a container, start it with --gpus all", blocks)
    if torch.capability and not has_kernels(torch.capability, torch.architectures):
        number = ".".join(map(str, torch.capability))
        message = f"torch {torch.version} has no kernels for {torch.name} (compute capability {number})"
        return CheckResult("CUDA", message, f"install a torch built for it: {_INSTALL_TORCH}", blocks)
    return CheckResult("CUDA", f"torch {torch.version}, CUDA {torch.cuda}")


def check_memory(torch: TorchInfo | None, memory_bytes: int, preset: Preset) -> list[CheckResult]:
    """Whether memory suffices for each preset. ``memory_bytes`` is what the machine, or the container, still has free."""
    free = memory_bytes / _GB
    lite = CheckResult("memory for lite", f"{free:.1f} GB free")
    if free < MIN_LITE_MEMORY_GB:
        hint = f"close other programs or use a machine with {MIN_LITE_MEMORY_GB:.0f} GB free"
        lite = CheckResult("memory for lite", f"only {free:.1f} GB free", hint, _LITE)
    if torch is not None and torch.device == "cuda" and not torch.error:
        return [lite, _gpu_memory(torch)]
    if preset == "sam" and free < MIN_SAM_CPU_GB:
        hint = f"use a GPU, or a machine with {MIN_SAM_CPU_GB:.0f} GB free"
        return [lite, CheckResult("memory for sam", f"only {free:.1f} GB free", hint, _SAM)]
    return [lite]


def _gpu_memory(torch: TorchInfo) -> CheckResult:
    total, free = torch.total_bytes / _GB, torch.free_bytes / _GB
    hint, blocks = "", _NONE
    if total < MIN_SAM_GPU_GB:
        hint, blocks = f"use a GPU with {RECOMMENDED_SAM_GPU_GB:.0f} GB (at least {MIN_SAM_GPU_GB:.0f})", _SAM
    elif free < MIN_SAM_GPU_GB:
        hint, blocks = "end the other programs that use the GPU's memory (nvidia-smi names them)", _SAM
    elif free < TRIED_SAM_GPU_GB:
        hint = f"it may run out: the least that was tried is {TRIED_SAM_GPU_GB:g} GB free (nvidia-smi names programs that use the memory)"
    elif free < RECOMMENDED_SAM_GPU_GB:
        hint = f"it will work in small batches, slower; {RECOMMENDED_SAM_GPU_GB:.0f} GB free are needed for full speed"
    return CheckResult("memory for sam", f"{free:.1f} of {total:.1f} GB of the GPU free", hint, blocks)


def driver_number(version: str) -> tuple[int, int]:
    """``580.95.05`` as (580, 95). A version that cannot be read counts as the newest, so that it is never called too old."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (1 << 30, 0)


def has_kernels(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a build's kernels run on a GPU: ``sm_86`` on 8.6 and later minors of 8, ``compute_90`` on everything from 9.0 on."""
    for name in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if match is None:
            continue
        number = int(match[2]), int(match[3])
        if capability >= number and (match[1] == "compute" or capability[0] == number[0]):
            return True
    return not architectures


def check_codecs(codecs: Mapping[str, bool]) -> CheckResult:
    """Whether PyAV's ffmpeg has the codecs that runs use."""
    missing = [(name, use) for name, _, use in CODECS if not codecs.get(name)]
    if not missing:
        return CheckResult("video codecs", f"{', '.join(name for name, _, _ in CODECS)} all present")
    message = f"{' and '.join(f'{name} ({use})' for name, use in missing)} missing in PyAV's ffmpeg"
    blocks = PRESETS if any(name in _REQUIRED_CODECS for name, _ in missing) else _NONE
    return CheckResult("video codecs", message, "pip install --force-reinstall --only-binary :all: av", blocks)


def check_renderer(renderer: RendererFacts) -> CheckResult:
    """Whether the renderer drew its test picture: a square over the middle of a small image."""
    if renderer.error:
        return CheckResult("renderer", f"drew nothing ({renderer.error})", "pip install --force-reinstall numba llvmlite", PRESETS)
    low, high = RENDERED_SHARE
    if not low < renderer.covered_share < high:
        message = f"drew a square over {renderer.covered_share:.0%} of a picture instead of a quarter"
        return CheckResult("renderer", message, "report this with the versions of numba and numpy", PRESETS)
    return CheckResult("renderer", "drew a small picture correctly")


def check_checkpoints(checkpoints: CheckpointFacts) -> list[CheckResult]:
    """One result for each checkpoint; only those that a preset cannot run without block it. Those of lite are fetched by its first run."""
    return [
        _lite_checkpoint(found, checkpoints.offline_variable) if found.checkpoint.preset == "lite" else _checkpoint(found)
        for found in checkpoints.found
    ]


_LITE_USES = {
    BLAZEPOSE.key: "preset lite needs it",
    BLAZEPOSE_HEAVY.key: "its landmarks are much better than those of the full model",
    HAND_LANDMARKS.key: "without it hands are not read",
}


def _lite_checkpoint(found: LocalCheckpoint, offline: str) -> CheckResult:
    name, model = f"checkpoint {found.checkpoint.name}", found.checkpoint
    if found.ready:
        return CheckResult(name, f"{found.path}, {found.size_bytes / 1e6:.0f} MB")
    state = "not present" if found.state == "absent" else found.message.rstrip(".")
    use = _LITE_USES[model.key]
    if offline:
        message, hint = f"{state} ({use}), and {offline} is set", f"unset it and give `{model.download_command}`"
        return CheckResult(name, message, hint, _LITE if model.need == "required" else _NONE)
    message = f"{state} ({use}); the first run fetches it, {model.download_bytes / 1e6:.0f} MB"
    return CheckResult(name, message, f"`{model.download_command}` fetches it now")


def _checkpoint(found: LocalCheckpoint) -> CheckResult:
    name, required = f"checkpoint {found.checkpoint.name}", found.checkpoint.need == "required"
    if found.ready:
        return CheckResult(name, f"{found.path}, {found.size_bytes / 1e9:.1f} GB")
    if found.state == "absent" and not required:
        use = "used where it is present" if found.checkpoint.need == "recommended" else "only for people who are hidden for long"
        return CheckResult(name, f"not present ({use})")
    return CheckResult(name, found.message.rstrip("."), found.hint.rstrip("."), _SAM if required else _NONE)


def check_gates(checkpoints: CheckpointFacts) -> list[CheckResult]:
    """Whether the missing checkpoints of sam can be fetched from here, and which gate is closed. A missing one blocks sam already."""
    missing = [one.checkpoint for one in checkpoints.found if one.checkpoint.hub_sources and not one.ready]
    missing = [model for model in missing if model.need == "required"]
    if not missing:
        return [CheckResult("gates", "not asked: no checkpoint is missing")]
    if not checkpoints.hub_asked:
        names = " and ".join(model.name for model in missing)
        return [CheckResult("gates", f"not asked; {names} would have to be fetched", "`body4d weights status` asks which gates are open")]
    return [_gate(model.name, [one for one in checkpoints.access if one.source in model.sources]) for model in missing]


def _gate(model_name: str, answers: list[SourceAccess]) -> CheckResult:
    name = f"gate of {model_name}"
    open_source = next((answer for answer in answers if answer.granted), None)
    if open_source is not None:
        return CheckResult(name, f"{open_source.source.repo} can be fetched from here")
    closed = next((answer for answer in answers if answer.message), None)
    if closed is None:
        return CheckResult(name, "the Hub did not answer in time", "ask again with `body4d weights status`")
    return CheckResult(name, closed.message.rstrip("."), closed.hint.rstrip("."))


def check_run_folder(folder: FolderFacts) -> CheckResult:
    """Whether results can be written where runs go."""
    name, free = "run folder", folder.free_bytes / _GB
    if folder.error:
        hint = "work in a folder of your own, or name one with --out"
        return CheckResult(name, f"{folder.path} cannot be written ({folder.error})", hint, PRESETS)
    if free < MIN_RUN_DISK_GB:
        return CheckResult(name, f"{folder.path} has only {free:.2f} GB left", "delete old runs, or name another disk with --out", PRESETS)
    if free < RECOMMENDED_RUN_DISK_GB:
        hint = f"delete old runs; runs of long clips may fail with less than {RECOMMENDED_RUN_DISK_GB:.0f} GB"
        return CheckResult(name, f"{folder.path} has {free:.1f} GB left", hint)
    return CheckResult(name, f"{folder.path} can be written, {free:.0f} GB free")


def check_cache(cache: CacheFacts) -> CheckResult:
    """Whether models and compiled code can be kept from one run to the next."""
    name, hint = "cache folder", "set $XDG_CACHE_HOME to a folder that can be written, so that models are not fetched again"
    if cache.used is None:
        return CheckResult(name, "neither a home nor the temporary folder can be written", "set $TMPDIR or $XDG_CACHE_HOME", PRESETS)
    if cache.wanted is None:
        return CheckResult(name, f"no home folder is known ($HOME is not set); {cache.used} is used", hint)
    if cache.used != cache.wanted:
        return CheckResult(name, f"{cache.wanted} cannot be written; {cache.used} is used", hint)
    return CheckResult(name, f"{cache.used} can be written")


def check_checkpoint_folder(folder: FolderFacts, checkpoints: CheckpointFacts) -> CheckResult:
    """Whether the missing checkpoints fit where they would go. Where none is missing, rights and room do not matter."""
    name = "checkpoint folder"
    missing = [found.checkpoint for found in checkpoints.found if not found.ready and found.checkpoint.need != "optional"]
    if not missing:
        return CheckResult(name, f"{folder.path}, nothing to be fetched")
    needed = sum(model.download_bytes for model in missing) / _GB
    free = folder.free_bytes / _GB
    if folder.error:
        hint = "name a folder that you may write with --weights or $BODY4D_WEIGHTS"
        return CheckResult(name, f"{folder.path} cannot be written ({folder.error}), and {needed:.1f} GB are to be fetched", hint)
    if free < needed + MIN_FREE_DISK_GB:
        hint = "free some room, or name another disk with --weights or $BODY4D_WEIGHTS"
        return CheckResult(name, f"{folder.path} has {free:.1f} GB left, and {needed:.1f} GB are to be fetched", hint)
    return CheckResult(name, f"{folder.path} can be written, {free:.0f} GB free for {needed:.1f} GB to be fetched")


def check_space(space: SpaceEnvironment) -> list[CheckResult]:
    """What a Space needs besides a machine: a disk that outlives it, and a token. Nothing here blocks a run."""
    if not space.space_id:
        return [CheckResult("Space", "this machine is not a Space")]
    disk, token = "Space's disk", "Space's token"
    results = [CheckResult("Space", space.space_id)]
    if not space.data_mounted:
        hint = (
            "`body4d space create OWNER/NAME --bucket OWNER/DATA` mounts one; without it checkpoints are fetched again after each restart"
        )
        results.append(CheckResult(disk, "nothing is mounted at /data", hint))
    elif not space.data_writable:
        results.append(CheckResult(disk, "/data is mounted and cannot be written", "mount it for writing, for user 1000"))
    else:
        results.append(CheckResult(disk, "/data is mounted and can be written"))
    if space.has_token:
        results.append(CheckResult(token, "HF_TOKEN is set (not shown)"))
    else:
        hint = "`body4d space create OWNER/NAME --secret HF_TOKEN` sets it"
        results.append(CheckResult(token, "the secret HF_TOKEN is not set", hint))
    return results
