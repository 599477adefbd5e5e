"""What every test may use: the helpers beside this file, the real clips where the machine has them, files that are costly to make; and the
rule that only a test marked slow starts a process or sets Anny up."""

import gc
import multiprocessing.process
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# No test judges time, Hypothesis's own deadlines included: a busy machine is no fault.
# The same examples every time on the machine that decides whether a change goes in; new ones at a developer's desk.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# Shapes in the signatures of these rooms are checked on every call; rooms that compile loops with numba cannot be, and core.types
# checks what it is made of with messages of its own.
install_import_hook(["body4d.geometry", "body4d.motion"], "beartype.beartype")

# The importlib import mode leaves sys.path alone, so the shared helpers (scenes.py, ...) are made importable here.
sys.path.insert(0, str(Path(__file__).parent))

# After the hook, since they import the rooms that are checked.
from body4d.bodies.anny import AnnyBody  # noqa: E402
from body4d.config import WeightsSettings  # noqa: E402
from body4d.models.blazepose.model_files import BlazePoseModels, find_models  # noqa: E402
from fake_checkpoints import why_no_lite  # noqa: E402


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real clips (``videos/golf_swing.mp4``, ...), told by the environment variable BODY4D_SHARED."""
    folder = os.environ.get("BODY4D_SHARED")
    if not folder:
        pytest.skip("BODY4D_SHARED is not set: the real clips are not on this machine")
    return Path(folder)


# No test uses the network, and no process that one starts: a run that lacks BlazePose's model files says so instead of fetching them.
os.environ["BODY4D_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def lite_models() -> BlazePoseModels:
    """BlazePose's published model files, from $BODY4D_WEIGHTS or the folder that `body4d weights download lite` fills."""
    if why := why_no_lite():
        pytest.skip(why)
    return find_models("auto", WeightsSettings())[0]


# Files that are costly to make are made once for all workers of a session.


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``made_once(name, make)``: a folder that ``make(folder)`` has filled, here or in another worker. Nobody may change what is in it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, unfinished = root / name, root / f"{name}.unfinished"
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                unfinished.mkdir(exist_ok=True)
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def tiny_checkpoints(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Checkpoints of every model of preset sam in the official layouts, with tiny random weights."""
    from make_tiny_checkpoints import write_tiny_checkpoints

    return made_once("tiny_checkpoints", write_tiny_checkpoints)


# The rooms free memory between models with a full collection, which takes a third of a second once torch and transformers are imported:
# what modules hold is taken out of it.

_modules_before = 0


def pytest_runtest_logstart() -> None:
    global _modules_before
    if len(sys.modules) > _modules_before + 100:
        _modules_before = len(sys.modules)
        gc.collect()
        gc.freeze()


# `pytest -m "not slow"` leaves out what is marked, so every run checks the marks: no other test starts a process or sets Anny up.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: what is short fills the gaps at the end, when workers run out of files. Without a GPU, tests
    marked cuda are skipped."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    on_gpu = [item for item in items if item.get_closest_marker("cuda")]
    if on_gpu and not has_cuda():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU and a torch with CUDA"))


def has_cuda() -> bool:
    import torch  # seconds, which tests without networks spare

    return torch.cuda.is_available()


SMALL_PROGRAMS = {"git", "mount", "umount", "nvidia-smi", "ldconfig", "gcc", "ld"}
"""These take milliseconds. ctypes.util.find_library starts the last three, for packages that look for a shared library on import."""

_offences: list[object] = []


def refuse(what: object) -> None:
    _offences.append(what)
    raise RuntimeError("This test is not marked slow.")  # also said below: some threads catch it, some tests expect an error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fixtures included, whatever their scope."""
    _offences.clear()
    if item.get_closest_marker("slow") or item.get_closest_marker("cuda"):  # Triton starts compilers
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        popen = subprocess.Popen.__init__

        def start(process: subprocess.Popen, args: Any, *more: Any, **options: Any) -> None:
            if shutil.which(args[0]) and Path(args[0]).name not in SMALL_PROGRAMS:
                refuse(args)
            popen(process, args, *more, **options)

        patch.setattr(subprocess.Popen, "__init__", start)
        patch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
        patch.setattr(AnnyBody, "__init__", refuse)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    yield
    if _offences:
        pytest.fail(f"It starts a process or sets Anny up, so it must be marked slow: {_offences}")
