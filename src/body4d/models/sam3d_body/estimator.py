"""SAM-3D-Body (Yang et al. 2025) as a BodyEstimator: people of any frames, recovered in batches, as MHR bodies.

Frames are cropped at their own resolution on the device, and a batch mixes people and frames as they come. The network sees single
frames: the shape of the clip is the median of its predictions, and each frame's body then stands where its keypoints are seen. A person
who is occluded gets images of their own, in which nothing is in front of them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from body4d.bodies.mhr.module import MhrBody
from body4d.bodies.mhr.to_rig import rig_motion, rig_shape
from body4d.config import ComputeSettings, Sam3dBodySettings
from body4d.core.errors import InputError, RunWarning
from body4d.core.joints import Coco17, Mhr70
from body4d.core.occlusion import (
    OcclusionSegment,
    occluded_rows,
    occlusion_confidence,
    segments_of_person,
)
from body4d.core.rig import Rig
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import BodyTrack, Camera, MaskTrack
from body4d.geometry.camera import solve_translation
from body4d.models.sam3d_body.checkpoint import find_checkpoint, load_rig_beside, load_sam3d_body
from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.heads import MhrModel
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies
from body4d.models.sam3d_body.person_crops import PersonCrop, iter_crop_batches
from body4d.runtime.device import (
    AdaptiveBatcher,
    choose_batch_size,
    choose_device,
    choose_dtype,
    free_memory_bytes,
    is_out_of_memory,
    release_memory,
    side_stream,
)
from body4d.runtime.torch_utils import FrameUploader, copy_to_host, should_compile

LoadFn = Callable[[torch.device, torch.dtype], tuple[Sam3dBody, MhrBody]]

MODEL_COLUMNS, SHAPE_COLUMNS, FACE_COLUMNS = slice(0, 204), slice(204, 249), slice(249, 321)
"""Columns of ``BodyTrack.parameters``: MHR's model parameters, shape and face, as the network predicts them for each frame."""

MAX_BATCH_SIZE = {"cuda": 64, "mps": 16, "cpu": 4}
"""Largest number of people at once: more does not run faster, and nothing overlaps with sending the first ones; a CPU is busy with one."""

WIDE_DTYPE = {"cuda": torch.bfloat16, "mps": torch.float32, "cpu": torch.float32}
"""What a batch is computed in again whose numbers leave the range of float16."""

COMPILE_MIN_CROPS = 6000
"""Fewer crops are not compiled for: 2.6 ms gained per crop win back 15 s from 5,600 crops on (H100, empty cache; 1,000 with a full one)."""

OUTSIDE_VISIBILITY = 0.1
"""Visibility of a keypoint outside the frame, which the network guesses."""

PREDICTED_HAND_VISIBILITY = 0.4
"""Visibility of a hand's keypoints where the hand's own pass is not made or not used."""

MASK_REACH_PER_HEIGHT = 0.03
"""A joint this close to the mask, as a share of the mask's height, agrees with it: masks are tight."""

BODY_JOINTS = np.array([Mhr70[joint.name] for joint in Coco17])
"""COCO's joints among the 70 keypoints: fingers and toes would outvote the body."""

HAND_KEYPOINTS = {
    "left": slice(Mhr70.LEFT_THUMB_TIP, Mhr70.LEFT_WRIST + 1),
    "right": slice(Mhr70.RIGHT_THUMB_TIP, Mhr70.RIGHT_WRIST + 1),
}


@dataclass(frozen=True)
class BodyPrediction:
    """What the network predicts for B people. Positions are in camera axes."""

    parameters: Float[np.ndarray, "b 321"]
    keypoints_m: Float[np.ndarray, "b 70 3"]
    """Relative to the body's root."""
    root_m: Float[np.ndarray, "b 3"]
    keypoints_px: Float[np.ndarray, "b 70 2"]
    hand_used: Bool[np.ndarray, "b 2"]
    """Whether the result has the left and the right hand of their own pass."""

    @classmethod
    def concatenate(cls, parts: Sequence["BodyPrediction"]) -> "BodyPrediction":
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    @property
    def is_finite(self) -> bool:
        """False where numbers went beyond the range of the network's precision."""
        return all(bool(np.isfinite(part).all()) for part in (self.parameters, self.keypoints_m, self.root_m, self.keypoints_px))

    def select(self, index: Int[np.ndarray, " n"]) -> "BodyPrediction":
        return BodyPrediction(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True)
