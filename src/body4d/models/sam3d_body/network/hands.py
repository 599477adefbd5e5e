"""Hands: where they are, their own pass through the network, and how its result is merged into the body.

All of it works on B people at once; left and right hands run as one batch of 2 B. Index 0 is the left hand, 1 the right one.
``upstream_exact`` repeats the published code's slips outside the networks, for comparing numbers with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from body4d.bodies.mhr.rotations import angle_between, euler_xzy_to_matrix, matrix_to_euler_xzy, quat_to_matrix
from body4d.core.joints import Mhr70
from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.crops import Crops, make_crops, to_crop_coordinates, warp_crops
from body4d.models.sam3d_body.network.heads import CameraPrediction, MhrModel, PosePrediction, pose_mhr, project
from body4d.models.sam3d_body.network.layers import constant, constant_index
from body4d.models.sam3d_body.network.model import BOX_ASPECT, BodyPass, Sam3dBody
from body4d.models.sam3d_body.network.prompts import NO_PROMPT
from body4d.runtime.torch_utils import float32_matmul

LEFT, RIGHT = 0, 1

HAND_BOX_PADDING = 0.9
"""Published: a hand's box changes by this factor before it is cut out."""

HAND_MIN_SIDE_PX = 64.0
"""Published: a hand in a smaller crop has too few pixels and is not used."""

WRIST_MAX_ANGLE_RAD = 1.4
"""Published: a hand turned farther than this (80 degrees) from the body's own wrist is not used."""

HAND_KEYPOINT_MAX_OFFSET = 0.5
"""Published: a hand with a keypoint farther than this share of its crop from the crop's middle, so outside it, is not used."""

WRIST_MAX_DISTANCE_SHARE = 0.25
"""Published: a hand whose wrist is farther than this share of its crop from the body's wrist is not used."""

WRIST_LIMITS_RAD = ((-2.2, 1.0), (-2.2, 1.5), (-1.2, 1.5))
"""Published: how far a wrist turns about x, z and y."""


class ArmJoint(IntEnum):
    """The joints of MHR's skeleton between the elbows and the hands."""

    RIGHT_LOWER_ARM = 40
    RIGHT_WRIST_TWIST = 41
    RIGHT_WRIST = 42
    LEFT_LOWER_ARM = 76
    LEFT_WRIST_TWIST = 77
    LEFT_WRIST = 78


LOWER_ARM_JOINTS = (ArmJoint.LEFT_LOWER_ARM, ArmJoint.RIGHT_LOWER_ARM)
WRIST_TWIST_JOINTS = (ArmJoint.LEFT_WRIST_TWIST, ArmJoint.RIGHT_WRIST_TWIST)
WRIST_KEYPOINTS = (Mhr70.LEFT_WRIST, Mhr70.RIGHT_WRIST)
PROMPT_KEYPOINTS = (Mhr70.RIGHT_WRIST, Mhr70.LEFT_WRIST, Mhr70.RIGHT_ELBOW, Mhr70.LEFT_ELBOW)
"""Keypoints that prompt the second decoding, in the published order."""

WRIST_ANGLES = (41, 43, 42, 31, 33, 32)
"""Body angles of the left and the right wrist, each as x, z, y."""
HAND_SCALES = (9, 8)
"""Scale components of the left and the right hand."""
SHARED_SCALES = slice(18, 28)
SHARED_SHAPES = slice(40, 45)
"""Scale and shape components that both hands have in common."""
HAND_COMPONENTS = 54
"""Components of one hand's pose."""


@dataclass(frozen=True)
class HandPass:
    """Both hands of B people, left then right. The left hand's crops and positions are those of the mirrored frame; its parameters are
    a left hand's."""

    crops: tuple[Crops, Crops]
    outputs: tuple[BranchOutput, BranchOutput]
    processed: Bool[Tensor, "b 2"]
    """False where a hand was too small to go through the network."""


