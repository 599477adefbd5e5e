"""What both presets share once bodies are found: their motion, and the pictures of it."""

from typing import Literal

from pydantic import Field

from body4d.config.section import Section


class MotionSettings(Section):
    """The smoother, and where the floor is. Seconds are of real movement: slow motion is undone first."""

    enabled: bool = Field(default=True, description="False keeps every frame as it was recovered.")
    slowest_hz: float = Field(default=1.5, gt=0, description="Lowest cut-off: body sway and slow gestures lie below 1 Hz.")
    ladder_ratio: float = Field(default=1.5, gt=1, description="Each cut-off tried is this much higher than the one before.")
    false_alarms_per_s: float = Field(
        default=0.001, gt=0, description="How often noise alone may open one joint's band by one cut-off: rarely in a clip."
    )
    window_s: float = Field(default=0.1, gt=0, description="The band opens half of this before a stroke and closes as long after it.")
    window_frames: int = Field(default=1, ge=1, description="And this many frames at least.")
    outlier_sigmas: float = Field(
        default=8.0, gt=0, description="A frame this far off what its neighbours say, and alone in it, is not used."
    )
    outlier_ratio: float = Field(
        default=5.0, gt=1, description="And this many times further off than its neighbours: else it is fast motion."
    )
    detour_sigmas: float = Field(
        default=5.0, gt=0, description="A joint that leaps this far from one frame to the next, and soon back, was wrong meanwhile."
    )
    detour_ratio: float = Field(
        default=3.0, gt=1, description="And leaps this many times further than in the frames beside: a stroke gathers its speed, within 2."
    )
    detour_longest_s: float = Field(default=0.15, gt=0, description="A longer stay is a movement: nobody's limb is back sooner from one.")
    detour_quickest_s: float = Field(
        default=0.03, ge=0, description="A shorter stay may be as wild as it likes within: nobody's limb goes and comes back in it."
    )
    detour_longest_frames: int = Field(default=4, ge=1, description="And this many frames at least, for slow frame rates.")
    least_weight: float = Field(
        default=0.05, gt=0, le=1, description="A hidden joint's guess still counts this much, so that it stays near."
    )
    least_noise_deg: float = Field(default=0.1, gt=0, description="No measured joint angle is steadier than this.")
    least_noise_share: float = Field(default=0.0005, gt=0, description="Nor a position, as a share of its distance: 2 mm at 4 m.")
    distance_doubt: float = Field(
        default=8.0,
        ge=1,
        description="What a network gets wrong of a distance drifts with the pose and looks like motion: its variance is taken for so many "
        "times that of single frames before anything counts as motion.",
    )
    longest_gap_s: float = Field(default=1.0, ge=0, description="Longer absences stay absent: nobody can tell what happened in them.")
    gap_decay_s: float = Field(
        default=0.1, gt=0, description="Across an absence accelerations decay by e in this time: nobody speeds up for a second on end."
    )
    gap_half_life_s: float = Field(
        default=0.25, gt=0, description="Confidence halves with each such time to the nearest frame that was seen."
    )
    repeat_least_s: float = Field(default=0.12, gt=0, description="Absences of at least this are bridged by what the clip shows elsewhere.")
    repeat_context_s: float = Field(default=0.1, gt=0, description="So long before and after them a stretch must be alike.")
    repeat_tempo: float = Field(default=1.15, ge=1, description="Such a stretch may be slower or faster by this factor.")
    repeat_most_unlike: float = Field(
        default=0.15, ge=0, description="How unlike it may be: 0 is the same pose, 1 as far apart as any two moments. 0 turns this off."
    )
    ground: Literal["auto", "off"] = Field(
        default="auto", description="auto: feet that rest on the floor are held, if the camera stands still; off: never."
    )
    foot_enter_m_s: float = Field(
        default=0.25, gt=0, description="A heel or toe slower than this rests; what smoothing leaves of noise moves it by 0.1 to 0.2 m/s."
    )
    foot_leave_m_s: float = Field(default=0.5, gt=0, description="And rests on until it is faster: a stepping foot does 3 m/s.")
    foot_depth_share: float = Field(
        default=0.35, ge=0, le=1, description="Speed along the view counts by this share: depth is three times as uncertain."
    )
    foot_enter_rise_m: float = Field(default=0.03, gt=0, description="A point this far above where it usually stands begins no rest.")
    foot_leave_rise_m: float = Field(default=0.05, gt=0, description="Nor goes on resting: a lifted heel or a jump.")
    foot_level_quantile: float = Field(
        default=0.15, gt=0, lt=1, description="Height at which a heel or toe stands: low in its heights, a few wrong ones below."
    )
    foot_window_s: float = Field(default=0.08, gt=0, description="Speeds of feet are taken over this time: the roll of a step takes 0.1 s.")
    foot_least_s: float = Field(default=0.1, gt=0, description="Shorter rests are none: a runner's foot is down for 0.1 to 0.2 s.")
    foot_wander_m: float = Field(
        default=0.02, gt=0, description="A point that creeps further than this from where it rests has moved, as the picture shows,"
    )
    foot_wander_sigmas: float = Field(
        default=3.0, ge=0, description="... beyond so many times its own uncertainty: what errs from frame to frame errs slowly as well."
    )
    foot_blend_s: float = Field(default=0.15, gt=0, description="Time over which a foot is let go and taken hold of.")
    foot_depth_s: float = Field(
        default=0.1, gt=0, description="The whole body follows its resting feet in depth, evened over this time: one step to the next."
    )
    foot_most_m: float = Field(
        default=0.25, gt=0, description="A foot further off its hold than this is not drawn there: the hold is wrong, or it did move."
    )
    floor_cell_m: float = Field(default=0.3, gt=0, description="Footholds this near are one: a foot standing long says no more than once.")
    floor_quantile: float = Field(
        default=0.1, gt=0, lt=1, description="Height taken in a cell: lifted feet are above, a few wrong ones below."
    )
    floor_sigma_m: float = Field(default=0.05, gt=0, description="How far a foothold is off the floor: mostly by its depth, seen aslant.")
    floor_person_sigma_m: float = Field(
        default=0.12, gt=0, description="How far all footholds of one person are off: nobody knows how tall they are."
    )
    floor_upright_deg: float = Field(
        default=8.0, gt=0, description="How upright a person stands on average; a golfer's trunk is over their feet."
    )
    floor_level_deg: float = Field(
        default=5.0, gt=0, description="How level cameras are. Footholds 0.8 m apart say as much, nearer ones less."
    )
    floor_outlier_sigmas: float = Field(default=3.0, gt=0, description="Beyond, a foothold is on no floor: a step, a chair, a jump.")


