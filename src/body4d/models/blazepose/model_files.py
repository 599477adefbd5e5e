from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class BlazePoseModels:
    detector: Path
    landmarks: Path
    landmark_model: Literal["full", "heavy"]


def find_models(choice, weights):
    d = Path("/tmp/dl/models")
    choice = "heavy" if choice == "auto" else choice
    return BlazePoseModels(d / "pose_detection.tflite", d / f"pose_landmark_{choice}.tflite", choice), ()