@dataclass(frozen=True)
class FullPass:
    """Bodies with hands."""

    body: BodyPass
    """The first decoding."""
    hands: HandPass
    prompts: Float[Tensor, "b n 3"]
    """Keypoint prompts of the second decoding."""
    wrist_angle_before_rad: Float[Tensor, "b 2"]
    """Between each hand's wrist and the first decoding's."""
    wrist_angle_rad: Float[Tensor, "b 2"]
    """The same on the arms of the second decoding."""
    hand_used: Bool[Tensor, "b 2"]
    output: BranchOutput
    """The second decoding with the hands merged in."""


def hand_crops(net: Sam3dBody, first: BodyPass, width_px: int) -> tuple[Crops, Crops]:
    """Square crops of left hands, in mirrored frames, and of right hands."""
    size, crops = net.sizes.crop_px, first.context.crops
    boxes = net.hand_boxes(first.output.hand_tokens) * size
    scale, shift = crops.affine[:, 0, 0], crops.affine[:, :, 2]
    side = boxes[..., 2:].amax(-1) / scale[:, None]
    centre = (boxes[..., :2] - shift[:, None]) / scale[:, None, None]
    half = side[..., None] / 2
    corners = torch.cat([centre - half, centre + half], -1)
    left, right = corners.unbind(1)
    left = torch.stack([width_px - left[:, 2] - 1, left[:, 1], width_px - left[:, 0] - 1, left[:, 3]], -1)
    no = torch.zeros(len(crops), dtype=torch.bool, device=left.device)
    # Published: the mirrored frame keeps its principal point, which is exact only where that is the middle. The network was trained so.
    made = [
        make_crops(
            box, crops.frame_index, crops.intrinsics_px, padding=HAND_BOX_PADDING, aspect=BOX_ASPECT, crop_px=size, mirrored=mirrored
        )
        for box, mirrored in ((left, ~no), (right, no))
    ]
    return made[LEFT], made[RIGHT]


def run_hands(
    net: Sam3dBody, mhr: MhrModel, frames: UInt8[Tensor, "f h w 3"], crops: tuple[Crops, Crops], *, upstream_exact: bool = False
) -> HandPass:
    """Both hands of everyone through the network in one batch, without those too small to be used, unless ``upstream_exact``."""
    count = len(crops[LEFT])
    both = _concat_crops(*crops)
    large = both.side_px > HAND_MIN_SIDE_PX
    if upstream_exact:
        large = torch.ones_like(large)
    rows = large.nonzero()[:, 0]
    if not len(rows):
        rows = rows.new_zeros(1)  # Every hand is too small: one goes through for the shapes' sake, and ``processed`` is False for it.
    chosen = both.select(rows)
    output = net.decode_hands(warp_crops(frames, chosen, net.sizes.crop_px), chosen, mhr)
    scattered = _scatter_rows(output, rows, 2 * count)
    left, right = (_select_rows(scattered, slice(i * count, (i + 1) * count)) for i in (LEFT, RIGHT))
    return HandPass(crops, (replace(left, pose=unmirror(left.pose, net)), right), large.view(2, count).T)


def unmirror(pose: PosePrediction, net: Sam3dBody) -> PosePrediction:
    """A right hand seen in a mirrored frame as the left hand that it is."""
    head = net.body.head_pose
    scale, rotations, hand = pose.scale.clone(), pose.joint_rotations.clone(), pose.hand.clone()
    mean, components, (left, right) = head.scale_mean, head.scale_comps, HAND_SCALES
    size = mean[right] + components[right, right] * scale[:, right]
    scale[:, left] = (size - mean[left]) / components[left, left]
    mirror = constant((1.0, -1.0, -1.0), scale.device)
    rotations[:, ArmJoint.LEFT_WRIST] = rotations[:, ArmJoint.RIGHT_WRIST] * mirror[:, None]
    hand[:, :HAND_COMPONENTS] = hand[:, HAND_COMPONENTS:]
    return replace(pose, scale=scale, joint_rotations=rotations, hand=hand)


