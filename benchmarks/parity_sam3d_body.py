"""SAM-3D-Body's part of parity.py: fills the network, repeats the golden's cases with ``upstream_exact``, and names what is compared."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import Row, compare
from torch import Tensor, nn

from body4d.config import Sam3dBodySettings
from body4d.nets.sam3d_body.branch import Decoded
from body4d.nets.sam3d_body.crop import Crops, crop_affine, warp
from body4d.nets.sam3d_body.hands import FullPass, hand_crops, join_hands, run_hands
from body4d.nets.sam3d_body.heads import Mhr, all_vertices_m, project
from body4d.nets.sam3d_body.model import BodyPass, Sam3dBody, body_crops, estimate_bodies
from body4d.weights.sam3d_body import build, to_network

INVALID_CAMERA_SCALE = -2.0
"""The small_invalid sets overwrite init_camera[0, 0] with this, so that keypoints fall outside the crop."""

LONG_CHAINS: tuple[tuple[str, str], ...] = (
    (
        r"^(backbone#[1-9]|ray_cond_emb_hand\.(in|out)#\d)\.",
        "a last bit of a hand's box moves single pixels of its crop by one level; upstream against itself: 5e-4",
    ),
    (
        r"^decoder_hand\.layer\d+#\d+\.tokens_sub$",
        "after such a hand crop, the backbone and a layer; what the pose token says keeps the tight limit",
    ),
    (r"pred_keypoints_2d_verts_sub$", "vertices close to the camera's plane: pixels are divided by a depth near zero"),
)
"""Patterns of arrays that may be off by 1e-3, and why."""


def rows(golden: Path, goldens: Path, salt: str, only: str | None) -> Iterator[Row]:
    """Compare every array of every case."""
    size = re.search(r"sam3dbody_(small_invalid|small|medium|full)", golden.name)
    if not size:
        raise SystemExit(f"{golden.name}: expected a name like sam3dbody_small_A.npz; the network's size follows from it.")
    data = np.load(golden)
    net = filled_network(goldens, size.group(1), salt)
    mhr = standin(salt)
    cases = sorted({key.split("/")[0] for key in data.files if "/" in key} - {"inputs"})
    for case in [c for c in cases if only in (None, c)]:
        yield from run_case(net, mhr, data, case)


def filled_network(goldens: Path, size: str, salt: str) -> Sam3dBody:
    """The network of a set, weights by the fill rule under the official keys."""
    from fill_rule import value  # type: ignore[import-not-found]

    state: dict[str, Tensor] = {}
    for line in (goldens / f"state_dict_keys_{size.split('_')[0]}.txt").read_text().splitlines():
        key, shape, _ = line.split("\t")
        if ".mhr." not in key:
            numbers = [int(n) for n in re.findall(r"\d+", shape)]
            state[key] = torch.from_numpy(np.ascontiguousarray(value(key, numbers, salt)))
    if size == "small_invalid":
        state["init_camera.weight"][0, 0] = INVALID_CAMERA_SCALE
    ours, sizes = to_network(state, f"fill rule, {size}")
    return build(sizes, ours, f"fill rule, {size}")


def standin(salt: str) -> Mhr:
    """The MHR stand-in of a set, as TorchScript like the real file."""
    from make_mhr_standin import MHRStandIn  # type: ignore[import-not-found]

    return torch.jit.script(MHRStandIn(salt).eval())


class Recorder:
    """What passed through the network's modules in one case, by the golden's names and call numbers."""

    def __init__(self, net: Sam3dBody) -> None:
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self._hooks = [net.backbone.register_forward_hook(self._keep("backbone"))]
        for suffix, branch in (("", net.body), ("_hand", net.hand)):
            self._watch(branch.ray_cond_emb, f"ray_cond_emb{suffix}.in", of_input=0)
            self._watch(branch.ray_cond_emb, f"ray_cond_emb{suffix}.out")
            self._watch(branch.decoder, f"decoder{suffix}.in_tokens", of_input=0)
            self._watch(branch.decoder, f"decoder{suffix}.in_augment", of_input=1)
            for i, layer in enumerate(branch.decoder.layers):
                self._watch(layer, f"decoder{suffix}.layer{i}")
            self._watch(branch.decoder.norm_final, f"decoder{suffix}.norm_final_pose_token")
            self._watch(branch.head_pose.proj, f"head_pose{suffix}.proj")
            self._watch(branch.head_pose, f"head_pose{suffix}")
            self._watch(branch.head_camera, f"head_camera{suffix}.pred_cam")

    def _keep(self, name: str, of_input: int | None = None) -> Any:
        def hook(_module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            self.calls[name].append(out if of_input is None else given[of_input])

        return hook

    def _watch(self, module: nn.Module, name: str, of_input: int | None = None) -> None:
        self._hooks.append(module.register_forward_hook(self._keep(name, of_input)))

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


@dataclass(frozen=True)
class Case:
    """All that the arrays of one case are taken from."""

    net: Sam3dBody
    mhr: Mhr
    data: Any
    people: int
    crops: Crops
    pictures: Tensor
    masks: Tensor | None
    recorder: Recorder
    first: BodyPass
    full: FullPass | None
    own_hand_crops: tuple[Crops, Crops] | None


def run_case(net: Sam3dBody, mhr: Mhr, data: Any, case: str) -> Iterator[Row]:
    """Run one case and compare its arrays."""
    recorder = Recorder(net)
    try:
        with torch.inference_mode():
            ran = _run(net, mhr, data, case, recorder)
    finally:
        recorder.close()
    with torch.inference_mode():
        if "inputs/crops_u8" in data.files and ran.people == len(data["inputs/boxes"]):
            yield compare(f"{case}/crops_u8", data["inputs/crops_u8"], warp(ran.pictures, ran.crops, 512).numpy())
        for key in data.files:
            if key.startswith(case + "/") and not key.endswith("thresh_wrist_angle"):
                name = key.removeprefix(case + "/")
                reason = next((why for pattern, why in LONG_CHAINS if re.search(pattern, name)), "")
                if name == "batch.cam_int":
                    continue  # An input: read from here.
                ours = ours_of(ran, name).float().numpy()
                # Upstream keeps pictures and people apart in its batch's shapes.
                same = ours.size == data[key].size and "batch." in name
                yield compare(key, data[key], ours.reshape(data[key].shape) if same else ours, reason)


def _run(net: Sam3dBody, mhr: Mhr, data: Any, case: str, recorder: Recorder) -> Case:
    pictures = torch.from_numpy(data["inputs/image"])[None]
    boxes = torch.from_numpy(data["inputs/boxes"])
    centres = torch.from_numpy(data[f"{case}/batch.bbox_center"]).reshape(-1, 2)
    # Which people the case is about: those whose boxes lie there.
    people = torch.cdist(centres, (boxes[:, :2] + boxes[:, 2:]) / 2).argmin(1)
    count = len(people)
    K = torch.from_numpy(data[f"{case}/batch.cam_int"])
    settings = Sam3dBodySettings(upstream_exact=True)
    if f"{case}/thresh_wrist_angle" in data.files:
        settings = Sam3dBodySettings(upstream_exact=True, wrist_angle_most_rad=float(data[f"{case}/thresh_wrist_angle"]))
    masks = None
    if (data[f"{case}/batch.mask_score"] > 0).all():
        width = data["inputs/image"].shape[1]
        level = 255 if "mask255" in case else 1
        masks = level * torch.from_numpy(np.unpackbits(data["inputs/masks"], axis=-1)[..., :width])[people]
    crops = body_crops(boxes[people], torch.zeros(count, dtype=torch.long), K.expand(count, 3, 3), net.sizes, settings)
    first = estimate_bodies(net, mhr, pictures, crops, masks)
    full, own = None, None
    if case.startswith("full"):
        size = (pictures.shape[2], pictures.shape[1])
        own = hand_crops(net, first, size[0], settings)
        # Our boxes are compared with the golden's; then both look at the very same pixels.
        given = (_golden_crops(data, case, "lhand", own[0], size[0]), _golden_crops(data, case, "rhand", own[1], size[0]))
        full = join_hands(net, mhr, size, first, run_hands(net, mhr, pictures, given, settings), settings)
    return Case(net, mhr, data, count, crops, pictures, masks, recorder, first, full, own)


def _golden_crops(data: Any, case: str, hand: str, own: Crops, width: int) -> Crops:
    """Our hand crops with the golden's centre and side, which agree to the last bits."""
    centre = torch.from_numpy(data[f"{case}/{hand}.batch.bbox_center"]).reshape(-1, 2).clone()
    if hand == "lhand":
        centre[:, 0] = width - centre[:, 0] - 1
    side = torch.from_numpy(data[f"{case}/{hand}.batch.bbox_scale"]).reshape(-1, 2)[:, 0].clone()
    affine = torch.from_numpy(data[f"{case}/{hand}.batch.affine_trans"]).reshape(-1, 2, 3)
    if hand == "lhand":
        # Un-mirroring rounded the golden's centre: of the neighbours take the one that gives its affine.
        steps = torch.arange(-4, 5)[:, None] * torch.finfo(torch.float32).eps * centre[:, 0].abs()
        tried = [torch.stack([centre[:, 0] + step, centre[:, 1]], -1) for step in steps]
        off = torch.stack([(crop_affine(c, side, 512).float() - affine).abs().amax((1, 2)) for c in tried])
        centre = torch.stack(tried)[off.argmin(0), torch.arange(len(centre))]
    return replace(own, centre_px=centre, side_px=side, affine=affine)


