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
    default_focal_mm35: float = Field(default=26.0, description="Main camera of a phone: 24-28 mm on nearly all sold since 2016.")
    focal_agreement: float = Field(
        default=0.02, gt=0, description="fov_deg and focal_mm35, both given, may differ by this share: rounding of what a data sheet says."
    )
    person_height_m: float | None = Field(default=None, gt=0.4, lt=2.6, description="Height of the main person; fixes the scale.")
    motion: Literal["static", "moving"] = Field(
        default="static", description="moving: bodies stay in the camera's axes of their frame, and no floor is claimed to be fixed."
    )
    motion_frames: int = Field(default=9, ge=2, description="Frames, spread over the clip, whose background is compared.")
    motion_side_px: int = Field(default=480, ge=64, description="Longer side they are shrunk to: half a pixel is a thousandth of it.")
    motion_points: int = Field(default=400, ge=8, description="Corners followed from frame to frame at most; more tell no more.")
    motion_least_points: int = Field(default=20, ge=2, description="With fewer followed between two frames, nothing can be told.")
    motion_columns: int = Field(default=8, ge=1, description="Columns the picture is cut into; a part has one vote, however many corners.")
    motion_rows: int = Field(default=6, ge=1, description="... and its rows.")
    motion_least_parts: int = Field(default=6, ge=1, description="Corners in fewer parts may all belong to one thing that moves.")
    motion_same_share: float = Field(
        default=0.004, gt=0, description="Points this near to where they should be, as a share of the diagonal, agree: half of it is error."
    )
    motion_least_share: float = Field(
        default=0.01, gt=0, description="Rims that move by less of the diagonal stand still: half a degree with a phone, wind on a tripod."
    )
    motion_agreed_share: float = Field(default=0.5, gt=0, le=1, description="Share of the votes a movement needs: the background's.")
    motion_bent_share: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="... and these nearer than this share of the way moved: a turn moves a wide lens's rim farther.",
    )
    motion_ahead_share: float = Field(default=0.2, ge=0, le=1, description="... and by how much it must beat standing still.")
    motion_incoherent_share: float = Field(
        default=0.15, ge=0, le=1, description="Where fewer parts than this stand still, the camera travels past things at many distances."
    )
    motion_zoom_least: float = Field(default=1.03, gt=1, description="Pictures that grow by less than this factor are not called zoomed.")
