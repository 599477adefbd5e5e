"""Which models a preset is made of, and why one preset was taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from body4d.camera.motion import require_headless_opencv
from body4d.config import ComputeSettings, OcclusionSettings, Settings
from body4d.core.caches import cache_folder, user_cache
from body4d.core.errors import MissingDependencyError, RunWarning, SettingsError, WeightsError
from body4d.core.occlusion import OcclusionSegment
from body4d.core.progress import Event, EventListener, ignore_events
from body4d.core.stages import AmodalCompleter, BodyEstimator, CameraEstimator, FrameSource, ProgressFn, Segmenter, StageOutput
from body4d.core.types import Clip, MaskTrack
from body4d.runtime.memory import NO_DEVICE, DeviceMemory

FIRST_TIME = RunWarning(
    "body_model_setup", "The body model is prepared on this machine once, which takes a minute or two more than later runs."
)

LITE_PACKAGES = ("ai_edge_litert", "anny", "torch")
SAM_PACKAGES = ("torch", "transformers", "safetensors")
"""Top-level modules that each preset imports."""

NO_MOGE = RunWarning("no_moge_checkpoint", "MoGe-2 has no checkpoint here, so no network estimates the field of view.")


@dataclass(frozen=True)
class PipelineComponents:
    """The models of a preset, one for each stage.

    ``warnings`` say which preset was taken and why; ``setup_warnings`` hold for this machine today alone and belong to no result.
    ``weights`` names the checkpoint of each stage that has one, ``sources`` its origin and licence, and
    ``memory`` is how the GPU's peak is asked for. Without a ``completer`` nobody occluded is completed. ``picture_device`` draws the
    pictures.
    """

    preset: str
    segmenter: Segmenter
    camera: CameraEstimator
    bodies: BodyEstimator
    warnings: tuple[RunWarning, ...] = ()
    setup_warnings: tuple[RunWarning, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: DeviceMemory = NO_DEVICE
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    completer: AmodalCompleter | None = None
    picture_device: Literal["cuda", "cpu"] = "cpu"


def load_components(settings: Settings, listener: EventListener = ignore_events) -> PipelineComponents:
    """The models of ``settings.preset``. What preset lite lacks of its model files is fetched; ``listener`` hears of it.

    Raises MissingDependencyError, SettingsError, WeightsError, DeviceError, or OutputError where files cannot be written.
    """
    if settings.pictures.encoder == "nvenc":
        from body4d.video.encoders import require_nvenc

        require_nvenc()  # Now, and not when all the rest is done.
    # Only ``auto`` asks: looking for a GPU loads torch.
    preset, why = choose_preset(settings.preset, why_not_sam(settings) if settings.preset == "auto" else None)
    components = (
        with_checkpoint_sources(sam_components(settings, why), settings) if preset == "sam" else lite_components(settings, why, listener)
    )
    return replace(
        components,
        setup_warnings=(*components.setup_warnings, *cache_warnings(user_cache(), cache_folder())),
        picture_device=choose_picture_device(settings, components.preset),
    )


def choose_picture_device(settings: Settings, preset: str) -> Literal["cuda", "cpu"]:
    """What draws the pictures: on ``auto`` CUDA where the preset's networks run on it anyway and Triton is there, without which it is no
    quicker than the CPU. Raises DeviceError where CUDA is asked for and missing."""
    asked = settings.pictures.device
    if asked == "cpu" or (asked == "auto" and preset != "sam"):
        return "cpu"
    # Looking for a GPU loads torch, which is why preset lite only does it when asked to.
    from body4d.runtime.device import choose_device
    from body4d.runtime.fused import has_fused_kernels

    if asked == "auto":
        return "cuda" if has_fused_kernels(choose_device(settings.compute)) else "cpu"
    choose_device(ComputeSettings(device="cuda"))
    return "cuda"


def cache_warnings(wanted: Path | None, used: Path) -> tuple[RunWarning, ...]:
    """That what is fetched and built is kept in a temporary folder, where it is. Pure."""
    if wanted == used:
        return ()
    why = "no home folder is known" if wanted is None else f"{wanted} cannot be written"
    hint = "$XDG_CACHE_HOME names another folder."
    return (RunWarning("temporary_cache", f"What is fetched and built is kept in {used}, as {why}.", hint),)


def with_checkpoint_sources(components: PipelineComponents, settings: Settings) -> PipelineComponents:
    """``components`` with the origin and licence of every checkpoint in them, and a warning that names them."""
    from body4d.checkpoints.local import inspect_checkpoints

    origins = {
        found.checkpoint.key: found.origin
        for found in inspect_checkpoints(settings.weights)
        if found.path and found.checkpoint.preset == components.preset and found.checkpoint.stage in components.weights
    }
    named = "; ".join(f"{o['checkpoint']} from {o.get('repository', 'files of your own')}, {o['licence']}" for o in origins.values())
    credit = RunWarning("checkpoint_sources", f"Checkpoints: {named}.", facts=origins)
    return replace(components, sources=origins, warnings=(*components.warnings, credit))


def lite_components(settings: Settings, why: RunWarning | None = None, listener: EventListener = ignore_events) -> PipelineComponents:
    """BlazePose, a given camera and Anny. BlazePose's model files are fetched where they are not here."""
    if settings.occlusion.mode == "on":
        raise SettingsError(
            "Completing people who are hidden needs preset sam; preset lite bridges what it cannot see.",
            code="occlusion_needs_sam",
            hint="Use --preset sam, or --occlusion auto.",
        )
    require_lite(_installed)
    require_headless_opencv()
    from body4d.bodies.anny import is_built
    from body4d.camera.intrinsics import GivenCamera
    from body4d.checkpoints.local import inspect_checkpoints
    from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS
    from body4d.models.anny_fit.estimator import AnnyBodyEstimator
    from body4d.models.blazepose.model_files import find_models
    from body4d.models.blazepose.segmenter import BlazePoseSegmenter

    fetch_lite_models(settings, listener)
    models, notes = find_models(settings.blazepose.landmarks, settings.weights)
    used = (BLAZEPOSE, *((BLAZEPOSE_HEAVY,) if models.landmark_model == "heavy" else ()), *((HAND_LANDMARKS,) if models.hands else ()))
    return PipelineComponents(
        preset="lite",
        segmenter=BlazePoseSegmenter(settings.blazepose, settings.people, models),
        camera=GivenCamera(settings.camera),
        bodies=AnnyBodyEstimator(settings.fit, settings.camera.person_height_m),
        warnings=(*((why,) if why else ()), *notes),
        setup_warnings=() if is_built() else (FIRST_TIME,),
        weights={"masks": models.landmarks.stem},
        sources={one.checkpoint.key: one.origin for one in inspect_checkpoints(settings.weights, used)},
    )


