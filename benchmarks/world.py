"""How well does a body walk through one world when the camera moves? Films with exact truth, by preset lite as a user runs it.

    python benchmarks/world.py [--move pan zoom ...] [--seed 0 ...] [--way auto static ...] [--focal-mm35 26] [--set KEY=VALUE ...]
        [--out FOLDER] [--json]
    python benchmarks/world.py --stage camera [--move ...]    the camera's path alone, with the true masks and, for its
        length, the true bodies: seconds instead of minutes
    python benchmarks/world.py --clip VIDEO ... --truly static|rotating|moving [--json]    real clips: what their camera is called

Each film shows one walker, who does the same in all of them, in a yard (body4d.evaluate.synthetic.clip.make_moving_clip); ``static`` is the
control. Each is run once for every --way, a value of the setting ``camera.motion``: ``auto`` is what a user gets, ``static`` what they
would get if nobody looked whether the camera moves. The figures (docs/evaluation.md): rotation, path and focal length of the camera;
world MPJPE over windows of 100 frames, root translation error, walked distance and foot sliding of the body; and how often which
camera is called what.
Processor seconds are user and system of this process and its children.

Published systems (GVHMR, WHAM, TRAM, PromptHMR) are not run here: all need trained weights and body models that must be asked for. Their
figures on EMDB and RICH are of other films and do not compare. Films and runs are kept below --out (runs/world); a film is made once, a run
goes on where it was.
"""

import argparse
import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from real_truth import known

from body4d.camera.background import read_background
from body4d.camera.scale import settle_scale
from body4d.config import CameraSettings, Settings
from body4d.config.loading import load_settings, parse_assignments
from body4d.core.scene_io import load_masks, load_scene
from body4d.core.types import Camera, Scene
from body4d.evaluate.synthetic.camera_moves import CAMERA_MOVES
from body4d.evaluate.synthetic.clip import SyntheticClip, make_moving_clip
from body4d.evaluate.synthetic.motions import PHONE_MM35, lens_camera
from body4d.evaluate.world import CAMERA_ROWS, PERSON_ROWS, CameraScore, WorldScore, camera_kind, score_camera, score_world
from body4d.run.pipeline import Pipeline
from body4d.run.record import MASKS, SCENE
from body4d.video import VideoReader, probe

KINDS = ("static", "rotating", "moving", "unknown")


def film(move: str, seed: int, focal_mm35: float, folder: Path) -> SyntheticClip:
    """The film, made where it is not there yet."""
    clip = SyntheticClip(folder / f"{move}.mp4", folder / "truth.npz", folder / "truth_masks.npz")
    return clip if clip.truth.exists() else make_moving_clip(move, folder, seed=seed, focal_mm35=focal_mm35)  # type: ignore[arg-type]


def settings_of(way: str, assignments: list[str]) -> Settings:
    """Preset lite without pictures; one person is looked for."""
    chosen = {"preset": "lite", "pictures.enabled": False, "blazepose.max_people": 1, "camera.motion": way}
    return load_settings(None, chosen | parse_assignments(assignments))


