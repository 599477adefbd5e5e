"""SAM-3D-Body checkpoints and the MHR rig that comes with them, read strictly in every published layout.

Layouts (a folder with one of these files, or the file itself):

- official: ``model.ckpt`` (a pickled state dict, flat or under ``state_dict``) beside ``assets/mhr_model.pt``;
- ComfyUI's repack, in the folder or in ``detection/``: one safetensors file with the backbone renamed as transformers names it and the
  MHR rig under ``mhr.``.

The rig itself (``mhr_model.pt`` or ``mhr.*``) is read by ``body4d.bodies.mhr.rig_file``.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from body4d.bodies.mhr.module import MhrBody, load_mhr
from body4d.bodies.mhr.rig_file import RIG_VARIABLE, find_rig_file
from body4d.checkpoints.loading import load_strict, read_checkpoint_file
from body4d.checkpoints.local import RIG_FILES
from body4d.core.errors import WeightsError
from body4d.models.sam3d_body.network.config import NetworkSizes, sizes_from_shapes
from body4d.models.sam3d_body.network.heads import PoseHead
from body4d.models.sam3d_body.network.model import Sam3dBody
from body4d.models.sam3d_body.network.prompts import NUM_KEYPOINTS

OFFICIAL_NAME = "model.ckpt"
NUM_VERTICES = 18439
DOWNLOAD_AGAIN = "Download the checkpoint again, from facebook/sam-3d-body-dinov3."

UNUSED_KEYS = re.compile(
    r"backbone\.encoder\.rope_embed\.periods$"  # computed from the base 100
    r"|backbone\.encoder\.blocks\.\d+\.attn\.qkv\.bias_mask$"  # marks that keys have no bias
    r"|head_pose(_hand)?\.(mhr\.|faces$|hand_pose_comps_ori$)"  # the rig, its triangles, components the head does not use
    r"|head_pose\.face_region_rgb$|face_landmarker\.|mhr\.|image_(mean|std)$|backbone\.image_(mean|std)$"  # repack's additions; constants
)
"""Keys of checkpoints that are no weights of the network."""

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


def find_checkpoint(path: Path) -> Path:
    """The weights file in a folder, the official one first; a file is taken as it is. Raises WeightsError where there is none."""
    if path.is_file():
        return path
    official = path / OFFICIAL_NAME
    # ComfyUI's repository has its file in a folder of its own.
    repacks = (file for folder in (path, path / "detection") for file in sorted(folder.glob("sam_3d_body*.safetensors")))
    weights = official if official.is_file() else next(repacks, None)
    if weights is None:
        raise WeightsError(
            f"{path} holds no SAM-3D-Body weights: neither {OFFICIAL_NAME} nor a sam_3d_body*.safetensors file is there.",
            code="sam3d_body_not_found",
            hint="Give the folder of the checkpoint facebook/sam-3d-body-dinov3.",
            path=str(path),
        )
    return weights


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file under its own keys, without running any code in it. safetensors are mapped, not copied."""
    state = read_checkpoint_file(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        message = f"{path} holds no state dict of tensors, as SAM-3D-Body's {OFFICIAL_NAME} does."
        raise WeightsError(message, code="sam3d_body_no_state_dict", hint=DOWNLOAD_AGAIN, path=str(path))
    return state


def load_sam3d_body(path: Path, *, device: torch.device | str = "cpu") -> Sam3dBody:
    """The network with a checkpoint's weights, in evaluation mode. Every tensor must fit, and none may be left over."""
    path = find_checkpoint(path)
    state = read_checkpoint(path)
    weights, sizes = convert_state(state, str(path))
    return build_network(sizes, weights, str(path), device)


def convert_state(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], NetworkSizes]:
    """A checkpoint's tensors under the network's keys, and the sizes of that network."""
    try:
        if any(".layer_scale1.lambda1" in key for key in state):
            state = dict(_repack_to_official(state))
        sizes = sizes_from_shapes({key: tuple(t.shape) for key, t in state.items()})
        return map_official_keys(state, source), sizes
    except KeyError as missing:
        raise _incomplete(source, str(missing.args[0])) from missing


