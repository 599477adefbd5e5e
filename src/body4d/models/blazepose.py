"""Preset lite's segmenter: people found and followed with BlazePose, a mask and 33 landmarks for each on every frame seen."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from body4d.config import BlazePoseSettings, PeopleSettings
from body4d.errors import InputError, NoPersonError, SettingsError
from body4d.models.blazepose_graph import AlignmentFilter, PoseGraphs, Region, Sighting
from body4d.models.protocols import FrameSource, Report
from body4d.scene import LandmarkTrack, MaskTrack, Prompt
from body4d.tracks.association import (
    BODY_JOINTS,
    Expected,
    Look,
    associate,
    body_samples,
    colour_look,
    distinct,
    front,
    likeness,
    settle,
    shared_area,
)
from body4d.tracks.selection import NOT_PROMPTED, Candidate, Choice, choose, notes, pick

Array = NDArray[Any]


@dataclass
class _Person:
    """Someone being followed. ``frames`` and the lists beside it grow by one on every frame seen."""

    number: int
    region: Region
    look: Look
    since_s: float
    seen_s: float
    filter: AlignmentFilter = field(default_factory=AlignmentFilter)
    recent: deque[tuple[float, Array]] = field(default_factory=deque)
    frames: list[int] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    rows: list[Sighting] = field(default_factory=list)

    def velocity_px_per_s(self) -> Array:
        """Slope of the torso's place over the last moments (2,)."""
        if len(self.recent) < 3:
            return np.zeros(2)
        times = np.array([t for t, _ in self.recent])
        places = np.array([p for _, p in self.recent])
        away = times - times.mean()
        return (away[:, None] * (places - places.mean(axis=0))).sum(axis=0) / max(float((away**2).sum()), 1e-9)

    def expected(self, now_s: float, settings: BlazePoseSettings) -> Expected:
        unseen = now_s - self.seen_s
        believed_s = settings.velocity_fades_s * (1 - np.exp(-unseen / settings.velocity_fades_s))
        return Expected(self.look, self.velocity_px_per_s() * believed_s, unseen)

    def candidate(self) -> Candidate:
        points = np.array([row.points_px[BODY_JOINTS] for row in self.rows])
        visibility = np.array([row.visibility[BODY_JOINTS].mean() for row in self.rows])
        heights = np.linalg.norm(np.ptp(points, axis=1), axis=1)
        return Candidate(np.array(self.frames), points.mean(axis=1), heights, visibility)


class BlazePoseSegmenter:
    """Finds everybody who can be found by tiles, then follows each by the region of their own landmarks (protocols.Segmenter)."""

    def __init__(self, settings: BlazePoseSettings, people: PeopleSettings) -> None:
        self._settings = settings
        self._people = people
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], report: Report) -> tuple[MaskTrack, ...]:
        """One MaskTrack with landmarks for each person gone on with, main person first; see protocols.Segmenter.

        Raises SettingsError for a text prompt, InputError for a prompt that points at nobody, NoPersonError where nobody is seen,
        MissingDependencyError without mediapipe.
        """
        self._notes = ()
        clip = frames.clip
        _check_prompts(prompts, len(clip))
        with PoseGraphs(self._settings.lanes) as graphs:
            follower = Follower(graphs, self._settings, frozenset(p.frame for p in prompts))
            for done, (index, rgb) in enumerate(frames.read()):
                follower.step(index, float(clip.times_s[index]), rgb)
                report(done + 1, len(clip))
        people = follower.people
        size = (clip.width_px, clip.height_px)
        if prompts:
            return self._prompted(people, prompts, clip.times_s, size)
        choice = choose([p.candidate() for p in people], clip.times_s, size, self._people)
        if not choice.chosen:
            raise NoPersonError(_nobody(len(clip), choice))
        tracks = tuple(_mask_track([people[c]], i + 1, size) for i, c in enumerate(choice.chosen))
        self._tell(tracks, choice.left_out, clip.times_s, follower.crowded)
        return tracks

    def _prompted(self, people: list[_Person], prompts: Sequence[Prompt], times_s: Array, size: tuple[int, int]) -> tuple[MaskTrack, ...]:
        """Tracks of those pointed at, in the prompts' order; prompts with one ``person_id`` join what they point at into one person."""
        groups: dict[int, list[_Person]] = {}
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
        left_out = [(p.number, NOT_PROMPTED) for p in people if all(p not in members for members in groups.values())]
        self._tell(tracks, left_out, times_s, False)
        return tracks

    def _tell(self, tracks: Sequence[MaskTrack], left_out: Sequence[tuple[int, str]], times_s: Array, crowded: bool) -> None:
        told = notes([(t.person_id, t.frame_index) for t in tracks], left_out, times_s)
        if crowded:
            told = (*told, f"More than {self._settings.most_people} people are in the picture; only the largest were followed.")
        self._notes = told


