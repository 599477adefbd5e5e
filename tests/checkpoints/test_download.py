"""Downloads that are cut, altered, refused, stopped or out of room: what is told, what is kept, and that the same call goes on."""

import hashlib
import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from body4d.checkpoints.download import DownloadResult, download
from body4d.checkpoints.files import OWN_FOLDER, read_record
from body4d.checkpoints.folders import target_folder
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.local import inspect_checkpoint, verify_checkpoints
from body4d.checkpoints.registry import Checkpoint, PublishedFile
from body4d.config import WeightsSettings
from body4d.core.errors import Cancelled, OutputError, SettingsError, WeightsError
from body4d.core.progress import Event
from hub_standin import Account, HubStandIn, Reply, Repo
from weights_fakes import GATED, MODEL, OPEN, TOKEN, WEIGHTS

FILES = {"model.ckpt": WEIGHTS, "config.json": b'{"a": 1}', "assets/rig.pt": b"rig"}


@pytest.fixture
def folder(settings: WeightsSettings) -> Path:
    return Path(str(settings.folder)) / "model"


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and OWN_FOLDER not in path.parts
    }


def messages(events: list[Event]) -> list[str]:
    return [event.warning.text for event in events if event.warning]


def part_of(folder: Path) -> Path:
    return next((folder / OWN_FOLDER / "parts").glob("model.ckpt.*"))


def fetch(settings: WeightsSettings, hub: Hub, model: Checkpoint = MODEL, **wishes: object) -> DownloadResult:
    return download([model], settings, hub, **wishes)[0]  # type: ignore[arg-type]


