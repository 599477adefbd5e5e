"""The given camera: which of settings and metadata takes precedence."""

from pathlib import Path

import numpy as np
import pytest

from body4d.camera.intrinsics import GivenCamera, choose_focal, focal_px_of_mm35
from body4d.config import CameraSettings
from body4d.core.errors import SettingsError
from body4d.core.stages import ignore_progress
from fakes import FakeFrames


@pytest.mark.parametrize(
    ("settings", "metadata", "source"),
    [
        ({}, None, "default"),
        ({}, 28.0, "metadata"),
        ({"focal_mm35": 50}, 28.0, "focal_mm35"),
        ({"fov_deg": 60}, 28.0, "fov"),
        ({"fov_deg": 60, "default_focal_mm35": 99}, None, "fov"),
    ],
)
def test_precedence(settings: dict[str, float], metadata: float | None, source: str) -> None:
    assert choose_focal(CameraSettings(**settings), 1920, 1080, metadata)[1] == source


def test_fov_is_horizontal() -> None:
    focal, _ = choose_focal(CameraSettings(fov_deg=90), 1920, 1080, None)
    assert focal == pytest.approx(960)


def test_a_full_frame_at_36_mm_sees_its_own_width() -> None:
    # On a 3:2 picture the 35 mm frame is the picture itself: a 36 mm lens sees 36 mm across, half of which is 26.57 degrees.
    focal = focal_px_of_mm35(36, 3000, 2000)
    assert focal == pytest.approx(3000, rel=1e-4)
    assert np.degrees(np.arctan(1500 / focal)) == pytest.approx(26.565, abs=0.01)


def test_focal_does_not_depend_on_how_the_phone_is_held() -> None:
    assert focal_px_of_mm35(26, 1080, 1920) == focal_px_of_mm35(26, 1920, 1080)


def test_contradiction_is_refused_and_agreement_is_not() -> None:
    fov = float(np.degrees(2 * np.arctan(1500 / focal_px_of_mm35(50, 3000, 2000))))
    assert choose_focal(CameraSettings(fov_deg=round(fov, 1), focal_mm35=50), 3000, 2000, None)[1] == "fov"
    with pytest.raises(SettingsError, match="contradict"):
        choose_focal(CameraSettings(fov_deg=fov + 5, focal_mm35=50), 3000, 2000, None)


def test_camera_fits_the_clip() -> None:
    frames = FakeFrames(Path("x.mp4"))
    camera = GivenCamera(CameraSettings(fov_deg=70)).estimate(frames, ignore_progress).value
    assert (camera.width_px, camera.height_px, camera.cx_px, camera.cy_px) == (64, 48, 32, 24)
    assert camera.fov_deg == pytest.approx(70)
    assert camera.static
