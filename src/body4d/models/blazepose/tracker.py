"""Everybody in the picture, followed from frame to frame: BlazePose's sightings given to people by :mod:`body4d.tracking.association`."""

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from body4d.config import BlazePoseSettings
from body4d.core.types import MaskTrack
from body4d.models.blazepose.mediapipe_graph import PoseGraphs, Sighting
from body4d.models.blazepose.roi import AlignmentFilter, Region, around, near, same, tiles
from body4d.tracking.association import (
    BODY_JOINTS,
    Expected,
    Look,
    agreement,
    assign,
    body_samples,
    colour_histogram,
    distinct,
    front,
    likeness,
    settle,
    shared_area,
)
from body4d.tracking.main_subject import SubjectCandidate


@dataclass
class Person:
    """Someone being followed. ``frames`` and the lists beside it grow by one on every frame seen."""

    number: int
    region: Region
    look: Look
    since_s: float
    seen_s: float
    filter: AlignmentFilter = field(default_factory=AlignmentFilter)
    recent: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    frames: list[int] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    rows: list[Sighting] = field(default_factory=list)

    def velocity_px_per_s(self) -> np.ndarray:
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

    def candidate(self) -> SubjectCandidate:
        points = np.array([row.points_px[BODY_JOINTS] for row in self.rows])
        visibility = np.array([row.visibility[BODY_JOINTS].mean() for row in self.rows])
        heights = np.linalg.norm(np.ptp(points, axis=1), axis=1)
        return SubjectCandidate(np.array(self.frames), points.mean(axis=1), heights, visibility)


@dataclass(frozen=True)
class _Seen:
    """A sighting with what it tells of its person.

    ``new``: found by a search, not in the region of somebody followed. ``firm``: carries on the track of somebody with nobody near, and
    no find stands for them instead: it would only shake them.
    """

    sighting: Sighting
    look: Look
    new: bool
    firm: bool = False


