"""The strike in a clip's sound: short, loud onsets, in seconds of the clip.

A club that meets a ball makes a click with much energy above 2 kHz which rises within milliseconds, so that sound tells the moment of
impact more closely than pictures at 30 frames/s do. A clip may hold other clicks (another player's ball, a door): which onset belongs to
the swing is decided with the body's movement, not here.
"""

from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import butter, sosfilt

from body4d.core.errors import Body4DError
from body4d.core.types import Clip
from body4d.video.audio import open_audio
from body4d.video.timeline import Timeline, demux_packets

SPEED_OF_SOUND_M_S = 343.0
"""In air at 20 °C."""

HIGH_PASS_HZ = 2000.0
"""Below it are voices, wind and handling noise; a click reaches far above it."""

ENVELOPE_S = 0.001
"""Length of the sections whose energy is compared."""

BACKGROUND_S = 0.5
"""The level before and after that an onset is compared with is the median over this span."""

MIN_RISE_DB = 15.0
"""An onset stands out of the background by this much at least..."""

MAX_RISE_S = 0.006
"""...and gets there within this time from ``MIN_RISE_DB`` below its peak or less: syllables take tens of milliseconds."""

MIN_FALL_DB = 6.0
MAX_LENGTH_S = 0.15
"""A click has fallen by ``MIN_FALL_DB`` from its peak after this time, room and all."""

MAX_BELOW_LOUDEST_DB = 20.0
"""Fainter clicks than this below the clip's loudest one are left out: the strike is near the camera."""

MIN_GAP_S = 0.1
"""Of onsets closer than this, the first is meant: the rest are echoes."""

MAX_ONSETS_PER_S = 1.5
MIN_ONSETS_REFUSED = 6
"""More onsets than this in a clip, and more often: music or rattling, which tells of no strike."""

MAX_CLIPPED_SHARE = 0.02
"""Sound of which more samples than this stand at full scale is too loud throughout to tell a strike."""

LENGTH_SLACK_S = 0.3
LENGTH_SLACK_SHARE = 0.03
"""Sound and picture may begin and end this far apart. Slow motion whose sound was left at its real speed differs by far more."""

MIN_TIME_SCALE = 0.9
"""A clip that shows less real time than this for each of its seconds is slowed down."""

SILENCE = 1e-5
"""A peak below this (of full scale 1) is no sound."""


@dataclass(frozen=True)
class StrikeOnsets:
    """``times_s``: seconds from the first frame of the clip. Where there is none, ``reason`` says why, as half a sentence."""

    times_s: tuple[float, ...]
    reason: str = ""


class Sound(NamedTuple):
    """A mono signal in [-1, 1], or why there is none."""

    samples: Float[np.ndarray, " n"]
    rate_hz: int
    start_s: float
    """Time of the first sample, in seconds from the first frame of the file."""
    reason: str = ""


NO_SOUND = Sound(np.zeros(0, np.float32), 1, 0.0, "the clip has no sound")


def strike_onsets(clip: Clip, *, distance_m: float = 0.0) -> StrikeOnsets:
    """The onsets within ``clip``'s range, each set back by the time that sound takes over ``distance_m`` from the ball to the camera.

    Refused where there is no sound, where its length does not agree with that of the pictures, and where the file says that it was slowed
    down: stretched sound was seen five frames late in such a clip. Damaged sound raises nothing.
    """
    if not clip.has_audio or not len(clip):
        return StrikeOnsets((), NO_SOUND.reason)
    if clip.time_scale < MIN_TIME_SCALE:
        return StrikeOnsets((), "the clip is slowed down, and its sound does not keep to the pictures")
    try:
        timeline = Timeline.open(clip.path)
        times_s = timeline.times_s(np.arange(len(timeline.ticks)))
        picture_s = float(times_s[-1] - times_s[0]) + 1 / clip.fps
        zero_s = float(int(timeline.ticks[0]) * timeline.time_base) if timeline.clock == "pts" else 0.0
        sound = read_sound(clip, zero_s, 2 * picture_s + 60)
    except (Body4DError, FFmpegError, OSError) as error:
        return StrikeOnsets((), f"the sound cannot be read ({getattr(error, 'message', None) or error})")
    if sound.reason:
        return StrikeOnsets((), sound.reason)
    if why := why_lengths_differ(sound, picture_s):
        return StrikeOnsets((), why)
    found = find_onsets(sound.samples, sound.rate_hz)
    shift_s = sound.start_s + float(times_s[0] - times_s[clip.source_frames[0]]) - distance_m / SPEED_OF_SOUND_M_S
    inside = tuple(t + shift_s for t in found.times_s if 0 <= t + shift_s <= clip.times_s[-1] + 1 / clip.fps)
    return StrikeOnsets(inside, found.reason or ("" if inside else "the sound has no short, loud onset in this part of the clip"))


def why_lengths_differ(sound: Sound, picture_s: float) -> str:
    """Why the sound is not taken for that of the pictures, which last ``picture_s``; "" where it is."""
    slack_s = LENGTH_SLACK_S + LENGTH_SLACK_SHARE * picture_s
    sound_s = len(sound.samples) / sound.rate_hz
    if abs(sound.start_s) <= slack_s and abs(sound.start_s + sound_s - picture_s) <= slack_s:
        return ""
    return f"the sound lasts {sound_s:.1f} s and the pictures {picture_s:.1f} s, so that they do not belong together moment by moment"