def fetch_lite_models(settings: Settings, listener: EventListener) -> None:
    """Fetch those of BlazePose's model files that ``blazepose.landmarks`` asks for and that are not here.

    Raises WeightsError where one that this setting cannot do without cannot be fetched, and OutputError; ``auto`` goes on without the heavy
    landmark model, and every run without that of hands. Where $HF_HUB_OFFLINE or $BODY4D_OFFLINE is set, nothing is tried.
    """
    from body4d.checkpoints.archives import offline_variable
    from body4d.checkpoints.download import download
    from body4d.checkpoints.local import inspect_checkpoints
    from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS

    heavy = () if settings.blazepose.landmarks == "full" else (BLAZEPOSE_HEAVY,)
    wanted = (BLAZEPOSE, *heavy, HAND_LANDMARKS)
    missing = [one.checkpoint for one in inspect_checkpoints(settings.weights, wanted) if not one.ready]
    if not missing or offline_variable():
        return
    size, transferred = sum(model.sources[0].size_bytes or 0 for model in missing), sum(model.download_bytes for model in missing)
    message = f"Fetching BlazePose's model files ({size / 1e6:.0f} MB, in packages of {transferred / 1e6:.0f} MB), once."
    listener(Event("masks", "warning", warning=RunWarning("fetching_models", message)))
    for model in missing:
        try:
            download((model,), settings.weights, None, listener)
        except WeightsError as error:
            if model is BLAZEPOSE or (model is BLAZEPOSE_HEAVY and settings.blazepose.landmarks != "auto"):
                raise
            listener(Event(model.key, "warning", warning=RunWarning(error.code, error.message, error.hint, error.facts)))


