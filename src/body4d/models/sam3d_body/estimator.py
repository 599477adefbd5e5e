"""SAM-3D-Body (Yang et al. 2025) in the seat of the BodyEstimator: people of any frames, recovered in batches, as MHR bodies.

Frames are cut at their own resolution on the device; a batch mixes people and frames as they come. The network looks at single frames:
one shape for the clip is the median of what it says, and each body then stands where its keypoints are seen. Who is hidden is looked at
in pictures of their own, in which nothing is in front of them any more.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from body4d.bodies.mhr.module import MhrBody, load_mhr
from body4d.bodies.mhr.rig_file import RIG_VARIABLE, find_rig_file
from body4d.bodies.mhr.to_rig import rig_motion, rig_shape
from body4d.config import ComputeSettings, OcclusionSettings, Sam3dBodySettings
from body4d.core.errors import InputError, WeightsError
from body4d.core.occlusion import OcclusionSegment, occluded_rows, occlusion_confidence, segments_of_person
from body4d.core.rig import Rig
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import BodyTrack, Camera, MaskTrack
from body4d.geometry.camera import solve_translation
from body4d.models.sam3d_body.agreement import frame_confidence, keypoint_visibility
from body4d.models.sam3d_body.checkpoint import find_checkpoint, load_sam3d_body
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.heads import Mhr, PoseHead
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies
from body4d.models.sam3d_body.person_crops import Wanted, gathered
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, choose_device, choose_dtype, free_memory_bytes, release_memory
from body4d.runtime.torch_utils import FrameUploader, should_compile

Load = Callable[[torch.device, torch.dtype], tuple[Sam3dBody, MhrBody]]

MODEL, SHAPE, FACE = slice(0, 204), slice(204, 249), slice(249, 321)
"""Columns of ``BodyTrack.parameters`` (T, 321): MHR's model parameters, shape and face of each frame as the network said them."""

_MOST = {"cuda": 128, "mps": 16, "cpu": 4}
"""Crops at once at most: more gains no speed, and a CPU is full with one."""

COMPILE_MIN_CROPS = 6000
"""Fewer crops are not compiled for: 2.6 ms gained per crop pay back 15 s from 5,600 crops on (H100, empty cache; 1,000 with a full one)."""


@dataclass(frozen=True)
class Found:
    """What the network says of B people: ``parameters`` (B, 321), ``keypoints_m`` (B, 70, 3) about the body's origin and ``place_m``
    (B, 3) of that origin, both in camera axes, ``keypoints_px`` (B, 70, 2), ``hands_seen`` (B, 2) whether a hand's own pass was taken."""

    parameters: np.ndarray
    keypoints_m: np.ndarray
    place_m: np.ndarray
    keypoints_px: np.ndarray
    hands_seen: np.ndarray


def weights_in(place: Path) -> Load:
    """Loads network and rig from a checkpoint's folder or file; the rig from $BODY4D_MHR where the checkpoint comes without."""

    def load(device: torch.device, dtype: torch.dtype) -> tuple[Sam3dBody, MhrBody]:
        file = find_checkpoint(place)
        net = load_sam3d_body(file, device=device).set_precision(dtype)
        return net, mhr_beside(file, net.body.head_pose, device)

    return load


