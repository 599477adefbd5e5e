"""From a scene to a golf analysis: who swings, when, and how."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from body4d.core.errors import NoSwingError, RunWarning, SettingsError
from body4d.core.types import BodyTrack, Scene
from body4d.golf.bars import BarTable, bar_table
from body4d.golf.body_motion import BodyMotion, body_motion
from body4d.golf.candidates import Candidate, find_candidates
from body4d.golf.events import FoundEvents, find_events, lowest
from body4d.golf.measures import Judging, event_measures, research_measures, swing_curves, value_at, x_factor_stretch_deg
from body4d.golf.quantities import BY_NAME, OVER_SWING, REVERSAL
from body4d.golf.sequence import kinematic_sequence, lead_arm_rate_deg_s, swing_tempo
from body4d.golf.swing_frame import decide_hand, swing_frame
from body4d.golf.types import ClubShaft, Curve, GolfAnalysis, GolfOptions, Hand, Measure, Swing, SwingEvent, SwingFrame, Tempo

MAX_REAL_SWING_S = 2.0
"""Address to impact takes less than 1.7 s in 95 of 100 real-time swings (GolfDB): beyond this the clip is slowed down."""

MIN_CONFIDENCE = 0.1
"""A movement whose events fit a swing's worse than this is none."""

COST_SCALE = 2.0
"""Mean cost of the events at which the confidence has fallen to 1/e."""

MIN_SURE = 0.8
"""A view or a hand less probable than this is said to be unsure."""

SOUND_M_S = 343.0
PRACTICE_SPEED_SHARE = 0.85
"""A swing this much slower than the fastest of the clip is a practice swing, where nothing tells of a strike."""

MARGIN_DOWNSWINGS = 2.0
"""Frames shown before address and after the finish, in downswings."""

CURVE_NAMES = (
    "pelvis_turn_deg",
    "thorax_turn_deg",
    "shoulder_line_turn_deg",
    "x_factor_deg",
    "shoulder_tilt_deg",
    "pelvis_tilt_deg",
    "thorax_forward_bend_deg",
    "thorax_side_bend_deg",
    "pelvis_forward_bend_deg",
    "pelvis_side_bend_deg",
    "pelvis_sway_cm",
    "pelvis_thrust_cm",
    "pelvis_lift_cm",
    "chest_sway_cm",
    "head_sway_cm",
    "head_lift_cm",
    "lead_arm_elevation_deg",
    "lead_elbow_deg",
    "hand_speed_m_s",
    "pelvis_turn_rate_deg_s",
    "thorax_turn_rate_deg_s",
)


@dataclass(frozen=True)
class _Found:
    """One swing before it is measured."""

    candidate: Candidate
    hand: Hand
    hand_confidence: float
    found: FoundEvents


def analyze(
    scene: Scene,
    options: GolfOptions = GolfOptions(),  # noqa: B008 - frozen
    *,
    audio_onset_s: Sequence[float] | None = None,
    club: ClubShaft | None = None,
    bars: BarTable | None = None,
) -> GolfAnalysis:
    """All swings of one person of ``scene``, with their events and measures.

    ``audio_onset_s`` are sudden sounds, in seconds of the clip's own clock, as the camera heard them; ``club`` is what was seen of the
    shaft. ``bars`` replaces the table of error bars. Raises NoSwingError where nobody swings a golf club, SettingsError for options that
    do not fit the scene.
    """
    scale, source = _time_scale(scene, options)
    motion, candidates, warnings = _swinger(scene, options, scale)
    found = _find_swings(scene, motion, candidates, options, club, audio_onset_s or ())
    if not found:
        why = "The movement that looks most like a swing does not have a swing's order and timing."
        if options.hand is not None:
            why = f"{why} It was looked at as that of a {options.hand}-handed golfer."
        raise _no_swing(why, scene)
    slowed = source == "clip rate" and max(_address_to_impact_s(motion, f.found) for f in found) > MAX_REAL_SWING_S
    if slowed:
        warnings = (*warnings, _slowed_warning(max(_address_to_impact_s(motion, f.found) for f in found)))
    swings = _with_practice(
        tuple(_measured(scene, motion, f, options, bars or bar_table(), time_known=not slowed) for f in found),
        [f.found.sound_used for f in found],
        [f.candidate.peak_speed_m_s for f in found],
    )
    main = _main(swings, found)
    return GolfAnalysis(
        person_id=motion.person_id,
        preset=scene.preset,
        clip_name=scene.clip.path.name,
        capture_fps=float(scene.clip.rate) / scale,
        time_scale=scale,
        time_source=source,
        swings=swings,
        main=main,
        club=club,
        warnings=(*warnings, *_frame_warnings(swings[main].frame)),
    )


