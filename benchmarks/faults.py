"""Does anything break a run? Kills at random moments, faults injected at every stage, and videos that are damaged or lie.

    python benchmarks/faults.py [--quick] [--json] [--seed N] [--only kills|faults|videos]

- kills: a run is killed (SIGKILL) at a random moment; the same command must then end with the bytes of a run that nobody killed.
- faults: at each stage the disk is full, rights are missing, the disk is read-only, memory does not suffice, or the model raises; the
  command must end within its limit, with one line and an exit code, and the run must go on once the fault is gone. A model that hangs must
  be stoppable. A clock that is set back must change nothing.
- videos: tiny videos of many kinds, mutated from a seed, are probed, searched for cuts and read: no crash, nothing slower than its limit,
  one line for each that is refused, memory bounded.

Models are stand-ins (tests/fakes.py): what is tried is everything around them. The quick form takes less than three minutes on two cores.
"""

import argparse
import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

QUICK, LONG = {"kills": 3, "videos": 25}, {"kills": 50, "videos": 500}
RUN_LIMIT_S, STOP_LIMIT_S, VIDEO_LIMIT_S = 60.0, 10.0, 20.0
"""Beyond these a command counts as hanging: a run of stand-ins takes two seconds, a tiny video a few hundredths."""
MAX_READER_MB = 1000.0
"""Memory that a process which reads one video after the other may take at most, packages included."""
STAGES = ("masks", "occlusion", "camera", "bodies", "motion", "pictures", "files")
FAULTS: dict[str, Callable[[], BaseException]] = {
    "disk full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "no rights": lambda: PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    "read-only": lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)),
    "out of memory": MemoryError,
    "model raises": lambda: RuntimeError("the model's own words\nover two lines"),
}
EXPECTED_EXITS = {"disk full": 6, "no rights": 6, "read-only": 6, "out of memory": 8, "model raises": 1}
OUTPUTS = ("scene.npz", "masks.npz", "bodies.npz", "body.glb", "overlay.mp4")


def child(video: Path, out: Path, stage: str, fault: str) -> None:
    """The command ``run`` with stand-ins, each step of which takes a moment, and a fault at one stage."""
    from body4d.cli.entry import app
    from body4d.run import pipeline
    from fakes import Calls, fake_pipeline

    real_stage = pipeline.RunFolder.stage

    def staged(self: Any, name: str, files: Any, make: Any, **rest: Any) -> Any:
        def failing(into: Path, progress: Any) -> Any:
            if fault == "hangs":
                time.sleep(3600)
            raise FAULTS[fault]()

        return real_stage(self, name, files, failing if name == stage else make, **rest)

    pipeline.RunFolder.stage = staged  # pyright: ignore[reportAttributeAccessIssue]
    if fault == "clock set back":
        now = iter(range(2_000_000_000, 0, -1))
        time.time = lambda: float(next(now))
    pipeline.Pipeline.load = staticmethod(  # pyright: ignore[reportAttributeAccessIssue]
        lambda settings=None, listener=None: fake_pipeline(settings, Calls(pause_s=0.01), open_clip=pipeline.open_clip)
    )
    app(["run", str(video), "--out", str(out), "--quiet"])


def start(video: Path, out: Path, stage: str = "", fault: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--child", str(video), str(out), stage, fault]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], limit_s: float = RUN_LIMIT_S) -> tuple[int | None, str]:
    """Exit code and output; None where it had to be killed."""
    try:
        output, _ = process.communicate(timeout=limit_s)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]


def digest(run: Path) -> dict[str, str]:
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in OUTPUTS if (run / name).is_file()}


def try_kills(video: Path, folder: Path, count: int, rng: random.Random) -> dict[str, Any]:
    began = time.monotonic()
    finish(start(video, folder / "whole"))
    lasts_s, whole = time.monotonic() - began, digest(folder / "whole")
    problems: list[str] = [] if whole else ["the run that nobody killed left no files"]
    in_stages: Counter[str] = Counter()
    number = 0
    while in_stages.total() < count:
        number += 1
        run, at_s = folder / f"killed{number}", rng.uniform(0.3, 1.0) * lasts_s
        process = start(video, run)
        time.sleep(at_s)
        if process.poll() is not None:  # It had ended already: the machine is quicker than at first.
            lasts_s = max(0.95 * lasts_s, 0.5)
            continue
        process.kill()
        process.communicate()
        try:
            stages = json.loads((run / "run.json").read_text())["stages"]
            in_stages[next((name for name, stage in stages.items() if stage["state"] == "running"), "between stages")] += 1
        except FileNotFoundError:
            in_stages["before the folder"] += 1
        except ValueError:
            problems.append(f"run.json was left damaged by a kill at {at_s:.2f} s")
        code, output = finish(start(video, run))
        if code != 0 or digest(run) != whole:
            problems.append(f"after a kill at {at_s:.2f} s: exit {code}, {output.strip()[:200]!r}, same bytes: {digest(run) == whole}")
    return {"kills": count, "run_s": round(lasts_s, 2), "moments": dict(in_stages), "problems": problems}


