"""What makes SAM-3 fast on CUDA and changes no result: weights cast once, small steps recorded, the next frames encoded meanwhile.

The tracker is a chain of a thousand small steps for each person and frame, which take longer to launch than to do. Recorded as CUDA
graphs, a launch is one call. Encoding is a few large steps: a thread with a stream of its own does the next batch while the tracker works
on this one.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from body4d.runtime.cuda_graphs import CudaGraphRecorder

Item = TypeVar("Item")

RECORD_AFTER = 8
"""Shapes are recorded when met this often: while a memory fills, each frame has its own, and recording takes as long as ten frames."""
MAX_GRAPHS = 12
"""CUDA graphs kept: three kinds of steps, and a few sizes of memory."""

_CAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_FOUND = ("iou_scores", "pred_masks", "high_res_masks", "object_pointer", "object_score_logits")
"""What the tracker reads of a decoding."""


def cast_once(model: Any, dtype: torch.dtype) -> None:
    """Keep in ``dtype`` the weights that autocast would cast on every call, so that it need not: the very same products.

    Texts are encoded without autocast and keep theirs.
    """
    detector = model.detector_model
    kept = {id(m) for part in (detector.text_encoder, detector.text_projection) for m in part.modules()}
    for module in model.modules():
        if isinstance(module, _CAST) and id(module) not in kept:
            module.to(dtype)


def record_tracker(tracker: Any) -> CudaGraphRecorder:
    """Have the tracker's three chains of small steps recorded: memory attention, mask decoder without prompts, memory encoder."""
    graphs = CudaGraphRecorder("SAM-3's tracker", max_graphs=MAX_GRAPHS, record_after=RECORD_AFTER)
    attend, encode = type(tracker.memory_attention).forward, type(tracker.memory_encoder).forward
    decode = type(tracker)._single_frame_forward

    def attention(
        current_vision_features: Tensor,
        memory: Tensor,
        current_vision_position_embeddings: Tensor,
        memory_posision_embeddings: Tensor,  # sic
        num_object_pointer_tokens: int = 0,
    ) -> Tensor:
        def steps(now: Tensor, memory: Tensor, places: Tensor, memory_places: Tensor) -> tuple[Tensor, ...]:
            return (attend(tracker.memory_attention, now, memory, places, memory_places, num_object_pointer_tokens),)

        given = (current_vision_features, memory, current_vision_position_embeddings, memory_posision_embeddings)
        return graphs(steps, given, ("attention", num_object_pointer_tokens))[0]

    def decoder(**asked: Any) -> Any:
        maps, several = asked.pop("image_embeddings"), asked.pop("multimask_output", True)
        if any(value is not None for value in asked.values()):
            return decode(tracker, image_embeddings=maps, multimask_output=several, **asked)

        def steps(*maps: Tensor) -> tuple[Tensor, ...]:
            out = decode(tracker, image_embeddings=list(maps), multimask_output=several)
            return tuple(getattr(out, name) for name in _FOUND)

        return SimpleNamespace(**dict(zip(_FOUND, graphs(steps, tuple(maps), ("decoder", several)), strict=True)))

    def memory(vision_features: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return graphs(lambda *given: encode(tracker.memory_encoder, *given), (vision_features, masks), "memory")

    tracker.memory_attention.forward, tracker.memory_encoder.forward = attention, memory
    tracker._single_frame_forward = decoder
    return graphs


def one_ahead(items: Iterator[Item], device: torch.device, tensors: Callable[[Item], Iterator[Tensor]]) -> Iterator[Item]:
    """``items``, the next one made while one is used: on CUDA in a thread with a stream of its own, elsewhere not ahead at all.

    ``tensors`` of an item are what its user's stream waits for.
    """
    if device.type != "cuda":
        yield from items
        return
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))

    def make() -> tuple[Item | None, Any]:
        with torch.cuda.stream(aside):
            return next(items, None), aside.record_event()

    with ThreadPoolExecutor(1, thread_name_prefix="body4d-encode") as ahead:
        try:
            coming = ahead.submit(make)
            while True:
                item, made = coming.result()
                if item is None:
                    return
                coming = ahead.submit(make)
                here = torch.cuda.current_stream(device)
                here.wait_event(made)
                with torch.inference_mode():  # They may be tensors of it, which are touched nowhere else.
                    for tensor in tensors(item):
                        tensor.record_stream(here)
                yield item
        finally:
            ahead.shutdown()
            close = getattr(items, "close", None)
            if close is not None:
                close()
