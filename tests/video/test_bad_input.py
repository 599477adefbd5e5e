"""Whatever is given as a video: either its frames, or one InputError that says what was found and what to do."""

import os

import numpy as np
import pytest

from body4d.config import VideoSettings
from body4d.core.errors import Body4DError, InputError
from body4d.video import VideoReader, probe
from body4d.video.metadata import quicktime_track_tags
from make_videos import add_track_tag, cut, make_sound, make_video


def _missing(folder):
    return folder / "nothing.mp4"


def _folder(folder):
    return folder


def _pipe(folder):
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def _empty(folder):
    (folder / "empty.mp4").write_bytes(b"")
    return folder / "empty.mp4"


def _text(folder):
    (folder / "text.mp4").write_text("This is no video, ünd so on.\n" * 300)
    return folder / "text.mp4"


def _noise(folder):
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    return folder / "noise.mp4"


def _index_lost(folder):
    return cut(make_video(folder / "cut.mp4", 60), 0.5)


def _content_lost(folder):
    path = make_video(folder / "hollow.mp4", 20)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return path


def _sound(folder):
    return make_sound(folder / "sound.m4a")


def _picture(folder):
    return make_video(folder / "picture.png", 1, codec="png", pix_fmt="rgb24", format="image2")


def _picture_in_disguise(folder):
    return make_video(folder / "a.jpg", 1, codec="mjpeg", pix_fmt="yuvj420p", format="image2").rename(folder / "picture.mp4")


def _playlist(folder):
    make_video(folder / "secret.ts", 5)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    return folder / "list.mp4"


def _script(folder):
    make_video(folder / "secret.mp4", 5)
    (folder / "script.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    return folder / "script.mp4"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_missing, "no_such_file"),
        (_folder, "path_is_folder"),
        (_pipe, "path_is_device"),
        (_empty, "file_empty"),
        (_text, "text_not_video"),
        (_noise, "not_a_video"),
        (_index_lost, "index_damaged"),
        (_content_lost, "no_decodable_frame"),
        (_sound, "no_video_stream"),
        (_picture, "picture_not_video"),
        (_picture_in_disguise, "picture_not_video"),
        (_playlist, "text_not_video"),
        (_script, "text_not_video"),
    ],
)
def test_an_error_names_what_is_wrong_and_what_to_do(tmp_path, make, code):
    with pytest.raises(InputError) as caught:
        probe(make(tmp_path))
    assert caught.value.code == code
    assert str(tmp_path) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_too_large_a_frame(tmp_path):
    path = make_video(tmp_path / "a.mp4", 1, size=(320, 240))
    with pytest.raises(InputError, match=r"320x240 pixels, more than the 0\.05 megapixels.*Scale it down") as caught:
        probe(path, VideoSettings(max_megapixels=0.05))
    assert caught.value.code == "frame_too_large"


@pytest.mark.parametrize("kwargs", [{"frames": 1}, {"frames": 3}, {"frames": 12, "size": (8, 8)}])
def test_very_little_is_enough(tmp_path, kwargs):
    clip = probe(make_video(tmp_path / "a.mp4", **kwargs))
    assert len(list(VideoReader(clip).read())) == kwargs["frames"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_damage_anywhere_gives_frames_or_one_of_our_errors(tmp_path, name, how):
    """Every few bytes the file is cut off or bytes are turned over; nothing else than frames or a Body4DError may come out."""
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    whole = make_video(
        tmp_path / name, 24, codec=codec, movflags="faststart" if name.endswith("mp4") else "", options={"g": "8"}
    ).read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for trial in range(12):
        data = bytearray(whole[: len(whole) * (trial + 1) // 13] if how == "cut" else whole)
        if how == "flip":
            for at in random.integers(0, len(data), 20):
                data[at] ^= 0xFF
        path = tmp_path / f"{trial}{name}"
        path.write_bytes(data)
        try:
            frames = VideoReader(probe(path, VideoSettings(max_megapixels=1)))
            count = sum(1 for _ in frames.read())
            assert count == len(frames.clip)
            outcomes.add("frames")
        except Body4DError:
            outcomes.add("error")
    assert "frames" in outcomes


def test_damaged_tags_are_no_tags(tmp_path):
    path = add_track_tag(make_video(tmp_path / "a.mp4"), "key", "value")
    assert quicktime_track_tags(path) == {"key": "value"}
    whole = path.read_bytes()
    start = whole.rindex(b"moov")
    for at in range(start, len(whole), 5):
        data = bytearray(whole)
        data[at] ^= 0xFF
        path.write_bytes(data)
        assert set(quicktime_track_tags(path)) <= {"key"} | {k for k in quicktime_track_tags(path) if len(k) == 3}
    path.write_bytes(whole[: start + 50])
    assert quicktime_track_tags(path) == {}
