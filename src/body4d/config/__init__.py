"""The public settings: what a user has a reason to change. Other thresholds are constants beside the functions that use them.

Order of precedence: defaults < YAML file < environment (``BODY4D_VIDEO__START_S=2``) < command-line flags.
"""

from typing import Literal

from pydantic import Field

from body4d.config.clip import CameraSettings, PeopleSettings, VideoSettings
from body4d.config.lite import BlazePoseSettings, FitSettings
from body4d.config.machine import AppSettings, ComputeSettings, SpaceSettings, WeightsSettings
from body4d.config.result import MotionSettings, PictureSettings
from body4d.config.sam import MogeSettings, OcclusionSettings, Sam3dBodySettings, Sam3Settings
from body4d.config.section import Section

__all__ = [
    "AppSettings",
    "BlazePoseSettings",
    "CameraSettings",
    "ComputeSettings",
    "FitSettings",
    "MogeSettings",
    "MotionSettings",
    "OcclusionSettings",
    "PeopleSettings",
    "PictureSettings",
    "Sam3Settings",
    "Sam3dBodySettings",
    "Settings",
    "SpaceSettings",
    "VideoSettings",
    "WeightsSettings",
]


class Settings(Section):
    """All settings, in one section for each subject."""

    preset: Literal["auto", "lite", "sam"] = Field(
        default="auto",
        description="Which models are used: lite (any CPU), sam (a GPU and the official checkpoints), or auto, which takes sam where both "
        "are found and lite otherwise.",
    )
    video: VideoSettings = VideoSettings()
    people: PeopleSettings = PeopleSettings()
    blazepose: BlazePoseSettings = BlazePoseSettings()
    camera: CameraSettings = CameraSettings()
    moge: MogeSettings = MogeSettings()
    sam3: Sam3Settings = Sam3Settings()
    sam3d_body: Sam3dBodySettings = Sam3dBodySettings()
    occlusion: OcclusionSettings = OcclusionSettings()
    compute: ComputeSettings = ComputeSettings()
    weights: WeightsSettings = WeightsSettings()
    fit: FitSettings = FitSettings()
    motion: MotionSettings = MotionSettings()
    pictures: PictureSettings = PictureSettings()
    space: SpaceSettings = SpaceSettings()
    app: AppSettings = AppSettings()
