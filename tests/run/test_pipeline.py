"""The pipeline with a fake in every seat: order, resuming, stopping, and a kill at any moment."""

import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from body4d.camera.intrinsics import focal_warnings
from body4d.config import PictureSettings, Settings
from body4d.config.loading import load_settings
from body4d.core.errors import Cancelled, NoPersonError, RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.progress import Event
from body4d.core.scene_io import load_hidden, load_scene
from body4d.core.stages import DepthSource, StageOutput
from body4d.core.types import Camera, Clip
from body4d.motion.ground_plane import sole_m
from body4d.motion.world import to_frames, to_reference
from body4d.run.pipeline import sparse_frames_warnings
from body4d.run.record import BODIES, CAMERA, FILES, GLB, HIDDEN, MASKS, OVERLAY, RUN, SCENE, SHEET, VIEWS, read_run, summary
from fakes import FRAMES, Calls, FakeBodies, FakeCamera, FakeSegmenter, fake_draw, fake_pipeline
from scenes import moving_camera

STAGES = ["probe", "masks", "occlusion", "camera", "bodies", "motion", "pictures", "files"]
SAME_BYTES = [MASKS, HIDDEN, CAMERA, BODIES, SCENE, OVERLAY, VIEWS, SHEET, GLB]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"fake")
    return path


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SAME_BYTES}


