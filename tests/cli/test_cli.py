"""The commands with fakes in every seat: what they print and what they exit with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from body4d import __version__
from body4d.cli.entry import app
from body4d.cli.progress_display import LINE_EVERY_S, LogProgress, format_event, format_rate
from body4d.config import Settings
from body4d.core.errors import NoPersonError, RunWarning
from body4d.core.progress import Event, Meter
from body4d.run.pipeline import Pipeline
from body4d.run.record import FILES, SCENE
from fakes import FRAMES, fake_pipeline


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file for the fakes to be run on, in a working folder of its own; the settings used are kept in ``used``."""
    monkeypatch.chdir(tmp_path)
    used.clear()

    def load(settings: Settings, listener: object) -> Pipeline:
        used.append(settings)
        return fake_pipeline(settings)

    monkeypatch.setattr(Pipeline, "load", staticmethod(load))
    (tmp_path / "clip.mp4").write_bytes(b"fake")
    return tmp_path / "clip.mp4"


used: list[Settings] = []


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def ok(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result


def test_version() -> None:
    assert ok("--version").stdout == f"body4d {__version__}\n"


def test_help_names_every_command() -> None:
    shown = ok("--help").stdout
    assert all(name in shown for name in ("run", "render", "export", "info", "eval", "demo", "config"))


def test_run_names_people_and_files(video: Path) -> None:
    result = ok("run", video)
    assert all(name in result.stdout for name in FILES)
    assert "runs/clip/" in result.stdout
    assert "too far away to follow" in result.stderr
    assert Path("runs/clip", SCENE).is_file()


def test_occlusion_is_a_setting(video: Path) -> None:
    ok("run", video, "--occlusion", "off")
    assert used[-1].occlusion.mode == "off"
    assert call("run", video, "--occlusion", "perhaps").exit_code == 2


def test_a_second_run_says_what_was_done_before(video: Path) -> None:
    ok("run", video)
    assert ok("run", video).stderr.count("already done") == 8
    assert ok("run", video, "--fresh").stderr.count("already done") == 0


def test_another_clip_of_the_same_name_gets_a_folder_of_its_own(video: Path) -> None:
    ok("run", video)
    Path("other").mkdir()
    Path("other/clip.mp4").write_bytes(b"else")
    result = ok("run", "other/clip.mp4")
    assert len(list(Path("runs").iterdir())) == 2
    assert "runs/clip-" in result.stdout


def test_flags_become_settings(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text("video: {fps: 10}\npeople: {count: 3}\n")
    monkeypatch.setenv("BODY4D_PEOPLE__COUNT", "4")
    flags = "--config c.yaml --start 0.5 --end 2 --max-side 640 --focal-mm35 30 --person-height 1.7 --no-pictures --set fit.depth_sigma_m=2"
    ok("run", video, *flags.split(), "--landmarks", "full")
    (settings,) = used
    seen = settings.video
    assert (seen.start_s, seen.end_s, seen.fps, seen.max_side_px) == (0.5, 2, 10, 640)
    assert (settings.camera.focal_mm35, settings.camera.person_height_m, settings.camera.fov_deg) == (30, 1.7, None)
    assert settings.blazepose.landmarks == "full"
    assert (settings.people.count, settings.pictures.enabled, settings.fit.depth_sigma_m) == (4, False, 2)


@pytest.mark.parametrize(("text", "count"), [("2", 2), ("all", "all"), ("main", "main")])
def test_people(video: Path, text: str, count: object) -> None:
    ok("run", video, "--people", text)
    assert used[0].people.count == count


def test_quiet_says_nothing(video: Path) -> None:
    result = ok("run", video, "--quiet")
    assert (result.stdout, result.stderr) == ("", "")


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_is_an_object_a_line_and_ends_with_the_result(video: Path) -> None:
    result = ok("run", video, "--json")
    *events, last = lines_of(result)
    assert result.stderr == ""
    assert {event["event"] for event in events} == {"stage"}
    assert {event["stage"] for event in events} == {"run", "probe", "masks", "occlusion", "camera", "bodies", "motion", "pictures", "files"}
    assert (last["event"], last["run"], last["frames"]) == ("result", "runs/clip", FRAMES)
    assert last["files"] == list(FILES)


def test_json_error_is_an_event(video: Path) -> None:
    result = call("run", "--json", video, "--people", "0")
    event = lines_of(result)[-1]
    assert (event["event"], event["code"], event["exit_code"], event["facts"]) == ("error", "bad_value", 2, {})
    assert result.stderr == f"body4d: {event['message']} {event['hint']}\n"


def test_info(video: Path) -> None:
    ok("run", video)
    found = json.loads(ok("info", "runs/clip", "--json").stdout)
    assert list(found) == ["frames", "fps", "people", "stages"]
    masks = found["stages"]["masks"]
    assert set(masks) == {"seconds", "state", "steps_per_s", "cpu_peak_mb", "gpu_peak_mb"}
    assert masks["cpu_peak_mb"] > 10
    assert masks["gpu_peak_mb"] is None
    shown = ok("info", "runs/clip").stdout
    assert "12 frames at 30.000 fps" in shown
    assert "too far away to follow" in shown


def test_info_says_why_a_run_failed(video: Path) -> None:
    ok("run", video)
    record = json.loads(Path("runs/clip/run.json").read_text())
    record["stages"]["masks"] |= {"state": "failed", "error": NoPersonError("Nobody was found.", hint="Film somebody.").as_json()}
    Path("runs/clip/run.json").write_text(json.dumps(record))
    assert "  error: Nobody was found. Film somebody.\n" in ok("info", "runs/clip").stdout


@pytest.mark.parametrize("words", ["holds no run.json", "older body4d (schema 1, this one reads 2). `body4d run CLIP --fresh --out"])
def test_commands_that_read_say_when_there_is_nothing_to_read(tmp_path: Path, words: str) -> None:
    if "older" in words:
        (tmp_path / "run.json").write_text(json.dumps({"body4d": "0.1.0", "input": {}, "notes": [], "stages": {}}))
    for command in (["info"], ["render"], ["export", "--to", "glb"], ["eval"]):
        result = call(*command, tmp_path, *([tmp_path] if command == ["eval"] else []))
        assert result.exit_code == 3, result.output + result.stderr
        assert words in result.stderr


def test_export_refuses_a_format_it_has_not(video: Path) -> None:
    ok("run", video)
    result = call("export", "runs/clip", "--to", "maya")
    assert result.exit_code == 2
    assert "glb, bvh" in result.stderr
    result = call("export", "runs/clip", "--to", "csv,trc", "--rig", "lafan")
    assert result.exit_code == 2
    assert "None of csv, trc has a choice of rig" in result.stderr
    result = call("export", "runs/clip", "--to", "csv,smpl", "--body-models", "no/such/folder")
    assert result.exit_code == 7
    assert "SMPL_NEUTRAL.npz" in result.stderr
    assert not (Path("runs/clip") / "joints.csv").exists()
    result = call("opensim", "runs/clip", "--python", "no/such/python")
    assert result.exit_code == 5
    assert "pip install opensim" in result.stderr
    files = json.loads(ok("export", "runs/clip", "--to", "csv,.CSV", "--json").stdout.splitlines()[-1])["files"]
    assert [Path(file).name for file in files] == ["joints.csv"]


def test_config_show_and_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BODY4D_VIDEO__FPS", "12")
    shown = yaml.safe_load(ok("config", "show", "--set", "video.start_s=3").stdout)
    assert (shown["video"]["fps"], shown["video"]["start_s"]) == (12, 3)
    ok("config", "init", "mine.yaml")
    assert yaml.safe_load(ok("config", "show", "--config", "mine.yaml").stdout)["video"]["fps"] == 12
    assert call("config", "init", "mine.yaml").exit_code == 6


def take_signals() -> None:
    """In a child process: Ctrl-C counts, also where the tests were started in the background and inherited it as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow  # a child process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_exits_130_and_says_how_to_go_on(number: signal.Signals, video: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        f"sys.argv = ['body4d', 'run', {str(video)!r}, '--out', 'run']\n"
        "from fakes import Calls, fake_pipeline; from body4d.run.pipeline import Pipeline; from body4d.cli.entry import main\n"
        "Pipeline.load = staticmethod(lambda settings, listener: fake_pipeline(settings, Calls(0.1)))\nmain()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=take_signals
    )
    while not Path("run/run.json").exists() or '"masks"' not in Path("run/run.json").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    ok("run", video, "--out", "run")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_meter_tells_rate_and_time_left_and_not_too_often() -> None:
    clock, events = Clock(), list[Event]()
    meter = Meter("bodies", events.append, clock)
    for done in range(1, 101):
        clock.now += 0.02
        meter(done, 100)
    assert len(events) <= 100 * 0.02 / 0.1 + 2
    middle = next(event for event in events if event.done >= 50)
    assert middle.rate_per_s == pytest.approx(50)
    assert middle.left_s == pytest.approx((100 - middle.done) / 50)
    assert events[-1].done == 100


def test_lines_are_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    screen = LogProgress(clock)
    for second in range(35):
        clock.now = 100.0 + second
        screen(Event("bodies", "working", second, 100, second, 1.0, 100.0 - second))
    screen(Event("bodies", "done", 100, 100, 99.0, 1.0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 35 // LINE_EVERY_S + 1
    assert "1.0/s, 1:30 left" in lines[0]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("masks", "done", 10, 10, 2.0, 5.0), "masks     2.0 s, 5.0/s"),
        (Event("masks", "skipped"), "masks     already done"),
        (Event("masks", "warning", warning=RunWarning("so", "So.", "Do this.")), "  note: So. Do this."),
        (Event("masks", "started"), ""),
        (Event("masks", "failed", seconds=1.0), "masks     failed after 1.0 s"),
    ],
)
def test_line_of(event: Event, line: str) -> None:
    assert format_event(event) == line


def test_rate_text() -> None:
    assert format_rate(None, None) == ""
    assert format_rate(31.25, 72.4) == "31.2/s, 1:12 left"