class Follower:
    """Follows everybody through frames given in order. ``people`` is everybody ever followed, in order of discovery."""

    def __init__(self, graphs: PoseGraphs, settings: BlazePoseSettings, search_frames: frozenset[int] = frozenset()) -> None:
        self.people: list[_Person] = []
        self.crowded = False
        self._graphs = graphs
        self._settings = settings
        self._search_frames = search_frames
        self._searched_s = self._checked_s = -np.inf
        self._last_s: float | None = None

    def step(self, index: int, now_s: float, rgb: Array) -> None:
        """Look at one frame: where everybody should be, and now and then at the whole picture."""
        s = self._settings
        step_s = now_s - self._last_s if self._last_s is not None else 1 / 30
        alive = [p for p in self.people if now_s - p.seen_s <= s.reidentify_s + step_s]
        expected = [p.expected(now_s, s) for p in alive]
        regions = [
            p.region if p.seen_s == self._last_s else p.region.shifted(e.shift_px)
            for p, e in zip(alive, expected, strict=True)
            if p.seen_s == self._last_s or now_s - p.seen_s <= s.guess_s
        ]
        followed = len(regions)
        regions += self._search(index, now_s, rgb, alive, expected, regions)
        sightings = self._graphs.landmarks(rgb, regions)
        found = [(g, r >= followed) for r, g in enumerate(sightings) if g is not None and _usable(g, rgb.shape, s)]
        looks = [_look(g, rgb) for g, _ in found]
        kept = self._distinct(found, looks, alive, expected)
        found, looks = [found[k] for k in kept], [looks[k] for k in kept]
        pairs = {look: person for person, look in associate(expected, looks, s)}
        masks = _settled(found, looks, rgb.shape[:2], s)
        for i, ((sighting, new), look) in enumerate(zip(found, looks, strict=True)):
            if i in pairs:
                person = alive[pairs[i]]
            elif new and look.sureness >= s.first_visibility:
                if sum(p.seen_s == now_s or p.seen_s == self._last_s for p in alive) >= s.most_people:
                    self.crowded = True
                    continue
                person = _Person(len(self.people), Region.from_alignment(sighting.alignment_px), look, now_s, now_s)
                self.people.append(person)
            else:
                continue
            self._remember(person, sighting, look, masks[i], index, now_s, step_s)
        self._last_s = now_s

    def _search(
        self, index: int, now_s: float, rgb: Array, alive: list[_Person], expected: list[Expected], regions: list[Region]
    ) -> list[Region]:
        """Regions where somebody may stand who is not followed yet: everywhere when it is time, else where someone is lost or in doubt."""
        s = self._settings
        height, width = rgb.shape[:2]
        if now_s - self._searched_s >= s.detect_every_s or index in self._search_frames or self._last_s is None:
            self._searched_s = self._checked_s = now_s
            where = tiles(width, height, s)
        elif now_s - self._checked_s >= s.check_every_s:
            self._checked_s = now_s
            moved = [p.region.shifted(e.shift_px) for p, e in zip(alive, expected, strict=True)]
            doubted = [
                r
                for i, (p, r) in enumerate(zip(alive, moved, strict=True))
                if p.seen_s != self._last_s or any(_near(r, o, s) for k, o in enumerate(moved) if k != i)
            ]
            where = list(dict.fromkeys(t for r in doubted for t in _around(r, width, height, s)))
        else:
            return []
        found: list[Region] = []
        for region in sorted(self._graphs.detect(rgb, where), key=lambda r: -r.score):
            if not any(_same(region, other, s) for other in (*regions, *found)):
                found.append(region)
        # Several finds may be of one person: look at more than there is room for, the largest first.
        return sorted(found, key=lambda r: -r.side_px)[: 2 * s.most_people]

    def _distinct(self, found: list[tuple[Sighting, bool]], looks: list[Look], alive: list[_Person], expected: list[Expected]) -> list[int]:
        """One sighting per person, those preferred that carry on the track of someone long followed, then the surer ones."""
        s = self._settings
        masks = [g.strength > 0.5 for g, _ in found]
        shared = np.zeros((len(found), len(found)))
        for i in range(len(found)):
            for k in range(i + 1):
                shared[i, k] = shared[k, i] = shared_area(masks[i], found[i][0].box_px, masks[k], found[k][0].box_px)
        grown = [min(1.0, (p.seen_s - p.since_s) / s.grown_s) for p in alive]
        worth = [
            look.sureness + max((g * likeness(e, look, s) for e, g in zip(expected, grown, strict=True)), default=0.0) for look in looks
        ]
        order = sorted(range(len(found)), key=lambda i: (-worth[i], i))
        return distinct(looks, shared, order, [new for _, new in found], s)

    def _remember(self, person: _Person, sighting: Sighting, look: Look, mask: Array, index: int, now_s: float, step_s: float) -> None:
        s = self._settings
        if person.seen_s != self._last_s:  # new, or back after an absence: the filter's past is no longer true
            person.filter = AlignmentFilter()
            person.recent.clear()
        person.region = Region.from_alignment(person.filter(sighting.alignment_px, step_s))
        colour = look.colour if not person.frames else (1 - s.colour_memory) * person.look.colour + s.colour_memory * look.colour
        person.look = Look(look.points_px, look.visibility, look.size_px, colour)
        person.seen_s = now_s
        person.recent.append((now_s, look.centre_px))
        while now_s - person.recent[0][0] > s.velocity_window_s:
            person.recent.popleft()
        person.frames.append(index)
        person.codes.append(MaskTrack.encode(mask))
        person.rows.append(sighting.without_mask())


