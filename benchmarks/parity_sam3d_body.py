"""SAM-3D-Body's part of parity.py: fills the network, repeats the golden's cases with ``upstream_exact``, and names what is compared."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import Row, compare, limit_share
from parity_sam3d_arrays import Case, Recorder, ours_of
from torch import Tensor, nn

from body4d.models.sam3d_body.checkpoint import build_network, convert_state
from body4d.models.sam3d_body.network import hands as hands_module
from body4d.models.sam3d_body.network.crops import Crops, crop_affine, warp_crops
from body4d.models.sam3d_body.network.hands import hand_crops, refine_with_hands, run_hands
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies

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

PIXELS = r"pred_keypoints_2d$"
MAX_DIFFERENCE_PX = 1e-2
"""Keypoints inside the picture are held to this besides: a ten-thousandth of the largest coordinate may be far more. Those outside may
lie near the camera's plane, thousands of pixels away, where float32 itself is no finer."""


def rows(golden: Path, goldens: Path, salt: str, only: str | None) -> Iterator[Row | str]:
    """Compare every array of every case. A text says how the hands come out through our own boxes."""
    size = re.search(r"sam3dbody_(small_invalid|small|medium|full)", golden.name)
    if not size:
        raise SystemExit(f"{golden.name}: expected a name like sam3dbody_small_A.npz; the network's size follows from it.")
    data = np.load(golden)
    net = filled_network(goldens, size.group(1), salt)
    mhr = StandIn(salt)
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
    weights, sizes = convert_state(state, f"fill rule, {size}")
    return build_network(sizes, weights, f"fill rule, {size}")


class StandIn(nn.Module):
    """The MHR stand-in of a set, as TorchScript like the real file. It makes all vertices, of which the network takes some."""

    def __init__(self, salt: str) -> None:
        super().__init__()
        from make_mhr_standin import MHRStandIn  # type: ignore[import-not-found]

        self.script = torch.jit.script(MHRStandIn(salt).eval())

    def at_vertices(self, shape: Tensor, parameters: Tensor, face: Tensor, vertex: Tensor) -> tuple[Tensor, Tensor]:
        vertices, state = self.script(shape, parameters, face)
        return vertices[:, vertex], state


def run_case(net: Sam3dBody, mhr: StandIn, data: Any, case: str) -> Iterator[Row | str]:
    """Run one case and compare its arrays."""
    recorder = Recorder(net)
    try:
        with torch.inference_mode(), _wrist_threshold(data, case):
            ran = _run(net, mhr, data, case, recorder)
    finally:
        recorder.close()
    with torch.inference_mode():
        if "inputs/crops_u8" in data.files and ran.people == len(data["inputs/boxes"]):
            yield compare(f"{case}/crops_u8", data["inputs/crops_u8"], warp_crops(ran.pictures, ran.crops, 512).numpy())
        yield from _compared(ran, case, "")
        if ran.full and ran.own_hand_crops:
            yield _through_own_boxes(ran, ran.own_hand_crops, case)


def _compared(ran: Case, case: str, only: str) -> Iterator[Row]:
    """The case's arrays whose names match the pattern ``only``."""
    for key in ran.data.files:
        name = key.removeprefix(case + "/")
        # cam_int is an input: it is read from here.
        if name == key or name in ("batch.cam_int", "thresh_wrist_angle") or not re.search(only, name):
            continue
        reason = next((why for pattern, why in LONG_CHAINS if re.search(pattern, name)), "")
        golden, ours = ran.data[key], ours_of(ran, name).float().numpy()
        # Upstream keeps pictures and people apart in its batch's shapes.
        same = ours.size == golden.size and "batch." in name
        yield compare(key, golden, ours.reshape(golden.shape) if same else ours, reason)
        if re.search(PIXELS, name) and golden.shape == ours.shape:
            size = np.array([ran.pictures.shape[2], ran.pictures.shape[1]])
            inside = ((golden >= 0) & (golden <= size)).all(-1)
            yield compare(f"{key} inside the picture", golden[inside], ours[inside], reason, MAX_DIFFERENCE_PX)


