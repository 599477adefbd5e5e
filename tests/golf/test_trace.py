"""The club's path over the picture: drawn where the head was seen, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from body4d.golf.club.shaft import head_seen
from body4d.golf.trace import draw_club_trace, head_path, is_worth_drawing, write_club_trace
from body4d.golf.types import ClubShaft
from body4d.video.probe import probe
from body4d.video.reader import VideoReader
from make_videos import make_video

SIZE = (320, 240)
HANDS = np.array([160.0, 120.0])


def club(degrees: np.ndarray, frames: np.ndarray | None = None, length_px: float = 80.0) -> ClubShaft:
    turns = np.radians(degrees)
    heads = HANDS + length_px * np.stack([np.cos(turns), np.sin(turns)], -1)
    n = len(degrees)
    return ClubShaft(np.arange(n) if frames is None else frames, np.tile(HANDS, (n, 1)), heads, np.full(n, 0.9), "line")


def drawn(shaft: ClubShaft, frame: int, times_s: np.ndarray | None = None) -> np.ndarray:
    picture = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    draw_club_trace(picture, shaft, frame, times_s)
    return np.not_equal(picture, 90)


def test_the_path_up_to_a_frame_and_its_shaft_are_drawn():
    shaft = club(np.linspace(0, 180, 10))
    changed = np.asarray(drawn(shaft, 4).any(-1))
    y, x = np.nonzero(changed)
    radius = np.hypot(x + 0.5 - 160, y + 0.5 - 120)
    angle = np.degrees(np.arctan2(y + 0.5 - 120, x + 0.5 - 160))
    assert radius.max() < 84
    assert angle[radius > 40].max() < 84  # frame 4 stands at 80 degrees, and nothing after it is known yet
    assert changed[119:122, 239:242].any()
    assert changed[120 + 39, 160 + 7]  # the shaft itself
    assert not changed[120 + 30, 160 + 30]


def test_between_frames_the_head_goes_along_an_arc():
    points, frames = head_path(club(np.array([0.0, 90.0])), [0, 1])
    assert np.linalg.norm(points - HANDS, axis=1) == pytest.approx(80)
    assert (frames[0], frames[-1]) == (0, 1)


@pytest.mark.parametrize(("degrees", "frames"), [([0, 120], [0, 1]), ([0, 60], [0, 2]), ([0, 5], [0, 5])])
def test_the_path_is_interrupted_where_nothing_was_seen(degrees, frames):
    points, _ = head_path(club(np.array(degrees, float), np.array(frames)), [0, 1])
    assert np.isnan(points).any()


def test_old_parts_of_the_path_fade():
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    draw_club_trace(picture, club(np.linspace(0, 180, 10)), 9, np.arange(10) / 2.0)
    assert 0 < picture[118:123, 238:243].max() < picture[118:123, 78:83].max()


def test_the_edge_of_the_picture_and_a_line_that_breaks_off_are_no_head():
    shaft = club(np.linspace(0, 90, 8))
    shaft.head_px[3] = HANDS + 0.4 * (shaft.head_px[3] - HANDS)
    shaft.head_px[6] = [200, 239.5]
    assert np.flatnonzero(~head_seen(shaft, *SIZE)).tolist() == [3, 6]


def test_a_video_is_written_where_the_club_was_seen_to_turn(tmp_path: Path):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", frames=20, size=SIZE)))
    assert write_club_trace(frames, club(np.linspace(0, 300, 20)), tmp_path / "golf_trace.mp4", 2, 18)
    assert len(probe(tmp_path / "golf_trace.mp4")) == 16


@pytest.mark.parametrize("degrees", [np.zeros(20), np.linspace(0, 300, 6), np.zeros(0)])
def test_no_video_of_a_club_at_rest_or_seldom_seen(tmp_path: Path, degrees):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", frames=20, size=SIZE)))
    assert not is_worth_drawing(club(degrees), *SIZE)
    assert not write_club_trace(frames, club(degrees), tmp_path / "golf_trace.mp4")
    assert not (tmp_path / "golf_trace.mp4").exists()
