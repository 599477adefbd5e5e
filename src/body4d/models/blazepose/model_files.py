"""BlazePose's model files on this machine: which landmark model is taken, what the other would give, and whether hands can be read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from body4d.checkpoints.local import find_file, inspect_checkpoint
from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS
from body4d.config import WeightsSettings
from body4d.core.errors import RunWarning, WeightsError

FULL_LANDMARKS = RunWarning(
    "full_landmarks",
    "The full landmark model was taken, as the heavy one is not here. On a real clip with measured 3D the heavy one lowered the error of "
    "joints (MPJPE) from 291 to 84 mm and jitter to a third.",
    f"`{BLAZEPOSE_HEAVY.download_command}` fetches it.",
    {"taken": "full", "mpjpe_mm": {"full": 291, "heavy": 84}},
)
NO_HAND_LANDMARKS = RunWarning(
    "no_hand_landmarks",
    "Hands were not read, as the hand landmark model is not here: fingers are relaxed, or closed where both hands hold one thing.",
    f"`{HAND_LANDMARKS.download_command}` fetches it.",
)


@dataclass(frozen=True)
class BlazePoseModels:
    """The model files that a run uses. Without ``hands`` no hand is read."""

    detector: Path
    landmarks: Path
    landmark_model: Literal["full", "heavy"]
    hands: Path | None = None


def find_models(choice: Literal["auto", "heavy", "full"], weights: WeightsSettings) -> tuple[BlazePoseModels, tuple[RunWarning, ...]]:
    """The model files for ``choice``, with a warning where ``auto`` had to take the full landmark model, and one where hands are not read.

    Only this machine's disk is asked, and files of another size than the published ones do not count. Raises WeightsError where one that is
    needed is not here.
    """
    models, warnings = _find_body_models(choice, weights)
    hands = find_file(HAND_LANDMARKS, HAND_LANDMARKS.package_sources[0].files[0], weights)
    return replace(models, hands=hands), warnings if hands else (*warnings, NO_HAND_LANDMARKS)


def _find_body_models(choice: Literal["auto", "heavy", "full"], weights: WeightsSettings) -> tuple[BlazePoseModels, tuple[RunWarning, ...]]:
    detector, full = (find_file(BLAZEPOSE, file, weights) for file in BLAZEPOSE.package_sources[0].files)
    heavy = find_file(BLAZEPOSE_HEAVY, BLAZEPOSE_HEAVY.package_sources[0].files[0], weights)
    if detector and heavy and choice != "full":
        return BlazePoseModels(detector, heavy, "heavy"), ()
    if detector and full and choice != "heavy":
        return BlazePoseModels(detector, full, "full"), (FULL_LANDMARKS,) if choice == "auto" else ()
    lacking = BLAZEPOSE_HEAVY if detector and choice == "heavy" else BLAZEPOSE
    local = inspect_checkpoint(lacking, weights)
    raise WeightsError(local.message, code=f"checkpoint_{local.state}", hint=local.hint, checkpoint=lacking.key)
