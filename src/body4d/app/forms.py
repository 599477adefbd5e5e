"""The limits on a clip and the form of settings, as visitors meet them. What a file is, its content decides, never its name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from body4d.app.prompts import ClickPrompt, prompted_people
from body4d.config import AppSettings, Settings, VideoSettings
from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Clip

PEOPLE_CHOICES = ("main", "all")
"""Who is followed where nobody is chosen."""

MAX_CUT_S = 1800.0
"""A longer clip is not even opened to be cut: reading its index takes seconds, and nobody finds a swing in half an hour of film."""

RANGE_SLACK_S = 0.05
"""A part of a clip may be this much longer than the limit: its ends are chosen between frames."""

UHD_MEGAPIXELS = 8.3
"""A frame of 4K; a limit from here on and below ``MAX_UHD_MEGAPIXELS`` is called so."""
MAX_UHD_MEGAPIXELS = 12.0


def limits_sentence(settings: AppSettings) -> str:
    """The limits, as a visitor reads them before uploading. Pure."""
    return (
        f"Up to {settings.max_megabytes:g} MB and {_pixels(settings.max_megapixels)}; a longer clip can be cut here to "
        f"{_time(settings.max_seconds)}. "
        f"Up to {settings.max_people} {'person is' if settings.max_people == 1 else 'people are'} followed. "
        f"Your clip is deleted {settings.keep_hours:g} hours after you last opened it."
    )


def clip_refusal(seconds: float, frames: int, width_px: int, height_px: int, settings: AppSettings) -> InputError | None:
    """Why a clip of these measures is not opened, None where it is. It may be longer than a run, as it can be cut. Pure."""
    max_s = max(MAX_CUT_S, settings.max_seconds)
    if seconds > max_s:
        message = f"This clip is {_time(seconds)} long, and {_time(max_s)} is the most that can be cut here."
        return InputError(message, code="clip_too_long", hint="Cut it to the part that matters.", seconds=seconds, limit=max_s)
    max_frames = round(settings.max_frames * max(max_s / settings.max_seconds, 1.0))
    if frames > max_frames:
        message = f"This clip has {frames} frames, and {max_frames} is the most that can be cut here."
        hint = "Cut it, or save it at a lower frame rate."
        return InputError(message, code="clip_too_many_frames", hint=hint, frames=frames, limit=max_frames)
    if width_px * height_px > settings.max_megapixels * 1e6:
        message = f"This clip is {width_px}x{height_px}, and {_pixels(settings.max_megapixels)} is the most."
        facts = {"width_px": width_px, "height_px": height_px, "limit_megapixels": settings.max_megapixels}
        return InputError(message, code="clip_too_many_pixels", hint="Save it smaller.", **facts)
    return None


def range_refusal(seconds: float, frames: int, settings: AppSettings) -> SettingsError | None:
    """Why a part of a clip of this length is not run, None where it is. Pure."""
    if seconds > settings.max_seconds + RANGE_SLACK_S:
        message = f"This is {_time(seconds)} of video, and {_time(settings.max_seconds)} is the most."
        return SettingsError(message, code="range_too_long", hint="Choose a shorter part.", seconds=seconds, limit=settings.max_seconds)
    if frames > settings.max_frames:
        message = f"This part has {frames} frames, and {settings.max_frames} is the most."
        hint = "Choose a shorter part, or fewer frames a second."
        return SettingsError(message, code="range_too_many_frames", hint=hint, frames=frames, limit=settings.max_frames)
    return None


def size_refusal(size_bytes: int, settings: AppSettings) -> InputError | None:
    """Why a file of this size is not taken, None where it is. Pure."""
    if size_bytes == 0:
        return InputError("This file is empty: nothing arrived.", code="upload_empty", hint="Choose the video again.")
    if size_bytes > settings.max_megabytes * 1e6:
        message = f"This file has {size_bytes / 1e6:.0f} MB, and {settings.max_megabytes:g} MB is the most."
        facts = {"megabytes": size_bytes / 1e6, "limit": settings.max_megabytes}
        return InputError(message, code="upload_too_large", hint="Cut the clip, or save it smaller.", **facts)
    return None


def check_upload(path: Path, settings: Settings) -> Clip:
    """The clip in an uploaded file, once it is within the limits. Raises InputError.

    What the container's header says of length and size is checked first: a file that promises two hours is not read to its end.
    """
    from body4d.video import probe

    if refusal := size_refusal(path.stat().st_size, settings.app) or _header_refusal(path, settings.app):
        raise refusal
    clip = probe(path, settings.video)
    if refusal := clip_refusal(float(clip.times_s[-1]), len(clip), clip.width_px, clip.height_px, settings.app):
        raise refusal
    return clip


def whole_turned(settings: VideoSettings, rotate_deg: int) -> VideoSettings:
    """The same settings for the whole clip, turned as a visitor asks: people are chosen on any frame of it."""
    update = {"start_s": None, "end_s": None, "fps": None, "rotate_deg": rotate_deg or settings.rotate_deg}
    return settings.model_copy(update=update)


def _header_refusal(path: Path, settings: AppSettings) -> InputError | None:
    from body4d.video.timeline import open_video

    with open_video(path) as (container, stream):
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if container.duration:
            seconds = max(seconds, container.duration / 1e6)
        return clip_refusal(seconds, stream.frames or 0, stream.codec_context.width, stream.codec_context.height, settings)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"


def _pixels(megapixels: float) -> str:
    return "4K" if UHD_MEGAPIXELS <= megapixels < MAX_UHD_MEGAPIXELS else f"{megapixels:g} megapixels"


@dataclass(frozen=True)
class RunOptions:
    """The form of settings. None: as the clip says, or the default. ``motion`` is the camera's; "auto" leaves it to the app's own settings.
    ``rotate_deg``: clockwise, besides what the file prescribes."""

    people: str = "main"
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    fov_deg: float | None = None
    person_height_m: float | None = None
    motion: str = "auto"
    sex: str = "auto"
    age_years: float | None = None
    rotate_deg: int = 0

    def range_s(self, seconds: float) -> tuple[float, float]:
        """The part of a clip of this length that is run, in seconds."""
        return min(self.start_s or 0.0, seconds), min(self.end_s or seconds, seconds)


_RUN_OPTIONS = TypeAdapter(RunOptions)

_FIELDS: tuple[tuple[str, str, str, str], ...] = (
    ("video", "start_s", "From second", "seconds"),
    ("video", "end_s", "To second", "seconds"),
    ("video", "fps", "Frames a second", ""),
    ("video", "rotate_deg", "Turn of the picture", "degrees"),
    ("camera", "fov_deg", "Field of view", "degrees"),
    ("camera", "person_height_m", "Height", "metres"),
    ("camera", "motion", "The camera", ""),
    ("fit", "sex", "Body", ""),
    ("fit", "age_years", "Age", "years"),
)
"""Section and name of a setting, called the same among the options, its label on the page, and its unit."""

_BOUNDS: tuple[tuple[str, str], ...] = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
"""Bounds of a setting as pydantic names them, and in words."""


def options_from_json(fields: Any) -> RunOptions:
    """The form of settings as the page sends it; what is left out or null is the default. Raises SettingsError."""
    try:
        return _RUN_OPTIONS.validate_python(fields, strict=False, extra="forbid")
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        label = next((label for _, field, label, _ in _FIELDS if field == name), "A setting")
        raise SettingsError(f"{label} must be a number.", code="option_invalid", field=name) from error


def options_to_json(options: RunOptions) -> dict[str, Any]:
    """The same form for the page."""
    return asdict(options)


def settings_for(settings: Settings, options: RunOptions, prompts: Sequence[ClickPrompt]) -> Settings:
    """The app's settings with a visitor's options. Raises SettingsError that names the field by its label on the page."""
    limit, chosen = settings.app.max_people, len(prompted_people(prompts))
    if chosen > limit:
        message = f"{chosen} people are chosen, and {limit} is the most."
        raise SettingsError(message, code="too_many_people_chosen", hint="Take some of them back.", chosen=chosen, limit=limit)
    tree: dict[str, Any] = settings.model_dump()
    if options.people not in PEOPLE_CHOICES:
        raise SettingsError(f"Whom to follow must be main or all, found {str(options.people)[:20]!r}.", code="people_choice_unknown")
    tree["people"]["count"] = limit if options.people == "all" else "main"
    for section, name, _, _ in _FIELDS:
        # An empty number field is 0 on some pages.
        if value := getattr(options, name):
            tree[section][name] = value
    if options.motion == "auto":
        tree["camera"]["motion"] = settings.camera.motion
    start_s, end_s = tree["video"]["start_s"], tree["video"]["end_s"]
    if start_s is not None and end_s is not None and start_s >= end_s:
        message = f"From second ({start_s:g}) must be before To second ({end_s:g})."
        raise SettingsError(message, code="range_reversed", start_s=start_s, end_s=end_s)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _option_error(error) from error


def _option_error(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    section, name, label, unit = next(
        (field for field in _FIELDS if first["loc"][:2] == field[:2]), ("", str(first["loc"][-1]), "A setting", "")
    )
    context = first.get("ctx", {})
    bounds = [f"{words} {context[key]:g}" for key, words in _BOUNDS if key in context]
    problem = f"{bounds[0]} {unit}".strip() if bounds else (first["msg"][0].lower() + first["msg"][1:]).replace("input", "it")
    must = "it must be " if bounds else ""
    return SettingsError(f"{label} cannot be {first['input']}: {must}{problem}.", code="option_invalid", field=f"{section}.{name}")
