"""SAM-3 (Carion et al. 2025) as a segmenter: people found by text, clicks or boxes, and followed both ways through a clip.

First everybody whom a text detects is followed forwards. Then people who are pointed at are followed both ways from where they were, and
people who were detected late back to where they came from, in passes that share each frame's encoding. Frames are streamed; only the
masks' run-length codes are kept.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from body4d.config import ComputeSettings, PeopleSettings, Sam3Settings
from body4d.core.errors import InputError, RunWarning
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.models.sam3.checkpoint import Sam3Weights, load_sam3
from body4d.models.sam3.identity import is_same_person
from body4d.models.sam3.multi_tracker import MultiObjectTracker, Tracklet
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import GroupTracker, ObjectTracker
from body4d.models.sam3.prompts import ObjectPrompt, match_prompt_to_track, parse_prompts
from body4d.models.sam3.propagation import FrameProgress, PromptedObject, Propagator, first_mask
from body4d.models.sam3.streaming import FrameEncoder, MaskEncoder
from body4d.runtime.device import (
    AdaptiveBatcher,
    ahead_of_others,
    allocated_bytes,
    choose_batch_size,
    choose_device,
    choose_dtype,
    free_memory_bytes,
    release_memory,
)
from body4d.runtime.load_ahead import AheadLoader, has_room_ahead
from body4d.runtime.torch_utils import should_compile
from body4d.tracking.main_subject import NOT_PROMPTED, ExclusionReason, SubjectCandidate, choose_subjects, track_warnings
from body4d.tracking.masks import subtract_masks

LoadSam3 = Callable[[torch.device], Sam3Weights]

MaskCodes = dict[int, bytes]
"""A person's run-length codes by frame."""

MAX_BATCH = {"cuda": 8, "mps": 2, "cpu": 1}
"""Frames encoded together at most, by device: more gains no speed, and a CPU is full with one."""

MAX_PEOPLE_TOGETHER = {"cuda": 8}
"""People tracked in one batch at most, by device; elsewhere one by one, since a CPU is full with one."""

COMPILE_MIN_FRAMES = 2000
"""Shorter clips are not compiled for: 8 ms gained per frame pay back the 17 s that compiling takes (H200, empty cache)."""

FALSE_POSITIVE = ExclusionReason("false_positive", "they were found for a moment and not again")


def sam3_from_folder(folder: Path) -> LoadSam3:
    """Loads SAM-3 from a folder when called. Weights are float32, since less loses detections."""
    return lambda device: load_sam3(folder, device)


class Sam3Segmenter:
    """A ``Segmenter``. Weights are loaded by ``load`` when work begins and released when it ends, unless
    ``settings.keep_loaded``."""

    def __init__(self, load: LoadSam3, settings: Sam3Settings, people: PeopleSettings, compute: ComputeSettings) -> None:
        self._load, self._settings, self._people, self._compute = AheadLoader(load), settings, people, compute
        self._kept_weights: Sam3Weights | None = None

    @property
    def cache_inputs(self) -> Any:
        return [self._people.cache_inputs(), self._settings.cache_inputs(), self._compute.cache_inputs()]

    def load_ahead(self, clip: Clip) -> None:
        """Begin to load the weights, on GPUs with room for more than one network."""
        device = choose_device(self._compute)
        if self._kept_weights is None and has_room_ahead(device):
            self._load.begin(device)

    def drop_ahead(self) -> None:
        self._load.drop()

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        """One MaskTrack for each person, those who are prompted for first; none where nobody is found.

        Raises InputError for a prompt outside the clip or one that does not say whom it is for, WeightsError, DeviceError.
        """
        object_prompts, texts = parse_prompts(prompts, frames.clip)
        if not len(frames.clip):
            return StageOutput(())
        device = choose_device(self._compute)
        before = allocated_bytes(device)
        weights = self._kept_weights or self._load(device)
        self._kept_weights = weights if self._settings.keep_loaded else None
        try:
            network = Sam3Network(weights, self._settings.min_detection_score, device, choose_dtype(self._compute, device, torch.bfloat16))
            if should_compile(len(frames.clip), device.type, self._compute.compile, COMPILE_MIN_FRAMES):
                network.compile_encoder()
            segmentation = _ClipSegmentation(network, frames, self._settings, self._people, self._compute, progress)
            with ahead_of_others(device):  # The tracker is a chain of small steps; the encoder fills the device.
                tracks = segmentation.run(object_prompts, texts if prompts else [self._settings.text])
            return StageOutput(tracks, tuple(segmentation.warnings))
        finally:
            del weights
            network = segmentation = None
            release_memory(device, before)