def try_faults(video: Path, folder: Path, stages: tuple[str, ...]) -> dict[str, Any]:
    problems: list[str] = []
    whole, cases = digest(folder.parent / "kills" / "whole"), 0
    if not whole:
        finish(start(video, folder / "whole"))
        whole = digest(folder / "whole")
    for stage in stages:
        for fault, expected in EXPECTED_EXITS.items():
            cases += 1
            run = folder / f"{stage}-{fault}".replace(" ", "_")
            code, output = finish(start(video, run, stage, fault))
            lines = [line for line in output.splitlines() if line.strip()]
            if code != expected or len(lines) != 1 or (fault in ("out of memory", "model raises") and "disk" in output):
                problems.append(f"{fault} at {stage}: exit {code} instead of {expected}, {len(lines)} lines: {output[:200]!r}")
        code, output = finish(start(video, run))  # The last fault is gone.
        if code != 0 or digest(run) != whole:
            problems.append(f"after {fault} at {stage} the run does not go on: exit {code}, {output[:200]!r}")
    process = start(video, folder / "hangs", "bodies", "hangs")
    time.sleep(4)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process, STOP_LIMIT_S)
    if code != 130:
        problems.append(f"a model that hangs: SIGTERM gave exit {code}, {output[:200]!r}")
    code, output = finish(start(video, folder / "clock", "", "clock set back"))
    if code != 0 or digest(folder / "clock") != whole:
        problems.append(f"a clock that is set back: exit {code}, {output[:200]!r}")
    return {"faults": cases + 2, "problems": problems}