def _through_own_boxes(ran: Case, boxes: tuple[Crops, Crops], case: str) -> str:
    """The hand passes and all that follows once more, through our own boxes instead of the golden's."""
    again = Recorder(ran.net)
    again.calls["head_pose"] += ran.recorder.calls["head_pose"]
    try:
        size = (ran.pictures.shape[2], ran.pictures.shape[1])
        hands = run_hands(ran.net, ran.mhr, ran.pictures, boxes, upstream_exact=True)
        with _wrist_threshold(ran.data, case):
            full = refine_with_hands(ran.net, ran.mhr, size, ran.first, hands, upstream_exact=True)
    finally:
        again.close()
    answers = list(_compared(replace(ran, full=full, recorder=again), case, r"^(.hand/)?out\.|^keypoint_prompt|^wrist_angle"))
    worst = max(answers, key=limit_share)
    figures = f"{worst.name} rel {worst.relative:.3e} abs {worst.absolute:.3e} (limit {worst.limit:g})"
    return f"{case}: through our own hand boxes the worst of {len(answers)} answers is {figures}"


def _run(net: Sam3dBody, mhr: StandIn, data: Any, case: str, recorder: Recorder) -> Case:
    pictures = torch.from_numpy(data["inputs/image"])[None]
    boxes = torch.from_numpy(data["inputs/boxes"]).float()
    people = _people(data, case, boxes, net)
    count = len(people)
    K = torch.from_numpy(data[f"{case}/batch.cam_int"]).float()
    masks = None
    if (data[f"{case}/batch.mask_score"] > 0).all():
        width = data["inputs/image"].shape[1]
        # The golden's mask crops show whether the case had masks of 0 and 1 or of 0 and 255.
        level = 255 if data[f"{case}/batch.mask_sub"].max() > 1 else 1
        masks = level * torch.from_numpy(np.unpackbits(data["inputs/masks"], axis=-1)[..., :width])[people]
    crops = body_crops(boxes[people], torch.zeros(count, dtype=torch.long), K.expand(count, 3, 3), net.sizes)
    first = estimate_bodies(net, mhr, pictures, crops, masks)
    full, own_hand_crops = None, None
    if f"{case}/lhand.batch.bbox_center" in data.files:
        size = (pictures.shape[2], pictures.shape[1])
        own_hand_crops = hand_crops(net, first, size[0])
        # Our boxes are compared with the golden's; from then on both use the golden's, and so the same pixels.
        golden_crops = (
            _golden_crops(data, case, "lhand", own_hand_crops[0], size[0]),
            _golden_crops(data, case, "rhand", own_hand_crops[1], size[0]),
        )
        hands = run_hands(net, mhr, pictures, golden_crops, upstream_exact=True)
        full = refine_with_hands(net, mhr, size, first, hands, upstream_exact=True)
    return Case(net, mhr, data, count, crops, pictures, masks, recorder, first, full, own_hand_crops)


@contextmanager
def _wrist_threshold(data: Any, case: str) -> Iterator[None]:
    """The wrist angle up to which the case uses a hand, in place of the published one where the golden names another."""
    published, key = hands_module.WRIST_MAX_ANGLE_RAD, f"{case}/thresh_wrist_angle"
    if key in data.files:
        hands_module.WRIST_MAX_ANGLE_RAD = float(data[key])
    try:
        yield
    finally:
        hands_module.WRIST_MAX_ANGLE_RAD = published


def _people(data: Any, case: str, boxes: Tensor, net: Sam3dBody) -> Tensor:
    """The people of the case: those with the golden's crops."""
    own = body_crops(boxes, torch.zeros(len(boxes), dtype=torch.long), torch.eye(3).expand(len(boxes), 3, 3), net.sizes)
    centres = torch.from_numpy(data[f"{case}/batch.bbox_center"]).reshape(-1, 2)
    sides = torch.from_numpy(data[f"{case}/batch.bbox_scale"]).reshape(-1, 2)[:, :1]
    return torch.cdist(torch.cat([centres, sides], 1), torch.cat([own.centre_px, own.side_px[:, None]], 1)).argmin(1)


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
