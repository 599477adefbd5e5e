"""The export npz poses and skins its bodies with nothing but numpy, by the very lines docs/files.md gives."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.core.errors import InputError
from body4d.export import export_scene
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up

DOCS = Path(__file__).parents[2] / "docs" / "files.md"


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=6, gaps=True)


def test_rows_are_the_scene_s(scene, tmp_path):
    with np.load(export_scene(scene, "npz", tmp_path)[0], allow_pickle=False) as data:
        for i, (frame, person) in enumerate(zip(data["frame"], data["person"], strict=True)):
            track = scene.person(int(person))
            row = track.row(int(frame))
            assert np.array_equal(data["joints_m"][i], track.joints_m[row])
            assert np.array_equal(data["keypoints_px"][i], track.keypoints_px[row], equal_nan=True)
            assert data["observed"][i] == track.observed[row]
        assert len(data["frame"]) == sum(len(t) for t in scene.people)
        assert np.all(np.diff(data["frame"]) >= 0)
        assert data["joint_names"][9] == "left_wrist"


def with_sigma(scene):
    """The scene with the first person's uncertainty known, the second one's not."""
    sigma = np.random.default_rng(0).uniform(0.001, 0.1, scene.people[0].joints_m.shape[:2])
    return dataclasses.replace(scene, people=(dataclasses.replace(scene.people[0], joint_sigma_m=sigma), scene.people[1]))


def test_how_sure_each_joint_is_comes_along(scene, tmp_path):
    scene_with_sigma = with_sigma(scene)
    with np.load(export_scene(scene_with_sigma, "npz", tmp_path)[0]) as data:
        assert data["joint_sigma_m"].shape == data["joints_m"].shape[:2]
        for sigma, frame, person in zip(data["joint_sigma_m"], data["frame"], data["person"], strict=True):
            if person == scene_with_sigma.people[0].person_id:
                np.testing.assert_array_equal(sigma, scene_with_sigma.people[0].joint_sigma_m[scene_with_sigma.people[0].row(int(frame))])
            else:
                assert np.isnan(sigma).all()


def test_docs_name_every_key(scene, tmp_path):
    text = DOCS.read_text(encoding="utf-8")
    with np.load(export_scene(with_sigma(scene), "npz", tmp_path)[0]) as data:
        assert not {key for key in data.files if f"`{key}`" not in text}


def test_the_documented_lines_skin_the_bodies(scene, tmp_path):
    """Run docs/files.md's code in a Python without body4d, and compare with the rig."""
    code = re.search(r"```python\n(# Skin[^\n]*\n.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    path = export_scene(scene, "npz", tmp_path)[0]
    script = tmp_path / "skin.py"
    script.write_text(code[1] + "\nnp.save('vertices.npy', vertices_m)\n")
    subprocess.run([sys.executable, "-I", "-S", "-c", _WITHOUT_BODY4D, str(script)], cwd=path.parent, check=True)
    vertices = np.load(tmp_path / "vertices.npy")
    with np.load(path) as data:
        frames, persons = data["frame"], data["person"]
    for i in (0, len(frames) // 2, len(frames) - 1):
        track = scene.person(int(persons[i]))
        rig = body_model("anny").rig(track.shape)
        row = track.row(int(frames[i]))
        G, p = rig.forward(track.rotations[[row]].astype(np.float64), track.translation_m[[row]].astype(np.float64))
        assert np.abs(vertices[i] - rig.vertices(G, p)[0]).max() < 1e-4


_WITHOUT_BODY4D = f"""
import sys
sys.path.append({str(Path(np.__file__).parents[1])!r})
sys.modules["body4d"] = None
exec(open(sys.argv[1]).read())
"""


def test_two_joint_sets_do_not_fit_in_one_file(scene, tmp_path):
    few = dataclasses.replace(
        scene.people[0],
        joint_set="coco17",
        **{n: getattr(scene.people[0], n)[:, :17] for n in ("joints_m", "keypoints_px", "visibility", "joints_raw_m")},
    )
    with pytest.raises(InputError, match="one body model and joint set"):
        export_scene(dataclasses.replace(scene, people=(few, scene.people[1])), "npz", tmp_path)