def ours_of(ran: Case, name: str) -> Tensor:
    """Our side of a golden array."""
    for prefix, side in (("lhand/", 0), ("rhand/", 1)):
        if name.startswith(prefix) and ran.full:
            hands = ran.full.hands
            return output(ran, name.removeprefix(prefix + "out."), hands.decoded[side], hands.crops[side])
    for prefix, side in (("lhand.batch.", 0), ("rhand.batch.", 1)):
        if name.startswith(prefix) and ran.own_hand_crops:
            return geometry(ran, name.removeprefix(prefix), ran.own_hand_crops[side])
    if name == "init_camera":
        return ran.net.body.init_camera
    if name.startswith("batch."):
        return geometry(ran, name.removeprefix("batch."), ran.crops)
    if name.startswith("out."):
        return output(ran, name.removeprefix("out."), ran.full.decoded if ran.full else ran.first.decoded, ran.crops)
    if ran.full and name == "keypoint_prompt":
        return ran.full.prompts
    if ran.full and name.startswith("wrist_angle_difference#"):
        return ran.full.wrist_angle_before_rad if name.endswith("0") else ran.full.wrist_angle_rad
    return recorded(ran, name)


def recorded(ran: Case, name: str) -> Tensor:
    """An array of the k-th call of a module. We look at both hands in one call, left ones first; the golden counts them as two."""
    found = re.fullmatch(r"(.+)#(\d+)(?:\.(.+))?", name)
    if not found:
        raise SystemExit(f"{name}: an array this script does not know.")
    module, k, part = found.group(1), int(found.group(2)), found.group(3)
    calls = ran.recorder.calls[module]
    if module.startswith("ray_cond_emb.") and k >= len(calls):
        k = 0  # Published code mixes the rays in again for the second decoding; ours keeps the first result.
    if "_hand" in module or (module == "backbone" and k > 0):
        calls = [_rows(c, slice(i * ran.people, (i + 1) * ran.people)) for i in (0, 1) for c in calls[1 if module == "backbone" else 0 :]]
        k -= 1 if module == "backbone" else 0
    value = calls[k]
    if module.startswith("head_pose") and part:  # an answer, not the raw numbers
        return {
            "pred_keypoints_3d": lambda: value.keypoints_m,
            "mhr_model_params": lambda: value.mhr_params,
            "pred_vertices_sub": lambda: all_vertices_m(ran.mhr, value)[:, ran.data["vert_idx"]],
        }[part]()
    if part in ("mean_hw", "std_hw", "grid"):
        return {"mean_hw": value.mean((2, 3)), "std_hw": value.std((2, 3), correction=0), "grid": value[:, ::16, ::8, ::8]}[part]
    if part == "pose_token":
        return value[:, 0]
    if part == "tokens_sub":
        index = ran.data["token_idx"]
        return value[:, index[index < value.shape[1]]][..., ::8]
    return value[:, 0] if value.ndim == 3 else value


