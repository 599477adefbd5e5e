"""A Hub on the loopback with a small model's two sources on it, and settings that wait for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from body4d.checkpoints.hub_client import Hub
from body4d.config import WeightsSettings
from hub_standin import Account, HubStandIn, Repo
from weights_fakes import TOKEN, WEIGHTS


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))
    with HubStandIn() as running:
        running.add(
            Repo("maker/model", {"model.ckpt": WEIGHTS, "config.json": b'{"a": 1}', "assets/rig.pt": b"rig", "README.md": b"hi"}, "manual")
        )
        running.add(Repo("copier/repack", {"model.ckpt": WEIGHTS[:5000], "config.json": b"{}"}))
        running.accounts[TOKEN] = Account("ada", {"maker/model": "accepted"})
        yield running


@pytest.fixture
def hub(standin: HubStandIn) -> Hub:
    return Hub(standin.url, TOKEN, "the token in $HF_TOKEN", timeout_s=5)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsSettings:
    monkeypatch.setattr("body4d.checkpoints.transfer.RETRY_WAIT_S", 0.0)
    monkeypatch.setattr("body4d.checkpoints.folders.MIN_FREE_DISK_GB", 0.0)
    return WeightsSettings(folder=str(tmp_path / "root"), max_retries=3)
