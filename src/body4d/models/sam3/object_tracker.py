"""One person followed by SAM-3's tracker through frames given in either direction, with a memory that does not grow.

transformers' session keeps everything of every frame and asks for the whole clip. Here a session of one person is told the clip's length,
is given each frame's features and forgets what the tracker will not look at again. One session for each person: people do not touch each
other in the tracker, and leave it when they will.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from body4d.models.sam3.network import Features, Sam3Network

_BOX_CORNERS = (2, 3)
"""Labels that make two points the corners of a box."""
_PERSON = 1
_LOGIT_MOST = 32.0
"""Mask logits shown again to the network beside new clicks are cut here, as in the published code."""


@dataclass(frozen=True)
class Asked:
    """What a user says of one person on one frame: ``points_px`` (P, 2), ``labels`` (P,) 1 inside / 0 outside, a box (4,) or None."""

    points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    box_px: np.ndarray | None = None

    @property
    def says_where(self) -> bool:
        """Whether somebody can be found by this alone: a box, or a click inside."""
        return self.box_px is not None or bool(np.any(self.labels > 0))

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 2) and labels (N,) as the network takes them: corners of the box first."""
        points, labels = self.points_px.reshape(-1, 2), np.where(self.labels > 0, 1, 0)
        if self.box_px is not None:
            points = np.concatenate([self.box_px.reshape(2, 2), points])
            labels = np.concatenate([_BOX_CORNERS, labels])
        return points, labels


class Session(Sam3TrackerVideoInferenceSession):
    """A session that holds no frame: it knows how many there are."""

    def __init__(self, frames: int, **about: Any) -> None:
        super().__init__(**about)
        self._frames = frames

    @property
    def num_frames(self) -> int:
        return self._frames

    def get_frame(self, frame_idx: int) -> Tensor:
        raise AssertionError(f"frame {frame_idx} was to be encoded twice")