def geometry(ran: Case, name: str, crops: Crops) -> Tensor:
    """Arrays of upstream's batch."""
    height, width = ran.pictures.shape[1:3]
    count, size = len(crops), ran.net.sizes.crop_px
    if name == "bbox_center":
        x = torch.where(crops.mirrored, width - crops.centre_px[:, 0] - 1, crops.centre_px[:, 0])
        return torch.stack([x, crops.centre_px[:, 1]], -1)
    if name == "img_sub":
        return warp(ran.pictures, crops, size)[..., ::16, ::16] / 255
    if name == "mask_sub":
        if ran.masks is None:
            return torch.zeros(count, 1, 32, 32)
        own = Crops(torch.arange(count), crops.centre_px, crops.side_px, crops.affine, crops.intrinsics_px, crops.mirrored)
        return warp(ran.masks[..., None], own, size)[..., ::16, ::16]
    return {
        "bbox_scale": crops.side_px[:, None].expand(-1, 2),
        "affine_trans": crops.affine,
        "img_size": torch.full((count, 2), float(size)),
        "ori_img_size": torch.tensor([float(width), float(height)]).expand(count, 2),
        "mask_score": torch.full((count,), 0.0 if ran.masks is None else 1.0),
    }[name]


def output(ran: Case, name: str, decoded: Decoded, crops: Crops) -> Tensor:
    """Arrays of a person's answer."""
    pose, view = decoded.pose, decoded.view
    if name == "pred_vertices_sub":
        return all_vertices_m(ran.mhr, pose)[:, ran.data["vert_idx"]]
    if name == "pred_keypoints_2d_verts_sub":
        # Published code leaves these at the last decoding, before the hands are merged in.
        last = ran.recorder.calls["head_pose"][-1] if ran.full and decoded is ran.full.decoded else pose
        vertices = all_vertices_m(ran.mhr, last)[:, ran.data["vert_idx"]]
        return project(vertices + view.translation_m[:, None], crops.intrinsics_px)[0]
    if name in ("hand_box", "hand_logits"):
        return (ran.net.hand_boxes if name == "hand_box" else ran.net.hand_logits)(decoded.hand_tokens)
    values = {
        "pred_pose_raw": pose.pose_raw, "global_rot": pose.global_rot, "body_pose": pose.body_pose, "shape": pose.shape,
        "scale": pose.scale, "hand": pose.hand, "face": pose.face, "pred_keypoints_3d": pose.keypoints_m,
        "pred_joint_coords": pose.joints_m,
        "joint_global_rots": pose.joint_rotations, "mhr_model_params": pose.mhr_params, "pred_cam": view.camera,
        "pred_cam_t": view.translation_m, "focal_length": crops.intrinsics_px[:, 0, 0], "pred_keypoints_2d": view.keypoints_px,
        "pred_keypoints_2d_depth": view.depth_m, "pred_keypoints_2d_cropped": view.keypoints_crop,
    }  # fmt: skip
    if name not in values:
        raise SystemExit(f"out.{name}: an array this script does not know.")
    return values[name]


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    return type(value)(*(getattr(value, f)[rows] for f in value.__dataclass_fields__))