class PictureSettings(Section):
    """What the rendered pictures look like."""

    enabled: bool = Field(default=True, description="False writes numbers only.")
    audio: bool = Field(default=False, description="Carry the clip's sound along into overlay.mp4.")
    overlay_opacity: float = Field(
        default=0.82, gt=0, le=1, description="Opacity of bodies over the video: the person should shine through."
    )
    faint_opacity: float = Field(
        default=0.35, ge=0, le=1, description="Factor of opacity where a body was bridged or is not to be trusted."
    )
    faint_below_confidence: float = Field(default=0.2, ge=0, le=1, description="Frames of less confidence are drawn faintly.")
    fade_s: float = Field(default=0.12, ge=0, description="Time over which a body fades, so that single doubtful frames do not flicker.")
    show_uncertainty: bool = Field(
        default=False, description="Parts of a body turn from the person's colour to magenta as the smoother gets less sure of them."
    )
    sure_m: float = Field(default=0.005, gt=0, description="A joint this sure is shown as sure: smoothing leaves millimetres of noise.")
    unsure_m: float = Field(default=0.1, gt=0, description="And this unsure as a guess: a hand's width beside, it is elsewhere.")
    trail_s: float = Field(default=4.0, ge=0, description="How much of the pelvis's past is drawn on the floor; more becomes a scribble.")
    overlay_most_px: int = Field(
        default=1920, ge=16, description="Longer side of overlay.mp4 at most: 4K would take four times as long to write."
    )
    panel_height_px: int = Field(
        default=720, ge=180, le=2160, description="Height of views.mp4; small clips are enlarged to it, large ones shrunk."
    )
    samples: Literal[1, 4, 8] = Field(
        default=4, description="Samples per pixel: 4 gives clean edges, 8 takes half as long again, 1 is jagged."
    )
    sheet_moments: int = Field(default=10, ge=1, le=40, description="Columns of the contact sheet; 8 to 12 can be taken in at a glance.")
    sheet_motion_share: float = Field(
        default=0.5, ge=0, le=1, description="Moments of the sheet: 0 evenly in time, 1 only where most moves."
    )
    sheet_cell_px: int = Field(default=320, ge=64, description="Height of a picture on the contact sheet.")
    sheet_most_px: int = Field(default=2400, ge=400, description="Width of the contact sheet at most; wider ones are broken into blocks.")
    lanes: int = Field(default=2, ge=1, le=16, description="Frames drawn side by side; each holds a few pictures in memory.")
