"""What the result page asks for beside the files."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the app's extra is not installed")

from body4d.app.result_routes import add_result_routes
from body4d.app.sessions import SessionStore, UserSession
from body4d.app.tasks import ARCHIVE, find_swing
from body4d.config import AppSettings
from body4d.core.errors import InputError
from body4d.core.progress import ignore_events
from body4d.golf.file_names import RUN_FILES
from body4d.run import golf
from body4d.run.record import OVERLAY
from body4d.video.writer import VideoWriter


@pytest.fixture
def session(tmp_path: Path) -> UserSession:
    """A finished run of five frames."""
    clip = tmp_path / "swing.mp4"
    clip.write_bytes(b"clip")
    session = SessionStore(AppSettings(folder=str(tmp_path / "root"))).create(clip, "../My <swing>.mp4")
    session.run.mkdir()
    warning = {"code": "fov_assumed", "message": f"{session.video} says nothing of its lens.", "hint": "Use --fov."}
    people = [{"id": 1, "frames_visible": 5, "height_m": 1.83, "height_assumed": True}]
    stage = {"state": "done", "fingerprint": "x", "result": people}
    record = {"schema_version": 2, "body4d": "1", "input": {}, "warnings": [warning], "stages": {"motion": stage}}
    (session.run / "run.json").write_text(json.dumps(record))
    with VideoWriter(session.run / OVERLAY, 64, 48, np.arange(5) / 25) as video:
        for i in range(5):
            video.write(np.full((48, 64, 3), 40 * i, np.uint8))
    for name in ("golf.json", "golf.pdf", "body.glb", "body.html", "movement.json", ARCHIVE):
        (session.run / name).write_bytes(b"{}")
    return session


@pytest.fixture
def client(session: UserSession):
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    app = FastAPI()
    add_result_routes(app, SessionStore(AppSettings(folder=str(session.folder.parents[1]))))
    return TestClient(app)


def test_a_result_is_told_in_the_pages_words_without_the_servers(client, session):
    told = client.get(f"/runs/{session.token}/result.json").json()
    assert {name: told[name] for name in ("video", "glb", "movement", "golf")} == {
        "video": "overlay.mp4",
        "glb": "body.glb",
        "movement": "movement.json",
        "golf": "golf.json",
    }
    assert told["people"] == [{"id": 1, "frames": 5, "height_m": 1.83, "height_assumed": True}]
    assert told["name"] == "My <swing>.mp4"
    assert [file["name"] for file in told["files"]] == ["overlay.mp4", "body.html", "golf.pdf", "body.glb", "everything.zip"]
    assert str(session.folder) not in json.dumps(told)
    assert "--fov" not in json.dumps(told)


def test_stretches_are_made_and_what_cannot_be_is_a_sentence(client, session):
    base = f"/runs/{session.token}"
    gif = client.get(f"{base}/stretch.gif?first=1&last=3")
    assert gif.content.startswith(b"GIF89a")
    assert gif.headers["content-disposition"].endswith('frames_1-3.gif"')
    assert client.get(f"{base}/stretch.mp4?first=0&last=4&speed=0.5").headers["content-type"] == "video/mp4"
    assert "at least two" in client.get(f"{base}/stretch.gif?first=2&last=2").json()["detail"]
    assert client.get(f"{base}/stretch.exe?first=0&last=4").status_code == 422
    assert client.get(f"/runs/{'A' * 32}/stretch.gif?first=1&last=3").status_code == 404
    assert client.get(f"/runs/{'A' * 32}/result.json").status_code == 404


@pytest.mark.parametrize("error", [InputError("no swing", code="no_swing_found"), ZeroDivisionError("a fault")])
def test_a_clip_without_a_swing_has_no_golf_files_and_its_run_is_none_the_worse(session, monkeypatch, error):
    def fails(*_args: object, **_named: object) -> None:
        (session.run / "golf.csv").write_text("half of it")
        raise error

    monkeypatch.setattr(golf, "golf_of_run", fails)
    assert find_swing(session.run, session.video, "swing.mp4", ignore_events) == []
    assert not [name for name in RUN_FILES if (session.run / name).exists()]
    assert (session.run / "body.glb").exists()
