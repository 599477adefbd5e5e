"""Hidden people through the command line: tiny checkpoints in the official layouts, made masks of one person who passes behind another."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from body4d.cli.entry import app
from body4d.core.scene_io import load_bodies, load_hidden, load_scene
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import MaskTrack, Prompt
from body4d.run.record import BODIES, HIDDEN, SCENE
from make_videos import make_video

pytestmark = pytest.mark.slow  # whole runs of preset sam
WIDTH, HEIGHT, FRAMES = 320, 160, 24
QUICK = {
    "occlusion.num_steps": 1,
    "occlusion.short_side_px": 64,
    "occlusion.long_side_px": 128,
    "occlusion.window_frames": 8,
    "sam3d_body.mode": "body",
    "moge.num_frames": 2,
    "moge.detail": 0,
}


def person(x: int, top: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 50, x : x + 20] = True
    return mask


def front(frame: int) -> np.ndarray:
    return person(60 + 8 * frame, 65)


BACK = person(150, 50)


class MadeMasks:
    """In SAM-3's place: person 1 stands, person 2, where there is one, walks past in front."""

    people = 2
    cache_inputs = ()

    def __init__(self, *_: object) -> None: ...

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        rows = np.arange(len(frames.clip))
        if self.people == 1:
            return StageOutput((MaskTrack(1, rows, (MaskTrack.encode(BACK),) * len(rows), HEIGHT, WIDTH),))
        back = tuple(MaskTrack.encode(BACK & ~front(frame)) for frame in rows)
        in_front = tuple(MaskTrack.encode(front(frame)) for frame in rows)
        return StageOutput((MaskTrack(1, rows, back, HEIGHT, WIDTH), MaskTrack(2, rows, in_front, HEIGHT, WIDTH)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = []
    for frame in range(FRAMES):
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        picture[BACK] = (200, 30, 30)
        picture[front(frame)] = (30, 30, 200)
        pictures.append(picture)
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, size=(WIDTH, HEIGHT))


@pytest.fixture
def made_masks(monkeypatch: pytest.MonkeyPatch) -> type[MadeMasks]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("body4d.models.sam3.segmenter.Sam3Segmenter", MadeMasks)
    monkeypatch.setattr(MadeMasks, "people", 2)
    return MadeMasks


def body4d(clip: Path, weights: Path, out: Path, *words: object) -> Result:
    sets = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    arguments = ["run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--no-pictures", "--out", out, *sets, *words]
    return CliRunner().invoke(app, list(map(str, arguments)))


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (HIDDEN, BODIES, SCENE)]


def test_hidden_people_are_completed_flagged_and_resumed(
    clip: Path, tiny_checkpoints: Path, made_masks: type[MadeMasks], tmp_path: Path
) -> None:
    first = body4d(clip, tiny_checkpoints, tmp_path / "run")
    assert first.exit_code == 0, first.output
    assert "1 person may be hidden on" in first.stderr
    assert "how long that takes on this cpu was not measured" in first.stderr
    segments = load_hidden(tmp_path / "run" / HIDDEN)
    assert {segment.person_id for segment in segments} == {1}
    hidden = np.concatenate([segment.frame_index[segment.hidden] for segment in segments])
    covered = [frame for frame in range(FRAMES) if (BACK & front(frame)).sum() > 0.3 * BACK.sum()]
    assert set(covered) <= set(hidden.tolist())
    one, two = load_bodies(tmp_path / "run" / BODIES)
    assert one.hidden is not None
    np.testing.assert_array_equal(one.frame_index[one.hidden], hidden)
    assert two.hidden is None
    assert one.confidence[one.hidden].max() < 0.5  # the amodal mask is as large as the surroundings: little of it is visible
    scene = load_scene(tmp_path / "run" / SCENE)
    assert any(f"person 1 on {len(hidden)} frames" in warning.message for warning in scene.warnings)
    assert scene.people[0].hidden is not None
    assert scene.people[0].hidden.sum() == len(hidden)
    before = hashes(tmp_path / "run")

    again = body4d(clip, tiny_checkpoints, tmp_path / "run")
    assert again.stderr.count("already done") == 8
    # Lost as by a kill in the middle of it, the stage is done again, to the same bytes.
    (tmp_path / "run" / HIDDEN).unlink()
    lost = body4d(clip, tiny_checkpoints, tmp_path / "run")
    assert lost.exit_code == 0, lost.output
    assert "occlusion already done" not in lost.stderr
    assert "masks     already done" in lost.stderr
    assert hashes(tmp_path / "run") == before


def test_without_checkpoints_auto_says_so_and_on_is_an_error(
    clip: Path, tiny_checkpoints: Path, made_masks: type[MadeMasks], tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    for name in ("sam3", "sam-3d-body-dinov3"):
        (tmp_path / "weights" / name).symlink_to(tiny_checkpoints / name)
    result = body4d(clip, tmp_path / "weights", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("cannot be completed: Diffusion-VAS (outlines) and Diffusion-VAS (completion) and Depth") == 1
    assert load_hidden(tmp_path / "run" / HIDDEN) == ()
    refused = body4d(clip, tmp_path / "weights", tmp_path / "other", "--occlusion", "on")
    assert refused.exit_code == 7
    assert "Diffusion-VAS (outlines) has no checkpoint here" in refused.output


def test_one_unhidden_person_loads_none_of_these_models(
    clip: Path, tiny_checkpoints: Path, made_masks: type[MadeMasks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are weights read nor the networks' libraries imported: both fail here."""
    made_masks.people = 1
    for module in ("diffusers.models", "body4d.models.diffusion_vas.network.unet"):
        monkeypatch.setitem(sys.modules, module, None)
    for loader in ("pipeline.load_vas", "depth.load_depth_anything"):
        monkeypatch.setattr(f"body4d.models.diffusion_vas.{loader}", None)
    result = body4d(clip, tiny_checkpoints, tmp_path / "run")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["weights"]["occlusion"].startswith("diffusion-vas-amodal-segmentation")  # the checkpoints could have been loaded
    assert record["stages"]["occlusion"]["state"] == "done"
    assert load_hidden(tmp_path / "run" / HIDDEN) == ()
