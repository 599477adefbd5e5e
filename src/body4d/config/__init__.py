"""The public settings: what a user has a reason to change. Other thresholds are constants beside the functions that use them.

Order of precedence: defaults < YAML file < environment (``BODY4D_VIDEO__START_S=2``) < command-line flags.
"""

from body4d.config.models import BlazePoseSettings, FitSettings, MogeSettings, OcclusionSettings, Sam3dBodySettings, Sam3Settings
from body4d.config.serving import AppSettings, SpaceSettings
from body4d.config.settings import (
    CameraSettings,
    ComputeSettings,
    MotionSettings,
    PeopleSettings,
    PictureSettings,
    Settings,
    VideoSettings,
    WeightsSettings,
)

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