def local_wrist_rotations(net: Sam3dBody, body_rotations: Float[Tensor, "b 127 3 3"], hands: HandPass) -> Float[Tensor, "b 2 3 3"]:
    """The wrist rotations relative to the body's arms that give the hands the orientation of their own pass."""
    device = body_rotations.device
    arms = body_rotations[:, constant_index(LOWER_ARM_JOINTS, device)]
    rest = float32_matmul(arms, net.body.head_pose.joint_rotation[constant_index(WRIST_TWIST_JOINTS, device)])
    left, right = hands.outputs
    wrists = torch.stack([left.pose.joint_rotations[:, ArmJoint.LEFT_WRIST], right.pose.joint_rotations[:, ArmJoint.RIGHT_WRIST]], 1)
    return float32_matmul(rest.mT, wrists)


def hand_wrists_px(hands: HandPass, width_px: int) -> Float[Tensor, "b 2 2"]:
    """Both wrists as the hand pass sees them, in frame pixels."""
    left, right = (output.camera.keypoints_px[:, Mhr70.RIGHT_WRIST] for output in hands.outputs)
    return torch.stack([torch.stack([width_px - left[:, 0] - 1, left[:, 1]], -1), right], 1)


def valid_hands(
    hands: HandPass, body: BranchOutput, wrist_angle_rad: Float[Tensor, "b 2"], width_px: int, *, upstream_exact: bool = False
) -> Bool[Tensor, "b 2"]:
    """Which hands to use: those turned no farther than a wrist can, large enough, inside their crop, and near the body's wrist."""
    side = torch.stack([c.side_px for c in hands.crops], 1)
    offset = torch.stack([output.camera.keypoints_crop.abs().amax((1, 2)) for output in hands.outputs], 1)
    expected = body.camera.keypoints_px[:, constant_index(WRIST_KEYPOINTS, wrist_angle_rad.device)]
    distance = (hand_wrists_px(hands, width_px) - expected).norm(dim=-1)
    # Published: each wrist's distance is divided by the other hand's box.
    share = distance / (side.flip(1) if upstream_exact else side)
    return (
        (wrist_angle_rad < WRIST_MAX_ANGLE_RAD)
        & (side > HAND_MIN_SIDE_PX)
        & (offset < HAND_KEYPOINT_MAX_OFFSET)
        & (share < WRIST_MAX_DISTANCE_SHARE)
        & hands.processed
    )


def keypoint_prompts(
    crops: Crops,
    hands: HandPass,
    body: BranchOutput,
    valid: Bool[Tensor, "b 2"],
    width_px: int,
    crop_px: int,
    *,
    upstream_exact: bool = False,
) -> Float[Tensor, "b n 3"]:
    """Prompts for the second decoding: both wrists from the hand pass, both elbows from the body.

    A point outside the crop, or of a hand that is not used, becomes an empty prompt. The published code does so for several people, and
    leaves such prompts out for one alone, which gives another number of tokens; ``upstream_exact`` repeats that.
    """
    wrists = hand_wrists_px(hands, width_px).flip(1)
    device = crops.side_px.device
    points = torch.cat([wrists, body.camera.keypoints_px[:, constant_index(PROMPT_KEYPOINTS[2:], device)]], 1)
    position = to_crop_coordinates(points, crops, crop_px)
    kept = (position.abs() <= 0.5).all(-1) & valid[:, constant_index((RIGHT, LEFT, RIGHT, LEFT), device)]
    labels = constant(tuple(float(keypoint) for keypoint in PROMPT_KEYPOINTS), device)
    prompts = torch.cat([(position + 0.5).clamp(0, 1), labels.expand(len(crops), -1)[..., None]], -1)
    if upstream_exact and len(crops) == 1:
        return prompts[:, kept[0]]
    empty = constant((0.0, 0.0, float(NO_PROMPT)), device)
    return torch.where(kept[..., None], prompts, empty)


