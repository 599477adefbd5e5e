"""One tree of settings. Every threshold is a named field with its unit in the name and its reason beside it.

Order of precedence: defaults < YAML file < environment (``BODY4D_VIDEO__START_S=2``) < command-line flags.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class VideoSettings(_Section):
    """Which frames are looked at, and at what size."""

    start_s: float | None = Field(None, ge=0, description="First moment to look at, in seconds of playback.")
    end_s: float | None = Field(None, gt=0, description="Last moment to look at, in seconds of playback.")
    fps: float | None = Field(None, gt=0, description="Look at no more than this many frames a second; never invents frames.")
    max_side_px: int | None = Field(None, ge=64, description="Shrink frames so that the longer side is at most this.")


class PeopleSettings(_Section):
    """Whom to follow."""

    count: int | Literal["all", "main"] = Field("main", description="How many people: a number, all, or the main subject(s).")


class BlazePoseSettings(_Section):
    """Finding and following people with BlazePose (preset lite)."""


class CameraSettings(_Section):
    """The one camera of the clip. Precedence: fov_deg, focal_mm35, the file's metadata, the default."""

    fov_deg: float | None = Field(None, gt=1, lt=170, description="Horizontal field of view in degrees.")
    focal_mm35: float | None = Field(None, gt=5, lt=2000, description="35 mm equivalent focal length in millimetres.")
    default_focal_mm35: float = Field(26.0, description="Main camera of a phone: 24-28 mm on nearly all sold since 2016.")
    person_height_m: float | None = Field(None, gt=0.4, lt=2.6, description="Height of the main person; fixes the scale.")


class FitSettings(_Section):
    """Fitting Anny to landmarks and silhouettes (preset lite)."""


class MotionSettings(_Section):
    """The smoother."""

    enabled: bool = Field(True, description="False keeps every frame as it was recovered.")


class PictureSettings(_Section):
    """What the rendered pictures look like."""

    enabled: bool = Field(True, description="False writes numbers only.")
    audio: bool = Field(False, description="Carry the clip's sound along into overlay.mp4.")


class Settings(_Section):
    """Everything a run can be told."""

    preset: Literal["auto", "lite", "sam"] = Field("auto", description="Which models fill the seats.")
    video: VideoSettings = VideoSettings()
    people: PeopleSettings = PeopleSettings()
    blazepose: BlazePoseSettings = BlazePoseSettings()
    camera: CameraSettings = CameraSettings()
    fit: FitSettings = FitSettings()
    motion: MotionSettings = MotionSettings()
    pictures: PictureSettings = PictureSettings()
