"""Does a checkpoint of the published size load and run here, and how long does it take? Writes one with made-up weights and tries it.

    python benchmarks/full_size_checkpoint.py DIR [--only-write] [--json]

DIR gets the official layout (model.ckpt, model_config.yaml, assets/mhr_model.pt; 2.8 GB). What is there already is not written again.
Every figure is taken in a process of its own, on the CPU: seconds to load, seconds to read every weight besides (a mapped file is read
when it is used), seconds for one person in one frame, and the most memory the process held. "cold" means the file was put out of the
system's cache first. Weights are made up: the bodies mean nothing.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from body4d.bodies.mhr.module import load_mhr
from body4d.bodies.mhr.rig_file import find_rig_file
from body4d.models.sam3d_body.checkpoint import find_checkpoint, load_sam3d_body
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies
from mhr_files import full_rig, save_script
from sam3d_files import FULL, official_state, save_official

HEIGHT, WIDTH, FOCAL_PX = 720, 1280, 1200.0
BOX = (500.0, 60.0, 780.0, 700.0)
GIB = 1 << 30


def write(folder: Path) -> list[dict[str, Any]]:
    """The official folder."""
    rows: list[dict[str, Any]] = []

    def step(what: str, path: Path, make: Any) -> None:
        if path.exists():
            return
        start = time.perf_counter()
        make()
        rows.append({"what": what, "s": time.perf_counter() - start, "gib_file": path.stat().st_size / GIB})

    step("write model.ckpt", folder / "model.ckpt", lambda: save_official(official_state(FULL), folder))
    rig = folder / "assets" / "mhr_model.pt"
    rig.parent.mkdir(exist_ok=True)
    step("write assets/mhr_model.pt", rig, lambda: save_script(full_rig(), rig))
    return rows


def trial(place: Path, mode: str, dtype: str) -> dict[str, Any]:
    """What one process does: load, read, and recover one person in one frame in ``mode``."""
    start = time.perf_counter()
    net = load_sam3d_body(place)
    loaded = time.perf_counter()
    total = sum(float(p.detach().flatten()[::512].float().sum()) for p in net.parameters())
    row: dict[str, Any] = {"load_s": loaded - start, "read_s": time.perf_counter() - loaded, "finite": total == total}
    if mode != "load":
        start = time.perf_counter()
        mhr = load_mhr(find_rig_file(place.parent))
        row["load_rig_s"] = time.perf_counter() - start
        net.set_precision(getattr(torch, dtype))
        start = time.perf_counter()
        with torch.inference_mode():
            made = torch.Generator().manual_seed(0)
            frames = torch.randint(0, 256, (1, HEIGHT, WIDTH, 3), generator=made, dtype=torch.uint8)
            K = torch.tensor([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
            crops = body_crops(torch.tensor([BOX]), torch.zeros(1, dtype=torch.long), K[None], net.sizes)
            masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
            masks[:, 100:680, 540:740] = 255
            first = estimate_bodies(net, mhr, frames, crops, masks)
            decoded = first.output if mode == "body" else estimate_with_hands(net, mhr, frames, first).output
        row |= {"frame_s": time.perf_counter() - start, "finite": bool(decoded.pose.keypoints_m.isfinite().all())}
    return row | {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB}


def forget(path: Path) -> None:
    """Put the file out of the system's cache, so that it must come from the disk again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(place: Path, mode: str, dtype: str = "float32", *, cold: bool = False) -> dict[str, Any]:
    path = find_checkpoint(place)
    if cold:
        forget(path)
    command = [sys.executable, __file__, str(path), "--trial", mode, "--dtype", dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    what = f"{path.name}, {mode}" + ("" if mode == "load" else f", backbone {dtype}") + (", cold" if cold else "")
    return {"what": what} | json.loads(done.stdout.splitlines()[-1])


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Loading, then one frame."""
    official = folder / "model.ckpt"
    yield measured(official, "load", cold=True)
    yield measured(official, "load")
    yield measured(official, "body")
    yield measured(official, "full")
    yield measured(official, "body", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--only-write", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trial", choices=["load", "body", "full"], help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trial:
        print(json.dumps(trial(args.folder, args.trial, args.dtype)))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in itertools.chain(write(args.folder), [] if args.only_write else measure(args.folder)):
        rows.append(row)
        if args.json:
            continue
        shown = "  ".join(
            f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items() if key != "what"
        )
        print(f"{row['what']:58} {shown}", flush=True)
    if args.json:
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