class ClipPrediction:
    """The predictions of all crops of a clip, each with its person, the row of their mask track, and its confidence."""

    bodies: BodyPrediction
    person: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]

    def of_person(self, person: int) -> "ClipPrediction":
        """One person's predictions, by rising row."""
        index = np.flatnonzero(self.person == person)
        index = index[np.argsort(self.row[index], kind="stable")]
        return ClipPrediction(self.bodies.select(index), self.person[index], self.row[index], self.confidence[index])


def sam3d_body_from_file(path: Path) -> LoadFn:
    """Loads network and rig from a checkpoint's folder or file, the rig from $BODY4D_MHR where the checkpoint has none."""

    def load(device: torch.device, dtype: torch.dtype) -> tuple[Sam3dBody, MhrBody]:
        checkpoint = find_checkpoint(path)
        net = load_sam3d_body(checkpoint, device=device).set_precision(dtype)
        return net, load_rig_beside(checkpoint, net.body.head_pose, device)

    return load


class Sam3dBodyEstimator:
    """A ``BodyEstimator``. It loads the weights with ``load`` when work begins and drops them when it ends.

    With ``person_height_m``, the height of the main person, everybody is scaled.
    """

    def __init__(self, load: LoadFn, settings: Sam3dBodySettings, compute: ComputeSettings, person_height_m: float | None = None) -> None:
        self._load, self._settings, self._compute, self._height_m = load, settings, compute, person_height_m

    @property
    def cache_inputs(self) -> Any:
        return [self._settings.cache_inputs(), self._height_m, self._compute.cache_inputs()]

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
            release_memory()


class WideNetwork:
    """The network in a precision of wider range, loaded where the first one gives numbers that are not finite."""

    def __init__(self, load: Callable[[], Sam3dBody | None]) -> None:
        self._load, self._loaded, self._crops = load, None, 0

    def for_crops(self, count: int) -> Sam3dBody | None:
        """The network for ``count`` more crops; None where the first one has that range already."""
        self._loaded = self._loaded or self._load()
        if self._loaded is not None:
            self._crops += count
        return self._loaded

    @property
    def warning(self) -> RunWarning | None:
        """How many crops went beyond float16, where any did."""
        if not self._crops:
            return None
        return RunWarning(
            "float16_overflow",
            f"{self._crops} bodies left the range of float16 and were computed again in a wider precision.",
            facts={"crops": self._crops},
        )


@dataclass(frozen=True)
class SentBatch:
    """A batch on its way to the device."""

    images: Sequence[UInt8[np.ndarray, "h w 3"]]
    crops: Sequence[PersonCrop]
    frames: UInt8[Tensor, "f h w 3"]
    masks: UInt8[Tensor, "n h w"] | None
    """Of each crop, 0 or 1."""
    arrived: Any
    """The ``torch.cuda.Event`` after it; None where sending waits for the device."""

    def wait(self) -> None:
        """Let what is queued from here on wait until the batch is on the device."""
        if self.arrived is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.arrived)
            for tensor in (self.frames, self.masks):
                if tensor is not None:
                    tensor.record_stream(stream)


@dataclass(frozen=True)
class QueuedPrediction:
    """What the network is asked for some people of a batch; on CUDA it may still be at work."""

    crops: Sequence[PersonCrop]
    numbers: Float[np.ndarray, "b _"]
    """On the host, once ``wait`` has returned: parameters, keypoints, root, pixels and used hands of each person."""
    wait: Callable[[], object]

    @classmethod
    def from_output(cls, crops: Sequence[PersonCrop], output: BranchOutput, hand_used: Bool[Tensor, "b 2"]) -> "QueuedPrediction":
        """Send a network's result to the host, before anything that is queued later."""
        pose, camera = output.pose, output.camera
        parts = (pose.mhr_params, pose.shape, pose.face, pose.keypoints_m, camera.translation_m, camera.keypoints_px, hand_used)
        return cls(crops, *copy_to_host(torch.cat([part.float().flatten(1) for part in parts], 1)))

    def fetch(self) -> BodyPrediction:
        """The result, once it is there."""
        self.wait()
        parameters, keypoints, root, pixels, hands = np.split(self.numbers, np.cumsum([FACE_COLUMNS.stop, 70 * 3, 3, 70 * 2]), axis=1)
        return BodyPrediction(parameters, keypoints.reshape(-1, 70, 3), root, pixels.reshape(-1, 70, 2), hands > 0.5)


