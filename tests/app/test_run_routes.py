"""What HTTP answers about runs, limits, headers: the whole app by bare requests, with a stand-in for the process that computes."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app_stub import FRAMES, RESULT, WAIT_S, Served, serving
from body4d.app.file_references import NO_ADDRESS

pytest.importorskip("gradio", reason="the app's extra is not installed")
httpx = pytest.importorskip("httpx", reason="the app's extra is not installed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(autouse=True)
def unfinished(request: pytest.FixtureRequest) -> None:
    if "served" in request.fixturenames:
        (request.getfixturevalue("served").folder / "finish").unlink(missing_ok=True)


# Runs


def test_a_program_comes_back_for_the_state(served: Served) -> None:
    token = served.session()
    state = served.client.get(f"runs/{token}/state").json()
    assert (state["state"], state["name"], state["clip"]["frames"]) == ("new", "swing.mp4", FRAMES)
    served.run(token, finish=False)
    until = time.monotonic() + WAIT_S
    while (state := served.client.get(f"runs/{token}/state").json())["state"] != "working" or not state["stages"]:
        assert time.monotonic() < until
    assert (state["stages"]["masks"]["done"], state["expires_s"]) == (3, None)
    assert served.client.post(f"runs/{token}/cancel", json={}).json()["state"] == "cancelled"
    served.run(token)
    state = served.client.get(f"runs/{token}/state").json()
    assert (state["state"], state["state_at"], state["run"]) == ("done", f"runs/{token}/state", token)
    assert served.client.get(state["files"]["overlay.mp4"]).content == RESULT
    answer = served.client.get(f"runs/{'A' * 32}/state")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session_gone")


def test_running_again_makes_a_new_result(served: Served) -> None:
    first = served.run(served.session())
    second = served.run(first, "once more")
    assert second != first
    assert served.client.get(f"runs/{first}/overlay.mp4").content == RESULT
    assert served.client.get(f"runs/{second}/overlay.mp4").content == RESULT + b"once more"
    # The new run found what the first one left, and went on from there.
    stages = json.loads((served.service.session(second).run / "run.json").read_text())["stages"]
    assert stages["masks"]["fingerprint"] == "reused"
    assert json.loads((served.service.session(first).run / "run.json").read_text())["stages"]["masks"]["fingerprint"] == "made"


def test_how_long_a_run_would_take_is_known_before(served: Served) -> None:
    token = served.session()
    whole = served.client.post(f"runs/{token}/estimate", json={}).json()
    part = served.client.post(f"runs/{token}/estimate", json={"start_s": 0.5}).json()
    assert (whole["frames"], part["frames"], whole["ahead"]) == (FRAMES, FRAMES // 2, 0)
    assert whole["takes_s"] >= part["takes_s"] > 0
    wrong = served.client.post(f"runs/{token}/estimate", json={"start_s": 2, "end_s": 1})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "range_reversed")


def test_my_runs_are_listed_renamed_and_deleted(served: Served) -> None:
    token, other = served.run(served.session(b"mine")), served.session(b"another")
    rows = served.client.post("my-runs", json={"tokens": [token, other, "A" * 32, "../x"]}).json()["runs"]
    assert [row["state"] for row in rows] == ["done", "new", "gone", "gone"]
    assert rows[0]["expires_s"] == pytest.approx(time.time() + 24 * 3600, abs=60)
    assert rows[0]["bytes"] > len(RESULT)
    assert served.client.get(rows[0]["picture"]).content == b"picture"
    renamed = served.client.patch(f"runs/{token}", json={"name": "<b>my best</b> drive, 3/4"}).json()
    assert renamed["name"] == served.service.session(token).info.name == "<b>my best<-b> drive, 3-4"
    assert served.client.patch(f"runs/{token}", json={"name": ""}).status_code == 422
    assert served.client.post("my-runs", json={"tokens": ["a"] * 1000}).status_code == 422
    folder, uploads = served.service.session(token).folder, served.root / "uploads"
    before = {path.read_bytes() for path in uploads.rglob("*.mp4")}
    assert served.client.delete(f"runs/{token}").json() == {"run": token, "state": "gone"}
    assert not folder.exists()
    assert {path.read_bytes() for path in uploads.rglob("*.mp4")} == before - {b"mine"}
    assert served.client.get(f"runs/{token}/overlay.mp4").status_code == served.client.delete(f"runs/{token}").status_code == 404


def test_a_list_is_no_use_of_a_run(served: Served) -> None:
    token = served.session()
    folder = served.service.session(token).folder
    os.utime(folder, (1000, 1000))
    served.client.post("my-runs", json={"tokens": [token]})
    assert folder.stat().st_mtime == 1000
    served.client.get(f"runs/{token}/state")
    assert folder.stat().st_mtime > 1000


def test_deleting_ends_a_run_and_nothing_comes_back(served: Served) -> None:
    token = served.session(b"to be deleted")
    served.run(token, finish=False)
    session = served.service.session(token)
    assert served.client.delete(f"runs/{token}").status_code == 200
    assert served.service.runs.find(session.key) is None
    with pytest.raises(Exception, match="no longer here"):
        served.service.sessions.set_prompts(session, ())
    assert not session.folder.exists()


# Headers, card


def test_every_answer_bears_its_headers(served: Served) -> None:
    token = served.run(served.session())
    page = served.client.get("")
    policy = page.headers["content-security-policy"]
    assert "object-src 'none'" in policy
    assert policy.partition("script-src")[2].partition(";")[0].strip() == "'self'"
    assert page.text.count("<script") == page.text.count('<script src="body4d-static/') > 0
    result = served.client.get(f"runs/{token}/overlay.mp4")
    assert "sandbox" in result.headers["content-security-policy"]
    for path in ("", "config", "nowhere", "player/index.html", "body4d-static/app.js", f"runs/{token}/overlay.mp4", "my-runs", "health"):
        assert served.client.get(path).headers["x-content-type-options"] == "nosniff", path
    assert "frame-ancestors" in served.client.get("player/index.html").headers["content-security-policy"]


def test_text_is_compressed_and_results_are_not(served: Served) -> None:
    token = served.run(served.session())
    for path in ("", "config", "body4d-static/style.css"):
        assert served.client.get(path, headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip", path
        assert "content-encoding" not in served.client.get(path, headers={"accept-encoding": "identity"}).headers, path
    film = served.client.get(f"runs/{token}/overlay.mp4", headers={"range": "bytes=2-5", "accept-encoding": "gzip"})
    assert (film.status_code, film.content, "content-encoding" in film.headers) == (206, RESULT[2:6], False)


def test_a_link_has_a_card_of_its_own(served: Served) -> None:
    token = served.run(served.session())
    page = served.client.get("").text
    head = page.partition("</head>")[0]
    assert head.count('property="og:image"') == head.count('property="og:title"') == 1
    assert "raw.githubusercontent" not in head
    assert "{url}" not in head
    picture = head.partition('property="og:image" content="')[2].partition('"')[0]
    assert picture == f"{served.url}body4d-static/card.jpg"
    assert served.client.get(picture).content[:3] == b"\xff\xd8\xff"
    of_run = served.client.get(f"?run={token}", headers={"host": "golf.example", "x-forwarded-proto": "https"}).text
    assert '"swing.mp4 in 3D"' in of_run
    assert 'content="https://golf.example/body4d-static/card.jpg"' in of_run
    assert "in 3D&quot;" not in served.client.get('?run="><script>').text.partition("</head>")[0]


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "gradio_api/docs", "monitoring", "monitoring/summary"])
def test_what_tells_of_others_is_shut(served: Served, path: str) -> None:
    assert served.client.get(path).json() == {"detail": NO_ADDRESS}


# Limits


def test_uploads_never_take_more_than_the_disk_allows(tmp_path: Path) -> None:
    with serving(tmp_path, max_megabytes=0.2, keep_gigabytes=0.001) as served:
        answers = [served.client.post("gradio_api/upload", files={"files": ("a.mp4", os.urandom(190_000))}) for _ in range(12)]
        assert {answer.status_code for answer in answers} == {200, 507}
        assert answers[-1].json()["code"] == "no_room"
        assert served.service.sessions.used_bytes() <= 1e6
        # What nobody opened makes room for the next at once, before the hour in which it would be swept.
        for path in (served.root / "uploads").rglob("*.mp4"):
            os.utime(path, (time.time() - 100, time.time() - 100))
        assert served.client.post("gradio_api/upload", files={"files": ("a.mp4", os.urandom(190_000))}).status_code == 200
        assert served.service.sessions.used_bytes() <= 1e6


def test_one_visitor_uploads_so_much_in_an_hour(tmp_path: Path) -> None:
    with serving(tmp_path, max_uploads_per_hour=3) as served:
        served.upload()
        for forwarded in ("", "203.0.113.9", "203.0.113.9, 10.0.0.1"):
            served.client.post("gradio_api/upload", files={"files": ("a.mp4", b"a")}, headers={"x-forwarded-for": forwarded})
        refused = served.client.post("gradio_api/upload", files={"files": ("a.mp4", b"a")})
        # A program beside the server is a proxy as far as it can tell, and named another visitor twice.
        assert refused.status_code == 200
        refused = served.client.post("gradio_api/upload", files={"files": ("a.mp4", b"a")})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
        assert 3000 < int(refused.headers["retry-after"]) <= 3600
        large = served.client.post("my-runs", content=b"[" * 200_000)
        assert large.status_code == 413


# The event loop

SLOW_S = 0.005
DISK_EVENTS = frozenset(
    {"open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime", "shutil.rmtree"}
)


@dataclass
class SlowDisk:
    """Every look at what lies below ``root`` takes its time, and is kept with the thread that looked."""

    root: str = ""
    looks: list[tuple[int, str, str, str]] = field(default_factory=list)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root and event in DISK_EVENTS and arguments:
            self.look(event, arguments[0])

    def look(self, what: str, path: object) -> None:
        if self.root and str(path).startswith(self.root):
            caller = sys._getframe(2)
            while caller.f_back and "site-packages" not in caller.f_code.co_filename and "body4d" not in caller.f_code.co_filename:
                caller = caller.f_back  # Of our code or a package's, not Python's own.
            self.looks.append((threading.get_ident(), what, str(path).removeprefix(self.root), caller.f_code.co_filename))
            time.sleep(SLOW_S)


def test_nobody_waits_for_the_disk_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit from upload to deletion, on a disk where each look takes long: none is taken on the thread that answers everybody."""
    from gradio import processing_utils

    disk = SlowDisk()
    stat, lstat = os.stat, os.lstat

    def slow_stat(path: Any, *args: Any, **named: Any) -> os.stat_result:
        disk.look("stat", path)
        return stat(path, *args, **named)

    def slow_lstat(path: Any, *args: Any, **named: Any) -> os.stat_result:
        disk.look("lstat", path)
        return lstat(path, *args, **named)

    with serving(tmp_path) as served:
        token = served.run(served.session())
        path = served.upload(b"another")
        loop_thread = served.thread
        monkeypatch.setattr(processing_utils, "hash_file", lambda name, *_: disk.look("hash", name))
        monkeypatch.setattr(os, "stat", slow_stat)
        monkeypatch.setattr(os, "lstat", slow_lstat)
        sys.addaudithook(disk.audit)  # There is no way to remove it; without a root it does nothing.
        disk.root = str(tmp_path / "root")
        try:
            video = {"path": path, "meta": {"_type": "gradio.FileData"}}
            event = served.client.post(
                "gradio_api/call/run", json={"data": [video, "main", [], "", None, None, None, None, None, "auto", "auto", None, 0]}
            )
            with served.client.stream("GET", f"gradio_api/call/run/{event.json()['event_id']}") as answer:
                assert '"done"' in "".join(answer.iter_text())
            on_page = [
                ("open", {"path": path, "name": "a.mp4"}),
                ("example", {}),
                ("choice", {"frame": 3}),
                ("click", {"frame": 3, "at": [0.5, 0.5], "mode": "choose"}),
                ("undo", {}),
                ("clear", {}),
                ("options", {"options": {"person_height_m": 1.8}}),
                ("run", {}),
            ]
            visit = ""
            for action, sent in on_page:
                visit = served.ask(action, token=visit, **sent).get("token", visit)
            assert served.client.get(f"runs/{visit}/strip").content == b"strip"
            served.wait_until_done(visit)
            assert served.ask("run", token=visit)["token"] != visit
            visits = [
                ("GET", f"?run={token}", None),
                ("GET", f"runs/{token}/overlay.mp4", None),
                ("GET", f"runs/{token}/state", None),
                ("GET", f"gradio_api/file={path}", None),
                ("POST", "my-runs", {"tokens": [token]}),
                ("DELETE", f"runs/{token}", None),
            ]
            for method, address, sent in visits:
                assert served.client.request(method, address, json=sent).status_code == 200, address
        finally:
            disk.root = ""
    assert len(disk.looks) > 30
    # Gradio itself looks up the name of an upload that was just found in a thread; it opens, hashes and lists nothing.
    held_up = {look[1:] for look in disk.looks if look[0] == loop_thread}
    assert {
        look
        for look in held_up
        if not (look[0].endswith("stat") and look[1].split("/")[1:2] in ([], ["uploads"]) and "/gradio/" in look[2])
    } == set()
