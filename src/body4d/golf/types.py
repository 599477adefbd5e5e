"""What a golf analysis holds: frozen dataclasses that the tables, the report and the app read.

Directions and signs: docs/golf.md. Turns and side values run towards the target, so left-handed golfers need no second table.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from body4d.core.errors import RunWarning

EVENTS = ("address", "toe_up", "mid_backswing", "top", "mid_downswing", "impact", "mid_follow_through", "finish")
"""The eight events of GolfDB (McNally et al., arXiv 1903.06528), in their order."""

EVENT_LABELS = {
    "address": "Address",
    "toe_up": "Toe-up",
    "mid_backswing": "Mid-backswing",
    "top": "Top",
    "mid_downswing": "Mid-downswing",
    "impact": "Impact",
    "mid_follow_through": "Mid-follow-through",
    "finish": "Finish",
}

View = Literal["face-on", "down-the-line", "oblique"]
Hand = Literal["right", "left"]
Class = Literal["A", "B", "C"]
"""A: shown; B: shown with its error bar; C: grey, with the reason."""


ESTIMATE_LIMITS = {"°": 5.0, "cm": 3.0}
"""Widest bars, by unit, with which a value may be called measured."""


@dataclass(frozen=True)
class GolfOptions:
    """What the user says of the swing; None: decided from the scene."""

    person_id: int | None = None
    view: View | None = None
    hand: Hand | None = None
    target_deg: float | None = None
    """Direction of the target in the floor, in degrees from the camera's viewing direction, positive to the right of the picture
    (90: to the right, 0: away from the camera, -90: to the left)."""
    capture_fps: float | None = None
    """Frames per second at which the clip was filmed, where the file does not say so."""


@dataclass(frozen=True)
class SwingFrame:
    """Directions of one swing, fixed at address, as unit vectors of the world (y up)."""

    target: Float[np.ndarray, " 3"]
    ball: Float[np.ndarray, " 3"]
    """In the floor, from the feet to the ball, at a right angle to ``target``."""
    up: Float[np.ndarray, " 3"]
    origin_m: Float[np.ndarray, " 3"]
    """Middle of the ankles at address, on the floor."""
    target_source: Literal["user", "camera axis", "picture", "stance"]
    stance_deg: float
    """Angle between the target direction and the line from the trail ankle to the lead ankle; positive: the stance is open."""
    view: View
    view_deg: float
    """Angle in [0, 90] between the line of the ankles at address and the camera's viewing direction, both in the floor."""
    view_confidence: float
    hand: Hand
    hand_confidence: float
    view_given: bool = False
    hand_given: bool = False

    @property
    def lead(self) -> str:
        """The side towards the target: "left" for a right-handed golfer."""
        return "left" if self.hand == "right" else "right"

    @property
    def trail(self) -> str:
        return "right" if self.hand == "right" else "left"


@dataclass(frozen=True)
class SwingEvent:
    """One moment of the swing."""

    name: str
    frame: int
    """The clip's nearest frame."""
    frame_exact: float
    """The moment between frames, in frames of the clip."""
    time_s: float
    """Seconds of the clip (its own clock, slow motion or not) from its first frame."""
    confidence: float
    """In [0, 1]."""
    proxy: bool
    """True where the event is taken from the body because the club was not seen."""
    method: str
    """In plain words, such as "club shaft level" or "hands at their address place"."""


@dataclass(frozen=True)
class Measure:
    """One number of a swing at one event or over a part of it."""

    name: str
    """In snake_case with its unit: "pelvis_turn_deg"."""
    label: str
    """As a golfer reads it: "Pelvis turn"."""
    event: str | None
    """The event at which it is taken; None: over the swing."""
    value: float
    """NaN where it could not be told."""
    bar: float
    """Half width of the range in which the true value lies in about 68 of 100 cases; NaN where it is not known."""
    unit: str
    """"°", "cm", "m/s", "°/s", "s", "ms", "" (a ratio)."""
    class_: Class
    method: str
    """How it is defined, in one sentence with its source."""
    proxy: bool = False
    reason: str = ""
    """Why it is grey, where it is."""
    group: str = ""
    """Heading under which tables show it: "Turn", "Tilt and bend", "Shift", "Arms and legs", "Speed and tempo"."""

    @property
    def is_estimate(self) -> bool:
        """True where it must not be called measured: its bar is unknown, or beyond 5° of a turn or 3 cm of a shift."""
        limit = ESTIMATE_LIMITS.get(self.unit)
        return limit is not None and not self.bar <= limit


