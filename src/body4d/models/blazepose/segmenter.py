"""The segmenter of preset lite: people found and followed with BlazePose, with a mask and 33 landmarks on every frame seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from body4d.config import BlazePoseSettings, PeopleSettings
from body4d.core.errors import InputError, NoPersonError, RunWarning, SettingsError
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import LandmarkTrack, MaskTrack, Prompt
from body4d.models.blazepose.mediapipe_graph import PoseDetection, PoseGraphs
from body4d.models.blazepose.tracker import PoseTrack, PoseTracker
from body4d.tracking.main_subject import NOT_PROMPTED, SubjectChoice, choose_subjects, select_prompted_mask, track_warnings


class BlazePoseSegmenter:
    """Finds everybody who can be found by tiles, then follows each by the region of their own landmarks (protocols.Segmenter)."""

    def __init__(self, settings: BlazePoseSettings, people: PeopleSettings) -> None:
        self._settings = settings
        self._people = people

    @property
    def cache_inputs(self) -> Any:
        return [self._people.cache_inputs(), self._settings.cache_inputs()]

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        """One MaskTrack with landmarks for each person gone on with, main person first; see protocols.Segmenter.

        Raises SettingsError for a text prompt, InputError for a prompt that points at nobody, NoPersonError where nobody is seen,
        MissingDependencyError without mediapipe.
        """
        clip = frames.clip
        _check_prompts(prompts, len(clip))
        with PoseGraphs(self._settings.num_workers) as graphs:
            tracker = PoseTracker(graphs, self._settings, frozenset(p.frame for p in prompts))
            for done, (index, rgb) in enumerate(frames.read()):
                tracker.step(index, float(clip.times_s[index]), rgb)
                progress(done + 1, len(clip))
        people = tracker.tracks
        size = (clip.width_px, clip.height_px)
        if prompts:
            return self._prompted(people, prompts, clip.times_s, size)
        choice = choose_subjects([p.candidate() for p in people], clip.times_s, size, self._people)
        if not choice.chosen:
            raise NoPersonError(_nobody(len(clip), choice))
        tracks = tuple(_mask_track([people[c]], i + 1, size) for i, c in enumerate(choice.chosen))
        return self._output(tracks, choice.left_out, clip.times_s, tracker.track_limit_reached)

    def _prompted(
        self, people: list[PoseTrack], prompts: Sequence[Prompt], times_s: np.ndarray, size: tuple[int, int]
    ) -> StageOutput[tuple[MaskTrack, ...]]:
        """Tracks of those pointed at, in the prompts' order; prompts with one ``person_id`` join what they point at into one person."""
        groups: dict[int, list[PoseTrack]] = {}
        taken = {p.person_id for p in prompts if p.person_id is not None}
        for prompt in prompts:
            person = _pointed_at(people, prompt, size)
            owner = next((g for g, members in groups.items() if person in members), None)
            wanted = prompt.person_id
            if wanted is None:
                wanted = owner if owner is not None else next(i for i in range(1, len(prompts) + 2) if i not in taken and i not in groups)
            elif owner is not None and owner != wanted:
                raise InputError(
                    f"The prompts for persons {owner} and {wanted} point at one and the same person (frame {prompt.frame}); "
                    "give each person a click or a box of their own."
                )
            if person not in groups.setdefault(wanted, []):
                groups[wanted].append(person)
        tracks = tuple(_mask_track(members, number, size) for number, members in groups.items())
        left_out = [(p.index, NOT_PROMPTED) for p in people if all(p not in members for members in groups.values())]
        return self._output(tracks, left_out, times_s, False)

    def _output(
        self, tracks: tuple[MaskTrack, ...], left_out: Sequence[tuple[int, str]], times_s: np.ndarray, crowded: bool
    ) -> StageOutput[tuple[MaskTrack, ...]]:
        warnings = track_warnings([(t.person_id, t.frame_index) for t in tracks], left_out, times_s)
        if crowded:
            limit = self._settings.max_people
            message = f"More than {limit} people are in the picture; only the largest were tracked."
            warnings = (*warnings, RunWarning("too_many_people", message, facts={"limit": limit}))
        return StageOutput(tracks, warnings)


def _mask_track(people: Sequence[PoseTrack], number: int, size: tuple[int, int]) -> MaskTrack:
    """One track of one person, or of stretches of one person that prompts joined; where they share a frame the first counts."""
    rows: dict[int, tuple[bytes, PoseDetection]] = {}
    for person in people:
        for frame, code, row in zip(person.frames, person.mask_codes, person.poses, strict=True):
            rows.setdefault(frame, (code, row))
    index = sorted(rows)
    seen = [rows[i][1] for i in index]
    landmarks = LandmarkTrack(
        points_px=np.array([g.points_px for g in seen]),
        depth_px=np.array([g.depth_px for g in seen]),
        world_m=np.array([g.world_m for g in seen]),
        visibility=np.array([g.visibility for g in seen]),
    )
    return MaskTrack(number, np.array(index, np.int64), tuple(rows[i][0] for i in index), size[1], size[0], landmarks)


def _check_prompts(prompts: Sequence[Prompt], frames: int) -> None:
    for prompt in prompts:
        if prompt.text and prompt.points_px is None and prompt.box_px is None:
            raise SettingsError(f"The lite preset takes clicks and boxes only, found the text {prompt.text!r}; use --preset sam for text.")
        if not 0 <= prompt.frame < frames:
            raise InputError(f"A prompt is for frame {prompt.frame}, and the clip has frames 0 to {frames - 1}.")


def _pointed_at(people: list[PoseTrack], prompt: Prompt, size: tuple[int, int]) -> PoseTrack:
    seen = [(p, p.frames.index(prompt.frame)) for p in people if prompt.frame in p.frames]
    if seen:
        tracks = MaskTrack(0, np.arange(len(seen)), tuple(p.mask_codes[row] for p, row in seen), size[1], size[0])
        masks = [tracks.mask(i) for i in range(len(seen))]
        chosen = select_prompted_mask(masks, tracks.boxes_px(), prompt.points_px, prompt.labels, prompt.box_px)
        if chosen is not None:
            return seen[chosen][0]
    raise InputError(
        f"The prompt on frame {prompt.frame} points at nobody who could be found (people found there: {len(seen)}); "
        "click on the middle of a person's body, or choose a frame where the whole body is seen."
    )


def _nobody(frames: int, choice: SubjectChoice) -> str:
    count = "1 frame" if frames == 1 else f"{frames} frames"
    seen = f"no person was found in its {count}"
    if choice.left_out:
        reasons = ", ".join(dict.fromkeys(reason for _, reason in choice.left_out))
        seen = f"nobody in its {count} could be followed ({reasons})"
    return f"The clip was read to its end and {seen}; use one in which a whole, upright body is seen at some size."
