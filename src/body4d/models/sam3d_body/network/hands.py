"""Hands: where they are, their own pass, and how their answer is merged into the body.

All of it works on B people at once; left and right hands run as one batch of 2 B. Index 0 is the left hand, 1 the right one.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from body4d.bodies.mhr.rotations import angle_between, euler_xzy_to_matrix, matrix_to_euler_xzy, quat_to_matrix
from body4d.config import Sam3dBodySettings
from body4d.models.sam3d_body.network.branch import Decoded
from body4d.models.sam3d_body.network.crops import Crops, make_crops, to_crop, warp
from body4d.models.sam3d_body.network.heads import Mhr, Pose, View, at_vertices, project
from body4d.models.sam3d_body.network.layers import constant, fixed_index
from body4d.models.sam3d_body.network.model import BodyPass, Sam3dBody
from body4d.models.sam3d_body.network.prompts import NO_PROMPT
from body4d.runtime.torch_utils import float32_matmul

LEFT, RIGHT = 0, 1
RIGHT_WRIST_KEYPOINT, LEFT_WRIST_KEYPOINT, RIGHT_ELBOW_KEYPOINT, LEFT_ELBOW_KEYPOINT = 41, 62, 8, 7
LOWER_ARM_JOINTS = (76, 40)
WRIST_TWIST_JOINTS = (77, 41)
RIGHT_WRIST_JOINT = 42
LEFT_WRIST_JOINT = 78
WRIST_ANGLES = (41, 43, 42, 31, 33, 32)
"""Body angles of the left and the right wrist, each as x, z, y."""
RIGHT_HAND_SCALE, LEFT_HAND_SCALE = 8, 9
SHARED_SCALES = slice(18, 28)
SHARED_SHAPES = slice(40, 45)
HAND_PARTS = 54


@dataclass(frozen=True)
class HandPass:
    """Both hands of B people. Crops and places of the left hand are those of the mirrored frame, its parameters are a left hand's."""

    crops: tuple[Crops, Crops]
    decoded: tuple[Decoded, Decoded]
    done: Tensor
    """(B, 2) False where a hand was too small to be looked at."""


@dataclass(frozen=True)
class FullPass:
    """Bodies with hands. ``body`` is the first decoding, ``decoded`` the merged answer, ``hand_valid`` (B, 2) whose hands were taken."""

    body: BodyPass
    hands: HandPass
    prompts: Tensor
    wrist_angle_before_rad: Tensor
    wrist_angle_rad: Tensor
    hand_valid: Tensor
    decoded: Decoded


def hand_crops(net: Sam3dBody, first: BodyPass, width_px: int, settings: Sam3dBodySettings) -> tuple[Crops, Crops]:
    """Square crops of left hands, in frames mirrored, and of right hands."""
    size, crops = net.sizes.crop_px, first.seen.crops
    boxes = net.hand_boxes(first.decoded.hand_tokens) * size
    scale, shift = crops.affine[:, 0, 0], crops.affine[:, :, 2]
    side = boxes[..., 2:].amax(-1) / scale[:, None]
    centre = (boxes[..., :2] - shift[:, None]) / scale[:, None, None]
    half = side[..., None] / 2
    corners = torch.cat([centre - half, centre + half], -1)
    left, right = corners.unbind(1)
    left = torch.stack([width_px - left[:, 2] - 1, left[:, 1], width_px - left[:, 0] - 1, left[:, 3]], -1)
    no = torch.zeros(len(crops), dtype=torch.bool, device=left.device)
    # Published: the mirrored frame keeps its principal point, exact only where that is the middle. The network is fed as it was.
    made = [
        make_crops(
            box, crops.frame, crops.intrinsics_px, padding=settings.hand_box_padding, aspect=settings.box_aspect, crop_px=size, mirrored=m
        )
        for box, m in ((left, ~no), (right, no))
    ]
    return made[LEFT], made[RIGHT]


def run_hands(net: Sam3dBody, mhr: Mhr, frames: Tensor, crops: tuple[Crops, Crops], settings: Sam3dBodySettings) -> HandPass:
    """Look at both hands of everyone in one batch; hands too small to be believed later are left out unless ``upstream_exact``."""
    count = len(crops[LEFT])
    both = _join(*crops)
    large = both.side_px > settings.hand_box_least_px
    if settings.upstream_exact:
        large = torch.ones_like(large)
    rows = large.nonzero()[:, 0]
    if not len(rows):
        rows = rows.new_zeros(1)  # Every hand too small: one is looked at for its shapes' sake, and ``done`` says not to believe it.
    chosen = both.rows(rows)
    found = net.hands(warp(frames, chosen, net.sizes.crop_px), chosen, mhr)
    spread = _spread(found, rows, 2 * count)
    left, right = (_take(spread, slice(i * count, (i + 1) * count)) for i in (LEFT, RIGHT))
    return HandPass(crops, (replace(left, pose=unmirror(left.pose, net)), right), large.view(2, count).T)