def base_videos(folder: Path) -> list[Path]:
    """Tiny videos of every kind that the tests can make."""
    from make_videos import make_video, quadrants, stripes

    alpha = {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}
    hdr = {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": {"color_trc": 16, "color_primaries": 9, "colorspace": 9}}
    made: list[Callable[[], Path]] = [
        lambda: make_video(folder / "plain.mp4", 20, audio="aac"),
        lambda: make_video(folder / "fast.mp4", 20, movflags="+faststart"),
        lambda: make_video(folder / "fragments.mp4", 20, movflags="+frag_keyframe+empty_moov"),
        lambda: make_video(folder / "hdr.mov", 6, **hdr),
        lambda: make_video(folder / "alpha.webm", 6, **alpha),
        lambda: make_video(folder / "vp8.webm", 12, codec="libvpx"),
        lambda: make_video(folder / "still.png", 1, codec="png", pix_fmt="rgb24", format="image2"),
        lambda: make_video(folder / "still.jpg", 1, codec="mjpeg", pix_fmt="yuvj420p", format="image2"),
        lambda: make_video(folder / "moving.gif", 8, codec="gif", pix_fmt="rgb8"),
        lambda: make_video(folder / "lossless.mkv", 8, codec="ffv1", pix_fmt="yuv444p"),
        lambda: make_video(folder / "grey.avi", 8, codec="mjpeg", pix_fmt="yuvj444p"),
        lambda: make_video(folder / "stream.ts", 20, audio="aac", codec="mpeg2video"),
        lambda: make_video(folder / "turned.mov", [quadrants()] * 8, rotation=90),
        lambda: make_video(folder / "strip.mp4", [stripes(1, 16, 2048)] * 4),
        lambda: make_video(folder / "tiny.mp4", [stripes(1, 16, 2)] * 4),
        lambda: make_video(folder / "interlaced.mpg", 12, codec="mpeg2video", options={"flags": "+ilme+ildct"}),
    ]
    return [make() for make in made]


def mutated(base: list[Path], rng: random.Random) -> tuple[str, bytes, str]:
    """(what was done, the bytes, the suffix)."""
    path = rng.choice(base)
    data = bytearray(path.read_bytes())
    kind = rng.choice(("truncated", "flipped", "flipped", "spliced", "zeroed", "repeated", "lying header", "lying header", "renamed"))
    suffix = path.suffix
    if kind == "truncated":
        del data[int(len(data) * rng.random()) :]
    elif kind == "flipped":
        for _ in range(rng.choice((1, 10, 200))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "spliced":
        other = rng.choice(base).read_bytes()
        data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
    elif kind == "zeroed":
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(1, 4000)] = bytes(min(len(data) - at, rng.randrange(1, 4000)))
    elif kind == "repeated":
        at = rng.randrange(len(data))
        data[at:at] = data[at : at + rng.randrange(1, 20_000)] * rng.randrange(1, 4)
    elif kind == "lying header":
        words = (b"mdhd", b"tkhd", b"stts", b"stsz", b"stco", b"avc1", b"hvc1", b"elst", b"mvhd", b"avih", b"strh", b"moov", b"ctts")
        found = [at for word in words for at in _places(data, word)] or [rng.randrange(min(200, len(data)))]
        at = rng.choice(found) + rng.randrange(-4, 40)
        value = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", rng.randbytes(4)))
        data[max(at, 0) : max(at, 0) + 4] = value
    else:
        suffix = rng.choice((".mp4", ".webp", ".txt", ".avi", ".gif"))
    return f"{path.name} {kind}", bytes(data), suffix


def _places(data: bytearray, word: bytes) -> list[int]:
    places, at = [], data.find(word)
    while at >= 0:
        places.append(at + 4)
        at = data.find(word, at + 4)
    return places


def read_videos() -> None:
    """A process that reads paths line by line and answers each with one line of JSON."""
    from body4d.core.errors import Body4DError
    from body4d.video import VideoReader, probe
    from body4d.video.audio import sound_problem
    from body4d.video.cuts import find_cuts

    for line in sys.stdin:
        answer: dict[str, Any] = {}
        try:
            reader = VideoReader(probe(Path(line.rstrip("\n"))))
            find_cuts(reader)
            sound_problem(reader.clip)
            answer["frames"] = sum(1 for _ in reader.read(0, 50))
        except Body4DError as error:
            answer |= {"refused": error.code, "lines": str(error).count("\n") + 1}
        except Exception as error:
            answer["fault"] = f"{type(error).__name__}: {error}"[:300]
        answer["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


def try_videos(folder: Path, count: int, rng: random.Random) -> dict[str, Any]:
    import selectors

    base, problems, outcomes, slowest_s, most_mb = base_videos(folder), [], Counter[str](), 0.0, 0.0
    reader: subprocess.Popen[str] | None = None
    first = True
    for number in range(count):
        what, data, suffix = mutated(base, rng)
        path = folder / f"mutated{number}{suffix}"
        path.write_bytes(data)
        if reader is None:
            reader = subprocess.Popen(
                [sys.executable, __file__, "--reader"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            first = True
        assert reader.stdin
        assert reader.stdout
        began = time.monotonic()
        reader.stdin.write(f"{path}\n")
        reader.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(reader.stdout, selectors.EVENT_READ)
            # The first answer waits for the packages too.
            line = reader.stdout.readline() if ready.select(VIDEO_LIMIT_S + (60 if first else 0)) else None
        if not line:
            died = reader.poll() is not None or line == ""
            problems.append(f"{what} (number {number}): {'the process died' if died else f'no answer in {VIDEO_LIMIT_S:g} s'}")
            reader.kill()
            reader.communicate()
            reader = None
            continue
        answer = json.loads(line)
        slowest_s, first = max(slowest_s, 0.0 if first else time.monotonic() - began), False
        most_mb = max(most_mb, answer["mb"])
        outcomes[answer.get("refused") or ("fault" if "fault" in answer else "read")] += 1
        if "fault" in answer:
            problems.append(f"{what} (number {number}): {answer['fault']}")
        elif answer.get("lines", 1) != 1:
            problems.append(f"{what} (number {number}): {answer['lines']} lines")
        path.unlink()
    if reader is not None:
        reader.communicate()
    if most_mb > MAX_READER_MB:
        problems.append(f"{most_mb:.0f} MB, more than {MAX_READER_MB:.0f}")
    figures = {"slowest_s": round(slowest_s, 2), "most_mb": round(most_mb)}
    return {"videos": count, "outcomes": dict(outcomes.most_common()), **figures, "problems": problems}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("kills", "faults", "videos"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--reader", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        video, out, stage, fault = given.child
        child(Path(video), Path(out), stage, fault)
        return 0
    if given.reader:
        read_videos()
        return 0
    from make_videos import make_video

    counts, results, began = QUICK if given.quick else LONG, {}, time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        video = make_video(folder / "clip.mp4", 12)
        for name in ("kills", "faults", "videos"):
            (folder / name).mkdir()
        trials: dict[str, Callable[[random.Random], dict[str, Any]]] = {
            "kills": lambda rng: try_kills(video, folder / "kills", counts["kills"], rng),
            "faults": lambda rng: try_faults(video, folder / "faults", STAGES[:1] + STAGES[-2:-1] if given.quick else STAGES),
            "videos": lambda rng: try_videos(folder / "videos", counts["videos"], rng),
        }
        for name, trial in trials.items():
            if given.only in (None, name):
                at = time.monotonic()
                results[name] = trial(random.Random(given.seed))
                results[name]["s"] = round(time.monotonic() - at, 1)
    results["s"] = round(time.monotonic() - began, 1)
    problems = [problem for result in results.values() if isinstance(result, dict) for problem in result["problems"]]
    if given.json:
        print(json.dumps(results, indent=1))
    else:
        for name, result in results.items():
            print(f"{name}: {result}")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
