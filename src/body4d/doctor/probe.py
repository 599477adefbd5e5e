"""Gathering the facts: every look at the machine happens here. No model is loaded; the Hub is asked only about what is lacking."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib.util import find_spec
from pathlib import Path

from body4d.checkpoints.gated_access import Access, diagnose
from body4d.checkpoints.hub_client import hub_here
from body4d.checkpoints.local import Found
from body4d.checkpoints.local import look as look_at_weights
from body4d.checkpoints.registry import SPACE_DISK, roots
from body4d.checkpoints.sources import Source
from body4d.config import Settings
from body4d.core.errors import Body4DError
from body4d.doctor.check_machine import NEEDED
from body4d.doctor.check_pieces import CODECS
from body4d.doctor.facts import Drawing, Facts, Packages, Place, Space, Weights
from body4d.doctor.verdict import Preset
from body4d.runtime.hardware import TorchInfo, query_nvidia_driver, query_torch

RUNS = Path("runs")


def look(settings: Settings, wanted: Preset, *, ask_hub: bool = True, runs: Path = RUNS) -> Facts:
    """Every fact of this machine. ``ask_hub`` False stays off the network. Nothing is raised for what is amiss; that is for the checks."""
    found = look_at_weights(settings.weights)
    pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="body4d-doctor")
    try:
        # torch takes seconds to load; everything else is looked at meanwhile.
        torch = pool.submit(_torch, settings)
        driver = pool.submit(query_nvidia_driver)
        asked = [pool.submit(_ask, source, settings) for source in _to_ask(found)] if ask_hub else []
        drawing, packages, codecs = _draw(), _packages(), {name: _has_codec(name, way) for name, way, _ in CODECS}
        access = _answers(asked, settings.doctor.answer_most_s)
        return Facts(
            wanted=wanted,
            packages=packages,
            driver=driver.result(),
            torch=torch.result(),
            memory_bytes=memory_bytes(),
            weights=Weights(found, access, ask_hub),
            codecs=codecs,
            drawing=drawing,
            runs=look_at_place(runs),
            checkpoints=look_at_place(_checkpoint_root(settings)),
            space=look_at_space(os.environ),
            settings=settings.doctor,
        )
    finally:
        # A Hub that is silent is not waited for: its thread ends by its own time limit.
        pool.shutdown(wait=False, cancel_futures=True)


def look_at_place(path: Path) -> Place:
    """Whether a folder, or the one it would be made in, takes a file, and how much room its disk has. Leaves nothing behind."""
    there = path.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free = shutil.disk_usage(there).free
        with tempfile.NamedTemporaryFile(dir=there, prefix=".body4d-doctor-") as file:
            file.write(b"x")
    except OSError as error:
        return Place(path, 0, error.strerror or type(error).__name__)
    return Place(path, free)


def look_at_space(environment: Mapping[str, str], data: Path = SPACE_DISK) -> Space:
    """The environment of a Space, as HuggingFace sets it. The token is not kept."""
    if not environment.get("SPACE_ID"):
        return Space()
    mounted = data.is_dir() and os.path.ismount(data)
    return Space(environment["SPACE_ID"], mounted, mounted and not look_at_place(data).error, bool(environment.get("HF_TOKEN")))


def memory_bytes() -> int:
    """Memory the machine, or the container this runs in, still has."""
    from body4d.runtime.memory import machine_free_bytes

    return machine_free_bytes()


def _torch(settings: Settings) -> TorchInfo | None:
    return query_torch(settings.compute) if find_spec("torch") else None


def _packages() -> Packages:
    names = {name for modules in NEEDED.values() for name in modules}
    try:
        import cv2  # noqa: F401

        error = ""
    except ImportError as failed:
        # Not being there is no fault: lite's packages bring it, and that line says so.
        error = "" if isinstance(failed, ModuleNotFoundError) else " ".join(str(failed).split())
    return Packages(sys.version_info[:2], frozenset(name for name in names if find_spec(name)), error)


def _has_codec(name: str, way: str) -> bool:
    import av.codec
    import av.error

    try:
        av.codec.Codec(name, "r" if way == "r" else "w")
    except (av.error.FFmpegError, ValueError):  # An unknown codec is a ValueError.
        return False
    return True


def _draw() -> Drawing:
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
        # numba and llvmlite fail in ways of their own where they do not fit the machine.
        return Drawing(0.0, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return Drawing(float(np.mean(picture.any(axis=2))))


def _to_ask(found: tuple[Found, ...]) -> list[Source]:
    lacking = [one.model for one in found if not one.ready and one.model.need == "required"]
    return [source for model in lacking for source in model.sources if source.automatic]


def _ask(source: Source, settings: Settings) -> Access | None:
    try:
        return diagnose(source, hub_here(settings.doctor.answer_most_s))
    except Body4DError:
        return None  # huggingface_hub is not installed: the line of sam's packages says so.


def _answers(asked: list["Future[Access | None]"], seconds: float) -> tuple[Access, ...]:
    done, _ = wait(asked, timeout=seconds)
    return tuple(answer for future in asked if future in done and (answer := future.result()) is not None)


def _checkpoint_root(settings: Settings) -> Path:
    """Where a download would go: the first root that is there, else the last one, which is the user's own."""
    places = roots(settings.weights)
    return next((place for place in places if place.is_dir() or (place.parent.is_dir() and os.access(place.parent, os.W_OK))), places[-1])