def unmirror(pose: Pose, net: Sam3dBody) -> Pose:
    """A right hand seen in a mirrored frame as the left hand it is."""
    head = net.body.head_pose
    scale, rotations, hand = pose.scale.clone(), pose.joint_rotations.clone(), pose.hand.clone()
    mean, spread = head.scale_mean, head.scale_comps
    size = mean[RIGHT_HAND_SCALE] + spread[RIGHT_HAND_SCALE, RIGHT_HAND_SCALE] * scale[:, RIGHT_HAND_SCALE]
    scale[:, LEFT_HAND_SCALE] = (size - mean[LEFT_HAND_SCALE]) / spread[LEFT_HAND_SCALE, LEFT_HAND_SCALE]
    turn = constant((1.0, -1.0, -1.0), scale.device)
    rotations[:, LEFT_WRIST_JOINT] = rotations[:, RIGHT_WRIST_JOINT] * turn[:, None]
    hand[:, :HAND_PARTS] = hand[:, HAND_PARTS:]
    return replace(pose, scale=scale, joint_rotations=rotations, hand=hand)


def local_wrists(net: Sam3dBody, body_rotations: Tensor, hands: HandPass) -> Tensor:
    """Wrist rotations (B, 2, 3, 3) on arms (B, 127, 3, 3) that give the hands the rotations their own pass saw."""
    device = body_rotations.device
    arms = body_rotations[:, fixed_index(LOWER_ARM_JOINTS, device)]
    rest = float32_matmul(arms, net.body.head_pose.joint_rotation[fixed_index(WRIST_TWIST_JOINTS, device)])
    left, right = hands.decoded
    seen = torch.stack([left.pose.joint_rotations[:, LEFT_WRIST_JOINT], right.pose.joint_rotations[:, RIGHT_WRIST_JOINT]], 1)
    return float32_matmul(rest.mT, seen)


def hand_wrists_px(hands: HandPass, width_px: int) -> Tensor:
    """Wrists (B, 2, 2) as the hand passes see them, in frame pixels."""
    left, right = (d.view.keypoints_px[:, RIGHT_WRIST_KEYPOINT] for d in hands.decoded)
    return torch.stack([torch.stack([width_px - left[:, 0] - 1, left[:, 1]], -1), right], 1)


def hands_to_believe(hands: HandPass, body: Decoded, wrist_angle: Tensor, width_px: int, settings: Sam3dBodySettings) -> Tensor:
    """Whose hands to take (B, 2): turned at the wrist no further than a wrist can, large enough, inside their crop, and where the body
    has its wrist."""
    side = torch.stack([c.side_px for c in hands.crops], 1)
    spread = torch.stack([d.view.keypoints_crop.abs().amax((1, 2)) for d in hands.decoded], 1)
    expected = body.view.keypoints_px[:, fixed_index((LEFT_WRIST_KEYPOINT, RIGHT_WRIST_KEYPOINT), wrist_angle.device)]
    away = (hand_wrists_px(hands, width_px) - expected).norm(dim=-1)
    # Published: each wrist's distance is measured by the other hand's box.
    share = away / (side.flip(1) if settings.upstream_exact else side)
    return (
        (wrist_angle < settings.wrist_angle_most_rad)
        & (side > settings.hand_box_least_px)
        & (spread < settings.hand_keypoint_most)
        & (share < settings.wrist_distance_most_share)
        & hands.done
    )