class Follower:
    """Follows everybody through frames given in order. ``people`` is everybody ever followed, in order of discovery."""

    def __init__(self, graphs: PoseGraphs, settings: BlazePoseSettings, search_frames: frozenset[int] = frozenset()) -> None:
        self.people: list[Person] = []
        self.crowded = False
        self._graphs = graphs
        self._settings = settings
        self._search_frames = search_frames
        self._searched_s = self._glanced_s = self._checked_s = -np.inf
        self._search_every_s = settings.detect_every_s
        self._last_s: float | None = None

    def step(self, index: int, now_s: float, rgb: np.ndarray) -> None:
        """Look at one frame: where everybody should be, and now and then at the whole picture."""
        s = self._settings
        step_s = now_s - self._last_s if self._last_s is not None else 1 / 30
        alive = [p for p in self.people if now_s - p.seen_s <= s.reidentify_s + step_s]
        expected = [p.expected(now_s, s) for p in alive]
        followed = [
            (p.region if p.seen_s == self._last_s else p.region.shifted(e.shift_px), p.seen_s == self._last_s)
            for p, e in zip(alive, expected, strict=True)
            if p.seen_s == self._last_s or now_s - p.seen_s <= s.guess_s
        ]
        regions = [region for region, _ in followed]
        # Whoever was seen a moment ago and has nobody near is not in doubt.
        firm = [at_once and not any(near(r, o, s) for o in regions if o is not r) for r, at_once in followed]
        seen = self._look(rgb, regions, firm)
        seen += self._look(rgb, self._search(index, now_s, rgb, alive, expected, regions), None)
        news = [look.new for look in seen]
        groups = self._distinct(seen, alive, expected)
        chosen, carried = assign(expected, [g.look for g in seen], groups, news, s)
        known = [seen[i] for i in sorted(carried)]
        people = [alive[carried[i]] for i in sorted(carried)]
        strangers = [seen[i] for i in chosen if news[i] and i not in carried and seen[i].look.sureness >= s.first_visibility]
        for stranger in self._confirmed(rgb, strangers, [*known, *(seen[i] for i in chosen if not news[i] and i not in carried)]):
            if len(people) >= s.most_people:
                self.crowded = True
                break
            people.append(Person(len(self.people), Region.from_alignment(stranger.sighting.alignment_px), stranger.look, now_s, now_s))
            known.append(stranger)
            self.people.append(people[-1])
            self._search_every_s = s.detect_every_s  # where one comes others may follow
        for person, one, mask in zip(people, known, _settled(known, rgb.shape, s), strict=True):
            self._remember(person, one, mask, index, now_s, step_s)
        self._last_s = now_s

    def _look(self, rgb: np.ndarray, regions: Sequence[Region], firm: Sequence[bool] | None) -> list[_Seen]:
        """Who can be followed of those seen in the regions: of followed people, each ``firm`` or not, or (None) of a search."""
        sightings = self._graphs.landmarks(rgb, regions)
        marks = firm if firm is not None else [False] * len(sightings)
        tidy = [(_tidied(g), mark) for g, mark in zip(sightings, marks, strict=True) if g is not None]
        looks = [_Seen(g, _look(g, rgb), firm is None, mark) for g, mark in tidy if _usable(g, rgb.shape, self._settings)]
        least = self._settings.first_visibility
        return [dataclasses.replace(g, firm=g.firm and g.look.sureness >= least) for g in looks]

    def _confirmed(self, rgb: np.ndarray, strangers: list[_Seen], others: list[_Seen]) -> list[_Seen]:
        """Those strangers who are still there, and nobody else, when looked at again in the region of their own landmarks.

        The detector's regions are rough; landmarks read in them may be far off, and a first sighting is what a person is known by.
        """
        if not strangers:
            return []
        again = self._look(rgb, [Region.from_alignment(g.sighting.alignment_px) for g in strangers], None)
        again = [g for g in again if g.look.sureness >= self._settings.first_visibility]
        groups = self._distinct([*others, *again], [], [])
        heads = sorted(group[0] - len(others) for group in groups if min(group) >= len(others))
        return [again[i] for i in heads]

    def _search(
        self, index: int, now_s: float, rgb: np.ndarray, alive: list[Person], expected: list[Expected], regions: list[Region]
    ) -> list[Region]:
        """Regions where somebody may stand who is not followed yet: everywhere when it is time, else where someone is lost or in doubt."""
        s = self._settings
        height, width = rgb.shape[:2]
        everywhere = now_s - self._searched_s >= self._search_every_s or index in self._search_frames or self._last_s is None
        if everywhere:
            self._searched_s = self._glanced_s = self._checked_s = now_s
            self._search_every_s = min(2 * self._search_every_s, s.detect_every_most_s)
            where = tiles(width, height, s.tile_shares, s)
        else:
            where = []
            if now_s - self._glanced_s >= s.glance_every_s:
                self._glanced_s = now_s
                where += tiles(width, height, s.tile_shares[:1], s)
            if now_s - self._checked_s >= s.check_every_s:
                self._checked_s = now_s
                where += self._doubted(alive, expected, width, height)
            if not where:
                return []
        # A lone person's region may be found anew a little beside itself; near others, a little beside may be somebody else.
        shares = [s.region_same_share if any(near(r, o, s) for o in regions if o is not r) else s.region_same_share_alone for r in regions]
        found: list[Region] = []
        for region in sorted(self._graphs.detect(rgb, list(dict.fromkeys(where))), key=lambda r: -r.score):
            known = zip((*regions, *found), (*shares, *[s.region_same_share] * len(found)), strict=True)
            if not any(same(region, other, share, s) for other, share in known):
                found.append(region)
        # Several finds may be of one person: look at more than there is room for, the largest first.
        return sorted(found, key=lambda r: -r.side_px)[: 2 * s.most_people]

    def _doubted(self, alive: list[Person], expected: list[Expected], width: int, height: int) -> list[tuple[int, int, int, int]]:
        """Tiles around everybody who is lost or near somebody else."""
        s = self._settings
        moved = [p.region.shifted(e.shift_px) for p, e in zip(alive, expected, strict=True)]
        return [
            tile
            for i, (person, region) in enumerate(zip(alive, moved, strict=True))
            if person.seen_s != self._last_s or any(near(region, other, s) for k, other in enumerate(moved) if k != i)
            for tile in around(region, width, height, s)
        ]

    def _distinct(self, seen: list[_Seen], alive: list[Person], expected: list[Expected]) -> list[list[int]]:
        """Sightings by person, those first that carry on the track of someone long followed, then the surer ones."""
        s = self._settings
        masks = [(g.sighting.strength > 0.5, g.sighting.box_px) for g in seen]
        shared = np.array([[shared_area(*a, *b) for b in masks] for a in masks], float).reshape(len(seen), len(seen))
        grown = [min(1.0, (p.seen_s - p.since_s) / s.grown_s) for p in alive]
        worth = np.array(
            [g.look.sureness + max((w * likeness(e, g.look, s) for e, w in zip(expected, grown, strict=True)), default=0.0) for g in seen]
        )
        looks = [g.look for g in seen]
        worth += agreement(looks, shared)
        order = sorted(range(len(seen)), key=lambda i: (not seen[i].firm, -worth[i], i))
        return distinct(looks, shared, order, [g.new for g in seen], s)

    def _remember(self, person: Person, seen: _Seen, mask: np.ndarray, index: int, now_s: float, step_s: float) -> None:
        s, sighting, look = self._settings, seen.sighting, seen.look
        if person.seen_s != self._last_s:  # new, or back after an absence: the filter's past is no longer true
            person.filter = AlignmentFilter()
            person.recent.clear()
        person.region = Region.from_alignment(person.filter(sighting.alignment_px, step_s))
        newest = max(s.colour_memory, 1 / (len(person.frames) + 1))  # a plain mean at first
        colour = (1 - newest) * person.look.colour + newest * look.colour
        person.look = Look(look.points_px, look.visibility, look.size_px, colour)
        person.seen_s = now_s
        person.recent.append((now_s, look.centre_px))
        while now_s - person.recent[0][0] > s.velocity_window_s:
            person.recent.popleft()
        person.frames.append(index)
        person.codes.append(MaskTrack.encode(mask))
        person.rows.append(sighting.without_mask())


