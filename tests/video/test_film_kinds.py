"""Kinds of film that phones, editors and camcorders give: each is read right, or said in one true sentence."""

import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from body4d.config import VideoSettings
from body4d.core.errors import InputError
from body4d.video import VideoReader, VideoWriter, probe
from body4d.video.audio import sound_problem
from body4d.video.cuts import changed_shares, cut_rows, find_cuts, unexplained_shares
from body4d.video.metadata import edit_list_rates
from make_videos import corners, make_sound, make_video, number_of, quadrants, stripes


def read_all(path, **settings):
    reader = VideoReader(probe(path, VideoSettings(**settings)))
    return np.stack([rgb for _, rgb in reader.read()]), reader


def codes(warnings):
    return [warning.code for warning in warnings]


def test_a_picture_that_changes_its_size_keeps_its_aspect(tmp_path):
    parts = [
        make_video(tmp_path / f"{n}.webm", [picture] * 6, codec="libvpx")
        for n, picture in enumerate((quadrants(48, 64), quadrants(96, 48)))
    ]
    path = tmp_path / "turned.webm"
    with av.open(str(path), "w") as out:
        stream, shift = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0])
                packets = [p for p in source.demux(video=0) if p.size]
                for packet in packets:
                    packet.pts, packet.stream = packet.pts + shift, stream
                    packet.dts = packet.pts
                shift = packets[-1].pts + 33
                for packet in packets:
                    out.mux(packet)
    frames, reader = read_all(path)
    assert frames.shape[1:3] == (64, 48)
    assert corners(frames[0]) == "RGBW"
    rows = np.flatnonzero(frames[8].max((1, 2)) > 60)  # 96x48 fitted into a width of 48: 24 rows in the middle
    assert (rows[0], rows[-1] + 1) == pytest.approx((20, 44), abs=1)
    assert corners(frames[8][20:44]) == "RGBW"
    (warning,) = reader.warnings
    assert warning.code == "picture_size_changes"
    assert warning.facts["at_s"] == pytest.approx(6 / 30, abs=0.01)


def test_interlaced_film_shows_one_moment_in_each_picture(tmp_path):
    early, late = (np.zeros((96, 384, 3), np.uint8) for _ in range(2))
    pictures = []
    for n in range(8):
        early[:], late[:] = 30, 30
        early[:, 40 * n : 40 * n + 18], late[:, 40 * n + 20 : 40 * n + 38] = 220, 220
        woven = early.copy()
        woven[1::2] = late[1::2]
        pictures.append(woven)
    flagged = make_video(tmp_path / "i.mp4", pictures, options={"flags": "+ilme+ildct", "crf": "8"})
    plain = make_video(tmp_path / "p.mp4", pictures, options={"crf": "8"})
    frames, reader = read_all(flagged)
    combed, untouched = read_all(plain)

    def combs(rgb):
        return np.abs(np.diff(rgb[2:-2].astype(int), axis=0)).mean()

    assert combs(combed[4]) > 10
    assert combs(frames[4]) < 2
    assert len(frames) == 8
    # The encoder is told of no order and flags the lower lines as the first moment: that one is kept, where it was.
    assert frames[4][48, 189].mean() > 180 > 80 > frames[4][48, 169].mean()
    assert codes(reader.warnings) == ["interlaced"]
    assert untouched.warnings == ()


@pytest.mark.parametrize(("turn", "expected"), [(0, "RGBW"), (90, "BRWG"), (180, "WBGR"), (270, "GWRB")])
@pytest.mark.parametrize("stored", [0, 90])
def test_a_film_is_turned_as_it_is_told(tmp_path, turn, expected, stored):
    upright = quadrants() if not stored else np.ascontiguousarray(np.rot90(quadrants(), 1 if stored == 90 else 0))
    path = make_video(tmp_path / "a.mp4", [upright] * 2, rotation=-stored)
    frames, reader = read_all(path, rotate_deg=turn)
    assert corners(frames[0]) == expected
    assert reader.clip.rotation_deg == (stored + turn) % 360
    assert frames[0].shape[:2] == ((48, 64) if turn % 180 == 0 else (64, 48))


def test_an_animated_webp_is_named_as_one(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2]) + bytes(100))
    with pytest.raises(InputError, match="is an animated WebP"):
        probe(path)


def test_of_several_films_in_one_file_it_is_said_which(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = []
        for width in (64, 96):
            stream = out.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            streams.append(stream)
        for stream in streams:
            for _ in range(3):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(stripes(5, stream.width), format="rgb24")))
            out.mux(stream.encode(None))
    frames, reader = read_all(path)
    (warning,) = reader.warnings
    assert warning.code == "several_video_streams"
    assert f"{frames.shape[2]}x48" in warning.message


def test_speeds_in_an_edit_list_are_told(tmp_path):
    path = make_video(tmp_path / "a.mov", 6)
    assert edit_list_rates(path) == ()
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    data[at + 16 : at + 20] = struct.pack(">hH", 0, 0x8000)
    path.write_bytes(data)
    assert edit_list_rates(path) == (0.5,)
    _, reader = read_all(path)
    assert codes(reader.warnings) == ["edit_list_rates"]
    assert len(reader.clip) == 6


