"""Every bad input the issue names, through the command line: one sentence, the right exit code, no traceback, no folder left behind."""

import errno
import os
import shutil
import subprocess
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from body4d.camera.intrinsics import GivenCamera
from body4d.cli.entry import app
from body4d.run.pipeline import Pipeline, open_clip
from fakes import FRAMES, fake_pipeline


@pytest.fixture(autouse=True)
def seats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real probing and decoding; fakes in all other seats; a working folder of its own."""
    monkeypatch.setattr(Pipeline, "load", staticmethod(lambda settings=None, listener=None: fake_pipeline(settings, open_clip=open_clip)))
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def one_sentence(result: Result) -> str:
    """What the user reads, after checking that it is one line without a traceback."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("body4d: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output + result.stderr
    assert "fault in body4d itself" not in lines[0]
    return lines[0]


def film(path: Path, frames: int = FRAMES, width: int = 64, height: int = 48) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            picture = np.random.default_rng(n).integers(0, 255, (height, width, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def missing(folder: Path) -> Path:
    return folder / "none.mp4"


def a_folder(folder: Path) -> Path:
    (folder / "clips.mp4").mkdir()
    return folder / "clips.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("Dear video,\n" * 100)
    return folder / "text.mp4"


def image(folder: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(folder / "photo.jpg")
    return folder / "photo.jpg"


def image_named_mp4(folder: Path) -> Path:
    return image(folder).rename(folder / "photo.mp4")


def audio_only(folder: Path) -> Path:
    with wave.open(str(folder / "song.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16000))
    return folder / "song.wav"


def truncated_header(folder: Path) -> Path:
    whole = film(folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])  # the index of an MP4 comes last: it is lost
    return folder / "cut.mp4"


def corrupt(folder: Path) -> Path:
    whole = bytearray(film(folder / "whole.mp4").read_bytes())
    noise = np.random.default_rng(0).integers(0, 255, len(whole) - 64, np.uint8).tobytes()
    whole[32:-32] = noise
    (folder / "corrupt.mp4").write_bytes(whole)
    return folder / "corrupt.mp4"


BAD = [missing, a_folder, empty, text, image, image_named_mp4, audio_only, truncated_header, corrupt]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_file(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    result = run(path)
    assert path.name in one_sentence(result)
    assert result.exit_code == 3
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--start", "5", "--end", "4"], 2, "start_s"),
    (["--start", "500"], 3, ""),
    (["--fov", "300"], 2, "camera.fov_deg"),
    (["--people", "some"], 2, "--people"),
    (["--set", "video.fsp=2"], 2, "video.fps"),
    (["--set", "video"], 2, "section.field=value"),
    (["--config", "none.yaml"], 2, "none.yaml"),
    (["--preset", "lit"], 2, "'lite'"),
])  # fmt: skip
def test_bad_settings(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    result = run(film(tmp_path / "clip.mp4"), *arguments)
    assert words in one_sentence(result)
    assert result.exit_code == code


def test_contradicting_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Pipeline,
        "load",
        staticmethod(lambda settings, listener: fake_pipeline(settings, open_clip=open_clip, camera=GivenCamera(settings.camera))),
    )
    result = run(film(tmp_path / "clip.mp4"), "--fov", "30", "--focal-mm35", "20")
    assert "contradict" in one_sentence(result)
    assert result.exit_code == 2


def test_unknown_flag_and_command_are_usage_errors(tmp_path: Path) -> None:
    assert run(tmp_path, "--no-such-flag").exit_code == 2
    assert CliRunner().invoke(app, ["rum"]).exit_code == 2


def test_unwritable_places(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    for out in [clip, clip / "below", Path("/proc/body4d/run")]:
        result = run(clip, "--out", out)
        assert str(out) in one_sentence(result)
        assert result.exit_code == 6


def test_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = film(tmp_path / "clip.mp4")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = run(clip, "--out", tmp_path / "run")
    assert "permission denied" in one_sentence(result)
    assert result.exit_code == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def big(scene: object, path: Path) -> None:
        path.write_bytes(bytes(200_000))

    pipeline = fake_pipeline(open_clip=open_clip, write_glb=big)
    monkeypatch.setattr(Pipeline, "load", staticmethod(lambda settings, listener: pipeline))
    result = run(film(tmp_path / "clip.mp4"), "--out", small_disk / "run")
    assert "room" in one_sentence(result)
    assert result.exit_code == 6
    assert (small_disk / "run" / "scene.npz").is_file()
    assert not (small_disk / "run" / ".partial").exists()


def test_a_fault_of_ours_is_a_sentence_and_a_traceback_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(scene: object, path: Path) -> None:
        raise RuntimeError("the unforeseen")

    monkeypatch.setattr(
        Pipeline, "load", staticmethod(lambda settings, listener: fake_pipeline(settings, open_clip=open_clip, write_glb=fault))
    )
    result = run(film(tmp_path / "clip.mp4"))
    assert result.exit_code == 1
    assert "fault in body4d itself" in result.stderr
    assert "the unforeseen" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in run(film(tmp_path / "clip.mp4"), "--verbose").stderr
