"""Streaming gives the clip's frames: those and no others, upright, in the right colours, without growing."""

import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from body4d.config import VideoSettings
from body4d.core.errors import InputError
from body4d.video import VideoReader, probe
from make_videos import corners, make_video, number_of, quadrants, stripes

KINDS = {
    "h264 with B-frames": ("a.mp4", {"options": {"bf": "3", "g": "12"}}),
    "h264 with open GOPs": ("a.mp4", {"options": {"bf": "3", "g": "12", "x264-params": "open-gop=1"}}),
    "h264 in a transport stream": ("a.ts", {"options": {"bf": "2", "g": "12"}}),
    "h264 in Matroska": ("a.mkv", {"options": {"bf": "2", "g": "12"}}),
    "h264 without time stamps": ("a.h264", {"format": "h264", "options": {"bf": "2", "g": "12"}}),
    "hevc, 10 bits": (
        "a.mp4",
        {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none:keyint=12"}},
    ),
    "4:4:4, odd size": ("a.mp4", {"pix_fmt": "yuv444p", "size": (65, 47)}),
    "gray": ("a.mp4", {"pix_fmt": "gray"}),
    "8x8 pixels": ("a.mp4", {"size": (8, 8)}),
    "ProRes": ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}}),
    "motion JPEG": ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "VP8 with hidden frames": ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "12"}}),
    "GIF": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8", "rate": 25}),
    "edit list": ("a.mp4", {"shift": -10, "options": {"bf": "2", "g": "25"}}),
    "late start": ("a.mp4", {"shift": 10, "options": {"bf": "2", "g": "12"}}),
    "variable rate": ("a.mp4", {"ticks": (np.arange(60) ** 2).tolist(), "time_base": Fraction(1, 9000), "options": {"bf": "2", "g": "12"}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_exactly_its_frames_from_anywhere(tmp_path, kind):
    name, kwargs = KINDS[kind]
    clip = probe(make_video(tmp_path / name, 60, **kwargs))
    first_shown = 10 if kind == "edit list" else 0
    assert len(clip) == 60 - first_shown
    frames = VideoReader(clip, min_seek_gap_frames=2)
    whole = list(frames.read())
    assert [i for i, _ in whole] == list(range(len(clip)))
    assert [number_of(rgb) for _, rgb in whole] == list(range(first_shown, 60))
    assert all(rgb.shape == (clip.height_px, clip.width_px, 3) and rgb.dtype == np.uint8 for _, rgb in whole)
    for first, last, step in ((30, None, 1), (7, 48, 20), (0, 45, 13), (49, 50, 1), (48, 1000, 1)):
        part = list(frames.read(first, last, step))
        assert [i for i, _ in part] == list(range(len(clip)))[first:last:step]
        for i, rgb in part:
            np.testing.assert_array_equal(rgb, whole[i][1])
    assert all(warning.code == "no_time_stamps" for warning in frames.warnings)


def test_a_thinned_range_gives_its_own_frames(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60, options={"g": "12"})
    clip = probe(path, VideoSettings(start_s=0.5, end_s=1.5, fps=10))
    assert [number_of(rgb) for _, rgb in VideoReader(clip).read()] == clip.source_frames.tolist()


@pytest.mark.parametrize(
    ("rotation", "hflip", "shown", "degrees"),
    [(0, False, "RGBW", 0), (-90, False, "BRWG", 90), (180, False, "WBGR", 180), (90, False, "GWRB", 270), (0, True, "GRWB", 0)],
)
def test_frames_stand_upright(tmp_path, rotation, hflip, shown, degrees):
    path = make_video(tmp_path / "a.mp4", [quadrants(96, 48)] * 3, rotation=rotation, hflip=hflip)
    clip = probe(path)
    ((_, rgb),) = VideoReader(clip).read(1, 2)
    assert corners(rgb) == shown
    assert clip.rotation_deg == degrees
    assert (rgb.shape[1], rgb.shape[0]) == (clip.width_px, clip.height_px) == ((48, 96) if degrees % 180 else (96, 48))
    assert rgb.flags.c_contiguous


def test_a_flipped_quarter_turn(tmp_path):
    """Front cameras may store both: turned, then mirrored left to right."""
    ((_, rgb),) = VideoReader(probe(make_video(tmp_path / "a.mp4", [quadrants()] * 2, rotation=-90, hflip=True))).read(0, 1)
    assert corners(rgb) == corners(np.rot90(quadrants(), -1)[:, ::-1])


BT709, BT601, LIMITED, FULL = 1, 5, 1, 2


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(BT709, 0.2126, 0.0722), (BT601, 0.299, 0.114)])
@pytest.mark.parametrize("value_range", [LIMITED, FULL])
def test_colours_follow_the_file_s_matrix_and_range(tmp_path, matrix, value_range, kr, kb):
    """Planes are filled by the textbook equations (ITU-R BT.601, BT.709), so a swapped matrix or range would show."""
    want = np.array([200.0, 60.0, 30.0])
    luma = kr * want[0] + (1 - kr - kb) * want[1] + kb * want[2]
    chroma = np.array([(want[2] - luma) / (2 * (1 - kb)), (want[0] - luma) / (2 * (1 - kr))])
    y, (u, v) = (16 + luma * 219 / 255, 128 + chroma * 224 / 255) if value_range == LIMITED else (luma, 128 + chroma)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, value_range
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(np.full(plane.buffer_size, round(value), np.uint8))
        frame.colorspace, frame.color_range, frame.pts = matrix, value_range, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    ((_, rgb),) = VideoReader(probe(path)).read()
    np.testing.assert_allclose(rgb[24, 32].astype(float), want, atol=2.5)


