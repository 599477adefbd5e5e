"""What may be uploaded: told before, decided by what a file holds and never by its name."""

from pathlib import Path

from body4d.config import AppSettings, Settings, VideoSettings
from body4d.core.errors import InputError
from body4d.core.types import Clip


def limits_sentence(settings: AppSettings) -> str:
    """The limits, as a visitor reads them before uploading. Pure."""
    return (
        f"Up to {_time(settings.most_seconds)}, {settings.most_megabytes:g} MB and {_pixels(settings.most_megapixels)}. "
        f"Up to {settings.most_people} {'person is' if settings.most_people == 1 else 'people are'} followed. "
        f"Your clip is deleted {settings.keep_hours:g} hours after you last opened it."
    )


def refusal(seconds: float, frames: int, width_px: int, height_px: int, settings: AppSettings) -> str | None:
    """Why a clip of these measures is not taken, as one sentence, or None where it is. Pure."""
    if seconds > settings.most_seconds:
        return f"This clip is {_time(seconds)} long, and {_time(settings.most_seconds)} is the most; cut it to the part that matters."
    if frames > settings.most_frames:
        return f"This clip has {frames} frames, and {settings.most_frames} is the most; cut it, or save it at a lower frame rate."
    if width_px * height_px > settings.most_megapixels * 1e6:
        return f"This clip is {width_px}x{height_px}, and {_pixels(settings.most_megapixels)} is the most; save it smaller."
    return None


def too_large(size_bytes: int, settings: AppSettings) -> str | None:
    """Why a file of this size is not taken, or None. Pure."""
    if size_bytes == 0:
        return "This file is empty: nothing arrived. Choose the video again."
    if size_bytes > settings.most_megabytes * 1e6:
        return f"This file has {size_bytes / 1e6:.0f} MB, and {settings.most_megabytes:g} MB is the most; cut the clip, or save it smaller."
    return None


def examine(path: Path, settings: Settings) -> Clip:
    """The clip in an uploaded file, once it is within the limits. Raises InputError with a sentence for the page.

    The container's own word on length and size is asked first: a header that promises two hours is not read to its end.
    """
    from body4d.video import probe

    told = too_large(path.stat().st_size, settings.app) or _header_refusal(path, settings.app)
    if told:
        raise InputError(told)
    clip = probe(path, settings.video)
    told = refusal(float(clip.times_s[-1]), len(clip), clip.width_px, clip.height_px, settings.app)
    if told:
        raise InputError(told)
    return clip


def whole(settings: VideoSettings) -> VideoSettings:
    """The same settings without a range: people are chosen on any frame of the clip."""
    return settings.model_copy(update={"start_s": None, "end_s": None, "fps": None})


def _header_refusal(path: Path, settings: AppSettings) -> str | None:
    from body4d.video.timeline import open_video

    with open_video(path) as (container, stream):
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if container.duration:
            seconds = max(seconds, container.duration / 1e6)
        return refusal(seconds, stream.frames or 0, stream.codec_context.width, stream.codec_context.height, settings)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"


def _pixels(megapixels: float) -> str:
    return "4K" if 8.3 <= megapixels < 12 else f"{megapixels:g} megapixels"