def sam_components(settings: Settings, why: RunWarning | None = None) -> PipelineComponents:
    """SAM-3, MoGe-2 and SAM-3D-Body. Checkpoints are found now and read when their stage begins. Raises as ``load_components``."""
    require_sam(_installed)
    from body4d.checkpoints.local import find_path, require_path
    from body4d.checkpoints.registry import MOGE, SAM3, SAM3D_BODY
    from body4d.models.sam3.checkpoint import find_sam3
    from body4d.models.sam3d_body.checkpoint import find_checkpoint, find_rig_beside
    from body4d.runtime.device import choose_device, gpu_peak_bytes, reset_gpu_peak

    choose_device(settings.compute)
    masks, bodies, lens = (
        require_path(SAM3, settings.weights),
        require_path(SAM3D_BODY, settings.weights),
        find_path(MOGE, settings.weights),
    )
    # Missing files are reported now: before the models' packages are loaded, which takes seconds, and not when the masks are done.
    masks, body_file = find_sam3(masks), find_checkpoint(bodies)
    from body4d.camera.intrinsics import GivenCamera
    from body4d.models.moge.estimator import MogeCameraEstimator, moge_from_folder
    from body4d.models.sam3.segmenter import Sam3Segmenter, sam3_from_folder
    from body4d.models.sam3d_body.estimator import Sam3dBodyEstimator, sam3d_body_from_file
    from body4d.runtime.device import kept

    find_rig_beside(body_file)
    compute = settings.compute
    camera = (
        MogeCameraEstimator(kept(moge_from_folder(lens, settings.moge), compute), settings.camera, settings.moge, compute) if lens else None
    )
    completer, completed_by = choose_completer(settings)
    weights = {
        "masks": masks.name,
        "occlusion": completed_by,
        "camera": lens.name if lens else "",
        "bodies": f"{bodies.name}/{body_file.name}",
    }
    return PipelineComponents(
        preset="sam",
        segmenter=Sam3Segmenter(kept(sam3_from_folder(masks), compute), settings.sam3, settings.people, compute),
        camera=camera or GivenCamera(settings.camera),
        bodies=Sam3dBodyEstimator(
            kept(sam3d_body_from_file(body_file), compute), settings.sam3d_body, compute, settings.camera.person_height_m
        ),
        warnings=tuple(warning for warning in (why, None if lens else NO_MOGE) if warning),
        weights={stage: name for stage, name in weights.items() if name},
        memory=DeviceMemory(reset_gpu_peak, gpu_peak_bytes),
        completer=completer,
    )


def choose_completer(settings: Settings) -> tuple[AmodalCompleter | None, str]:
    """Diffusion-VAS, or a ``NoCompleter``; and the names of its checkpoints, "" without.

    Raises WeightsError or MissingDependencyError where ``occlusion.mode`` is on and its models are missing, and where a checkpoint is
    incomplete.
    """
    from body4d.checkpoints.local import find_path, require_path
    from body4d.checkpoints.registry import DEPTH_ANYTHING, VAS_AMODAL, VAS_CONTENT
    from body4d.models.diffusion_vas.completer import VasCompleter, vas_from_folders

    mode = settings.occlusion.mode
    if mode == "off":
        return None, ""
    if not _installed("diffusers"):
        if mode == "on":
            raise MissingDependencyError(
                "Completing people who are hidden needs diffusers, which is not installed here.",
                code="missing_package",
                hint="pip install 'body4d[sam]'",
                packages=["diffusers"],
            )
        return NoCompleter("diffusers is not installed", settings.occlusion, hint="pip install 'body4d[sam]'"), ""
    models = (VAS_AMODAL, VAS_CONTENT, DEPTH_ANYTHING)
    absent = [model for model in models if find_path(model, settings.weights) is None]
    if absent and mode == "auto":
        verb = "has no checkpoint" if len(absent) == 1 else "have no checkpoints"
        return NoCompleter(f"{' and '.join(model.name for model in absent)} {verb} here", settings.occlusion), ""
    amodal, content, depth = (require_path(model, settings.weights) for model in models)
    loads = vas_from_folders(amodal, content, depth, settings.occlusion, settings.compute)
    return VasCompleter(loads, settings.occlusion, settings.compute), f"{amodal.name} + {content.name} + {depth.name}"


