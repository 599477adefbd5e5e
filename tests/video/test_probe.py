"""What probing finds in a file, against what was written into it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import VideoSettings
from body4d.core.errors import InputError, SettingsError
from body4d.video import VideoReader, clip_hash, probe, select_frames
from body4d.video.timeline import Timeline
from make_videos import add_track_tag, cut, make_video

NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("rate", [NTSC, Fraction(24_000, 1001), Fraction(25), Fraction(240)])
def test_a_constant_rate_is_the_exact_fraction(tmp_path, name, rate):
    clip = probe(make_video(tmp_path / name, 40, rate=rate))
    assert (clip.rate, clip.capture_rate, clip.variable_rate, len(clip)) == (rate, rate, False, 40)
    tick_s = 1e-3 if name.endswith("mkv") else 1e-9  # Matroska keeps whole milliseconds.
    assert np.abs(clip.times_s - np.arange(40) / float(rate)).max() <= tick_s


def test_variable_rate_keeps_every_time_stamp(tmp_path):
    ticks = [0, 10, 35, 40, 70, 71, 100]
    clip = probe(make_video(tmp_path / "v.mp4", 7, ticks=ticks, time_base=Fraction(1, 600), options={"bf": "2"}))
    assert clip.variable_rate
    assert clip.rate == Fraction(6 * 600, 100)
    np.testing.assert_allclose(clip.times_s, np.array(ticks) / 600, rtol=0, atol=1e-12)


def test_a_phone_s_jitter_is_no_variable_rate(tmp_path):
    ticks = (np.arange(60) * 20 + np.tile([0, 1, 0, -1], 15)).tolist()
    clip = probe(make_video(tmp_path / "v.mp4", 60, ticks=ticks, time_base=Fraction(1, 600)))
    assert not clip.variable_rate
    assert clip.rate == Fraction(59 * 600, ticks[-1])


@pytest.mark.parametrize("shift", [7, 300])
def test_times_count_from_the_first_frame_wherever_the_file_starts(tmp_path, shift):
    clip = probe(make_video(tmp_path / "s.mp4", 12, shift=shift))
    np.testing.assert_allclose(clip.times_s, np.arange(12) / 30, atol=1e-9)


def test_an_edit_list_hides_its_frames(tmp_path):
    clip = probe(make_video(tmp_path / "e.mp4", 30, shift=-10, options={"bf": "2"}))
    assert len(clip) == 20
    assert Timeline.open(clip.path).warnings == ()


@pytest.mark.parametrize(
    ("name", "kwargs", "clock"),
    [
        ("x.mp4", {"options": {"bf": "3"}}, "pts"),
        ("x.ts", {}, "pts"),
        ("x.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}, "pts"),
        ("x.webm", {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}, "pts"),
        ("x.h264", {"format": "h264", "options": {"bf": "2"}}, "count"),
    ],
)
def test_the_clock_that_serves(tmp_path, name, kwargs, clock):
    clip = probe(make_video(tmp_path / name, 40, **kwargs))
    assert len(clip) == 40
    assert Timeline.open(clip.path).clock == clock
    assert bool(Timeline.open(clip.path).warnings) == (clock == "count")


def test_sound_is_found(tmp_path):
    assert probe(make_video(tmp_path / "a.mp4", audio="aac")).has_audio
    assert not probe(make_video(tmp_path / "b.mp4")).has_audio


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(4, 3), (85, 48)), (Fraction(2, 3), (64, 72)), (Fraction(1), (64, 48))])
def test_pixels_are_made_square(tmp_path, aspect, size):
    clip = probe(make_video(tmp_path / "a.mp4", pixel_aspect=aspect))
    assert (clip.width_px, clip.height_px) == size


def test_max_side_shrinks_and_never_enlarges(tmp_path):
    path = make_video(tmp_path / "a.mp4", size=(320, 200), rotation=90)
    shrunk = probe(path, VideoSettings(max_side_px=100))
    assert (shrunk.width_px, shrunk.height_px) == (62, 100)
    assert (probe(path, VideoSettings(max_side_px=1000)).height_px) == 320


@pytest.mark.parametrize(
    ("tag", "capture"), [("240.000000", Fraction(240)), ("30.000000", Fraction(30)), ("29.5", Fraction(30)), ("119.88", Fraction(2997, 25))]
)
def test_android_writes_the_capture_rate(tmp_path, tag, capture):
    path = make_video(tmp_path / "a.mp4", movflags="use_metadata_tags", metadata={"com.android.capture.fps": tag})
    clip = probe(path)
    assert (clip.rate, clip.capture_rate) == (30, capture)
    assert clip.time_scale == pytest.approx(30 / float(capture))


def test_real_time_slow_motion_needs_no_tag(tmp_path):
    """An iPhone's original runs at 240 frames a second; Android writes capture.fps into such files too."""
    path = make_video(tmp_path / "a.mp4", rate=240, movflags="use_metadata_tags", metadata={"com.android.capture.fps": "240.0"})
    assert probe(path).time_scale == 1


@pytest.mark.parametrize(("text", "focal"), [("26", 26.0), ("50.00mm", 50.0), ("-13", None), ("0", None), ("lens", None)])
def test_iphone_writes_its_focal_length_on_the_track(tmp_path, text, focal):
    path = make_video(tmp_path / "a.mp4")
    assert probe(path).focal_mm35 is None
    add_track_tag(path, "com.apple.quicktime.camera.focal_length.35mm_equivalent", text)
    clip = probe(path)
    assert clip.focal_mm35 == focal
    assert len(clip) == 12


