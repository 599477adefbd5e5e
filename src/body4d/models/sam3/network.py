"""SAM-3's network as the segmenter needs it: each frame is encoded once and in batches, for the text detector and for the tracker.

transformers' processors need torchvision; the little that they do is done here: a frame is squashed to the network's square by a bilinear
filter that averages when it shrinks, on bytes as torchvision does it, and scaled to [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from body4d.models.sam3.checkpoint import Sam3Weights
from body4d.models.sam3.identity import MIN_MATCH_IOU, mask_iou, non_maximum_suppression
from body4d.models.sam3.transformers_compat import (
    MAX_GRAPHS,
    cast_weights,
    compile_layers,
    fuse_memory_attention,
    keep_grid_on_host,
    record_tracker,
)
from body4d.models.sam3.window_encoder import WindowEncoder
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from body4d.runtime.fused import has_fused_kernels
from body4d.runtime.torch_utils import FrameUploader

MAX_DETECTION_IOU = 0.1
"""Published: of two detections that overlap by more than this, only the likelier one stays."""

MIN_MASK_CELLS = 12
"""A mask of fewer of the 288 x 288 cells is a speck and nobody: 9 pixels across on 1080 lines."""

_MEAN, _STD = 0.5, 0.5
"""Of SAM-3's processor_config.json, on all channels."""

MAX_SEARCH_GRAPHS = 3
"""CUDA graphs kept of the encoder, and of the search: full batches, the last one, and one more size."""

MAX_SEARCHES = 8
"""Texts times frames that the detector searches at once: memory that full batches of frames leave, since it runs on few of them."""

_TEXT_TOKENS = 32
"""Length of a text, padded or cut; the text encoder takes no other."""

_MAX_FINE_MAPS = 4
"""Maps as large as the finest features assumed to be alive at once in a neck or the mask decoder; where there are more, memory runs out
and the batch is halved."""


@dataclass(frozen=True)
class TrackerFeatures:
    """One frame as the tracker takes it: three maps (cells, 1, channels), fine to coarse, and the position encoding of the coarse one."""

    feature_maps: tuple[Tensor, ...]
    position_encoding: Float[Tensor, "cells 1 channels"]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.feature_maps, self.position_encoding)


@dataclass(frozen=True)
class Sam3Detections:
    """People detected on one frame, likeliest first, without duplicates. ``texts``: indices of the texts that each one fits."""

    masks: Bool[np.ndarray, "n h w"]
    scores: Float[np.ndarray, " n"]
    texts: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class TextFeatures:
    """An encoded text as the detector takes it."""

    features: Float[Tensor, "1 tokens c"]
    attention_mask: Int[Tensor, "1 tokens"]


@dataclass
class _TextOutput:
    """What the detector reads of transformers' text output."""

    pooler_output: Tensor


@dataclass
class _EncoderOutput:
    """What the tracker's neck reads of transformers' encoder output."""

    last_hidden_state: Tensor