def tiles(width_px: int, height_px: int, settings: BlazePoseSettings) -> list[tuple[int, int, int, int]]:
    """Search tiles (x0, y0, x1, y1): the whole picture, then overlapping squares of each size, evenly spread from rim to rim."""
    found = [(0, 0, width_px, height_px)]
    for share in settings.tile_shares:
        side = round(share * min(width_px, height_px))
        if side < settings.least_tile_px:
            continue
        for y in _starts(height_px, side, settings.tile_overlap):
            for x in _starts(width_px, side, settings.tile_overlap):
                found.append((x, y, x + side, y + side))
    return list(dict.fromkeys(found))


def _starts(length: int, side: int, overlap: float) -> Iterator[int]:
    count = 1 + int(np.ceil((length - side) / (side * (1 - overlap)))) if length > side else 1
    return (round(k * (length - side) / max(count - 1, 1)) for k in range(count))


def _same(a: Region, b: Region, settings: BlazePoseSettings) -> bool:
    large, small = max(a.side_px, b.side_px), max(min(a.side_px, b.side_px), 1e-6)
    near = np.hypot(a.x_px - b.x_px, a.y_px - b.y_px) < settings.region_same_share * small
    return bool(near) and large / small < settings.region_same_ratio


def _near(a: Region, b: Region, settings: BlazePoseSettings) -> bool:
    return bool(np.hypot(a.x_px - b.x_px, a.y_px - b.y_px) < settings.near_share * max(a.side_px, b.side_px))


