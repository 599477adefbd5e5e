"""Forty clips of several kinds on two workers, whose processes and head are killed on the way: nothing lost, nothing done twice.

    python benchmarks/batch_kills.py FOLDER [--processes] [--cluster]

Makes 18 clips with a person, 12 with nobody and 10 broken files in FOLDER/in, runs `body4d batch` on them, kills a worker with SIGKILL,
then the head, gives the same command again, and compares every file with those of a plain loop. With --cluster a Ray of two nodes is
started, as two machines would be, one of which is killed as well; with --processes Ray is not used. Preset lite.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import av
import numpy as np
import psutil

from body4d.config.loading import load_settings
from body4d.core.errors import Body4DError
from body4d.evaluate.synthetic.clip import make_clip
from body4d.run.pipeline import Pipeline
from body4d.run.record import BODIES, GLB, HIDDEN, MASKS, OVERLAY, SCENE, SHEET, VIEWS, RunRecord, read_record_if_any

RESULTS = (MASKS, HIDDEN, BODIES, SCENE, OVERLAY, VIEWS, SHEET, GLB)
STAGES = 8

WITHOUT_RAY = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "ray" else find(name, *more)
from body4d.cli.entry import main
main()
"""
"""The command as it is where Ray is not installed."""


def make_clips(root: Path) -> None:
    if (root / "in").is_dir():
        return
    source = root / "in.part"
    for folder, kind, seed in (("a", "walk", 0), ("a/b", "walk", 1), ("c", "walk", 2), ("c", "swing", 3), ("d", "swing", 4)):
        clip = make_clip(kind, root / "made" / f"{kind}{seed}", seed=seed, seconds=0.6, size=(320, 240), rate=15)  # type: ignore[arg-type]
        (source / folder).mkdir(parents=True, exist_ok=True)
        for ending in ("1.mp4", "2.mp4", "1.mov", "3.m4v")[: 4 if seed < 3 else 3]:
            shutil.copy(clip.video, source / folder / f"{kind}{seed}_{ending}")
    whole = clip.video.read_bytes()
    noise = np.random.default_rng(0)
    for n in range(12):
        _film_nobody(source / f"nobody{n}.mp4", noise.integers(0, 255, 3))
    broken = [
        b"",
        b"text",
        b"\0" * 1000,
        whole[:2000],
        whole[:-20000],
        noise.bytes(5000),
        whole[5000:],
        b"RIFF" + b"\0" * 64,
        whole[:40],
        b"<html>",
    ]
    for n, data in enumerate(broken):
        (source / f"broken{n}.mp4").write_bytes(data)
    source.rename(root / "in")


def _film_nobody(path: Path, colour: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(6):
            picture = np.broadcast_to(colour.astype(np.uint8), (240, 320, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))))
        container.mux(stream.encode())


def digests(out: Path) -> dict[str, dict[str, str]]:
    """For each run folder with all of its stages done, the sums of its files."""
    found = {}
    for run in sorted(out.rglob("run.json")):
        record = read_record_if_any(run.parent)
        if record and _is_done(record):
            sums = {name: hashlib.sha256((run.parent / name).read_bytes()).hexdigest() for name in RESULTS}
            found[run.parent.relative_to(out).as_posix()] = sums
    return found


def _is_done(record: RunRecord) -> bool:
    return len(record.stages) == STAGES and all(stage.state == "done" for stage in record.stages.values())


def computed_at(out: Path) -> dict[str, list[float]]:
    """The seconds of every stage of every finished run: they change when, and only when, it is computed again."""
    records = {run.parent.relative_to(out).as_posix(): read_record_if_any(run.parent) for run in out.rglob("run.json")}
    return {name: [stage.seconds for stage in record.stages.values()] for name, record in records.items() if record and _is_done(record)}


def worker_pids(head: int, processes: bool, not_ours: Collection[int]) -> list[int]:
    if processes:
        return [p.pid for p in psutil.Process(head).children() if "spawn_main" in " ".join(p.cmdline())]
    return [pid for pid in ray_workers() if pid not in not_ours]


def ray_workers() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::VideoWorker")]


def wait_for(what: str, condition: Callable[[], bool], head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        if head.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{what}: the head ended with {head.returncode}, or 15 minutes have passed")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--cluster", action="store_true")
    given = parser.parse_args()
    root = given.folder.resolve()
    make_clips(root)
    out = root / ("processes" if given.processes else "cluster" if given.cluster else "ray")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "body4d", "batch", str(root / "in"), "--out", str(out), "--preset", "lite"]
    command += ["--cpus-per-worker", "1", "--workers", "2"]
    if given.processes:
        command[1:3] = ["-c", WITHOUT_RAY]
    cluster = None
    if given.cluster:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        second = cluster.add_node(num_cpus=1)
        command += ["--address", cluster.address]
    log = (root / f"{out.name}.log").open("wb")

    not_ours = ray_workers()
    head = subprocess.Popen(command, stdout=log, stderr=log)
    wait_for("the first results", lambda: len(computed_at(out)) >= 4, head)
    victim = worker_pids(head.pid, given.processes, not_ours)[0]
    os.kill(victim, signal.SIGKILL)
    print(f"killed worker {victim} with {len(computed_at(out))} done")
    if cluster:
        wait_for("the next results", lambda: len(computed_at(out)) >= 7, head)
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        print(f"killed a node with {len(computed_at(out))} done, and added one")
    wait_for("the next results", lambda: len(computed_at(out)) >= 10, head)
    workers = worker_pids(head.pid, given.processes, not_ours)
    os.kill(head.pid, signal.SIGKILL)
    head.wait()
    start = time.monotonic()
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in workers) and time.monotonic() < start + 60:
        time.sleep(0.1)
    print(f"killed the head with {len(computed_at(out))} done; its workers were gone after {time.monotonic() - start:.1f} s")
    before = computed_at(out)

    ended = subprocess.run(command, stdout=log, stderr=log)
    after = computed_at(out)
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    states = {state: sum(line["state"] == state for line in lines) for state in ("done", "already done", "failed")}
    codes = sorted({line["code"] for line in lines if line["code"]})
    print(f"the same command: exit code {ended.returncode}, {len(lines)} lines, {states}, {codes}")
    print(f"computed twice: {[name for name in before if before[name] != after.get(name)]}")

    alone, pipeline = root / "alone", Pipeline.load(load_settings(None, {"preset": "lite"}, {}))
    for line in lines:
        try:
            pipeline.run(line["video"], alone / Path(line["out"]).relative_to(out))
        except Body4DError as error:
            if (error.code, "failed") != (line["code"], line["state"]):
                print(f"alone {error.code}, in the batch: {line}")
    one_by_one, many = digests(alone), digests(out)
    other = [name for name in one_by_one if one_by_one[name] != many.get(name)]
    print(f"{len(many)} of {len(one_by_one)} runs, {len(RESULTS)} files each; other bytes: {other}")
    if cluster:
        cluster.shutdown()


if __name__ == "__main__":
    main()