def find_onsets(samples: Float[np.ndarray, " n"], rate_hz: int) -> StrikeOnsets:
    """Short, loud onsets in ``samples``, in seconds from the first of them."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak > SILENCE:
        return StrikeOnsets((), "the sound is silent")
    if np.mean(np.abs(samples) >= 0.99 * max(peak, 0.9)) > MAX_CLIPPED_SHARE:
        return StrikeOnsets((), "the sound is too loud throughout: it is clipped")
    levels_db, step_s = envelope_db(samples, rate_hz)
    nothing = StrikeOnsets((), "the sound has no short, loud onset")
    if len(levels_db) < 2 * BACKGROUND_S / step_s:
        return nothing
    onsets = _onsets(levels_db, step_s)
    if len(onsets) >= MIN_ONSETS_REFUSED and len(onsets) > MAX_ONSETS_PER_S * len(levels_db) * step_s:
        return StrikeOnsets((), f"the sound is full of short onsets ({len(onsets)}), like music")
    return StrikeOnsets(tuple(onsets)) if onsets else nothing


def envelope_db(samples: Float[np.ndarray, " n"], rate_hz: int) -> tuple[Float[np.ndarray, " m"], float]:
    """Energy above ``HIGH_PASS_HZ`` in dB, section by section, and the length of a section in seconds.

    The filter is causal, so that nothing is heard before it happens; it delays by less than a section.
    """
    cut_hz = min(HIGH_PASS_HZ, 0.25 * rate_hz)
    high = sosfilt(butter(4, cut_hz, "highpass", fs=rate_hz, output="sos"), samples.astype(np.float64))
    size = max(1, round(ENVELOPE_S * rate_hz))
    energy = np.square(high[: len(high) // size * size]).reshape(-1, size).mean(1)
    return 10 * np.log10(energy + SILENCE**2), size / rate_hz


def _onsets(levels_db: np.ndarray, step_s: float) -> list[float]:
    def steps(seconds: float) -> int:
        return max(1, round(seconds / step_s))

    # A median of every tenth section is as good and ten times as fast.
    thin = uniform_filter1d(levels_db, 10)[::10]
    background_db = np.repeat(median_filter(thin, steps(BACKGROUND_S) // 10 | 1, mode="nearest"), 10)[: len(levels_db)]
    background_db = np.pad(background_db, (0, len(levels_db) - len(background_db)), mode="edge")
    above_db = levels_db - background_db
    rise, length, gap = steps(MAX_RISE_S), steps(MAX_LENGTH_S), steps(MIN_GAP_S)
    found: list[tuple[int, float]] = []
    i = rise
    while i < len(levels_db):
        if above_db[i] < MIN_RISE_DB or levels_db[i] - levels_db[i - rise : i].min() < MIN_RISE_DB:
            i += 1
            continue
        top = i + int(np.argmax(levels_db[i : i + rise]))
        after = levels_db[top + 1 : top + 1 + length]
        if len(after) and np.median(after[-max(1, len(after) // 3) :]) <= levels_db[top] - MIN_FALL_DB:
            start = max(top - 2 * rise, 0)
            half_db = (levels_db[start : top + 1].min() + levels_db[top]) / 2
            begin = start + int(np.flatnonzero(levels_db[start : top + 1] >= half_db)[0])
            found.append((begin, float(levels_db[top])))
        i = top + gap
    loudest_db = max((level for _, level in found), default=0.0)
    return [begin * step_s for begin, level in found if level >= loudest_db - MAX_BELOW_LOUDEST_DB]


def read_sound(clip: Clip, zero_s: float, max_s: float) -> Sound:
    """The sound of the clip's file within ``max_s`` of ``zero_s``, the stamp of the file's first frame; each sample at its time stamp.

    Damaged stretches are silent. The limit keeps a wild time stamp from asking for all memory.
    """
    container, stream = open_audio(clip.path)
    rate_hz = stream.rate or 48_000
    resampler = av.AudioResampler("flt", "mono", rate_hz)
    pieces: list[tuple[int, np.ndarray]] = []
    with container:
        for packet in demux_packets(container, stream):
            try:
                decoded = stream.decode(packet if packet.size else None)
                resampled = [piece for frame in decoded for piece in resampler.resample(frame)]
            except (FFmpegError, ValueError):
                continue
            for piece in resampled:
                if piece.pts is None or piece.time_base is None:
                    continue
                at_s = float(piece.pts * piece.time_base)
                if abs(at_s - zero_s) <= max_s:
                    pieces.append((round(at_s * rate_hz), piece.to_ndarray().reshape(-1)))
    if not pieces:
        return NO_SOUND._replace(reason="the clip's sound cannot be decoded")
    first = min(start for start, _ in pieces)
    samples = np.zeros(max(start + len(piece) for start, piece in pieces) - first, np.float32)
    for start, piece in pieces:
        samples[start - first : start - first + len(piece)] = piece
    return Sound(np.nan_to_num(np.clip(samples, -1, 1)), rate_hz, first / rate_hz - zero_s)