class _ClipSegmentation:
    """The segmentation of one clip. ``warnings`` are complete when ``run`` has returned."""

    def __init__(
        self,
        network: Sam3Network,
        frames: FrameSource,
        settings: Sam3Settings,
        people: PeopleSettings,
        compute: ComputeSettings,
        progress: ProgressFn,
    ) -> None:
        self.warnings: list[RunWarning] = []
        self._network, self._clip, self._settings, self._people = network, frames.clip, settings, people
        clip, device = frames.clip, network.device
        self._size_px = (clip.width_px, clip.height_px)
        frame_bytes = network.bytes_per_frame(clip.height_px, clip.width_px)
        free = free_memory_bytes(device)
        size = choose_batch_size(free, frame_bytes, compute, MAX_BATCH.get(device.type, 1))
        self._batches = AdaptiveBatcher(size, "frames")
        # Frames are encoded while people are tracked in the frames before.
        together = choose_batch_size(
            free - size * frame_bytes, network.bytes_per_person(), compute, MAX_PEOPLE_TOGETHER.get(device.type, 1)
        )
        self._group = GroupTracker(network, AdaptiveBatcher(together, "people"))
        self._encoder = FrameEncoder(network, frames, self._batches, settings.detect_every_frames)
        self._progress = FrameProgress(progress)
        self._propagator = Propagator(network, clip, self._encoder, self._group, self._progress)

    def run(self, prompts: Sequence[ObjectPrompt], texts: Sequence[str]) -> tuple[MaskTrack, ...]:
        """Everybody who is prompted for, in that order, then those whom ``texts`` find, main person first."""
        all_texts = list(dict.fromkeys([*texts, *(text for prompt in prompts for text in prompt.texts)]))
        tracker, detected = self._track_detected(all_texts)
        fitting = {t.obj_id for t in tracker.tracklets if any(t.text_hits[all_texts.index(text)] for text in texts)}
        chosen, left_out = self._choose(tracker, detected, fitting) if texts else ([], [])
        left_out += [(obj_id, FALSE_POSITIVE) for obj_id in tracker.false_positives]
        matches = self._match_prompts(prompts, tracker, detected, chosen, all_texts)
        prompted = {obj_id for obj_id in matches if obj_id is not None}
        others = [obj_id for obj_id in chosen if obj_id not in prompted]
        if prompts and not texts:
            left_out += [(obj_id, NOT_PROMPTED) for obj_id in detected if obj_id not in prompted]
        prompted_tracks, earlier = self._propagate(prompts, matches, others, detected)
        others = [o for o in others if not any(is_same_person(detected[o], track) for track in prompted_tracks.values())]
        tracks = self._resolve_overlaps(prompts, prompted_tracks, {o: detected[o] for o in others}, earlier)
        self._add_warnings(tracks, prompts, texts, left_out, tracker)
        return tuple(tracks)

    def _track_detected(self, texts: Sequence[str]) -> tuple[MultiObjectTracker, dict[int, MaskTrack]]:
        """Everybody whom any of the texts detects, followed forwards, by object id."""
        tracker = MultiObjectTracker(self._network, self._clip, self._settings, self._group)
        if not texts:
            return tracker, {}
        features = [self._network.encode_text(text) for text in texts]
        self._progress.plan(len(self._clip))
        with MaskEncoder(self._size_px) as masks:
            dropped = 0
            for batch in self._encoder.stream(0, len(self._clip), texts=features):
                for frame in batch:
                    masks.add(frame.frame, tracker.track_frame(frame))
                    self._progress.step()
                masks.flush()
                for obj_id in tracker.false_positives[dropped:]:
                    masks.drop(obj_id)
                dropped = len(tracker.false_positives)
            masks.finish()
        for tracklet in tracker.tracklets:
            tracklet.tracker = None
        codes = masks.codes
        return tracker, {t.obj_id: self._mask_track(t.obj_id, codes[t.obj_id]) for t in tracker.tracklets if codes.get(t.obj_id)}

    def _choose(
        self, tracker: MultiObjectTracker, detected: dict[int, MaskTrack], fitting: set[int]
    ) -> tuple[list[int], list[tuple[int, ExclusionReason]]]:
        """The object ids of the main people, the first one first, and why others are left out."""
        tracklets = [t for t in tracker.tracklets if t.obj_id in detected and t.obj_id in fitting]
        candidates = [_candidate(detected[t.obj_id], t) for t in tracklets]
        choice = choose_subjects(candidates, self._clip.times_s, self._size_px, self._people, self._clip.shot_index)
        return [tracklets[i].obj_id for i in choice.chosen], [(tracklets[i].obj_id, reason) for i, reason in choice.left_out]

    def _match_prompts(
        self,
        prompts: Sequence[ObjectPrompt],
        tracker: MultiObjectTracker,
        detected: dict[int, MaskTrack],
        chosen: Sequence[int],
        texts: Sequence[str],
    ) -> list[int | None]:
        """The object id of the detected person whom each prompt is for, each person once; None for somebody else.

        Raises InputError for a prompt that does not say whom it is for.
        """
        matches: list[int | None] = []
        for prompt in prompts:
            fitting = [
                t for t in tracker.tracklets if t.obj_id in detected and any(t.text_hits[texts.index(text)] for text in prompt.texts)
            ]
            fitting.sort(key=lambda t: (-t.mean_score * len(detected[t.obj_id]), t.obj_id))
            candidates = [o for o in ([t.obj_id for t in fitting] if prompt.texts else chosen) if o not in matches]
            index = match_prompt_to_track(prompt, [detected[o] for o in candidates]) if prompt.frame_prompts else None
            if index is None and prompt.texts and prompt.start_frame is None and candidates:
                index = 0
            matches.append(candidates[index] if index is not None else None)
            if matches[-1] is None and prompt.start_frame is None and prompt.frame_prompts:
                frame = next(iter(prompt.frame_prompts))
                raise InputError(
                    f"Person {prompt.person_id} has only clicks that say where they are not (frame {frame}).",
                    code="prompt_only_negative",
                    hint="Click on the person once, draw a box, or name them by a text.",
                    person=prompt.person_id,
                    frame=frame,
                )
        return matches

    def _propagate(
        self, prompts: Sequence[ObjectPrompt], matches: Sequence[int | None], others: Sequence[int], detected: dict[int, MaskTrack]
    ) -> tuple[dict[int, MaskTrack], dict[int, MaskCodes]]:
        """The tracks of prompted people by the prompt's index, and codes of ``others``, by object id, before they were first detected."""
        objects: dict[int, PromptedObject] = {}
        tracks: dict[int, MaskTrack] = {}
        for index, (prompt, obj_id) in enumerate(zip(prompts, matches, strict=True)):
            if obj_id is not None and not prompt.frame_prompts:
                tracks[index] = detected[obj_id]
                others = [*others, obj_id]
            elif prompt.frame_prompts:
                objects[index] = self._prompted_object(prompt, detected[obj_id] if obj_id is not None else None)
        late = {len(prompts) + o: o for o in others if detected[o].frame_index[0] > 0}
        codes = self._propagator.run(objects, {key: detected[o] for key, o in late.items()})
        tracks |= {index: self._mask_track(index, codes.get(index, {})) for index in objects}
        earlier = {obj_id: codes[key] for key, obj_id in late.items() if codes.get(key)}
        for index, obj_id in enumerate(matches):
            if obj_id is not None and index in tracks and index not in objects:
                tracks[index] = self._mask_track(obj_id, {**_codes_of(tracks[index]), **earlier.pop(obj_id, {})})
        return tracks, earlier

    def _prompted_object(self, prompt: ObjectPrompt, detected: MaskTrack | None) -> PromptedObject:
        """A person to follow by clicks and boxes; where these correct a detected person, from the first mask of that one."""
        initial_mask = first_mask(detected) if detected is not None else None
        start_frame = initial_mask[0] if initial_mask is not None else prompt.start_frame
        assert start_frame is not None  # _match_prompts has refused prompts that do not say whom they are for.
        tracker = ObjectTracker(self._network, self._size_px, len(self._clip), prompt.frame_prompts, initial_mask)
        return PromptedObject(tracker, start_frame, tuple(prompt.frame_prompts))

    def _resolve_overlaps(
        self,
        prompts: Sequence[ObjectPrompt],
        prompted: dict[int, MaskTrack],
        others: dict[int, MaskTrack],
        earlier: dict[int, MaskCodes],
    ) -> list[MaskTrack]:
        """Final tracks with their person ids. Where passes made apart claim one pixel twice, prompted people have it first, and people
        before they were first detected have it last."""
        shape = (self._size_px[1], self._size_px[0])
        prompted_codes = [_codes_of(track) for track in prompted.values()]
        other_codes = [_codes_of(track) for track in others.values()]
        for codes in other_codes:
            _subtract(codes, prompted_codes, shape)
        for obj_id, codes in earlier.items():
            if obj_id in others:
                _subtract(codes, [*prompted_codes, *other_codes], shape)
        asked_ids = {prompt.person_id for prompt in prompts if prompt.person_id is not None}
        free_ids = iter(n for n in range(1, len(prompts) + len(others) + len(asked_ids) + 2) if n not in asked_ids)
        tracks = []
        for index, prompt in enumerate(prompts):
            if index in prompted and len(prompted[index]):
                person_id = prompt.person_id if prompt.person_id is not None else next(free_ids)
                tracks.append(self._mask_track(person_id, _codes_of(prompted[index])))
        for obj_id, codes in zip(others, other_codes, strict=True):
            all_codes = {**earlier.get(obj_id, {}), **codes}
            if all_codes:
                tracks.append(self._mask_track(next(free_ids), all_codes))
        return tracks

    def _mask_track(self, person_id: int, codes: MaskCodes) -> MaskTrack:
        order = sorted(codes)
        return MaskTrack(person_id, np.array(order, np.int64), tuple(codes[i] for i in order), self._size_px[1], self._size_px[0])

    def _add_warnings(
        self,
        tracks: Sequence[MaskTrack],
        prompts: Sequence[ObjectPrompt],
        texts: Sequence[str],
        left_out: Sequence[tuple[int, ExclusionReason]],
        tracker: MultiObjectTracker,
    ) -> None:
        followed = {track.person_id for track in tracks}
        for prompt in prompts:
            if prompt.person_id is not None and prompt.person_id not in followed:
                how = f"found by {prompt.texts[0]!r}" if prompt.texts else f"followed from frame {prompt.start_frame}"
                message = f"Person {prompt.person_id} could not be {how}."
                facts = {"person": prompt.person_id}
                self.warnings.append(RunWarning("prompt_found_nobody", message, "Give another click or a box.", facts))
        if texts and not tracker.tracklets and tracks:
            self.warnings.append(RunWarning("text_found_nobody", f"Nobody was found by the text {texts[0]!r}.", facts={"text": texts[0]}))
        self.warnings += track_warnings([(t.person_id, t.frame_index) for t in tracks], left_out, self._clip.times_s)
        if tracker.track_limit_reached:
            limit = self._settings.max_people
            message = f"More than {limit} people are in the picture; later ones were not followed."
            self.warnings.append(RunWarning("too_many_people", message, facts={"limit": limit}))
        self.warnings += [batches.warning for batches in (self._batches, self._group.batches) if batches.warning]


def _candidate(track: MaskTrack, tracklet: Tracklet) -> SubjectCandidate:
    boxes = track.boxes_px()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return SubjectCandidate(track.frame_index, centres, boxes[:, 3] - boxes[:, 1], np.full(len(track), tracklet.mean_score))


def _codes_of(track: MaskTrack) -> MaskCodes:
    return dict(zip(track.frame_index.tolist(), track.codes, strict=True))


def _subtract(codes: MaskCodes, others: Sequence[MaskCodes], shape: tuple[int, int]) -> None:
    """Take the pixels of others out of a person's masks; a mask of which nothing is left is dropped."""
    empty = MaskTrack.encode(np.zeros(shape, bool))
    for frame in list(codes):
        overlapping = [other[frame] for other in others if frame in other]
        if overlapping:
            codes[frame] = subtract_masks(codes[frame], overlapping, shape)
            if codes[frame] == empty:
                del codes[frame]
