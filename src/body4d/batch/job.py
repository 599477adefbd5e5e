"""What a worker does with one video: the run, exports, golf; and the summary that comes back."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from filelock import SoftFileLease, Timeout

from body4d.batch.videos import VideoJob
from body4d.config import Settings
from body4d.core.errors import Body4DError, NoSwingError, OutputError
from body4d.core.files import atomic_file
from body4d.core.progress import Event, EventListener, ignore_events
from body4d.run.pipeline import Pipeline
from body4d.run.record import GLB, RunRecord, read_run, stage_figures
from body4d.run.run_folder import make_folder, output_errors

LEASE, EXTRAS = ".batch.lock", "batch.json"

LEASE_S = 60.0
"""A worker on another machine that has given no sign of life for so long is dead. It gives one every third of that."""

LOCK_POLL_S = 5.0
"""How long a worker waits before it asks again for a folder in which somebody else works."""

MIN_GPU_BYTES_TO_KEEP = 40_000_000_000
"""Of a GPU on which all networks of preset sam stay between videos: 17 GB of weights, and as much to work in as without."""

LoadPipeline = Callable[[Settings, EventListener], Pipeline]

SummaryState = Literal["done", "already done", "failed", "busy"]


@dataclass(frozen=True)
class VideoSummary:
    """What became of one video. ``busy``: somebody else works in its folder; that is never a final state.

    ``code``, ``message`` and ``hint`` are those of the error of a video that failed. ``seconds`` is what this call took, ``stages`` the
    seconds of each stage when it was computed, ``frames_per_s`` the clip's frames over their sum. ``warnings`` are codes. ``golf`` is how
    many swings were found, None where nobody looked. ``attempts`` counts the workers that took the video.
    """

    name: str
    video: Path
    out: Path
    state: SummaryState
    code: str = ""
    message: str = ""
    hint: str = ""
    preset: str = ""
    frames: int | None = None
    fps: float | None = None
    people: int | None = None
    mask_iou: float | None = None
    error_2d_percent_of_height: float | None = None
    frames_per_s: float | None = None
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    golf: int | None = None
    exports: tuple[str, ...] = ()
    attempts: int = 1
    worker: str = ""

    @property
    def done(self) -> bool:
        return self.state in ("done", "already done")

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON object: a line of the report."""
        return {
            **asdict(self),
            "video": str(self.video),
            "out": str(self.out),
            "warnings": list(self.warnings),
            "exports": list(self.exports),
        }


def failed(job: VideoJob, error: Body4DError, **more: Any) -> VideoSummary:
    """The summary of a video that ``error`` ended."""
    return VideoSummary(job.name, job.video, job.out, "failed", error.code, error.message, error.hint, **more)


class VideoWorker:
    """Runs one video after another, in a process of its own; the models are loaded once for videos of the same settings."""

    def __init__(self, load: LoadPipeline = Pipeline.load, cores: int | None = None) -> None:
        from body4d.runtime.cores import limit_cores

        if cores is not None:
            limit_cores(cores)
        self._load = load
        self._loaded: tuple[Settings, Pipeline] | None = None

    def prepare(self, settings: Settings) -> tuple[int, Body4DError | None]:
        """Load the models. Returns this process's id, and the error that will end every video."""
        try:
            self._pipeline(settings)
        except Body4DError as error:
            return os.getpid(), error
        return os.getpid(), None

    def run(self, job: VideoJob, wait: bool = False) -> VideoSummary:
        """Run one video; every failure is a summary. With ``wait``, a folder in which somebody works is waited for, as long as it takes to
        see whether they live."""
        started = time.monotonic()
        summary = self._outcome(job, wait)
        return replace(summary, seconds=round(time.monotonic() - started, 3), worker=f"{socket.gethostname()}:{os.getpid()}")

    def end(self) -> None:
        """End this process: what it holds of the GPU is free, and the next one begins afresh."""
        os._exit(1)

    def _outcome(self, job: VideoJob, wait: bool) -> VideoSummary:
        try:
            with _leased(job.out, LEASE_S + LOCK_POLL_S if wait else 0):
                return self._run(job)
        except Body4DError as error:
            if error.code != "folder_locked":
                return failed(job, error)
            time.sleep(LOCK_POLL_S if wait else 0)
            return VideoSummary(job.name, job.video, job.out, "busy")
        except Exception as error:
            if _is_out_of_memory(error):
                return failed(job, Body4DError(f"Memory ran out ({_short(error)}).", code="out_of_memory", hint="Use fewer workers."))
            return failed(
                job,
                Body4DError(f"A fault in body4d itself: {_short(error)}.", hint="`body4d run --verbose` shows where; please report it."),
            )

    def _run(self, job: VideoJob) -> VideoSummary:
        computed: list[str] = []

        def hear(event: Event) -> None:
            if event.state == "started" and event.stage != "run":
                computed.append(event.stage)

        self._pipeline(job.settings).run(job.video, job.out, prompts=job.prompts, listener=hear)
        extras = write_extras(job, hear)
        return summary_of_run(job, read_run(job.out), extras, "done" if computed else "already done")

    def _pipeline(self, settings: Settings) -> Pipeline:
        settings = with_models_kept(settings)
        if self._loaded is None or self._loaded[0] != settings:
            self._loaded = None  # What the last one holds is freed before the next one is loaded.
            self._loaded = settings, self._load(settings, ignore_events)
        return self._loaded[1]


