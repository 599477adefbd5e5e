"""Where workers run: actors of Ray, or processes of this machine. One call is in flight for each worker."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, Protocol

from body4d.batch.job import LoadPipeline, VideoJob, VideoSummary, VideoWorker
from body4d.config import Settings
from body4d.core.errors import Body4DError, DeviceError, MissingDependencyError, RunWarning
from body4d.core.progress import Event, EventListener
from body4d.run.pipeline import Pipeline
from body4d.runtime.cores import usable_cores

RAY_OBJECT_STORE_BYTES = 100 << 20
"""Of a Ray of our own: paths and summaries pass through it, never frames. It takes no less than 75 MB."""


@dataclass(frozen=True)
class WorkerReady:
    """A worker's process has begun and its models can be loaded; or ``error`` says why no video can be run there."""

    error: Body4DError | None = None


@dataclass(frozen=True)
class WorkerLost:
    """A worker's process ended in the middle of its work: killed, out of memory, or a crash in native code. A new one begins."""

    code: str
    reason: str


WorkerEvent = WorkerReady | WorkerLost | VideoSummary


class Workers(Protocol):
    """A number of workers, each in a process of its own. Each one's first event is WorkerReady, and so is the first after it was lost."""

    @property
    def count(self) -> int: ...

    def submit(self, worker: int, job: VideoJob, wait: bool) -> None:
        """Have a worker that is ready and idle run a video."""
        ...

    def restart(self, worker: int) -> None:
        """End an idle worker's process and begin a new one."""
        ...

    def events(self) -> list[tuple[int, WorkerEvent]]:
        """What happened since the last call; waits until something has."""
        ...

    def close(self) -> None:
        """End all workers, whatever they do: a run folder survives it."""
        ...


@dataclass(frozen=True)
class WorkerOptions:
    """What the user asks for; None: what fits. ``address`` is that of a Ray cluster, ``auto`` the one that this machine belongs to."""

    address: str | None = None
    gpus: int | None = None
    workers: int | None = None
    cpus_per_worker: int | None = None


@dataclass(frozen=True)
class WorkerPlan:
    """How many workers, and what each of them gets; ``gpus`` may be a share of one."""

    count: int
    cores: int
    gpus: float


Machine = tuple[int, int]
"""Cores and GPUs of a machine, as far as workers may use them."""