def _time_scale(scene: Scene, options: GolfOptions) -> tuple[float, Literal["file", "user", "clip rate"]]:
    """Real seconds for a second of the clip, and who says so."""
    if options.capture_fps is not None:
        if not (np.isfinite(options.capture_fps) and options.capture_fps > 0):
            raise SettingsError(
                f"A clip cannot be filmed at {options.capture_fps} frames a second.", code="bad_value", hint="Give a number above 0."
            )
        return float(scene.clip.rate) / options.capture_fps, "user"
    scale = scene.clip.time_scale
    return scale, "file" if abs(scale - 1.0) > 1e-3 else "clip rate"


def _swinger(scene: Scene, options: GolfOptions, scale: float) -> tuple[BodyMotion, tuple[Candidate, ...], tuple[RunWarning, ...]]:
    """The person who swings, their full swings, and what the user should know about the choice."""
    tracks: tuple[BodyTrack, ...] = scene.people
    if options.person_id is not None:
        tracks = tuple(track for track in tracks if track.person_id == options.person_id)
        if not tracks:
            known = ", ".join(str(track.person_id) for track in scene.people) or "nobody"
            raise SettingsError(
                f"There is no person {options.person_id} in this run.",
                code="no_such_person",
                hint=f"It has: {known}.",
                person_id=options.person_id,
            )
    full: list[tuple[BodyMotion, tuple[Candidate, ...]]] = []
    short = False
    for track in tracks:
        if len(track) < 8:
            continue
        motion = body_motion(scene, track, scale)
        candidates = find_candidates(motion)
        whole = tuple(c for c in candidates if c.is_full)
        short = short or len(whole) < len(candidates)
        if whole:
            full.append((motion, whole))
    if not full:
        raise _no_swing(
            "The hands swing, but stay below the shoulders: a putt or a chip is not a full swing, which is what is analysed here."
            if short
            else "Nobody's joined hands go up on one side, down and through, and up on the other side.",
            scene,
        )
    motion, candidates = max(full, key=lambda pair: max(c.peak_speed_m_s for c in pair[1]))
    if len(full) == 1:
        return motion, candidates, ()
    others = [m.person_id for m, _ in full if m is not motion]
    message = f"{len(full)} people swing; person {motion.person_id}, whose hands are fastest, is analysed."
    warning = RunWarning("several_swingers", message, "--person chooses another.", {"person": motion.person_id, "others": others})
    return motion, candidates, (warning,)


def _no_swing(why: str, scene: Scene) -> NoSwingError:
    return NoSwingError(
        f"No golf swing was found in {scene.clip.path.name}. {why}",
        hint="The whole body should be seen from address to finish; look at overlay.mp4 to see what was recovered.",
        people=[track.person_id for track in scene.people],
    )


def _find_swings(
    scene: Scene,
    motion: BodyMotion,
    candidates: tuple[Candidate, ...],
    options: GolfOptions,
    club: ClubShaft | None,
    sounds_s: Sequence[float],
) -> tuple[_Found, ...]:
    out = []
    for k, candidate in enumerate(candidates):
        # Between two swings the hands come down from one finish to the next address, somewhere in the middle.
        after = (candidates[k - 1].end + candidate.top) // 2 if k else 0
        before = (candidate.end + candidates[k + 1].top) // 2 if k + 1 < len(candidates) else len(motion) - 1
        hand: Hand = options.hand or ("right" if candidate.to_left else "left")
        heard = [at - _sound_delay_s(scene, motion, candidate) for at in sounds_s]
        found = find_events(motion, candidate, (after, before), hand, club=club, sounds_clip_s=heard)
        if "top" not in found.rows or _confidence(motion, candidate, found) < MIN_CONFIDENCE:
            continue
        decided, confidence = decide_hand(motion, found.address_rows, round(found.rows["top"]), options)
        if decided != hand:  # the votes of address say otherwise than the way down
            decided, confidence = hand, 0.5
        out.append(_Found(candidate, hand, confidence, found))
    return tuple(out)


def _sound_delay_s(scene: Scene, motion: BodyMotion, candidate: Candidate) -> float:
    """How long a strike's sound is on its way to the camera, in seconds of the clip."""
    row = min(candidate.through, len(motion) - 1)
    way = motion.joints["mid_ankle"][row] - scene.T_world_camera[:3, 3]
    scale = (motion.real_s[-1] - motion.real_s[0]) / (motion.clip_s[-1] - motion.clip_s[0])
    return float(np.linalg.norm(way)) / SOUND_M_S / float(scale)


