"""SAM-3D-Body checkpoints: every layout a user may hold, read strictly.

Layouts (a folder holding one of these files, or the file itself):

- official: ``model.ckpt`` (a pickled state dict, flat or under ``state_dict``) beside ``assets/mhr_model.pt``;
- ComfyUI's repack, in the folder or in ``detection/``: one safetensors file with the backbone renamed as transformers names it and the
  MHR rig under ``mhr.``.

The rig itself (``mhr_model.pt`` or ``mhr.*``) is read by ``bodies.mhr``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from body4d.checkpoints.loading import load_strict, read_checkpoint_file
from body4d.core.errors import WeightsError
from body4d.models.sam3d_body.network.config import NetworkSizes, sizes_from_shapes
from body4d.models.sam3d_body.network.model import Sam3dBody
from body4d.models.sam3d_body.network.prompts import KEYPOINTS

OFFICIAL_NAME = "model.ckpt"
VERTICES = 18439

NOT_WEIGHTS = re.compile(
    r"backbone\.encoder\.rope_embed\.periods$"  # worked out from the base 100
    r"|backbone\.encoder\.blocks\.\d+\.attn\.qkv\.bias_mask$"  # says that keys have no bias
    r"|head_pose(_hand)?\.(mhr\.|faces$|hand_pose_comps_ori$)"  # the rig, its triangles, components the head does not use
    r"|head_pose\.face_region_rgb$|face_landmarker\.|mhr\.|image_(mean|std)$|backbone\.image_(mean|std)$"  # repack's additions; constants
)
"""Keys a checkpoint may hold that the network is not made of."""

_MLP = re.compile(r"\b(ffn|proj|keypoint_posemb_linear|keypoint3d_posemb_linear)\.layers\.(0\.0|1)\.")
_BRANCH = re.compile(
    r"^(decoder|head_pose|head_camera|init_pose|init_camera|ray_cond_emb|init_to_token_mhr|prev_to_token_mhr|keypoint_embedding"
    r"|keypoint3d_embedding|keypoint_posemb_linear|keypoint3d_posemb_linear|keypoint_feat_linear)(_hand)?\."
)
_TABLES = ("init_pose", "init_camera", "keypoint_embedding", "keypoint3d_embedding", "hand_box_embedding")
_PROMPTS = {
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "prompt_encoder.position.matrix",
    "hand_pe_layer.positional_encoding_gaussian_matrix": "hand_position.matrix",
    "prompt_encoder.not_a_point_embed.weight": "prompt_encoder.wrong_point",
    "prompt_encoder.invalid_point_embed.weight": "prompt_encoder.no_prompt",
    "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask",
}
_DINO_ROOT = {
    "cls_token": "embeddings.cls_token", "storage_tokens": "embeddings.register_tokens", "mask_token": "embeddings.mask_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.weight", "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
    "norm.weight": "norm.weight", "norm.bias": "norm.bias",
}  # fmt: skip
_DINO_BLOCK = {
    "attn.proj": "attention.o_proj", "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1",
    "mlp.w1": "mlp.gate_proj", "mlp.w2": "mlp.up_proj", "mlp.w3": "mlp.down_proj", "norm1": "norm1", "norm2": "norm2",
}  # fmt: skip


def find_checkpoint(place: Path) -> Path:
    """The weights file in a folder, the official one first; a file is taken as it is. Raises WeightsError where there is none."""
    if place.is_file():
        return place
    official = place / OFFICIAL_NAME
    # ComfyUI's repository has its file in a folder of its own.
    repacks = (path for folder in (place, place / "detection") for path in sorted(folder.glob("sam_3d_body*.safetensors")))
    found = official if official.is_file() else next(repacks, None)
    if found is None:
        raise WeightsError(f"No SAM-3D-Body weights in {place}: expected {OFFICIAL_NAME} or a sam_3d_body*.safetensors file there.")
    return found


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file under its own keys, without running any code in it. safetensors are mapped, not copied."""
    state = read_checkpoint_file(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors; expected SAM-3D-Body's {OFFICIAL_NAME}.")
    return state


def load_sam3d_body(place: Path, *, device: torch.device | str = "cpu") -> Sam3dBody:
    """The network with a checkpoint's weights, in evaluation mode. Any layout; every tensor must fit and none may be left over."""
    path = find_checkpoint(place)
    state = read_checkpoint(path)
    ours, sizes = to_network(state, str(path))
    return build(sizes, ours, str(path), device)


def to_network(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], NetworkSizes]:
    """A checkpoint's tensors under our names, and the network they belong to."""
    try:
        if any(".layer_scale1.lambda1" in key for key in state):
            state = dict(_as_official(state))
        sizes = sizes_from_shapes({key: tuple(t.shape) for key, t in state.items()})
        return map_official(state, source), sizes
    except KeyError as missing:
        raise WeightsError(f"{source} lacks {missing}; it is no complete SAM-3D-Body checkpoint.") from missing


