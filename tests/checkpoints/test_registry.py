"""What the catalogue says of itself."""

import re

from body4d.checkpoints.registry import BLAZEPOSE, CHECKPOINTS, DEPTH_ANYTHING, MOGE, SAM3, SAM3D_BODY, VAS_AMODAL, VAS_CONTENT
from body4d.config import WeightsSettings


def test_the_catalogue_is_consistent() -> None:
    assert len({model.key for model in CHECKPOINTS}) == len(CHECKPOINTS) == 9
    fields = WeightsSettings.model_fields
    for model in CHECKPOINTS:
        assert model.setting in fields
        assert model.sources[0].automatic
        assert model.hub_sources + model.package_sources == model.sources
        for source in model.package_sources:
            assert [(file.path in model.layouts[0], len(file.sha256 or "")) for file in source.files] == [(True, 64)] * len(source.members)
            assert source.files == model.package_sources[0].files
            assert source.kind != "address" or all(member.startswith("https://") for member in source.members)
        for source in model.hub_sources:
            assert source.revision is None or re.fullmatch(r"[0-9a-f]{40}", source.revision)
            assert source.licence.name
            assert source.licence.url.startswith("https://")
            for file in source.files:
                assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
                assert file.sha256 is None or file.size_bytes
            made = [file.path for file in source.files] + [p.replace("*", "x") for p in source.patterns]
            assert set(source.select_files([*made, "README.md", "pytorch_model.bin"])) == set(made)
    assert (BLAZEPOSE.setting, BLAZEPOSE.folder_names) == ("blazepose", ("blazepose",))
    assert [source.gated for source in SAM3D_BODY.sources] == [True, False, True]
    assert SAM3.sources[0].gated
    assert not any(model.sources[0].gated for model in (MOGE, VAS_AMODAL, VAS_CONTENT, DEPTH_ANYTHING))


def test_of_two_precisions_the_one_that_is_read_is_fetched() -> None:
    source = VAS_AMODAL.hub_sources[0]
    both = ["unet/a.safetensors", "unet/a.fp16.safetensors", "vae/b.fp16.safetensors", "unet/config.json", "unet/a.bin", "demo/x.mp4"]
    assert source.select_files(both) == ("unet/a.safetensors", "unet/config.json", "vae/b.fp16.safetensors")
