"""SAM-3D-Body at work on the crops of a clip: batches are sent ahead, computed, and fetched late, so that the device never waits."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from body4d.config import Sam3dBodySettings
from body4d.core.errors import RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import Camera, MaskTrack
from body4d.models.sam3d_body.agreement import frame_confidence
from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.heads import MhrModel
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies
from body4d.models.sam3d_body.person_crops import PersonCrop, iter_crop_batches
from body4d.runtime.device import AdaptiveBatcher, is_out_of_memory, side_stream
from body4d.runtime.torch_utils import FrameUploader, copy_to_host

MODEL_COLUMNS, SHAPE_COLUMNS, FACE_COLUMNS = slice(0, 204), slice(204, 249), slice(249, 321)
"""Columns of ``BodyTrack.parameters``: MHR's model parameters, shape and face, as the network predicts them for each frame."""


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
    boxes_px: Float[Tensor, "n 4"]
    image_index: Int[Tensor, " n"]
    K: Float[Tensor, "n 3 3"]
    """The intrinsic matrix of each crop's frame."""
    arrived: Any
    """The ``torch.cuda.Event`` after it; None where sending waits for the device."""

    def wait(self) -> None:
        """Let what is queued from here on wait until the batch is on the device."""
        if self.arrived is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(self.arrived)
            for tensor in (self.frames, self.masks, self.boxes_px, self.image_index, self.K):
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
        self._upload = FrameUploader(device)
        self._stream = side_stream(device, "send") if device.type == "cuda" else None
        self._camera = camera
        self._K = torch.tensor(camera.K, dtype=torch.float32, device=device)

    def bytes_per_crop(self, frames: FrameSource, dtype: torch.dtype) -> int:
        """Memory that one person in one frame takes: image and mask of this batch and of the next, and the network's work on a crop."""
        clip = frames.clip
        work = self._net.sizes.bytes_per_crop(dtype.itemsize, hands=self._settings.mode == "full")
        return (2 * 4 + 1) * clip.width_px * clip.height_px + work  # One more while masks are made.

    @torch.inference_mode()
    def send(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], crops: Sequence[PersonCrop]) -> SentBatch:
        """Copy a batch to the device, beside what the device computes; may be called from another thread."""
        with torch.cuda.stream(self._stream):  # None changes nothing
            frames = self._upload(images)
            masks = None
            if self._settings.mask_prompt:
                masks = masks_of_edges([crop.edges for crop in crops], frames.shape[1], frames.shape[2], self._device)
            # Here and not in ``queue``: torch waits for its stream when it sends what is not pinned, and this stream is soon done.
            boxes = torch.from_numpy(np.stack([crop.box_px for crop in crops]).astype(np.float32)).to(self._device)
            index = torch.tensor([crop.image_index for crop in crops], device=self._device)
            K = self._intrinsics(crops)
            arrived = None if self._stream is None else self._stream.record_event()
        return SentBatch(images, crops, frames, masks, boxes, index, K, arrived)

    @torch.inference_mode()
    def queue(self, batch: SentBatch, rows: slice, net: Sam3dBody | None = None) -> QueuedPrediction:
        """Have the network look at some of a batch's crops, by ``net`` where it is given."""
        net, settings, crops = net or self._net, self._settings, batch.crops[rows]
        batch.wait()
        placed = body_crops(batch.boxes_px[rows], batch.image_index[rows], batch.K[rows], net.sizes)
        masks = None if batch.masks is None else batch.masks[rows] * 255
        first = estimate_bodies(net, self._mhr, batch.frames, placed, masks)
        if settings.mode == "body":
            return QueuedPrediction.from_output(crops, first.output, torch.zeros(len(crops), 2, dtype=torch.bool, device=self._device))
        full = estimate_with_hands(net, self._mhr, batch.frames, first, upstream_exact=settings.upstream_exact)
        return QueuedPrediction.from_output(crops, full.output, full.hand_used)

    def _intrinsics(self, crops: Sequence[PersonCrop]) -> Float[Tensor, "b 3 3"]:
        """The intrinsic matrix of each crop's frame."""
        if self._camera.path is None:
            return self._K.expand(len(crops), 3, 3)
        of_frames = np.stack([self._camera.at(crop.frame).K for crop in crops])
        return torch.from_numpy(of_frames.astype(np.float32)).to(self._device)

    def fetch(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], queued: QueuedPrediction) -> BodyPrediction:
        """The result of what was queued, by the wider network where it is not finite."""
        found = queued.fetch()
        if found.is_finite:
            return found
        wide = self._wide.for_crops(len(queued.crops))
        if wide is None:
            return found
        return self.queue(self.send(images, queued.crops), slice(None), wide).fetch()


def masks_of_edges(edges: Sequence[Int[np.ndarray, " n"]], height: int, width: int, device: torch.device) -> UInt8[Tensor, "n h w"]:
    """The masks, 0 or 1, whose edges are given (``MaskTrack.edges``)."""
    mask = np.repeat(np.arange(len(edges)), [len(one) for one in edges])
    place = torch.from_numpy(mask * height * width + np.concatenate(edges)).to(device)
    turns = torch.zeros(len(edges) * height * width, dtype=torch.uint8, device=device).index_fill_(0, place, 1)
    inside = turns.view(len(edges), -1).cumsum(1, dtype=torch.uint8).bitwise_and_(1)
    return inside.view(len(edges), width, height).mT


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
    total, size_px = sum(len(track) for track in masks), (frames.clip.width_px, frames.clip.height_px)
    progress(0, total)
    waiting: list[tuple[SentBatch, QueuedPrediction]] = []

    def fetch_all() -> None:
        for batch, queued in waiting:
            prediction = session.fetch(batch.images, queued)
            parts.append(prediction)
            for crop, points_px in zip(queued.crops, prediction.keypoints_px, strict=True):
                confidence = frame_confidence(points_px, crop.edges, crop.box_px, size_px, min_confidence)
                crops_done.append((crop.person, crop.row, confidence))
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
