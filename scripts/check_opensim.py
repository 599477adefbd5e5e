"""Does OpenSim take our markers? Its scaling and inverse kinematics on finished runs; figures for docs/verified.md.

    python scripts/check_opensim.py ENV RUN [RUN ...] [--truth TRUTH.npz]

ENV is a folder for an environment of its own, which is made with OpenSim's package and Pose2Sim's model where it is missing (0.4 GB).
With --truth (see the project's measured clips) the knees' flexion of the last RUN is compared with that of the truth, and with our own
joints'. Prints one JSON object for each run and marker set.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OPENSIM, POSE2SIM = "opensim==4.6", "pose2sim==0.10.49"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--truth", type=Path)
    args = parser.parse_args()
    python = args.env / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", args.env], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", OPENSIM], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", POSE2SIM], check=True)
    for run in args.runs:
        for markers in ("halpe26", "opencap"):
            facts = solve(python, run, markers, args.truth if run == args.runs[-1] else None)
            print(json.dumps({"run": run.name, "markers": markers, **facts}), flush=True)


def solve(python: Path, run: Path, markers: str, truth: Path | None) -> dict[str, object]:
    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions
    from body4d.export.opensim import OpenSimPython

    scene = load_scene(run / "scene.npz")
    track = scene.people[0]
    with tempfile.TemporaryDirectory() as folder:
        (_, mot), facts = OpenSimPython.find(python).solve(scene, track, Path(folder), ExportOptions(markers=markers))
        angles = read_mot(mot)
    if truth is not None:
        data = np.load(truth)
        camera = next(key.split("/")[0] for key in data.files if key.endswith("/joints_m"))
        true = dict(zip(data["joint_names"].tolist(), np.moveaxis(data[f"{camera}/joints_m"], 1, 0), strict=True))
        for side in ("left", "right"):
            ours = knee_flexion_deg({f"{side}_{joint}": track.joint(f"{side}_{joint}") for joint in ("hip", "knee", "ankle")}, side)
            model, actual = angles[f"knee_angle_{side[0]}"], knee_flexion_deg(true, side)
            facts[f"{side}_knee_deg"] = {
                "model_to_truth_rms": rms(model - actual),
                "our_joints_to_truth_rms": rms(ours - actual),
                "model_to_our_joints_rms": rms(model - ours),
                "deepest": [round(float(value.max()), 1) for value in (model, ours, actual)],
            }
    return facts


def read_mot(path: Path) -> dict[str, np.ndarray]:
    """Columns of a MOT by name."""
    lines = path.read_text().split("endheader\n")[1].splitlines()
    rows = np.array([line.split() for line in lines[1:] if line.strip()], float)
    return dict(zip(lines[0].split(), rows.T, strict=True))


def knee_flexion_deg(joints: dict[str, np.ndarray], side: str) -> np.ndarray:
    """0 for a straight leg."""
    hip, knee, ankle = (joints[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    thigh, shank = knee - hip, ankle - knee
    cos = np.sum(thigh * shank, -1) / np.linalg.norm(thigh, axis=-1) / np.linalg.norm(shank, axis=-1)
    return np.degrees(np.arccos(np.clip(cos, -1, 1)))


def rms(values: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(values**2))), 1)


if __name__ == "__main__":
    main()
