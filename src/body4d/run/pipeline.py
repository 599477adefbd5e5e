"""The verb: the stages in order."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from body4d.config import CameraSettings, MotionSettings, PictureSettings, Settings, VideoSettings
from body4d.core.errors import Cancelled, NoPersonError, RunWarning, distinct_warnings
from body4d.core.occlusion import OcclusionSegment, occlusion_warnings
from body4d.core.progress import EventListener, ignore_events
from body4d.core.rig import Rig
from body4d.core.stages import (
    AmodalCompleter,
    BodyEstimator,
    CameraEstimator,
    DepthSource,
    FrameSource,
    ProgressFn,
    Segmenter,
    StageOutput,
)
from body4d.core.types import MAX_COUPLED_STEP_S, BodyTrack, Camera, Clip, MaskTrack, Prompt, Scene
from body4d.run.networks_ahead import NetworksAhead
from body4d.run.record import BODIES, CAMERA, GLB, HIDDEN, MASKS, OVERLAY, SCENE, SHEET, VIEWS, versions
from body4d.run.run_folder import RunFolder, StageFn, StageResult
from body4d.runtime.memory import NO_DEVICE, DeviceMemory

if TYPE_CHECKING:
    from body4d.run.presets import PipelineComponents

Smoother = Callable[[BodyTrack, Rig, Clip, MotionSettings, np.ndarray | None], BodyTrack]
BackgroundFn = Callable[[FrameSource, Camera, CameraSettings, Sequence[MaskTrack], ProgressFn, DepthSource | None], StageOutput[Camera]]
ScaleFn = Callable[[Camera, Sequence[BodyTrack], Clip], StageOutput[Camera]]
FloorFinder = Callable[[Sequence[BodyTrack], Camera], np.ndarray]
FindCutsFn = Callable[[FrameSource, ProgressFn], StageOutput[np.ndarray]]
SoundCheck = Callable[[Clip], RunWarning | None]
FootContactFn = Callable[[Sequence[BodyTrack], Mapping[int, Rig], Clip, Camera, np.ndarray, MotionSettings], tuple[BodyTrack, ...]]


def rig_of(track: BodyTrack) -> Rig:
    """The body a track was fitted with."""
    from body4d.bodies.registry import rig_of as find

    return find(track)


def open_clip(video: Path, settings: VideoSettings) -> FrameSource:
    """Probe a video and stream its frames. Raises InputError."""
    from body4d.video import VideoReader, probe

    return VideoReader(probe(video, settings))


def draw(scene: Scene, frames: FrameSource, into: Path, settings: PictureSettings, progress: ProgressFn) -> Sequence[RunWarning]:
    """Overlay, views and contact sheet into the folder ``into``; what the user should know of them."""
    from body4d.render.write import write_pictures

    return write_pictures(scene, frames, into / OVERLAY, into / VIEWS, into / SHEET, settings, progress)


def write_glb(scene: Scene, path: Path) -> None:
    """Everybody as one rigged, animated asset."""
    from body4d.export import export_scene

    export_scene(scene, "glb", path)


def sparse_frames_warnings(clip: Clip) -> tuple[RunWarning, ...]:
    """That the clip's frames are too far apart to say anything of each other, where they are. Pure."""
    step_s = float(np.median(np.diff(clip.times_s))) if len(clip) > 1 else 0.0
    if step_s * clip.time_scale <= MAX_COUPLED_STEP_S:
        return ()
    message = f"The frames used are {step_s:.2f} s apart: each is fitted by itself, and nothing is smoothed or bridged between them."
    return (RunWarning("frames_far_apart", message, "25 frames a second and more follow people's motion.", {"step_s": step_s}),)


@contextmanager
def cancellable() -> Iterator[None]:
    """Ctrl-C, as an error with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("Stopped. What was finished is kept; the same command goes on from there.") from None


STAGES_BEFORE: dict[str, tuple[str, ...]] = {
    "probe": (),
    "masks": ("probe",),
    "occlusion": ("masks",),
    "camera": ("masks",),
    "bodies": ("masks", "occlusion", "camera"),
    "motion": ("bodies",),
    "pictures": ("motion",),
    "files": ("motion",),
}
"""The stages in order, each with those whose results it reads: when one of them is done again, so is it."""

LEVEL: np.ndarray = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes to a world that has only turned its axes: y up."""


def no_background(
    frames: FrameSource,
    camera: Camera,
    settings: CameraSettings,
    masks: Sequence[MaskTrack],
    progress: ProgressFn,
    depth: DepthSource | None,
) -> StageOutput[Camera]:
    """The camera as it is: nothing is read from the background."""
    return StageOutput(camera)


