"""Facts about this machine, gathered before any of them is judged.

No model is loaded, and the Hub is asked only about checkpoints that are missing. Each check takes one of the dataclasses below, so that
every kind of machine can be written down in a test.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from body4d.checkpoints.archives import offline_variable
from body4d.checkpoints.folders import is_writable
from body4d.checkpoints.gated_access import SourceAccess, check_access
from body4d.checkpoints.hub_client import default_hub
from body4d.checkpoints.local import SPACE_DISK, LocalCheckpoint, checkpoint_roots, inspect_checkpoints
from body4d.checkpoints.registry import CheckpointSource
from body4d.config import Settings
from body4d.core.caches import cache_folder, user_cache
from body4d.core.errors import Body4DError
from body4d.run.presets import LITE_PACKAGES, SAM_PACKAGES
from body4d.runtime.hardware import NvidiaDriver, TorchInfo, query_nvidia_driver, query_torch
from body4d.runtime.memory import machine_free_bytes

Preset = Literal["auto", "lite", "sam"]

REQUIRED_MODULES = {"lite": LITE_PACKAGES, "sam": (*SAM_PACKAGES, "huggingface_hub")}
"""Top-level modules that each preset needs; sam's checkpoints are fetched by the last."""

CODECS: tuple[tuple[str, Literal["r", "w"], str], ...] = (
    ("h264", "r", "reading most clips"),
    ("hevc", "r", "reading iPhone clips"),
    ("libx264", "w", "writing pictures"),
    ("aac", "w", "writing their sound"),
)
"""Name, direction and use of each codec that a run may need."""

HUB_TIMEOUT_S = 2.5
"""The Hub is waited for this long: the doctor has to answer quickly, and an answer that is missing blocks nothing."""


@dataclass(frozen=True)
class PackageFacts:
    """The Python in use, which of the optional modules are installed, and why OpenCV cannot be loaded (empty: it can)."""

    python: tuple[int, int]
    installed: frozenset[str]
    opencv_error: str = ""


@dataclass(frozen=True)
class FolderFacts:
    """A folder that results or checkpoints go into: the free bytes of its disk, and why it cannot be written (empty: it can)."""

    path: Path
    free_bytes: int
    error: str = ""


@dataclass(frozen=True)
class CheckpointFacts:
    """The local state of each checkpoint, and what the Hub answered about the sources of missing ones. ``hub_asked`` False: it was not
    asked at all. ``offline_variable`` names
    the environment variable that forbids fetching, if one does."""

    found: tuple[LocalCheckpoint, ...]
    access: tuple[SourceAccess, ...] = ()
    hub_asked: bool = False
    offline_variable: str = ""


@dataclass(frozen=True)
class RendererFacts:
    """A test picture drawn with the real renderer: the share of it that is covered, and the error where it could not be drawn."""

    covered_share: float
    error: str = ""


@dataclass(frozen=True)
class SpaceEnvironment:
    """The environment of a HuggingFace Space; ``space_id`` is empty elsewhere. Of the token only its presence is kept."""

    space_id: str = ""
    data_mounted: bool = False
    data_writable: bool = False
    has_token: bool = False


@dataclass(frozen=True)
class CacheFacts:
    """The user's cache folder (None: no home is known), and the one in use; ``used`` is None where not even a temporary one can be made."""

    wanted: Path | None
    used: Path | None


@dataclass(frozen=True)
class MachineFacts:
    """Everything that ``gather_facts`` finds out. ``driver`` and ``torch`` are None where they are not installed."""

    packages: PackageFacts
    driver: NvidiaDriver | None
    torch: TorchInfo | None
    memory_bytes: int
    checkpoints: CheckpointFacts
    codecs: Mapping[str, bool]
    renderer: RendererFacts
    run_folder: FolderFacts
    checkpoint_folder: FolderFacts
    space: SpaceEnvironment = SpaceEnvironment()
    cache: CacheFacts = CacheFacts(Path(".cache"), Path(".cache"))


def gather_facts(settings: Settings, *, ask_hub: bool = True, run_folder: Path = Path("runs")) -> MachineFacts:
    """Every fact about this machine. With ``ask_hub`` False the network is not used. What is wrong is recorded, never raised."""
    found = inspect_checkpoints(settings.weights)
    pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="body4d-doctor")
    try:
        # torch takes seconds to load; everything else is gathered meanwhile.
        torch = pool.submit(_torch, settings)
        driver = pool.submit(query_nvidia_driver)
        answers = [pool.submit(_ask, source) for source in _sources_to_ask(found)] if ask_hub else []
        renderer, packages, codecs = _renderer(), _packages(), {name: _has_codec(name, mode) for name, mode, _ in CODECS}
        access = _received(answers)
        return MachineFacts(
            packages=packages,
            driver=driver.result(),
            torch=torch.result(),
            memory_bytes=machine_free_bytes(),
            checkpoints=CheckpointFacts(found, access, ask_hub, offline_variable()),
            codecs=codecs,
            renderer=renderer,
            run_folder=folder_facts(run_folder),
            checkpoint_folder=folder_facts(_checkpoint_folder(settings)),
            space=space_environment(os.environ),
            cache=_cache_facts(),
        )
    finally:
        # A silent Hub is not waited for: the thread that asks it ends at its own timeout.
        pool.shutdown(wait=False, cancel_futures=True)


