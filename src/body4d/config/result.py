"""What both presets share once bodies are estimated: their motion and the pictures of it."""

from typing import Literal

from pydantic import Field

from body4d.config.section import Section


class MotionSettings(Section):
    """The smoother and the feet. Seconds are of real movement: slow motion is undone first."""

    enabled: bool = Field(default=True, description="Whether motion is smoothed. Without it every frame stays as it was recovered.")
    min_cutoff_hz: float = Field(
        default=1.5,
        gt=0,
        description="Lowest cut-off frequency of the smoother, used wherever a joint moves slowly. Raised, slow motion keeps more detail "
        "and more noise; body sway and slow gestures lie below 1 Hz.",
    )
    outlier_sigmas: float = Field(
        default=8.0,
        gt=0,
        description="A single frame further than this many sigmas of the noise from its neighbours is ignored. Raised, fewer frames are "
        "ignored and more wrong ones stay.",
    )
    max_gap_s: float = Field(
        default=1.0,
        ge=0,
        description="Gaps in which a person is not seen are bridged up to this length. Raised, longer gaps are filled with motion that is "
        "mostly a guess; longer gaps stay empty.",
    )
    ground: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether feet in contact with the floor are held in place: auto, where the camera stands still; off, never.",
    )
    max_foot_correction_m: float = Field(
        default=0.25,
        gt=0,
        description="Feet in contact are moved back by up to this distance; further off, they are moved less, and from twice this distance "
        "not at all, because the contact is wrong or the foot did move. Raised, larger slides are corrected, and some true steps too.",
    )


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
