"""``body4d weights`` as somebody types it, against the Hub's stand-in: tables, events, exit codes, and no token anywhere."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import save
from typer.testing import CliRunner

from body4d.checkpoints.local import find_path
from body4d.checkpoints.registry import MOGE, SAM3D_BODY
from body4d.cli.entry import app
from body4d.config import WeightsSettings
from body4d.models.sam3d_body.checkpoint import load_sam3d_body
from hub_standin import Account, HubStandIn, Repo
from moge_files import write_tiny_moge
from package_server import PackageServer
from sam3d_files import TINY, as_repack, official_state

TOKEN = "hf_aSecretThatNobodyMaySee"


@pytest.fixture(scope="module")
def moge(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("moge")
    write_tiny_moge(folder)
    return (folder / "model.pt").read_bytes()


@pytest.fixture
def standin(moge: bytes) -> Iterator[HubStandIn]:
    with HubStandIn() as running:
        running.add(Repo("Ruicheng/moge-2-vitl-normal", {"model.pt": moge, "README.md": b"MoGe"}))
        running.add(Repo("facebook/sam3", {"model.safetensors": b"x" * 99, "config.json": b"{}"}, gated="manual"))
        running.accounts[TOKEN] = Account("ada", {"facebook/sam3": "pending"})
        yield running


@dataclass
class Done:
    """A command that came to its end."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def body4d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs ``body4d weights WORDS`` in this process, with a home of its own, and looks for the token in whatever it says."""
    for name in [*os.environ]:
        if name.startswith(("HF_", "HUGGING", "BODY4D_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    for name, text in {"HF_HOME": tmp_path / "hf", "BODY4D_WEIGHTS": tmp_path / "root"}.items():
        monkeypatch.setenv(name, str(text))
    monkeypatch.setattr("body4d.checkpoints.transfer.RETRY_WAIT_S", 0.0)

    def run(standin: HubStandIn | None, *words: object, token: str | None = TOKEN) -> Done:
        monkeypatch.setenv("HF_ENDPOINT", standin.url if standin else "http://127.0.0.1:9")
        monkeypatch.setenv("HF_TOKEN", token or "")
        result = CliRunner().invoke(app, ["weights", *map(str, words)])
        assert TOKEN not in result.output
        assert "Traceback" not in result.output
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


Run = Callable[..., Done]


def test_fetch_check_break_mend(body4d: Run, standin: HubStandIn, tmp_path: Path, moge: bytes) -> None:
    done = body4d(standin, "download", "moge", "--latest")
    file = tmp_path / "root" / "moge-2-vitl-normal" / "model.pt"
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == moge
    assert "MoGe-2 from https://huggingface.co/Ruicheng/moge-2-vitl-normal at cccccccccccc (the newest, not the one that was" in done.stderr
    assert "Licence: MIT" in done.stderr
    assert "fetched" in done.stdout
    assert "there" in body4d(None, "download", "moge").stdout  # nobody is asked

    rows = json.loads(body4d(None, "status", "--json", "moge").stdout)
    assert [(row["state"], row["bytes"], row["origin"]) for row in rows] == [
        ("ready", len(moge), {"checkpoint": "MoGe-2", "repository": "Ruicheng/moge-2-vitl-normal", "commit": "c" * 40, "licence": "MIT"})
    ]
    assert body4d(None, "verify").stdout.split() == ["verified", str(file)]

    altered = bytearray(moge)
    altered[len(moge) // 2] ^= 1
    file.write_bytes(altered)
    bad = body4d(None, "verify", "--json")
    assert bad.returncode == 7
    events = [json.loads(line) for line in bad.stdout.splitlines()]
    assert [(e["files"][0]["state"]) for e in events if e["event"] == "result"] == ["altered"]
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("error", 7)
    assert "model.pt is not the published file" in events[-1]["message"]

    file.write_bytes(moge[:1000])
    seen = body4d(None, "status", "moge").stdout
    assert "not whole" in seen
    assert "is cut short (1,000 of" in seen
    mended = body4d(standin, "verify", "--mend")
    assert mended.returncode == 7  # the pinned revision is not what the stand-in has, and that is told
    assert "no longer has the revision" in mended.stderr
    assert body4d(standin, "download", "moge", "--latest").returncode == 0
    assert file.read_bytes() == moge


def test_json_events_of_a_download(body4d: Run, standin: HubStandIn, tmp_path: Path, moge: bytes) -> None:
    done = body4d(standin, "download", "moge", "--latest", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["stage"] for event in events if event["event"] == "stage"} == {"moge"}
    assert events[-1]["checkpoints"] == [
        {"model": "moge", "place": str(tmp_path / "root" / "moge-2-vitl-normal"), "commit": "c" * 40, "bytes": len(moge)}
    ]


def test_status_names_each_gate_and_its_page(body4d: Run, standin: HubStandIn, tmp_path: Path) -> None:
    waiting = body4d(standin, "status", "sam3")
    assert waiting.returncode == 0
    assert "The request for facebook/sam3 waits for its publisher" in waiting.stdout
    assert "https://huggingface.co/settings/gated-repos" in waiting.stdout
    nobody = body4d(standin, "status", "sam3", token=None).stdout
    assert "there is no Hugging Face token here" in nobody
    unknown = body4d(standin, "status", "sam3", token="hf_unknown").stdout
    assert "The Hub does not know the token in $HF_TOKEN" in unknown
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_alsoUnknown\n")
    saved = body4d(standin, "status", "sam3", token=None).stdout
    assert "The Hub does not know the token saved by `hf auth login`" in saved
    assert "hf_alsoUnknown" not in saved
    asked = len(standin.log)
    assert "\n  gate  " not in body4d(standin, "status", "--offline").stdout
    assert len(standin.log) == asked


def test_status_shows_every_checkpoint_with_its_licence(body4d: Run, tmp_path: Path) -> None:
    shown = body4d(None, "status", "--offline").stdout
    for word in ("sam3", "sam3d-body", "moge", "vas-amodal", "vas-content", "depth-anything", "SAM License", "MIT", "CC BY-NC 4.0",
                 "blazepose-heavy", "hand-landmarks", "lite:", "Apache-2.0",
                 "none stated", "Comfy-Org/sam-3d-body", str(tmp_path / "root")):  # fmt: skip
        assert word in shown


def test_a_shut_gate_ends_with_seven_and_its_sentence(body4d: Run, standin: HubStandIn, tmp_path: Path) -> None:
    done = body4d(standin, "download", "sam3")
    assert done.returncode == 7
    assert done.stderr.splitlines()[-1].startswith("body4d: SAM-3: The request for facebook/sam3 waits")
    assert not (tmp_path / "root").exists()


def test_refused_by_the_first_source_the_second_is_fetched_and_read(body4d: Run, standin: HubStandIn, tmp_path: Path) -> None:
    repack = "detection/sam_3d_body_dinov3_bf16.safetensors"
    files = {"model.ckpt": b"c", "model_config.yaml": b"y", "assets/mhr_model.pt": b"m"}
    standin.add(Repo("facebook/sam-3d-body-dinov3", files, gated="manual"))
    standin.add(Repo("Comfy-Org/sam-3d-body", {repack: save(as_repack(official_state(TINY))), "README.md": b"Repackaged"}))
    standin.accounts[TOKEN].access["facebook/sam-3d-body-dinov3"] = "rejected"
    done = body4d(standin, "download", "sam3d-body", "--latest")
    assert done.returncode == 0, done.stderr
    assert "The publisher rejected the request for facebook/sam-3d-body-dinov3" in done.stderr
    assert "SAM-3D-Body is taken from Comfy-Org/sam-3d-body instead" in done.stderr
    assert "the same licence holds: SAM License" in done.stderr
    place = find_path(SAM3D_BODY, WeightsSettings(folder=str(tmp_path / "root")))
    assert place == tmp_path / "root" / "sam-3d-body"
    assert load_sam3d_body(place).sizes == TINY
    row = json.loads(body4d(None, "status", "sam3d-body", "--json", "--offline").stdout)[0]
    assert row["state"] == "ready"
    assert row["origin"]["repository"] == "Comfy-Org/sam-3d-body"


def test_lite_is_fetched_without_the_hub(body4d: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its packages need no huggingface_hub; --json names them like the others."""
    monkeypatch.setattr("body4d.checkpoints.hub_client.default_hub", lambda *_: pytest.fail("the Hub was asked"))
    monkeypatch.setattr("body4d.checkpoints.archives._download_with_pip", lambda *_: False)
    with PackageServer() as server:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.url}/npm")
        monkeypatch.setattr("body4d.checkpoints.archives.PYPI_INDEX", f"{server.url}/simple/")
        monkeypatch.setattr("body4d.checkpoints.registry.CHECKPOINTS", (MOGE, server.checkpoint("npm", "address")))
        done = body4d(None, "download", "lite", "--json")
        assert done.returncode == 0, done.stderr
        place = tmp_path / "root" / "blazepose"
        result = json.loads(done.stdout.splitlines()[-1])
        assert [(row["model"], row["place"], row["commit"]) for row in result["checkpoints"]] == [("blazepose", str(place), "2.0")]
        assert {json.loads(line).get("stage") for line in done.stdout.splitlines()} == {"blazepose", None}
        assert "blazepose       there" in body4d(None, "download", "lite").stdout
        assert len(body4d(None, "verify", "lite").stdout.split()) == 4
        (row,) = json.loads(body4d(None, "status", "blazepose", "--json", "--offline").stdout)
        assert (row["preset"], row["state"], row["origin"]["repository"]) == ("lite", "ready", "@demo/pose 2.0 at npm")
        (place / "landmarks.tflite").unlink()
        assert "todo  " in body4d(None, "status", "lite", "--offline").stdout
        server.files.clear()
        failed = body4d(None, "download", "lite")
        assert failed.returncode == 7
        assert "`body4d weights download lite` fetches it where there is a network" in failed.stderr


def test_nothing_to_reach_and_offline(body4d: Run, standin: HubStandIn, tmp_path: Path) -> None:
    done = body4d(None, "download", "moge")
    assert done.returncode == 7
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr


@pytest.mark.slow  # a child process
def test_as_a_process_of_its_own(standin: HubStandIn, tmp_path: Path) -> None:
    """Exit code, streams, the token in the environment, and the Hub's own switch for working offline."""
    told = {"HF_ENDPOINT": standin.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    inherited = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    command = [sys.executable, "-m", "body4d", "weights", "download", "moge", "sam3", "--weights", str(tmp_path / "root"), "--verbose"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=told | inherited)
    assert done.returncode == 7
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert not standin.log


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("download", "sam"), 2, "Unknown checkpoint 'sam'; did you mean 'sam3'?"),
        (("verify", "everything-else"), 2, "Unknown checkpoint 'everything-else'; there are sam3,"),
        (("download", "moge", "--source", "a/b"), 2, "'a/b' is no source of MoGe-2: it is one of Ruicheng/moge-2-vitl-normal"),
        (("verify",), 7, "no checkpoint is here"),
    ],
)
def test_wrong_words_are_one_sentence(
    body4d: Run, standin: HubStandIn, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = body4d(standin, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