class Sam3Network:
    """A loaded SAM-3. Products are made in ``dtype`` by autocast, to which the weights are cast once; all else is float32."""

    def __init__(self, weights: Sam3Weights, min_detection_score: float, device: torch.device, dtype: torch.dtype) -> None:
        self.model: Any = weights.model
        self._tokenizer: Any = weights.tokenizer
        self._min_detection_score, self.device, self.dtype = min_detection_score, device, dtype
        self._upload = FrameUploader(device)
        if dtype != torch.float32:
            cast_weights(self.model, dtype)
        fuse_memory_attention(self.tracker)
        self.cuda_graphs = record_tracker(self.tracker)
        keep_grid_on_host(self.model.detector_model, *self.tracker.prompt_encoder.image_embedding_size)
        fused = dtype != torch.float32 and has_fused_kernels(device) and WindowEncoder.serves(self._backbone)
        self._windows = WindowEncoder(self._backbone, dtype) if fused else None
        self._encoder_graphs = CudaGraphRecorder("SAM-3's encoder", max_graphs=MAX_SEARCH_GRAPHS, record_after=2)
        self._search_graphs = CudaGraphRecorder("SAM-3's search", max_graphs=MAX_SEARCH_GRAPHS, record_after=2)

    def compile_encoder(self) -> None:
        """Compile the encoder's layers at their next call."""
        self._windows = None
        compile_layers(self._backbone)

    @property
    def _backbone(self) -> Any:
        return self.model.detector_model.vision_encoder.backbone

    @property
    def tracker(self) -> Any:
        """transformers' ``Sam3TrackerVideoModel``."""
        return self.model.tracker_model

    @property
    def image_size_px(self) -> int:
        """Side of the square that the network takes."""
        return int(self.tracker.image_size)

    @property
    def mask_size(self) -> tuple[int, int]:
        """Height and width, in cells, of the network's masks."""
        height, width = self.tracker.prompt_encoder.mask_input_size
        return int(height), int(width)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.inference_mode()
    def encode_text(self, text: str) -> TextFeatures:
        """Encode a text; what goes beyond 32 tokens is cut."""
        tokens = self._tokenizer(text, return_tensors="pt", padding="max_length", max_length=_TEXT_TOKENS, truncation=True).to(self.device)
        detector: Any = self.model.detector_model
        out = detector.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], return_dict=True)
        return TextFeatures(out.pooler_output.float(), tokens["attention_mask"])

    @torch.inference_mode()
    def encode_frames(
        self, images: Sequence[UInt8[np.ndarray, "height width 3"]], detect: Sequence[bool], texts: Sequence[TextFeatures]
    ) -> list[tuple[TrackerFeatures, Sam3Detections | None]]:
        """Features of one batch of frames, and what ``texts`` detect on those with ``detect`` true."""
        with self.autocast():
            hidden = self._encode(preprocess(self._upload(images), self.image_size_px))
            feature_maps, position_encodings = self.model.get_vision_features_for_tracker(_EncoderOutput(hidden))
            rows = [i for i, detected in enumerate(detect) if detected]
            detections = dict(zip(rows, self._detect(hidden[rows], texts), strict=True)) if rows and texts else {}
        position_encoding = position_encodings[-1][:, :1].float()
        per_frame = [tuple(m[:, i : i + 1].float() for m in feature_maps) for i in range(len(images))]
        return [(TrackerFeatures(maps, position_encoding), detections.get(i)) for i, maps in enumerate(per_frame)]

    def _encode(self, pixels: Tensor) -> Tensor:
        """The encoder's last hidden state (B, cells, C)."""
        windows = self._windows
        if windows is None:
            return self._backbone(pixels).last_hidden_state
        return self._encoder_graphs(lambda inputs: (windows(inputs),), (pixels,), "encoder")[0]

    def _detect(self, hidden: Tensor, texts: Sequence[TextFeatures]) -> list[Sam3Detections]:
        """What the texts detect on frames given by their encoding (B, cells, C)."""
        count = len(hidden)
        per_frame: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(count)]
        together = max(1, MAX_SEARCHES // count)
        for first in range(0, len(texts), together):
            some = texts[first : first + together]
            features, attention_masks = torch.cat([t.features for t in some]), torch.cat([t.attention_mask for t in some])
            pred_masks, scores = self._search_graphs(self._search, (hidden, features, attention_masks), "search")
            likely = scores > self._min_detection_score
            for row in range(len(some) * count):
                masks = (pred_masks[row][likely[row]] > 0).cpu().numpy()
                per_frame[row % count].append((masks, scores[row][likely[row]].cpu().numpy()))
        return [merge_detections(per_text, self.mask_size) for per_text in per_frame]

    def _search(self, hidden: Tensor, features: Tensor, attention_masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (T B, queries, h, w) and scores (T B, queries) of T texts on B encoded frames, text by text; it does not wait for the
        device."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        detector: Any = self.model.detector_model
        count, (height, width) = len(hidden), self.tracker.prompt_encoder.image_embedding_size
        maps, positions = detector.vision_encoder.neck(hidden.view(count, height, width, -1).permute(0, 3, 1, 2))
        maps, positions = (tuple(one[None].expand(len(features), -1, -1, -1, -1).flatten(0, 1) for one in x) for x in (maps, positions))
        out = detector(
            vision_embeds=Sam3VisionEncoderOutput(last_hidden_state=hidden, fpn_hidden_states=maps, fpn_position_encoding=positions),
            text_embeds=_TextOutput(features[:, None].expand(-1, count, -1, -1).flatten(0, 1)),
            attention_mask=attention_masks[:, None].expand(-1, count, -1).flatten(0, 1),
        )
        return out.pred_masks, out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid().view(-1, 1)

    def bytes_per_person(self) -> int:
        """Memory that one more person takes in a batch of people, who remember as many frames as the tracker reads: keys and values, what
        they are made of, the finest maps of masks, and what CUDA graphs of the attention read, of which half are for full batches."""
        config, tracker = self.model.config.tracker_config, self.tracker
        height, width = tracker.prompt_encoder.image_embedding_size
        tokens = height * width * (tracker.num_maskmem - 1 + config.max_cond_frame_num)
        attention = tokens * (2 * config.memory_attention_hidden_size * self.dtype.itemsize + 4 * tracker.mem_dim * 4)
        recorded = MAX_GRAPHS // 2 * 2 * tokens * tracker.mem_dim * 4
        return attention + recorded + self.image_size_px**2 * 4 * _MAX_FINE_MAPS

    def bytes_per_frame(self, height_px: int, width_px: int) -> int:
        """Memory that one frame takes on its way through the encoder and the detector."""
        vision: Any = self.model.config.detector_config.vision_config
        backbone, mask_side = vision.backbone_config, self.mask_size[0]
        cells = (self.image_size_px // backbone.patch_size) ** 2
        block = cells * (2 * backbone.intermediate_size + 6 * backbone.hidden_size) * 4
        maps = mask_side**2 * vision.fpn_hidden_size * 4 * _MAX_FINE_MAPS
        return 3 * height_px * width_px * 5 + 3 * self.image_size_px**2 * 8 + block + 3 * maps


def preprocess(images: UInt8[Tensor, "b height width 3"], size_px: int) -> Float[Tensor, "b 3 size size"]:
    """Frames as the network takes them, squashed to its square.

    On CUDA the filter takes no bytes: there it runs on floats, which are rounded afterwards and may differ from the CPU's by one of 255
    levels.
    """
    on_cpu = images.device.type == "cpu"
    out = []
    for image in images:
        channels = image.permute(2, 0, 1)[None]
        if not on_cpu:
            channels = channels.float()
        small = interpolate(channels, (size_px, size_px), mode="bilinear", align_corners=False, antialias=True)
        out.append(small if on_cpu else small.round().clamp(0, 255))
    return (torch.cat(out).float() / 255 - _MEAN) / _STD


def merge_detections(
    per_text: Sequence[tuple[Bool[np.ndarray, "_ h w"], Float[np.ndarray, " _"]]],
    mask_size: tuple[int, int],
    *,
    max_iou: float = MAX_DETECTION_IOU,
    min_cells: int = MIN_MASK_CELLS,
) -> Sam3Detections:
    """The masks and scores that each text detects as one list, without specks and duplicates.

    A person whom two texts detect is one detection that fits both.
    """
    masks = np.concatenate([m for m, _ in per_text]) if per_text else np.zeros((0, *mask_size), bool)
    scores = np.concatenate([s for _, s in per_text]) if per_text else np.zeros(0, np.float32)
    text = np.repeat(np.arange(len(per_text)), [len(s) for _, s in per_text])
    large = masks.sum((1, 2)) >= min_cells
    masks, scores, text = masks[large], scores[large], text[large]
    ious = mask_iou(masks, masks)
    kept = non_maximum_suppression(ious, scores, max_iou)
    texts = tuple(frozenset([int(text[k]), *text[ious[k] >= MIN_MATCH_IOU].tolist()]) for k in kept)
    return Sam3Detections(masks[kept], scores[kept], texts)