def no_scale(camera: Camera, people: Sequence[BodyTrack], clip: Clip) -> StageOutput[Camera]:
    """The camera's path in whatever unit it has."""
    return StageOutput(camera)


def no_cuts(frames: FrameSource, progress: ProgressFn) -> StageOutput[np.ndarray]:
    """One shot: no cut is looked for."""
    return StageOutput(np.zeros(0, np.int64))


def any_sound(clip: Clip) -> RunWarning | None:
    """The clip's sound is taken as it is."""
    return None


@dataclass(frozen=True)
class ShotFrames:
    """A FrameSource whose clip knows what reading it all once has shown."""

    source: FrameSource
    clip: Clip

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        return self.source.warnings

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        return self.source.read(first, last, step)


def _camera_facts(camera: Camera) -> dict[str, Any]:
    """What ``run.json`` tells of a camera: all but its path's arrays, which camera.npz holds."""
    facts = {f.name: getattr(camera, f.name) for f in fields(camera) if f.name != "path"}
    if camera.path is None:
        return facts
    return facts | {"path": {name: getattr(camera.path, name) for name in ("kind", "source", "scale_source", "depth_scale")}}


def no_foot_contact(
    people: Sequence[BodyTrack], rigs: Mapping[int, Rig], clip: Clip, camera: Camera, T_world_camera: np.ndarray, settings: MotionSettings
) -> tuple[BodyTrack, ...]:
    """Leaves feet where they are."""
    return tuple(people)


