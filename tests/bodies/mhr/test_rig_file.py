"""Rig files of every layout a user may hold, and the errors for files that are not rigs."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.bodies.mhr.module import MhrBody, mhr_body
from body4d.bodies.mhr.rig_file import RIG_VARIABLE, MhrRigFile, find_rig_file, read_rig_file
from body4d.bodies.registry import body_model
from body4d.core.errors import WeightsError
from mhr_files import MadeRig, make_rig, save_repack, save_script


@pytest.fixture(scope="module")
def made() -> MadeRig:
    return make_rig()


def assert_same(a: MhrRigFile, b: MhrRigFile, *, names: bool = True) -> None:
    for item in fields(MhrRigFile):
        left, right = getattr(a, item.name), getattr(b, item.name)
        if isinstance(left, torch.Tensor):
            torch.testing.assert_close(left.to_dense(), right.to_dense(), rtol=0, atol=0)
        elif names or item.name != "joint_names":
            assert left == right


def test_script_and_repack_hold_the_same_rig(made: MadeRig, tmp_path: Path) -> None:
    script = read_rig_file(save_script(made, tmp_path / "mhr_model.pt"))
    assert script.joint_names == made.joint_names
    assert script.keypoint_mapping is None
    np.testing.assert_array_equal(script.parents, made.joint_parents)
    repack = read_rig_file(save_repack(made, tmp_path / "repack.safetensors"))
    assert_same(script, repack, names=False)
    assert repack.joint_names[3] == "joint_003"


def test_a_mapping_that_is_given_goes_along(made: MadeRig, tmp_path: Path) -> None:
    mapping = torch.rand(308, len(made.base_shape) + len(made.joint_parents))
    torch.testing.assert_close(read_rig_file(save_script(made, tmp_path / "mhr_model.pt"), mapping).keypoint_mapping, mapping[:70])


def test_the_repack_brings_its_keypoints_along(made: MadeRig, tmp_path: Path) -> None:
    mapping = np.random.default_rng(0).random((308, 72)).astype(np.float32)
    file = read_rig_file(save_repack(made, tmp_path / "repack.safetensors", mapping))
    np.testing.assert_array_equal(file.keypoint_mapping, mapping[:70])


def test_a_root_may_be_its_own_parent(made: MadeRig, tmp_path: Path) -> None:
    parents = made.joint_parents.copy()
    parents[0] = 0
    assert read_rig_file(save_script(replace(made, joint_parents=parents), tmp_path / "mhr_model.pt")).parents[0] == -1


@pytest.mark.parametrize("name", ["mhr_model.pt", "assets/mhr_model.pt"])
def test_found_in_a_folder(made: MadeRig, tmp_path: Path, name: str) -> None:
    (tmp_path / "assets").mkdir()
    path = save_script(made, tmp_path / name)
    assert find_rig_file(tmp_path) == find_rig_file(path) == path


def test_a_repack_is_found_among_other_files(made: MadeRig, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, str(tmp_path / "another.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    assert find_rig_file(save_repack(made, tmp_path / "the_repack.safetensors").parent).name == "the_repack.safetensors"


def test_without_a_rig_file_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RIG_VARIABLE, raising=False)
    with pytest.raises(WeightsError) as error:
        body_model("mhr")
    assert error.value.code == "rig_not_configured"
    assert "BODY4D_MHR" in error.value.hint
    monkeypatch.setenv(RIG_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match="holds none of"):
        body_model("mhr")
    monkeypatch.setenv(RIG_VARIABLE, str(tmp_path / "nowhere.pt"))
    with pytest.raises(WeightsError, match="does not exist"):
        body_model("mhr")


def test_the_environment_tells_the_rig_and_it_is_loaded_once(made: MadeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_script(made, tmp_path / "mhr_model.pt")
    monkeypatch.setenv(RIG_VARIABLE, str(tmp_path))
    assert body_model("mhr") is mhr_body()
    assert isinstance(mhr_body(), MhrBody)


def test_files_that_are_none(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "mhr_model.pt"))
    with pytest.raises(WeightsError, match="without MHR's buffers"):
        read_rig_file(tmp_path / "mhr_model.pt")
    (tmp_path / "mhr_model.pt").write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="no TorchScript"):
        read_rig_file(tmp_path / "mhr_model.pt")
    (tmp_path / "mhr.safetensors").write_bytes(b"no header")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        read_rig_file(tmp_path / "mhr.safetensors")


def test_missing_tensors_are_named(made: MadeRig, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = save_repack(made, tmp_path / "repack.safetensors")
    tensors = load_file(path)
    del tensors["mhr.lbs_skin_weights"]
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"lacks mhr\.lbs_skin_weights"):
        read_rig_file(path)


def test_wrong_shapes_orders_and_newer_rigs_are_refused(made: MadeRig, tmp_path: Path) -> None:
    path = tmp_path / "mhr_model.pt"
    with pytest.raises(WeightsError, match="face_vectors_cm should have shape"):
        read_rig_file(save_script(replace(made, face_vectors=made.face_vectors[:70]), path))
    file = read_rig_file(save_script(made, path))
    parents = file.parents.clone()
    parents[2] = 5
    with pytest.raises(WeightsError, match="do not come after their parents"):
        replace(file, parents=parents)
    transform = made.parameter_transform.copy()
    transform[10, 230] = 1
    with pytest.raises(WeightsError, match="the rig is newer"):
        read_rig_file(save_script(replace(made, parameter_transform=transform), path))
    with pytest.raises(WeightsError, match="keypoint mapping has 7 columns"):
        read_rig_file(save_script(made, path), torch.zeros(308, 7))
