"""What a run folder holds and what its ``run.json`` says. For reading; ``body4d.run.run_folder`` writes."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.core.errors import InputError, RunWarning

RUN, MASKS, HIDDEN, CAMERA, BODIES, SCENE = "run.json", "masks.npz", "hidden.npz", "camera.npz", "bodies.npz", "scene.npz"
OVERLAY, VIEWS, SHEET, GLB = "overlay.mp4", "views.mp4", "contact_sheet.png", "body.glb"


SCHEMA = 2
"""Version of ``run.json``; raised when a reader of the older one would misread the newer."""

FILES = {
    OVERLAY: "the body over the video",
    VIEWS: "overlay, side and top together",
    SHEET: "frames of the clip on one sheet",
    GLB: "rigged, animated bodies for Blender, Unity, the web",
    SCENE: "all numbers: joints in metres, rotations, camera",
    MASKS: "a mask per person and frame",
    HIDDEN: "people completed where they are hidden (preset sam)",
    CAMERA: "the camera, with its path where it moves",
    BODIES: "bodies before smoothing",
    RUN: "settings, versions, seconds, warnings",
}
"""Everything a run folder may hold, and what it is."""


class StageRecord(BaseModel):
    """What ``run.json`` keeps of a stage.

    ``files`` maps names to sizes in bytes; ``result`` holds small results themselves; ``error`` is why a stage failed, as
    ``Body4DError.as_json`` gives it. ``steps`` in the stage's own unit, mostly frames; ``cpu_peak_mb`` what the process held at most
    meanwhile, ``gpu_peak_mb`` what it took of the GPU (None: it used none).
    """

    model_config = ConfigDict(extra="ignore")
    state: Literal["running", "done", "failed", "cancelled"]
    fingerprint: str
    seconds: float = 0.0
    warnings: list[RunWarning] = []
    error: dict[str, Any] | None = None
    files: dict[str, int] = {}
    result: Any = None
    steps: int = 0
    cpu_peak_mb: float | None = None
    gpu_peak_mb: float | None = None


class RunRecord(BaseModel):
    """``run.json``."""

    model_config = ConfigDict(extra="ignore")
    schema_version: int = SCHEMA
    body4d: str
    input: dict[str, Any]
    preset: str = ""
    warnings: list[RunWarning] = []
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    weights: dict[str, str] = {}
    sources: dict[str, dict[str, str]] = {}
    pid: int = 0
    stages: dict[str, StageRecord] = {}


def read_run(path: Path) -> RunRecord:
    """The record of a run folder, for reading alone. Raises InputError where it has none."""
    if not path.is_dir():
        raise InputError(f"{path} is not a run folder: there is no such folder.", code="no_run", hint="`body4d run CLIP` makes one.")
    record = read_record_if_any(path)
    if record is None:
        raise InputError(f"{path} is not a run folder: it holds no {RUN}.", code="no_run", hint="`body4d run CLIP` makes one.")
    return record


def finished_scene(path: Path) -> Path:
    """The path of a run folder's scene. Raises InputError where the run is not finished."""
    record = read_run(path)
    motion = record.stages.get("motion")
    if motion is None or motion.state != "done" or not (path / SCENE).is_file():
        raise InputError(
            f"The run in {path} holds no {SCENE} yet.",
            code="run_unfinished",
            hint=f"Finish it with `body4d run {record.input.get('path')} --out {path}`.",
        )
    return path / SCENE


def read_record_if_any(path: Path, *, any_schema: bool = False) -> RunRecord | None:
    """The record in a folder, None where it has none. Raises InputError where it is damaged, or of another schema unless ``any_schema``."""
    try:
        text = (path / RUN).read_bytes()
        _check_schema(path, text, any_schema)
        return RunRecord.model_validate(json.loads(text))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except (ValidationError, ValueError) as error:
        raise InputError(
            f"{path / RUN} is not body4d's or is damaged.", code="run_damaged", hint="Delete it to start the run afresh."
        ) from error


def _check_schema(path: Path, text: bytes, any_schema: bool) -> None:
    try:
        schema = json.loads(text).get("schema_version", 1)
    except (ValueError, AttributeError):
        return  # Damaged: the validation says so.
    if isinstance(schema, int) and schema != SCHEMA and not any_schema:
        age = "an older" if schema < SCHEMA else "a newer"
        raise InputError(
            f"The run in {path} was made by {age} body4d (schema {schema}, this one reads {SCHEMA}).",
            code="run_schema",
            hint=f"`body4d run CLIP --fresh --out {path}` makes it anew.",
            schema=schema,
        )


def versions() -> dict[str, str]:
    """Versions of every package on which a result may depend, as far as installed."""
    installed = {"python": platform.python_version()}
    for package in ("body4d", "numpy", "scipy", "torch", "anny", "ai-edge-litert", "transformers", "diffusers", "av", "numba"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def stage_figures(stage: StageRecord) -> dict[str, Any]:
    """Time, speed and memory of a stage; what was not measured is None. Pure."""
    rate = round(stage.steps / stage.seconds, 2) if stage.steps > 1 and stage.seconds else None
    return {
        "seconds": stage.seconds,
        "state": stage.state,
        "steps_per_s": rate,
        "cpu_peak_mb": stage.cpu_peak_mb,
        "gpu_peak_mb": stage.gpu_peak_mb,
    }


def summary(record: RunRecord) -> dict[str, Any]:
    """What ``body4d info --json`` prints. People are there once the stage ``motion`` is done; see ``evaluate/report.py``. Pure."""
    done = {name: stage.result for name, stage in record.stages.items() if stage.state == "done"}
    clip = done.get("probe") or {}
    return {
        "frames": clip.get("frames"),
        "fps": clip.get("fps"),
        "people": done.get("motion") or [],
        "stages": {name: stage_figures(stage) for name, stage in record.stages.items()},
    }
