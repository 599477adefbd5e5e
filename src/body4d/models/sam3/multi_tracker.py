"""Everybody a text finds, followed through a clip: SAM-3's finds and tracks given to people by :mod:`body4d.models.sam3.identity`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from body4d.config import Sam3Settings
from body4d.core.types import Clip
from body4d.models.sam3.identity import Gone, Sight, false_find, overlaps, returning, sight_of, sort_out, yielding
from body4d.models.sam3.network import Finds, Sam3Network
from body4d.models.sam3.object_tracker import Followed
from body4d.models.sam3.streaming import ON_TRIAL, SURE, YIELDS, Seen

Told = tuple[int, Tensor, int]
"""A person's number, mask logits (h, w) and rank on a frame."""


@dataclass
class Person:
    """Somebody found. ``first``: frame of the first find. ``since``: in sight without a break from this frame on, as searches tell.

    ``follow`` is None while nobody looks for them on every frame. ``answers`` counts, by text, the finds that confirmed them.
    """

    number: int
    first: int
    since: int
    seen_s: float
    sight: Sight
    follow: Followed | None
    firm_frame: int
    searches: int = 1
    confirmations: int = 0
    score_sum: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    velocity_px_per_s: np.ndarray = field(default_factory=lambda: np.zeros(2))
    on_trial: bool = True
    yields: bool = False
    lost: bool = False

    @property
    def rank(self) -> int:
        return YIELDS if self.yields else ON_TRIAL if self.on_trial else SURE

    @property
    def mean_score(self) -> float:
        return self.score_sum / max(self.confirmations, 1)

    def confirmed(self, finds: Finds, find: int) -> None:
        self.confirmations += 1
        self.score_sum += float(finds.scores[find])
        self.answers.update(finds.texts[find])

    def seen(self, sight: Sight, frame: int, now_s: float, settings: Sam3Settings) -> None:
        """In sight on a searched frame."""
        passed = now_s - self.seen_s
        if self.lost or passed <= 0:
            self.velocity_px_per_s = np.zeros(2)
            self.since = frame if self.lost else self.since
        else:
            self.velocity_px_per_s = 0.5 * (self.velocity_px_per_s + (sight.centre_px - self.sight.centre_px) / passed)
        new = settings.colour_memory
        self.sight = Sight(sight.centre_px, sight.height_px, (1 - new) * self.sight.colour + new * sight.colour)
        self.seen_s, self.lost = now_s, False


class Crowd:
    """Follows everybody found, through frames given in order. ``people`` are those on trial or past it, in order of discovery."""

    def __init__(self, network: Sam3Network, clip: Clip, settings: Sam3Settings) -> None:
        self.people: list[Person] = []
        self.false_finds: list[int] = []
        self.crowded = False
        self._network, self._clip, self._settings = network, clip, settings
        self._numbers = 0

    def step(self, seen: Seen) -> list[Told]:
        """Everybody on this frame."""
        live = [p for p in self.people if p.follow is not None]
        logits = {p.number: p.follow.visit(seen.frame, seen.features) for p in live if p.follow is not None}
        if seen.finds is not None:
            self._search(seen, seen.finds, live, logits)
        kept = {p.number: p for p in self.people}
        return [(number, told, kept[number].rank) for number, told in logits.items() if number in kept]

    def _search(self, seen: Seen, finds: Finds, live: list[Person], logits: dict[int, Tensor]) -> None:
        """Compare who is followed with who is found; ``logits`` grow by those who come."""
        s, now_s = self._settings, float(self._clip.times_s[seen.frame])
        masks = np.zeros((0, *self._network.cells), bool)
        if live:
            masks = (torch.stack([logits[p.number] for p in live]) > 0).cpu().numpy()
        there = masks.sum((1, 2)) >= s.least_cells
        masks = masks & there[:, None, None]
        ious = overlaps(finds.masks, masks)
        found = sort_out(ious, finds.scores, s)
        for i, person in enumerate(live):
            self._update(person, seen, finds, masks[i], found.confirmed.get(i), ious[:, i], now_s)
        self._sift(seen.frame, live, overlaps(masks, masks) >= s.same_person_iou, there)
        self._come(seen, finds, found.new, now_s, logits)
        for person in self.people:
            if now_s - person.seen_s > s.rest_after_s:
                person.follow = None

    def _update(self, person: Person, seen: Seen, finds: Finds, mask: np.ndarray, find: int | None, ious: np.ndarray, now_s: float) -> None:
        s = self._settings
        sight = sight_of(mask, seen.picture)
        if sight is None:
            person.lost = True
            return
        person.seen(sight, seen.frame, now_s, s)
        person.searches += 1
        if find is None:
            return
        person.confirmed(finds, find)
        due = seen.frame - person.firm_frame >= s.confirm_every_frames
        if person.follow is not None and due and finds.scores[find] >= s.confirm_score and ious[find] >= s.confirm_iou:
            person.follow.make_firm(seen.frame)
            person.follow.keep_firm(s.firm_memories)
            person.firm_frame = seen.frame

    def _sift(self, frame: int, live: list[Person], alike: np.ndarray, there: np.ndarray) -> None:
        """End trials; of two on one body one yields, and is dropped where on trial."""
        s = self._settings
        gone: set[int] = set()
        for person in live:
            if person.on_trial:
                false = false_find(frame - person.first, person.searches, person.confirmations, s)
                person.on_trial = false is None
                if false:
                    gone.add(person.number)
            person.yields = False
        seen = [i for i, person in enumerate(live) if there[i] and person.number not in gone]
        for i, _ in yielding(alike[np.ix_(seen, seen)], [live[k].since for k in seen]):
            person = live[seen[i]]
            person.yields = True
            if person.on_trial:
                gone.add(person.number)
        self.people = [p for p in self.people if p.number not in gone]
        self.false_finds += sorted(gone)

    def _come(self, seen: Seen, finds: Finds, new: Sequence[int], now_s: float, logits: dict[int, Tensor]) -> None:
        """People are found where nobody is followed: some who were lost, or newcomers."""
        s = self._settings
        sights = {i: sight for i in new if (sight := sight_of(finds.masks[i], seen.picture)) is not None}
        lost = [p for p in self.people if p.lost]
        gone = [Gone(p.sight, p.velocity_px_per_s, now_s - p.seen_s) for p in lost]
        back = returning(gone, list(sights.values()), s)
        for place, (find, sight) in enumerate(sights.items()):
            if place in back:
                person = lost[back[place]]
                person.seen(sight, seen.frame, now_s, s)
            elif sum(p.follow is not None for p in self.people) < s.most_people:
                person = Person(self._numbers, seen.frame, seen.frame, now_s, sight, None, seen.frame)
                self._numbers += 1
                self.people.append(person)
            else:
                self.crowded = True
                continue
            person.confirmed(finds, find)
            logits[person.number] = self._begin(person, seen, finds.masks[find])

    def _begin(self, person: Person, seen: Seen, mask: np.ndarray) -> Tensor:
        """Follow somebody from the mask of a find."""
        if person.follow is None:
            person.follow = Followed(self._network, (self._clip.width_px, self._clip.height_px), len(self._clip))
        person.follow.begin_again(seen.frame, mask.astype(np.float32))
        logits = person.follow.visit(seen.frame, seen.features)
        person.follow.keep_firm(self._settings.firm_memories)
        person.firm_frame = seen.frame
        return logits