def processor_s() -> float:
    """Processor seconds of this process and the children that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def run_whole(video: Path, folder: Path, settings: Settings) -> tuple[Scene, float, dict[str, float]]:
    """The finished scene, processor seconds, and seconds of each stage by the clock."""
    began = processor_s()
    Pipeline.load(settings).run(video, folder)
    record = json.loads((folder / "run.json").read_text())
    stages = {name: float(stage["seconds"]) for name, stage in record.get("stages", {}).items() if "seconds" in stage}
    return load_scene(folder / SCENE, video), processor_s() - began, stages


def see_camera(clip: SyntheticClip, truth: Scene, way: str) -> tuple[Camera, list[str], float]:
    """The camera as stage ``camera`` sees it with the true masks, its path as long as the true bodies make it; warnings, and seconds."""
    frames = VideoReader(probe(clip.video))
    lens = lens_camera((frames.clip.width_px, frames.clip.height_px))
    masks = load_masks(clip.truth_masks)
    began = processor_s()
    seen = read_background(frames, lens, CameraSettings(motion=way), masks)  # type: ignore[arg-type]
    settled = settle_scale(seen.value, truth.people, frames.clip)
    return settled.value, [warning.message for warning in (*seen.warnings, *settled.warnings)], processor_s() - began


def print_table(columns: list[dict[str, Any]], rows: tuple[tuple[str, str, float], ...]) -> None:
    for label, key, factor in rows:
        cells = [c.get(key) for c in columns]
        print(f"{label:<48}" + "".join(f"{'–' if v is None or not np.isfinite(v) else f'{v * factor:.2f}':>12}" for v in cells))


def print_called(called: Counter[tuple[str, str]]) -> None:
    """The confusion table: true kinds down, what they were called across."""
    print(f"\n{'camera truly … called':<24}" + "".join(f"{kind:>10}" for kind in KINDS))
    for true in KINDS[:3]:
        print(f"{true:<24}" + "".join(f"{called[true, kind]:>10}" for kind in KINDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--move", nargs="+", choices=CAMERA_MOVES, default=list(CAMERA_MOVES))
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--way", nargs="+", default=["auto", "static"])
    parser.add_argument("--focal-mm35", type=float, default=PHONE_MM35, help="The lens; lite takes it for a phone's, 26 mm.")
    parser.add_argument("--stage", choices=("whole", "camera"), default="whole")
    parser.add_argument("--clip", nargs="+", type=Path, default=[])
    parser.add_argument("--truly", choices=KINDS[:3])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--out", type=Path, default=Path("runs/world"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.clip and not args.truly:
        parser.error("--clip needs --truly")
    result: dict[str, Any] = {}
    for way in args.way[:1] if args.clip else args.way:
        result[way] = real_clips(args, way) if args.clip else films(args, way)
    if args.json:
        print(json.dumps(known(result)))


def real_clips(args: argparse.Namespace, way: str) -> dict[str, Any]:
    """What the cameras of real clips are called."""
    called = {}
    for video in args.clip:
        scene, _, _ = run_whole(video, args.out / f"real-{way}" / video.stem, settings_of(way, args.assignments))
        called[video.name] = camera_kind(scene.camera)
        if not args.json:
            print(f"{video.name:<32} truly {args.truly}, called {called[video.name]}")
    return {"truly": args.truly, "called": called}


def films(args: argparse.Namespace, way: str) -> dict[str, Any]:
    """All films by one value of ``camera.motion``."""
    names, cameras, people, more = [], [], [], []
    called: Counter[tuple[str, str]] = Counter()
    for move in args.move:
        for seed in args.seed:
            name = f"{move}-{seed}" + ("" if args.focal_mm35 == PHONE_MM35 else f"-{args.focal_mm35:g}mm")
            clip = film(move, seed, args.focal_mm35, args.out / name)
            truth = load_scene(clip.truth)
            if args.stage == "camera":
                camera, warnings, taken_s = see_camera(clip, truth, way)
                score: CameraScore = score_camera(camera, truth.camera, np.arange(len(truth.clip)))
                more.append({"processor_s": taken_s, "warnings": warnings})
            else:
                folder = args.out / f"{name}-{way}"
                scene, taken_s, stages = run_whole(clip.video, folder, settings_of(way, args.assignments))
                whole: WorldScore = score_world(scene, load_masks(folder / MASKS), truth, load_masks(clip.truth_masks))
                score = whole.camera
                people.append(asdict(whole.people[0]))
                more.append({"processor_s": taken_s, "stages_s": stages, "warnings": [w.message for w in scene.warnings]})
            names.append(name)
            cameras.append(asdict(score))
            called[score.true_kind, score.called] += 1
    if not args.json:
        print(f"\ncamera.motion = {way}\n{'':<48}" + "".join(f"{name:>12}" for name in names))
        print(f"{'called':<48}" + "".join(f"{c['called']:>12}" for c in cameras))
        print_table(cameras, CAMERA_ROWS)
        if people:
            print_table(people, PERSON_ROWS)
        print_table(more, (("processor time (s)", "processor_s", 1),))
        print_called(called)
    return {
        "films": {
            name: {"camera": camera, "person": people[i] if people else None, **more[i]}
            for i, (name, camera) in enumerate(zip(names, cameras, strict=True))
        },
        "called": [{"truly": true, "called": kind, "films": count} for (true, kind), count in sorted(called.items())],
    }


if __name__ == "__main__":
    main()