def _confidence(motion: BodyMotion, candidate: Candidate, found: FoundEvents) -> float:
    rows = motion.trust[candidate.top : min(candidate.through, len(motion) - 1) + 1]
    return float(np.exp(-found.cost / COST_SCALE) * np.mean(rows))


def _address_to_impact_s(motion: BodyMotion, found: FoundEvents) -> float:
    """Real seconds from address to impact; 0 where one of them is outside the clip."""
    if "address" not in found.rows or "impact" not in found.rows:
        return 0.0
    a, i = (float(np.interp(found.rows[name], np.arange(len(motion)), motion.real_s)) for name in ("address", "impact"))
    return i - a


def _slowed_warning(seconds: float) -> RunWarning:
    return RunWarning(
        "swing_seems_slowed",
        f"Address to impact takes {seconds:.1f} s, longer than any usual swing: the clip seems to be slowed down. Speeds, rates and times "
        "are left grey; angles, shifts and the tempo ratio hold.",
        "--capture-fps says at how many frames a second it was filmed.",
        {"address_to_impact_s": round(seconds, 3)},
    )


def _frame_warnings(frame: SwingFrame) -> tuple[RunWarning, ...]:
    """What the user should know about the side from which the swing is filmed, and of the golfer's hand."""
    out = []
    if frame.view == "oblique" and not frame.view_given:
        out.append(
            RunWarning(
                "view_oblique",
                f"The camera stands at {frame.view_deg:.0f}° to the line of the feet, between face-on and down the line: shifts towards "
                "the target and towards the ball are partly movement in depth.",
                "Film from in front of the golfer or from behind the hands.",
                {"view_deg": round(frame.view_deg, 1)},
            )
        )
    for what, sure, flag in (
        (f"filmed {frame.view}", frame.view_confidence, "--view"),
        (f"{frame.hand}-handed", frame.hand_confidence, "--hand"),
    ):
        if sure < MIN_SURE:
            message = f"The swing is taken to be {what}, which is not sure ({sure:.0%})."
            out.append(RunWarning("view_or_hand_unsure", message, f"{flag} settles it.", {"confidence": round(sure, 3)}))
    return tuple(out)


def _measured(scene: Scene, motion: BodyMotion, swing: _Found, options: GolfOptions, table: BarTable, *, time_known: bool) -> Swing:
    found = swing.found
    rows = dict(found.rows)
    frame = swing_frame(scene, motion, found.address_rows, swing.hand, swing.hand_confidence, options)
    judging = Judging(table, scene.preset, frame.view, 1.0 / motion.frame_time_s, time_known)
    curves = swing_curves(motion, frame, found.address_rows)
    reversal = _pelvis_reversal(motion, curves["pelvis_turn_deg"], rows, found)
    if reversal is not None:
        rows[REVERSAL] = float(np.interp(reversal.frame_exact, motion.frames, np.arange(len(motion))))
    proxies = {event.name: event.proxy for event in found.events}
    measures = event_measures(curves, rows, proxies, found.address_rows, judging)
    tempo = swing_tempo(motion, rows)
    measures += _over_swing(motion, curves, rows, proxies, tempo, judging)
    if tempo is not None:  # One error for one number: that of filmed swings, where there is one.
        tempo = replace(tempo, ratio_bar=next(measure.bar for measure in measures if measure.name == "tempo_ratio"))
    sequence = None
    arm_rate = None
    if "top" in rows and "impact" in rows:
        arm_rate = lead_arm_rate_deg_s(motion, frame, rows["top"], rows["impact"])
        sequence = kinematic_sequence(motion, curves, arm_rate, rows, judging)
    shown = _shown_rows(motion, swing, rows)
    start_s = float(np.interp(rows.get("address", float(shown[0])), np.arange(len(motion)), motion.real_s))
    lines: list[Curve] = [judging.curve(name, curves[name][shown]) for name in CURVE_NAMES]
    if arm_rate is not None:
        pelvis = BY_NAME["pelvis_turn_rate_deg_s"]
        bar = judging.bar("lead_arm_peak_rate_deg_s", None)
        class_ = judging.class_of(pelvis, bar)[0]
        lines.append(Curve("lead_arm_rate_deg_s", "Lead arm rate", "°/s", arm_rate[shown], bar, class_, pelvis.group))
    hands = motion.joints["mid_wrist"][shown] - frame.origin_m
    return Swing(
        frames=motion.frames[shown],
        times_s=motion.real_s[shown] - start_s,
        frame=frame,
        events=found.events,
        pelvis_reversal=reversal,
        measures=tuple(measures),
        curves=tuple(lines),
        tempo=tempo,
        sequence=sequence,
        hand_path_m=hands @ np.stack([frame.target, frame.up, frame.ball], -1),
        confidence=_confidence(motion, swing.candidate, found),
        cut_off=found.cut_off,
        research=tuple(research_measures(motion, rows, frame, judging, found.address_rows)),
    )


