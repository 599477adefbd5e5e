"""Files against what was published: good, whole, short, altered, missing; told file by file, and mended."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from body4d.checkpoints.download import download
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.sources import PublishedFile
from body4d.checkpoints.verify import verify
from body4d.config import WeightsSettings
from body4d.core.progress import Event
from hub_standin import HubStandIn
from weights_fakes import GATED, MODEL, WEIGHTS


@pytest.fixture
def folder(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> Path:
    return download([MODEL], settings, hub)[0].place


def states(settings: WeightsSettings) -> dict[str, str]:
    return {one.path.name: one.state for one in verify([MODEL], settings)}


def test_what_was_downloaded_is_good_and_progress_is_told(folder: Path, settings: WeightsSettings) -> None:
    events: list[Event] = []
    verdicts = verify([MODEL], settings, events.append)
    assert {one.path.name: one.state for one in verdicts} == {"model.ckpt": "good", "config.json": "good", "rig.pt": "good"}
    assert {one.sha256 for one in verdicts} >= {hashlib.sha256(WEIGHTS).hexdigest()}
    assert (events[-1].state, events[-1].stage, events[-1].done, events[-1].total) == ("done", "moge", 3, 3)


def test_each_harm_by_its_name_and_all_mended(folder: Path, settings: WeightsSettings, hub: Hub) -> None:
    altered = bytearray(WEIGHTS)
    altered[-1] ^= 128
    (folder / "model.ckpt").write_bytes(altered)
    (folder / "config.json").write_bytes(b"{")
    (folder / "assets" / "rig.pt").unlink()
    assert states(settings) == {"model.ckpt": "altered", "config.json": "short", "rig.pt": "missing"}
    for one in verify([MODEL], settings):
        assert one.sentence.endswith(".")
        assert one.path.name in one.sentence
        assert not one.fine
    download([MODEL], settings, hub, check=True)
    assert set(states(settings).values()) == {"good"}


def test_files_put_there_by_hand_are_held_against_the_catalogue(settings: WeightsSettings, tmp_path: Path) -> None:
    folder = Path(str(settings.folder)) / "model"
    folder.mkdir(parents=True)
    (folder / "model.ckpt").write_bytes(WEIGHTS)
    (folder / "config.json").write_text("{}")
    known = PublishedFile("model.ckpt", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())

    def found(file: PublishedFile) -> dict[str, str]:
        return {one.path.name: one.state for one in verify([replace(MODEL, sources=(replace(GATED, files=(file,)),))], settings)}

    assert found(known) == {"model.ckpt": "good", "config.json": "whole"}
    assert found(replace(known, sha256="0" * 64)) == {"model.ckpt": "altered", "config.json": "whole"}
    assert found(replace(known, size_bytes=len(WEIGHTS) + 1, sha256="0" * 64)) == {"model.ckpt": "short", "config.json": "whole"}
    assert found(replace(known, sha256=None)) == {"model.ckpt": "whole", "config.json": "whole"}


def test_nothing_here_has_no_verdict(settings: WeightsSettings) -> None:
    assert verify([MODEL], settings) == ()