class NoCompleter:
    """An ``AmodalCompleter`` that completes nobody, for want of its models; it counts who may be occluded.

    ``why`` says what is missing, as half a sentence, and ``hint`` where to get it.
    """

    def __init__(self, why: str, settings: OcclusionSettings, hint: str = "") -> None:
        self._why, self._settings, self._hint = why, settings, hint

    @property
    def cache_inputs(self) -> Any:
        return ["no completer", self._settings.cache_inputs()]

    def estimate_cost(self, clip: Clip, masks: Sequence[MaskTrack]) -> RunWarning | None:
        """Nothing is going to be done."""
        return None

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn) -> StageOutput[tuple[OcclusionSegment, ...]]:
        """Nobody, with a warning where somebody may be occluded."""
        from body4d.models.diffusion_vas.candidates import candidate_spans

        spans = candidate_spans(masks, frames.clip.times_s, self._settings, frames.clip.shot_index)
        if not spans:
            return StageOutput(())
        people, count = len({span.track for span in spans}), sum(map(len, spans))
        who = "1 person" if people == 1 else f"{people} people"
        warning = RunWarning(
            "nobody_completed",
            f"{who} may be hidden on {count} frames and cannot be completed: {self._why}. The smoother bridges what it can.",
            self._hint,
            facts={"people": people, "frames": count},
        )
        return StageOutput((), (warning,))


def why_not_sam(settings: Settings) -> RunWarning | None:
    """Why ``auto`` does not take the preset ``sam``, or None where it does: it needs a GPU, the packages and the checkpoints.

    The message is half a sentence.
    """
    missing = [name for name in SAM_PACKAGES if not _installed(name)]
    if missing:
        return RunWarning("missing_package", f"{' and '.join(missing)} is not installed", "pip install 'body4d[sam]'")
    from body4d.checkpoints.local import inspect_checkpoints
    from body4d.checkpoints.registry import SAM3, SAM3D_BODY

    checkpoints = inspect_checkpoints(settings.weights, (SAM3, SAM3D_BODY))
    absent = [one.checkpoint.name for one in checkpoints if one.state == "absent"]
    if absent:
        verb = "has no checkpoint here" if len(absent) == 1 else "have no checkpoints here"
        return RunWarning("no_checkpoint", f"{' and '.join(absent)} {verb}", "`body4d weights download` fetches them.")
    broken = next((one for one in checkpoints if not one.ready), None)
    if broken:
        return RunWarning("checkpoint_incomplete", broken.message.removesuffix("."), broken.hint)
    from body4d.runtime.device import choose_device

    if choose_device(settings.compute).type == "cpu":
        return RunWarning("no_gpu", "there is no GPU", "--preset sam runs on the CPU all the same, about a minute for each frame.")
    return None


def choose_preset(requested: str, sam_missing: RunWarning | None) -> tuple[str, RunWarning | None]:
    """The preset to take and a warning that says why, None where the user chose it. Pure."""
    if requested != "auto":
        return requested, None
    if sam_missing:
        message = f"Preset lite was taken, not sam: {sam_missing.message}."
        return "lite", RunWarning("preset_lite_taken", message, sam_missing.hint, {"reason": sam_missing.code})
    return "sam", RunWarning("preset_sam_taken", "Preset sam was taken: its checkpoints and a GPU are there.")


def require_sam(installed: Callable[[str], bool]) -> None:
    """Raise MissingDependencyError unless the packages of the extra ``sam`` are there. Pure, given what is installed."""
    missing = [name for name in SAM_PACKAGES if not installed(name)]
    if missing:
        raise MissingDependencyError(
            f"The preset sam needs {' and '.join(missing)}, not installed here.",
            code="missing_package",
            hint="pip install 'body4d[sam]'",
            packages=missing,
        )


def _installed(name: str) -> bool:
    return find_spec(name) is not None


def require_lite(installed: Callable[[str], bool]) -> None:
    """Raise MissingDependencyError unless the packages of the extra ``lite`` are there. Pure, given what is installed."""
    missing = [name for name in LITE_PACKAGES if not installed(name)]
    if missing:
        raise MissingDependencyError(
            f"The preset lite needs {' and '.join(missing)}, not installed here.",
            code="missing_package",
            hint="Install the extra: pip install 'body4d[lite]'",
            packages=missing,
        )
