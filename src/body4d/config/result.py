"""What both presets share once bodies are estimated: their motion and the pictures of it."""

from typing import Literal

from pydantic import Field

from body4d.config.section import SPEED_ONLY, Section

X264Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"]


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
    """The rendered pictures: ``overlay.mp4``, ``views.mp4`` and the contact sheet."""

    enabled: bool = Field(default=True, description="Pictures are rendered. With false a run writes numbers and the GLB only.")
    audio: bool = Field(default=False, description="The clip's sound is copied into overlay.mp4.")
    overlay_opacity: float = Field(
        default=0.82, gt=0, le=1, description="Opacity of bodies over the video. A higher one hides more of the person behind the body."
    )
    show_uncertainty: bool = Field(
        default=False, description="Parts of a body turn from the person's colour to magenta as the smoother is less certain of them."
    )
    max_overlay_px: int = Field(
        default=1920,
        ge=16,
        description="The longer side of overlay.mp4 is at most this. A larger one keeps more detail; 4K takes four times as long to write.",
    )
    panel_height_px: int = Field(
        default=720,
        ge=180,
        le=2160,
        description="Height of views.mp4: small clips are enlarged to it, large ones shrunk. A larger one takes longer to render.",
    )
    samples_per_pixel: Literal[1, 4, 8] = Field(
        default=4,
        description="Samples that the renderer takes in each pixel. 1 gives jagged edges, 4 clean ones, and 8 takes half as long again.",
    )
    num_sheet_frames: int = Field(
        default=10, ge=1, le=40, description="Frames on the contact sheet. With more of them each is smaller; 8 to 12 are seen at a glance."
    )
    num_workers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Threads that render frames in parallel. More are faster up to the number of cores; each holds a few pictures.",
        json_schema_extra=SPEED_ONLY,
    )
    encode_crf: float = Field(
        default=18.0,
        ge=0,
        le=51,
        description="x264's constant rate factor of the videos. A higher one gives smaller files of lower quality; 18 hardly shows.",
    )
    encode_preset: X264Preset = Field(
        default="veryfast",
        description="x264's preset. A slower one gives smaller files of the same quality and encodes more slowly than the renderer draws.",
    )
