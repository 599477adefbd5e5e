"""MoGe-2's network and its camera, held to transformers' DINOv2, to scipy's own minimum, and to the published code's answers."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from body4d.models.moge.checkpoint import build_moge
from body4d.models.moge.network.camera import focal_and_shift, focal_px, sampled_index, sampled_uv
from body4d.models.moge.network.config import sizes_of
from body4d.models.moge.network.encoder import Dinov2
from body4d.models.moge.network.model import Moge, bytes_per_image, remapped
from body4d.models.moge.network.stack import Stack
from moge_files import official_shapes, official_state, tiny_config

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def net() -> Moge:
    return build_moge(tiny_config(), official_state(tiny_config()), "made up")


def test_the_published_answers(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goldens = shared / "goldens"
    for folder in (ROOT / "benchmarks", goldens):
        monkeypatch.syspath_prepend(str(folder))
    parity = importlib.import_module("parity_moge")
    rows = [row for row in parity.rows(goldens / "moge_tiny_A.npz", goldens, "", None) if not isinstance(row, str)]
    assert len(rows) == 58
    assert not [row for row in rows if not row.relative <= row.limit]


def test_names_are_those_of_the_published_network(shared: Path) -> None:
    lines = (shared / "goldens" / "state_dict_keys_moge_tiny.txt").read_text().splitlines()
    wanted = dict(line.split("\t")[:2] for line in lines)
    config = tiny_config()
    config["encoder"] |= {"backbone": "dinov2_vits14", "intermediate_layers": [2, 5, 8, 11]}
    config["scale_head"] = {"dims": [384, 64, 64, 1]}
    shapes = official_shapes(config, width=384, depth=12)
    assert {key: str(shape) for key, shape in shapes.items()} == wanted
    with torch.device("meta"):
        ours = {key: str(tuple(t.shape)) for key, t in Moge(sizes_of(config, shapes)).state_dict().items()}
    del wanted["encoder.backbone.mask_token"]
    assert ours == wanted


def test_the_backbone_is_dinov2() -> None:
    """On its own grid no position is resized, and transformers' DINOv2 must say the same."""
    from transformers import Dinov2Config, Dinov2Model

    config = tiny_config()
    state = {k.removeprefix("encoder.backbone."): t for k, t in official_state(config, grid=6).items() if k.startswith("encoder.backbone.")}
    sizes = sizes_of(config, official_shapes(config, grid=6))
    ours = Dinov2(sizes).eval()
    ours.load_state_dict({k: t for k, t in state.items() if k != "mask_token"})
    theirs = Dinov2Model(
        Dinov2Config(hidden_size=64, num_hidden_layers=4, num_attention_heads=1, image_size=84, patch_size=14, layer_norm_eps=1e-6)
    ).eval()
    named = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": state["mask_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for i in range(4):
        for leaf in ("weight", "bias"):
            for name, value in zip("qkv", state[f"blocks.{i}.attn.qkv.{leaf}"].chunk(3), strict=True):
                named[f"encoder.layer.{i}.attention.{name}_proj.{leaf}"] = value
            for own, other in (
                ("attn.proj", "attention.o_proj"), ("norm1", "norm1"), ("norm2", "norm2"),
                ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"),
            ):  # fmt: skip
                named[f"encoder.layer.{i}.{other}.{leaf}"] = state[f"blocks.{i}.{own}.{leaf}"]
        for n in (1, 2):
            named[f"encoder.layer.{i}.layer_scale{n}.lambda1"] = state[f"blocks.{i}.ls{n}.gamma"]
    theirs.load_state_dict(named, strict=True)
    pixels = torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels)[-1], theirs(pixels).last_hidden_state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(120, 160), (91, 333), (300, 200), (40, 50)])
def test_sampled_points_are_those_of_the_whole_map(net: Moge, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2))
    y, x = (torch.from_numpy(sampled_index(n)) for n in size)
    with torch.inference_mode():
        whole = net(images, 80)
        points, mask, metric_scale = net.sampled(images, 80)
    assert whole.mask is not None
    torch.testing.assert_close(metric_scale, whole.metric_scale)
    torch.testing.assert_close(points, whole.points[:, y][:, :, x], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mask, whole.mask[:, y][:, :, x], rtol=1e-4, atol=1e-5)


def test_the_made_up_network_sees_with_the_focal_length_it_was_given(net: Moge) -> None:
    with torch.inference_mode():
        points, *_ = net.sampled(torch.rand(1, 3, 180, 320), 120)
    found, _ = focal_and_shift(points[0].numpy().reshape(-1, 3), sampled_uv(180, 320).reshape(-1, 2))
    assert found == pytest.approx(1.5, rel=0.01)


