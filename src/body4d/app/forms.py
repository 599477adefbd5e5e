"""The limits on a clip and the form of settings, as visitors meet them. What a file is, its content decides, never its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from body4d.app.prompts import ClickPrompt, prompted_people
from body4d.config import AppSettings, Settings, VideoSettings
from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Clip

PEOPLE_CHOICES: Mapping[str, str] = {"Main person": "main", "Everybody": "all"}
"""Labels of the page for who is followed where nobody is chosen."""

SEX_CHOICES: Mapping[str, str] = {"Not said": "auto", "Female": "female", "Male": "male"}
"""Labels of the page for the body of the main person."""

UHD_MEGAPIXELS = 8.3
"""A frame of 4K; a limit from here on and below ``MAX_UHD_MEGAPIXELS`` is called so."""
MAX_UHD_MEGAPIXELS = 12.0


def limits_sentence(settings: AppSettings) -> str:
    """The limits, as a visitor reads them before uploading. Pure."""
    return (
        f"Up to {_time(settings.max_seconds)}, {settings.max_megabytes:g} MB and {_pixels(settings.max_megapixels)}. "
        f"Up to {settings.max_people} {'person is' if settings.max_people == 1 else 'people are'} followed. "
        f"Your clip is deleted {settings.keep_hours:g} hours after you last opened it."
    )


def clip_refusal(seconds: float, frames: int, width_px: int, height_px: int, settings: AppSettings) -> InputError | None:
    """Why a clip of these measures is not taken, None where it is. Pure."""
    if seconds > settings.max_seconds:
        message = f"This clip is {_time(seconds)} long, and {_time(settings.max_seconds)} is the most."
        return InputError(
            message, code="clip_too_long", hint="Cut it to the part that matters.", seconds=seconds, limit=settings.max_seconds
        )
    if frames > settings.max_frames:
        message, hint = (
            f"This clip has {frames} frames, and {settings.max_frames} is the most.",
            "Cut it, or save it at a lower frame rate.",
        )
        return InputError(message, code="clip_too_many_frames", hint=hint, frames=frames, limit=settings.max_frames)
    if width_px * height_px > settings.max_megapixels * 1e6:
        message = f"This clip is {width_px}x{height_px}, and {_pixels(settings.max_megapixels)} is the most."
        facts = {"width_px": width_px, "height_px": height_px, "limit_megapixels": settings.max_megapixels}
        return InputError(message, code="clip_too_many_pixels", hint="Save it smaller.", **facts)
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


def without_range(settings: VideoSettings) -> VideoSettings:
    """The same settings for the whole clip: people are chosen on any frame of it."""
    return settings.model_copy(update={"start_s": None, "end_s": None, "fps": None})


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
    """The form of settings. None: as the clip says, or the default."""

    people: str = "main"
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    fov_deg: float | None = None
    person_height_m: float | None = None
    moving: bool = False
    sex: str = "auto"
    age_years: float | None = None


_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("video", "start_s", "From second"),
    ("video", "end_s", "To second"),
    ("video", "fps", "Frames a second"),
    ("camera", "fov_deg", "Field of view"),
    ("camera", "person_height_m", "Height"),
    ("fit", "sex", "Body"),
    ("fit", "age_years", "Age"),
)
"""Section and name of a setting, called the same among the options, and its label on the page."""


def settings_for(settings: Settings, options: RunOptions, prompts: Sequence[ClickPrompt]) -> Settings:
    """The app's settings with a visitor's options. Raises SettingsError that names the field by its label on the page."""
    limit, chosen = settings.app.max_people, len(prompted_people(prompts))
    if chosen > limit:
        message = f"{chosen} people are chosen, and {limit} is the most."
        raise SettingsError(message, code="too_many_people_chosen", hint="Take some of them back.", chosen=chosen, limit=limit)
    tree: dict[str, Any] = settings.model_dump()
    if options.people not in PEOPLE_CHOICES.values():
        raise SettingsError(f"Whom to follow must be main or all, found {str(options.people)[:20]!r}.", code="people_choice_unknown")
    tree["people"]["count"] = limit if options.people == "all" else "main"
    tree["camera"]["motion"] = "moving" if options.moving else settings.camera.motion
    for section, name, _ in _FIELDS:
        # An empty number field is 0 on some pages.
        if value := getattr(options, name):
            tree[section][name] = value
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
    label = next((label for section, name, label in _FIELDS if first["loc"][:2] == (section, name)), "A setting")
    problem = (first["msg"][0].lower() + first["msg"][1:]).replace("input", "it")
    field = ".".join(str(part) for part in first["loc"])
    return SettingsError(f"{label} cannot be {first['input']}: {problem}.", code="option_invalid", field=field)
