"""Writes SAM-3D-Body checkpoints in every published layout, of any size, with made-up weights: keys, shapes and types as published.

What the released file is known to hold is from its users: 1,127 tensors, the backbone in bfloat16, both heads sharing some buffers,
no ``mask_token`` and no ``hand_pose_comps_ori``, which upstream's own network has and its loader misses.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from body4d.models.sam3d_body.network.config import BackboneSizes, NetworkSizes

FULL = NetworkSizes(
    BackboneSizes("dinov3", 1280, 32, 20, 5120), decoder_width=1024, decoder_depth=6, decoder_attention=512, decoder_hidden=1024
)
TINY = NetworkSizes(BackboneSizes("dinov3", 64, 2, 1, 96), decoder_width=64, decoder_depth=2, decoder_attention=64, decoder_hidden=48)
TINY_VIT = NetworkSizes(BackboneSizes("vit", 64, 2, 16, 256), decoder_width=64, decoder_depth=2, decoder_attention=64, decoder_hidden=48)

VERTICES, JOINTS, FACES = 18439, 127, 36874
MODEL_CONFIG = "MODEL:\n  IMAGE_SIZE: [512, 512]\n  BACKBONE:\n    TYPE: {}\n"
NEVER_RELEASED = ("backbone.encoder.mask_token", "head_pose.hand_pose_comps_ori", "head_pose_hand.hand_pose_comps_ori")
"""Keys of upstream's network that its released checkpoint does not hold."""

_SHARED = (
    "joint_rotation",
    "scale_mean",
    "scale_comps",
    "faces",
    "hand_pose_mean",
    "keypoint_mapping",
    "right_wrist_coords",
    "root_coords",
)
_INTEGERS = ("faces", "hand_joint_idxs_left", "hand_joint_idxs_right", "nonhand_param_idxs")
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def official_shapes(sizes: NetworkSizes) -> dict[str, tuple[int, ...]]:
    """Every key of upstream's network of these sizes but the rig's, with its shape."""
    width, image = sizes.decoder_width, sizes.backbone.width
    out = dict((_dino if sizes.backbone.kind == "dinov3" else _vit)(sizes))
    out |= dict(_prompts(width, image))
    for suffix in ("", "_hand"):
        out |= dict(_branch(sizes, suffix))
    return out


