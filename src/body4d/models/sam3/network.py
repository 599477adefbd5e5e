"""SAM-3's network as the segmenter needs it: pictures in, each encoded once and in batches; finds by text, and features for the tracker.

transformers' processors need torchvision; the little that they do is done here: a picture is squashed to the network's square by a
bilinear filter that averages when it shrinks, on bytes as torchvision does it, and scaled to [-1, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from body4d.config import Sam3Settings
from body4d.models.sam3.checkpoint import Sam3Weights
from body4d.models.sam3.identity import likeliest, overlaps
from body4d.models.sam3.transformers_compat import cast_once, record_tracker
from body4d.runtime.torch_utils import FrameUploader, set_compile_cache

_MEAN, _SPREAD = 0.5, 0.5
"""Of SAM-3's processor_config.json, on all channels."""
_TOKENS = 32
"""Length of a text, padded or cut; the text encoder takes no other."""
_MOST_QUERY_MAPS = 4
"""Maps as large as the finest features thought alive at once in a neck or the mask decoder; where it is more, the batch halves."""


@dataclass(frozen=True)
class Features:
    """One picture for the tracker: ``maps``, three of (cells, 1, channels) from fine to coarse, and where the coarse cells lie."""

    maps: tuple[Tensor, ...]
    places: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.maps, self.places)


@dataclass(frozen=True)
class Finds:
    """People found on one frame, likeliest first, duplicates out: ``masks`` bool (N, h, w), ``scores`` (N,), the texts each answers."""

    masks: np.ndarray
    scores: np.ndarray
    texts: tuple[frozenset[int], ...]


@dataclass(frozen=True)
class Text:
    """Words as the detector wants them: ``features`` (1, 32, C) and which tokens are real (1, 32)."""

    features: Tensor
    real: Tensor


@dataclass
class _Texts:
    """What the detector reads of transformers' text output."""

    pooler_output: Tensor


