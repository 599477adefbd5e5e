"""The one place where SAM-3's classes in transformers are extended or replaced at run time. Written for one minor version of transformers.

Members of transformers' classes that are not public are read or replaced here and nowhere else:

- ``Sam3TrackerVideoInferenceSession``: the cache of vision features, so that a session holds no frames (``StreamingSession``);
- ``Sam3TrackerVideoModel._run_single_frame_inference``: previous mask logits beside new clicks (``previous_mask_logits``);
- ``Sam3TrackerVideoModel._single_frame_forward`` and the ``forward`` of its memory attention and memory encoder: recorded as CUDA graphs
  (``record_tracker``);
- ``Sam3TrackerVideoModel._gather_memory_frame_outputs``, ``_build_memory_attention_inputs``, ``_get_object_pointers``,
  ``_process_object_pointers``, ``_use_multimask`` and ``_encode_new_memory``, and a session's outputs: several people at once
  (``track_people``);
- the ``forward`` of the memory attention's ``self_attn`` and ``cross_attn_image``: positions in one pass, and several people's memories
  (``fuse_memory_attention``);
- the ``forward`` of the vision encoder's layers: compiled (``compile_layers``);
- ``_get_coords`` of the detector's decoder and ``_prepare_multilevel_features`` of its encoder: the grid's size is told by the host
  (``keep_grid_on_host``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from body4d.core.errors import MissingDependencyError
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from body4d.runtime.fused import attend, rotate_
from body4d.runtime.torch_utils import set_compile_cache

TRANSFORMERS_VERSION = "5.23"
"""Minor version whose private members are used here."""

RECORD_AFTER = 8
"""Shapes are recorded when met this often: while a memory fills, each frame has its own, and recording takes as long as ten frames."""

MAX_GRAPHS = 12
"""CUDA graphs kept of a tracker: three kinds of steps, and a few sizes of memory."""

_AUTOCAST_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

_DECODER_OUTPUTS = ("iou_scores", "pred_masks", "high_res_masks", "object_pointer", "object_score_logits")
"""What the tracker reads of a mask decoding."""


def require_supported_transformers(version: str = metadata.version("transformers")) -> None:
    """Raise MissingDependencyError unless transformers is the minor version that this module is written for."""
    if version.split(".")[:2] != TRANSFORMERS_VERSION.split("."):
        raise MissingDependencyError(
            f"transformers {version} is installed, and SAM-3 works only with {TRANSFORMERS_VERSION}, of which it uses private members.",
            code="transformers_version",
            hint=f"Install it: pip install 'transformers=={TRANSFORMERS_VERSION}.*'",
            installed=version,
            required=TRANSFORMERS_VERSION,
        )


require_supported_transformers()  # Another version may not even have what is imported next.

from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (  # noqa: E402
    NO_OBJ_SCORE,
    Sam3TrackerVideoInferenceSession,
)


class StreamingSession(Sam3TrackerVideoInferenceSession):
    """An inference session that holds no frames: it knows how many there are, and is given the features of one frame at a time."""

    def __init__(self, num_frames: int, **options: Any) -> None:
        super().__init__(**options)
        self._num_frames = num_frames

    @property
    def num_frames(self) -> int:
        return self._num_frames

    def get_frame(self, frame_idx: int) -> Tensor:
        raise AssertionError(f"frame {frame_idx} was to be encoded twice")

    @contextmanager
    def vision_features(self, frame: int, feature_maps: Iterable[Tensor], position_encoding: Tensor) -> Iterator[None]:
        """Within the context, the features of this frame are in the session's cache."""
        self.cache._vision_features = {frame: {"vision_feats": list(feature_maps), "vision_pos_embeds": [position_encoding]}}
        try:
            yield
        finally:
            self.cache.clear_all()


@contextmanager
def previous_mask_logits(tracker: Any, logits: Tensor) -> Iterator[None]:
    """Within the context, the tracker's prompt encoder is shown the mask found before beside new clicks, as in the published code."""
    tracker._run_single_frame_inference = partial(tracker._run_single_frame_inference, prev_sam_mask_logits=logits)
    try:
        yield
    finally:
        del tracker._run_single_frame_inference


def cast_weights(model: Any, dtype: torch.dtype) -> None:
    """Keep in ``dtype`` the weights that autocast would otherwise cast on every call; the products are the same.

    Texts are encoded without autocast, so the text encoder's weights stay as they are.
    """
    detector = model.detector_model
    text_modules = {id(m) for part in (detector.text_encoder, detector.text_projection) for m in part.modules()}
    for module in model.modules():
        if isinstance(module, _AUTOCAST_LAYERS) and id(module) not in text_modules:
            module.to(dtype)


