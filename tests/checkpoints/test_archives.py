"""Files out of packages: from whichever source serves them, resumed, checked, and quickly given up without a network."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from body4d.checkpoints import archives
from body4d.checkpoints.download import download
from body4d.checkpoints.local import inspect_checkpoint, verify_checkpoints
from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY
from body4d.config import WeightsSettings
from body4d.core.errors import Cancelled, OutputError, SettingsError, WeightsError
from body4d.core.progress import Event
from fake_checkpoints import write_fake_blazepose
from package_server import CONTENTS, WHEEL, PackageServer, tarred

TGZ, WHL = "/npm/@demo/pose/-/pose-2.0.tgz", f"/files/{WHEEL}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageServer]:
    """The server, in place of the index and of npm; the network is allowed, and pip is not there."""
    monkeypatch.delenv("BODY4D_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(archives, "_download_with_pip", lambda *_: False)
    monkeypatch.setattr(archives, "retry_wait_s", lambda failures: 0.0)
    with PackageServer() as running:
        monkeypatch.setattr(archives, "PYPI_INDEX", f"{running.url}/simple/")
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{running.url}/npm/")
        yield running


def here(settings: WeightsSettings) -> dict[str, bytes]:
    folder = Path(settings.folder or "") / "blazepose"
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else {}


@pytest.mark.parametrize("kind", ["pypi", "npm", "address"])
def test_every_kind_of_source_gives_the_same_files(kind: str, server: PackageServer, settings: WeightsSettings) -> None:
    model, events = server.checkpoint(kind), list[Event]()
    assert inspect_checkpoint(model, settings).state == "absent"
    (result,) = download((model,), settings, None, events.append)
    assert (result.source, result.path) == (model.sources[0], Path(settings.folder or "") / "blazepose")
    assert result.fetched_bytes > 0
    assert here(settings) == CONTENTS
    assert inspect_checkpoint(model, settings).ready
    assert {check.state for check in verify_checkpoints((model,), settings)["blazepose"]} == {"verified"}
    assert [event.state for event in events if event.state != "working"] == ["started", "warning", "done"]
    assert "Licence: Apache-2.0" in next(event.warning.message for event in events if event.warning)
    assert not (result.path / ".body4d" / "parts").exists()

    asked = len(server.log)
    (again,) = download((model,), settings, None)
    assert (again.source, again.fetched_bytes, len(server.log)) == (None, 0, asked)


def test_the_next_source_is_taken_and_the_first_one_named(server: PackageServer, settings: WeightsSettings) -> None:
    del server.files[WHL]
    events: list[Event] = []
    (result,) = download((server.checkpoint("pypi", "address"),), settings, None, events.append)
    assert result.source
    assert result.source.repo == "demo.org"
    said = [event.warning.message for event in events if event.warning]
    assert [f"127.0.0.1 refuses {WHEEL} with status 404." in said[0], "from demo.org" in said[1]] == [True, True]


def test_no_source_is_one_error_with_the_command(server: PackageServer, settings: WeightsSettings) -> None:
    server.files.clear()
    with pytest.raises(WeightsError, match=r"Demo cannot be fetched.*status 404.*status 404.*body4d weights download lite") as raised:
        download((server.checkpoint("npm", "address"),), settings, None)
    assert raised.value.exit_code == 7
    assert here(settings) == {}


@pytest.mark.parametrize("kind", ["pypi", "npm", "address"])
def test_a_cut_connection_goes_on_where_it_was(kind: str, server: PackageServer, settings: WeightsSettings) -> None:
    path = {"pypi": WHL, "npm": TGZ, "address": "/models/detector.tflite"}[kind]
    server.cut[path], server.statuses[path] = [1000, 500], [503]
    download((server.checkpoint(kind),), settings, None)
    assert here(settings) == CONTENTS
    assert [asked for found, asked in server.log if found == path] == ["", "", "bytes=1000-", "bytes=1500-"]


def test_stopped_and_killed_downloads_are_used(server: PackageServer, settings: WeightsSettings) -> None:
    def stop(event: Event) -> None:
        if event.state == "working":
            raise Cancelled("stop")

    model = server.checkpoint("address")
    with pytest.raises(Cancelled):
        download((model,), settings, None, stop)
    parts = list((Path(settings.folder or "") / "blazepose" / ".body4d" / "parts").iterdir())
    assert [path.name.startswith("detector.tflite.") for path in parts] == [True]
    parts[0].write_bytes(CONTENTS["detector.tflite"])  # all of it came, and it was killed before it got its name
    server.log.clear()
    download((model,), settings, None)
    assert here(settings) == CONTENTS
    assert server.log[0] == ("/models/detector.tflite", f"bytes={len(CONTENTS['detector.tflite'])}-")


@pytest.mark.parametrize(
    "served",
    [
        b"no archive",
        tarred({"package/detector.tflite": b"altered", "package/landmarks.tflite": CONTENTS["landmarks.tflite"]}),
        tarred({"package/detector.tflite": CONTENTS["detector.tflite"]}),
        tarred({f"package/{name}": data for name, data in CONTENTS.items()})[:-300],
        tarred({f"package/{name}": data + b"more" for name, data in CONTENTS.items()}),
    ],
    ids=["no archive", "altered", "member missing", "cut short", "longer"],
)
def test_what_is_not_as_published_is_refused(served: bytes, server: PackageServer, settings: WeightsSettings) -> None:
    server.files[TGZ] = served
    with pytest.raises(WeightsError, match="came twice with another content") as raised:
        download((server.checkpoint("npm"),), settings, None)
    assert raised.value.code == "download_altered"
    assert [path for path, _ in server.log] == [TGZ, TGZ]
    assert here(settings) == {}


def test_files_that_are_here_stay_and_what_lacks_is_fetched(server: PackageServer, settings: WeightsSettings) -> None:
    folder = Path(settings.folder or "") / "blazepose"
    folder.mkdir(parents=True)
    (folder / "detector.tflite").write_bytes(CONTENTS["detector.tflite"])
    (folder / "landmarks.tflite").write_bytes(b"cut")
    (folder / "notes.txt").write_bytes(b"mine")
    model = server.checkpoint("address")
    assert "landmarks.tflite is cut short (3 of 9,000 bytes)" in inspect_checkpoint(model, settings).message
    download((model,), settings, None)
    assert here(settings) == CONTENTS | {"notes.txt": b"mine"}
    assert [path for path, _ in server.log] == ["/models/landmarks.tflite"]


def test_an_altered_file_is_found_by_its_sum_and_kept_beside(server: PackageServer, settings: WeightsSettings) -> None:
    model = server.checkpoint("npm")
    download((model,), settings, None)
    file = Path(settings.folder or "") / "blazepose" / "landmarks.tflite"
    altered = b"L" + CONTENTS["landmarks.tflite"][1:]
    file.write_bytes(altered)
    assert inspect_checkpoint(model, settings).ready  # by its size
    assert {check.path.name: check.state for check in verify_checkpoints((model,), settings)["blazepose"]} == {
        "detector.tflite": "verified",
        "landmarks.tflite": "altered",
    }
    download((model,), settings, None, check=True)
    assert here(settings) == CONTENTS | {"landmarks.tflite.altered": altered}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "BODY4D_OFFLINE"])
def test_offline_nobody_is_asked(variable: str, server: PackageServer, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match=f"{variable} is set.*body4d weights download lite") as raised:
        download((server.checkpoint("npm"),), settings, None)
    assert (raised.value.code, server.log) == ("access_offline", [])


def test_without_a_network_it_is_over_at_once(server: PackageServer, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is not reached at all is not tried again, however many retries are allowed."""
    asked: list[str] = []

    def refuse(url: str, headers: dict[str, str]) -> None:
        asked.append(url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(archives, "_open", refuse)
    model, started = server.checkpoint("pypi", "npm", "address"), time.monotonic()
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1 cannot be reached"):
        download((model,), settings, None)
    assert len(asked) == 3
    assert time.monotonic() - started < 5


def test_a_name_server_that_is_silent_is_not_waited_for(server: PackageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = threading.Event()
    monkeypatch.setattr(archives, "CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(archives, "getproxies", dict)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: silent.wait(5))
    with pytest.raises(WeightsError, match=r"demo\.org cannot be reached \(no name server answers\)"):
        archives.fetch_url("http://demo.org/a", tmp_path / "a", max_retries=5)
    silent.set()


def test_a_full_disk_is_no_network_error(server: PackageServer, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.checkpoints.folders.MIN_FREE_DISK_GB", 1e9)
    with pytest.raises(OutputError, match="are free on the disk"):
        download((server.checkpoint("npm"),), settings, None)
    assert server.log == []


def test_only_the_source_that_is_named(server: PackageServer, settings: WeightsSettings) -> None:
    model = server.checkpoint("pypi", "npm")
    (result,) = download((model,), settings, None, source="@demo/pose")
    assert result.source
    assert result.source.repo == "@demo/pose 2.0 at npm"
    with pytest.raises(SettingsError, match="it is one of demo or @demo/pose"):
        download((model,), settings, None, source="a/b")


@pytest.fixture
def real_pip(server: PackageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("PIP_FIND_LINKS", "PIP_NO_INDEX", "BODY4D_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setattr(archives, "PYPI_INDEX", "http://127.0.0.1:9/")
    monkeypatch.setattr(archives, "PIP_START_S", 300.0)  # as many seconds as a busy machine takes


@pytest.mark.slow  # pip is a process
@pytest.mark.usefixtures("real_pip")
def test_pip_fetches_the_wheel_from_its_own_index(server: PackageServer, tmp_path: Path) -> None:
    """A machine whose index is a mirror never asks another one."""
    settings, model = WeightsSettings(folder=str(tmp_path / "root")), server.checkpoint("pypi")
    download((model,), settings, None)
    assert here(settings) == CONTENTS
    assert {path for path, _ in server.log} >= {"/simple/demo/", WHL}


@pytest.mark.slow  # pip is a process
@pytest.mark.usefixtures("real_pip")
def test_where_pip_has_no_such_package_the_index_is_asked(server: PackageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/nothing/")
    monkeypatch.setattr(archives, "PYPI_INDEX", f"{server.url}/simple/")
    settings = WeightsSettings(folder=str(tmp_path / "root"))
    download((server.checkpoint("pypi"),), settings, None)
    assert here(settings) == CONTENTS


def test_two_checkpoints_share_a_folder(settings: WeightsSettings, server: PackageServer) -> None:
    """The files of the other are neither lacking nor counted."""
    write_fake_blazepose(Path(settings.folder or ""), heavy=False)
    base, heavy = (inspect_checkpoint(model, settings) for model in (BLAZEPOSE, BLAZEPOSE_HEAVY))
    assert (base.state, base.size_bytes, heavy.state) == ("ready", 2_959_046 + 6_440_512, "absent")
    named = WeightsSettings(blazepose=str(Path(settings.folder or "") / "blazepose"))
    assert inspect_checkpoint(BLAZEPOSE, named).ready
