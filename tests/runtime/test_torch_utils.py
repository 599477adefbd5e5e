"""When compiling pays, where compiled code is kept, and products that autocast leaves alone."""

import pytest
import torch

from body4d.runtime.torch_utils import FrameUploader, float32_matmul, set_compile_cache, should_compile


@pytest.mark.parametrize(
    ("images", "device", "choice", "expected"),
    [
        (6000, "cuda", "auto", True),
        (5999, "cuda", "auto", False),
        (10**9, "cpu", "auto", False),
        (10**9, "mps", "auto", False),
        (1, "cuda", "on", True),
        (1, "cpu", "on", True),
        (10**9, "cuda", "off", False),
    ],
)
def test_when_compiling_pays(images, device, choice, expected):
    assert should_compile(images, device, choice, 6000) is expected


def test_compiled_code_is_kept_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert set_compile_cache() == tmp_path / "body4d" / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "theirs"))
    assert set_compile_cache() == tmp_path / "theirs"


def test_every_image_is_uploaded():
    images = [p.numpy() for p in torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)]
    uploaded = FrameUploader(torch.device("cpu"))(images)
    assert all((a.numpy() == b).all() for a, b in zip(uploaded, images, strict=True))


def test_a_float32_product_ignores_autocast():
    a, b = torch.randn(2, 3, 4), torch.randn(4, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = float32_matmul(a, b)
    assert product.dtype == torch.float32
    assert torch.equal(product, a @ b.float())
