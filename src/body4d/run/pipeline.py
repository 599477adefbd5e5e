"""The verb: the stages in order."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from body4d.config import CameraSettings, MotionSettings, PictureSettings, Settings, VideoSettings
from body4d.core.errors import NoPersonError
from body4d.core.occlusion import OcclusionSegment, occlusion_warnings
from body4d.core.progress import EventListener, ignore_events
from body4d.core.rig import Rig
from body4d.core.stages import AmodalCompleter, BodyEstimator, CameraEstimator, FrameSource, ProgressFn, Segmenter
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt, Scene
from body4d.run.facts import camera_warnings, cancellable, file_warnings, versions
from body4d.run.record import BODIES, GLB, HIDDEN, MASKS, OVERLAY, SCENE, SHEET, VIEWS
from body4d.run.run_folder import RunFolder, StageResult
from body4d.runtime.memory import NO_DEVICE, DeviceMemory

Make = Callable[[Path, ProgressFn], StageResult | None]
Smoother = Callable[[BodyTrack, Rig, Clip, MotionSettings], BodyTrack]
CameraWatch = Callable[[FrameSource, CameraSettings, Sequence[MaskTrack]], Sequence[str]]
FloorFinder = Callable[[Sequence[BodyTrack], Camera], np.ndarray]
Feet = Callable[[Sequence[BodyTrack], Mapping[int, Rig], Clip, Camera, np.ndarray, MotionSettings], tuple[BodyTrack, ...]]


def rig_of(track: BodyTrack) -> Rig:
    """The body a track was fitted with."""
    from body4d.bodies.registry import rig_of as find

    return find(track)


def open_clip(video: Path, settings: VideoSettings) -> FrameSource:
    """Probe a video and stream its frames. Raises InputError."""
    from body4d.video import VideoReader, probe

    return VideoReader(probe(video, settings))


def draw(scene: Scene, frames: FrameSource, into: Path, settings: PictureSettings, report: ProgressFn) -> None:
    """Overlay, views and contact sheet into the folder ``into``."""
    from body4d.render.write import write_pictures

    write_pictures(scene, frames, into / OVERLAY, into / VIEWS, into / SHEET, settings, report)


def write_glb(scene: Scene, path: Path) -> None:
    """Everybody as one rigged, animated asset."""
    from body4d.export import export_scene

    export_scene(scene, "glb", path)


LEVEL: np.ndarray = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes to a world that has only turned its axes: y up."""

USES: dict[str, dict[str, tuple[str, ...]]] = {
    "masks": {"lite": ("people", "blazepose"), "sam": ("people", "sam3")},
    "occlusion": {"lite": (), "sam": ("occlusion",)},
    "camera": {"lite": ("camera",), "sam": ("camera", "moge")},
    "bodies": {"lite": ("fit", "camera"), "sam": ("sam3d_body", "camera")},
}
"""Sections of the settings that the models of a preset read, stage by stage. Change one, and these stages are done again."""


def not_watched(frames: FrameSource, settings: CameraSettings, masks: Sequence[MaskTrack]) -> Sequence[str]:
    """Says nothing about the camera's motion."""
    return ()


def not_settled(
    people: Sequence[BodyTrack], rigs: Mapping[int, Rig], clip: Clip, camera: Camera, T_world_camera: np.ndarray, settings: MotionSettings
) -> tuple[BodyTrack, ...]:
    """Leaves feet where they are."""
    return tuple(people)


