"""One person followed by SAM-3's tracker through frames given in either direction, with a memory that does not grow.

transformers' session keeps everything of every frame and asks for the whole clip. Here a session of one person knows the clip's length,
is given each frame's features, and forgets what the tracker does not read again. Each person has a session of their own: people do not
influence each other in the tracker, and leave it when they will.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn.functional import interpolate

from body4d.models.sam3.network import Sam3Network, TrackerFeatures
from body4d.models.sam3.prompts import FramePrompt
from body4d.models.sam3.transformers_compat import (
    RememberedFrames,
    StreamingSession,
    previous_mask_logits,
    remembered_frames,
    track_people,
)
from body4d.runtime.device import AdaptiveBatcher

_OBJ_ID = 1

MAX_PROMPT_LOGIT = 32.0
"""Published: mask logits that are shown to the network beside new clicks are clamped to this."""


class ObjectTracker:
    """Follows one person, by prompts on frames or from an initial mask.

    ``prompts`` are the user's by frame; ``initial_mask`` is (frame, mask in [0, 1]). Frames that the user or the detector gave are
    *conditioning frames*: they stay in memory, and the tracker reads them on every other frame.
    """

    def __init__(
        self,
        network: Sam3Network,
        size_px: tuple[int, int],
        num_frames: int,
        prompts: dict[int, FramePrompt] | None = None,
        initial_mask: tuple[int, Real[np.ndarray, "h w"]] | None = None,
    ) -> None:
        self._network, self._tracker, self._size_px = network, network.tracker, size_px
        self._prompts, self._initial_mask = dict(prompts or {}), initial_mask
        self._session = StreamingSession(
            num_frames,
            video_height=size_px[1],
            video_width=size_px[0],
            inference_device=network.device,
            inference_state_device=network.device,
            video_storage_device=network.device,
            dtype=torch.float32,
        )
        self._index = self._session.obj_id_to_idx(_OBJ_ID)

    @property
    def conditioning_frames(self) -> tuple[int, ...]:
        return tuple(self._outputs["cond_frame_outputs"])

    @property
    def _outputs(self) -> dict[str, dict[int, dict[str, Tensor]]]:
        return self._session.output_dict_per_obj[self._index]

    @torch.inference_mode()
    def track_frame(self, frame: int, features: TrackerFeatures, *, reverse: bool = False) -> Float[Tensor, "h w"]:
        """Mask logits on this frame, positive on the person; far below zero everywhere where the person is not seen.

        Frames are given one after another. A frame with a prompt follows the prompt and becomes a conditioning frame.
        """
        with self._session.vision_features(frame, features.feature_maps, features.position_encoding), self._network.autocast():
            logits = self._predict(frame, reverse)
        self._forget(frame, reverse)
        return logits.float()[0, 0]

    def remembered(self, frame: int, reverse: bool) -> RememberedFrames | None:
        """What is read of the person's past on ``frame``; None where a prompt or a conditioning frame says where the person is."""
        outputs = self._outputs["cond_frame_outputs"]
        starts_here = self._initial_mask is not None and frame == self._initial_mask[0]
        if not outputs or frame in outputs or frame in self._prompts or starts_here:
            return None
        return remembered_frames(self._tracker, self._session, frame, reverse)

    def _predict(self, frame: int, reverse: bool) -> Tensor:
        outputs = self._outputs
        if frame in outputs["cond_frame_outputs"]:
            return self._run(frame, reverse)
        if self._initial_mask is not None and frame == self._initial_mask[0]:
            return self._start_from_mask(frame, self._initial_mask[1])
        prompt = self._prompts.get(frame)
        if prompt is None:
            return self._run(frame, reverse)
        if not outputs["cond_frame_outputs"]:
            self._add_prompt(frame, prompt)
            return self._run(frame, reverse)
        return self._correct(frame, prompt, reverse)

    def reinit_from_mask(self, frame: int, mask: Real[np.ndarray, "h w"]) -> None:
        """Take this mask for the person's the next time that ``frame`` is tracked, also if it has been tracked before."""
        self._initial_mask = (frame, mask)

    def _start_from_mask(self, frame: int, mask: np.ndarray) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(mask, np.float32)).to(self._network.device)[None, None]
        side = self._network.image_size_px
        if tuple(values.shape[-2:]) != self._network.mask_size:
            values = (interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True) >= 0.5).float()
        self._outputs["non_cond_frame_outputs"].pop(frame, None)
        self._session.frames_tracked_per_obj[self._index].pop(frame, None)
        self._session.add_mask_inputs(self._index, frame, values)
        self._session.obj_with_new_inputs = [_OBJ_ID]
        logits = self._run(frame, False)
        self._session.remove_mask_inputs(self._index, frame)
        return logits

    def _add_prompt(self, frame: int, prompt: FramePrompt) -> None:
        points, labels = prompt.point_inputs()
        device, side = self._network.device, self._network.image_size_px
        scaled = points * np.array([side / self._size_px[0], side / self._size_px[1]])
        inputs = {
            "point_coords": torch.from_numpy(scaled.astype(np.float32)).to(device)[None, None],
            "point_labels": torch.from_numpy(labels.astype(np.int32)).to(device)[None, None],
        }
        self._session.add_point_inputs(self._index, frame, inputs)
        self._session.obj_with_new_inputs = [_OBJ_ID]

    def _correct(self, frame: int, prompt: FramePrompt, reverse: bool) -> Tensor:
        """Track this frame, then correct the mask by the prompt. As in the published code, the network is shown the mask beside the clicks,
        and the result becomes a conditioning frame; what transformers keeps of a correction, the next pass overwrites."""
        before = self._run(frame, reverse).clamp(-MAX_PROMPT_LOGIT, MAX_PROMPT_LOGIT)
        self._add_prompt(frame, prompt)
        with previous_mask_logits(self._tracker, before):
            after = self._run(frame, reverse)
        self.add_conditioning_frame(frame)
        return after

    def _run(self, frame: int, reverse: bool) -> Tensor:
        return self._tracker(self._session, frame_idx=frame, reverse=reverse).pred_masks

    @torch.inference_mode()
    def add_conditioning_frame(self, frame: int) -> None:
        """Make a conditioning frame of the frame tracked last."""
        outputs = self._outputs
        if frame in outputs["non_cond_frame_outputs"]:
            # Copies: people tracked in one batch share memory, which would be kept as long as one of them keeps the frame.
            kept = {name: value.clone() for name, value in outputs["non_cond_frame_outputs"].pop(frame).items()}
            outputs["cond_frame_outputs"][frame] = kept
            self._session.frames_tracked_per_obj[self._index].pop(frame, None)

    def trim_conditioning_frames(self, max_frames: int) -> None:
        """Forget conditioning frames between the first and the last few: the tracker would read the pointers of all of them."""
        conditioning = self._outputs["cond_frame_outputs"]
        for frame in sorted(conditioning)[1 : 1 - max_frames] if len(conditioning) > max_frames else ():
            del conditioning[frame]

    def clear_memory(self) -> None:
        """Forget all tracked frames but the conditioning frames, before another pass."""
        self._outputs["non_cond_frame_outputs"].clear()
        self._session.frames_tracked_per_obj[self._index].clear()
        self._session.point_inputs_per_obj[self._index].clear()

    def _forget(self, frame: int, reverse: bool) -> None:
        """Drop what the tracker does not read again: object pointers reach 15 frames back, mask memories six."""
        outputs = self._outputs
        max_pointers, max_memories = int(self._tracker.config.max_object_pointers_in_encoder), int(self._tracker.num_maskmem) - 1
        tracked = outputs["non_cond_frame_outputs"]
        for past in list(tracked):
            age = past - frame if reverse else frame - past
            tracked[past].pop("high_res_masks", None)
            if age > 0:
                tracked[past].pop("pred_masks", None)
            if age >= max_memories:
                tracked[past].pop("maskmem_features", None)
                tracked[past].pop("maskmem_pos_enc", None)
            if age >= max_pointers or age < 0:
                del tracked[past]
                self._session.frames_tracked_per_obj[self._index].pop(past, None)
        for conditioning in outputs["cond_frame_outputs"].values():
            conditioning.pop("high_res_masks", None)