def test_files_come_whole_and_say_whence(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    events: list[Event] = []
    found = download([MODEL], settings, hub, events.append)[0]
    assert files_in(folder) == FILES
    assert (found.path, found.source, found.commit, found.fetched_bytes) == (folder, GATED, "c" * 40, sum(map(len, FILES.values())))
    record = read_record(folder)
    assert record is not None
    assert (record.repo, record.commit, record.licence) == ("maker/model", "c" * 40, "Maker License")
    assert record.files["model.ckpt"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert {path.name for path in (folder / OWN_FOLDER).iterdir()} == {"download.json", "lock"}
    assert [event.state for event in events if event.state != "working"] == ["started", "warning", "done"]
    assert "Model from https://huggingface.co/maker/model at cccccccccccc" in messages(events)[0]
    assert "Licence: Maker License" in messages(events)[0]
    assert events[-1].done == events[-1].total == 3  # MB, the last one begun
    seen = inspect_checkpoint(MODEL, settings)
    assert (seen.state, seen.source, seen.licence.name) == ("ready", GATED, "Maker License")


def test_the_token_is_shown_to_the_hub_alone_and_written_nowhere(
    standin: HubStandIn,
    hub: Hub,
    settings: WeightsSettings,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    standin.cut["model.ckpt"] = [1000]
    with caplog.at_level(logging.DEBUG):
        fetch(settings, hub)
    assert any(sent.token == TOKEN for sent in standin.log)
    assert standin.cdn_log
    assert all(sent.token is None for sent in standin.cdn_log)
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    out = capfd.readouterr()
    for secret in (TOKEN, "s3cret"):  # the second is what the stand-in signs its addresses with
        assert secret not in caplog.text + out.out + out.err
        assert secret.encode() not in everything


def test_a_second_call_asks_nobody(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    fetch(settings, hub)
    asked = len(standin.log)
    events: list[Event] = []
    again = download([MODEL], settings, hub, events.append)[0]
    assert (again.source, again.commit, again.fetched_bytes) == (None, "c" * 40, 0)
    assert [event.state for event in events] == ["skipped"]
    assert len(standin.log) == asked


def test_cut_connections_go_on_where_they_broke(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    standin.cut["model.ckpt"] = [1_200_000, 10, 900_000]
    fetch(settings, hub)
    assert files_in(folder) == FILES
    starts = [int(sent.headers.get("range", "bytes=0-")[6:-1]) for sent in standin.cdn_log if "model.ckpt" in sent.path]
    assert starts[0] == 0
    assert len(starts) == 4
    # Whatever came of a block that was not whole may be lost, no more.
    assert starts == sorted(starts)
    assert starts[1] >= 1 << 20


def test_giving_up_keeps_what_came_and_another_call_needs_the_rest_only(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path
) -> None:
    standin.cut["model.ckpt"] = [1_500_000, 0, 0, 0, 0, 0]
    with pytest.raises(WeightsError, match=r"model\.ckpt of maker/model broke off 4 times in a row \(.*\); what came is kept"):
        fetch(settings, hub)
    assert inspect_checkpoint(MODEL, settings).state in ("absent", "damaged")
    kept = part_of(folder).stat().st_size
    assert kept >= 1 << 20
    standin.cut.clear()
    standin.cdn_log.clear()
    found = fetch(settings, hub)
    assert files_in(folder) == FILES
    assert found.fetched_bytes <= len(WEIGHTS) - kept + 100
    assert [sent.headers.get("range") for sent in standin.cdn_log if "model.ckpt" in sent.path] == [f"bytes={kept}-"]


def test_a_server_that_forgets_ranges_begins_anew(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    standin.cut["model.ckpt"], standin.ranges = [1_200_000], False
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_a_part_longer_than_the_file_is_thrown_away(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    sha = hashlib.sha256(WEIGHTS).hexdigest()
    part = folder / OWN_FOLDER / "parts" / f"model.ckpt.{sha[:12]}"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS + b"more")
    fetch(settings, hub)
    assert files_in(folder) == FILES


@pytest.mark.parametrize("word", ["/api/models/maker/model", "resolve/" + "c" * 40 + "/config.json", "cdn:/maker/model/model.ckpt"])
def test_busy_answers_are_waited_out(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path, word: str) -> None:
    standin.statuses[word] = [503, 500, 429]
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_a_hub_that_stays_busy_is_one_sentence(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    standin.statuses["/api/models/maker"] = [503] * 50
    standin.statuses["/api/models/copier"] = [503] * 50
    with pytest.raises(WeightsError, match="status 503") as told:
        fetch(settings, hub)
    assert "Traceback" not in str(told.value)


def test_an_altered_file_is_fetched_once_more_and_then_refused(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path
) -> None:
    standin.served["model.ckpt"] = bytes(len(WEIGHTS))
    with pytest.raises(WeightsError, match="came twice with another content"):
        fetch(settings, hub)
    assert "model.ckpt" not in files_in(folder)
    assert len([sent for sent in standin.cdn_log if "model.ckpt" in sent.path]) == 2
    standin.served.clear()
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_a_small_altered_file_is_found_by_its_git_name(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    standin.served["config.json"] = b'{"a": 2}'
    with pytest.raises(WeightsError, match=r"config.json of maker/model came twice"):
        fetch(settings, hub)


def test_another_sum_than_the_catalogue_knows_is_told_before_it_comes(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    known = replace(GATED, revision="c" * 40, files=(PublishedFile("model.ckpt", len(WEIGHTS), "0" * 64),))
    with pytest.raises(WeightsError, match=r"where 000000000000… is known to be right"):
        fetch(settings, hub, replace(MODEL, sources=(known,)))
    assert not standin.cdn_log


def test_the_catalogues_sum_holds_where_the_hub_tells_none(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_standin._sibling", _starred)
    known = replace(GATED, revision="c" * 40, files=(PublishedFile("model.ckpt", len(WEIGHTS), "0" * 64),))
    with pytest.raises(WeightsError, match="it should be 000000000000"):
        fetch(settings, hub, replace(MODEL, sources=(known,)))


def test_another_size_than_the_catalogue_knows_is_told_before_it_comes(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    known = replace(GATED, revision="c" * 40, files=(PublishedFile("model.ckpt", 5),))
    model = replace(MODEL, sources=(known,))
    with pytest.raises(WeightsError, match="--latest takes it all the same"):
        fetch(settings, hub, model)
    assert not standin.requests_for("resolve/" + "c" * 40 + "/config.json")
    assert fetch(settings, hub, model, latest=True).commit == "c" * 40


def test_a_revision_that_is_gone(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    model = replace(MODEL, sources=(replace(GATED, revision="d" * 40),))
    with pytest.raises(WeightsError, match="no longer has the revision ddd"):
        fetch(settings, hub, model)


@pytest.mark.parametrize(
    ("gate", "word"), [("pending", "waits for its publisher"), ("rejected", "rejected the request"), ("none", "has not asked")]
)
def test_a_shut_gate_is_told_and_the_next_source_taken(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, gate: str, word: str
) -> None:
    standin.accounts[TOKEN] = Account("ada", {"maker/model": gate})
    events: list[Event] = []
    found = download([MODEL], settings, hub, events.append)[0]
    assert found.source == OPEN
    assert found.path.name == "repack"
    notes = messages(events)
    assert len(notes) == 3
    assert word in notes[0]
    assert "taken from copier/repack instead" in notes[1]
    assert "Maker License" in notes[1]
    assert all(sent.token is None for sent in standin.requests_for("copier"))


def test_a_source_asked_for_by_name_is_the_only_one(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    assert fetch(settings, hub, source="copier/repack").source == OPEN
    standin.accounts.clear()
    with pytest.raises(WeightsError, match="does not know the token in"):
        fetch(settings, hub, source="maker/model")
    with pytest.raises(SettingsError, match="is no source of Model: it is one of maker/model or copier/repack"):
        fetch(settings, hub, source="some/thing")


def test_what_cannot_be_had_does_not_keep_the_rest_away(standin: HubStandIn, settings: WeightsSettings) -> None:
    locked = replace(MODEL, key="sam3", name="Locked", sources=(GATED,))
    free = replace(MODEL, sources=(OPEN,))
    events: list[Event] = []
    with pytest.raises(WeightsError, match=r"^Locked: maker/model is behind a gate and there is no Hugging Face token here"):
        download([locked, free], settings, Hub(standin.url), events.append)
    assert inspect_checkpoint(free, settings).ready
    assert [(event.stage, event.state) for event in events if event.state in ("failed", "done")] == [("sam3", "failed"), ("moge", "done")]


def test_a_missing_file_in_the_repository(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    standin.repos["maker/model"].files.pop("model.ckpt")
    with pytest.raises(WeightsError, match=r"has no model\.ckpt at cccccccccccc"):
        fetch(settings, hub, replace(MODEL, sources=(GATED,)))


def test_a_repository_that_does_not_exist(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    for source in (replace(GATED, repo="maker/gone"), replace(OPEN, repo="copier/gone")):
        with pytest.raises(WeightsError, match="/gone is not on"):
            fetch(settings, hub, replace(MODEL, sources=(source,)))


def test_a_renamed_repository_is_followed(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    rest = r"(?P<rest>/revision/.*)"
    standin.route(
        "GET", "/api/models/maker/old" + rest, lambda r: Reply(307, {}, {"Location": f"/api/models/copier/repack{r.found['rest']}"})
    )
    standin.route(
        "GET", "/maker/old/resolve/(?P<rest>.*)", lambda r: Reply(307, b"", {"Location": f"/copier/repack/resolve/{r.found['rest']}"})
    )
    assert fetch(settings, hub, replace(MODEL, sources=(replace(OPEN, repo="maker/old"),))).path.name == "old"
    assert files_in(folder.with_name("old")) == standin.repos["copier/repack"].files


def test_a_page_instead_of_a_list_is_refused(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    standin.route("GET", "/api/models/copier/repack/revision/.*", lambda _: Reply(200, b"<html>"))
    with pytest.raises(WeightsError, match="refuses copier/repack with status 200") as raised:
        fetch(settings, hub, replace(MODEL, sources=(OPEN,)))
    assert raised.value.code == "access_refused"


def test_too_little_room_is_told_before_anything_comes(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("body4d.checkpoints.folders.MIN_FREE_DISK_GB", 1e9)
    with pytest.raises(OutputError, match=r"GB are to come and .* GB are free"):
        fetch(settings, hub)
    assert not standin.cdn_log


def test_a_disk_that_fills_up_keeps_what_came(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, a file with no room in it")
    part = folder / OWN_FOLDER / "parts" / f"model.ckpt.{hashlib.sha256(WEIGHTS).hexdigest()[:12]}"
    part.parent.mkdir(parents=True)
    part.symlink_to(full)
    with pytest.raises(OutputError, match=r"The disk is full: .* are in .* and kept. Make room, and the same command goes on"):
        fetch(settings, hub)
    part.unlink()
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_a_listener_stops_it_and_the_next_call_goes_on(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    def stop(event: Event) -> None:
        if event.state == "working":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        download([MODEL], settings, hub, stop)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("body4d-weights")]
    assert not read_record(folder)
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_files_put_there_by_hand_are_taken_over_and_what_lacks_is_fetched(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "model.ckpt").write_bytes(WEIGHTS)
    assert inspect_checkpoint(MODEL, settings).state == "damaged"
    found = fetch(settings, hub)
    assert files_in(folder) == FILES
    assert found.fetched_bytes == len(FILES["config.json"]) + len(FILES["assets/rig.pt"])
    assert not [sent for sent in standin.cdn_log if "model.ckpt" in sent.path]


def test_a_half_downloaded_file_is_replaced(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    fetch(settings, hub)
    (folder / "model.ckpt").write_bytes(WEIGHTS[:100])
    seen = inspect_checkpoint(MODEL, settings)
    assert seen.state == "damaged"
    assert "is cut short (100 of 2,304,000 bytes)." in seen.message
    fetch(settings, hub)
    assert files_in(folder) == FILES


def test_an_altered_file_is_replaced_when_sums_are_asked_for(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path
) -> None:
    fetch(settings, hub)
    altered = bytearray(WEIGHTS)
    altered[1234] ^= 1
    (folder / "model.ckpt").write_bytes(altered)
    assert fetch(settings, hub).fetched_bytes == 0
    assert fetch(settings, hub, check=True).fetched_bytes == len(WEIGHTS)
    assert files_in(folder) == FILES


def test_somebodys_own_file_is_moved_aside_and_not_lost(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    folder.mkdir(parents=True)
    own = bytes(len(WEIGHTS))
    (folder / "model.ckpt").write_bytes(own)
    events: list[Event] = []
    download([MODEL], settings, hub, events.append)
    assert files_in(folder) == {**FILES, "model.ckpt.altered": own}
    assert any("it is kept as model.ckpt.altered" in message for message in messages(events))


def test_two_at_once_in_one_folder(standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path) -> None:
    (folder / OWN_FOLDER).mkdir(parents=True)
    with FileLock(folder / OWN_FOLDER / "lock"), pytest.raises(WeightsError, match="Another download is at work in"):
        fetch(settings, hub)


def test_a_folder_told_for_one_model_takes_its_files(standin: HubStandIn, hub: Hub, settings: WeightsSettings, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    assert fetch(settings.model_copy(update={"moge": str(place)}), hub).path == place
    assert files_in(place) == FILES
    file = tmp_path / "file.ckpt"
    file.write_bytes(b"x")
    with pytest.raises(SettingsError, match=r"weights\.moge names the file"):
        fetch(settings.model_copy(update={"moge": str(file)}), hub, source="copier/repack")


def test_no_rights_is_one_sentence(standin: HubStandIn, hub: Hub, settings: WeightsSettings) -> None:
    root = Path(str(settings.folder))
    root.write_bytes(b"a file where the folder should be")
    with pytest.raises(OutputError, match="something else has that name"):
        fetch(settings, hub)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BODY4D_WEIGHTS", raising=False)
    return tmp_path


def test_where_nothing_is_told_a_spaces_disk_goes_first(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.checkpoints.local.SPACE_DISK", space / "data")
    nothing_told = WeightsSettings()
    (space / "data").mkdir()
    assert target_folder(MODEL, OPEN, nothing_told) == space / "data" / "checkpoints" / "repack"
    monkeypatch.setattr("body4d.checkpoints.local.SPACE_DISK", Path("/no-such-disk"))
    assert target_folder(MODEL, OPEN, nothing_told) == space / "cache" / "body4d" / "weights" / "repack"


def test_a_listing_without_sums_is_still_held_to_what_the_hub_tells_on_the_way(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.served["model.ckpt"] = bytes(len(WEIGHTS))
    monkeypatch.setattr("hub_standin._sibling", _starred)
    with pytest.raises(WeightsError, match="came twice with another content"):
        fetch(settings, hub)


def _starred(repo: Repo, path: str, *, hidden: bool) -> dict[str, object]:
    row: dict[str, object] = {"rfilename": path, "size": len(repo.files[path]), "blobId": "0" * 40}
    if path.endswith((".ckpt", ".pt")):
        return row | {"lfs": {"sha256": "*" * 64, "size": row["size"], "pointerSize": 1}}
    return json.loads(json.dumps(row | {"lfs": None, "blobId": None}))


def test_downloaded_files_are_verified_and_each_harm_has_its_state(
    standin: HubStandIn, hub: Hub, settings: WeightsSettings, folder: Path
) -> None:
    fetch(settings, hub)
    events: list[Event] = []
    checks = verify_checkpoints([MODEL], settings, events.append)["moge"]
    assert {check.path.name: check.state for check in checks} == dict.fromkeys(("model.ckpt", "config.json", "rig.pt"), "verified")
    assert hashlib.sha256(WEIGHTS).hexdigest() in {check.sha256 for check in checks}
    assert (events[-1].state, events[-1].stage, events[-1].done, events[-1].total) == ("done", "moge", 3, 3)
    (folder / "model.ckpt").write_bytes(WEIGHTS[:-1] + b"x")
    (folder / "config.json").write_bytes(b"{")
    (folder / "assets" / "rig.pt").unlink()
    checks = verify_checkpoints([MODEL], settings)["moge"]
    assert {check.path.name: check.state for check in checks} == {"model.ckpt": "altered", "config.json": "truncated", "rig.pt": "missing"}
    assert all(check.path.name in check.message and not check.ok for check in checks)
    fetch(settings, hub, check=True)
    assert {check.state for check in verify_checkpoints([MODEL], settings)["moge"]} == {"verified"}
