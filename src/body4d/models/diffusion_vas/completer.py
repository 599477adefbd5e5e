"""Diffusion-VAS (Chen et al. 2024) in the seat of the Completer: whoever may be hidden is looked at, whoever is gets completed.

Four steps, each only for what the one before left over: masks alone tell who may be hidden; the amodal pipeline paints their whole
outlines; rules on outlines confirm who is; the completion pipeline paints those. Where nobody may be hidden, no network is loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas.amodal_checks import Judged, judge, largest_piece
from body4d.models.diffusion_vas.candidates import Span, runs, spans_to_look_at
from body4d.models.diffusion_vas.crops import Look, cut_from, grouped, look_at
from body4d.models.diffusion_vas.depth import depth_in
from body4d.models.diffusion_vas.pipeline import Painter, painter_in
from body4d.models.diffusion_vas.windows import foretold, looked_at, widened, windows_of, windows_through
from body4d.runtime.device import choose_batch_size, choose_device, choose_dtype, free_memory_bytes, release_memory


class DepthFinder(Protocol):
    """A network that tells how near each place of a picture is."""

    def nearness(self, pictures: Sequence[np.ndarray]) -> Tensor: ...

    def bytes_each(self, height_px: int, width_px: int) -> int: ...


@dataclass(frozen=True)
class Loads:
    """How the networks are loaded: depth, whole outlines, completed pictures."""

    depth: Callable[[torch.device, torch.dtype], DepthFinder]
    amodal: Callable[[torch.device, torch.dtype], Painter]
    content: Callable[[torch.device, torch.dtype], Painter]


@dataclass(frozen=True)
class _Found:
    """A look with its whole outlines (F, h, w), eight pixels to a byte, and what they say."""

    look: Look
    outlines: np.ndarray
    judged: Judged

    def masks(self) -> np.ndarray:
        return np.unpackbits(self.outlines, axis=-1).astype(bool)


class VasCompleter:
    """A :class:`~body4d.core.stages.AmodalCompleter`. Networks are loaded when they are needed and let go when done."""

    def __init__(self, loads: Loads, settings: OcclusionSettings, compute: ComputeSettings) -> None:
        self._loads, self._settings, self._compute = loads, settings, compute
        self._warnings: tuple[RunWarning, ...] = ()
        self._decided: tuple[Sequence[MaskTrack], tuple[Span, ...]] | None = None

    @property
    def cache_inputs(self) -> Any:
        return [self._settings.cache_inputs(), self._compute.model_dump(mode="json", include={"device", "precision"})]

    def estimate_cost(self, clip: Clip, masks: Sequence[MaskTrack]) -> RunWarning | None:
        """What ``complete`` examines and how long that is expected to take, None where nothing; loads no network."""
        spans = self._spans(clip, masks)
        if not spans:
            return None
        message = foretold(spans, [len(track) for track in masks], _name(choose_device(self._compute)), self._settings)
        return RunWarning("occlusion_cost", message)

    def _spans(self, clip: Clip, masks: Sequence[MaskTrack]) -> tuple[Span, ...]:
        """Where somebody may be hidden; decided once for the same masks."""
        if self._decided is None or self._decided[0] is not masks:
            self._decided = masks, spans_to_look_at(masks, clip.times_s, self._settings)
        return self._decided[1]

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn) -> StageOutput[tuple[OcclusionSegment, ...]]:
        """Stretches on which somebody is hidden, by person, then in time. Raises WeightsError, DeviceError."""
        self._warnings = ()
        settings, rows = self._settings, [len(track) for track in masks]
        spans = self._spans(frames.clip, masks)
        if not spans:
            return StageOutput(())
        looks = [look_at(span, masks[span.person], settings) for span in looked_at(spans, rows, settings)]
        # Completing costs as much again at most; how much, the outlines will tell.
        steps = _Progress(progress, len(windows_through(spans, rows, settings)), settings.steps)
        device = choose_device(self._compute)
        dtype = choose_dtype(self._compute, device)
        found = self._outlined(frames, looks, device, dtype, steps)
        hidden = [one for one in found if one.judged.hidden.any()]
        steps.then(sum(len(windows_of(len(p.span), settings.window_frames, settings.overlap_frames)) for p, _ in self._parts(hidden)))
        out = self._completed(frames, hidden, device, dtype, steps) if hidden else ()
        steps.end()
        segments = tuple(sorted(out, key=lambda s: ([t.person_id for t in masks].index(s.person_id), int(s.frame_index[0]))))
        return StageOutput(segments, self._warnings)

    def _outlined(
        self, frames: FrameSource, looks: Sequence[Look], device: torch.device, dtype: torch.dtype, progress: "_Progress"
    ) -> list[_Found]:
        depth, painter = self._loads.depth(device, dtype), self._loads.amodal(device, dtype)
        try:
            clip = frames.clip
            at_once = choose_batch_size(free_memory_bytes(device), depth.bytes_each(clip.height_px, clip.width_px), self._compute, 8)
            out = []
            for group in grouped(looks, self._settings.group_frames):
                cuts = cut_from(frames, group, at_once, depth.nearness)
                seen = [look.seen() for look in group]
                first = torch.cat([_three(torch.from_numpy(masks)) for masks in seen])
                second = torch.cat([_near_to_far(torch.stack(cut.nearness)) for cut in cuts])
                painted = self._paint(painter, first, second, group, progress)
                for look, own, picture in zip(group, seen, painted, strict=True):
                    out.append(self._judged(look, own, picture))
            return out
        finally:
            self._warnings = (*self._warnings, *painter.warnings)
            del depth, painter
            release_memory()

    def _judged(self, look: Look, seen: np.ndarray, painted: Tensor) -> _Found:
        """Whole outlines of what was painted (F, 3, h, w); where they are not believed, what is seen."""
        outlines = np.stack([largest_piece(mask) for mask in (painted.mean(1) > self._settings.mask_least).numpy()])
        box, (width, height) = look.box_px.astype(float), look.size
        scale = (box[2:] - box[:2]) / [width, height]
        size = float(look.track.width_px), float(look.track.height_px)
        judged = judge(seen, outlines, size, look.usual_px, scale, box[:2], self._settings)
        believed = np.array([fault == "" for fault in judged.faults])[:, None, None]
        return _Found(look, np.packbits((outlines & believed) | seen, axis=-1), judged)

    def _parts(self, found: Sequence[_Found]) -> list[tuple[Look, _Found]]:
        """What goes to completion: hidden rows with as much around them as a window holds."""
        out = []
        for one in found:
            count = len(one.look.span)
            spans = [Span(0, first, last) for first, last in runs(one.judged.hidden, self._settings)]
            wide = [widened(span, self._settings.window_frames, 0, count) for span in spans]
            joined: list[Span] = []
            for span in wide:
                if joined and span.first < joined[-1].last:
                    span = Span(0, joined.pop().first, span.last)
                joined.append(span)
            out += [(one.look.part(span.first, span.last), one) for span in joined]
        return out

    def _completed(
        self, frames: FrameSource, found: Sequence[_Found], device: torch.device, dtype: torch.dtype, progress: "_Progress"
    ) -> list[OcclusionSegment]:
        painter = self._loads.content(device, dtype)
        try:
            parts = self._parts(found)
            whole = {id(look): one for look, one in parts}
            out: list[OcclusionSegment] = []
            for group in grouped([look for look, _ in parts], self._settings.group_frames):
                cuts = cut_from(frames, group, 8)
                ones = [whole[id(look)] for look in group]
                outlines = [
                    one.masks()[look.span.first - one.look.span.first :][: len(look.span)] for look, one in zip(group, ones, strict=True)
                ]
                first = torch.cat([_on_white(torch.stack(cut.pictures), look.seen()) for cut, look in zip(cuts, group, strict=True)])
                second = torch.cat([_three(torch.from_numpy(masks)) for masks in outlines])
                painted = self._paint(painter, first, second, group, progress)
                for look, one, masks, picture in zip(group, ones, outlines, painted, strict=True):
                    out += self._stretches(look, one, masks, picture)
            return out
        finally:
            self._warnings = tuple({w.text: w for w in (*self._warnings, *painter.warnings)}.values())
            del painter
            release_memory()

    def _stretches(self, look: Look, one: _Found, outlines: np.ndarray, painted: Tensor) -> list[OcclusionSegment]:
        offset = look.span.first - one.look.span.first
        rows = slice(offset, offset + len(look.span))
        hidden, share = one.judged.hidden[rows], one.judged.visible_share[rows]
        codes = look.codes(outlines)
        pictures = (painted * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        return [
            OcclusionSegment(
                person_id=look.track.person_id,
                frame_index=look.frame_index[a:b],
                hidden=hidden[a:b],
                visible_share=share[a:b].astype(np.float32),
                codes=codes[a:b],
                height_px=look.track.height_px,
                width_px=look.track.width_px,
                box_px=look.box_px,
                pictures=pictures[a:b],
            )
            for a, b in runs(hidden, self._settings)
        ]

    def _paint(self, painter: Painter, first: Tensor, second: Tensor, group: Sequence[Look], progress: "_Progress") -> list[Tensor]:
        """Painted pictures of each look of a group."""
        counts = [len(look.span) for look in group]
        painted = painter.paint(first, second, [key for look in group for key in look.keys], counts, progress.step)
        return list(painted.split(counts))


class _Progress:
    """Steps of denoising that windows have gone through, of a total that is known in two parts."""

    def __init__(self, report: ProgressFn, windows: int, steps: int) -> None:
        self._report, self._steps, self._done, self._total = report, steps, 0, 2 * windows * steps
        report(0, self._total)

    def step(self, windows: int) -> None:
        """``windows`` windows have gone through a step."""
        self._done += windows
        self._report(min(self._done, self._total), self._total)

    def then(self, windows: int) -> None:
        """What is left is ``windows`` windows."""
        self._total = self._done + windows * self._steps

    def end(self) -> None:
        self._report(self._total, self._total)


def _three(masks: Tensor) -> Tensor:
    """Masks (F, h, w) bool as pictures (F, 3, h, w), −1 outside and 1 inside."""
    return (masks.float() * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def _near_to_far(nearness: Tensor) -> Tensor:
    """Nearness (F, h, w) of one video as pictures in [-1, 1]."""
    low, high = nearness.min(), nearness.max()
    return ((nearness - low) / (high - low).clamp_min(1e-8) * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def _on_white(pictures: Tensor, seen: np.ndarray) -> Tensor:
    """Pictures (F, 3, h, w) uint8 in [-1, 1], white where the person is not seen."""
    return torch.where(torch.from_numpy(seen)[:, None], pictures.float() / 127.5 - 1, torch.ones(()))


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this {device.type}"


def vas_in(amodal: Path, content: Path, depth: Path, settings: OcclusionSettings, compute: ComputeSettings) -> Loads:
    """The networks in their checkpoints' folders; WeightsError where one is missing is raised at once, before any work."""
    swapped = settings.upstream_exact
    return Loads(depth_in(depth, swapped=swapped), painter_in(amodal, 0, settings, compute), painter_in(content, 1, settings, compute))
