"""Our side of a SAM-3D-Body golden's arrays: what passed through the network's modules, by upstream's names."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from body4d.bodies.mhr.to_rig import METRES_PER_CM
from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.crops import Crops, warp_crops
from body4d.models.sam3d_body.network.hands import FullPass
from body4d.models.sam3d_body.network.heads import PosePrediction, project
from body4d.models.sam3d_body.network.model import BodyPass, Sam3dBody


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
    mhr: Any
    data: Any
    people: int
    crops: Crops
    pictures: Tensor
    masks: Tensor | None
    recorder: Recorder
    first: BodyPass
    full: FullPass | None
    own_hand_crops: tuple[Crops, Crops] | None


def ours_of(ran: Case, name: str) -> Tensor:
    """Our side of a golden array."""
    for prefix, side in (("lhand/", 0), ("rhand/", 1)):
        if name.startswith(prefix) and ran.full:
            hands = ran.full.hands
            return output(ran, name.removeprefix(prefix + "out."), hands.outputs[side], hands.crops[side])
    for prefix, side in (("lhand.batch.", 0), ("rhand.batch.", 1)):
        if name.startswith(prefix) and ran.own_hand_crops:
            return geometry(ran, name.removeprefix(prefix), ran.own_hand_crops[side])
    if name == "init_camera":
        return ran.net.body.init_camera
    if name.startswith("batch."):
        return geometry(ran, name.removeprefix("batch."), ran.crops)
    if name.startswith("out."):
        return output(ran, name.removeprefix("out."), ran.full.output if ran.full else ran.first.output, ran.crops)
    if ran.full and name == "keypoint_prompt":
        return ran.full.prompts
    if ran.full and name.startswith("wrist_angle_difference#"):
        return ran.full.wrist_angle_before_rad if name.endswith("0") else ran.full.wrist_angle_rad
    return recorded(ran, name)


def recorded(ran: Case, name: str) -> Tensor:
    """An array of the k-th call of a module. Our network runs both hands in one call, left hands first; the golden counts them as two."""
    match = re.fullmatch(r"(.+)#(\d+)(?:\.(.+))?", name)
    if not match:
        raise SystemExit(f"{name}: an array this script does not know.")
    module, k, part = match.group(1), int(match.group(2)), match.group(3)
    calls = ran.recorder.calls[module]
    if module.startswith("ray_cond_emb.") and k >= len(calls):
        k = 0  # The published code mixes the rays in again for the second decoding; ours keeps the first result.
    if "_hand" in module or (module == "backbone" and k > 0):
        calls = [_rows(c, slice(i * ran.people, (i + 1) * ran.people)) for i in (0, 1) for c in calls[1 if module == "backbone" else 0 :]]
        k -= 1 if module == "backbone" else 0
    value = calls[k]
    if module.startswith("head_pose") and part:  # a prediction, not the raw outputs
        return {
            "pred_keypoints_3d": lambda: value.keypoints_m,
            "mhr_model_params": lambda: value.mhr_params,
            "pred_vertices_sub": lambda: vertices_m(ran, value),
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
        return warp_crops(ran.pictures, crops, size)[..., ::16, ::16] / 255
    if name == "mask_sub":
        if ran.masks is None:
            return torch.zeros(count, 1, 32, 32)
        own = Crops(torch.arange(count), crops.centre_px, crops.side_px, crops.affine, crops.intrinsics_px, crops.mirrored)
        return warp_crops(ran.masks[..., None], own, size)[..., ::16, ::16]
    return {
        "bbox_scale": crops.side_px[:, None].expand(-1, 2),
        "affine_trans": crops.affine,
        "img_size": torch.full((count, 2), float(size)),
        "ori_img_size": torch.tensor([float(width), float(height)]).expand(count, 2),
        "mask_score": torch.full((count,), 0.0 if ran.masks is None else 1.0),
    }[name]


def output(ran: Case, name: str, result: BranchOutput, crops: Crops) -> Tensor:
    """Arrays of a person's result."""
    pose, camera = result.pose, result.camera
    if name == "pred_vertices_sub":
        return vertices_m(ran, pose)
    if name == "pred_keypoints_2d_verts_sub":
        # Published code leaves these at the last decoding, before the hands are merged in.
        last = ran.recorder.calls["head_pose"][-1] if ran.full and result is ran.full.output else pose
        vertices = vertices_m(ran, last)
        return project(vertices + camera.translation_m[:, None], crops.intrinsics_px)[0]
    if name in ("hand_box", "hand_logits"):
        return (ran.net.hand_boxes if name == "hand_box" else ran.net.hand_cls_embed)(result.hand_tokens)
    values = {
        "pred_pose_raw": pose.pose_raw, "global_rot": pose.global_rot, "body_pose": pose.body_pose, "shape": pose.shape,
        "scale": pose.scale, "hand": pose.hand, "face": pose.face, "pred_keypoints_3d": pose.keypoints_m,
        "pred_joint_coords": pose.joints_m,
        "joint_global_rots": pose.joint_rotations, "mhr_model_params": pose.mhr_params, "pred_cam": camera.weak_perspective,
        "pred_cam_t": camera.translation_m, "focal_length": crops.intrinsics_px[:, 0, 0], "pred_keypoints_2d": camera.keypoints_px,
        "pred_keypoints_2d_depth": camera.keypoint_depth_m, "pred_keypoints_2d_cropped": camera.keypoints_crop,
    }  # fmt: skip
    if name not in values:
        raise SystemExit(f"out.{name}: an array this script does not know.")
    return values[name]


def vertices_m(ran: Case, pose: PosePrediction) -> Tensor:
    """The vertices that the golden holds (B, n, 3), in metres and camera axes."""
    vertices, _ = ran.mhr.at_vertices(pose.shape, pose.mhr_params, pose.face, torch.from_numpy(ran.data["vert_idx"]))
    return vertices * METRES_PER_CM * torch.tensor([1.0, -1.0, -1.0])


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    return type(value)(*(getattr(value, f)[rows] for f in value.__dataclass_fields__))
