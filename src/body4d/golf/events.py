"""The eight events of a swing, described: their times to a part of a frame, how sure each is, and how it was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.golf.body_motion import BodyMotion
from body4d.golf.candidates import Candidate
from body4d.golf.event_cues import Cues
from body4d.golf.event_search import Path, best_path
from body4d.golf.types import EVENTS, ClubShaft, Hand, SwingEvent

REACH_PER_DOWNSWING = 0.12
"""A cue's own level or lowest point is sought this near to where the prior and the order of events put it."""


@dataclass(frozen=True)
class FoundEvents:
    """The events of one swing; rows are those of the ``BodyMotion``."""

    events: tuple[SwingEvent, ...]
    """Those inside the clip."""
    cut_off: tuple[str, ...]
    rows: Mapping[str, float]
    """Row of each event inside the clip, between rows too."""
    address_rows: np.ndarray
    """The still stretch before the takeaway, over which address is averaged."""
    cost: float
    """Mean cost of the eight events."""
    sound_used: bool


def find_events(
    motion: BodyMotion,
    candidate: Candidate,
    limits: tuple[int, int],
    hand: Hand,
    *,
    club: ClubShaft | None = None,
    sounds_clip_s: Sequence[float] = (),
) -> FoundEvents:
    """The eight events of the swing around ``candidate``, between the rows ``limits``; ``sounds_clip_s`` are strikes, at the club."""
    cues = Cues(motion, candidate, limits, hand, club, sounds_clip_s)
    best = best_path(cues)
    return _described(cues, best)


def _described(cues: Cues, path: Path) -> FoundEvents:
    motion, n = cues.motion, cues.count
    inside = {name: row for name, row in path.rows.items() if 0 <= row < n}
    exact = {name: float(np.clip(_refined(cues, name, row, path.rows["address"]), 0, n - 1)) for name, row in inside.items()}
    for name, limit, keep in (("toe_up", "mid_backswing", min), ("mid_follow_through", "impact", max)):
        if name in exact and limit in exact:  # stand-ins to the frame give way to what is known to a part of it
            exact[name] = keep(exact[name], exact[limit])
    events = []
    for name in EVENTS:
        if name not in inside:
            continue
        at = cues.first + exact[name]
        proxy, method = _method(cues, name, inside[name])
        near = motion.trust[max(round(at) - 1, 0) : round(at) + 2]
        events.append(
            SwingEvent(
                name=name,
                frame=int(motion.frames[round(at)]),
                frame_exact=float(np.interp(at, np.arange(len(motion)), motion.frames)),
                time_s=float(np.interp(at, np.arange(len(motion)), motion.clip_s)),
                confidence=float(np.clip(path.confidence[name] * np.mean(near), 0.0, 1.0)),
                proxy=proxy,
                method=method,
            )
        )
    return FoundEvents(
        events=tuple(events),
        cut_off=tuple(name for name in EVENTS if name not in inside),
        rows={name: cues.first + row for name, row in exact.items()},
        address_rows=cues.first + cues.still_run(path.rows["address"]),
        cost=path.cost,
        sound_used=cues.sound is not None and "impact" in inside,
    )


def _refined(cues: Cues, name: str, row: int, address_row: int) -> float:
    """``row`` to a part of a frame: where a curve crosses its level on a line, or where its lowest point is on a parabola."""
    reach = max(round(REACH_PER_DOWNSWING * cues.down), 1)
    if name == "address":
        if cues.rest is not None:
            return cues.rest
        return crossing(cues.speed - cues.still_before, row, reach)
    if name == "finish":
        return crossing(cues.speed_from_hips - cues.still_after, row, reach)
    if name in ("mid_backswing", "mid_downswing"):
        return crossing(cues.elevation, row, reach)
    if name == "top":
        return lowest(cues.speed, row, reach)
    if name == "impact":
        if cues.strike is not None:
            return cues.strike
        return cues.ahead + lowest(cues.distance(address_row) ** 2, round(row - cues.ahead), reach)
    return crossing(cues.shaft_height, row, reach) if np.isfinite(cues.shaft_height[row]) else float(row)


def _method(cues: Cues, name: str, row: int) -> tuple[bool, str]:
    """Whether the body stands for the club, and in plain words how the event was found."""
    if name in ("toe_up", "mid_follow_through"):
        if cues.shaft_seen[row]:
            return False, "the club's shaft is level in the picture"
        if np.isfinite(cues.shaft_height[row]):
            return True, "the club's head rises past the hands between frames on which it was seen"
        side = "trail" if name == "toe_up" else "lead"
        return True, f"the hands pass the {side} thigh at about the usual share of the time from address to impact; the club was not seen"
    if name == "impact" and cues.sound is not None:
        return False, "the sound of the strike"
    if name == "impact" and cues.returned is not None:
        return False, "the club is back where it was at address"
    if name == "address" and cues.rest is not None:
        return False, "the club leaves the ball"
    return {
        "address": (False, "the hands are still for the last time before the backswing"),
        "mid_backswing": (False, "the lead arm is level for the first time"),
        "top": (True, "the hands are slowest between backswing and downswing"),
        "mid_downswing": (False, "the lead arm is level again"),
        "impact": (True, "the hands are just past their place at address"),
        "finish": (False, "the hands come to rest"),
    }[name]


def crossing(values: Float[np.ndarray, " t"], row: int, reach: int = 1) -> float:
    """Where ``values`` cross 0 nearest to ``row``, at most ``reach`` rows away and a part, on a line between two rows; else ``row``."""
    found = []
    for k in range(max(row - reach - 1, 0), min(row + reach + 1, len(values) - 1)):
        a, b = float(values[k]), float(values[k + 1])
        if a == 0.0:
            found.append(float(k))
        elif a * b < 0:
            found.append(k + a / (a - b))
    return min(found, key=lambda at: abs(at - row)) if found else float(row)


def lowest(values: Float[np.ndarray, " t"], row: int, reach: int = 1) -> float:
    """Where the lowest point of ``values`` within ``reach`` rows of ``row`` is, on a parabola through three rows."""
    first = max(row - reach, 0)
    row = first + int(np.argmin(values[first : row + reach + 1]))
    if not 0 < row < len(values) - 1:
        return float(row)
    a, b, c = (float(values[row + k]) for k in (-1, 0, 1))
    bend = a - 2 * b + c
    return row + float(np.clip(0.5 * (a - c) / bend, -1.0, 1.0)) if bend > 0 else float(row)