def compile_layers(backbone: Any) -> None:
    """Compile the vision encoder's layers at their next call: one version for windowed attention, one for global attention."""
    set_compile_cache()
    for layer in backbone.layers:
        if "forward" not in vars(layer):  # A model that is used for several clips is compiled once.
            layer.forward = _compiled(layer.forward)


def _compiled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A layer's ``forward``, compiled for any batch of two and more; a batch of one would need a version of its own."""
    compiled_forward = torch.compile(forward)

    def run(hidden_states: Tensor, **options: Any) -> Tensor:
        if len(hidden_states) == 1:
            return forward(hidden_states, **options)
        torch._dynamo.mark_dynamic(hidden_states, 0)
        return compiled_forward(hidden_states, **options)

    return run


def keep_grid_on_host(detector: Any, height: int, width: int) -> None:
    """Tell the detector the size of its one feature map in cells, for which each of its layers would wait for the device."""
    device_shapes: dict[torch.device, Tensor] = {}

    def coordinates(height_tensor: Tensor, width_tensor: Tensor, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        return tuple(torch.arange(0, side, device=device, dtype=dtype) / side for side in (height, width))  # type: ignore[return-value]

    def flattened(maps: list[Tensor], positions: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        (features,), (position,) = maps, positions
        if features.device not in device_shapes:
            device_shapes[features.device] = torch.tensor([[height, width]], device=features.device)
        rows, position_rows = (one.flatten(2).transpose(1, 2) for one in (features, position))
        return rows, position_rows, device_shapes[features.device]

    detector.detr_decoder._get_coords = coordinates
    detector.detr_encoder._prepare_multilevel_features = flattened


def fuse_memory_attention(tracker: Any) -> None:
    """Have the tracker's memory attention turn queries and keys by their positions in one pass, and attend with the quickest kernel."""
    for layer in tracker.memory_attention.layers:
        for module in (layer.self_attn, layer.cross_attn_image):
            module.forward = partial(_rotary_attention, module)


def _rotary_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, position_embeddings: tuple[Tensor, Tensor], num_k_exclude_rope: int = 0
) -> tuple[Tensor, None]:
    """What ``Sam3TrackerVideoRoPEAttention.forward`` gives for (1, 1, n, c) queries, or (b, 1, n, c) to b people's keys and values.

    Queries of one may go to the keys of b. Keys are those of whole frames one after another, whose positions begin anew with each, then
    ``num_k_exclude_rope`` without one.
    """
    q, k, v = (project(x).squeeze(1) for project, x in ((module.q_proj, query), (module.k_proj, key), (module.v_proj, value)))
    cos, sin = (one.float().reshape(-1, one.shape[-1]).contiguous() for one in position_embeddings)
    rotate_(q, cos, sin, interleaved=True)
    for one in k:
        rotate_(one[: len(one) - num_k_exclude_rope].view(-1, len(cos), k.shape[2]), cos, sin, interleaved=True)
    q, k, v = (x.unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2) for x in (q, k, v))
    # One by one: for queries of one person the kernel shares out the keys, which fills a GPU better than a batch does.
    people = zip(q.expand(len(k), -1, -1, -1).split(1), k.split(1), v.split(1), strict=True)
    attended = [attend(*one).transpose(1, 2).flatten(2) for one in people]
    return module.o_proj((attended[0] if len(attended) == 1 else torch.cat(attended))[:, None]), None


