"""What is kept of a run that was asked for, and what the next server makes of it."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app_stub import put_stub_in_place, stub_settings
from body4d.app.forms import RunOptions
from body4d.app.prompts import ClickPrompt
from body4d.app.run_journal import MAX_STARTS, RunEntry, after_change, given_up, left_over, new_entry, read_entry, write_entry
from body4d.app.service import AppService, frames_to_run
from body4d.app.sessions import SessionInfo, UserSession
from body4d.core.errors import InputError, SettingsError


def changed(entry: RunEntry, *states: str) -> RunEntry:
    for state in states:
        entry = after_change(entry, state, None)
    return entry


def test_only_ends_out_of_order_count_against_a_run() -> None:
    entry = RunEntry()
    assert changed(entry, "working", "interrupted") == entry
    assert changed(entry, "interrupted").starts == 0
    killed = changed(entry, *["working"] * (MAX_STARTS - 1))
    assert given_up(killed) is None
    problem = given_up(changed(killed, "working"))
    assert problem is not None
    assert (problem.code, problem.facts) == ("run_given_up", {"starts": MAX_STARTS})
    refused = after_change(changed(entry, "working"), "refused", InputError("No.", code="no"))
    assert (refused.live, refused.error) == (False, {"code": "no", "message": "No.", "hint": "", "facts": {}})


def test_an_entry_comes_back_from_the_disk(tmp_path: Path) -> None:
    entry = new_entry(RunOptions("all", 0.5, None, fov_deg=40.0, motion="moving"), (ClickPrompt(3, 2, point_px=(1.5, 2.0)),), "the golfer")
    write_entry(tmp_path, entry)
    assert read_entry(tmp_path) == entry
    write_entry(tmp_path / "deleted", entry)
    assert not (tmp_path / "deleted").exists()
    (tmp_path / "asked.json").write_text("{")
    assert read_entry(tmp_path) is None


def test_runs_go_on_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    for name, state, asked_s in (("a", "waiting", 3.0), ("b", "working", 1.0), ("c", "done", 0.0), ("d", "cancelled", 2.0)):
        (tmp_path / name).mkdir()
        write_entry(tmp_path / name, RunEntry(state=state, asked_s=asked_s))  # type: ignore[arg-type]
    (tmp_path / "e").mkdir()
    assert [folder.name for folder, _ in left_over(tmp_path)] == ["b", "a"]


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (RunOptions(), 300),
        (RunOptions(start_s=5.0), 150),
        (RunOptions(end_s=2.5), 75),
        (RunOptions(start_s=5.0, end_s=99.0, fps=10.0), 50),
        (RunOptions(fps=60.0), 300),
        (RunOptions(start_s=50.0), 1),
    ],
)
def test_how_many_frames_a_run_looks_at(options: RunOptions, frames: int) -> None:
    info = SessionInfo(name="a", stored="a", frames=300, fps=30.0, seconds=10.0)
    assert frames_to_run(UserSession("", Path(), info), options) == frames


@pytest.fixture
def open_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AppService]:
    pytest.importorskip("starlette", reason="the app's extra is not installed")
    put_stub_in_place(monkeypatch.setattr)
    return lambda: AppService.open(stub_settings(tmp_path), "lite", "")


def test_a_run_at_which_servers_die_is_given_up(open_service: Callable[[], AppService], tmp_path: Path) -> None:
    first = open_service()
    clip = tmp_path / "a.mp4"
    clip.touch()
    kills, killed_once = first.sessions.create(clip, "kills.mp4"), first.sessions.create(clip, "fine.mp4")
    first.close()
    write_entry(kills.folder, RunEntry(state="working", starts=MAX_STARTS, asked_s=1))
    write_entry(killed_once.folder, RunEntry(state="working", starts=1, asked_s=2))
    second = open_service()
    try:
        entry = read_entry(kills.folder)
        assert entry is not None
        assert entry.error is not None
        assert (entry.state, entry.error["code"]) == ("failed", "run_given_up")
        queued = second.runs.find(killed_once.key)
        assert queued is not None
        (tmp_path / "finish").touch()
        assert queued.ended.wait(20)
        assert json.loads((killed_once.folder / "asked.json").read_text())["state"] == "done"
        assert second.runs.find(kills.key) is None
    finally:
        second.close()


def test_two_servers_do_not_work_on_one_run(
    open_service: Callable[[], AppService], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new server may start before the old one is told to end."""
    monkeypatch.setattr("body4d.app.service.TAKE_OVER_EVERY_S", 0.02)
    old = open_service()
    clip = tmp_path / "a.mp4"
    clip.touch()
    session = old.sessions.create(clip, "a.mp4")
    asyncio.run(old.start_run(session, RunOptions()))
    new = open_service()
    try:
        time.sleep(0.1)
        assert new.runs.find(session.key) is None
        old.close()
        until = time.monotonic() + 20
        while new.runs.find(session.key) is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        old.close()
        new.close()


def test_a_program_that_gives_a_value_of_another_kind_is_told_which() -> None:
    with pytest.raises(SettingsError, match=r"given for options\.motion is not understood: input should be a valid string"):
        new_entry(RunOptions(motion=False), (), "")  # pyright: ignore[reportArgumentType]
