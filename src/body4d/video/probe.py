"""Look at a video: which frames it has, when they are shown, and what the camera wrote about itself."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from body4d.config import VideoSettings
from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Clip
from body4d.video.container import open_video
from body4d.video.timeline import Timeline, timeline

# Android writes the sensor's rate of stretched slow-motion files. iPhone originals run in real time and need no such word.
_CAPTURE_RATE_KEYS = ("com.android.capture.fps",)
# Apple's is on the video track, "26" or "50.00mm"; front cameras are known to write nonsense below zero.
_FOCAL_KEYS = ("com.apple.quicktime.camera.focal_length.35mm_equivalent", "camera.focal_length.35mm_equivalent", "focallengthin35mmformat")
_PLAUSIBLE_FOCAL_MM35 = (5.0, 2000.0)


def probe(path: Path | str, settings: VideoSettings | None = None) -> Clip:
    """Look at ``path`` without decoding more than a few frames and return the Clip that ``settings`` select.

    Raises InputError where it is no video or the range holds no frame, SettingsError where the range contradicts itself.
    """
    settings, path = settings or VideoSettings(), Path(path)
    with open_video(path) as (_, stream):  # Before anything is decoded: a header may claim a size that would fill the memory.
        _check_size(path, stream.codec_context.width, stream.codec_context.height, settings)
    line = timeline(path)
    width_px, height_px = _upright_size(line)
    _check_size(path, width_px, height_px, settings)
    shrink = min(1.0, (settings.max_side_px or np.inf) / max(width_px, height_px))
    times_s = line.times_s(np.arange(len(line.ticks)))
    chosen = select_frames(times_s, settings.start_s, settings.end_s, settings.fps)
    if not len(chosen):
        span = f"from {settings.start_s or 0:g} s to {'its end' if settings.end_s is None else f'{settings.end_s:g} s'}"
        raise InputError(f"{path} has no frame {span}; its frames lie between 0 s and {times_s[-1]:.3f} s: choose another range.")
    rate, variable_rate = _playback_rate(line, settings)
    return Clip(
        path=path,
        width_px=max(1, round(width_px * shrink)),
        height_px=max(1, round(height_px * shrink)),
        rate=rate,
        times_s=line.times_s(chosen) - line.times_s(chosen[:1]),
        source_frames=chosen,
        capture_rate=_capture_rate(line, rate, settings),
        rotation_deg=_rotation_deg(line),
        has_audio=line.has_audio,
        focal_mm35=_focal_mm35(line),
        variable_rate=variable_rate,
    )


def _check_size(path: Path, width_px: int, height_px: int, settings: VideoSettings) -> None:
    if width_px * height_px > settings.max_megapixels * 1e6:
        raise InputError(
            f"{path} is {width_px}x{height_px}, more than the {settings.max_megapixels:g} megapixels a frame may have; "
            "scale it down first, or raise video.max_megapixels."
        )


def clip_notes(path: Path | str) -> tuple[str, ...]:
    """Sentences for the user about what is wrong with the file at ``path`` though it can be used: cut off, without time stamps, ..."""
    return timeline(Path(path)).notes


def clip_hash(path: Path | str) -> str:
    """SHA-256 of the file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def select_frames(times_s: np.ndarray, start_s: float | None = None, end_s: float | None = None, fps: float | None = None) -> np.ndarray:
    """Indices (M,) of the frames shown in [start_s, end_s], thinned to at most ``fps`` a second.

    Thinning takes the frame nearest to each beat of an even grid that starts at the range's first frame, so that jittering time stamps
    do not double the gaps, and a frame is never taken twice. Raises SettingsError unless start_s < end_s.
    """
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise SettingsError(f"video.start_s ({start_s:g}) must be below video.end_s ({end_s:g}).")
    slack_s = 1e-6  # A time typed with six decimals still means the frame it names.
    inside = (times_s >= (start_s or 0) - slack_s) & (times_s <= (np.inf if end_s is None else end_s) + slack_s)
    chosen = np.flatnonzero(inside)
    if fps is None or len(chosen) < 2:
        return chosen
    t = times_s[chosen] - times_s[chosen[0]]
    beats = np.arange(np.round(t[-1] * fps) + 1) / fps  # Rounded, so that 29.97 asked of 30000/1001 keeps the last frame.
    after = np.clip(np.searchsorted(t, beats), 1, len(t) - 1)
    nearest = np.where(beats - t[after - 1] <= t[after] - beats, after - 1, after)
    return chosen[np.unique(nearest)]


def _upright_size(line: Timeline) -> tuple[int, int]:
    """Size after pixels are made square (by stretching, never by shrinking) and the picture is turned upright."""
    width, height = line.stored_size_px
    if line.pixel_aspect > 1:
        width = round(width * line.pixel_aspect)
    else:
        height = round(height / line.pixel_aspect)
    return (width, height) if line.matrix[0] else (height, width)


def _rotation_deg(line: Timeline) -> int:
    """Clockwise degrees by which stored frames are turned to stand upright (mirroring apart)."""
    _, _, c, d = line.matrix
    return {(0, 1): 0, (-1, 0): 90, (0, -1): 180, (1, 0): 270}[c, d]


def _playback_rate(line: Timeline, settings: VideoSettings) -> tuple[Fraction, bool]:
    """(average rate, whether it varies). A rate the container names is taken where every frame keeps to it within one tick."""
    n = len(line.ticks)
    if n < 2:
        return (line.rates[0] if line.rates else Fraction(25)), False
    elapsed = line.ticks - line.ticks[0]
    for rate in line.rates:
        even = np.arange(n) * float(1 / (rate * line.time_base))
        if np.max(np.abs(elapsed - even)) <= 1.0:
            return rate, False
    average = Fraction(n - 1) / (int(elapsed[-1]) * line.time_base)
    steps = np.diff(line.ticks)
    mean = float(elapsed[-1]) / (n - 1)
    wobble = np.max(np.abs(steps - mean))
    return average, bool(wobble > max(1.5, settings.variable_rate_tolerance * mean))


def _capture_rate(line: Timeline, rate: Fraction, settings: VideoSettings) -> Fraction:
    """The rate it was filmed at: the container's word where it differs clearly from the playback rate, else the playback rate."""
    for key in _CAPTURE_RATE_KEYS:
        filmed = _number(line.metadata.get(key, ""))
        if filmed and abs(filmed / float(rate) - 1) > settings.capture_rate_tolerance:
            return Fraction(filmed).limit_denominator(1001)
    return rate


def _focal_mm35(line: Timeline) -> float | None:
    for key in _FOCAL_KEYS:
        focal = _number(line.metadata.get(key, ""))
        if focal and _PLAUSIBLE_FOCAL_MM35[0] < focal < _PLAUSIBLE_FOCAL_MM35[1]:
            return focal
    return None


def _number(text: str) -> float | None:
    """The positive number a tag starts with ("240.000000", "26", "50.00mm"), or None."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    return (float(match[1]) or None) if match else None