class GroupTracker:
    """Tracks the people of a frame: in batches those who remember as many frames, each of the others alone. ``batches``: people at once."""

    def __init__(self, network: Sam3Network, batches: AdaptiveBatcher) -> None:
        self._network, self.batches = network, batches

    def track_frame(
        self, trackers: Sequence[ObjectTracker], frame: int, features: TrackerFeatures, *, reverse: bool = False
    ) -> list[Float[Tensor, "h w"]]:
        """What ``ObjectTracker.track_frame`` says of each."""
        remembered = [one.remembered(frame, reverse) if min(len(trackers), self.batches.size) > 1 else None for one in trackers]
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, past in enumerate(remembered):
            groups.setdefault((i,) if past is None else past.size, []).append(i)
        logits: dict[int, Tensor] = {}

        def track(group: Sequence[int]) -> None:
            if len(group) == 1:
                logits[group[0]] = trackers[group[0]].track_frame(frame, features, reverse=reverse)
                return
            pasts = [past for i in group if (past := remembered[i]) is not None]
            logits.update(zip(group, self._track_together([trackers[i] for i in group], pasts, frame, features, reverse), strict=True))

        for group in groups.values():
            self.batches.run(len(group), lambda rows, group=group: track(group[rows]))
        return [logits[i] for i in range(len(trackers))]

    @torch.inference_mode()
    def _track_together(
        self, trackers: Sequence[ObjectTracker], pasts: Sequence[RememberedFrames], frame: int, features: TrackerFeatures, reverse: bool
    ) -> Float[Tensor, "b h w"]:
        network, sessions = self._network, [one._session for one in trackers]
        maps, position = features.feature_maps, features.position_encoding
        with network.autocast():
            logits = track_people(network.tracker, network.cuda_graphs, sessions, pasts, frame, maps, position, reverse)
        for one in trackers:
            one._forget(frame, reverse)
        return logits
