"""SAM-3D-Body (Yang et al. 2025) as a BodyEstimator: people of any frames, recovered in batches, as MHR bodies.

Frames are cropped at their own resolution on the device, and a batch mixes people and frames as they come. The network sees single
frames: the shape of the clip is the median of its predictions, and each frame's body then stands where its keypoints are seen. A person
who is occluded gets images of their own, in which nothing is in front of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from body4d.bodies.mhr.module import MhrBody
from body4d.bodies.mhr.to_rig import rig_motion, rig_shape
from body4d.config import ComputeSettings, Sam3dBodySettings
from body4d.core.errors import InputError
from body4d.core.occlusion import OcclusionSegment, occluded_rows, occlusion_confidence, segments_of_person
from body4d.core.rig import Rig
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack
from body4d.geometry.camera import solve_translation
from body4d.models.sam3d_body.agreement import keypoint_visibility
from body4d.models.sam3d_body.checkpoint import find_checkpoint, load_rig_beside, load_sam3d_body
from body4d.models.sam3d_body.inference import (
    MODEL_COLUMNS,
    SHAPE_COLUMNS,
    BodyPrediction,
    ClipPrediction,
    InferenceSession,
    WideNetwork,
    predict_clip,
)
from body4d.models.sam3d_body.network.model import Sam3dBody
from body4d.runtime.device import (
    AdaptiveBatcher,
    allocated_bytes,
    choose_batch_size,
    choose_device,
    choose_dtype,
    free_memory_bytes,
    release_memory,
)
from body4d.runtime.load_ahead import AheadLoader, has_room_ahead
from body4d.runtime.torch_utils import should_compile

LoadFn = Callable[[torch.device, torch.dtype], tuple[Sam3dBody, MhrBody]]

MAX_BATCH_SIZE = {"cuda": 64, "mps": 16, "cpu": 4}
"""Largest number of people at once: more does not run faster, and nothing overlaps with sending the first ones; a CPU is busy with one."""

WIDE_DTYPE = {"cuda": torch.bfloat16, "mps": torch.float32, "cpu": torch.float32}
"""What a batch is computed in again whose numbers leave the range of float16."""

COMPILE_MIN_CROPS = 6000
"""Fewer crops are not compiled for: 2.6 ms gained per crop win back 15 s from 5,600 crops on (H100, empty cache; 1,000 with a full one)."""


def sam3d_body_from_file(path: Path) -> LoadFn:
    """Loads network and rig from a checkpoint's folder or file, the rig from $BODY4D_MHR where the checkpoint has none."""

    def load(device: torch.device, dtype: torch.dtype) -> tuple[Sam3dBody, MhrBody]:
        checkpoint = find_checkpoint(path)
        net = load_sam3d_body(checkpoint, device=device).set_precision(dtype)
        return net, load_rig_beside(checkpoint, net.body.head_pose, device)

    return load


class Sam3dBodyEstimator:
    """A ``BodyEstimator``. It loads the weights with ``load`` when work begins, or ahead where asked to, and drops them when it ends.

    With ``person_height_m``, the height of the main person, everybody is scaled.
    """

    def __init__(self, load: LoadFn, settings: Sam3dBodySettings, compute: ComputeSettings, person_height_m: float | None = None) -> None:
        self._load, self._settings, self._compute, self._height_m = AheadLoader(load), settings, compute, person_height_m

    @property
    def cache_inputs(self) -> Any:
        return [self._settings.cache_inputs(), self._height_m, self._compute.cache_inputs()]

    def load_ahead(self, clip: Clip) -> None:
        """Begin to load the network, on GPUs that have room for it beside another one."""
        device = choose_device(self._compute)
        if has_room_ahead(device):
            self._load.begin(device, choose_dtype(self._compute, device, torch.float16))

    def drop_ahead(self) -> None:
        self._load.drop()

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        progress: ProgressFn,
        occlusions: Sequence[OcclusionSegment] = (),
    ) -> StageOutput[tuple[BodyTrack, ...]]:
        """One BodyTrack per MaskTrack, on its frames except those whose mask is empty. Raises WeightsError, DeviceError, InputError.

        In the segments ``occlusions`` the network gets the completed image of the person, with their amodal mask and its box. Frames on
        which they are occluded are flagged, and their confidence is multiplied by the visible share.
        """
        device = choose_device(self._compute)
        dtype = choose_dtype(self._compute, device, torch.float16)
        before = allocated_bytes(device)
        net, mhr = self._load(device, dtype)
        wide = WideNetwork(lambda: self._load(device, WIDE_DTYPE[device.type])[0] if dtype == torch.float16 else None)
        num_crops = sum(len(track) for track in masks) * (3 if self._settings.mode == "full" else 1)
        if should_compile(num_crops, device.type, self._compute.compile, COMPILE_MIN_CROPS):
            net.compile_backbone()
        session: InferenceSession | None = None
        try:
            session = InferenceSession(net, mhr, camera, self._settings, device, wide)
            max_size = MAX_BATCH_SIZE.get(device.type, MAX_BATCH_SIZE["cpu"])
            size = choose_batch_size(free_memory_bytes(device), session.bytes_per_crop(frames, dtype), self._compute, max_size)
            batcher = AdaptiveBatcher(size, "people")
            prediction = predict_clip(session, frames, masks, batcher, progress, occlusions, self._settings.min_confidence)
            tracks = tuple(
                build_track(
                    track, prediction and prediction.of_person(person), camera, mhr, segments_of_person(track.person_id, occlusions)
                )
                for person, track in enumerate(masks)
            )
            tracks = tracks if self._height_m is None else scale_to_height(tracks, self._height_m)
            return StageOutput(tracks, tuple(warning for warning in (batcher.warning, wide.warning) if warning))
        finally:
            del net, mhr, wide
            session = None  # It refers to both.
            release_memory(device, before)