class Followed:
    """Somebody the tracker follows. ``asked`` are the user's words by frame, ``start`` a mask (frame, (h, w) in [0, 1]) to begin with."""

    def __init__(
        self,
        network: Sam3Network,
        size_px: tuple[int, int],
        frames: int,
        asked: dict[int, Asked] | None = None,
        start: tuple[int, np.ndarray] | None = None,
    ) -> None:
        self._network, self._tracker, self._size_px = network, network.tracker, size_px
        self._asked, self._start = dict(asked or {}), start
        self._session = Session(
            frames,
            video_height=size_px[1],
            video_width=size_px[0],
            inference_device=network.device,
            inference_state_device=network.device,
            video_storage_device=network.device,
            dtype=torch.float32,
        )
        self._index = self._session.obj_id_to_idx(_PERSON)

    @property
    def firm_frames(self) -> tuple[int, ...]:
        """Frames of the firm memory: what the user or the detector said."""
        return tuple(self._outputs["cond_frame_outputs"])

    @property
    def _outputs(self) -> dict[str, dict[int, dict[str, Tensor]]]:
        return self._session.output_dict_per_obj[self._index]

    @torch.inference_mode()
    def visit(self, frame: int, features: Features, *, reverse: bool = False) -> Tensor:
        """Mask logits (h, w) on this frame, positive inside; far below zero everywhere where the person is not seen.

        Frames are visited one after another; on those with something asked, it is obeyed and becomes firm memory.
        """
        self._session.cache._vision_features = {frame: {"vision_feats": list(features.maps), "vision_pos_embeds": [features.places]}}
        try:
            with self._network.autocast():
                logits = self._logits(frame, reverse)
        finally:
            self._session.cache.clear_all()
        self._forget(frame, reverse)
        return logits.float()[0, 0]

    def _logits(self, frame: int, reverse: bool) -> Tensor:
        outputs = self._outputs
        if frame in outputs["cond_frame_outputs"]:
            return self._run(frame, reverse)
        if self._start is not None and frame == self._start[0]:
            return self._begin(frame, self._start[1])
        asked = self._asked.get(frame)
        if asked is None:
            return self._run(frame, reverse)
        if not outputs["cond_frame_outputs"]:
            self._tell(frame, asked)
            return self._run(frame, reverse)
        return self._correct(frame, asked, reverse)

    def begin_again(self, frame: int, mask: np.ndarray) -> None:
        """On the coming visit of ``frame``, also a second one, take this mask (h, w) for the person's."""
        self._start = (frame, mask)

    def _begin(self, frame: int, mask: np.ndarray) -> Tensor:
        """Start from a mask as it is."""
        there = torch.from_numpy(np.ascontiguousarray(mask, np.float32)).to(self._network.device)[None, None]
        side = self._network.side_px
        if tuple(there.shape[-2:]) != self._network.cells:
            there = (interpolate(there, (side, side), mode="bilinear", align_corners=False, antialias=True) >= 0.5).float()
        self._outputs["non_cond_frame_outputs"].pop(frame, None)
        self._session.frames_tracked_per_obj[self._index].pop(frame, None)
        self._session.add_mask_inputs(self._index, frame, there)
        self._session.obj_with_new_inputs = [_PERSON]
        out = self._run(frame, False)
        self._session.remove_mask_inputs(self._index, frame)
        return out

    def _tell(self, frame: int, asked: Asked) -> None:
        points, labels = asked.tokens()
        device, side = self._network.device, self._network.side_px
        scaled = points * np.array([side / self._size_px[0], side / self._size_px[1]])
        told = {
            "point_coords": torch.from_numpy(scaled.astype(np.float32)).to(device)[None, None],
            "point_labels": torch.from_numpy(labels.astype(np.int32)).to(device)[None, None],
        }
        self._session.add_point_inputs(self._index, frame, told)
        self._session.obj_with_new_inputs = [_PERSON]

    def _correct(self, frame: int, asked: Asked, reverse: bool) -> Tensor:
        """Follow to this frame, then obey in the light of the mask found: what transformers keeps of a correction the next pass overwrites,
        so it is made firm memory here, and the mask is shown again beside the clicks, both as in the published code."""
        before = self._run(frame, reverse).clamp(-_LOGIT_MOST, _LOGIT_MOST)
        self._tell(frame, asked)
        plain = self._tracker._run_single_frame_inference
        self._tracker._run_single_frame_inference = partial(plain, prev_sam_mask_logits=before)
        try:
            after = self._run(frame, reverse)
        finally:
            del self._tracker._run_single_frame_inference
        self.make_firm(frame)
        return after

    def _run(self, frame: int, reverse: bool) -> Tensor:
        return self._tracker(self._session, frame_idx=frame, reverse=reverse).pred_masks

    def make_firm(self, frame: int) -> None:
        """Keep what was seen on the frame just visited as firm memory."""
        outputs = self._outputs
        if frame in outputs["non_cond_frame_outputs"]:
            outputs["cond_frame_outputs"][frame] = outputs["non_cond_frame_outputs"].pop(frame)
            self._session.frames_tracked_per_obj[self._index].pop(frame, None)

    def keep_firm(self, most: int) -> None:
        """Forget firm memories between the first and the last few: pointers of all would be looked at, more with every minute."""
        firm = self._outputs["cond_frame_outputs"]
        for frame in sorted(firm)[1 : 1 - most] if len(firm) > most else ():
            del firm[frame]

    def turn(self) -> None:
        """Forget what was followed, before another pass; firm memory stays."""
        self._outputs["non_cond_frame_outputs"].clear()
        self._session.frames_tracked_per_obj[self._index].clear()
        self._session.point_inputs_per_obj[self._index].clear()

    def _forget(self, frame: int, reverse: bool) -> None:
        """Drop what the tracker will not look at again: pointers reach 15 frames back, masks' memories six."""
        outputs = self._outputs
        pointers, memories = int(self._tracker.config.max_object_pointers_in_encoder), int(self._tracker.num_maskmem) - 1
        followed = outputs["non_cond_frame_outputs"]
        for seen in list(followed):
            age = seen - frame if reverse else frame - seen
            followed[seen].pop("high_res_masks", None)
            if age > 0:
                followed[seen].pop("pred_masks", None)
            if age >= memories:
                followed[seen].pop("maskmem_features", None)
                followed[seen].pop("maskmem_pos_enc", None)
            if age >= pointers or age < 0:
                del followed[seen]
                self._session.frames_tracked_per_obj[self._index].pop(seen, None)
        for firm in outputs["cond_frame_outputs"].values():
            firm.pop("high_res_masks", None)
