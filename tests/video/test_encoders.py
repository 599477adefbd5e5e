"""Which encoder is taken. NVENC itself is on no machine of ours: another encoder of FFmpeg stands in for it."""

import av
import numpy as np
import pytest

from body4d.core.errors import DeviceError
from body4d.video import VideoWriter, encoders, probe
from body4d.video.encoders import CODECS, encoder_options, nvenc_problem, possible_encoders
from make_videos import stripes


@pytest.fixture
def there(monkeypatch):
    """A machine on which the probe of NVENC finds ``codec`` instead."""

    def stand_in(codec):
        monkeypatch.setitem(CODECS, "nvenc", codec)
        nvenc_problem.cache_clear()

    yield stand_in
    nvenc_problem.cache_clear()


def _written_by(path, encoder, size=(320, 200)):
    times_s = np.array([0, 1, 2, 4, 7]) / 30
    with VideoWriter(path, *size, times_s, encoder=encoder) as out:
        for i in range(len(times_s)):
            out.write(stripes(i, *size))
    np.testing.assert_allclose(probe(path).times_s, times_s, rtol=0, atol=1e-9)
    with av.open(str(path)) as file:
        return file.streams.video[0].codec_context.name


def test_a_card_without_it_leaves_x264(there, tmp_path):
    there("no_such_encoder")
    assert nvenc_problem() == "this FFmpeg is built without it"
    assert possible_encoders("auto", 320, 200) == ("x264",)
    assert _written_by(tmp_path / "a.mp4", "auto") == "h264"
    with pytest.raises(DeviceError, match=r"cannot be encoded by NVENC: this FFmpeg .* Use pictures\.encoder=auto"):
        possible_encoders("nvenc", 320, 200)


def test_it_is_taken_where_it_encodes_and_the_picture_suits_it(there, tmp_path):
    there("mpeg4")
    assert nvenc_problem() is None
    assert possible_encoders("auto", 320, 200) == ("nvenc", "x264")
    assert possible_encoders("x264", 320, 200) == ("x264",)
    assert possible_encoders("auto", 64, 48) == possible_encoders("auto", 8192, 320) == ("x264",)
    with pytest.raises(DeviceError, match="does not take pictures of 64x48"):
        possible_encoders("nvenc", 64, 48)
    assert _written_by(tmp_path / "a.mp4", "auto") == _written_by(tmp_path / "b.mp4", "nvenc") == "mpeg4"
    assert _written_by(tmp_path / "c.mp4", "x264") == "h264"


def test_where_it_does_not_open_after_all_x264_goes_on(there, tmp_path, monkeypatch):
    """As where other programs hold all of its sessions. x264, which has no preset p5, stands in for a card that refuses."""
    there("libx264")
    monkeypatch.setattr(encoders, "nvenc_problem", lambda: None)
    assert _written_by(tmp_path / "a.mp4", "auto") == "h264"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_quality_and_key_frames_are_asked_of_either():
    assert encoder_options("nvenc", 18.5, "slow", 30)["cq"] == encoder_options("x264", 18.5, "slow", 30)["crf"] == "18.5"
    assert encoder_options("nvenc", 18, "slow", 30)["g"] == encoder_options("x264", 18, "slow", 30)["g"] == "30"
    assert "g" not in encoder_options("nvenc", 18, "slow", None)