def _tidied(sighting: Sighting) -> Sighting:
    """The same without the pieces of mask that hold none of the joints: specks on a neighbour or on the background."""
    from scipy.ndimage import label

    pieces = np.zeros(sighting.strength.shape, np.int32)
    count = int(label(sighting.strength > 0.5, output=pieces))  # pyright: ignore[reportArgumentType]
    if count <= 1:
        return sighting
    x0, y0, x1, y1 = sighting.box_px
    x, y = np.floor(sighting.points_px).astype(int).T
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    keep = np.bincount(pieces[y[inside] - y0, x[inside] - x0], minlength=count + 1) > 0
    keep[0] = True  # what is no mask at all stays as it is
    return dataclasses.replace(sighting, strength=np.where(keep[pieces], sighting.strength, 0).astype(np.float32))


def _usable(sighting: Sighting, shape: tuple[int, ...], settings: BlazePoseSettings) -> bool:
    """Whether these landmarks can be followed: somebody is seen, inside the picture, of a size that makes sense."""
    height, width = shape[:2]
    region = Region.from_alignment(sighting.alignment_px)
    inside = 0 <= region.x_px < width and 0 <= region.y_px < height
    sized = 4 <= region.side_px <= settings.region_most_share * max(width, height)
    sure = float(sighting.visibility[BODY_JOINTS].mean()) >= settings.keep_visibility
    return inside and sized and sure and bool((sighting.strength > 0.5).any())


def _look(sighting: Sighting, rgb: np.ndarray) -> Look:
    """Joints, size and colours of a sighting."""
    places, above = body_samples(sighting.points_px)
    x0, y0, x1, y1 = sighting.box_px
    x, y = np.floor(places).astype(int).T
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    x, y, above = x[inside], y[inside], above[inside]
    colour = colour_histogram(rgb[y, x], sighting.strength[y - y0, x - x0], above)
    size_px = float(2 * np.linalg.norm(sighting.alignment_px[1] - sighting.alignment_px[0]))
    return Look(sighting.points_px, sighting.visibility, size_px, colour)


def _settled(seen: Sequence[_Seen], shape: tuple[int, ...], settings: BlazePoseSettings) -> list[np.ndarray]:
    owners = [(g.sighting.strength > 0.5, g.sighting.box_px) for g in seen]
    fronts = [front(g.look, i, owners) for i, g in enumerate(seen)]
    return settle([g.sighting.strength for g in seen], [g.sighting.box_px for g in seen], fronts, (shape[0], shape[1]), settings)