def test_sound_that_goes_back_is_left_out_and_said(tmp_path):
    part = make_video(tmp_path / "part.ts", 30, audio="aac")
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 2)
    clip = probe(path)
    problem = sound_problem(clip)
    assert problem is not None
    assert problem.code in ("sound_not_in_step", "sound_goes_back")
    with VideoWriter(tmp_path / "out.mp4", 64, 48, clip.times_s, audio_from=clip) as out:
        for _ in range(len(clip)):
            out.write(stripes(1))
    assert not probe(tmp_path / "out.mp4").has_audio
    assert sound_problem(probe(part)) is None


def test_sound_in_an_unknown_codec_is_none(tmp_path):
    path = make_video(tmp_path / "a.mov", 12, audio="aac")
    data = bytearray(path.read_bytes())
    at = data.index(b"mp4a", data.index(b"stsd", data.index(b"soun")))
    data[at : at + 4] = b"apac"
    path.write_bytes(bytes(data).replace(b"esds", b"dapa"))
    clip = probe(path)
    assert not clip.has_audio
    assert sound_problem(clip).code == "sound_not_decodable"
    assert sound_problem(probe(make_video(tmp_path / "b.mp4", 3))).code == "no_sound"


def test_a_name_that_is_no_text_is_read(tmp_path):
    path = make_video(tmp_path / "a.mp4", 3).rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff b.mp4"))
    frames, _ = read_all(path)
    assert [number_of(rgb) for rgb in frames] == [0, 1, 2]
    with pytest.raises(InputError, match="sound but no moving picture"):
        probe(make_sound(tmp_path / "s.m4a"))


# --- cuts


def scene_picture(rng_seed, x, light=1.0, size=(96, 128)):
    """A still background of blocks and a person-sized block with stripes at column ``x``."""
    rng = np.random.default_rng(rng_seed)
    rgb = np.kron(rng.integers(40, 200, (size[0] // 8, size[1] // 8, 1)), np.ones((8, 8, 3)))
    x = int(x)
    rgb[20:90, x : x + 22] = np.where(np.arange(70)[:, None, None] // 5 % 2, 220, 20)
    return np.clip(rgb * light, 0, 255).astype(np.uint8)


def cuts_of(tmp_path, pictures, **settings):
    clip = probe(make_video(tmp_path / "c.mp4", pictures, options={"crf": "20"}), VideoSettings(**settings))
    return find_cuts(VideoReader(clip))


def test_a_cut_to_another_camera_and_one_of_the_same_are_found(tmp_path):
    xs = [10 + 2 * n for n in range(10)] + [80 - 2 * n for n in range(10)]
    found = cuts_of(tmp_path, [scene_picture(0, x) for x in xs] + [scene_picture(1, 30 + n) for n in range(10)])
    assert found.value.tolist() == [10, 20]
    (warning,) = found.warnings
    assert warning.code == "cuts"
    assert warning.facts["times_s"] == pytest.approx([1 / 3, 2 / 3], abs=1e-3)
    assert cuts_of(tmp_path, [scene_picture(0, x) for x in xs], fps=10).value.tolist() == [4]  # frames 0, 3, 6, 9, 12: the first beyond


def test_fast_motion_a_flash_and_a_light_that_goes_out_are_no_cuts(tmp_path):
    stroke = [10] * 8 + [10 + 12 * n for n in range(7)] + [82] * 8
    lights = [1.0] * 12 + [1.6] + [1.0] * 3 + [0.6] * 7
    assert cuts_of(tmp_path, [scene_picture(0, x, light) for x, light in zip(stroke, lights, strict=True)]).value.tolist() == []
    assert cuts_of(tmp_path, [scene_picture(0, 10)]).value.tolist() == []


def test_what_flow_explains_is_motion_and_no_cut():
    pytest.importorskip("cv2")
    rng = np.random.default_rng(3)
    wall = np.kron(rng.integers(20, 230, (24, 60, 1)), np.ones((4, 4, 3))).astype(np.uint8)
    moving = [wall[:, 5 * n : 5 * n + 96] for n in range(6)]
    jump = [*moving[:3], *(wall[:, 130 + 5 * n : 226 + 5 * n] for n in range(3))]
    assert changed_shares(moving)[1:].min() > 0.2
    assert unexplained_shares(moving).max() < 0.05
    assert unexplained_shares(jump)[3] > 5 * np.delete(unexplained_shares(jump), 3).max()


def test_a_jerk_of_the_hand_that_holds_the_camera_is_no_cut(tmp_path):
    pytest.importorskip("cv2")
    rng = np.random.default_rng(3)
    wall = np.kron(rng.integers(20, 230, (14, 40, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    left = [0] * 8 + [4] * 8  # still but for one jerk
    held = [wall[:, 40 + x : 136 + x] for x in left]
    assert cut_rows(changed_shares(held)).tolist() == [8]  # by the change alone it would be one
    assert cuts_of(tmp_path, held).value.tolist() == []
    other = [wall[:, 40:136]] * 8 + [wall[:, 180:276]] * 8
    assert cuts_of(tmp_path, other).value.tolist() == [8]


@pytest.mark.parametrize("name", ["videos/golf_swing.mp4", "videos/street_dance.mp4", "truth/dropjump_Cam1.mp4"])
def test_real_clips_without_a_cut(shared, name):
    reader = VideoReader(probe(shared / name))
    assert find_cuts(reader).value.tolist() == []


def test_times_start_at_the_first_frame_wherever_the_clock_starts(tmp_path):
    for shift in (-30, 10**7):
        clip = probe(make_video(tmp_path / f"{shift}.mkv", 5, shift=shift if shift > 0 else 0, rate=Fraction(25)))
        assert clip.times_s == pytest.approx(np.arange(5) / 25, abs=2e-3)