def _shown_rows(motion: BodyMotion, swing: _Found, rows: dict[str, float]) -> np.ndarray:
    margin = round(MARGIN_DOWNSWINGS * swing.candidate.downswing_rows)
    first = int(rows.get("address", 0)) - margin
    last = round(rows.get("finish", len(motion) - 1)) + margin
    return np.arange(max(first, 0), min(last, len(motion) - 1) + 1)


def _pelvis_reversal(motion: BodyMotion, turn_deg: np.ndarray, rows: dict[str, float], found: FoundEvents) -> SwingEvent | None:
    """When the pelvis is turned back farthest, between toe-up and mid-downswing."""
    if "mid_downswing" not in rows:
        return None
    first, last = int(rows.get("toe_up", 0)), round(rows["mid_downswing"])
    at = lowest(turn_deg, first + int(np.argmin(turn_deg[first : last + 1])))
    near = next(event for event in found.events if event.name == "top")
    return SwingEvent(
        name=REVERSAL,
        frame=int(motion.frames[round(at)]),
        frame_exact=float(np.interp(at, np.arange(len(motion)), motion.frames)),
        time_s=float(np.interp(at, np.arange(len(motion)), motion.clip_s)),
        confidence=near.confidence,
        proxy=False,
        method="the pelvis is turned back farthest",
    )


def _over_swing(
    motion: BodyMotion,
    curves: dict[str, np.ndarray],
    rows: dict[str, float],
    proxies: dict[str, bool],
    tempo: Tempo | None,
    judging: Judging,
) -> list[Measure]:
    """The measures that are not read at one event."""
    values = {"x_factor_stretch_deg": x_factor_stretch_deg(curves, rows)}
    for segment in ("thorax", "pelvis"):
        bend = curves[f"{segment}_forward_bend_deg"]
        values[f"{segment}_forward_bend_change_deg"] = _at("impact", bend, rows) - _at("address", bend, rows)
    peak = float("nan")
    if "top" in rows and "impact" in rows:
        peak = float(curves["hand_speed_m_s"][int(rows["top"]) : int(np.ceil(rows["impact"])) + 1].max())
    values["peak_hand_speed_m_s"] = peak
    values |= {
        "tempo_ratio": tempo.ratio if tempo else float("nan"),
        "backswing_s": tempo.backswing_s if tempo else float("nan"),
        "downswing_s": tempo.downswing_s if tempo else float("nan"),
    }
    needs = {"backswing_s": ("address", "top"), "downswing_s": ("top", "impact"), "tempo_ratio": ("address", "top", "impact")}
    out = []
    for quantity in OVER_SWING:
        missing = next((name for name in needs.get(quantity.name, ("address", "top", "impact")) if name not in rows), None)
        why = f"The moment “{missing.replace('_', ' ')}” is outside the clip." if missing else ""
        proxy = quantity.name in needs and any(proxies.get(name, False) for name in needs[quantity.name])
        measure = judging.measure(quantity, None, values[quantity.name], proxy=proxy, missing=why)
        if tempo is not None and quantity.name in needs and not np.isfinite(measure.bar):
            # What a frame more or less makes of it is known without any table.
            frame_bar = tempo.ratio_bar if quantity.name == "tempo_ratio" else tempo.frame_time_s
            measure = replace(measure, bar=frame_bar)
        out.append(measure)
    return out


def _at(event: str, values: np.ndarray, rows: dict[str, float]) -> float:
    return value_at(values, rows[event]) if event in rows else float("nan")


def _with_practice(swings: tuple[Swing, ...], struck: Sequence[bool], speeds: Sequence[float]) -> tuple[Swing, ...]:
    """Marks practice swings: those without a strike where another has one, else those much slower than the fastest."""
    if len(swings) < 2:
        return swings
    if any(struck):
        return tuple(replace(swing, practice=not hit) for swing, hit in zip(swings, struck, strict=True))
    limit = PRACTICE_SPEED_SHARE * max(speeds)
    return tuple(replace(swing, practice=speed < limit) for swing, speed in zip(swings, speeds, strict=True))


def _main(swings: tuple[Swing, ...], found: tuple[_Found, ...]) -> int:
    """The swing to show first: not a practice swing, whole rather than cut off, then the fastest."""

    def order(k: int) -> tuple[bool, bool, float]:
        return not swings[k].practice, not swings[k].cut_off, found[k].candidate.peak_speed_m_s

    return max(range(len(swings)), key=order)