@dataclass(frozen=True)
class Pipeline:
    """A preset's models in their seats, and the settings they run with. ``Pipeline.load(settings)`` fills the seats.

    Without a ``completer`` nobody is completed. ``smoother``, ``floor`` and ``feet`` (holds feet that rest) are pure. ``rig_of`` gives the
    body a track was fitted with, ``open_clip`` probes a video, ``draw`` and ``write_glb`` write what others look at. ``watch_camera`` has
    sentences for the user where the camera moves, ``weights`` names the checkpoint of each stage that has one, and ``sources`` tells of
    each where it comes from and under which licence.
    """

    settings: Settings
    preset: str
    segmenter: Segmenter
    camera: CameraEstimator
    bodies: BodyEstimator
    smoother: Smoother
    floor: FloorFinder
    rig_of: Callable[[BodyTrack], Rig] = rig_of
    open_clip: Callable[[Path, VideoSettings], FrameSource] = open_clip
    draw: Callable[[Scene, FrameSource, Path, PictureSettings, ProgressFn], None] = draw
    write_glb: Callable[[Scene, Path], None] = write_glb
    notes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: DeviceMemory = NO_DEVICE
    watch_camera: CameraWatch = not_watched
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    completer: AmodalCompleter | None = None
    feet: Feet = not_settled

    @staticmethod
    def load(settings: Settings | None = None) -> "Pipeline":
        """The pipeline of ``settings.preset``. Raises MissingDependencyError, SettingsError or WeightsError."""
        from body4d.camera.motion import watch_camera
        from body4d.config.loading import load_settings
        from body4d.motion.foot_contact import hold_foot_contacts
        from body4d.motion.ground_plane import floor_transform
        from body4d.motion.smoother import smooth
        from body4d.run.presets import load_components

        settings = settings or load_settings()
        seats = load_components(settings)
        return Pipeline(
            settings,
            seats.preset,
            seats.segmenter,
            seats.camera,
            seats.bodies,
            smooth,
            floor_transform,
            notes=seats.notes,
            hints=seats.hints,
            weights=seats.weights,
            memory=seats.memory,
            watch_camera=watch_camera,
            sources=seats.sources,
            completer=seats.completer,
            feet=hold_foot_contacts,
        )

    def run(
        self,
        video: str | os.PathLike[str],
        out: str | os.PathLike[str] | None = None,
        *,
        prompts: Sequence[Prompt] = (),
        fresh: bool = False,
        listener: EventListener = ignore_events,
    ) -> Scene:
        """Everything from a video to a scene, pictures and files in a run folder (``runs/<clip's stem>`` unless ``out`` is given).

        What an earlier run into the same folder finished with the same settings is taken over, unless ``fresh``. Raises InputError,
        NoPersonError, OutputError, and Cancelled where the user or ``listener`` stops it.
        """
        from body4d.core.scene_io import load_bodies, load_hidden, load_masks, load_scene

        s = self.settings
        started = time.monotonic()
        frames = self.open_clip(Path(video), s.video)
        about = {
            "preset": self.preset,
            "weights": dict(self.weights),
            "sources": {name: dict(source) for name, source in self.sources.items()},
            "notes": list(self.notes),
            "settings": s.model_dump(mode="json"),
            "versions": versions(),
        }
        with (
            cancellable(),
            RunFolder.open(Path(video), Path(out) if out else None, about, fresh=fresh, listener=listener, device=self.memory) as run,
        ):
            run.tell((*self.notes, *self.hints))
            run.stage("probe", [], self._probe(frames, time.monotonic() - started), uses=[run.input_sha256, s.video])
            run.stage("masks", [MASKS], self._masks(frames, prompts), after=["probe"], uses=[*self._uses("masks"), prompts])
            masks = load_masks(run.file(MASKS))
            run.stage("occlusion", [HIDDEN], self._occlusion(frames, masks, run.tell), after=["masks"], uses=self._uses("occlusion"))
            hidden = load_hidden(run.file(HIDDEN))
            camera = Camera(**run.stage("camera", [], self._camera(frames, masks), after=["masks"], uses=self._uses("camera")))
            make = self._bodies(frames, masks, camera, hidden)
            run.stage("bodies", [BODIES], make, after=["masks", "occlusion", "camera"], uses=self._uses("bodies"))
            bodies = load_bodies(run.file(BODIES))
            run.stage("motion", [SCENE], self._motion(frames.clip, bodies, masks, camera, run.notes), after=["bodies"], uses=[s.motion])
            scene = load_scene(run.file(SCENE), Path(video))
            run.stage("pictures", self._picture_files, self._pictures(scene, frames), after=["motion"], uses=[s.pictures])
            run.stage("files", [GLB], self._files(scene), after=["motion"])
        return scene

    def _uses(self, stage: str) -> list[Any]:
        """What a stage's result hangs on: the settings its model reads, and the checkpoint it was made with."""
        sections = USES[stage]
        names = sections.get(self.preset) or sorted({name for names in sections.values() for name in names})
        compute = self.settings.compute.model_dump(include={"device", "precision"}) if self.preset == "sam" else {}
        return [self.preset, *(getattr(self.settings, name) for name in names), compute, self.weights.get(stage, "")]

    # Each of these makes the function that does one stage: into a folder, reporting as it goes.

    def _probe(self, frames: FrameSource, seconds: float) -> Make:
        clip = frames.clip
        facts = {"frames": len(clip), "fps": clip.fps, "size_px": [clip.width_px, clip.height_px]}
        return lambda into, report: StageResult(file_warnings(frames), facts, seconds)

    def _masks(self, frames: FrameSource, prompts: Sequence[Prompt]) -> Make:
        told = set(file_warnings(frames))

        def make(into: Path, report: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_masks

            tracks = self.segmenter.track(frames, prompts, report)
            if not any(len(track) for track in tracks):
                raise NoPersonError(
                    f"No person was found in the {len(frames.clip)} frames of {frames.clip.path.name}. "
                    "Give a clip in which somebody is seen from head to foot, or another range with --start and --end."
                )
            save_masks(tracks, into / MASKS)
            # Frames that do not decode are only met by reading them all.
            return StageResult((*(note for note in file_warnings(frames) if note not in told), *self.segmenter.notes))

        return make

    def _occlusion(self, frames: FrameSource, masks: Sequence[MaskTrack], tell: Callable[[Sequence[str]], None]) -> Make:
        def make(into: Path, report: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_hidden

            found: tuple[OcclusionSegment, ...] = ()
            if self.completer is not None:
                cost = self.completer.foresee(frames.clip, masks)
                tell([cost] if cost else [])
                found = self.completer.complete(frames, masks, report)
            save_hidden(found, into / HIDDEN)
            return StageResult((*getattr(self.completer, "notes", ()), *occlusion_warnings(found)))

        return make

    def _camera(self, frames: FrameSource, masks: Sequence[MaskTrack]) -> Make:
        def make(into: Path, report: ProgressFn) -> StageResult:
            camera = self.camera.estimate(frames, report)
            moves = self.watch_camera(frames, self.settings.camera, masks)
            return StageResult((*camera_warnings(camera), *getattr(self.camera, "notes", ()), *moves), asdict(camera))

        return make

    def _bodies(self, frames: FrameSource, masks: Sequence[MaskTrack], camera: Camera, hidden: Sequence[OcclusionSegment]) -> Make:
        def make(into: Path, report: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_bodies

            tracks = self.bodies.estimate(frames, masks, camera, report, hidden)
            save_bodies(tracks, into / BODIES)
            return StageResult(getattr(self.bodies, "notes", ()))

        return make

    def _motion(self, clip: Clip, bodies: Sequence[BodyTrack], masks: Sequence[MaskTrack], camera: Camera, notes: Sequence[str]) -> Make:
        def make(into: Path, report: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_scene
            from body4d.run.quality import measure_mask_iou, report_people

            rigs = {track.person_id: self.rig_of(track) for track in bodies}
            people = tuple(self._smoothed(track, rigs[track.person_id], clip) for track in bodies)
            people, floor = self._grounded(people, rigs, clip, camera)
            # After the feet, so that the overlap is that of the body which is kept.
            people = measure_mask_iou(people, rigs, masks, camera, report)
            scene = Scene(clip, camera, people, floor, self.preset, tuple(notes))
            save_scene(scene, into / SCENE)
            heights = {person_id: rig.height_m for person_id, rig in rigs.items()}
            return StageResult(result=[asdict(person) for person in report_people(scene, heights)])

        return make

    def _smoothed(self, track: BodyTrack, rig: Rig, clip: Clip) -> BodyTrack:
        out = self.smoother(track, rig, clip, self.settings.motion) if self.settings.motion.enabled else track
        return out if out.joints_raw_m is not None else replace(out, joints_raw_m=track.joints_m)

    def _grounded(
        self, people: Sequence[BodyTrack], rigs: Mapping[int, Rig], clip: Clip, camera: Camera
    ) -> tuple[tuple[BodyTrack, ...], np.ndarray]:
        """``people`` with resting feet held, and the floor they stand on. A moving camera has no floor that stays where it is."""
        motion = self.settings.motion
        if not camera.static:
            return tuple(people), LEVEL
        people = self.feet(people, rigs, clip, camera, self.floor(people, camera), motion)
        # Feet that no longer wander tell the floor once more, and the world's origin goes with the first person.
        return people, self.floor(people, camera)

    @property
    def _picture_files(self) -> tuple[str, ...]:
        return (OVERLAY, VIEWS, SHEET) if self.settings.pictures.enabled else ()

    def _pictures(self, scene: Scene, frames: FrameSource) -> Make:
        def make(into: Path, report: ProgressFn) -> None:
            if self.settings.pictures.enabled:
                self.draw(scene, frames, into, self.settings.pictures, report)

        return make

    def _files(self, scene: Scene) -> Make:
        return lambda into, report: self.write_glb(scene, into / GLB)