def plan_workers(machines: Sequence[Machine], options: WorkerOptions) -> WorkerPlan:
    """One worker for each GPU, or, without any, for each group of cores of one machine; ``options`` win. Pure.

    Raises DeviceError where no machine has as many cores as a worker is to get.
    """
    cores, largest = sum(cores for cores, _ in machines), max((cores for cores, _ in machines), default=0)
    gpus = sum(gpus for _, gpus in machines)
    gpus = gpus if options.gpus is None else min(options.gpus, gpus)
    if options.cpus_per_worker:
        each = options.cpus_per_worker
    elif options.workers:
        each = min(largest, cores // options.workers)
    elif gpus:
        each = min(cores // gpus for cores, gpus in machines if gpus)
    else:
        each = min(largest, CORES_PER_WORKER)
    each = max(1, each)
    count = options.workers or gpus or sum(cores // each for cores, _ in machines)
    if not count:
        message = f"No machine has {each} cores for one worker; the largest has {largest}."
        raise DeviceError(message, code="too_few_cores", hint="Use fewer --cpus-per-worker.")
    # Whole workers share a GPU: three on two GPUs get a half each, as no GPU has room for two times two thirds.
    return WorkerPlan(count, each, 1 / math.ceil(count / gpus) if gpus else 0.0)


CORES_PER_WORKER = 2
"""Preset lite keeps one and a half to two cores busy with one person in the picture, and each worker holds 1 to 1.5 GB."""


def gpus_to_use(settings: Settings, asked: int | None) -> int:
    """How many GPUs of this machine the workers share: ``asked``, or all where the preset uses one."""
    if asked is not None or settings.preset == "lite":
        return asked or 0
    from body4d.run.presets import why_not_sam
    from body4d.runtime.hardware import query_nvidia_driver

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = query_nvidia_driver()
    if driver is None or not driver.gpus or (settings.preset == "auto" and why_not_sam(settings)):
        return 0
    return len(driver.gpus) if visible is None else len([name for name in visible.split(",") if name.strip()])


def _machines(nodes: Sequence[Mapping[str, Any]], *, with_gpus: bool) -> list[Machine]:
    """The machines of a Ray cluster, of what ``ray.nodes()`` returns."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return [(int(found.get("CPU", 0)), int(found.get("GPU", 0)) if with_gpus else 0) for found in alive]


class RayWorkers:
    """Actors of Ray, on this machine or on a cluster. Ray places and restarts them."""

    def __init__(
        self,
        settings: Settings,
        options: WorkerOptions,
        listener: EventListener,
        load: LoadPipeline = Pipeline.load,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray prints each death on standard output, where --json promises lines of JSON alone; a death is in the report.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        import ray  # pyright: ignore[reportMissingImports]  (the extra `batch`, too large for `dev`)

        self._ray, self._settings = ray, settings
        self._shuts_down = not ray.is_initialized()  # A caller who has begun Ray ends it.
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self._shuts_down and not options.address:
                machine = usable_cores(), gpus_to_use(settings, options.gpus)
                plan = plan_workers([machine], options)
                # As many as the workers ask for, so that more workers than cores are no reason to wait for ever.
                resources = {"num_cpus": max(machine[0], plan.count * plan.cores), "num_gpus": machine[1]}
                context = ray.init("local", **resources, object_store_memory=RAY_OBJECT_STORE_BYTES, **quiet)
            else:
                context = ray.init(options.address, ignore_reinit_error=True, **quiet)
                plan = plan_workers(_machines(ray.nodes(), with_gpus=settings.preset != "lite"), options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DeviceError(
                f"Ray cannot be reached or started: {reason}.", code="ray_not_reached", hint="`ray status` asks a cluster how it is."
            ) from error
        self.count = plan.count
        page = f" Its page is at http://{context.dashboard_url}." if context.dashboard_url else ""
        _tell(listener, "ray", f"Ray {ray.__version__} runs {_plan_text(plan)}.{page}")
        # SPREAD: over the machines of a cluster, so that memory and disks are shared out as well.
        resources = {"num_cpus": plan.cores, "num_gpus": plan.gpus}
        actor = ray.remote(VideoWorker).options(**resources, max_restarts=-1, scheduling_strategy="SPREAD")
        self._actors = [actor.remote(load, plan.cores) for _ in range(plan.count)]
        self._calls: dict[Any, tuple[int, bool]] = {}
        for worker in range(plan.count):
            self._prepare(worker)

    def submit(self, worker: int, job: VideoJob, wait: bool) -> None:
        self._calls[self._actors[worker].run.remote(job, wait)] = worker, False

    def restart(self, worker: int) -> None:
        self._ray.kill(self._actors[worker], no_restart=False)
        self._prepare(worker)

    def events(self) -> list[tuple[int, WorkerEvent]]:
        ready, _ = self._ray.wait(list(self._calls), num_returns=1)
        return [self._event(ref) for ref in ready]

    def _event(self, ref: Any) -> tuple[int, WorkerEvent]:
        worker, preparing = self._calls.pop(ref)
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._prepare(worker)
            memory = isinstance(error, self._ray.exceptions.OutOfMemoryError) or "memory" in type(error).__name__.lower()
            lines = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0]}" + (f" … {lines[-1].strip()}" if preparing and len(lines) > 1 else "")
            return worker, WorkerLost("out_of_memory" if memory else "worker_died", reason[:300].removesuffix("."))
        return worker, WorkerReady(answer[1]) if preparing else answer

    def _prepare(self, worker: int) -> None:
        # Ray asks again itself until the actor runs, wherever it can.
        self._calls[self._actors[worker].prepare.options(max_task_retries=-1).remote(self._settings)] = worker, True

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        if self._shuts_down:
            self._ray.shutdown()


class ProcessWorkers:
    """Processes of this machine, each an executor of its own, so that one that is killed leaves the others alone."""

    def __init__(
        self,
        settings: Settings,
        options: WorkerOptions,
        listener: EventListener,
        load: LoadPipeline = Pipeline.load,
    ) -> None:
        self._settings, self._load, self._gpus = settings, load, gpus_to_use(settings, options.gpus)
        self._plan = plan_workers([(usable_cores(), self._gpus)], options)
        self.count = self._plan.count
        _tell(
            listener,
            "process_pool",
            f"Processes of this machine run {_plan_text(self._plan)}; with `pip install 'body4d[batch]'` Ray does, on many machines too.",
        )
        self._executors: list[ProcessPoolExecutor] = []
        self._pipes: list[Connection] = []
        self._futures: dict[Future[Any], tuple[int, bool]] = {}
        for worker in range(self.count):
            executor, pipe = self._start(worker)
            self._executors.append(executor)
            self._pipes.append(pipe)

    def submit(self, worker: int, job: VideoJob, wait: bool) -> None:
        try:
            self._futures[self._executors[worker].submit(_run_video, job, wait)] = worker, False
        except BrokenProcessPool as error:  # It was killed while it was idle.
            broken: Future[Any] = Future()
            broken.set_exception(error)
            self._futures[broken] = worker, False

    def restart(self, worker: int) -> None:
        self._end(worker)
        self._executors[worker], self._pipes[worker] = self._start(worker)

    def events(self) -> list[tuple[int, WorkerEvent]]:
        done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        return [self._event(future) for future in done]

    def _event(self, future: Future[Any]) -> tuple[int, WorkerEvent]:
        worker, preparing = self._futures.pop(future)
        try:
            answer = future.result()
        except BrokenProcessPool as error:
            self.restart(worker)
            return worker, WorkerLost("worker_died", type(error).__name__)
        return worker, WorkerReady(answer[1]) if preparing else answer

    def _start(self, worker: int) -> tuple[ProcessPoolExecutor, Connection]:
        context = multiprocessing.get_context("spawn")  # Never forked: a copy of a process with threads may hang.
        theirs, ours = context.Pipe(duplex=False)
        gpu = _gpu_name(worker % self._gpus) if self._gpus else None
        setup = (theirs, self._load, self._plan.cores, gpu)
        executor = ProcessPoolExecutor(1, context, initializer=_begin_worker, initargs=setup)
        self._futures[executor.submit(_prepare_worker, self._settings)] = worker, True
        theirs.close()  # The process has begun and holds its own end.
        return executor, ours

    def _end(self, worker: int) -> None:
        self._pipes[worker].close()
        self._executors[worker].shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        for worker in range(self.count):
            self._end(worker)
        for executor in self._executors:
            executor.shutdown(wait=True)


def _gpu_name(number: int) -> str:
    """What CUDA_VISIBLE_DEVICES calls this machine's GPU of that number, among those it shows."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[number] if visible else str(number)


_worker: VideoWorker | None = None


def _begin_worker(pipe: Connection, load: LoadPipeline, cores: int, gpu: str | None) -> None:
    """Set the process up before anything else is imported: its GPU, its threads, and that it ends with the one that started it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the head, and the head ends us.
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    threading.Thread(target=_end_with_the_head, args=(pipe,), name="end-with-the-head", daemon=True).start()
    _worker = VideoWorker(load, cores)


def _end_with_the_head(pipe: Connection) -> None:
    """End at once when the other end is closed, on purpose or because the head was killed: the kernel closes it then."""
    pipe.poll(None)
    os._exit(1)


def _prepare_worker(settings: Settings) -> tuple[int, Body4DError | None]:
    assert _worker is not None
    return _worker.prepare(settings)


def _run_video(job: VideoJob, wait: bool) -> VideoSummary:
    assert _worker is not None
    return _worker.run(job, wait)


def _plan_text(plan: WorkerPlan) -> str:
    number = f"{plan.count} worker" + "s" * (plan.count != 1)
    gpu = f" and {plan.gpus:g} GPU" if plan.gpus else ""
    return f"{number} with {plan.cores} core{'s' * (plan.cores != 1)}{gpu} each"


def _tell(listener: EventListener, code: str, message: str) -> None:
    listener(Event("batch", "warning", warning=RunWarning(code, message)))


def open_workers(settings: Settings, options: WorkerOptions, listener: EventListener) -> Workers:
    """Ray's actors where Ray is installed, processes of this machine where it is not.

    Raises MissingDependencyError for an address without Ray, DeviceError where Ray cannot be reached.
    """
    found = find_spec("ray")
    if found is not None and found.origin is not None:  # A mere folder called ray, such as Ray's own in /tmp, has no origin.
        return RayWorkers(settings, options, listener)
    if options.address:
        raise MissingDependencyError(
            "A cluster needs Ray, which is not installed.",
            code="missing_package",
            hint="Install it with: pip install 'body4d[batch]'",
            packages=["ray"],
        )
    return ProcessWorkers(settings, options, listener)
