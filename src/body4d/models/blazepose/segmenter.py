"""The segmenter of preset lite: people found and followed with BlazePose, with a mask and 33 landmarks on every frame seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from body4d.config import BlazePoseSettings, PeopleSettings
from body4d.core.errors import InputError, NoPersonError, RunWarning, SettingsError
from body4d.core.joints import Hand21
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import HandTrack, LandmarkTrack, MaskTrack, Prompt
from body4d.models.blazepose.hands import Hands
from body4d.models.blazepose.landmarks import PoseDetection
from body4d.models.blazepose.model_files import BlazePoseModels
from body4d.models.blazepose.networks import PoseNetworks
from body4d.models.blazepose.tracker import PoseTrack, PoseTracker
from body4d.tracking.main_subject import (
    NOT_PROMPTED,
    SubjectChoice,
    choose_subjects,
    require_prompt_in_clip,
    select_prompted_mask,
    track_warnings,
)


class BlazePoseSegmenter:
    """A ``Segmenter``: people are searched for in tiles and followed by the regions of their own landmarks."""

    def __init__(self, settings: BlazePoseSettings, people: PeopleSettings, models: BlazePoseModels) -> None:
        self._settings = settings
        self._people = people
        self._models = models

    @property
    def cache_inputs(self) -> Any:
        # Which landmark model was taken counts, not how it was chosen: after ``auto`` took heavy, asking for heavy does nothing again.
        settings = {name: value for name, value in self._settings.cache_inputs().items() if name != "landmarks"}
        return [self._people.cache_inputs(), settings, self._models.landmark_model, bool(self._models.hands)]

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        """One MaskTrack with landmarks for each person, main person first.

        Raises SettingsError for a text prompt, InputError for a prompt that points at nobody, NoPersonError where nobody is found,
        MissingDependencyError without LiteRT, WeightsError for a model file that cannot be read.
        """
        clip = frames.clip
        _check_prompts(prompts, len(clip))
        with PoseNetworks(self._models, self._settings.num_workers) as networks:
            cuts = frozenset(clip.cuts.tolist())
            tracker = PoseTracker(networks, self._settings, frozenset(prompt.frame for prompt in prompts))
            for done, (frame, rgb) in enumerate(frames.read()):
                tracker.step(frame, float(clip.times_s[frame]), rgb, frame in cuts)
                progress(done + 1, len(clip))
        size = (clip.width_px, clip.height_px)
        if prompts:
            people = _prompted_people(tracker.tracks, prompts, size)
            joined = [track for tracks in people.values() for track in tracks]
            left_out = [(track.index, NOT_PROMPTED) for track in tracker.tracks if all(track is not other for other in joined)]
        else:
            choice = choose_subjects([track.candidate() for track in tracker.tracks], clip.times_s, size, self._people, clip.shot_index)
            if not choice.chosen:
                raise _no_person(len(clip), choice)
            people = {i + 1: [tracker.tracks[c]] for i, c in enumerate(choice.chosen)}
            left_out = list(choice.left_out)
        with_hands = self._models.hands is not None
        masks = tuple(_mask_track(tracks, person_id, size, with_hands) for person_id, tracks in people.items())
        warnings = track_warnings([(mask.person_id, mask.frame_index) for mask in masks], left_out, clip.times_s)
        if tracker.track_limit_reached and not prompts:
            limit = self._settings.max_people
            message = f"More than {limit} people are in the picture; only the largest were tracked."
            warnings = (*warnings, RunWarning("too_many_people", message, facts={"limit": limit}))
        return StageOutput(masks, warnings)


def _prompted_people(tracks: list[PoseTrack], prompts: Sequence[Prompt], size: tuple[int, int]) -> dict[int, list[PoseTrack]]:
    """Tracks of each person pointed at, in the prompts' order; prompts with one ``person_id`` join their tracks into one person."""
    people: dict[int, list[PoseTrack]] = {}
    given_ids = {prompt.person_id for prompt in prompts if prompt.person_id is not None}
    for prompt in prompts:
        track = _prompted_track(tracks, prompt, size)
        earlier_id = next((i for i, members in people.items() if any(track is member for member in members)), None)
        person_id = prompt.person_id
        if person_id is None:
            free_ids = (i for i in range(1, len(prompts) + 2) if i not in given_ids and i not in people)
            person_id = earlier_id if earlier_id is not None else next(free_ids)
        elif earlier_id is not None and earlier_id != person_id:
            raise InputError(
                f"The prompts for persons {earlier_id} and {person_id} point at one and the same person (frame {prompt.frame}).",
                code="prompts_of_one_person",
                hint="Give each person a click or a box of their own.",
                persons=[earlier_id, person_id],
                frame=prompt.frame,
            )
        if all(track is not member for member in people.setdefault(person_id, [])):
            people[person_id].append(track)
    return people