def keypoint_prompts(
    crops: Crops, hands: HandPass, body: Decoded, valid: Tensor, width_px: int, crop_px: int, settings: Sam3dBodySettings
) -> Tensor:
    """Prompts (B, 4, 3) for a second decoding: both wrists from the hand passes, both elbows from the body.

    What lies outside the crop or belongs to a hand not believed becomes a prompt that says nothing. Published code does so for several
    people but leaves such prompts out for one alone, a different number of tokens; ``upstream_exact`` repeats that.
    """
    wrists = hand_wrists_px(hands, width_px).flip(1)
    device = crops.side_px.device
    points = torch.cat([wrists, body.view.keypoints_px[:, fixed_index((RIGHT_ELBOW_KEYPOINT, LEFT_ELBOW_KEYPOINT), device)]], 1)
    places = to_crop(points, crops, crop_px)
    kept = (places.abs() <= 0.5).all(-1) & valid[:, fixed_index((RIGHT, LEFT, RIGHT, LEFT), device)]
    labels = constant((RIGHT_WRIST_KEYPOINT, LEFT_WRIST_KEYPOINT, RIGHT_ELBOW_KEYPOINT, LEFT_ELBOW_KEYPOINT), device)
    prompts = torch.cat([(places + 0.5).clamp(0, 1), labels.expand(len(crops), -1)[..., None]], -1)
    if settings.upstream_exact and len(crops) == 1:
        return prompts[:, kept[0]]
    nothing = constant((0.0, 0.0, NO_PROMPT), device)
    return torch.where(kept[..., None], prompts, nothing)


def natural_wrist(xzy: Tensor, settings: Sam3dBodySettings) -> Tensor:
    """Of the two angle triples (..., 3) that mean the same rotation, the one less far beyond what a wrist can do."""
    limits = constant((settings.wrist_x_rad, settings.wrist_z_rad, settings.wrist_y_rad), xzy.device)

    def beyond(a: Tensor) -> Tensor:
        return ((limits[:, 0] - a).clamp(min=0) ** 2 + (a - limits[:, 1]).clamp(min=0) ** 2).sum(-1)

    turned = (xzy + torch.pi) * constant((1.0, -1.0, 1.0), xzy.device)
    other = torch.atan2(turned.sin(), turned.cos())
    return torch.where((beyond(other) < beyond(xzy))[..., None], other, xzy)


def merge(
    net: Sam3dBody, mhr: Mhr, body: Decoded, first_wrists: Tensor, hands: HandPass, valid: Tensor, settings: Sam3dBodySettings
) -> tuple[Pose, Tensor, Tensor]:
    """The body with its hands: pose, wrist angles (B, 2) and whose hands (B, 2) were put in.

    ``first_wrists`` (B, 2, 3, 3) are the local wrists of the first decoding: a hand is measured against them once more, on the arms as
    the second decoding has them.
    """
    pose, head = body.pose, net.body.head_pose
    left, right = (d.pose for d in hands.decoded)
    local = local_wrists(net, _arms_with_hands(net, mhr, pose, left, right), hands)
    angle = angle_between(first_wrists, local)
    taken = valid & (angle < settings.wrist_angle_most_rad)
    take = taken[..., None]

    body_pose = pose.body_pose
    slots = fixed_index(WRIST_ANGLES, body_pose.device)
    wrists = body_pose[:, slots].unflatten(1, (2, 3))
    wrists = torch.where(take, natural_wrist(matrix_to_euler_xzy(local), settings), wrists)
    body_pose = body_pose.index_copy(1, slots, wrists.flatten(1))

    hand = torch.stack([left.hand[:, :HAND_PARTS], right.hand[:, HAND_PARTS:]], 1)
    hand = torch.where(take, hand, pose.hand.unflatten(1, (2, HAND_PARTS))).flatten(1)

    scale, shape = pose.scale.clone(), pose.shape.clone()
    for i, (hand_pose, place) in enumerate(((left, LEFT_HAND_SCALE), (right, RIGHT_HAND_SCALE))):
        scale[:, place] = torch.where(taken[:, i], hand_pose.scale[:, place], scale[:, place])
    scale[:, SHARED_SCALES] = _mean_of_taken(left.scale, right.scale, scale, taken, SHARED_SCALES)
    shape[:, SHARED_SHAPES] = _mean_of_taken(left.shape, right.shape, shape, taken, SHARED_SHAPES)

    merged = head.pose(
        mhr, global_rot=pose.global_rot, body_pose=body_pose, shape=shape, scale=scale, hand=hand, face=pose.face,
        pose_raw=torch.zeros_like(pose.pose_raw),
    )  # fmt: skip
    if settings.upstream_exact:
        merged = replace(merged, joint_rotations=pose.joint_rotations)
    return merged, angle, taken