def test_lower_precision_stays_near(net: Moge) -> None:
    other = build_moge(tiny_config(), official_state(tiny_config()), "made up").set_precision(torch.bfloat16, torch.float32)
    images = torch.rand(1, 3, 120, 160)
    with torch.inference_mode():
        a, b = (n.sampled(images, 100)[0] for n in (net, other))
    assert b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.05 * a.abs().max()


def cloud(focal: float, shift: float, noise: float = 0.0, width: int = 128, height: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Points seen at every sampled pixel by a camera, moved nearer by ``shift``."""
    uv = sampled_uv(height, width).reshape(-1, 2)
    z = 2 + RNG.random(len(uv))
    points = np.concatenate([uv / focal * z[:, None], z[:, None] - shift], 1)
    return points + noise * RNG.standard_normal(points.shape), uv


@pytest.mark.parametrize(("focal", "shift"), [(1.2, 0.7), (0.6, -0.4), (3.0, 0.0), (0.9, 1.2)])
def test_the_camera_of_clean_points_is_found(focal: float, shift: float) -> None:
    points, uv = cloud(focal, shift)
    assert focal_and_shift(points, uv) == pytest.approx((focal, shift), abs=2e-3)


def test_the_camera_of_noisy_points_is_the_best_there_is() -> None:
    points, uv = cloud(1.1, 0.3, noise=0.02)

    def cost(x: np.ndarray) -> float:
        return float(np.square(x[0] * points[:, :2] / (points[:, 2:] + x[1]) - uv).sum())

    best = minimize(cost, x0=[1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    assert focal_and_shift(points, uv, tolerance=1e-12) == pytest.approx(tuple(best), rel=1e-3)


def test_too_few_points_tell_nothing() -> None:
    points, uv = cloud(1.0, 0.0)
    assert np.isnan(focal_and_shift(points[:1], uv[:1])[0])


def test_points_in_the_cameras_plane_are_no_crash() -> None:
    points, uv = cloud(1.0, 0.0)
    points[0, 2] = 0
    focal, shift = focal_and_shift(points, uv)
    assert shift == 0
    assert np.isnan(focal)


def test_focal_lengths_in_pixels() -> None:
    # 90 degrees across 200 pixels: the focal length is half the width.
    assert focal_px(100 / np.hypot(100, 50), 200, 100) == pytest.approx(100)


@pytest.mark.parametrize("remap", ["linear", "sinh", "exp", "sinh_exp"])
def test_remaps(remap: str) -> None:
    x, y, z = remapped(torch.tensor([0.5, -1.0, 0.25]), remap).tolist()
    depth = {"linear": 0.25, "sinh": np.sinh(0.25)}.get(remap, np.exp(0.25))
    side = {"linear": lambda v: v, "exp": lambda v: v * depth}.get(remap, np.sinh)
    assert (x, y, z) == pytest.approx((side(0.5), side(-1.0), depth), rel=1e-6)


@pytest.mark.parametrize("resampler", ["conv_transpose", "bilinear", "nearest", "pixel_shuffle"])
@pytest.mark.parametrize("norm", ["none", "layer_norm", "group_norm", "instance_norm"])
def test_stacks_of_every_kind_double_five_times(resampler: str, norm: str) -> None:
    config = tiny_config()
    kinds = {"resamplers": resampler, "res_block_in_norm": norm, "activation": "silu", "dim_res_blocks": [64, 32, 32, 32, 32]}
    neck = config["neck"] | kinds | {"num_res_blocks": 1}
    stack = Stack(sizes_of(config | {"neck": neck}, official_shapes(config)).neck).eval()
    maps = [torch.rand(1, 66 if i == 0 else 2, 3 << i, 4 << i) for i in range(5)]
    assert [tuple(x.shape[1:]) for x in stack.outputs(maps)] == [(w, 3 << i, 4 << i) for i, w in enumerate((64, 32, 32, 32, 32))]


def test_a_grid_keeps_the_pictures_aspect(net: Moge) -> None:
    assert net.grid(1080, 1920, 3600) == (45, 80)
    assert net.grid(1920, 1080, 3600) == (80, 45)
    assert net.grid(10, 4000, 60) == (1, 155)
    assert (net.num_tokens(0), net.num_tokens(9)) == (60, 120)


def test_a_larger_picture_takes_more_memory(net: Moge) -> None:
    assert bytes_per_image(net.sizes, 45, 80, 1080, 1920, 2) > bytes_per_image(net.sizes, 20, 30, 480, 640, 2)
