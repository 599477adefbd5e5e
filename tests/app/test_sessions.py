"""Folders of visitors: who can open them, what is served of them, what is deleted."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from body4d.app.preview import FramePeople, Preview
from body4d.app.prompts import ClickPrompt
from body4d.app.sessions import FolderUsage, SessionInfo, SessionStore, folders_to_delete
from body4d.app.tasks import ARCHIVE
from body4d.config import AppSettings
from body4d.core.errors import InputError


@pytest.fixture
def sessions(tmp_path: Path) -> SessionStore:
    return SessionStore(AppSettings(folder=str(tmp_path / "root")))


def upload(tmp_path: Path, name: str = "a.mp4") -> Path:
    path = tmp_path / name
    path.write_bytes(b"video")
    return path


def test_a_token_opens_its_own_folder_alone(sessions: SessionStore, tmp_path: Path) -> None:
    mine, theirs = sessions.create(upload(tmp_path), "../../mine.mp4"), sessions.create(upload(tmp_path), "theirs.mp4")
    assert mine.token != theirs.token
    assert mine.token not in str(mine.folder)
    found = sessions.find(mine.token)
    assert found is not None
    assert (found.info.name, found.video.read_bytes()) == ("mine.mp4", b"video")
    for wrong in ("", "..", "../" + theirs.key, theirs.key, mine.token[:-1] + "!", mine.token[:-1], "a" * 32):
        assert sessions.find(wrong) is None


def test_two_sessionors_may_send_the_same_file(sessions: SessionStore, tmp_path: Path) -> None:
    same = upload(tmp_path)
    first, second = sessions.create(same, "a.mp4"), sessions.create(same, "a.mp4")
    sessions.delete(first)
    assert second.video.read_bytes() == b"video"


def test_only_results_are_served(sessions: SessionStore, tmp_path: Path) -> None:
    session = sessions.create(upload(tmp_path), "a.mp4")
    session.run.mkdir()
    for name in ("overlay.mp4", "person_1.bvh", "run.json", "masks.npz", ".lock"):
        (session.run / name).write_text("x")
    (session.run / "body.glb").symlink_to("/etc/passwd")
    assert session.served_file("overlay.mp4") == session.run / "overlay.mp4"
    assert session.served_file("person_1.bvh") == session.run / "person_1.bvh"
    for name in (
        "run.json",
        "masks.npz",
        ".lock",
        "clip.mp4",
        "session.json",
        "../session.json",
        "body.glb",
        "person_1.bvh/..",
        "views.mp4",
        "",
    ):
        assert session.served_file(name) is None
    assert session.files() == ["overlay.mp4", "body.glb", "person_1.bvh"]
    assert not session.finished
    (session.run / ARCHIVE).write_text("x")
    assert session.finished


def test_the_sweep_deletes_what_was_not_opened(sessions: SessionStore, tmp_path: Path) -> None:
    old, opened, busy = (sessions.create(upload(tmp_path), f"{name}.mp4") for name in ("old", "opened", "busy"))
    for session in (old, opened, busy):
        os.utime(session.folder, (1000, 1000))
    assert sessions.find(opened.token) is not None
    left = sessions.uploads / "abc" / "left.mp4"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (1000, 1000))
    assert sessions.sweep({busy.key}) == [old.key]
    assert not left.exists()
    assert sessions.find(old.token) is None
    assert sessions.find(opened.token) is not None


def test_choices_are_kept_beside_what_is_known_of_the_clip(sessions: SessionStore, tmp_path: Path) -> None:
    first = sessions.create(upload(tmp_path), "a.mp4")
    prompts = (ClickPrompt(3, 2, point_px=(1.5, 2.0), label=0), ClickPrompt(0, box_px=(1, 2, 3, 4)))
    sessions.set_prompts(first, prompts)
    # ``first`` is older than the prompts; what it does not know is not lost.
    sessions.set_preview(first, Preview(3, 10, 30.0, 0.3, 64, 48, FramePeople(())), "lite")
    found = sessions.find(first.token)
    assert found is not None
    assert (found.info.prompts, found.info.frames, found.info.preset, found.info.name) == (prompts, 10, "lite", "a.mp4")


def test_a_session_of_an_older_version_is_not_found(sessions: SessionStore, tmp_path: Path) -> None:
    session = sessions.create(upload(tmp_path), "a.mp4")
    (session.folder / "session.json").rename(session.folder / "visit.json")
    assert sessions.find(session.token) is None


def test_what_was_deleted_does_not_come_back(sessions: SessionStore, tmp_path: Path) -> None:
    session = sessions.create(upload(tmp_path), "a.mp4")
    sessions.delete(session)
    with pytest.raises(InputError) as caught:
        sessions.set_prompts(session, ())
    assert caught.value.code == "session_gone"
    assert not session.folder.exists()


def test_an_upload_goes_with_the_last_session_made_of_it(sessions: SessionStore) -> None:
    arrived = sessions.uploads / ("a" * 64) / "clip.mp4"
    arrived.parent.mkdir(parents=True)
    arrived.write_bytes(b"video" * 10)
    first, second = sessions.create(arrived, "a.mp4"), sessions.create(arrived, "a.mp4")
    assert first.info.upload == f"{'a' * 64}/clip.mp4"
    # One file on the disk under three names counts once.
    texts = sum(len((session.folder / "session.json").read_bytes()) for session in (first, second))
    assert sessions.used_bytes() == pytest.approx(50 + texts)
    sessions.delete(first)
    assert arrived.exists()
    sessions.delete(second)
    assert not arrived.parent.exists()


def test_an_upload_that_is_moved_during_the_sweep_is_left_out(sessions: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions.uploads.mkdir(parents=True, exist_ok=True)
    for name in ("moved", "stays"):
        (sessions.uploads / name).write_bytes(b"video")
    is_file = Path.is_file

    def then_moved(path: Path) -> bool:
        found = is_file(path)
        if path.name == "moved":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", then_moved)
    assert sessions.sweep(()) == []
    assert [path.name for path in sessions.uploads.iterdir()] == ["stays"]


def test_quick_changes_of_a_choice_see_each_other(sessions: SessionStore, tmp_path: Path) -> None:
    session = sessions.create(upload(tmp_path), "a.mp4")

    def add(info: SessionInfo) -> dict[str, Any]:
        return {"prompts": (*info.prompts, ClickPrompt(0, len(info.prompts) + 1, point_px=(1, 1)))}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sessions.change(session, add), range(20)))
    found = sessions.find(session.token)
    assert found is not None
    assert [prompt.person_id for prompt in found.info.prompts] == list(range(1, 21))


def test_room_is_made_of_what_nobody_uses(tmp_path: Path) -> None:
    sessions = SessionStore(AppSettings(folder=str(tmp_path / "root"), keep_gigabytes=1e-5))
    old, recent = (sessions.create(upload(tmp_path), f"{name}.mp4") for name in ("old", "recent"))
    for session in (old, recent):
        (session.folder / "result").write_bytes(bytes(4000))
    os.utime(old.folder, (time.time() - 3600, time.time() - 3600))
    assert sessions.make_room(3000, set())
    assert not old.folder.exists()
    assert not sessions.make_room(8000, set())
    assert recent.folder.exists()


HOUR = 3600.0


@pytest.mark.parametrize(
    ("usages", "live", "deleted"),
    [
        ([FolderUsage("new", 99 * HOUR, 5), FolderUsage("old", 1 * HOUR, 5)], set(), ["old"]),
        ([FolderUsage("new", 99 * HOUR, 5), FolderUsage("old", 1 * HOUR, 5)], {"old"}, []),
        ([FolderUsage("c", 99 * HOUR, 60), FolderUsage("a", 97 * HOUR, 60), FolderUsage("b", 98 * HOUR, 30)], set(), ["a"]),
        ([FolderUsage("c", 99 * HOUR, 60), FolderUsage("a", 97 * HOUR, 60), FolderUsage("b", 98 * HOUR, 30)], {"a"}, ["b", "c"]),
        ([], set(), []),
    ],
    ids=["too old", "old but at work", "too much: the longest unused", "too much, and that is at work", "nothing"],
)
def test_what_is_deleted(usages: list[FolderUsage], live: set[str], deleted: list[str]) -> None:
    assert folders_to_delete(usages, now_s=100 * HOUR, keep_s=24 * HOUR, keep_bytes=100, live=live) == deleted
