"""Parsers of ours, given bytes that something broke: what they mean, or the error that they name; nothing else, and soon."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from body4d.config.loading import load_settings, parse_assignments
from body4d.core.errors import Body4DError
from body4d.core.scene_io import load_masks, load_scene, save_masks, save_scene
from body4d.evaluate.synthetic.bvh_file import read_bvh
from body4d.run.record import read_record_if_any
from body4d.video.metadata import edit_list_rates, quicktime_track_tags
from fakes import fake_pipeline
from make_videos import add_track_tag, make_video
from scenes import make_masks, make_scene

BVH = """HIERARCHY
ROOT hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT knee
 {
  OFFSET 0 -1 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  End Site
  {
   OFFSET 0 -1 0
  }
 }
}
MOTION
Frames: 2
Frame Time: 0.033
0 1 0 0 0 0 0 0 0
0 1 0 0 0 0 0 9 0
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    video = add_track_tag(make_video(folder / "a.mov", 3), "com.apple.quicktime.camera.focal_length.35mm_equivalent", "26")
    scene = make_scene(people=2, frames=6, body="stick")
    save_scene(scene, folder / "scene.npz")
    save_masks(make_masks(scene), folder / "masks.npz")
    fake_pipeline().run(video, folder / "run")
    (folder / "a.bvh").write_text(BVH)
    (folder / "a.yaml").write_text("video:\n  fps: 30\npeople:\n  count: 2\n")
    return {
        "mov": video,
        "scene": folder / "scene.npz",
        "masks": folder / "masks.npz",
        "bvh": folder / "a.bvh",
        "yaml": folder / "a.yaml",
    } | {"run": folder / "run" / "run.json"}


PARSERS = {
    "mov": lambda path: (quicktime_track_tags(path), edit_list_rates(path)),
    "scene": load_scene,
    "masks": load_masks,
    "run": lambda path: read_record_if_any(path.parent),
    "bvh": read_bvh,
    "yaml": lambda path: load_settings(path, {}, {}),
}


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=30, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_are_an_error_with_a_name(files, tmp_path, kind, data):
    whole = files[kind].read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        how = data.draw(st.sampled_from(("set", "cut", "repeat", "drop")))
        if how == "set":
            broken[min(at, len(broken) - 1) if broken else 0 : at + 1] = bytes([data.draw(st.integers(0, 255))])
        elif how == "cut":
            del broken[max(at, len(whole) // 2) :]
        elif how == "repeat":
            broken[at:at] = broken[at : at + data.draw(st.integers(1, 64))]
        else:
            del broken[at : at + data.draw(st.integers(1, 16))]
    path = tmp_path / files[kind].name
    path.write_bytes(broken)
    told = ""
    try:
        PARSERS[kind](path)
    except Body4DError as error:
        told = str(error)
    except (ValueError, LookupError):
        if kind != "bvh":  # ``read_bvh`` says that it raises these; ``load_motion`` names the file.
            raise
    assert "\n" not in told.strip()


@given(text=st.text(max_size=40))
@settings(max_examples=60)
def test_assignments_of_any_text(text):
    with contextlib.suppress(Body4DError):
        parse_assignments([text])


def test_the_files_are_whole_before_they_are_broken(files):
    for kind, parse in PARSERS.items():
        assert parse(files[kind]) is not None
