"""What comes in: the frames, whom to follow in them, and the camera that took them."""

from typing import Annotated, Literal

from pydantic import Field

from body4d.config.section import Section


class VideoSettings(Section):
    """Which frames of the video are used, and at what size."""

    start_s: float | None = Field(
        default=None, ge=0, description="First moment that is used, in seconds of playback. A later one leaves out more of the beginning."
    )
    end_s: float | None = Field(
        default=None, gt=0, description="Last moment that is used, in seconds of playback. A later one takes in more of the end."
    )
    fps: float | None = Field(
        default=None,
        gt=0,
        description="At most this many frames a second are used; frames are never invented. A higher rate follows fast motion better and "
        "takes proportionally longer. Without it every frame is used.",
    )
    max_side_px: int | None = Field(
        default=None,
        ge=64,
        description="Frames are shrunk so that their longer side is at most this. A larger one keeps more detail and takes longer. Without "
        "it frames keep their size.",
    )
    max_megapixels: float = Field(
        default=40.0,
        gt=0,
        description="Videos with larger frames are refused. A higher limit takes more memory: 8K has 33 megapixels, and a header that "
        "claims more is mostly damaged.",
    )


class PeopleSettings(Section):
    """Whom to follow."""

    count: Annotated[int, Field(ge=1)] | Literal["all", "main"] = Field(
        default="main", description="How many people are followed: a number (the most prominent), all, or the main subject or subjects."
    )
    min_height_share: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description=(
            "People smaller than this share of the picture's shorter side are left out, as their limbs are a few pixels wide. "
            "Lower values keep more distant people."
        ),
    )


class CameraSettings(Section):
    """The one camera of the clip. Precedence: fov_deg, focal_mm35, the file's metadata, MoGe-2 (preset sam), the default."""

    fov_deg: float | None = Field(default=None, gt=1, lt=170, description="Horizontal field of view in degrees.")
    focal_mm35: float | None = Field(default=None, gt=5, lt=2000, description="35 mm equivalent focal length in millimetres.")
    default_focal_mm35: float = Field(
        default=26.0,
        gt=5,
        lt=2000,
        description="35 mm equivalent focal length where nothing else gives one. Main cameras of phones since 2016 have 24 to 28 mm.",
    )
    person_height_m: float | None = Field(
        default=None, gt=0.4, lt=2.6, description="Height of the main person in metres. It fixes the scale of all sizes and distances."
    )
    motion: Literal["static", "moving"] = Field(
        default="static",
        description="Whether the camera stands still. With moving, bodies stay in the camera's axes of their frame, and there is no floor.",
    )
