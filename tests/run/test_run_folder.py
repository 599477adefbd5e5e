"""Run folders: what is done again and what is not, and who may write."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from body4d.core.errors import Cancelled, InputError, OutputError, RunWarning
from body4d.core.progress import Event
from body4d.run.record import RUN, SCHEMA, finished_scene, read_run, summary
from body4d.run.run_folder import RunFolder, StageResult, default_folder
from body4d.video import clip_hash


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not decoded here")
    return path


class Log:
    """A run of two stages, b after a, that notes what was made."""

    def __init__(self, video: Path, out: Path, *, a: int = 0, b: int = 0, fail: BaseException | None = None, fresh: bool = False) -> None:
        self.made: list[str] = []
        self.events: list[Event] = []

        def make(name: str, value: int):
            def write(into: Path, progress) -> StageResult:
                (into / f"{name}.bin").write_bytes(bytes([value]))
                self.made.append(name)
                if fail and name == "b":
                    raise fail
                return StageResult([RunWarning("made", f"warning of {name}")], {"value": value})

            return write

        with RunFolder.open(video, out, {}, fresh=fresh, listener=self.events.append) as run:
            self.a = run.stage("a", ["a.bin"], make("a", a), cache_inputs=[a])
            self.b = run.stage("b", ["b.bin"], make("b", b), cache_inputs=[b], after=["a"])
            self.warnings = run.warnings


def test_done_stages_are_skipped_and_tell_the_same(video: Path, tmp_path: Path) -> None:
    first, second = (Log(video, tmp_path / "run") for _ in range(2))
    assert first.made == ["a", "b"]
    assert second.made == []
    assert (first.a, first.b, first.warnings) == (second.a, second.b, second.warnings)
    assert [e.state for e in second.events if e.stage in "ab"] == ["skipped", "warning"] * 2


def test_changed_settings_redo_the_stage_and_all_after_it(video: Path, tmp_path: Path) -> None:
    Log(video, tmp_path / "run")
    assert Log(video, tmp_path / "run", b=1).made == ["b"]
    assert Log(video, tmp_path / "run", a=1, b=1).made == ["a", "b"]
    # Going back is a change as well: the files are those of the last run.
    assert Log(video, tmp_path / "run").made == ["a", "b"]


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_missing_or_short_file_is_made_again(video: Path, tmp_path: Path, damage: str) -> None:
    Log(video, tmp_path / "run")
    path = tmp_path / "run" / "b.bin"
    path.unlink() if damage == "delete" else path.write_bytes(b"")
    assert Log(video, tmp_path / "run").made == ["b"]


def test_another_version_redoes_everything(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Log(video, tmp_path / "run")
    monkeypatch.setattr("body4d.core.version.__version__", "99")
    assert Log(video, tmp_path / "run").made == ["a", "b"]


ENDS = [(ValueError("x"), "failed"), (KeyboardInterrupt(), "cancelled"), (Cancelled("x"), "cancelled")]


@pytest.mark.parametrize(("error", "state"), ENDS)
def test_a_stage_that_does_not_finish_leaves_nothing_and_is_redone(video: Path, tmp_path: Path, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)):
        Log(video, tmp_path / "run", fail=error)
    assert read_run(tmp_path / "run").stages["b"].state == state
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")) == ["a.bin", RUN]
    assert Log(video, tmp_path / "run").made == ["b"]


def test_a_failed_redo_keeps_the_older_file_but_does_not_trust_it(video: Path, tmp_path: Path) -> None:
    Log(video, tmp_path / "run")
    with pytest.raises(ValueError, match="x"):
        Log(video, tmp_path / "run", b=7, fail=ValueError("x"))
    assert (tmp_path / "run" / "b.bin").read_bytes() == b"\0"
    assert Log(video, tmp_path / "run").made == ["b"]


def test_leftovers_of_a_kill_are_cleared(video: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / ".partial").mkdir(parents=True)
    (tmp_path / "run" / ".partial" / "a.bin").write_bytes(b"half")
    Log(video, tmp_path / "run")
    assert not (tmp_path / "run" / ".partial").exists()


@pytest.mark.slow  # a child process
def test_another_process_is_kept_out_and_a_dead_one_is_not(video: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from body4d.run.run_folder import RunFolder\n"
        f"with RunFolder.open(Path({str(video)!r}), Path({str(tmp_path / 'run')!r}), {{}}): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match=rf"process {other.pid}\) is working"):
            Log(video, tmp_path / "run")
        other.kill()
        other.wait()
    assert Log(video, tmp_path / "run").made == ["a", "b"]


def test_default_folder_is_the_stem_unless_another_clip_has_it(tmp_path: Path, video: Path) -> None:
    root = tmp_path / "runs"
    first = default_folder(video, "a" * 64, root)
    assert first == root / "clip"
    first.mkdir(parents=True)
    (first / RUN).write_text(json.dumps({"schema_version": SCHEMA, "body4d": "0", "input": {"sha256": "a" * 64}}))
    assert default_folder(video, "a" * 64, root) == first
    assert default_folder(video, "b" * 64, root) == root / "clip-bbbbbbbb"
    write_older_run(first, "a" * 64)
    assert default_folder(video, "b" * 64, root) == root / "clip-bbbbbbbb", "an older run keeps its folder too"


def write_older_run(folder: Path, sha256: str) -> None:
    """A run.json as body4d wrote it before schema 2."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = {"state": "done", "fingerprint": "0", "notes": ["Preset lite was taken."], "files": {}, "result": None}
    settings = {"video": {"queue_mb": 64.0}}
    run = {"body4d": "0.1.0", "input": {"sha256": sha256}, "notes": [], "settings": settings, "stages": {"probe": stage}}
    (folder / RUN).write_text(json.dumps(run))


