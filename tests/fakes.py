"""Stand-ins for every component of the pipeline: no network, no decoder, no Anny; small, quick and the same each time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from body4d.camera.intrinsics import focal_warnings, intrinsics_inputs
from body4d.config import MotionSettings, PictureSettings, Settings, VideoSettings
from body4d.core.errors import RunWarning
from body4d.core.joints import Body29
from body4d.core.occlusion import OcclusionSegment
from body4d.core.progress import EventListener
from body4d.core.rig import Rig
from body4d.core.stages import CameraOutput, FrameSource, ProgressFn, StageOutput
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt, Scene
from body4d.run.pipeline import Pipeline
from body4d.run.record import OVERLAY, SHEET, VIEWS

WIDTH_PX, HEIGHT_PX, FRAMES = 64, 48, 12


class FakeFrames:
    """``FRAMES`` grey frames of 64x48, whatever file is named."""

    def __init__(self, path: Path) -> None:
        self.warnings: tuple[RunWarning, ...] = ()
        times = np.arange(FRAMES) / 30
        self.clip = Clip(path, WIDTH_PX, HEIGHT_PX, Fraction(30), times, np.arange(FRAMES), Fraction(30))

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, FRAMES if last is None else last, step):
            yield frame, np.full((HEIGHT_PX, WIDTH_PX, 3), 20 * frame % 255, np.uint8)


@dataclass
class Calls:
    """Which seats were asked, in order; ``pause_s`` makes each step of a stage last."""

    pause_s: float = 0.0
    names: list[str] = field(default_factory=list)

    def work(self, name: str, report: ProgressFn) -> None:
        self.names.append(name)
        for done in range(1, FRAMES + 1):
            time.sleep(self.pause_s)
            report(done, FRAMES)


class FakeSegmenter:
    def __init__(self, calls: Calls, people: int = 1, cache_inputs: Any = None) -> None:
        self._calls, self._people, self.cache_inputs = calls, people, cache_inputs

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        self._calls.work("masks", progress)
        mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
        mask[10:40, 28:36] = True
        codes = (MaskTrack.encode(mask),) * FRAMES
        tracks = tuple(MaskTrack(n, np.arange(FRAMES), codes, HEIGHT_PX, WIDTH_PX) for n in range(self._people))
        return StageOutput(tracks, (RunWarning("too_far", "A second person was too far away to follow."),))


class FakeCompleter:
    """Says of the first person that they are hidden on frames 4 and 5, and paints them green."""

    def __init__(self, calls: Calls, cache_inputs: Any = None) -> None:
        self._calls, self.cache_inputs = calls, cache_inputs

    def estimate_cost(self, clip: Clip, masks: Sequence[MaskTrack]) -> RunWarning | None:
        return RunWarning("occlusion_cost", "1 person may be hidden on 4 frames.")

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn) -> StageOutput[tuple[OcclusionSegment, ...]]:
        self._calls.work("occlusion", progress)
        green = np.zeros((4, 16, 32, 3), np.uint8)
        green[..., 1] = 255
        segment = OcclusionSegment(
            person_id=masks[0].person_id,
            frame_index=np.arange(3, 7),
            hidden=np.array([False, True, True, False]),
            visible_share=np.array([0.9, 0.5, 0.4, 0.8], np.float32),
            codes=masks[0].codes[3:7],
            height_px=HEIGHT_PX,
            width_px=WIDTH_PX,
            box_px=np.array([0, 0, WIDTH_PX, HEIGHT_PX]),
            pictures=green,
        )
        return StageOutput((segment,))


class FakeCamera:
    def __init__(self, calls: Calls, cache_inputs: Any = None) -> None:
        self._calls, self.cache_inputs = calls, cache_inputs

    def estimate(self, frames: FrameSource, progress: ProgressFn) -> CameraOutput:
        self._calls.work("camera", progress)
        camera = Camera(60.0, WIDTH_PX / 2, HEIGHT_PX / 2, WIDTH_PX, HEIGHT_PX, "default")
        return CameraOutput(camera, focal_warnings(camera))


class FakeBodies:
    def __init__(self, calls: Calls, cache_inputs: Any = None) -> None:
        self._calls, self.cache_inputs = calls, cache_inputs

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        progress: ProgressFn,
        occlusions: Sequence[OcclusionSegment] = (),
    ) -> StageOutput[tuple[BodyTrack, ...]]:
        self._calls.work("bodies", progress)
        rig = stick_rig()
        return StageOutput(tuple(stick_track(mask.person_id, rig, camera) for mask in masks))


def stick_rig() -> Rig:
    """A box 1.6 m tall with one joint; its keypoints lie on a line from head to foot."""
    corners = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (-0.8, 0.8) for z in (-0.1, 0.1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    anchors = np.zeros((len(Body29), 1, 3))
    anchors[:, 0, 1] = np.linspace(-0.8, 0.8, len(Body29))
    return Rig(
        joint_names=("root",),
        parents=np.array([-1]),
        rest_joints_m=np.zeros((1, 3)),
        rest_vertices_m=corners,
        faces=np.array(faces, np.int32),
        skin_indices=np.zeros((8, 1), np.int32),
        skin_weights=np.ones((8, 1)),
        joint_set="body29",
        keypoint_weights=np.ones((len(Body29), 1)),
        keypoint_anchors_m=anchors,
    )


def stick_track(person_id: int, rig: Rig, camera: Camera) -> BodyTrack:
    """The box 4 m away, swaying; measured keypoints are 1 px to the right of where they are."""
    sway = 0.1 * np.sin(np.arange(FRAMES))
    translation = np.stack([sway + person_id, np.zeros(FRAMES), np.full(FRAMES, 4.0)], axis=1)
    rotations = np.zeros((FRAMES, 1, 3))
    joints = rig.keypoints(*rig.forward(rotations, translation))
    return BodyTrack(
        person_id=person_id,
        body="stick",
        frame_index=np.arange(FRAMES),
        shape=np.zeros(1),
        rotations=rotations,
        translation_m=translation,
        joints_m=joints,
        keypoints_px=camera.project(joints) + np.array([1.0, 0.0]),
        visibility=np.ones(joints.shape[:2]),
        confidence=np.ones(FRAMES),
        observed=np.ones(FRAMES, bool),
    )


def fake_smoother(track: BodyTrack, rig: Rig, clip: Clip, settings: MotionSettings, eye_m: np.ndarray | None = None) -> BodyTrack:
    return track


def fake_floor(people: Sequence[BodyTrack], camera: Camera) -> np.ndarray:
    return np.diag([1.0, -1.0, -1.0, 1.0])


def fake_draw(scene: Scene, frames: FrameSource, into: Path, settings: PictureSettings, progress: ProgressFn) -> Sequence[RunWarning]:
    for name in (OVERLAY, VIEWS, SHEET):
        with (into / name).open("wb") as file:
            for frame, picture in frames.read():
                file.write(picture[:4].tobytes())
                progress(frame + 1, FRAMES)
    return ()


def fake_glb(scene: Scene, path: Path) -> None:
    path.write_bytes(b"glTF" + scene.people[0].joints_m.tobytes())


def fake_open(path: Path, settings: VideoSettings) -> FrameSource:
    return FakeFrames(path)


def fake_pipeline(settings: Settings | None = None, calls: Calls | None = None, **components: Any) -> Pipeline:
    """A pipeline of fakes, which declare the settings that preset lite's models depend on; ``components`` replaces some."""
    calls, settings = calls or Calls(), settings or Settings()
    of_bodies = [settings.fit.cache_inputs(), settings.camera.person_height_m]
    defaults: dict[str, Any] = {
        "settings": settings,
        "preset": "fake",
        "segmenter": FakeSegmenter(calls, cache_inputs=[settings.people.cache_inputs(), settings.blazepose.cache_inputs()]),
        "completer": FakeCompleter(calls, settings.occlusion.cache_inputs()),
        "camera": FakeCamera(calls, intrinsics_inputs(settings.camera)),
        "bodies": FakeBodies(calls, of_bodies),
        "smoother": fake_smoother,
        "floor": fake_floor,
        "rig_of": lambda track: stick_rig(),
        "open_clip": fake_open,
        "draw": fake_draw,
        "write_glb": fake_glb,
    }
    return Pipeline(**(defaults | components))


def load_slow_fake(settings: Settings, listener: EventListener) -> Pipeline:
    """A fake pipeline for workers in processes of their own: a stage of the first seat takes half a second."""
    return fake_pipeline(settings, Calls(pause_s=0.01))