def nearest_wrist_euler(xzy: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Of the two angle triples that stand for the same rotation, the one that exceeds a wrist's limits less."""
    limits = constant(WRIST_LIMITS_RAD, xzy.device)

    def excess(angles: Tensor) -> Tensor:
        return ((limits[:, 0] - angles).clamp(min=0) ** 2 + (angles - limits[:, 1]).clamp(min=0) ** 2).sum(-1)

    turned = (xzy + torch.pi) * constant((1.0, -1.0, 1.0), xzy.device)
    other = torch.atan2(turned.sin(), turned.cos())
    return torch.where((excess(other) < excess(xzy))[..., None], other, xzy)


def merge_hands(
    net: Sam3dBody,
    mhr: MhrModel,
    body: BranchOutput,
    first_wrists: Float[Tensor, "b 2 3 3"],
    hands: HandPass,
    valid: Bool[Tensor, "b 2"],
    *,
    upstream_exact: bool = False,
) -> tuple[PosePrediction, Float[Tensor, "b 2"], Bool[Tensor, "b 2"]]:
    """The body with its hands: the pose, the wrist angles, and which hands were used.

    ``first_wrists`` are the local wrist rotations of the first decoding: each hand is compared with them once more, on the arms of the
    second decoding.
    """
    pose, head = body.pose, net.body.head_pose
    left, right = (output.pose for output in hands.outputs)
    local = local_wrist_rotations(net, _rotations_with_hands(net, mhr, pose, left, right), hands)
    angle = angle_between(first_wrists, local)
    used = valid & (angle < WRIST_MAX_ANGLE_RAD)
    use = used[..., None]

    body_pose = pose.body_pose
    slots = constant_index(WRIST_ANGLES, body_pose.device)
    wrists = body_pose[:, slots].unflatten(1, (2, 3))
    wrists = torch.where(use, nearest_wrist_euler(matrix_to_euler_xzy(local)), wrists)
    body_pose = body_pose.index_copy(1, slots, wrists.flatten(1))

    hand = torch.stack([left.hand[:, :HAND_COMPONENTS], right.hand[:, HAND_COMPONENTS:]], 1)
    hand = torch.where(use, hand, pose.hand.unflatten(1, (2, HAND_COMPONENTS))).flatten(1)

    scale, shape = pose.scale.clone(), pose.shape.clone()
    for i, (hand_pose, component) in enumerate(zip((left, right), HAND_SCALES, strict=True)):
        scale[:, component] = torch.where(used[:, i], hand_pose.scale[:, component], scale[:, component])
    scale[:, SHARED_SCALES] = _mean_of_used(left.scale, right.scale, scale, used, SHARED_SCALES)
    shape[:, SHARED_SHAPES] = _mean_of_used(left.shape, right.shape, shape, used, SHARED_SHAPES)

    merged = head.pose(
        mhr, global_rot=pose.global_rot, body_pose=body_pose, shape=shape, scale=scale, hand=hand, face=pose.face,
        pose_raw=torch.zeros_like(pose.pose_raw),
    )  # fmt: skip
    if upstream_exact:
        merged = replace(merged, joint_rotations=pose.joint_rotations)
    return merged, angle, used


def _rotations_with_hands(net: Sam3dBody, mhr: MhrModel, pose: PosePrediction, left: PosePrediction, right: PosePrediction) -> Tensor:
    """Joint rotations (B, 127, 3, 3) of the body with both hands merged in, valid or not. No vertex is made for them."""
    scale, shape = pose.scale.clone(), pose.shape.clone()
    for hand_pose, component in zip((left, right), HAND_SCALES, strict=True):
        scale[:, component] = hand_pose.scale[:, component]
    scale[:, SHARED_SCALES] = (left.scale[:, SHARED_SCALES] + right.scale[:, SHARED_SCALES]) / 2
    shape[:, SHARED_SHAPES] = (left.shape[:, SHARED_SHAPES] + right.shape[:, SHARED_SHAPES]) / 2
    hand = torch.cat([left.hand[:, :HAND_COMPONENTS], right.hand[:, HAND_COMPONENTS:]], -1)
    params = net.body.head_pose.mhr_params(pose.global_rot, pose.body_pose, scale, hand)
    no_vertex = torch.zeros(0, dtype=torch.long, device=params.device)
    return quat_to_matrix(pose_mhr(mhr, shape, params, pose.face, no_vertex)[1][..., 3:7])


def merged_camera(
    net: Sam3dBody,
    pose: PosePrediction,
    camera: CameraPrediction,
    crops: Crops,
    frame_size_px: tuple[int, int],
    *,
    upstream_exact: bool = False,
) -> CameraPrediction:
    """The projection of the merged body, which stands where ``camera`` has it. ``frame_size_px`` is width, height."""
    if not upstream_exact:
        return net.body.head_camera.predict(camera.weak_perspective, pose.keypoints_m, crops, net.sizes.crop_px)
    # Published: the frame's middle replaces the principal point, and depth and crop coordinates stay those of the body alone.
    middle = crops.intrinsics_px.clone()
    middle[:, 1, 1] = middle[:, 0, 0]
    middle[:, 0, 2], middle[:, 1, 2] = frame_size_px[0] / 2, frame_size_px[1] / 2
    pixels, _ = project(pose.keypoints_m + camera.translation_m[:, None], middle)
    return replace(camera, keypoints_px=pixels)


def estimate_with_hands(
    net: Sam3dBody, mhr: MhrModel, frames: UInt8[Tensor, "f h w 3"], first: BodyPass, *, upstream_exact: bool = False
) -> FullPass:
    """Add hands to the bodies that were just estimated in RGB frames."""
    size = (frames.shape[2], frames.shape[1])
    hands = run_hands(net, mhr, frames, hand_crops(net, first, size[0]), upstream_exact=upstream_exact)
    return refine_with_hands(net, mhr, size, first, hands, upstream_exact=upstream_exact)


def refine_with_hands(
    net: Sam3dBody, mhr: MhrModel, frame_size_px: tuple[int, int], first: BodyPass, hands: HandPass, *, upstream_exact: bool = False
) -> FullPass:
    """Decode bodies again with the hands as prompts, and merge the hands in. ``frame_size_px`` is width, height."""
    width, crops = frame_size_px[0], first.context.crops
    slots = constant_index(WRIST_ANGLES, crops.side_px.device)
    first_wrists = euler_xzy_to_matrix(first.output.pose.body_pose[:, slots].unflatten(1, (2, 3)))
    angle_before = angle_between(first_wrists, local_wrist_rotations(net, first.output.pose.joint_rotations, hands))
    valid = valid_hands(hands, first.output, angle_before, width, upstream_exact=upstream_exact)
    prompts = keypoint_prompts(crops, hands, first.output, valid, width, net.sizes.crop_px, upstream_exact=upstream_exact)
    second = net.decode_with_prompts(first, prompts, mhr) if prompts.numel() else first.output
    pose, angle, used = merge_hands(net, mhr, second, first_wrists, hands, valid, upstream_exact=upstream_exact)
    camera = merged_camera(net, pose, second.camera, crops, frame_size_px, upstream_exact=upstream_exact)
    return FullPass(first, hands, prompts, angle_before, angle, used, BranchOutput(pose, camera, first.output.hand_tokens))


def _mean_of_used(left: Tensor, right: Tensor, own: Tensor, used: Tensor, part: slice) -> Tensor:
    """Mean, over the hands that are used, of what both hands have in common; the body's own where none is used."""
    weight = used.to(own.dtype)
    count = weight.sum(1, keepdim=True)
    mean = (left[:, part] * weight[:, :1] + right[:, part] * weight[:, 1:]) / (count + 1e-8)
    return torch.where(count > 0, mean, own[:, part])


def _concat_crops(a: Crops, b: Crops) -> Crops:
    return Crops(*(torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Crops)))


def _map_tensors(output: BranchOutput, function: Callable[[Tensor], Tensor]) -> BranchOutput:
    pose = PosePrediction(*(function(getattr(output.pose, f.name)) for f in fields(PosePrediction)))
    camera = CameraPrediction(*(function(getattr(output.camera, f.name)) for f in fields(CameraPrediction)))
    return BranchOutput(pose, camera, function(output.hand_tokens))


def _select_rows(output: BranchOutput, rows: slice) -> BranchOutput:
    return _map_tensors(output, lambda t: t[rows])


def _scatter_rows(output: BranchOutput, rows: Int[Tensor, " n"], count: int) -> BranchOutput:
    """The results in their rows among ``count``; zeros elsewhere."""
    return _map_tensors(output, lambda t: t if len(t) == count else t.new_zeros((count, *t.shape[1:])).index_copy(0, rows, t))