class Sam3dBodyEstimator:
    """A :class:`~body4d.core.stages.BodyEstimator`. Weights are loaded by ``load`` when work begins and let go when it ends."""

    def __init__(
        self,
        load: Load,
        settings: Sam3dBodySettings,
        compute: ComputeSettings,
        person_height_m: float | None = None,
        occlusion: OcclusionSettings | None = None,
    ) -> None:
        self._load, self._settings, self._compute, self._height_m = load, settings, compute, person_height_m
        self._occlusion = occlusion or OcclusionSettings()
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about the last ``estimate``."""
        return self._notes

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        report: ProgressFn,
        hidden: Sequence[OcclusionSegment] = (),
    ) -> tuple[BodyTrack, ...]:
        """One BodyTrack per MaskTrack, on its frames less those whose mask is empty. Raises WeightsError, DeviceError, InputError.

        On ``hidden`` stretches the network is shown the completed person, their whole outline and its box. Frames on which they are
        hidden are flagged, and trusted by the share that is seen.
        """
        device = choose_device(self._compute)
        dtype = choose_dtype(self._compute, device)
        net, mhr = self._load(device, dtype)
        crops = sum(len(track) for track in masks) * (3 if self._settings.mode == "full" else 1)
        if should_compile(crops, device.type, self._compute.compile, COMPILE_MIN_CROPS):
            net.compile_backbone()
        run: Recovery | None = None
        try:
            run = Recovery(net, mhr, camera, self._settings, device)
            size = choose_batch_size(free_memory_bytes(device), run.bytes_each(frames, dtype), self._compute, _MOST.get(device.type, 4))
            batches = AdaptiveBatcher(size, "people")
            found = self._recover(run, frames, masks, batches, report, hidden)
            self._notes = (batches.note,) if batches.note else ()
            theirs = [segments_of_person(track.person_id, hidden) for track in masks]
            return self._sized(tuple(self._track(t, rows, camera, mhr, s) for t, rows, s in zip(masks, found, theirs, strict=True)))
        finally:
            del net, mhr
            run = None  # It holds both.
            release_memory()

    def _recover(
        self,
        run: "Recovery",
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        batches: AdaptiveBatcher,
        report: ProgressFn,
        hidden: Sequence[OcclusionSegment],
    ) -> list[dict[int, tuple[Found, float]]]:
        """For each person, by row of the mask track: what was found (B = 1) and how far it is to be trusted."""
        out: list[dict[int, tuple[Found, float]]] = [{} for _ in masks]
        done, total = 0, sum(len(track) for track in masks)
        report(0, total)
        for pictures, wanted in gathered(frames, masks, lambda: batches.size, hidden):
            parts = batches.run(len(wanted), lambda rows, p=pictures, w=wanted: run(p, w[rows]))
            found = _joined(parts)
            for i, want in enumerate(wanted):
                trust = frame_confidence(found.keypoints_px[i], want.mask, self._settings)
                out[want.person][want.row] = (_row(found, i), trust)
            done += len(wanted)
            report(done, total)
        return out

    def _track(
        self,
        track: MaskTrack,
        rows: dict[int, tuple[Found, float]],
        camera: Camera,
        mhr: MhrBody,
        hidden: Sequence[OcclusionSegment],
    ) -> BodyTrack:
        if not rows:
            raise InputError(f"Person {track.person_id} has no mask on any frame: leave this person out, or prompt them anew.")
        order = sorted(rows)
        found = _joined([rows[row][0] for row in order])
        frame_index = track.frame_index[order]
        trust = np.array([rows[row][1] for row in order], np.float32) * occlusion_confidence(
            frame_index, hidden, self._occlusion.confidence_least
        )
        sure = trust >= np.median(trust)
        shape = rig_shape(found.parameters[sure, SHAPE], found.parameters[sure, MODEL])
        visibility = keypoint_visibility(found.keypoints_px, found.hands_seen, camera.width_px, camera.height_px, self._settings)
        rig = mhr.rig(shape)
        rotations, translation = self._placed(found, shape, visibility, camera, mhr, rig)
        return BodyTrack(
            person_id=track.person_id,
            body=mhr.name,
            frame_index=frame_index,
            shape=shape,
            rotations=rotations,
            translation_m=translation,
            joints_m=(found.keypoints_m + found.place_m[:, None]).astype(np.float32),
            keypoints_px=found.keypoints_px,
            visibility=visibility,
            confidence=trust,
            observed=np.ones(len(order), bool),
            joint_set="mhr70",
            parameters=found.parameters,
            hidden=occluded_rows(frame_index, hidden) if hidden else None,
            rig=rig,
        )

    def _sized(self, tracks: tuple[BodyTrack, ...]) -> tuple[BodyTrack, ...]:
        """Everybody larger or smaller by what makes the main person as tall as was told: the picture stays the same, and a focal length
        or a network's sense of scale that errs does so for all of them."""
        main = tracks[0].rig if tracks else None
        if self._height_m is None or main is None:
            return tracks
        factor = self._height_m / main.height_m
        return tuple(
            replace(
                track,
                rig=track.rig.scaled(factor) if track.rig else None,
                translation_m=(track.translation_m * factor).astype(np.float32),
                joints_m=(track.joints_m * factor).astype(np.float32),
            )
            for track in tracks
        )

    def _placed(
        self, found: Found, shape: np.ndarray, visibility: np.ndarray, camera: Camera, mhr: MhrBody, rig: Rig
    ) -> tuple[np.ndarray, np.ndarray]:
        """Local rotations (T, J, 3) and root places (T, 3) of the one body ``shape``, where each frame's keypoints are seen.

        A frame's own guess of size and its distance go together; with the clip's size, the distance must follow.
        """
        rotations, root = rig_motion(mhr, shape, found.parameters[:, MODEL], np.zeros((len(visibility), 3)))
        points = rig.keypoints(*rig.forward(rotations.astype(np.float64), root.astype(np.float64)))
        place = solve_translation(points, found.keypoints_px, camera.K, visibility)
        # A body nearly on the lens, or seen at fewer than two points: as the network has it.
        place = np.where((np.isfinite(place).all(-1) & (place[:, 2] > 0))[:, None], place, found.place_m)
        return rotations, (root + place).astype(np.float32)