def test_everything_lands_in_the_folder(video: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    scene = fake_pipeline().run(video, tmp_path / "run", listener=events.append)
    assert {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")} == set(FILES)
    assert [e.stage for e in events if e.state == "done"] == [*STAGES, "run"]
    assert scene.clip.path == video
    assert scene.people[0].joints_raw_m is not None
    assert any("too far away" in warning.message for warning in scene.warnings)
    assert any("phone" in warning.message for warning in scene.warnings)
    np.testing.assert_array_equal(load_scene(tmp_path / "run" / SCENE).people[0].joints_m, scene.people[0].joints_m)


def test_run_json_holds_settings_versions_hash_and_stages(video: Path, tmp_path: Path) -> None:
    settings = load_settings(None, {"camera.person_height_m": 1.8}, {})
    fake_pipeline(settings).run(video, tmp_path / "run")
    record = json.loads((tmp_path / "run" / RUN).read_text())
    assert record["settings"]["camera"]["person_height_m"] == 1.8
    assert record["input"]["sha256"] == hashlib.sha256(b"fake").hexdigest()
    assert record["versions"]["numpy"] == np.__version__
    assert {name: stage["state"] for name, stage in record["stages"].items()} == dict.fromkeys(STAGES, "done")
    assert all(stage["seconds"] >= 0 for stage in record["stages"].values())


def test_info_says_what_the_issue_asks_for(video: Path, tmp_path: Path) -> None:
    fake_pipeline().run(video, tmp_path / "run")
    found = summary(read_run(tmp_path / "run"))
    assert list(found) == ["frames", "fps", "people", "stages"]
    assert (found["frames"], found["fps"]) == (FRAMES, 30.0)
    (person,) = found["people"]
    assert list(person) == [
        "id", "frames_visible", "error_2d_px", "error_2d_percent_of_height", "mask_iou", "jitter", "jitter_raw", "height_m",
        "height_assumed",
        "explains_poorly",
    ]  # fmt: skip
    assert person["frames_visible"] == FRAMES
    assert person["error_2d_px"] == pytest.approx(1.0, abs=1e-3)  # the fakes measure 1 px beside
    assert person["height_m"] == pytest.approx(1.6)
    assert person["error_2d_percent_of_height"] == pytest.approx(100 * 1 / (60 * 1.6 / 4), abs=0.01)
    assert 0 < person["mask_iou"] < 1


def test_feet_are_settled_between_two_looks_for_the_floor(video: Path, tmp_path: Path) -> None:
    """The floor of the scene is that of the settled people's soles, and the mask overlap is judged on them."""
    asked: list[float] = []
    soles: list[float] = []

    def floor(people, camera):
        asked.append(float(people[0].translation_m[0, 1]))
        out = np.diag([1.0, -1.0, -1.0, 1.0])
        out[1, 3] = asked[-1]
        return out

    def feet(people, rigs, clip, camera, T_world_camera, settings):
        assert set(rigs) == {people[0].person_id}
        soles.append(sole_m(rigs[people[0].person_id]))
        np.testing.assert_array_equal(T_world_camera[1, 3], 0)
        low = np.array([0, 1.0, 0])
        return tuple(dataclasses.replace(track, translation_m=track.translation_m + low, joints_m=track.joints_m + low) for track in people)

    plain = fake_pipeline().run(video, tmp_path / "plain").people[0]
    scene = fake_pipeline(floor=floor, foot_contact=feet).run(video, tmp_path / "run")
    assert asked == [0.0, 1.0]
    assert scene.T_world_camera[1, 3] == 1 + soles[0]
    np.testing.assert_allclose(scene.people[0].joints_m, plain.joints_m + np.array([0, 1, 0]))
    np.testing.assert_array_equal(scene.people[0].joints_raw_m, plain.joints_raw_m)
    assert scene.people[0].mask_iou.max() < plain.mask_iou.min()


def test_a_moving_camera_settles_nobody(video: Path, tmp_path: Path) -> None:
    class Moving(FakeCamera):
        def estimate(self, frames, progress):
            output = super().estimate(frames, progress)
            return dataclasses.replace(output, value=dataclasses.replace(output.value, static=False))

    def never(*args):
        raise AssertionError("a moving camera has no floor")

    scene = fake_pipeline(camera=Moving(Calls()), floor=never, foot_contact=never).run(video, tmp_path / "run")
    np.testing.assert_array_equal(scene.T_world_camera, np.diag([1.0, -1.0, -1.0, 1.0]))


def test_before_a_camera_with_a_path_people_are_settled_in_the_world(video: Path, tmp_path: Path) -> None:
    """Smoother, floor and feet see somebody at rest where they rest, and the scene has them in the axes of their frame again."""
    camera = dataclasses.replace(moving_camera(FRAMES, "moving"), width_px=64, height_px=48)
    calls, at_rest, eyes = Calls(), np.array([0.1, 0.2, 4.0]), []

    class Bodies(FakeBodies):
        def estimate(self, frames, masks, camera, progress, occlusions=()):
            output = super().estimate(frames, masks, camera, progress, occlusions)
            rested = [dataclasses.replace(t, translation_m=np.tile(at_rest, (len(t), 1))) for t in output.value]
            return dataclasses.replace(output, value=to_frames(rested, camera))

    def smoother(track, rig, clip, settings, eye_m):
        np.testing.assert_allclose(track.translation_m, np.tile(at_rest, (FRAMES, 1)), atol=1e-12)
        eyes.append(eye_m)
        return track

    class Lens(FakeCamera):
        def estimate(self, frames, progress):
            return dataclasses.replace(super().estimate(frames, progress), depth=source)

    source = DepthSource((0,), lambda camera, progress: StageOutput(()))

    def background(frames, given, settings, masks, progress, depth):
        assert depth is source
        return StageOutput(dataclasses.replace(camera, path=dataclasses.replace(camera.path, scale_source="none")))

    def settle_scale(given, people, clip):
        return StageOutput(camera, (RunWarning("scale", "The path's length is known."),))

    def floor(people, given):
        assert given.path.scale_source == "bodies"
        return np.diag([1.0, -1.0, -1.0, 1.0])

    given = {"smoother": smoother, "background": background, "settle_scale": settle_scale, "floor": floor}
    pipeline = fake_pipeline(calls=calls, bodies=Bodies(calls), camera=Lens(calls), **given)
    scene = pipeline.run(video, tmp_path / "run")
    np.testing.assert_array_equal(eyes[0], camera.path.T_reference_camera[:, :3, 3])
    np.testing.assert_allclose(to_reference(scene.people, scene.camera)[0].translation_m[-1], at_rest, atol=1e-12)
    assert np.ptp(scene.people[0].translation_m[:, 0]) > 1
    assert scene.camera.path.scale_source == "bodies"
    assert "scale" in [warning.code for warning in scene.warnings]
    result = read_run(tmp_path / "run").stages["camera"].result
    assert result["path"] == {"kind": "moving", "source": "background", "scale_source": "none", "depth_scale": None}
    again = pipeline.run(video, tmp_path / "run")
    np.testing.assert_array_equal(again.camera.path.T_reference_camera, scene.camera.path.T_reference_camera)
    assert calls.names.count("camera") == 1


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({}, []),
        ({"pictures.audio": True}, []),
        ({"motion.enabled": False}, []),
        ({"motion.ground": "off"}, []),
        ({"camera.fov_deg": 60}, ["camera", "bodies"]),
        ({"fit.depth_sigma_m": 0.5}, ["bodies"]),
        ({"occlusion.num_steps": 4}, ["occlusion", "bodies"]),
        ({"people.count": 2}, ["masks", "occlusion", "camera", "bodies"]),
        ({"video.start_s": 0.1}, ["masks", "occlusion", "camera", "bodies"]),
    ],
)
def test_only_what_a_setting_touches_is_done_again(change: dict[str, object], redone: list[str], video: Path, tmp_path: Path) -> None:
    fake_pipeline().run(video, tmp_path / "run")
    calls = Calls()
    fake_pipeline(load_settings(None, change, {}), calls).run(video, tmp_path / "run")
    assert calls.names == redone