def build(sizes: NetworkSizes, ours: Mapping[str, Tensor], source: str, device: torch.device | str = "cpu") -> Sam3dBody:
    """The network around tensors under our names; nothing is initialised first. Raises WeightsError naming what is missing or unknown."""
    with torch.device("meta"):
        net = Sam3dBody(sizes)
    # How many vertices the keypoints hang on differs between checkpoints.
    for branch in ("body", "hand"):
        head = getattr(net, branch).head_pose
        for name in ("keypoint_vertex", "keypoint_from_vertex"):
            if f"{branch}.head_pose.{name}" in ours:
                setattr(head, name, torch.empty_like(ours[f"{branch}.head_pose.{name}"], device="meta"))
    floats = {k: t if k.startswith("backbone.") or not t.is_floating_point() else t.float() for k, t in ours.items()}
    load_strict(net, floats, source, "SAM-3D-Body")
    net.reset_buffers(device)
    return net.requires_grad_(False).eval().to(device)


def map_official(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Official keys as ours. What no rule knows keeps its name and is refused by :func:`build`."""
    ours: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for key, tensor in state.items():
        if NOT_WEIGHTS.match(key):
            continue
        if found := re.fullmatch(r"prompt_encoder\.point_embeddings\.(\d+)\.weight", key):
            points[int(found.group(1))] = tensor
        elif key.startswith("backbone.encoder."):
            ours.update(_dino(key.removeprefix("backbone.encoder."), tensor))
        elif found := re.fullmatch(r"head_pose(_hand)?\.keypoint_mapping", key):
            ours.update(_keypoints("hand." if found.group(1) else "body.", tensor))
        else:
            ours[our_name(key)] = tensor
    if "backbone.vit.norm.weight" in ours:
        # Stands for patches hidden in training; the released files leave it out, and nothing is hidden here.
        width = ours["backbone.vit.norm.weight"].shape[0]
        ours.setdefault("backbone.vit.embeddings.mask_token", ours["backbone.vit.norm.weight"].new_zeros(1, 1, width))
    absent = sorted(set(range(KEYPOINTS)) - set(points))
    if absent:
        raise WeightsError(f"{source} lacks prompt_encoder.point_embeddings.{absent[0]}.weight; it is no complete SAM-3D-Body checkpoint.")
    ours["prompt_encoder.keypoints"] = torch.cat([points[i] for i in sorted(points)])
    return ours


def our_name(key: str) -> str:
    """Our name of an official key that stands for one tensor as it is."""
    if key in _PROMPTS:
        return _PROMPTS[key]
    if found := re.fullmatch(r"prompt_encoder\.mask_downscaling\.(\d+)\.(weight|bias)", key):
        place, leaf = int(found.group(1)), found.group(2)
        if place == 12:
            return f"prompt_encoder.mask.out.{leaf}"
        # Every third place: convolution, norm, GELU.
        kind = ("convs.{}", "norms.{}.norm")[place % 3].format(place // 3) if place % 3 < 2 else f"unknown.{place}"
        return f"prompt_encoder.mask.{kind}.{leaf}"
    if found := _BRANCH.match(key):
        stem = found.group(1)
        rest = key[found.end() :]
        if stem in _TABLES:
            rest = ""
        stem = stem.removesuffix("_mhr")
        key = ("hand." if found.group(2) else "body.") + stem + ("." + rest if rest else "")
    elif key == "hand_box_embedding.weight":
        key = "hand_box_embedding"
    elif key.startswith("bbox_embed.layers."):
        key = key.replace("bbox_embed.layers.", "bbox_embed.")
    return _MLP.sub(lambda m: f"{m.group(1)}.{'fc1' if m.group(2) == '0.0' else 'fc2'}.", key)


def _dino(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    prefix = "backbone.vit."
    if key in _DINO_ROOT:
        yield prefix + _DINO_ROOT[key], tensor[None] if key == "mask_token" and tensor.ndim == 2 else tensor
        return
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
    if not found:
        yield "backbone.encoder." + key, tensor
        return
    layer, rest = f"{prefix}model.layer.{found.group(1)}.", found.group(2)
    if rest.startswith("attn.qkv."):
        leaf = rest.rsplit(".", 1)[1]
        for name, part in zip("qkv", tensor.chunk(3), strict=True):
            if (name, leaf) != ("k", "bias"):  # masked to nothing in the published network
                yield f"{layer}attention.{name}_proj.{leaf}", part
        return
    stem, leaf = rest.rsplit(".", 1)
    if rest in _DINO_BLOCK:
        yield layer + _DINO_BLOCK[rest], tensor
    elif stem in _DINO_BLOCK:
        yield f"{layer}{_DINO_BLOCK[stem]}.{leaf}", tensor
    else:
        yield "backbone.encoder." + key, tensor


def _as_official(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The repack's backbone under official names, so that one mapping serves both; q, k and v are joined again."""
    roots = {v: k for k, v in _DINO_ROOT.items()}
    blocks = {v: k for k, v in _DINO_BLOCK.items()}
    thirds: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        found = re.fullmatch(r"backbone\.(?:encoder\.|vit\.)?(?:model\.)?layers?\.(\d+)\.(.+)", key)
        root = re.fullmatch(r"backbone\.(?:encoder\.|vit\.)?(.+)", key)
        if found:
            block, rest = f"backbone.encoder.blocks.{found.group(1)}.", found.group(2)
            if part := re.fullmatch(r"attention\.([qkv])_proj\.(weight|bias)", rest):
                thirds.setdefault(f"{block}attn.qkv.{part.group(2)}", {})[part.group(1)] = tensor
                continue
            stem, _, leaf = rest.rpartition(".")
            yield block + (blocks[rest] if rest in blocks else f"{blocks.get(stem, stem)}.{leaf}"), tensor
        elif root and root.group(1) in roots:
            yield "backbone.encoder." + roots[root.group(1)], tensor
        else:
            yield key, tensor
    for key, parts in thirds.items():
        parts.setdefault("k", torch.zeros_like(parts["v"]))  # keys have no bias
        yield key, torch.cat([parts[name] for name in "qkv"])


def _keypoints(branch: str, mapping: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The dense keypoint map cut to the 70 keypoints and to the vertices they hang on."""
    rows = mapping[:KEYPOINTS]
    used = rows[:, :VERTICES].ne(0).any(0).nonzero()[:, 0]
    yield f"{branch}head_pose.keypoint_vertex", used
    yield f"{branch}head_pose.keypoint_from_vertex", rows[:, used].contiguous()
    yield f"{branch}head_pose.keypoint_from_joint", rows[:, VERTICES:].contiguous()