def test_an_older_run_is_refused_and_made_anew_when_asked(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "run"
    write_older_run(folder, clip_hash(video))
    sentence = r"older body4d \(schema 1, this one reads 2\)\. `body4d run CLIP --fresh --out .*run` makes it anew\."
    for read in (read_run, finished_scene, lambda path: Log(video, path)):
        with pytest.raises(InputError, match=sentence) as refused:
            read(folder)
        assert (refused.value.code, refused.value.facts) == ("run_schema", {"schema": 1})
    assert Log(video, folder, fresh=True).made == ["a", "b"]
    assert set(read_run(folder).stages) == {"a", "b"}


def test_another_clips_folder_is_refused(tmp_path: Path, video: Path) -> None:
    Log(video, tmp_path / "run")
    other = tmp_path / "other.mp4"
    other.write_bytes(b"else")
    with pytest.raises(OutputError, match=r"another video \(clip.mp4\)"):
        Log(other, tmp_path / "run")


def test_strange_places_are_refused(tmp_path: Path, video: Path) -> None:
    with pytest.raises(OutputError, match="is a file"):
        Log(video, video)
    with pytest.raises(OutputError, match="cannot be made"):
        Log(video, video / "below")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        Log(video, tmp_path / "mine")


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS", None])
def test_what_the_disk_refuses_is_a_sentence(number: str | None, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import shutil
    from collections import namedtuple

    if number is None:  # numpy and FFmpeg lose the number; then free space decides
        monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(1, 1, 0))
    error = OSError(getattr(errno, number), "refused") if number else OSError("5 requested and 0 written")
    with pytest.raises(OutputError, match="rights" if number == "EROFS" else "room"):
        Log(video, tmp_path / "run", fail=error)


def test_an_error_that_is_no_matter_of_writing_goes_through(video: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Log(video, tmp_path / "run", fail=FileNotFoundError(2, "no such file", "model.bin"))


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RUN).write_text("{")
    return tmp_path / "run"


def test_reading_what_is_no_run(tmp_path: Path, damaged: Path, video: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / RUN).write_text('{"schema_version": "new"}')
    places = [(tmp_path / "none", "no such folder"), (tmp_path, "holds no run.json"), (damaged, "damaged"), (tmp_path / "odd", "damaged")]
    for path, words in places:
        with pytest.raises(InputError, match=words):
            read_run(path)
    Log(video, tmp_path / "half")
    with pytest.raises(InputError, match=r"no scene\.npz yet"):
        finished_scene(tmp_path / "half")


def test_summary_of_an_unfinished_run(video: Path, tmp_path: Path) -> None:
    Log(video, tmp_path / "run")
    found = summary(read_run(tmp_path / "run"))
    assert (found["frames"], found["people"]) == (None, [])
    assert {name: stage["state"] for name, stage in found["stages"].items()} == {"a": "done", "b": "done"}
