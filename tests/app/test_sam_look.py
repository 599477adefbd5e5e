"""Choosing people with preset sam, on tiny checkpoints: painted on a frame, by a click or a text, with weights read once."""

from pathlib import Path

import pytest
from PIL import Image

from body4d.app.prompts import Mark
from body4d.app.tasks import Look, do
from body4d.config import ComputeSettings, Settings, WeightsSettings
from body4d.core.progress import ignore_events
from body4d.models.sam3 import segmenter as sam3
from make_tiny_checkpoints import write_tiny_checkpoints
from make_videos import make_video


def test_clicks_are_answered_by_models_that_stay_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    plain = sam3.load_sam3
    monkeypatch.setattr(sam3, "load_sam3", lambda *given: loads.append(given) or plain(*given))
    weights = WeightsSettings(folder=str(write_tiny_checkpoints(tmp_path / "weights")))
    settings = Settings(preset="sam", weights=weights, compute=ComputeSettings(device="cpu"))
    clip = make_video(tmp_path / "clip.mp4", frames=6)
    seen = do(Look(clip, tmp_path / "people.jpg", 2), settings, ignore_events)
    assert seen is not None
    assert seen.people
    assert not seen.people[0].chosen
    click = Mark(2, 1, "in", (seen.width_px / 2, seen.height_px / 2))
    chosen = do(Look(clip, tmp_path / "people.jpg", 2, (click,)), settings, ignore_events)
    assert chosen is not None
    assert any(person.chosen for person in chosen.people)
    with Image.open(tmp_path / "people.jpg") as painted:
        assert painted.size == (seen.width_px, seen.height_px)
    assert len(loads) == 1