@dataclass(frozen=True)
class Curve:
    """One quantity over the swing, frame by frame."""

    name: str
    label: str
    unit: str
    values: Float[np.ndarray, " t"]
    """For each frame of ``Swing.frames``; NaN where unknown."""
    bar: float
    class_: Class
    group: str = ""


@dataclass(frozen=True)
class SequencePeak:
    """The greatest rate of one segment in the downswing (the kinematic sequence)."""

    segment: Literal["pelvis", "thorax", "lead arm"]
    peak_deg_s: float
    bar_deg_s: float
    frame_exact: float
    time_to_impact_s: float
    """Real seconds; negative: before impact."""


@dataclass(frozen=True)
class Sequence:
    """Kinematic sequence of the downswing, without the club."""

    peaks: tuple[SequencePeak, ...]
    """In the order of their times."""
    lag_bar_s: float
    resolved: bool
    """False where the gaps are within two frames or within their bar: the order cannot be told."""
    note: str


@dataclass(frozen=True)
class Tempo:
    """Backswing against downswing, in real time."""

    ratio: float
    ratio_bar: float
    backswing_s: float
    downswing_s: float
    frame_time_s: float
    """Real time between two frames, which limits all of these."""


@dataclass(frozen=True)
class ClubShaft:
    """The club in the picture, where it was seen; never a speed or a face angle."""

    frames: np.ndarray
    """Clip frames, rising."""
    grip_px: Float[np.ndarray, "t 2"]
    head_px: Float[np.ndarray, "t 2"]
    """The far end of what was seen of the shaft."""
    confidence: Float[np.ndarray, " t"]
    source: Literal["mask", "line"]
    head_seen: Bool[np.ndarray, " t"] | None = None
    """False where the far end is the picture's edge or a line that breaks off; None: not judged."""


@dataclass(frozen=True)
class Swing:
    """One swing of a clip."""

    frames: np.ndarray
    """Clip frames of the swing with a margin, rising."""
    times_s: Float[np.ndarray, " t"]
    """Real seconds of these frames from address (negative before it)."""
    frame: SwingFrame
    events: tuple[SwingEvent, ...]
    pelvis_reversal: SwingEvent | None
    """When the pelvis stops turning back, usually before the top."""
    measures: tuple[Measure, ...]
    curves: tuple[Curve, ...]
    tempo: Tempo | None
    sequence: Sequence | None
    hand_path_m: Float[np.ndarray, "t 3"]
    """Middle of the wrists in the swing's frame: along the target, up, towards the ball."""
    confidence: float
    """That this is a swing with these events, in [0, 1]."""
    practice: bool = False
    """True where nothing tells of a ball struck and another swing of the clip looks like the real one."""
    cut_off: tuple[str, ...] = ()
    """Events that lie outside the clip."""
    research: tuple[Measure, ...] = ()
    """Joint coordinate system angles (Cardan) for researchers; written to the JSON only."""

    def event(self, name: str) -> SwingEvent | None:
        return next((e for e in self.events if e.name == name), None)

    def measure(self, name: str, event: str | None) -> Measure | None:
        return next((m for m in self.measures if (m.name, m.event) == (name, event)), None)


@dataclass(frozen=True)
class GolfAnalysis:
    """All swings of one person in one clip."""

    person_id: int
    preset: str
    clip_name: str
    capture_fps: float
    """Real frames per second."""
    time_scale: float
    """Seconds of real movement for a second of the clip."""
    time_source: Literal["file", "user", "clip rate"]
    swings: tuple[Swing, ...]
    """In order; the one to show first is ``main``."""
    main: int
    club: ClubShaft | None = None
    warnings: tuple[RunWarning, ...] = ()