def _prompted_track(tracks: list[PoseTrack], prompt: Prompt, size: tuple[int, int]) -> PoseTrack:
    """The track at which a prompt points. Raises InputError where it points at nobody."""
    visible = [(track, track.frames.index(prompt.frame)) for track in tracks if prompt.frame in track.frames]
    if visible:
        codes = tuple(track.mask_codes[row] for track, row in visible)
        together = MaskTrack(0, np.arange(len(visible)), codes, size[1], size[0])
        masks = [together.mask(i) for i in range(len(visible))]
        chosen = select_prompted_mask(masks, together.boxes_px(), prompt.points_px, prompt.labels, prompt.box_px)
        if chosen is not None:
            return visible[chosen][0]
    raise InputError(
        f"The prompt on frame {prompt.frame} points at nobody who could be found (people found there: {len(visible)}).",
        code="prompt_points_at_nobody",
        hint="Click on the middle of a person's body, or choose a frame where the whole body is seen.",
        frame=prompt.frame,
        people=len(visible),
    )


def _mask_track(tracks: Sequence[PoseTrack], person_id: int, size: tuple[int, int], with_hands: bool) -> MaskTrack:
    """The tracks of one person, joined; where two of them share a frame, the first counts."""
    rows: dict[int, tuple[bytes, PoseDetection, Hands]] = {}
    for track in tracks:
        for frame, code, pose, hands in zip(track.frames, track.mask_codes, track.poses, track.hands, strict=True):
            rows.setdefault(frame, (code, pose, hands))
    frames = sorted(rows)
    poses = [rows[frame][1] for frame in frames]
    landmarks = LandmarkTrack(
        points_px=np.array([pose.points_px for pose in poses]),
        depth_px=np.array([pose.depth_px for pose in poses]),
        world_m=np.array([pose.world_m for pose in poses]),
        visibility=np.array([pose.visibility for pose in poses]),
        hands=_hand_track([rows[frame][2] for frame in frames]) if with_hands else None,
    )
    return MaskTrack(person_id, np.array(frames, np.int64), tuple(rows[frame][0] for frame in frames), size[1], size[0], landmarks)


def _hand_track(hands: Sequence[Hands]) -> HandTrack:
    """Both hands on each frame, as float32: they are half of what is kept of a person."""
    t = len(hands)
    points, world = np.full((t, 2, len(Hand21), 2), np.nan, np.float32), np.full((t, 2, len(Hand21), 3), np.nan, np.float32)
    score, right = np.zeros((t, 2), np.float32), np.full((t, 2), np.nan, np.float32)
    for row, pair in enumerate(hands):
        for side, hand in enumerate(pair):
            if hand is not None:
                points[row, side], world[row, side] = hand.points_px, hand.world_m
                score[row, side], right[row, side] = hand.score, hand.right_probability
    return HandTrack(points, world, score, right)


def _check_prompts(prompts: Sequence[Prompt], num_frames: int) -> None:
    for prompt in prompts:
        if prompt.text and prompt.points_px is None and prompt.box_px is None:
            raise SettingsError(
                f"Preset lite takes clicks and boxes only, and the prompt is the text {prompt.text!r}.",
                code="text_prompt_needs_sam",
                hint="Use --preset sam for text.",
                text=prompt.text,
            )
        require_prompt_in_clip(prompt, num_frames)


def _no_person(num_frames: int, choice: SubjectChoice) -> NoPersonError:
    frames = "1 frame" if num_frames == 1 else f"{num_frames} frames"
    found = f"no person was found in its {frames}"
    reasons = list(dict.fromkeys(reason for _, reason in choice.left_out))
    if reasons:
        found = f"nobody in its {frames} could be followed ({', '.join(reason.clause for reason in reasons)})"
    return NoPersonError(
        f"The clip was read to its end and {found}.",
        hint="Use a clip in which a whole, upright body is seen at some size.",
        num_frames=num_frames,
        reasons=[reason.code for reason in reasons],
    )