def with_models_kept(settings: Settings) -> Settings:
    """The settings for a process that runs many clips: where they do not say, preset sam's networks stay on a GPU that has room for all."""
    if settings.preset == "lite" or "keep_loaded" in settings.compute.model_fields_set or gpu_bytes() < MIN_GPU_BYTES_TO_KEEP:
        return settings
    return settings.model_copy(update={"compute": settings.compute.model_copy(update={"keep_loaded": True})})


def gpu_bytes() -> int:
    """Memory of the CUDA device that this process uses; 0 without one."""
    if find_spec("torch") is None:
        return 0
    from body4d.runtime.device import cuda_bytes

    return cuda_bytes()


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    from body4d.runtime.device import is_out_of_memory

    return is_out_of_memory(error)


@contextmanager
def _leased(folder: Path, timeout_s: float) -> Iterator[None]:
    """Hold a run folder for this worker among all machines that share its disk.

    The kernel's lock inside a run does not reach over every network file system; this one is a file with a heartbeat. A holder on this
    machine whose process has ended is recognised at once, one on another machine by its silence.
    """
    make_folder(folder)
    lease = SoftFileLease(folder / LEASE, lease_duration=LEASE_S, timeout=timeout_s)
    try:
        with output_errors(folder):
            lease.acquire()
    except Timeout:
        raise OutputError(f"Another worker is busy in {folder}.", code="folder_locked") from None
    try:
        yield
    finally:
        lease.release()
        with suppress(OSError):
            folder.rmdir()  # Of a video that cannot be opened nothing is left, and what is not empty stays.


@dataclass(frozen=True)
class Extras:
    """What was made of a finished run: names and sizes in bytes of the files, and how many golf swings were found."""

    files: dict[str, int] = field(default_factory=dict)
    golf: int | None = None


def write_extras(job: VideoJob, listener: EventListener) -> Extras:
    """Exports and golf of a finished run, unless ``batch.json`` says that they were made of this very result and their files are whole.

    Raises Body4DError; that nobody swings a club is no error here.
    """
    if not job.export and not job.golf:
        return Extras()
    key, kept = _extras_key(job), _kept_extras(job.out)
    if kept.get("key") == key and _sizes(job.out, kept["files"]) == kept["files"]:
        return Extras(kept["files"], kept["golf"])
    listener(Event("extras", "started"))
    for name in kept.get("files", ()):  # Those of an earlier result, which may have had other people or a swing.
        (job.out / name).unlink(missing_ok=True)
    paths, swings = _export(job), None
    if job.golf:
        swings, golf_files = _golf(job)
        paths += golf_files
    extras = Extras(_sizes(job.out, [path.relative_to(job.out).as_posix() for path in paths]), swings)
    with atomic_file(job.out / EXTRAS) as file:
        file.write(json.dumps({"key": key, **asdict(extras)}, indent=1).encode())
    return extras


def _kept_extras(folder: Path) -> dict[str, Any]:
    """What ``batch.json`` says; nothing where there is none or it is damaged."""
    try:
        kept = json.loads((folder / EXTRAS).read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and {"key", "files", "golf"} <= kept.keys() else {}


def _extras_key(job: VideoJob) -> str:
    record = read_run(job.out)
    asked = [record.body4d, record.stages["motion"].fingerprint, sorted(job.export), job.golf]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _sizes(folder: Path, names: Sequence[str] | dict[str, int]) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}


def _export(job: VideoJob) -> list[Path]:
    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, export_scene
    from body4d.export.formats import find_format
    from body4d.run.record import finished_scene

    rows = [row for row in map(find_format, job.export) if row.file != GLB]  # Every run writes that one itself.
    if not rows:
        return []
    scene = load_scene(finished_scene(job.out), job.video)
    paths, chosen = [], ExportOptions(video=job.video)
    for row in rows:
        paths += export_scene(scene, row.name, job.out / row.name if row.per_frame else job.out, chosen.for_format(row.options))
    return paths


def _golf(job: VideoJob) -> tuple[int, list[Path]]:
    from body4d.run.golf import golf_of_run

    try:
        found = golf_of_run(job.out, video=job.video)
    except NoSwingError:
        return 0, []
    return len(found.analysis.swings), list(found.files)


def summary_of_run(job: VideoJob, record: RunRecord, extras: Extras, state: SummaryState) -> VideoSummary:
    """The figures of a finished run. Pure."""
    stages = {name: stage_figures(stage)["seconds"] for name, stage in record.stages.items()}
    clip, people = record.stages["probe"].result, record.stages["motion"].result
    total_s = sum(stages.values())
    warnings = [*record.warnings, *(warning for stage in record.stages.values() for warning in stage.warnings)]
    return VideoSummary(
        job.name,
        job.video,
        job.out,
        state,
        preset=record.preset,
        frames=clip["frames"],
        fps=clip["fps"],
        people=len(people),
        mask_iou=_mean([person["mask_iou"] for person in people]),
        error_2d_percent_of_height=_mean([person["error_2d_percent_of_height"] for person in people]),
        frames_per_s=round(clip["frames"] / total_s, 2) if total_s else None,
        stages=stages,
        warnings=tuple(dict.fromkeys(warning.code for warning in warnings)),
        golf=extras.golf,
        exports=tuple(extras.files),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