class InferenceSession:
    """The network at work. A batch is sent, then queued, and its result is fetched; the next one may be sent and queued before."""

    def __init__(
        self, net: Sam3dBody, mhr: MhrModel, camera: Camera, settings: Sam3dBodySettings, device: torch.device, wide: WideNetwork
    ) -> None:
        self._net, self._mhr, self._settings, self._device, self._wide = net, mhr, settings, device, wide
        self._upload, self._upload_masks = FrameUploader(device), FrameUploader(device)
        self._stream = side_stream(device, "send") if device.type == "cuda" else None
        self._K = torch.tensor(camera.K, dtype=torch.float32, device=device)

    def bytes_per_crop(self, frames: FrameSource, dtype: torch.dtype) -> int:
        """Memory that one person in one frame takes: image and mask of this batch and of the next, and the network's work on a crop."""
        clip = frames.clip
        work = self._net.sizes.bytes_per_crop(dtype.itemsize, hands=self._settings.mode == "full")
        return 2 * clip.width_px * clip.height_px * 4 + work

    @torch.inference_mode()
    def send(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], crops: Sequence[PersonCrop]) -> SentBatch:
        """Copy a batch to the device, beside what the device computes; may be called from another thread."""
        with torch.cuda.stream(self._stream):  # None changes nothing
            frames = self._upload(images)
            masks = None
            if self._settings.mask_prompt:  # Decoded masks are contiguous by columns: copied as rows they take ten times as long.
                masks = self._upload_masks([np.ascontiguousarray(crop.mask.T).view(np.uint8) for crop in crops]).mT
            arrived = None if self._stream is None else self._stream.record_event()
        return SentBatch(images, crops, frames, masks, arrived)

    @torch.inference_mode()
    def queue(self, batch: SentBatch, rows: slice, net: Sam3dBody | None = None) -> QueuedPrediction:
        """Have the network look at some of a batch's crops, by ``net`` where it is given."""
        net, settings, crops = net or self._net, self._settings, batch.crops[rows]
        batch.wait()
        boxes = torch.from_numpy(np.stack([crop.box_px for crop in crops]).astype(np.float32)).to(self._device)
        index = torch.tensor([crop.image_index for crop in crops], device=self._device)
        placed = body_crops(boxes, index, self._K.expand(len(crops), 3, 3), net.sizes)
        masks = None if batch.masks is None else batch.masks[rows] * 255
        first = estimate_bodies(net, self._mhr, batch.frames, placed, masks)
        if settings.mode == "body":
            return QueuedPrediction.from_output(crops, first.output, torch.zeros(len(crops), 2, dtype=torch.bool, device=self._device))
        full = estimate_with_hands(net, self._mhr, batch.frames, first, upstream_exact=settings.upstream_exact)
        return QueuedPrediction.from_output(crops, full.output, full.hand_used)

    def fetch(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], queued: QueuedPrediction) -> BodyPrediction:
        """The result of what was queued, by the wider network where it is not finite."""
        found = queued.fetch()
        if found.is_finite:
            return found
        wide = self._wide.for_crops(len(queued.crops))
        if wide is None:
            return found
        return self.queue(self.send(images, queued.crops), slice(None), wide).fetch()


