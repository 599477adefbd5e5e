"""Sizes of the network, as a checkpoint's ``model_config`` gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAD_WIDTH = 64
"""Width of one attention head in every DINOv2."""

LEVELS = 5
"""Maps of the neck: the grid of patches, then each twice as fine as the one before."""

BACKBONES = {"dinov2_vits14": (384, 12), "dinov2_vitb14": (768, 12), "dinov2_vitl14": (1024, 24)}
"""Width and depth of the published backbones by name."""

NORMS = ("none", "layer_norm", "group_norm", "instance_norm")
ACTIVATIONS = ("relu", "leaky_relu", "silu", "elu")
RESAMPLERS = ("conv_transpose", "bilinear", "nearest", "pixel_shuffle")
REMAPS = ("linear", "sinh", "exp", "sinh_exp")


@dataclass(frozen=True)
class StackSizes:
    """A pyramid of convolutions. Tuples are by level, coarse to fine; None means that a map goes in or out as it is."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    resamplers: tuple[str, ...]
    hidden_times: int = 1
    in_norm: str = "layer_norm"
    hidden_norm: str = "group_norm"
    activation: str = "relu"


@dataclass(frozen=True)
class MogeSizes:
    """Everything that differs between checkpoints. ``grid``: side of the position encoding's table. ``layers``: blocks whose maps are used.
    ``tokens``: least and largest number of patches that the checkpoint was trained for."""

    width: int
    depth: int
    grid: int
    layers: tuple[int, ...]
    features: int
    neck: StackSizes
    points: StackSizes
    mask: StackSizes | None
    normal: StackSizes | None
    scale: tuple[int, ...] | None
    remap: str
    tokens: tuple[int, int]
    patch_px: int = 14


def sizes_of(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> MogeSizes:
    """Sizes from a checkpoint's config; those of the backbone are read from the ``shapes`` of its tensors.

    Raises KeyError that names what config or tensors lack, ValueError where they contradict each other or are not known.
    """
    encoder, prefix = config["encoder"], "encoder.backbone."
    width, positions = shapes[prefix + "patch_embed.proj.weight"][0], shapes[prefix + "pos_embed"][1] - 1
    depth = len({key.split(".")[3] for key in shapes if key.startswith(prefix + "blocks.")})
    named = BACKBONES.get(encoder["backbone"])
    if named and named != (width, depth):
        raise ValueError(f"its config names {encoder['backbone']}, {named[1]} blocks {named[0]} wide, but it holds {depth} of {width}")
    grid = round(positions**0.5)
    if grid * grid != positions or width % HEAD_WIDTH:
        raise ValueError(f"{positions} positions of width {width} belong to no DINOv2")
    layers = encoder["intermediate_layers"]
    layers = tuple(range(depth - layers, depth)) if isinstance(layers, int) else tuple(layers)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise ValueError(f"its config wants maps of blocks {list(layers)} of {depth}")
    low, high = config.get("num_tokens_range", (1200, 3600))
    heads = {name: _stack(config[f"{name}_head"]) if config.get(f"{name}_head") else None for name in ("points", "mask", "normal")}
    if heads["points"] is None:
        raise KeyError("points_head")
    scale = config.get("scale_head")
    return MogeSizes(
        width=width,
        depth=depth,
        grid=grid,
        layers=layers,
        features=encoder["dim_out"],
        neck=_stack(config["neck"]),
        points=heads["points"],
        mask=heads["mask"],
        normal=heads["normal"],
        scale=tuple(scale["dims"]) if scale else None,
        remap=_known("remap_output", config.get("remap_output", "linear"), REMAPS),
        tokens=(int(low), int(high)),
    )


def _stack(config: Mapping[str, Any]) -> StackSizes:
    widths = tuple(config["dim_res_blocks"])
    if len(widths) != LEVELS:
        raise ValueError(f"its config has {len(widths)} levels, expected {LEVELS}")
    resamplers = _each(config["resamplers"], LEVELS - 1)
    return StackSizes(
        inputs=_each(config["dim_in"], LEVELS),
        outputs=_each(config["dim_out"], LEVELS),
        widths=widths,
        blocks=_each(config.get("num_res_blocks", 1), LEVELS),
        resamplers=tuple(_known("resamplers", name, RESAMPLERS) for name in resamplers),
        hidden_times=config.get("dim_times_res_block_hidden", 1),
        in_norm=_known("res_block_in_norm", config.get("res_block_in_norm", "layer_norm"), NORMS),
        hidden_norm=_known("res_block_hidden_norm", config.get("res_block_hidden_norm", "group_norm"), NORMS),
        activation=_known("activation", config.get("activation", "relu"), ACTIVATIONS),
    )


def _each(value: Any, count: int) -> tuple[Any, ...]:
    """One value for each level; the config gives a list, or one value for all."""
    out = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * count
    if len(out) != count:
        raise ValueError(f"its config gives {len(out)} values {list(out)}, expected {count}")
    return out


def _known(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"its config says {name} {value!r}, known are {', '.join(known)}")
    return value
