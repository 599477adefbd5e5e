"""Clicks of known times in noise, and sounds that tell of no strike."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from body4d.golf.sound import Sound, find_onsets, strike_onsets, why_lengths_differ
from body4d.video.probe import probe
from make_videos import cut, make_video

RATE_HZ = 48_000


def noise(seconds: float, level: float = 0.003, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ)).astype(np.float32)


def click(level: float = 0.5, decay_s: float = 0.006, seed: int = 1) -> np.ndarray:
    t = np.arange(round(0.08 * RATE_HZ)) / RATE_HZ
    return (np.random.default_rng(seed).normal(0, level, len(t)) * np.exp(-t / decay_s)).clip(-1, 1).astype(np.float32)


def with_clicks(samples: np.ndarray, times_s: tuple[float, ...], level: float = 0.5) -> np.ndarray:
    samples = samples.copy()
    for seed, t in enumerate(times_s):
        start, piece = round(t * RATE_HZ), click(level, seed=seed)
        samples[start : start + len(piece)] += piece
    return samples


def syllables(seconds: float) -> np.ndarray:
    """Noise that swells and fades four times a second, and a voice's harmonics with it."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swell = np.sin(np.pi * 4 * t) ** 2
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 30))
    return (swell * (0.1 * voice + noise(seconds, 0.05))).astype(np.float32)


@pytest.mark.parametrize("times_s", [(1.2345,), (0.4, 2.6), (0.9, 1.5, 2.2)])
@pytest.mark.parametrize("level", [0.003, 0.02])
def test_clicks_are_found_where_they_are(times_s, level):
    found = find_onsets(with_clicks(noise(3, level), times_s), RATE_HZ)
    assert found.times_s == pytest.approx(times_s, abs=0.005)
    assert not found.reason


def test_an_echo_is_no_onset_of_its_own():
    samples = with_clicks(noise(2), (1.0,)) + with_clicks(np.zeros(2 * RATE_HZ, np.float32), (1.04,), level=0.2)
    assert find_onsets(samples, RATE_HZ).times_s == pytest.approx((1.0,), abs=0.005)


def test_a_click_far_fainter_than_the_strike_is_left_out():
    samples = with_clicks(with_clicks(noise(3, 0.0005), (1.0,)), (2.0,), level=0.01)
    assert find_onsets(samples, RATE_HZ).times_s == pytest.approx((1.0,), abs=0.005)


def test_a_strike_is_found_while_somebody_speaks():
    assert find_onsets(with_clicks(0.05 * syllables(3), (1.3,)), RATE_HZ).times_s == pytest.approx((1.3,), abs=0.005)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(3 * RATE_HZ, np.float32), "silent"),
        (noise(3, 0.05), "no short, loud onset"),
        (syllables(3), "no short, loud onset"),
        (np.sign(noise(3)), "clipped"),
        (with_clicks(noise(4), tuple(np.arange(0.3, 3.8, 0.25))), "like music"),
        (np.repeat([0.001, 0.3], RATE_HZ).astype(np.float32) * noise(2, 1), "no short, loud onset"),  # a noise that begins and stays
    ],
)
def test_what_tells_of_no_strike_is_refused_with_its_reason(samples, reason):
    found = find_onsets(samples, RATE_HZ)
    assert found.times_s == ()
    assert reason in found.reason


def test_a_short_sound_has_no_onset():
    assert find_onsets(noise(0.1), RATE_HZ).times_s == ()


@pytest.mark.parametrize(("start_s", "sound_s", "agrees"), [(0, 5.0, True), (-0.02, 4.8, True), (0, 1.2, False), (1.0, 4.0, False)])
def test_sound_must_be_as_long_as_the_pictures(start_s, sound_s, agrees):
    sound = Sound(np.zeros(round(sound_s * 1000), np.float32), 1000, start_s)
    assert (why_lengths_differ(sound, 5.0) == "") is agrees


def clip_with_sound(path: Path, samples: np.ndarray, seconds: float) -> Path:
    """A clip of 10 pictures a second with ``samples`` as lossless sound."""
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=10), out.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(round(10 * seconds)):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        out.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.rate, frame.pts = RATE_HZ, 0
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def test_onsets_of_a_clip_are_on_its_own_clock(tmp_path):
    clip = probe(clip_with_sound(tmp_path / "a.mov", with_clicks(noise(3), (0.5, 2.0)), 3))
    assert strike_onsets(clip).times_s == pytest.approx((0.5, 2.0), abs=0.005)
    assert strike_onsets(clip, distance_m=6.86).times_s == pytest.approx((0.48, 1.98), abs=0.005)
    later = replace(clip, source_frames=clip.source_frames[10:], times_s=clip.times_s[10:] - clip.times_s[10])
    assert strike_onsets(later).times_s == pytest.approx((1.0,), abs=0.005)


def test_sound_of_another_length_is_refused(tmp_path):
    found = strike_onsets(probe(clip_with_sound(tmp_path / "a.mov", with_clicks(noise(1), (0.5,)), 4)))
    assert found.times_s == ()
    assert "1.0 s" in found.reason
    assert "4.0 s" in found.reason


def test_a_clip_that_its_file_says_is_slowed_down_is_refused(tmp_path):
    clip = probe(clip_with_sound(tmp_path / "a.mov", with_clicks(noise(1), (0.5,)), 1))
    assert "slowed down" in strike_onsets(replace(clip, capture_rate=clip.rate * 8)).reason


def test_a_clip_without_sound(tmp_path):
    assert strike_onsets(probe(make_video(tmp_path / "a.mp4"))).reason == "the clip has no sound"


def test_damaged_sound_raises_nothing(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=60, audio="aac")
    clip = probe(path)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(len(data) // 3, 2 * len(data) // 3, 300):
        data[at] = int(rng.integers(256))
    path.write_bytes(data)
    assert isinstance(strike_onsets(clip).times_s, tuple)
    cut(path, 0.3)
    assert strike_onsets(clip).times_s == ()