def test_the_focal_length_of_the_whole_file_is_read_too(tmp_path):
    key = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
    assert probe(make_video(tmp_path / "a.mp4", movflags="use_metadata_tags", metadata={key: "24"})).focal_mm35 == 24


def test_a_cut_file_gives_what_is_left_and_says_so(tmp_path):
    clip = probe(cut(make_video(tmp_path / "c.mp4", 90, size=(320, 240), movflags="faststart"), 0.6))
    assert 20 < len(clip) < 90
    (warning,) = Timeline.open(clip.path).warnings
    assert f"{len(clip)} of its 90 frames" in warning.message


def test_range_and_rate_select_frames(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60)
    clip = probe(path, VideoSettings(start_s=0.5, end_s=1.5, fps=10))
    assert clip.source_frames.tolist() == list(range(15, 46, 3))
    np.testing.assert_allclose(clip.times_s, np.arange(11) / 10, atol=1e-9)
    assert clip.rate == 30


def test_a_range_without_frames_says_where_the_frames_are(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60)
    with pytest.raises(InputError, match=r"from 5 s to its end.*0 s and 1\.967 s"):
        probe(path, VideoSettings(start_s=5))
    with pytest.raises(SettingsError, match=r"start_s \(2\) must be less than"):
        probe(path, VideoSettings(start_s=2, end_s=1))


def test_probing_does_not_decode_the_middle(tmp_path, monkeypatch):
    from body4d.video import timeline as module

    path = make_video(tmp_path / "a.mp4", 200, options={"g": "10"})
    count = 0
    real = module._decode

    def counting(stream, packet):
        nonlocal count
        frames = real(stream, packet)
        count += len(frames)
        return frames

    monkeypatch.setattr(module, "_decode", counting)
    assert len(probe(path)) == 200
    assert count < 30


@pytest.mark.parametrize(("name", "opened"), [("a.mp4", 1), ("a.mkv", 1), ("a.ts", 2), ("a.h264", 2)])
def test_a_file_is_opened_once_to_be_probed_and_once_to_be_read(tmp_path, monkeypatch, name, opened):
    """Where the decoder cannot be checked against the packets, the file is opened once more, to be decoded whole."""
    from body4d.video import timeline as module

    path = make_video(tmp_path / name, 30, format=name[2:] if name.endswith("h264") else None)
    paths = []
    real = module.av.open
    monkeypatch.setattr(module.av, "open", lambda file, *args, **kwargs: (paths.append(file), real(file, *args, **kwargs))[1])
    reader = VideoReader(probe(path))
    assert len(paths) == opened
    assert len(list(reader.read())) == 30
    assert len(paths) == opened + 1


def test_a_changed_file_is_scanned_again(tmp_path):
    path = tmp_path / "a.mp4"
    assert len(probe(make_video(path, 10))) == 10
    assert len(probe(make_video(path, 20))) == 20


def test_the_largest_frame_is_checked_for_a_file_that_is_known_already(tmp_path):
    path = make_video(tmp_path / "a.mp4", 1, size=(320, 240))
    assert len(probe(path)) == 1
    with pytest.raises(InputError, match="megapixels"):
        probe(path, VideoSettings(max_megapixels=0.05))


def test_hash_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert clip_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    fps=st.floats(0.5, 60),
    start=st.floats(0, 2),
    length=st.floats(0.01, 5),
)
def test_selected_frames_rise_lie_inside_and_are_never_too_many(steps, fps, start, length):
    times_s = np.concatenate([[0], np.cumsum(steps)]) / 600
    chosen = select_frames(times_s, start, start + length, fps)
    inside = select_frames(times_s, start, start + length)
    assert np.all(np.diff(chosen) > 0)
    assert set(chosen) <= set(inside)
    assert bool(len(chosen)) == bool(len(inside))
    if len(inside):
        assert chosen[0] == inside[0]
        span_s = times_s[inside[-1]] - times_s[inside[0]]
        assert len(chosen) <= span_s * fps + 1.5 + 1e-5


@pytest.mark.parametrize(
    ("rate", "fps", "kept"),
    [(30, 30, range(10)), (30, 60, range(10)), (30, 15, range(0, 10, 2)), (30, 29.97, range(10)), (60, 20, [0, 3, 6, 9])],
)
def test_thinning_an_even_rate(rate, fps, kept):
    assert select_frames(np.arange(10) / rate, fps=fps).tolist() == list(kept)


def test_thinning_ignores_milliseconds_of_jitter():
    times_s = np.round(np.arange(120) / 60, 3)
    assert select_frames(times_s, fps=30).tolist() == list(range(0, 120, 2))


def test_real_clips(shared):
    golf = probe(shared / "videos" / "golf_swing.mp4")
    assert (len(golf), golf.width_px, golf.height_px, golf.rate) == (264, 354, 492, Fraction(2997, 100))
    dance = probe(shared / "videos" / "street_dance.mp4")
    assert (len(dance), dance.width_px, dance.height_px, dance.rate) == (64, 854, 480, 25)