@pytest.mark.slow  # FFmpeg takes seconds to prepare the conversion
@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_becomes_sensible_eight_bits(tmp_path, transfer):
    colour = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    path = make_video(tmp_path / "a.mp4", [stripes(0b10101010)] * 2, codec="libx265", pix_fmt="yuv420p10le", colour=colour)
    ((_, rgb),) = VideoReader(probe(path)).read(0, 1)
    assert number_of(rgb) == 0b10101010
    spread = rgb.astype(int).max(axis=2) - rgb.astype(int).min(axis=2)
    assert spread.max() <= 6  # Gray stays gray,
    assert rgb.max() > 200  # white stays bright,
    assert rgb.min() < 30  # and black dark.


def test_shrinking_averages(tmp_path):
    """A fine checkerboard becomes even gray, not a moire."""
    board = np.indices((240, 320)).sum(0) % 2 * 200 + 20
    path = make_video(tmp_path / "a.mp4", [np.repeat(board[:, :, None], 3, 2).astype(np.uint8)] * 2, pix_fmt="yuv444p")
    ((_, rgb),) = VideoReader(probe(path, VideoSettings(max_side_px=80))).read(0, 1)
    assert np.abs(rgb[5:-5, 5:-5].astype(int) - 120).max() < 25


def _spoil(path, first, last):
    """Overwrite the packets shown as frames ``first`` to ``last``-1."""
    with av.open(str(path)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
        order = np.argsort([p.pts for p in packets])
        spots = [(packets[i].pos, packets[i].size) for i in order[first:last]]
    data = bytearray(path.read_bytes())
    for at, size in spots:
        data[at : at + size] = b"\xff" * size
    path.write_bytes(data)


def test_frames_that_do_not_decode_repeat_the_one_before_wherever_reading_starts(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60, options={"bf": "0", "g": "12"})
    _spoil(path, 20, 23)
    clip = probe(path)
    frames = VideoReader(clip)
    assert len(clip) == 60
    assert frames.warnings == ()
    whole = [number_of(rgb) for _, rgb in frames.read()]
    assert whole[:20] == list(range(20))
    assert whole[20:23] == [19, 19, 19]
    assert whole[24:] == list(range(24, 60))  # Whole again from the next key frame on.
    (warning,) = frames.warnings
    assert "do not decode" in warning.message
    assert [number_of(rgb) for _, rgb in frames.read(21, 23)] == [19, 19]


def test_a_spoiled_key_frame_is_bridged_from_before_it(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60, codec="mjpeg", pix_fmt="yuvj420p", options={})
    _spoil(path, 30, 33)
    frames = VideoReader(probe(path), min_seek_gap_frames=2)
    assert [number_of(rgb) for _, rgb in frames.read(31, 34)] == [29, 29, 33]
    assert [number_of(rgb) for _, rgb in frames.read(28, 34)] == [28, 29, 29, 29, 29, 33]


def _decoders():
    return [t for t in threading.enumerate() if t.name == "body4d-decode"]


def test_the_thread_ends_with_the_reading(tmp_path):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", 60)))
    stream = frames.read()
    next(stream)
    assert len(_decoders()) == 1
    stream.close()
    assert not _decoders()
    for _ in frames.read():
        break
    with pytest.raises(ZeroDivisionError):
        _ = [1 / (3 - i) for i, _ in frames.read()]
    deadline = time.monotonic() + 5
    while _decoders() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _decoders()


def test_decoding_never_runs_far_ahead(tmp_path):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", 60)), max_queue_mb=64 * 48 * 3 * 2.5 / 1e6)
    made = 0
    real = frames._frames

    def counting(rows):
        nonlocal made
        for item in real(rows):
            made += 1
            yield item

    frames._frames = counting
    stream = frames.read()
    next(stream)
    time.sleep(0.3)
    assert made <= 4
    assert len(list(stream)) == 59


def test_two_readers_do_not_disturb_each_other(tmp_path):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", 30)))
    pairs = zip(frames.read(), frames.read(10), strict=False)
    assert [(number_of(a), number_of(b)) for (_, a), (_, b) in pairs] == [(i, i + 10) for i in range(20)]


def test_errors_of_the_thread_reach_the_reader(tmp_path):
    path = make_video(tmp_path / "a.mp4", 30)
    frames = VideoReader(probe(path))
    path.unlink()
    with pytest.raises(InputError, match="no file at"):
        list(frames.read())


def test_a_clip_of_another_file_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", 30)
    clip = probe(path)
    make_video(path, 10)
    with pytest.raises(InputError, match="has 10 frames, but frame 29 is asked for"):
        VideoReader(clip)


def test_reading_nothing(tmp_path):
    frames = VideoReader(probe(make_video(tmp_path / "a.mp4", 5)))
    assert list(frames.read(5)) == []
    assert list(frames.read(3, 3)) == []
    with pytest.raises(ValueError, match="forwards"):
        frames.read(-1)


def test_real_golf_swing_reads_the_same_from_anywhere(shared):
    frames = VideoReader(probe(shared / "videos" / "golf_swing.mp4"))
    whole = dict(frames.read(0, None, 1))
    assert len(whole) == 264
    for i, rgb in frames.read(100, 240, 60):
        np.testing.assert_array_equal(rgb, whole[i])


def test_memory_does_not_grow_with_length(tmp_path):
    """240 frames are 221 MB; benchmarks/video.py measures ten minutes of 1080p."""
    psutil = pytest.importorskip("psutil")
    picture = quadrants(640, 480)
    path = make_video(tmp_path / "a.mp4", [picture] * 240, options={"preset": "ultrafast", "crf": "30"})
    frames = VideoReader(probe(path))
    me = psutil.Process()
    used_mb = [me.memory_info().rss / 1e6 for _ in frames.read()]
    assert max(used_mb[40:]) - used_mb[20] < 40
