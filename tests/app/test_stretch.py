"""Stretches of a video in slow motion."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from body4d.app.stretch import MAX_FRAMES, gif_frames, slow_motion
from body4d.core.errors import InputError
from body4d.video.writer import VideoWriter

TIMES_S = np.cumsum([0, 1, 1, 3, 1, 1, 2, 1, 1, 1]) / 30  # a variable rate


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Ten frames, each brighter than the one before it."""
    path = tmp_path_factory.mktemp("stretch") / "overlay.mp4"
    with VideoWriter(path, 160, 96, TIMES_S) as writer:
        for i in range(len(TIMES_S)):
            writer.write(np.full((96, 160, 3), 25 * i, np.uint8))
    return path


def test_an_mp4_holds_the_frames_of_the_stretch_and_is_slower(video):
    content = slow_motion(video, 2, 6, 0.25, "mp4")
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    assert [round(frame.to_ndarray(format="gray").mean() / 25) for frame in frames] == [2, 3, 4, 5, 6]
    assert np.allclose([frame.time for frame in frames], 4 * (TIMES_S[2:7] - TIMES_S[2]), atol=1e-4)


def test_a_gif_loops_with_steps_that_browsers_show(video):
    with Image.open(io.BytesIO(slow_motion(video, 0, 9, 0.5, "gif"))) as picture:
        assert picture.n_frames == 10
        assert picture.info["loop"] == 0
        steps_ms = []
        for i in range(10):
            picture.seek(i)
            steps_ms.append(picture.info["duration"])
            assert abs(np.asarray(picture.convert("L")).mean() - 25 * i) < 6
    assert np.allclose(steps_ms[:-1], 2000 * np.diff(TIMES_S), atol=5.1)


def test_a_gif_leaves_out_frames_that_are_too_close():
    assert gif_frames(np.arange(9) / 240) == [0, 5]
    assert gif_frames(np.arange(4) / 30) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("first", "last", "speed", "code"),
    [
        (3, 3, 0.5, "stretch_empty"),
        (-1, 3, 0.5, "stretch_empty"),
        (9, 20, 0.5, "stretch_outside"),
        (0, MAX_FRAMES["mp4"], 0.5, "stretch_too_long"),
        (0, 5, 0.001, "stretch_speed"),
    ],
)
def test_what_is_refused(video, first, last, speed, code):
    with pytest.raises(InputError) as refused:
        slow_motion(video, first, last, speed, "mp4")
    assert refused.value.code == code


def test_a_file_that_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "overlay.mp4").write_text("no video")
    with pytest.raises(InputError, match="could not be read"):
        slow_motion(tmp_path / "overlay.mp4", 0, 5, 0.5, "gif")