class Sam3Network:
    """A loaded SAM-3 at work: products are made in ``dtype`` (autocast), which its weights are cast to once, all else is float32."""

    def __init__(self, weights: Sam3Weights, settings: Sam3Settings, device: torch.device, dtype: torch.dtype) -> None:
        self.model: Any = weights.model
        self._tokenizer: Any = weights.tokenizer
        self._settings, self.device, self.dtype = settings, device, dtype
        self._upload = FrameUploader(device)
        if dtype != torch.float32:
            cast_once(self.model, dtype)
        self.recordings = record_tracker(self.tracker)

    def compile_encoder(self) -> None:
        """Compile the encoder's layers at their next call: one version for those that look at windows, one for those that see all."""
        set_compile_cache()
        for layer in self._backbone.layers:
            if "forward" not in vars(layer):  # not compiled before: a model may be used for several clips
                layer.forward = _compiled(layer.forward)

    @property
    def _backbone(self) -> Any:
        return self.model.detector_model.vision_encoder.backbone

    @property
    def tracker(self) -> Any:
        return self.model.tracker_model

    @property
    def side_px(self) -> int:
        """Side of the square the network sees."""
        return int(self.tracker.image_size)

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of masks as the network says them."""
        height, width = self.tracker.prompt_encoder.mask_input_size
        return int(height), int(width)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.inference_mode()
    def text(self, words: str) -> Text:
        """Encode one text once; what goes beyond 32 tokens is cut."""
        told = self._tokenizer(words, return_tensors="pt", padding="max_length", max_length=_TOKENS, truncation=True).to(self.device)
        detector: Any = self.model.detector_model
        out = detector.get_text_features(input_ids=told["input_ids"], attention_mask=told["attention_mask"], return_dict=True)
        return Text(out.pooler_output.float(), told["attention_mask"])

    @torch.inference_mode()
    def encode(self, pictures: Sequence[np.ndarray], search: Sequence[bool], texts: Sequence[Text]) -> list[tuple[Features, Finds | None]]:
        """Features of pictures (H, W, 3) uint8, and what ``texts`` find in those to be searched. One batch."""
        with self.autocast():
            hidden = self._backbone(prepared(self._upload(pictures), self.side_px)).last_hidden_state
            maps, places = self.model.get_vision_features_for_tracker(_Hidden(hidden))
            rows = [i for i, wanted in enumerate(search) if wanted]
            finds = dict(zip(rows, self._search(hidden[rows], texts), strict=True)) if rows and texts else {}
        coarse = places[-1][:, :1].float()
        out = [tuple(m[:, i : i + 1].float() for m in maps) for i in range(len(pictures))]
        return [(Features(maps, coarse), finds.get(i)) for i, maps in enumerate(out)]

    def _search(self, hidden: Tensor, texts: Sequence[Text]) -> list[Finds]:
        """What the detector finds by each text in pictures given by their encoding (B, cells, C)."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        detector: Any = self.model.detector_model
        count, (height, width) = len(hidden), self.tracker.prompt_encoder.image_embedding_size
        fine, places = detector.vision_encoder.neck(hidden.view(count, height, width, -1).permute(0, 3, 1, 2))
        seen = Sam3VisionEncoderOutput(last_hidden_state=hidden, fpn_hidden_states=fine, fpn_position_encoding=places)
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(count)]
        for text in texts:
            out = detector(
                vision_embeds=seen,
                text_embeds=_Texts(text.features.expand(count, -1, -1)),
                attention_mask=text.real.expand(count, -1),
            )
            scores = out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid().view(count, 1)
            sure = scores > self._settings.detection_score
            for i in range(count):
                masks = (out.pred_masks[i][sure[i]] > 0).cpu().numpy()
                found[i].append((masks, scores[i][sure[i]].cpu().numpy()))
        return [merged(per_text, self.cells, self._settings) for per_text in found]

    def bytes_each(self, height: int, width: int, *, search: bool) -> int:
        """Memory one picture of this size takes on its way through the encoder and, where it is searched, the detector."""
        vision: Any = self.model.config.detector_config.vision_config
        net, side = vision.backbone_config, self.cells[0]
        cells = (self.side_px // net.patch_size) ** 2
        block = cells * (2 * net.intermediate_size + 6 * net.hidden_size) * 4
        maps = side**2 * vision.fpn_hidden_size * 4 * _MOST_QUERY_MAPS
        return 3 * height * width * 5 + 3 * self.side_px**2 * 8 + block + (3 if search else 1) * maps


@dataclass
class _Hidden:
    """What the tracker's neck reads of the encoder's output."""

    last_hidden_state: Tensor


def prepared(pictures: Tensor, side_px: int) -> Tensor:
    """Pictures (B, H, W, 3) uint8 as the network sees them (B, 3, side, side) float32, squashed where they are.

    On CUDA the filter takes no bytes: it is run on floats there and rounded, which may differ from the CPU's by one level of 255.
    """
    on_cpu = pictures.device.type == "cpu"
    out = []
    for picture in pictures:
        there = picture.permute(2, 0, 1)[None]
        small = interpolate(there if on_cpu else there.float(), (side_px, side_px), mode="bilinear", align_corners=False, antialias=True)
        out.append(small if on_cpu else small.round().clamp(0, 255))
    return (torch.cat(out).float() / 255 - _MEAN) / _SPREAD


def _compiled(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A layer's ``forward``, compiled for any number of pictures from two on; one alone would want a version of its own."""
    fast = torch.compile(plain)

    def run(hidden_states: Tensor, **more: Any) -> Tensor:
        if len(hidden_states) == 1:
            return plain(hidden_states, **more)
        torch._dynamo.mark_dynamic(hidden_states, 0)
        return fast(hidden_states, **more)

    return run


def merged(per_text: Sequence[tuple[np.ndarray, np.ndarray]], cells: tuple[int, int], settings: Sam3Settings) -> Finds:
    """Finds of all texts (masks (N, h, w) bool, scores (N,)) as one list without duplicates, specks out.

    Somebody found by two texts is one find that answers both.
    """
    masks = np.concatenate([m for m, _ in per_text]) if per_text else np.zeros((0, *cells), bool)
    scores = np.concatenate([s for _, s in per_text]) if per_text else np.zeros(0, np.float32)
    text = np.repeat(np.arange(len(per_text)), [len(s) for _, s in per_text])
    large = masks.sum((1, 2)) >= settings.least_cells
    masks, scores, text = masks[large], scores[large], text[large]
    ious = overlaps(masks, masks)
    kept = likeliest(ious, scores, settings.duplicate_find_iou)
    answers = tuple(frozenset([int(text[k]), *text[ious[k] >= settings.match_iou].tolist()]) for k in kept)
    return Finds(masks[kept], scores[kept], answers)
