"""The eight events of a real swing, labelled by eye from the pictures before any code that finds them was run.

How: contact sheets of all 264 frames of ``golf_swing.mp4`` (29.97 frames/s, slowed down; down the line; a right-handed golfer with a
driver), then enlarged crops of the hands, the club head and the ball, frame by frame.

The clip is run here, with preset lite and without pictures (half a minute), or a finished run is read from the folder that
``BODY4D_GOLF_RUN`` names (``body4d run golf_swing.mp4 --out FOLDER``).
"""

import os
from pathlib import Path

import pytest

from body4d.config import Settings
from body4d.core.scene_io import load_scene
from body4d.golf.analysis import analyze
from body4d.golf.club.shaft import track_shaft
from body4d.golf.sound import strike_onsets
from body4d.golf.types import EVENTS
from body4d.run.pipeline import Pipeline
from body4d.video.reader import VideoReader

LABELS = {
    "address": 47,
    "toe_up": 81,
    "mid_backswing": 99,
    "top": 118,
    "mid_downswing": 131,
    "impact": 144,
    "mid_follow_through": 152,
    "finish": 208,
}
"""The frame of each event, from 0.

* address: the head rests behind the ball until 46 and first moves at 48; the hands move visibly from about 52 only.
* toe-up: the head is at the height of the hands in the picture at 82.3; being about a metre nearer to the camera, which stands at shoulder
  height, a level shaft points below them: at about 80.
* mid-backswing: the lead wrist is below the lead shoulder at 98 and above it at 100. The camera is about as high, so that the picture's
  level is the real one.
* top: the club head is lowest at 117 and 118; it moves by less than three pixels from 116 to 120.
* mid-downswing: the lead wrist is above the shoulder at 130 and below it at 131.
* impact: the ball rests at 143 and is a streak in front of the club face at 144.
* mid-follow-through: the head rises past the hands, which hide it, at 151; it is seen again above the shoulder at 155.
* finish: see ``POSE_HELD``.
"""

POSE_HELD = (208, 241)
"""First and last frame of the final pose: hands and club settle until 208, and the arms come down from 243 on. GolfDB means the moment just
before the pose is relaxed; a program may as well name the moment at which it is reached. Any frame of the pose is right."""

TOLERANCE = 3
"""Frames."""


def test_every_event_has_a_label_and_they_are_in_order():
    assert tuple(LABELS) == EVENTS
    assert list(LABELS.values()) == sorted(LABELS.values())


@pytest.fixture(scope="module")
def golf_run(shared: Path, lite_models: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if run := os.environ.get("BODY4D_GOLF_RUN"):
        return Path(run)
    out = tmp_path_factory.mktemp("golf_swing")
    settings = Settings.model_validate({"preset": "lite", "pictures": {"enabled": False}})
    Pipeline.load(settings).run(shared / "videos" / "golf_swing.mp4", out)
    return out


@pytest.fixture(scope="module")
def swing(golf_run: Path, shared: Path):
    scene = load_scene(golf_run / "scene.npz", shared / "videos" / "golf_swing.mp4")
    club = track_shaft(VideoReader(scene.clip), scene.people[0], scene.camera)
    found = analyze(scene, audio_onset_s=strike_onsets(scene.clip).times_s, club=club)
    return found.swings[found.main]


@pytest.mark.slow  # Anny is set up
@pytest.mark.parametrize("name", [name for name in EVENTS if name != "finish"])
def test_the_events_are_where_they_are_seen(swing, name):
    assert abs(swing.event(name).frame - LABELS[name]) <= TOLERANCE


@pytest.mark.slow  # Anny is set up
def test_the_finish_is_in_the_held_pose(swing):
    first, last = POSE_HELD
    assert first - TOLERANCE <= swing.event("finish").frame <= last + TOLERANCE