def test_who_is_hidden_is_told_before_and_after(video: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    fake_pipeline().run(video, tmp_path / "run", listener=events.append)
    told = [(event.stage, event.state, event.warning.message if event.warning else "") for event in events]
    cost = told.index(("run", "warning", "1 person may be hidden on 4 frames."))
    assert cost < next(i for i, (stage, state, _) in enumerate(told) if (stage, state) == ("occlusion", "working"))
    assert any("completed: person 0 on 2 frames" in warning.message for warning in load_scene(tmp_path / "run" / SCENE).warnings)
    (stretch,) = load_hidden(tmp_path / "run" / HIDDEN)
    assert stretch.frame_index.tolist() == [3, 4, 5, 6]
    # Taken over by the next run, it is not told again what it would cost.
    events.clear()
    fake_pipeline().run(video, tmp_path / "run", listener=events.append)
    assert not any(event.warning and "may be hidden" in event.warning.message for event in events)


def test_bodies_are_told_who_is_hidden(video: Path, tmp_path: Path) -> None:
    class Bodies(FakeBodies):
        def estimate(self, frames, masks, camera, progress, occlusions=()):
            given.extend(occlusions)
            return super().estimate(frames, masks, camera, progress, occlusions)

    given: list[OcclusionSegment] = []
    fake_pipeline(bodies=Bodies(Calls())).run(video, tmp_path / "run")
    assert [stretch.frame_index.tolist() for stretch in given] == [[3, 4, 5, 6]]
    given.clear()
    fake_pipeline(bodies=Bodies(Calls()), completer=None).run(video, tmp_path / "other")
    assert given == []


def test_fresh_does_all_again(video: Path, tmp_path: Path) -> None:
    fake_pipeline().run(video, tmp_path / "run")
    calls = Calls()
    fake_pipeline(calls=calls).run(video, tmp_path / "run", fresh=True)
    assert calls.names == ["masks", "occlusion", "camera", "bodies"]


def test_a_resumed_run_gives_the_same_scene(video: Path, tmp_path: Path) -> None:
    first, second = (fake_pipeline().run(video, tmp_path / "run") for _ in range(2))
    assert first.warnings == second.warnings
    assert first.camera == second.camera


def test_no_person(video: Path, tmp_path: Path) -> None:
    with pytest.raises(NoPersonError, match=r"No person was found in the 12 frames of clip\.mp4"):
        fake_pipeline(segmenter=FakeSegmenter(Calls(), people=0)).run(video, tmp_path / "run")
    assert read_run(tmp_path / "run").stages["masks"].state == "failed"


def test_without_pictures(video: Path, tmp_path: Path) -> None:
    fake_pipeline(load_settings(None, {"pictures.enabled": False}, {})).run(video, tmp_path / "run")
    assert not (tmp_path / "run" / OVERLAY).exists()
    assert (tmp_path / "run" / GLB).exists()


def test_a_listener_can_stop_the_run_and_the_next_goes_on(video: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.stage == "bodies" and event.done > 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fake_pipeline(calls=Calls(pause_s=0.02)).run(video, tmp_path / "run", listener=stop)
    calls = Calls()
    fake_pipeline(calls=calls).run(video, tmp_path / "run")
    assert calls.names == ["bodies"]
    fake_pipeline().run(video, tmp_path / "other")
    assert hashes(tmp_path / "run") == hashes(tmp_path / "other")


def _spawn(video: Path, out: Path, pause_s: float) -> "subprocess.Popen[bytes]":
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from fakes import Calls, fake_pipeline\n"
        "print('ready', flush=True)\n"
        f"fake_pipeline(calls=Calls({pause_s})).run({str(video)!r}, {str(out)!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ctrl-C counts, also where the tests were started in the background and inherited it as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.slow  # a child process
def test_killed_at_any_moment_it_ends_with_the_same_bytes(video: Path, tmp_path: Path) -> None:
    fake_pipeline().run(video, tmp_path / "whole")
    moments = random.Random(4)
    for attempt in range(3):
        folder = tmp_path / f"killed-{attempt}"
        for _ in range(3):
            process = _spawn(video, folder, pause_s=0.01)
            time.sleep(moments.uniform(0.0, 0.6))
            process.kill()
            process.communicate()
        fake_pipeline().run(video, folder)
        assert hashes(folder) == hashes(tmp_path / "whole")


def test_killed_between_renames_it_ends_with_the_same_bytes(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single write to the folder in turn is the last one before the kill."""
    import os

    fake_pipeline().run(video, tmp_path / "whole")
    real, moment = os.replace, 0

    class Killed(BaseException):
        pass

    while True:
        left = moment

        def replace(src: object, dst: object) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            real(src, dst)  # type: ignore[arg-type]

        folder = tmp_path / f"at-{moment}"
        monkeypatch.setattr(os, "replace", replace)
        try:
            fake_pipeline().run(video, folder)
            monkeypatch.setattr(os, "replace", real)
            break
        except Killed:
            monkeypatch.setattr(os, "replace", real)
        fake_pipeline().run(video, folder)
        assert hashes(folder) == hashes(tmp_path / "whole"), f"killed at write {moment}"
        moment += 1
    assert moment > len(FILES)


@pytest.mark.slow  # a child process
def test_ctrl_c_leaves_a_folder_that_resumes(video: Path, tmp_path: Path) -> None:
    process = _spawn(video, tmp_path / "run", pause_s=0.05)
    while not (tmp_path / "run" / RUN).exists() or read_run(tmp_path / "run").stages.get("bodies") is None:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert b"body4d.core.errors.Cancelled: Stopped. What was finished is kept; the same command goes on from there." in stderr
    assert read_run(tmp_path / "run").stages["bodies"].state == "cancelled"
    calls = Calls()
    fake_pipeline(calls=calls).run(video, tmp_path / "run")
    assert calls.names == ["bodies"]


def test_an_assumed_camera_is_worth_a_note_and_a_told_one_is_not() -> None:
    camera = Camera(60.0, 32, 24, 64, 48, "default")
    assert "56 degrees" in focal_warnings(camera)[0].message
    assert focal_warnings(Camera(60.0, 32, 24, 64, 48, "metadata")) == ()


def test_what_a_network_says_of_the_lens_is_told_with_its_spread() -> None:
    camera = Camera(60.0, 32, 24, 64, 48, "moge", focal_spread=0.031)
    (warning,) = focal_warnings(camera)
    assert warning.message == "The horizontal field of view, 56.1 degrees, is what MoGe-2 estimates. Single frames scatter by 3.1 %."
    assert warning.facts["spread"] == 0.031


def test_sound_that_cannot_be_kept_is_said_at_once_and_kept_in_the_record(video: Path, tmp_path: Path) -> None:
    events, drawn = [], []

    def draw(*inputs: Any) -> list[RunWarning]:
        drawn.append((inputs[3].audio, inputs[3].device))
        return [*fake_draw(*inputs), RunWarning("pictures_on_cpu", "The GPU is full.")]

    pipeline = fake_pipeline(
        Settings(pictures=PictureSettings(audio=True)),
        check_sound=lambda clip: RunWarning("sound_goes_back", "It goes back."),
        draw=draw,
        picture_device="cuda",
    )
    pipeline.run(video, tmp_path / "run", listener=events.append)
    assert drawn == [(False, "cuda")]
    assert [event.stage for event in events if event.warning and event.warning.code == "pictures_on_cpu"] == ["pictures"]
    told = [event.stage for event in events if event.warning and event.warning.code == "sound_goes_back"]
    assert told == ["run"]
    assert next(i for i, e in enumerate(events) if e.warning) < next(i for i, e in enumerate(events) if e.stage == "masks")
    assert "sound_goes_back" in [warning.code for warning in read_run(tmp_path / "run").warnings]


def test_cuts_reach_every_stage_and_the_scene(video: Path, tmp_path: Path) -> None:
    pipeline = fake_pipeline(find_cuts=lambda frames, progress: StageOutput(np.array([5])))
    scene = pipeline.run(video, tmp_path / "run")
    assert scene.clip.cuts.tolist() == [5]
    assert load_scene(tmp_path / "run" / "scene.npz").clip.cuts.tolist() == [5]


@pytest.mark.parametrize(("rate", "capture_rate", "told"), [(30, None, 0), (10, None, 0), (8, None, 1), (2, 30, 0)])
def test_frames_far_apart_are_told(rate, capture_rate, told) -> None:
    clip = Clip(Path("a.mp4"), 64, 48, Fraction(rate), np.arange(10) / rate, np.arange(10), capture_rate and Fraction(capture_rate))
    assert len(sparse_frames_warnings(clip)) == told
    assert (clip.stretch_index[-1] == 9) == bool(told)


class AheadBodies(FakeBodies):
    """Bodies whose network is loaded ahead: what it is told is among the calls."""

    def load_ahead(self, clip: Clip) -> None:
        self._calls.names.append(f"load ahead of {len(clip)} frames")

    def drop_ahead(self) -> None:
        self._calls.names.append("drop")


def test_networks_of_later_stages_are_loaded_while_earlier_ones_work(video: Path, tmp_path: Path) -> None:
    calls = Calls()
    fake_pipeline(calls=calls, bodies=AheadBodies(calls)).run(video, tmp_path / "run")
    ahead = f"load ahead of {FRAMES} frames"
    assert calls.names == [ahead, "masks", ahead, "occlusion", ahead, "camera", "bodies", "drop"]


def test_nothing_is_loaded_for_stages_that_are_not_done(video: Path, tmp_path: Path) -> None:
    calls = Calls()
    fake_pipeline().run(video, tmp_path / "run")
    fake_pipeline(calls=calls, bodies=AheadBodies(calls)).run(video, tmp_path / "run")
    assert not any(call.startswith("load") for call in calls.names)


def test_what_was_loaded_ahead_is_dropped_where_a_stage_fails(video: Path, tmp_path: Path) -> None:
    calls = Calls()
    with pytest.raises(NoPersonError):
        fake_pipeline(segmenter=FakeSegmenter(Calls(), people=0), bodies=AheadBodies(calls)).run(video, tmp_path / "run")
    assert calls.names[-1] == "drop"