def _cache_facts() -> CacheFacts:
    try:
        return CacheFacts(user_cache(), cache_folder())
    except OSError:
        return CacheFacts(user_cache(), None)


def folder_facts(path: Path) -> FolderFacts:
    """Whether a folder, or the nearest existing folder above it, can be written, and the free room of its disk. Leaves nothing behind."""
    absolute = path.expanduser().absolute()
    existing = next(above for above in (absolute, *absolute.parents) if above.exists())
    try:
        free = shutil.disk_usage(existing).free
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".body4d-doctor-") as file:
            file.write(b"x")
    except OSError as error:
        return FolderFacts(path, 0, error.strerror or type(error).__name__)
    return FolderFacts(path, free)


def space_environment(environment: Mapping[str, str], data: Path = SPACE_DISK) -> SpaceEnvironment:
    """The environment of a Space, as HuggingFace sets it."""
    if not environment.get("SPACE_ID"):
        return SpaceEnvironment()
    mounted = data.is_dir() and os.path.ismount(data)
    writable = mounted and not folder_facts(data).error
    return SpaceEnvironment(environment["SPACE_ID"], mounted, writable, bool(environment.get("HF_TOKEN")))


def _torch(settings: Settings) -> TorchInfo | None:
    return query_torch(settings.compute) if find_spec("torch") else None


def _packages() -> PackageFacts:
    names = {name for modules in REQUIRED_MODULES.values() for name in modules}
    try:
        import cv2  # noqa: F401

        error = ""
    except ImportError as failed:
        # A missing OpenCV is not reported here: the packages of lite bring it, and their check says so.
        error = "" if isinstance(failed, ModuleNotFoundError) else " ".join(str(failed).split())
    return PackageFacts(sys.version_info[:2], frozenset(name for name in names if find_spec(name)), error)


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av.codec
    import av.error

    try:
        av.codec.Codec(name, mode)
    except (av.error.FFmpegError, ValueError):  # An unknown codec is a ValueError.
        return False
    return True


def _renderer() -> RendererFacts:
    """A square of half the picture's side, drawn by the renderer that draws runs."""
    try:
        import numpy as np

        from body4d.core.types import Camera
        from body4d.render.rasterizer import Mesh, draw

        side = 64
        # At one metre a focal length of the picture's side spans one metre, so half a metre is half the picture.
        corners = np.array([[-0.25, -0.25, 1.0], [0.25, -0.25, 1.0], [0.25, 0.25, 1.0], [-0.25, 0.25, 1.0]], np.float32)
        square = Mesh(corners, np.array([[0, 2, 1], [0, 3, 2]]), np.array([1.0, 0.5, 0.2]), two_sided=True)
        camera = Camera(focal_px=float(side), cx_px=side / 2, cy_px=side / 2, width_px=side, height_px=side)
        picture = draw([square], camera, np.zeros(3, np.uint8), samples=1)
    except Exception as error:
        # numba and llvmlite fail in many ways on a machine that they do not fit.
        return RendererFacts(0.0, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return RendererFacts(float(np.mean(picture.any(axis=2))))


def _sources_to_ask(found: tuple[LocalCheckpoint, ...]) -> list[CheckpointSource]:
    missing = [one.checkpoint for one in found if not one.ready and one.checkpoint.need == "required"]
    return [source for model in missing for source in model.hub_sources if source.automatic]


def _ask(source: CheckpointSource) -> SourceAccess | None:
    try:
        return check_access(source, default_hub(HUB_TIMEOUT_S))
    except Body4DError:
        return None  # huggingface_hub is not installed: the check of sam's packages says so.


def _received(futures: list["Future[SourceAccess | None]"]) -> tuple[SourceAccess, ...]:
    done, _ = wait(futures, timeout=HUB_TIMEOUT_S)
    return tuple(answer for future in futures if future in done and (answer := future.result()) is not None)


def _checkpoint_folder(settings: Settings) -> Path:
    """Where a download would go."""
    folders = checkpoint_roots(settings.weights)
    return next((folder for folder in folders if is_writable(folder)), folders[-1])