def _arms_with_hands(net: Sam3dBody, mhr: Mhr, pose: Pose, left: Pose, right: Pose) -> Tensor:
    """Joint rotations (B, 127, 3, 3) of the body with both hands put in, believed or not. No vertex is made for them."""
    scale, shape = pose.scale.clone(), pose.shape.clone()
    scale[:, LEFT_HAND_SCALE], scale[:, RIGHT_HAND_SCALE] = left.scale[:, LEFT_HAND_SCALE], right.scale[:, RIGHT_HAND_SCALE]
    scale[:, SHARED_SCALES] = (left.scale[:, SHARED_SCALES] + right.scale[:, SHARED_SCALES]) / 2
    shape[:, SHARED_SHAPES] = (left.shape[:, SHARED_SHAPES] + right.shape[:, SHARED_SHAPES]) / 2
    hand = torch.cat([left.hand[:, :HAND_PARTS], right.hand[:, HAND_PARTS:]], -1)
    params = net.body.head_pose.mhr_params(pose.global_rot, pose.body_pose, scale, hand)
    none = torch.zeros(0, dtype=torch.long, device=params.device)
    return quat_to_matrix(at_vertices(mhr, shape, params, pose.face, none)[1][..., 3:7])


def final_view(net: Sam3dBody, pose: Pose, before: View, crops: Crops, size_px: tuple[int, int], settings: Sam3dBodySettings) -> View:
    """Where the merged body's keypoints fall; it stands where the last decoding had it. ``size_px``: width, height of the frames."""
    if not settings.upstream_exact:
        return net.body.head_camera.view(before.camera, pose.keypoints_m, crops, net.sizes.crop_px)
    # Published: the frame's middle stands in for the principal point, and depth and crop places stay those of the body alone.
    middle = crops.intrinsics_px.clone()
    middle[:, 1, 1] = middle[:, 0, 0]
    middle[:, 0, 2], middle[:, 1, 2] = size_px[0] / 2, size_px[1] / 2
    pixels, _ = project(pose.keypoints_m + before.translation_m[:, None], middle)
    return replace(before, keypoints_px=pixels)


def estimate_with_hands(net: Sam3dBody, mhr: Mhr, frames: Tensor, first: BodyPass, settings: Sam3dBodySettings) -> FullPass:
    """Add hands to bodies just found in frames (F, H, W, 3) RGB uint8."""
    crops = hand_crops(net, first, frames.shape[2], settings)
    return join_hands(net, mhr, (frames.shape[2], frames.shape[1]), first, run_hands(net, mhr, frames, crops, settings), settings)


def join_hands(
    net: Sam3dBody, mhr: Mhr, size_px: tuple[int, int], first: BodyPass, hands: HandPass, settings: Sam3dBodySettings
) -> FullPass:
    """Decode bodies again knowing where the hands are, and put the hands in. ``size_px``: width, height of the frames."""
    width, crops = size_px[0], first.seen.crops
    slots = fixed_index(WRIST_ANGLES, crops.side_px.device)
    first_wrists = euler_xzy_to_matrix(first.decoded.pose.body_pose[:, slots].unflatten(1, (2, 3)))
    before = angle_between(first_wrists, local_wrists(net, first.decoded.pose.joint_rotations, hands))
    valid = hands_to_believe(hands, first.decoded, before, width, settings)
    prompts = keypoint_prompts(crops, hands, first.decoded, valid, width, net.sizes.crop_px, settings)
    again = net.prompted(first, prompts, mhr) if prompts.numel() else first.decoded
    pose, after, taken = merge(net, mhr, again, first_wrists, hands, valid, settings)
    view = final_view(net, pose, again.view, crops, size_px, settings)
    return FullPass(first, hands, prompts, before, after, taken, Decoded(pose, view, first.decoded.hand_tokens))


def _mean_of_taken(left: Tensor, right: Tensor, own: Tensor, taken: Tensor, part: slice) -> Tensor:
    """Mean over the hands taken of what both hands share; the body's own where none was."""
    weight = taken.to(own.dtype)
    count = weight.sum(1, keepdim=True)
    mean = (left[:, part] * weight[:, :1] + right[:, part] * weight[:, 1:]) / (count + 1e-8)
    return torch.where(count > 0, mean, own[:, part])


def _join(a: Crops, b: Crops) -> Crops:
    return Crops(*(torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Crops)))


def _map(decoded: Decoded, do) -> Decoded:
    pose = Pose(*(do(getattr(decoded.pose, f.name)) for f in fields(Pose)))
    view = View(*(do(getattr(decoded.view, f.name)) for f in fields(View)))
    return Decoded(pose, view, do(decoded.hand_tokens))


def _take(decoded: Decoded, rows: slice) -> Decoded:
    return _map(decoded, lambda t: t[rows])


def _spread(found: Decoded, rows: Tensor, count: int) -> Decoded:
    """Results of some rows in their places among ``count``; zeros elsewhere."""
    return _map(found, lambda t: t if len(t) == count else t.new_zeros((count, *t.shape[1:])).index_copy(0, rows, t))
