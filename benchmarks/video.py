"""Does streaming stay within bounded memory, and how fast does it decode?

Makes long 1080p clips (little detail, so that they are made quickly), streams each in a fresh process, and prints peak memory and rate:
    python benchmarks/video.py [--seconds 10 60 600] [--size 1920 1080] [--json]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RATE = 30


def make(path: Path, seconds: int, width: int, height: int) -> None:
    """A bright bar that wanders over a ramp, one picture of which is encoded again and again."""
    from body4d.video import VideoWriter

    ramp = np.linspace(40, 200, width)[None, :, None].repeat(height, 0).repeat(3, 2).astype(np.uint8)
    with VideoWriter(path, width, height, np.arange(seconds * RATE) / RATE, crf=35, preset="ultrafast") as out:
        for i in range(seconds * RATE):
            x = (i * 7) % (width - 40)
            picture = ramp.copy()
            picture[:, x : x + 40] = 250
            out.write(picture)


def stream(path: Path) -> dict[str, float]:
    """Probe and stream one clip in this process; its peak memory is then this process's."""
    from body4d.video import VideoReader, probe

    start_mb = peak_mb()  # Python and its packages alone.
    began = time.perf_counter()
    clip = probe(path)
    probed_s = time.perf_counter() - began
    began = time.perf_counter()
    count = sum(1 for _ in VideoReader(clip).read())
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    sampled = sum(1 for _ in VideoReader(clip).read(step=max(1, len(clip) // 20)))
    sampled_s = time.perf_counter() - began
    return {
        "frames": count,
        "file_mb": path.stat().st_size / 1e6,
        "probe_s": probed_s,
        "frames_per_s": count / read_s,
        "samples": sampled,
        "sample_s": sampled_s,
        "start_mb": start_mb,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Most memory this process ever held. Linux's ru_maxrss also counts the parent's, so its own high-water mark is read."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 600], help="lengths of the clips")
    parser.add_argument("--size", type=int, nargs=2, default=[1920, 1080], metavar=("W", "H"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stream:
        print(json.dumps(stream(args.stream)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in args.seconds:
            path = Path(folder) / f"{seconds}.mp4"
            make(path, seconds, *args.size)
            child = subprocess.run([sys.executable, __file__, "--stream", str(path)], check=True, capture_output=True, text=True)
            results.append({"seconds": seconds, **json.loads(child.stdout)})
            path.unlink()
    if args.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{'clip':>7} {'frames':>7} {'file':>8} {'probe':>8} {'decode':>10} {'20 samples':>11} {'peak memory':>12}")
    for r in results:
        print(
            f"{r['seconds']:5d} s {r['frames']:7d} {r['file_mb']:5.1f} MB {r['probe_s']:6.2f} s {r['frames_per_s']:6.0f} f/s"
            f" {r['sample_s']:9.2f} s {r['peak_mb']:9.0f} MB"
        )


if __name__ == "__main__":
    main()
