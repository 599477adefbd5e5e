"""Probing: a video file and the settings give a Clip, without decoding more than a few frames."""

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from body4d.config import VideoSettings
from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Clip
from body4d.video.metadata import capture_rate, focal_mm35
from body4d.video.timeline import Timeline, check_frame_size, file_rotation_deg

VARIABLE_RATE_TOLERANCE = 0.1
"""Frame intervals within this share of their mean count as constant: phones jitter by a few percent."""

_RANGE_SLACK_S = 1e-6  # A time typed with six decimals still means the frame it names.


def probe(path: Path | str, settings: VideoSettings | None = None) -> Clip:
    """The Clip that ``settings`` select from the file at ``path``; no more than a few frames are decoded.

    Raises InputError where the file is no video or the range holds no frame, SettingsError where the range contradicts itself.
    """
    settings, path = settings or VideoSettings(), Path(path)
    timeline = Timeline.open(path, settings.max_megapixels)
    width_px, height_px = _upright_size(timeline, settings.rotate_deg)
    check_frame_size(path, width_px, height_px, settings.max_megapixels)
    shrink = min(1.0, (settings.max_side_px or np.inf) / max(width_px, height_px))
    times_s = timeline.times_s(np.arange(len(timeline.ticks)))
    chosen = select_frames(times_s, settings.start_s, settings.end_s, settings.fps)
    if not len(chosen):
        span = f"from {settings.start_s or 0:g} s to {'its end' if settings.end_s is None else f'{settings.end_s:g} s'}"
        raise InputError(
            f"{path} has no frame {span}: its frames are between 0 s and {times_s[-1]:.3f} s.",
            code="empty_range",
            hint="Choose another range with --start and --end.",
            last_frame_s=float(times_s[-1]),
        )
    rate, variable_rate = _playback_rate(timeline)
    return Clip(
        path=path,
        width_px=max(1, round(width_px * shrink)),
        height_px=max(1, round(height_px * shrink)),
        rate=rate,
        times_s=timeline.times_s(chosen) - timeline.times_s(chosen[:1]),
        source_frames=chosen,
        capture_rate=capture_rate(timeline.tags, rate),
        rotation_deg=(file_rotation_deg(timeline) + settings.rotate_deg) % 360,
        has_audio=timeline.has_audio,
        focal_mm35=focal_mm35(timeline.tags),
        variable_rate=variable_rate,
    )


def clip_hash(path: Path | str) -> str:
    """SHA-256 of the file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def select_frames(
    times_s: Float[np.ndarray, " n"], start_s: float | None = None, end_s: float | None = None, fps: float | None = None
) -> Int[np.ndarray, " m"]:
    """Indices of the frames shown in [start_s, end_s], thinned to at most ``fps`` a second.

    Thinning takes the frame nearest to each beat of an even grid that starts at the range's first frame, so that jittering time stamps
    do not double the gaps, and a frame is never taken twice. Raises SettingsError unless start_s < end_s.
    """
    if start_s is not None and end_s is not None and start_s >= end_s:
        raise SettingsError(
            f"video.start_s ({start_s:g}) must be less than video.end_s ({end_s:g}).", code="range_reversed", start_s=start_s, end_s=end_s
        )
    inside = (times_s >= (start_s or 0) - _RANGE_SLACK_S) & (times_s <= (np.inf if end_s is None else end_s) + _RANGE_SLACK_S)
    chosen = np.flatnonzero(inside)
    if fps is None or len(chosen) < 2:
        return chosen
    t = times_s[chosen] - times_s[chosen[0]]
    beats = np.arange(np.round(t[-1] * fps) + 1) / fps  # Rounded, so that 29.97 asked of 30000/1001 keeps the last frame.
    after = np.clip(np.searchsorted(t, beats), 1, len(t) - 1)
    nearest = np.where(beats - t[after - 1] <= t[after] - beats, after - 1, after)
    return chosen[np.unique(nearest)]


def _upright_size(timeline: Timeline, rotate_deg: int) -> tuple[int, int]:
    """Size after pixels are made square (by stretching, never by shrinking) and the picture is turned upright."""
    width, height = timeline.stored_size_px
    if timeline.pixel_aspect > 1:
        width = round(width * timeline.pixel_aspect)
    else:
        height = round(height / timeline.pixel_aspect)
    return (width, height) if bool(timeline.matrix[0]) == (rotate_deg % 180 == 0) else (height, width)


def _playback_rate(timeline: Timeline) -> tuple[Fraction, bool]:
    """(average rate, whether it varies). A rate the container names is taken where every frame keeps to it within one tick."""
    n = len(timeline.ticks)
    if n < 2:
        return (timeline.rates[0] if timeline.rates else Fraction(25)), False
    elapsed = timeline.ticks - timeline.ticks[0]
    for rate in timeline.rates:
        even = np.arange(n) * float(1 / (rate * timeline.time_base))
        if np.max(np.abs(elapsed - even)) <= 1.0:
            return rate, False
    average = Fraction(n - 1) / (int(elapsed[-1]) * timeline.time_base)
    steps = np.diff(timeline.ticks)
    mean = float(elapsed[-1]) / (n - 1)
    wobble = np.max(np.abs(steps - mean))
    return average, bool(wobble > max(1.5, VARIABLE_RATE_TOLERANCE * mean))