class Recovery:
    """The network at work on one clip: call it with pictures of the clip and who is wanted in them."""

    def __init__(self, net: Sam3dBody, mhr: Mhr, camera: Camera, settings: Sam3dBodySettings, device: torch.device) -> None:
        self._net, self._mhr, self._settings, self._device = net, mhr, settings, device
        self._upload = FrameUploader(device)
        self._K = torch.tensor(camera.K, dtype=torch.float32, device=device)
        self._pictures: tuple[Sequence[np.ndarray], Tensor] | None = None

    def bytes_each(self, frames: FrameSource, dtype: torch.dtype) -> int:
        """Memory one person of one frame takes: a picture, a mask, and what the network makes of a crop."""
        clip = frames.clip
        return clip.width_px * clip.height_px * 4 + self._net.sizes.bytes_per_crop(dtype.itemsize, hands=self._settings.mode == "full")

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray], wanted: Sequence[Wanted]) -> Found:
        net, settings = self._net, self._settings
        frames = self._on_device(pictures)
        boxes = torch.from_numpy(np.stack([w.box_px for w in wanted]).astype(np.float32)).to(self._device)
        index = torch.tensor([w.picture for w in wanted], device=self._device)
        crops = body_crops(boxes, index, self._K.expand(len(wanted), 3, 3), net.sizes, settings)
        masks = None
        if settings.mask_prompt:
            masks = torch.from_numpy(np.stack([w.mask for w in wanted]).view(np.uint8)).to(self._device) * 255
        first = estimate_bodies(net, self._mhr, frames, crops, masks)
        if settings.mode == "body":
            return found_of(first.decoded.pose, first.decoded.view, torch.zeros(len(wanted), 2, dtype=torch.bool))
        full = estimate_with_hands(net, self._mhr, frames, first, settings)
        return found_of(full.decoded.pose, full.decoded.view, full.hand_valid)

    def _on_device(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """The pictures (F, H, W, 3) there, kept for the next call with the very same ones."""
        if self._pictures is None or self._pictures[0] is not pictures:
            self._pictures = None
            self._pictures = (pictures, self._upload(pictures))
        return self._pictures[1]


def mhr_beside(checkpoint: Path, head: PoseHead, device: torch.device | str) -> MhrBody:
    """The rig that came with a checkpoint file, else that of $BODY4D_MHR, with the keypoints of the network's ``head``.

    Raises WeightsError where there is none, or one that can be called but tells no skeleton.
    """
    path = rig_beside(checkpoint)
    mhr = load_mhr(path, device=device)
    mhr.file = replace(mhr.file, keypoint_mapping=dense_mapping(head, len(mhr.file.rest_vertices_cm)))
    return mhr


def rig_beside(checkpoint: Path) -> Path:
    """The rig file that came with a checkpoint file, else that of $BODY4D_MHR. Raises WeightsError where there is none."""
    beside = [checkpoint.parent / "mhr.safetensors", checkpoint.parent / "assets" / "mhr_model.pt", checkpoint.parent / "mhr_model.pt"]
    place = next((path for path in beside if path.is_file()), None)
    if place is None and checkpoint.suffix == ".safetensors":
        place = checkpoint
    try:
        return find_rig_file(place)
    except WeightsError:
        if place is None and not os.environ.get(RIG_VARIABLE):
            raise WeightsError(
                f"{checkpoint.parent} lacks assets/mhr_model.pt, the body that goes with {checkpoint.name}: download it from "
                f"https://huggingface.co/facebook/sam-3d-body-dinov3, or set {RIG_VARIABLE} to where it lies."
            ) from None
        raise


def dense_mapping(head: PoseHead, vertices: int) -> Tensor:
    """The 70 keypoints as blends of a rig's ``vertices`` and of its joints (70, vertices + J)."""
    out = head.keypoint_from_vertex.new_zeros(len(head.keypoint_from_vertex), vertices)
    out[:, head.keypoint_vertex] = head.keypoint_from_vertex
    return torch.cat([out, head.keypoint_from_joint], 1).cpu()


def found_of(pose: Any, view: Any, hands_seen: Tensor) -> Found:
    """A decoding on the host, float32."""
    parameters = torch.cat([pose.mhr_params, pose.shape, pose.face], -1)
    tensors = (parameters, pose.keypoints_m, view.translation_m, view.keypoints_px)
    parameters, keypoints, place, pixels = (t.float().cpu().numpy() for t in tensors)
    return Found(parameters, keypoints, place, pixels, hands_seen.cpu().numpy())


def _joined(parts: Sequence[Found]) -> Found:
    return Found(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Found)))


def _row(found: Found, i: int) -> Found:
    return Found(*(getattr(found, f.name)[i : i + 1] for f in fields(Found)))