def _linear(name: str, to: int, of: int) -> Shapes:
    yield f"{name}.weight", (to, of)
    yield f"{name}.bias", (to,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _mlp(name: str, of: int, hidden: int, to: int) -> Shapes:
    yield from _linear(f"{name}.layers.0.0", hidden, of)
    yield from _linear(f"{name}.layers.1", to, hidden)


def _dino(sizes: NetworkSizes) -> Shapes:
    b, prefix = sizes.backbone, "backbone.encoder."
    yield prefix + "cls_token", (1, 1, b.width)
    yield prefix + "storage_tokens", (1, 4, b.width)
    yield prefix + "mask_token", (1, b.width)
    yield prefix + "patch_embed.proj.weight", (b.width, 3, 16, 16)
    yield prefix + "patch_embed.proj.bias", (b.width,)
    yield prefix + "rope_embed.periods", (16,)
    for i in range(b.depth):
        block = f"{prefix}blocks.{i}."
        yield from _norm(block + "norm1", b.width)
        yield from _linear(block + "attn.qkv", 3 * b.width, b.width)
        yield block + "attn.qkv.bias_mask", (3 * b.width,)
        yield from _linear(block + "attn.proj", b.width, b.width)
        yield block + "ls1.gamma", (b.width,)
        yield from _norm(block + "norm2", b.width)
        yield from _linear(block + "mlp.w1", b.hidden, b.width)
        yield from _linear(block + "mlp.w2", b.hidden, b.width)
        yield from _linear(block + "mlp.w3", b.width, b.hidden)
        yield block + "ls2.gamma", (b.width,)
    yield from _norm(prefix + "norm", b.width)


def _vit(sizes: NetworkSizes) -> Shapes:
    b = sizes.backbone
    yield "backbone.pos_embed", (1, sizes.grid[0] * sizes.grid[1] + 1, b.width)
    yield "backbone.patch_embed.proj.weight", (b.width, 3, 16, 16)
    yield "backbone.patch_embed.proj.bias", (b.width,)
    for i in range(b.depth):
        block = f"backbone.blocks.{i}."
        yield from _norm(block + "norm1", b.width)
        yield from _linear(block + "attn.qkv", 3 * b.width, b.width)
        yield from _linear(block + "attn.proj", b.width, b.width)
        yield from _norm(block + "norm2", b.width)
        yield from _linear(block + "mlp.fc1", b.hidden, b.width)
        yield from _linear(block + "mlp.fc2", b.width, b.hidden)
    yield from _norm("backbone.last_norm", b.width)


def _prompts(width: int, image: int) -> Shapes:
    yield "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, image // 2)
    yield "hand_pe_layer.positional_encoding_gaussian_matrix", (2, image // 2)
    for i in range(70):
        yield f"prompt_encoder.point_embeddings.{i}.weight", (1, image)
    for name in ("not_a_point_embed", "invalid_point_embed", "no_mask_embed"):
        yield f"prompt_encoder.{name}.weight", (1, image)
    channels = (1, 4, 16, 64, 256)
    for i in range(4):
        place = f"prompt_encoder.mask_downscaling.{3 * i}"
        yield f"{place}.weight", (channels[i + 1], channels[i], 2, 2)
        yield f"{place}.bias", (channels[i + 1],)
        yield from _norm(f"prompt_encoder.mask_downscaling.{3 * i + 1}", channels[i + 1])
    yield "prompt_encoder.mask_downscaling.12.weight", (image, 256, 1, 1)
    yield "prompt_encoder.mask_downscaling.12.bias", (image,)
    yield from _linear("prompt_to_token", width, image)
    yield "hand_box_embedding.weight", (2, width)
    yield from _linear("hand_cls_embed", 2, width)
    for i, to in enumerate((width, width, 4)):
        yield from _linear(f"bbox_embed.layers.{i}", to, width)


def _branch(sizes: NetworkSizes, suffix: str) -> Shapes:
    width, image = sizes.decoder_width, sizes.backbone.width
    head = f"head_pose{suffix}."
    for name, shape in (
        ("joint_rotation", (JOINTS, 3, 3)), ("scale_mean", (68,)), ("scale_comps", (28, 68)), ("faces", (FACES, 3)),
        ("hand_pose_mean", (54,)), ("hand_pose_comps", (54, 54)), ("hand_pose_comps_ori", (54, 54)), ("hand_joint_idxs_left", (27,)),
        ("hand_joint_idxs_right", (27,)), ("keypoint_mapping", (308, VERTICES + JOINTS)), ("right_wrist_coords", (3,)),
        ("root_coords", (3,)), ("local_to_world_wrist", (3, 3)), ("nonhand_param_idxs", (145,)),
    ):  # fmt: skip
        yield head + name, shape
    yield from _mlp(head + "proj", width, width, 519)
    yield from _mlp(f"head_camera{suffix}.proj", width, width, 3)
    yield f"init_pose{suffix}.weight", (1, 519)
    yield f"init_camera{suffix}.weight", (1, 3)
    yield from _linear(f"init_to_token_mhr{suffix}", width, 525)
    yield from _linear(f"prev_to_token_mhr{suffix}", width, 522)
    for name in ("keypoint_embedding", "keypoint3d_embedding"):
        yield f"{name}{suffix}.weight", (70, width)
    yield from _mlp(f"keypoint_posemb_linear{suffix}", 2, width, width)
    yield from _mlp(f"keypoint3d_posemb_linear{suffix}", 3, width, width)
    yield from _linear(f"keypoint_feat_linear{suffix}", width, image)
    yield f"ray_cond_emb{suffix}.conv.weight", (image, image + 99, 1, 1)
    yield from _norm(f"ray_cond_emb{suffix}.norm", image)
    for i in range(sizes.decoder_depth):
        yield from _decoder_layer(f"decoder{suffix}.layers.{i}.", sizes)
    yield from _norm(f"decoder{suffix}.norm_final", width)


def _decoder_layer(layer: str, sizes: NetworkSizes) -> Shapes:
    width, image, inner = sizes.decoder_width, sizes.backbone.width, sizes.decoder_attention
    for name, size in (("ln_pe_1", width), ("ln_pe_2", image), ("ln1", width), ("ln2_1", width), ("ln2_2", image), ("ln3", width)):
        yield from _norm(layer + name, size)
    for name, other in (("self_attn", width), ("cross_attn", image)):
        yield from _linear(f"{layer}{name}.q_proj", inner, width)
        yield from _linear(f"{layer}{name}.k_proj", inner, other)
        yield from _linear(f"{layer}{name}.v_proj", inner, other)
        yield from _linear(f"{layer}{name}.proj", width, inner)
    yield from _mlp(layer + "ffn", width, sizes.decoder_hidden, width)


def official_state(sizes: NetworkSizes, seed: int = 0) -> dict[str, Tensor]:
    """A state dict as released: made-up weights under which bodies stand before the camera, backbone in bfloat16."""
    made = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}
    for key, shape in official_shapes(sizes).items():
        if key in NEVER_RELEASED:
            continue
        leaf = key.rpartition(".")[2]
        if key.startswith("head_pose_hand.") and leaf in _SHARED:
            out[key] = out[key.replace("head_pose_hand", "head_pose")]
        elif leaf in _INTEGERS:
            out[key] = _integers(leaf, shape)
        else:
            out[key] = _value(key, shape, made)
            if key.startswith("backbone."):
                out[key] = out[key].bfloat16()
    return out


def _integers(leaf: str, shape: tuple[int, ...]) -> Tensor:
    if leaf == "nonhand_param_idxs":
        return torch.cat([torch.arange(6, 95), torch.arange(122, 178)])
    if leaf == "faces":
        return (torch.arange(FACES * 3) * 7919 % VERTICES).reshape(shape)
    return torch.arange(68, 95) + (27 if leaf.endswith("right") else 0)


def _value(key: str, shape: tuple[int, ...], made: torch.Generator) -> Tensor:
    leaf = key.rpartition(".")[2]
    noise = 0.02 * torch.randn(shape, generator=made)
    if leaf == "bias_mask" or (leaf == "bias" and ".qkv." in key and key.startswith("backbone.encoder.")):
        return torch.zeros(shape)
    if leaf == "gamma":
        return 0.5 + noise
    if leaf in ("joint_rotation", "local_to_world_wrist"):
        return torch.eye(3).expand(shape).clone()
    if leaf in ("hand_pose_comps", "scale_comps"):
        return torch.eye(*shape) + (noise if leaf == "scale_comps" else 0)
    if leaf == "keypoint_mapping":
        return _mapping(shape, made)
    if key.startswith("init_camera"):
        return torch.tensor([[-0.9, 0.0, 0.0]]) + noise
    if key.startswith("init_pose") or leaf == "hand_pose_mean":
        return 0.3 * torch.randn(shape, generator=made)
    return 1 + noise if leaf == "weight" and len(shape) == 1 else noise


def _mapping(shape: tuple[int, ...], made: torch.Generator) -> Tensor:
    """Each keypoint hangs on three vertices."""
    out = torch.zeros(shape)
    vertices = torch.randint(0, VERTICES, (shape[0], 3), generator=made)
    return out.scatter_(1, vertices, torch.full((shape[0], 3), 1 / 3))


def save_official(state: dict[str, Tensor], folder: Path, kind: str = "dinov3_vith16plus") -> Path:
    """``model.ckpt`` and ``model_config.yaml`` as in the official folders; the rig is ``mhr_files.save_script``'s."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "model.ckpt")
    (folder / "model_config.yaml").write_text(MODEL_CONFIG.format(kind))
    return folder / "model.ckpt"


def as_repack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv3 state under the names of ComfyUI's one-file repack, with its additions: 19 tensors a block where the official has 17."""
    roots = {
        "cls_token": "embeddings.cls_token", "storage_tokens": "embeddings.register_tokens", "norm.weight": "norm.weight",
        "norm.bias": "norm.bias", "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
    }  # fmt: skip
    renamed = {
        "attn.proj": "attention.o_proj", "mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.up_proj", "mlp.w3": "mlp.down_proj",
        "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1",
    }  # fmt: skip
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if not key.startswith("backbone.encoder."):
            out[key] = tensor.clone()
            continue
        name = key.removeprefix("backbone.encoder.")
        if name in roots:
            out["backbone." + roots[name]] = tensor.clone()
        elif "bias_mask" in name or name == "rope_embed.periods":
            continue
        elif ".attn.qkv." in name:
            block, leaf = name.split(".attn.qkv.")
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                if (letter, leaf) != ("k", "bias"):
                    out[f"backbone.{block.replace('blocks', 'layer')}.attention.{letter}_proj.{leaf}"] = part.clone()
        else:
            for old, new in renamed.items():
                name = name.replace(old, new)
            out["backbone." + name.replace("blocks", "layer")] = tensor.clone()
    out["face_landmarker.conv.weight"] = torch.zeros(2)
    out["head_pose.face_region_rgb"] = torch.zeros(VERTICES, 3)
    return out
