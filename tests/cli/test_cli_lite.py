"""The real thing, small: a synthetic clip through preset lite by the command line, read back and scored; and clips that hold too little."""

import csv
import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from body4d.cli.entry import app
from body4d.run.record import BODIES, FILES, GLB, MASKS, OVERLAY, SCENE, SHEET, VIEWS

pytestmark = pytest.mark.usefixtures("lite_models")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def ok(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from body4d.evaluate.synthetic.clip import make_clip

    return make_clip("swing", tmp_path_factory.mktemp("swing"), rate=15, seconds=1.0, size=(320, 400))


@pytest.fixture(scope="module")
def run(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "swing"
    ok("run", walk.video, "--out", folder, "--quiet")
    return folder


@pytest.mark.slow  # Anny is set up
def test_everything_is_there(run: Path) -> None:
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == set(FILES)


@pytest.mark.slow  # Anny is set up
def test_info_tells_of_one_person_on_every_frame(run: Path) -> None:
    found = json.loads(ok("info", run, "--json").stdout)
    (person,) = found["people"]
    assert (found["frames"], found["fps"], person["frames_visible"]) == (15, 15.0, 15)
    assert person["error_2d_percent_of_height"] < 5
    assert person["mask_iou"] > 0.6
    assert person["jitter"] < person["jitter_raw"]
    assert {stage["state"] for stage in found["stages"].values()} == {"done"}


@pytest.mark.slow  # Anny is set up
def test_score_against_the_truth(run: Path, walk: Any) -> None:
    found = json.loads(ok("eval", run, walk.truth, "--json").stdout)
    assert found["identity_switches"] == 0
    assert found["people"][0]["mpjpe_mm"] < 300  # that it is the same person in the same place; how good it is, docs/verified.md says
    assert "MPJPE" in ok("eval", run, walk.truth.parent).stdout


@pytest.mark.slow  # Anny is set up
def test_export_and_render(run: Path, tmp_path: Path) -> None:
    ok("export", run, "--to", "csv", "--out", tmp_path / "joints.csv")
    with (tmp_path / "joints.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert {"frame", "time_s", "person", "left_wrist_x_m"} <= set(rows[0])
    ok("render", run, "--out", tmp_path / "again", "--quiet")
    for name in (OVERLAY, VIEWS, SHEET):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.slow  # Anny is set up
def test_done_again_from_the_start_it_is_the_same_bytes(run: Path, walk: Any, tmp_path: Path) -> None:
    ok("run", walk.video, "--out", tmp_path / "second", "--quiet")
    for name in (MASKS, BODIES, SCENE, OVERLAY, VIEWS, SHEET, GLB):
        assert _hash(tmp_path / "second" / name) == _hash(run / name), name


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def film(path: Path, pictures: list[np.ndarray]) -> Path:
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("size", [(8, 8), (240, 320)])
def test_nobody_there(size: tuple[int, int], tmp_path: Path) -> None:
    clip = film(tmp_path / "nobody.mp4", [np.full((*size, 3), 90, np.uint8)] * 6)
    result = call("run", clip, "--out", tmp_path / "run")
    assert result.exit_code == 4
    assert sum(line.startswith("body4d: ") for line in result.stderr.splitlines()) == 1
    assert "no person" in result.stderr.lower()


@pytest.mark.slow  # Anny is set up
@pytest.mark.parametrize("frames", [1, 3])
def test_very_short_clips(frames: int, walk: Any, tmp_path: Path) -> None:
    with av.open(str(walk.video)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:frames]
    ok("run", film(tmp_path / "short.mp4", pictures), "--out", tmp_path / "run")
    found = json.loads(ok("info", tmp_path / "run", "--json").stdout)
    assert found["people"][0]["frames_visible"] == frames