def sent_ahead(session: InferenceSession, batches: Iterator[tuple[list[np.ndarray], list[PersonCrop]]]) -> Iterator[SentBatch]:
    """The batches, each read and sent while the one before is computed."""

    def send_next() -> SentBatch | tuple[list[np.ndarray], list[PersonCrop]] | None:
        batch = next(batches, None)
        try:
            return None if batch is None else session.send(*batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return batch  # There is no room for it beside the batch before.

    with ThreadPoolExecutor(1, "send") as pool:
        sent = pool.submit(send_next)
        while (batch := sent.result()) is not None:
            if not isinstance(batch, SentBatch):
                batch = session.send(*batch)
            sent = pool.submit(send_next)
            yield batch


def predict_clip(
    session: InferenceSession,
    frames: FrameSource,
    masks: Sequence[MaskTrack],
    batcher: AdaptiveBatcher,
    progress: ProgressFn,
    segments: Sequence[OcclusionSegment],
    min_confidence: float,
) -> ClipPrediction | None:
    """The predictions of everybody on every frame that has their mask; None where no frame has any."""
    parts: list[BodyPrediction] = []
    crops_done: list[tuple[int, int, float]] = []
    total = sum(len(track) for track in masks)
    progress(0, total)
    waiting: list[tuple[SentBatch, QueuedPrediction]] = []

    def fetch_all() -> None:
        for batch, queued in waiting:
            prediction = session.fetch(batch.images, queued)
            parts.append(prediction)
            for crop, points_px in zip(queued.crops, prediction.keypoints_px, strict=True):
                crops_done.append((crop.person, crop.row, frame_confidence(points_px, crop.mask, min_confidence)))
        waiting.clear()
        progress(len(crops_done), total)

    for batch in sent_ahead(session, iter_crop_batches(frames, masks, lambda: batcher.size, segments)):
        queued = batcher.run(len(batch.crops), lambda rows, batch=batch: session.queue(batch, rows))
        fetch_all()  # of the batch before, while the device is at work on this one
        waiting = [(batch, part) for part in queued]
    fetch_all()
    if not parts:
        return None
    person, row, confidence = zip(*crops_done, strict=True)
    return ClipPrediction(BodyPrediction.concatenate(parts), np.array(person), np.array(row), np.array(confidence, np.float32))


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
    rotations, translation = place_body(bodies, shape, visibility, camera, mhr, rig)
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
    bodies: BodyPrediction, shape: np.ndarray, visibility: np.ndarray, camera: Camera, mhr: MhrBody, rig: Rig
) -> tuple[Float[np.ndarray, "t joints 3"], Float[np.ndarray, "t 3"]]:
    """Local rotations and root positions of the one body ``shape``, so that its keypoints project where each frame's are seen.

    The network's size and distance of a frame belong together: with the clip's size, the distance has to follow.
    """
    rotations, root = rig_motion(mhr, shape, bodies.parameters[:, MODEL_COLUMNS], np.zeros((len(visibility), 3)))
    points = rig.keypoints(*rig.forward(rotations.astype(np.float64), root.astype(np.float64)))
    translation = solve_translation(points, bodies.keypoints_px, camera.K, visibility)
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


def inside_frame(points_px: Float[np.ndarray, "*n 2"], width_px: int, height_px: int) -> Bool[np.ndarray, "*n"]:
    """Whether points lie inside the frame; NaN does not."""
    x, y = points_px[..., 0], points_px[..., 1]
    return (x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)


def keypoint_visibility(
    points_px: Float[np.ndarray, "t 70 2"], hand_used: Bool[np.ndarray, "t 2"], width_px: int, height_px: int
) -> Float[np.ndarray, "t 70"]:
    """Visibility of the keypoints: lower outside the frame, and for hands without a pass of their own."""
    out = np.ones(points_px.shape[:2], np.float32)
    for column, name in enumerate(("left", "right")):
        out[:, HAND_KEYPOINTS[name]] = np.where(hand_used[:, column, None], 1.0, PREDICTED_HAND_VISIBILITY)
    outside = ~inside_frame(points_px, width_px, height_px)
    return np.where(outside, np.minimum(out, OUTSIDE_VISIBILITY), out).astype(np.float32)


def mask_agreement(
    points_px: Float[np.ndarray, "n 2"], mask: Bool[np.ndarray, "h w"], reach_per_height: float = MASK_REACH_PER_HEIGHT
) -> float:
    """Share of the points that lie inside the frame and on the mask, or within ``reach_per_height`` of the mask's height of it."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return 0.0
    reach = max(round(reach_per_height * (rows[-1] + 1 - rows[0])), 0)
    inside = inside_frame(points_px, mask.shape[1], mask.shape[0])
    agreeing = 0
    for x, y in points_px[inside].astype(np.int64):
        agreeing += bool(mask[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].any())
    return agreeing / len(points_px)


def frame_confidence(points_px: Float[np.ndarray, "70 2"], mask: Bool[np.ndarray, "h w"], min_confidence: float) -> float:
    """Confidence in one frame's body: the share of its main joints that agree with the mask, at least ``min_confidence``."""
    return max(mask_agreement(points_px[BODY_JOINTS], mask), min_confidence)
