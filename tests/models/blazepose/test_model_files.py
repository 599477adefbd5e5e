"""Which landmark model is taken of what is on the disk, and what is said where the better one is not."""

from pathlib import Path

import pytest

from body4d.config import BlazePoseSettings, PeopleSettings, WeightsSettings
from body4d.core.errors import WeightsError
from body4d.models.blazepose.model_files import BlazePoseModels, find_models
from body4d.models.blazepose.segmenter import BlazePoseSegmenter
from fake_checkpoints import write_fake_blazepose


@pytest.fixture
def weights(tmp_path: Path) -> WeightsSettings:
    return WeightsSettings(folder=str(write_fake_blazepose(tmp_path)))


@pytest.mark.parametrize(
    ("choice", "heavy_here", "taken", "warned"),
    [
        ("auto", True, "heavy", False),
        ("auto", False, "full", True),
        ("heavy", True, "heavy", False),
        ("full", True, "full", False),
        ("full", False, "full", False),
    ],
)
def test_what_is_taken(choice: str, heavy_here: bool, taken: str, warned: bool, weights: WeightsSettings, tmp_path: Path) -> None:
    if not heavy_here:
        (tmp_path / "blazepose" / "pose_landmark_heavy.tflite").unlink()
    models, warnings = find_models(choice, weights)  # type: ignore[arg-type]
    folder = tmp_path / "blazepose"
    hands = folder / "hand_landmark_full.tflite"
    assert models == BlazePoseModels(folder / "pose_detection.tflite", folder / f"pose_landmark_{taken}.tflite", taken, hands)  # type: ignore[arg-type]
    assert [warning.code for warning in warnings] == ["full_landmarks"] * warned
    for warning in warnings:
        assert "from 291 to 84 mm" in warning.message
        assert warning.hint == "`body4d weights download lite` fetches it."


@pytest.mark.parametrize(
    ("choice", "absent", "said"),
    [
        ("heavy", "pose_landmark_heavy.tflite", "BlazePose heavy has no checkpoint here"),
        ("full", "pose_landmark_full.tflite", "holds no complete checkpoint of BlazePose"),
        ("auto", "pose_detection.tflite", "holds no complete checkpoint of BlazePose"),
    ],
)
def test_what_is_lacking_is_an_error_with_the_command(
    choice: str, absent: str, said: str, weights: WeightsSettings, tmp_path: Path
) -> None:
    (tmp_path / "blazepose" / absent).unlink()
    with pytest.raises(WeightsError, match=f"{said}.*body4d weights download lite") as raised:
        find_models(choice, weights)  # type: ignore[arg-type]
    assert raised.value.exit_code == 7


def test_without_the_model_of_hands_a_run_goes_on_and_says_so_once(weights: WeightsSettings, tmp_path: Path) -> None:
    (tmp_path / "blazepose" / "hand_landmark_full.tflite").unlink()
    models, warnings = find_models("heavy", weights)
    assert models.hands is None
    assert [(warning.code, warning.hint) for warning in warnings] == [("no_hand_landmarks", "`body4d weights download lite` fetches it.")]


def test_a_file_that_is_cut_short_is_not_taken(weights: WeightsSettings, tmp_path: Path) -> None:
    heavy = tmp_path / "blazepose" / "pose_landmark_heavy.tflite"
    heavy.write_bytes(b"cut")
    assert find_models("auto", weights)[0].landmark_model == "full"
    with pytest.raises(WeightsError, match=r"is cut short \(3 of 27,709,200 bytes\)"):
        find_models("heavy", weights)


def test_files_in_the_two_default_folders_are_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Space's image brings the models in the user's cache, and downloads go to its disk."""
    monkeypatch.delenv("BODY4D_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("body4d.checkpoints.local.SPACE_DISK", tmp_path / "data")
    cache = write_fake_blazepose(tmp_path / "cache" / "body4d" / "weights", heavy=False)
    write_fake_blazepose(tmp_path / "data" / "checkpoints")
    (tmp_path / "data" / "checkpoints" / "blazepose" / "pose_detection.tflite").unlink()
    models, _ = find_models("auto", WeightsSettings())
    assert models.detector.parent == cache / "blazepose"
    assert models.landmarks.parent == tmp_path / "data" / "checkpoints" / "blazepose"


def test_masks_depend_on_the_landmark_model_and_not_on_how_it_was_chosen() -> None:
    def key(choice: str, taken: str, hands: Path | None = None) -> object:
        models = BlazePoseModels(Path("d"), Path("l"), taken, hands)  # type: ignore[arg-type]
        return BlazePoseSegmenter(BlazePoseSettings(landmarks=choice), PeopleSettings(), models).cache_inputs  # type: ignore[arg-type]

    assert key("auto", "heavy") == key("heavy", "heavy") != key("auto", "full") == key("full", "full")
    assert key("auto", "heavy") != key("auto", "heavy", Path("h"))


def test_the_published_files_where_they_are_here(lite_models: BlazePoseModels) -> None:
    """Their sums are the catalogue's."""
    import hashlib

    from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS

    models = (BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS)
    known = {file.path: file.sha256 for model in models for file in model.package_sources[0].files}
    for path in (lite_models.detector, lite_models.landmarks, *([lite_models.hands] if lite_models.hands else [])):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == known[path.name]
