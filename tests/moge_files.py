"""Writes MoGe-2 checkpoints as published (``model.pt``: ``model_config`` and the tensors of ``model``), small and with made-up weights."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WIDTHS = [64, 32, 32, 16, 16]


def tiny_config() -> dict[str, Any]:
    """A config in the published form. Its backbone's name is no published one, so its sizes are what the tensors say."""

    def stack(dim_in: list[int], last: int | None, blocks: int) -> dict[str, Any]:
        return {
            "dim_in": dim_in,
            "dim_out": None if last is None else [None, None, None, None, last],
            "dim_res_blocks": WIDTHS,
            "num_res_blocks": [0, blocks, blocks, blocks, 0],
            "res_block_in_norm": "none",
            "res_block_hidden_norm": "none",
            "resamplers": ["conv_transpose", "conv_transpose", "conv_transpose", "bilinear"],
        }

    heads = {name: stack(WIDTHS, channels, 1) for name, channels in (("points_head", 3), ("mask_head", 1), ("normal_head", 3))}
    return {
        "encoder": {"backbone": "dinov2_tiny14", "intermediate_layers": [0, 1, 2, 3], "dim_out": 64},
        "neck": stack([66, 2, 2, 2, 2], None, 2),
        "scale_head": {"dims": [64, 64, 64, 1]},
        "remap_output": "exp",
        "num_tokens_range": [60, 120],
        **heads,
    }


def official_shapes(config: dict[str, Any], width: int = 64, depth: int = 4, grid: int = 37) -> dict[str, tuple[int, ...]]:
    """Every key of upstream's network of these sizes, with its shape."""
    out: dict[str, tuple[int, ...]] = {"encoder.image_mean": (1, 3, 1, 1), "encoder.image_std": (1, 3, 1, 1)}
    vit = "encoder.backbone."
    out |= {f"{vit}cls_token": (1, 1, width), f"{vit}pos_embed": (1, grid * grid + 1, width), f"{vit}mask_token": (1, width)}
    out |= _pair(f"{vit}patch_embed.proj", (width, 3, 14, 14))
    for i in range(depth):
        block = f"{vit}blocks.{i}."
        for name, shape in (
            ("norm1", (width,)), ("attn.qkv", (3 * width, width)), ("attn.proj", (width, width)),
            ("norm2", (width,)), ("mlp.fc1", (4 * width, width)), ("mlp.fc2", (width, 4 * width)),
        ):  # fmt: skip
            out |= _pair(block + name, shape)
        out |= {f"{block}ls1.gamma": (width,), f"{block}ls2.gamma": (width,)}
    out |= _pair(vit + "norm", (width,))
    for i in range(len(config["encoder"]["intermediate_layers"])):
        out |= _pair(f"encoder.output_projections.{i}", (config["encoder"]["dim_out"], width, 1, 1))
    for name in ("neck", "points_head", "mask_head", "normal_head"):
        if name in config:
            out |= _stack(name, config[name])
    for i, (of, to) in enumerate(pairwise(config["scale_head"]["dims"] if config["scale_head"] else [])):
        out |= _pair(f"scale_head.{2 * i}", (to, of))
    return out


def official_state(config: dict[str, Any], seed: int = 0, **sizes: int) -> dict[str, Tensor]:
    """Made-up weights. They make points of a slanted wall with some noise, seen by a camera whose focal length is 1.5 half diagonals."""
    made = torch.Generator().manual_seed(seed)
    out = {}
    for key, shape in official_shapes(config, **sizes).items():
        noise = torch.randn(shape, generator=made)
        leaf = key.rpartition(".")[2]
        if key.startswith("encoder.image_"):
            out[key] = torch.tensor([0.485, 0.456, 0.406] if leaf == "image_mean" else [0.229, 0.224, 0.225]).view(shape)
        elif leaf == "gamma" or (leaf == "weight" and len(shape) == 1):
            out[key] = (0.5 if leaf == "gamma" else 1.0) + 0.02 * noise
        elif len(shape) > 1 and leaf == "weight":
            out[key] = noise / float(torch.tensor(shape[1:]).prod()) ** 0.5
        else:
            out[key] = 0.02 * noise
    return _looking_at_a_wall(out)


def write_tiny_moge(folder: Path, **changes: Any) -> Path:
    """``model.pt`` in ``folder``; ``changes`` to its config."""
    config = tiny_config() | changes
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model_config": config, "model": official_state(config)}, folder / "model.pt")
    return folder / "model.pt"


def _looking_at_a_wall(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let the points head's finest level pass its places in the picture through: then points are a camera's."""
    for key, tensor in state.items():
        if key.startswith(("points_head.", "mask_head.")):
            tensor.mul_(0.02)
    # Finest level of the neck: channels 0 and 1 are x and y; the points head takes them over. Half diagonal 1, focal length 1.5.
    state["neck.input_blocks.4.weight"][:2] = torch.eye(2).view(2, 2, 1, 1)
    state["neck.input_blocks.4.bias"][:2] = 0
    for name in ("neck.resamplers.3.1.weight", "neck.resamplers.3.1.bias"):
        state[name][:2] = 0
    state["points_head.input_blocks.4.weight"][:2] = 0
    state["points_head.input_blocks.4.weight"][[0, 1], [0, 1]] = 1.0
    state["points_head.output_blocks.4.weight"][:] *= 0.2
    state["points_head.output_blocks.4.weight"][[0, 1], [0, 1]] = 1 / 1.5
    state["points_head.output_blocks.4.weight"][2, 0] = 0.5
    state["mask_head.output_blocks.4.bias"][:] = 3.0
    return state


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _stack(name: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    widths, given = config["dim_res_blocks"], config["dim_out"] or [None] * 5
    for i, width in enumerate(widths):
        out |= _pair(f"{name}.input_blocks.{i}", (width, config["dim_in"][i], 1, 1))
        for j in range(config["num_res_blocks"][i]):
            for place in (2, 5):
                out |= _pair(f"{name}.res_blocks.{i}.{j}.layers.{place}", (width, width, 3, 3))
        if given[i] is not None:
            out |= _pair(f"{name}.output_blocks.{i}", (given[i], width, 1, 1))
    for i, (of, to) in enumerate(pairwise(widths)):
        if config["resamplers"][i] == "conv_transpose":
            out |= {f"{name}.resamplers.{i}.0.weight": (of, to, 2, 2), f"{name}.resamplers.{i}.0.bias": (to,)}
            of = to
        out |= _pair(f"{name}.resamplers.{i}.1", (to, of, 3, 3))
    return out