def _around(region: Region, width_px: int, height_px: int, settings: BlazePoseSettings) -> Iterator[tuple[int, int, int, int]]:
    """Tiles around a region: as large as it, and half as large again in case the person has moved on."""
    for factor in (1.0, 1.5):
        half = region.side_px / 2 * factor
        x0, y0 = max(0, int(region.x_px - half)), max(0, int(region.y_px - half))
        x1, y1 = min(width_px, int(region.x_px + half)), min(height_px, int(region.y_px + half))
        if min(x1 - x0, y1 - y0) >= settings.least_tile_px:
            yield x0, y0, x1, y1


def _usable(sighting: Sighting, shape: tuple[int, ...], settings: BlazePoseSettings) -> bool:
    """Whether these landmarks can be followed: somebody is seen, inside the picture, of a size that makes sense."""
    height, width = shape[:2]
    region = Region.from_alignment(sighting.alignment_px)
    inside = 0 <= region.x_px < width and 0 <= region.y_px < height
    sized = 4 <= region.side_px <= settings.region_most_share * max(width, height)
    sure = float(sighting.visibility[BODY_JOINTS].mean()) >= settings.keep_visibility
    return inside and sized and sure and bool((sighting.strength > 0.5).any())


def _look(sighting: Sighting, rgb: Array) -> Look:
    """Joints, size and colours of a sighting."""
    places, above = body_samples(sighting.points_px)
    x0, y0, x1, y1 = sighting.box_px
    x, y = np.floor(places).astype(int).T
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    x, y, above = x[inside], y[inside], above[inside]
    colour = colour_look(rgb[y, x], sighting.strength[y - y0, x - x0], above)
    size_px = float(2 * np.linalg.norm(sighting.alignment_px[1] - sighting.alignment_px[0]))
    return Look(sighting.points_px, sighting.visibility, size_px, colour)


def _settled(found: list[tuple[Sighting, bool]], looks: list[Look], shape: tuple[int, ...], settings: BlazePoseSettings) -> list[Array]:
    owners = [(g.strength > 0.5, g.box_px) for g, _ in found]
    fronts = [front(look, i, owners) for i, look in enumerate(looks)]
    return settle([g.strength for g, _ in found], [g.box_px for g, _ in found], fronts, (shape[0], shape[1]), settings)


def _mask_track(people: Sequence[_Person], number: int, size: tuple[int, int]) -> MaskTrack:
    """One track of one person, or of stretches of one person that prompts joined; where they share a frame the first counts."""
    rows: dict[int, tuple[bytes, Sighting]] = {}
    for person in people:
        for frame, code, row in zip(person.frames, person.codes, person.rows, strict=True):
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


def _pointed_at(people: list[_Person], prompt: Prompt, size: tuple[int, int]) -> _Person:
    seen = [(p, p.frames.index(prompt.frame)) for p in people if prompt.frame in p.frames]
    if seen:
        tracks = MaskTrack(0, np.arange(len(seen)), tuple(p.codes[row] for p, row in seen), size[1], size[0])
        masks = [tracks.mask(i) for i in range(len(seen))]
        chosen = pick(masks, tracks.boxes_px(), prompt.points_px, prompt.labels, prompt.box_px)
        if chosen is not None:
            return seen[chosen][0]
    raise InputError(
        f"The prompt on frame {prompt.frame} points at nobody who could be found ({len(seen)} people were found there); "
        "click on the middle of a person's body, or choose a frame where the whole body is seen."
    )


def _nobody(frames: int, choice: Choice) -> str:
    seen = f"no person was found in its {frames} frames"
    if choice.left_out:
        reasons = ", ".join(dict.fromkeys(reason for _, reason in choice.left_out))
        seen = f"nobody in its {frames} frames could be followed ({reasons})"
    return f"The clip was read to its end and {seen}; use one in which a whole, upright body is seen at some size."