def build_network(sizes: NetworkSizes, weights: Mapping[str, Tensor], source: str, device: torch.device | str = "cpu") -> Sam3dBody:
    """The network with ``weights`` under its own keys, without initialising it. Raises WeightsError with what is missing or unknown."""
    with torch.device("meta"):
        net = Sam3dBody(sizes)
    # The number of vertices that the keypoints depend on differs between checkpoints.
    for branch in ("body", "hand"):
        head = getattr(net, branch).head_pose
        for name in ("keypoint_vertex", "keypoint_from_vertex"):
            if f"{branch}.head_pose.{name}" in weights:
                setattr(head, name, torch.empty_like(weights[f"{branch}.head_pose.{name}"], device="meta"))
    floats = {k: t if k.startswith("backbone.") or not t.is_floating_point() else t.float() for k, t in weights.items()}
    load_strict(net, floats, source, "SAM-3D-Body")
    net.reset_buffers(device)
    return net.requires_grad_(False).eval().to(device)


def _incomplete(source: str, missing_key: str) -> WeightsError:
    message = f"{source} lacks {missing_key}: it is no complete SAM-3D-Body checkpoint."
    return WeightsError(message, code="sam3d_body_incomplete", hint=DOWNLOAD_AGAIN, missing=missing_key)


def map_official_keys(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Official keys as the network's. A key that no rule knows is kept, and refused by ``build_network``."""
    weights: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for key, tensor in state.items():
        if UNUSED_KEYS.match(key):
            continue
        if match := re.fullmatch(r"prompt_encoder\.point_embeddings\.(\d+)\.weight", key):
            points[int(match.group(1))] = tensor
        elif key.startswith("backbone.encoder."):
            weights.update(_dino(key.removeprefix("backbone.encoder."), tensor))
        elif match := re.fullmatch(r"head_pose(_hand)?\.keypoint_mapping", key):
            weights.update(_keypoints("hand." if match.group(1) else "body.", tensor))
        else:
            weights[network_key(key)] = tensor
    if "backbone.vit.norm.weight" in weights:
        # Replaces masked patches in training; the released files have no such tensor, and inference masks none.
        width = weights["backbone.vit.norm.weight"].shape[0]
        weights.setdefault("backbone.vit.embeddings.mask_token", weights["backbone.vit.norm.weight"].new_zeros(1, 1, width))
    missing = sorted(set(range(NUM_KEYPOINTS)) - set(points))
    if missing:
        raise _incomplete(source, f"prompt_encoder.point_embeddings.{missing[0]}.weight")
    weights["prompt_encoder.keypoints"] = torch.cat([points[i] for i in sorted(points)])
    return weights


def network_key(key: str) -> str:
    """The network's key for an official key whose tensor stays as it is."""
    if key in _PROMPTS:
        return _PROMPTS[key]
    if match := re.fullmatch(r"prompt_encoder\.mask_downscaling\.(\d+)\.(weight|bias)", key):
        index, leaf = int(match.group(1)), match.group(2)
        if index == 12:
            return f"prompt_encoder.mask.out.{leaf}"
        # Convolution, norm and GELU take turns.
        kind = ("convs.{}", "norms.{}.norm")[index % 3].format(index // 3) if index % 3 < 2 else f"unknown.{index}"
        return f"prompt_encoder.mask.{kind}.{leaf}"
    if match := _BRANCH.match(key):
        stem = match.group(1)
        rest = key[match.end() :]
        if stem in _TABLES:
            rest = ""
        stem = stem.removesuffix("_mhr")
        key = ("hand." if match.group(2) else "body.") + stem + ("." + rest if rest else "")
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
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
    if not match:
        yield "backbone.encoder." + key, tensor
        return
    layer, rest = f"{prefix}model.layer.{match.group(1)}.", match.group(2)
    if rest.startswith("attn.qkv."):
        leaf = rest.rsplit(".", 1)[1]
        for name, part in zip("qkv", tensor.chunk(3), strict=True):
            if (name, leaf) != ("k", "bias"):  # masked out in the published network
                yield f"{layer}attention.{name}_proj.{leaf}", part
        return
    stem, leaf = rest.rsplit(".", 1)
    if rest in _DINO_BLOCK:
        yield layer + _DINO_BLOCK[rest], tensor
    elif stem in _DINO_BLOCK:
        yield f"{layer}{_DINO_BLOCK[stem]}.{leaf}", tensor
    else:
        yield "backbone.encoder." + key, tensor


def _repack_to_official(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The repack's backbone under official names, so that one mapping serves both; q, k and v are joined again."""
    roots = {v: k for k, v in _DINO_ROOT.items()}
    blocks = {v: k for k, v in _DINO_BLOCK.items()}
    qkv_parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"backbone\.(?:encoder\.|vit\.)?(?:model\.)?layers?\.(\d+)\.(.+)", key)
        root = re.fullmatch(r"backbone\.(?:encoder\.|vit\.)?(.+)", key)
        if match:
            block, rest = f"backbone.encoder.blocks.{match.group(1)}.", match.group(2)
            if part := re.fullmatch(r"attention\.([qkv])_proj\.(weight|bias)", rest):
                qkv_parts.setdefault(f"{block}attn.qkv.{part.group(2)}", {})[part.group(1)] = tensor
                continue
            stem, _, leaf = rest.rpartition(".")
            yield block + (blocks[rest] if rest in blocks else f"{blocks.get(stem, stem)}.{leaf}"), tensor
        elif root and root.group(1) in roots:
            yield "backbone.encoder." + roots[root.group(1)], tensor
        else:
            yield key, tensor
    for key, parts in qkv_parts.items():
        parts.setdefault("k", torch.zeros_like(parts["v"]))  # keys have no bias
        yield key, torch.cat([parts[name] for name in "qkv"])


def _keypoints(branch: str, mapping: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The dense keypoint mapping reduced to the 70 keypoints and to the vertices that they depend on."""
    rows = mapping[:NUM_KEYPOINTS]
    used = rows[:, :NUM_VERTICES].ne(0).any(0).nonzero()[:, 0]
    yield f"{branch}head_pose.keypoint_vertex", used
    yield f"{branch}head_pose.keypoint_from_vertex", rows[:, used].contiguous()
    yield f"{branch}head_pose.keypoint_from_joint", rows[:, NUM_VERTICES:].contiguous()


def load_rig_beside(checkpoint: Path, head: PoseHead, device: torch.device | str) -> MhrBody:
    """The rig that comes with a checkpoint file, else that of $BODY4D_MHR, with the keypoints of the network's ``head``.

    Raises WeightsError where there is none.
    """
    mhr = load_mhr(find_rig_beside(checkpoint), device=device)
    mhr.file = replace(mhr.file, keypoint_mapping=dense_mapping(head, len(mhr.file.rest_vertices_cm)))
    return mhr


def find_rig_beside(checkpoint: Path) -> Path:
    """The rig file that comes with a checkpoint file, else that of $BODY4D_MHR. Raises WeightsError where there is none."""
    path = next((checkpoint.parent / name for name in RIG_FILES if (checkpoint.parent / name).is_file()), None)
    if path is None and checkpoint.suffix == ".safetensors":
        path = checkpoint
    try:
        return find_rig_file(path)
    except WeightsError:
        if path is None and not os.environ.get(RIG_VARIABLE):
            raise WeightsError(
                f"{checkpoint.parent} lacks assets/mhr_model.pt, the rig that belongs to {checkpoint.name}.",
                code="rig_not_beside_checkpoint",
                hint=f"Download it from https://huggingface.co/facebook/sam-3d-body-dinov3, or set {RIG_VARIABLE} to its path.",
                path=str(checkpoint.parent),
            ) from None
        raise


def dense_mapping(head: PoseHead, num_vertices: int) -> Float[Tensor, "70 vertices_and_joints"]:
    """The 70 keypoints as blends of all of a rig's vertices, then of its joints."""
    out = head.keypoint_from_vertex.new_zeros(len(head.keypoint_from_vertex), num_vertices)
    out[:, head.keypoint_vertex] = head.keypoint_from_vertex
    return torch.cat([out, head.keypoint_from_joint], 1).cpu()