def build_track(
    track: MaskTrack, prediction: ClipPrediction | None, camera: Camera, mhr: MhrBody, segments: Sequence[OcclusionSegment]
) -> BodyTrack:
    """One person's predictions as one body that moves. Raises InputError where there are none."""
    if prediction is None or not len(prediction.row):
        raise InputError(
            f"Person {track.person_id} has no mask on any frame.",
            code="person_without_mask",
            hint="Leave this person out, or give another prompt for them.",
            person_id=track.person_id,
        )
    bodies, frame_index = prediction.bodies, track.frame_index[prediction.row]
    confidence = prediction.confidence * occlusion_confidence(frame_index, segments)
    confident = confidence >= np.median(confidence)
    shape = rig_shape(bodies.parameters[confident, SHAPE_COLUMNS], bodies.parameters[confident, MODEL_COLUMNS])
    visibility = keypoint_visibility(bodies.keypoints_px, bodies.hand_used, camera.width_px, camera.height_px)
    rig = mhr.rig(shape)
    rotations, translation = place_body(bodies, frame_index, shape, visibility, camera, mhr, rig)
    return BodyTrack(
        person_id=track.person_id,
        body=mhr.name,
        frame_index=frame_index,
        shape=shape,
        rotations=rotations,
        translation_m=translation,
        joints_m=(bodies.keypoints_m + bodies.root_m[:, None]).astype(np.float32),
        keypoints_px=bodies.keypoints_px,
        visibility=visibility,
        confidence=confidence,
        observed=np.ones(len(frame_index), bool),
        joint_set="mhr70",
        parameters=bodies.parameters,
        hidden=occluded_rows(frame_index, segments) if segments else None,
        rig=rig,
    )


def place_body(
    bodies: BodyPrediction, frame_index: np.ndarray, shape: np.ndarray, visibility: np.ndarray, camera: Camera, mhr: MhrBody, rig: Rig
) -> tuple[Float[np.ndarray, "t joints 3"], Float[np.ndarray, "t 3"]]:
    """Local rotations and root positions of the one body ``shape``, so that its keypoints project where each frame's are seen.

    The network's size and distance of a frame belong together: with the clip's size, the distance has to follow.
    """
    rotations, root = rig_motion(mhr, shape, bodies.parameters[:, MODEL_COLUMNS], np.zeros((len(visibility), 3)))
    points = rig.keypoints(*rig.forward(rotations.astype(np.float64), root.astype(np.float64)))
    translation = solve_translation(points, camera.without_zoom(bodies.keypoints_px, frame_index), camera.K, visibility)
    # A body almost at the lens, or seen at fewer than two keypoints, stays where the network has it.
    solved = np.isfinite(translation).all(-1) & (translation[:, 2] > 0)
    translation = np.where(solved[:, None], translation, bodies.root_m)
    return rotations, (root + translation).astype(np.float32)


def scale_to_height(tracks: tuple[BodyTrack, ...], height_m: float) -> tuple[BodyTrack, ...]:
    """Everybody scaled about the camera so that the first person is ``height_m`` tall.

    The projection stays the same, and an error of the focal length or of the network's scale is the same for everybody.
    """
    main = tracks[0].rig if tracks else None
    if main is None:
        return tracks
    factor = height_m / main.height_m
    return tuple(
        replace(
            track,
            rig=track.rig.scaled(factor) if track.rig else None,
            translation_m=(track.translation_m * factor).astype(np.float32),
            joints_m=(track.joints_m * factor).astype(np.float32),
        )
        for track in tracks
    )