def record_tracker(tracker: Any) -> CudaGraphRecorder:
    """Have the tracker's three chains of small steps recorded: memory attention, mask decoder without prompts, memory encoder.

    The tracker is a chain of a thousand small steps for each person and frame, which take longer to launch than to do.
    """
    graphs = CudaGraphRecorder("SAM-3's tracker", max_graphs=MAX_GRAPHS, record_after=RECORD_AFTER, priority=-1)
    remember, encode = type(tracker.memory_attention).forward, type(tracker.memory_encoder).forward
    decode = type(tracker)._single_frame_forward

    def memory_attention(
        current_vision_features: Tensor,
        memory: Tensor,
        current_vision_position_embeddings: Tensor,
        memory_posision_embeddings: Tensor,  # sic
        num_object_pointer_tokens: int = 0,
    ) -> Tensor:
        def steps(features: Tensor, memory: Tensor, position: Tensor, memory_position: Tensor) -> tuple[Tensor, ...]:
            return (remember(tracker.memory_attention, features, memory, position, memory_position, num_object_pointer_tokens),)

        inputs = (current_vision_features, memory, current_vision_position_embeddings, memory_posision_embeddings)
        return graphs(steps, inputs, ("attention", num_object_pointer_tokens))[0]

    def mask_decoder(**options: Any) -> Any:
        feature_maps, multimask = options.pop("image_embeddings"), options.pop("multimask_output", True)
        if any(value is not None for value in options.values()):
            return decode(tracker, image_embeddings=feature_maps, multimask_output=multimask, **options)

        def steps(*feature_maps: Tensor) -> tuple[Tensor, ...]:
            out = decode(tracker, image_embeddings=list(feature_maps), multimask_output=multimask)
            return tuple(getattr(out, name) for name in _DECODER_OUTPUTS)

        outputs = graphs(steps, tuple(feature_maps), ("decoder", multimask))
        return SimpleNamespace(**dict(zip(_DECODER_OUTPUTS, outputs, strict=True)))

    def memory_encoder(vision_features: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        if len(masks) == 1:
            return graphs(lambda *inputs: encode(tracker.memory_encoder, *inputs), (vision_features, masks), "memory")
        (features,) = graphs(partial(_encode_memories, tracker.memory_encoder), (vision_features, masks), "memories")
        # Asked for one person: transformers keeps the position encoding of one size, which must not be made within a recording.
        position = tracker.memory_encoder.position_encoding(features[:1].shape, features.device, features.dtype)
        return features, position

    tracker.memory_attention.forward, tracker.memory_encoder.forward = memory_attention, memory_encoder
    tracker._single_frame_forward = mask_decoder
    return graphs


def _encode_memories(encoder: Any, vision_features: Tensor, masks: Tensor) -> tuple[Tensor]:
    """What ``Sam3TrackerVideoMemoryEncoder.forward`` makes of one frame's features (1, c, h, w) and the masks (b, 1, H, W) on it."""
    downsampler = encoder.mask_downsampler
    for layer in downsampler.layers:
        masks = layer.activation(_norm_channels(layer.layer_norm, layer.conv(masks)))
    fused = encoder.memory_fuser(encoder.feature_projection(vision_features) + downsampler.final_conv(masks))
    return (encoder.projection(fused),)


def _norm_channels(norm: Any, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Layer norm over channels. torch's own takes a block of threads for each place, of which here there are a third of a million with four
    channels: eight tenths of a millisecond a person on an H200."""
    centred = x.float() - x.float().mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + norm.eps)
    return centred * scale * norm.weight[:, None, None] + norm.bias[:, None, None]


@dataclass(frozen=True)
class RememberedFrames:
    """What the tracker reads of a person's past on a frame without a prompt: mask memories of some frames, object pointers of others.

    ``memories``: (distance in frames, what is kept of the frame), the distance 0 for conditioning frames. ``pointer_offsets``: distances of
    the pointers in frames, as parts of ``max_pointers`` - 1.
    """

    memories: tuple[tuple[int, dict[str, Tensor]], ...]
    pointers: tuple[Tensor, ...]
    pointer_offsets: tuple[int, ...]
    max_pointers: int

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of memories and of pointers; people with the same can be tracked in one batch."""
        return len(self.memories), len(self.pointers)


def remembered_frames(tracker: Any, session: StreamingSession, frame: int, reverse: bool) -> RememberedFrames:
    """What the tracker reads on ``frame`` of the one person of a session."""
    memories = tracker._gather_memory_frame_outputs(session, 0, frame, reverse)
    offsets, pointers, max_pointers = tracker._get_object_pointers(session, 0, frame, session.num_frames, session.inference_device, reverse)
    return RememberedFrames(
        tuple((offset, out) for offset, out in memories if out is not None), tuple(pointers), tuple(offsets), max_pointers
    )


def track_people(
    tracker: Any,
    graphs: CudaGraphRecorder,
    sessions: Sequence[StreamingSession],
    remembered: Sequence[RememberedFrames],
    frame: int,
    feature_maps: Sequence[Tensor],
    position_encoding: Tensor,
    reverse: bool,
) -> Float[Tensor, "b h w"]:
    """Mask logits on a frame without a prompt of b people, each in a session of their own, who remember frames of the same ``size``.

    What the tracker does for one person, for all of them in one go; what depends on the frame alone is done once. Nothing is kept of a
    person unless all went well.
    """
    memory, position, num_pointer_tokens = _memories(tracker, remembered)
    coarse = tracker.memory_attention(
        current_vision_features=feature_maps[-1],
        memory=memory.transpose(0, 1),
        current_vision_position_embeddings=position_encoding,
        memory_posision_embeddings=position.transpose(0, 1),
        num_object_pointer_tokens=num_pointer_tokens,
    )[0]
    maps = [one.permute(1, 2, 0).unflatten(2, size) for one, size in zip(feature_maps, tracker.backbone_feature_sizes, strict=True)]
    coarse = coarse.transpose(1, 2).unflatten(2, maps[-1].shape[2:])
    masks, fine_masks, pointers, scores = graphs(partial(_decode_people, tracker), (*maps[:-1], coarse), "decoders")
    memories, memory_position = tracker._encode_new_memory(feature_maps[-1], fine_masks, scores, is_mask_from_pts=False)
    memories = memories.permute(1, 0, 2).contiguous()
    for i, session in enumerate(sessions):
        session.output_dict_per_obj[0]["non_cond_frame_outputs"][frame] = {
            "pred_masks": masks[i : i + 1],
            "object_pointer": pointers[i : i + 1],
            "object_score_logits": scores[i : i + 1],
            "maskmem_features": memories[i][:, None],
            "maskmem_pos_enc": memory_position,
        }
        session.frames_tracked_per_obj[0][frame] = {"reverse": reverse}
    return masks[:, 0].float()


def _memories(tracker: Any, people: Sequence[RememberedFrames]) -> tuple[Tensor, Tensor, int]:
    """What each remembers (b, tokens, c) and its positions, as the tracker's attention reads it, and how many tokens are pointers."""
    features = [out["maskmem_features"] for one in people for _, out in one.memories]
    positions: dict[Any, list[Tensor]] = {}  # Those of most are the same.
    keys = [tuple((offset, out["maskmem_pos_enc"].dtype) for offset, out in one.memories) for one in people]
    for key, one in zip(keys, people, strict=True):
        if key not in positions:
            positions[key] = tracker._build_memory_attention_inputs(one.memories, features[0].device)[1]
    tokens = [torch.cat(features)]
    places = [torch.cat([position for key in keys for position in positions[key]])]
    num_pointer_tokens = 0
    if people[0].pointers:
        pointers = [pointer for one in people for pointer in one.pointers]
        offsets = [offset for one in people for offset in one.pointer_offsets]
        channels = tracker.hidden_dim
        made = tracker._process_object_pointers(offsets, pointers, people[0].max_pointers, 1, channels, features[0].device)
        tokens.append(made[0])
        places.append(made[1])
        num_pointer_tokens = len(made[0]) // len(people)
    memory, position = (
        torch.cat([part.float().view(len(people), -1, part.shape[-1]) for part in parts], dim=1) for parts in (tokens, places)
    )
    return memory, position, num_pointer_tokens


def _decode_people(tracker: Any, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
    """Of each person on a frame without a prompt: mask logits (b, 1, h, w), the same for the memory encoder, the object pointer and its
    score.

    ``coarse`` (b, c, h, w) is the frame as each person's memory shows it; finer maps (1, c, h, w) are the same for all. transformers'
    ``_single_frame_forward`` mixes up the rows of a batch where it chooses among several masks.
    """
    count = len(coarse)
    nowhere = torch.zeros(count, 1, 1, 2, dtype=coarse.dtype, device=coarse.device)
    labels = -torch.ones(count, 1, 1, dtype=torch.int32, device=coarse.device)
    sparse, dense = tracker.prompt_encoder(input_points=nowhere, input_labels=labels, input_boxes=None, input_masks=None)
    masks, ious, tokens, scores = tracker.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=tracker.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=tracker._use_multimask(is_init_cond_frame=False, point_inputs=None),
        high_resolution_features=[fine, middle],
    )
    rows, best = torch.arange(count, device=coarse.device), ious[:, 0].argmax(-1)
    seen = scores > 0  # (b, 1, 1)
    chosen = torch.where(seen[..., None], masks[rows, 0, best][:, None], NO_OBJ_SCORE)
    side = tracker.image_size
    large = interpolate(chosen.float(), (side, side), mode="bilinear", align_corners=False).to(chosen.dtype)
    pointers = tracker.object_pointer_proj(tokens[rows, 0, best][:, None])
    return chosen, large, torch.where(seen, pointers, tracker.no_object_pointer), scores