@dataclass(frozen=True)
class Pipeline:
    """A preset's models, one for each stage, and the settings they run with. ``Pipeline.load(settings)`` makes one.

    Without a ``completer`` nobody is completed. ``smoother``, ``floor``, ``foot_contact`` (holds feet that rest) and ``settle_scale``
    (gives the path of a moving camera its length) are pure. ``rig_of``
    gives the body a track was fitted with, ``open_clip`` probes a video, ``draw`` and ``write_glb`` write what others look at, ``draw``
    on ``picture_device``.
    ``find_cuts`` says where the film is cut, ``check_sound`` why its sound cannot be carried along.
    ``background`` adds the direction of gravity to the camera and, where it moves, its path. ``warnings`` belong to the result,
    ``setup_warnings`` to this machine today alone.
    ``weights`` names the checkpoint of each stage that has one, and ``sources`` its origin and licence.
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
    draw: Callable[[Scene, FrameSource, Path, PictureSettings, ProgressFn], Sequence[RunWarning]] = draw
    write_glb: Callable[[Scene, Path], None] = write_glb
    warnings: tuple[RunWarning, ...] = ()
    setup_warnings: tuple[RunWarning, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: DeviceMemory = NO_DEVICE
    background: BackgroundFn = no_background
    settle_scale: ScaleFn = no_scale
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    completer: AmodalCompleter | None = None
    foot_contact: FootContactFn = no_foot_contact
    find_cuts: FindCutsFn = no_cuts
    check_sound: SoundCheck = any_sound
    picture_device: Literal["cuda", "cpu"] = "cpu"

    @staticmethod
    def load(settings: Settings | None = None, listener: EventListener = ignore_events) -> "Pipeline":
        """The pipeline of ``settings.preset``. ``listener`` hears of the model files that preset lite fetches where they are not here.

        Raises MissingDependencyError, SettingsError, WeightsError, or OutputError where they cannot be written.
        """
        from body4d.config.loading import load_settings
        from body4d.run.presets import load_components

        settings = settings or load_settings()
        return Pipeline.of_components(settings, load_components(settings, listener))

    @staticmethod
    def of_components(settings: Settings, components: "PipelineComponents") -> "Pipeline":
        """A pipeline of these models, with all that a run does besides them."""
        from body4d.camera.background import read_background
        from body4d.camera.scale import settle_scale
        from body4d.motion.foot_contact import hold_foot_contacts
        from body4d.motion.ground_plane import floor_transform
        from body4d.motion.smoother import smooth
        from body4d.video.audio import sound_problem
        from body4d.video.cuts import find_cuts

        return Pipeline(
            settings,
            components.preset,
            components.segmenter,
            components.camera,
            components.bodies,
            smooth,
            floor_transform,
            warnings=components.warnings,
            setup_warnings=components.setup_warnings,
            weights=components.weights,
            memory=components.memory,
            background=read_background,
            settle_scale=settle_scale,
            sources=components.sources,
            completer=components.completer,
            foot_contact=hold_foot_contacts,
            find_cuts=find_cuts,
            check_sound=sound_problem,
            picture_device=components.picture_device,
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

        What an earlier run into the same folder finished with the same inputs is taken over, unless ``fresh``. Raises InputError,
        NoPersonError, OutputError, and Cancelled where the user or ``listener`` stops it.
        """
        from body4d.core.scene_io import load_bodies, load_camera, load_hidden, load_masks, load_scene

        s = self.settings
        started = time.monotonic()
        ahead = NetworksAhead({"masks": self.segmenter, "camera": self.camera, "bodies": self.bodies})
        frames = self.open_clip(Path(video), s.video)
        # Asked now, so that it is not only said when all the work is done.
        silent = self.check_sound(frames.clip) if s.pictures.audio and s.pictures.enabled else None
        notes = (*self.warnings, silent) if silent else self.warnings
        about = {
            "preset": self.preset,
            "weights": dict(self.weights),
            "sources": {name: dict(source) for name, source in self.sources.items()},
            "warnings": list(notes),
            "settings": s.model_dump(mode="json"),
            "versions": versions(),
        }
        with (
            cancellable(),
            ahead.dropped_in_the_end(),
            RunFolder.open(Path(video), Path(out) if out else None, about, fresh=fresh, listener=listener, device=self.memory) as run,
        ):
            run.warn((*notes, *self.setup_warnings))
            keys = self.cache_inputs(run.input_sha256, prompts)

            def stage(name: str, files: Sequence[str], make: StageFn) -> Any:
                return run.stage(name, files, ahead.during(name, frames.clip, make), after=STAGES_BEFORE[name], cache_inputs=keys[name])

            probed = stage("probe", [], self._probe(frames, time.monotonic() - started))
            frames = ShotFrames(frames, replace(frames.clip, cuts=np.array(probed["cuts"], np.int64)))
            stage("masks", [MASKS], self._masks(frames, prompts, {warning.text for warning in run.warnings}))
            masks = load_masks(run.file(MASKS))
            stage("occlusion", [HIDDEN], self._occlusion(frames, masks, run))
            hidden = load_hidden(run.file(HIDDEN))
            stage("camera", [CAMERA], self._camera(frames, masks))
            camera = load_camera(run.file(CAMERA))
            stage("bodies", [BODIES], self._bodies(frames, masks, camera, hidden))
            bodies = load_bodies(run.file(BODIES))
            stage("motion", [SCENE], self._motion(frames.clip, bodies, masks, camera, run))
            scene = load_scene(run.file(SCENE), Path(video))
            stage("pictures", self._picture_files, self._pictures(scene, frames, silent is None))
            stage("files", [GLB], self._files(scene))
        return scene

    def cache_inputs(self, input_sha256: str = "", prompts: Sequence[Prompt] = ()) -> dict[str, list[Any]]:
        """For each stage, what its result depends on beside the stages before it, as the stage itself declares it."""
        s = self.settings
        completer = [] if self.completer is None else [self.completer.cache_inputs]
        return {
            "probe": [input_sha256, s.video.cache_inputs()],
            "masks": [*self._of_model("masks"), self.segmenter.cache_inputs, list(prompts)],
            "occlusion": [*self._of_model("occlusion"), *completer],
            "camera": [*self._of_model("camera"), self.camera.cache_inputs],
            "bodies": [*self._of_model("bodies"), self.bodies.cache_inputs],
            "motion": [s.motion.cache_inputs()],
            "pictures": [s.pictures.cache_inputs()],
            "files": [],
        }

    def _of_model(self, stage: str) -> list[str]:
        """The preset, and the checkpoint that the stage's model was loaded from."""
        return [self.preset, self.weights.get(stage, "")]

    # Each of these makes the function that does one stage: into a folder, reporting as it goes.

    def _probe(self, frames: FrameSource, seconds: float) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            clip, cuts = frames.clip, self.find_cuts(frames, progress)
            facts = {"frames": len(clip), "fps": clip.fps, "size_px": [clip.width_px, clip.height_px], "cuts": cuts.value.tolist()}
            return StageResult(distinct_warnings([*frames.warnings, *cuts.warnings, *sparse_frames_warnings(clip)]), facts, seconds)

        return make

    def _masks(self, frames: FrameSource, prompts: Sequence[Prompt], known: Set[str]) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_masks

            tracks = self.segmenter.track(frames, prompts, progress)
            if not any(len(track) for track in tracks.value):
                raise NoPersonError(
                    f"No person was found in the {len(frames.clip)} frames of {frames.clip.path.name}.",
                    hint="Give a clip in which somebody is seen from head to foot, or another range with --start and --end.",
                    frames=len(frames.clip),
                )
            save_masks(tracks.value, into / MASKS)
            # Frames that do not decode are only met by reading them all.
            return StageResult((*(warning for warning in frames.warnings if warning.text not in known), *tracks.warnings))

        return make

    def _occlusion(self, frames: FrameSource, masks: Sequence[MaskTrack], run: RunFolder) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_hidden

            if self.completer is None:
                save_hidden((), into / HIDDEN)
                return StageResult()
            cost = self.completer.estimate_cost(frames.clip, masks)
            run.warn([cost] if cost else [])
            segments = self.completer.complete(frames, masks, progress)
            save_hidden(segments.value, into / HIDDEN)
            return StageResult((*segments.warnings, *occlusion_warnings(segments.value)))

        return make

    def _camera(self, frames: FrameSource, masks: Sequence[MaskTrack]) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_camera

            camera = self.camera.estimate(frames, progress)
            background = self.background(frames, camera.value, self.settings.camera, masks, progress, camera.depth)
            save_camera(background.value, into / CAMERA)
            return StageResult((*camera.warnings, *background.warnings), _camera_facts(background.value))

        return make

    def _bodies(self, frames: FrameSource, masks: Sequence[MaskTrack], camera: Camera, hidden: Sequence[OcclusionSegment]) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_bodies

            tracks = self.bodies.estimate(frames, masks, camera, progress, hidden)
            save_bodies(tracks.value, into / BODIES)
            return StageResult(tracks.warnings)

        return make

    def _motion(self, clip: Clip, bodies: Sequence[BodyTrack], masks: Sequence[MaskTrack], unscaled: Camera, run: RunFolder) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            from body4d.core.scene_io import save_scene
            from body4d.motion.uncertainty import with_systematic_error
            from body4d.motion.world import eye_path_m, to_frames, to_reference
            from body4d.run.quality import measure_mask_iou, quality_warnings, report_people
            from body4d.run.suspects import suspect_warnings

            rigs = {track.person_id: self.rig_of(track) for track in bodies}
            scaled = self.settle_scale(unscaled, bodies, clip)
            camera, eye_m = scaled.value, eye_path_m(scaled.value)
            people = to_reference(bodies, camera)
            people = tuple(self._smoothed(track, rigs[track.person_id], clip, eye_m) for track in people)
            people, floor = self._grounded(people, rigs, clip, camera)
            people = to_frames(people, camera)
            # After the feet, whose contacts are judged by how still they are and not by where they may be.
            people = tuple(with_systematic_error(track, rigs[track.person_id].height_m) for track in people)
            # After the feet, so that the overlap is that of the body which is kept.
            people = measure_mask_iou(people, rigs, masks, camera, progress)
            scene = Scene(clip, camera, people, floor, self.preset, distinct_warnings([*run.warnings, *scaled.warnings]))
            save_scene(scene, into / SCENE)
            heights = {person_id: rig.height_m for person_id, rig in rigs.items()}
            reports = report_people(scene, heights)
            warnings = (*scaled.warnings, *quality_warnings(people, reports), *suspect_warnings(to_reference(people, camera), clip))
            return StageResult(warnings, [asdict(person) for person in reports])

        return make

    def _smoothed(self, track: BodyTrack, rig: Rig, clip: Clip, eye_m: np.ndarray | None) -> BodyTrack:
        out = self.smoother(track, rig, clip, self.settings.motion, eye_m) if self.settings.motion.enabled else track
        return out if out.joints_raw_m is not None else replace(out, joints_raw_m=track.joints_m)

    def _grounded(
        self, people: Sequence[BodyTrack], rigs: Mapping[int, Rig], clip: Clip, camera: Camera
    ) -> tuple[tuple[BodyTrack, ...], np.ndarray]:
        """``people`` (in reference axes, where the camera moves along a path) with resting feet held, and the floor they stand on. A camera
        that moves on an unknown path has no floor that stays where it is."""
        from body4d.motion.ground_plane import sole_m

        motion = self.settings.motion
        if not camera.has_world:
            return tuple(people), LEVEL
        people = self.foot_contact(people, rigs, clip, camera, self.floor(people, camera), motion)
        # Feet that no longer wander tell the floor once more, and the world's origin goes with the first person.
        floor = self.floor(people, camera).copy()
        # Joints of the foot lie within it; soles stand on y = 0.
        floor[1, 3] += float(np.median([sole_m(rig) for rig in rigs.values()])) if rigs else 0.0
        return people, floor

    @property
    def _picture_files(self) -> tuple[str, ...]:
        return (OVERLAY, VIEWS, SHEET) if self.settings.pictures.enabled else ()

    def _pictures(self, scene: Scene, frames: FrameSource, with_sound: bool) -> StageFn:
        def make(into: Path, progress: ProgressFn) -> StageResult:
            pictures = self.settings.pictures
            if not pictures.enabled:
                return StageResult()
            settled = {"audio": pictures.audio and with_sound, "device": self.picture_device}
            return StageResult(self.draw(scene, frames, into, pictures.model_copy(update=settled), progress))

        return make

    def _files(self, scene: Scene) -> StageFn:
        return lambda into, progress: self.write_glb(scene, into / GLB)
