"""What is done again when a setting changes: every setting is turned, for both presets, and exactly the stages listed here are stale."""

from pathlib import Path
from typing import Any

import pytest

from body4d.config import Settings
from body4d.config.loading import load_settings, valid_names
from body4d.run.pipeline import STAGES_BEFORE, Pipeline
from fake_checkpoints import write_fake_blazepose, write_fake_checkpoints

NONE: tuple[str, ...] = ()
ALL = tuple(STAGES_BEFORE)
FROM_MASKS = ALL[1:]
FROM_OCCLUSION = ("occlusion", "bodies", "motion", "pictures", "files")
FROM_CAMERA = ("camera", "bodies", "motion", "pictures", "files")
FROM_BODIES = ("bodies", "motion", "pictures", "files")
FROM_MOTION = ("motion", "pictures", "files")
PICTURES = ("pictures",)

# Setting: another value, the stages that preset lite does again, those of preset sam.
STALE: dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]] = {
    "video.start_s": (0.5, ALL, ALL),
    "video.end_s": (1.5, ALL, ALL),
    "video.fps": (10, ALL, ALL),
    "video.rotate_deg": (90, ALL, ALL),
    "video.max_side_px": (320, ALL, ALL),
    "video.max_megapixels": (20, ALL, ALL),
    "people.count": (2, FROM_MASKS, FROM_MASKS),
    "people.min_height_share": (0.2, FROM_MASKS, FROM_MASKS),
    "blazepose.landmarks": ("full", FROM_MASKS, NONE),
    "blazepose.num_workers": (1, NONE, NONE),
    "blazepose.max_people": (4, FROM_MASKS, NONE),
    "blazepose.detect_every_s": (0.5, FROM_MASKS, NONE),
    "blazepose.min_start_visibility": (0.6, FROM_MASKS, NONE),
    "blazepose.min_keep_visibility": (0.3, FROM_MASKS, NONE),
    "blazepose.max_lost_s": (1, FROM_MASKS, NONE),
    "camera.fov_deg": (50, FROM_CAMERA, FROM_CAMERA),
    "camera.focal_mm35": (35, FROM_CAMERA, FROM_CAMERA),
    "camera.default_focal_mm35": (28, FROM_CAMERA, FROM_CAMERA),
    "camera.person_height_m": (1.8, FROM_BODIES, FROM_BODIES),
    "camera.motion": ("moving", FROM_CAMERA, FROM_CAMERA),
    "moge.num_frames": (4, NONE, FROM_CAMERA),
    "moge.detail": (5, NONE, FROM_CAMERA),
    "sam3.text": ("golfer", NONE, FROM_MASKS),
    "sam3.detect_every_frames": (8, NONE, FROM_MASKS),
    "sam3.min_detection_score": (0.4, NONE, FROM_MASKS),
    "sam3.min_new_track_score": (0.8, NONE, FROM_MASKS),
    "sam3.max_people": (4, NONE, FROM_MASKS),
    "sam3.memory_s": (100, NONE, FROM_MASKS),
    "sam3.keep_loaded": (True, NONE, NONE),
    "sam3d_body.mode": ("body", NONE, FROM_BODIES),
    "sam3d_body.mask_prompt": (False, NONE, FROM_BODIES),
    "sam3d_body.min_confidence": (0.1, NONE, FROM_BODIES),
    "sam3d_body.upstream_exact": (True, NONE, FROM_BODIES),
    "occlusion.mode": ("off", NONE, FROM_OCCLUSION),
    "occlusion.num_steps": (10, NONE, FROM_OCCLUSION),
    "occlusion.guidance": (2, NONE, FROM_OCCLUSION),
    "occlusion.seed": (1, NONE, FROM_OCCLUSION),
    "occlusion.window_frames": (14, NONE, FROM_OCCLUSION),
    "occlusion.short_side_px": (320, NONE, FROM_OCCLUSION),
    "occlusion.long_side_px": (1024, NONE, FROM_OCCLUSION),
    "occlusion.upstream_exact": (False, NONE, FROM_OCCLUSION),
    "compute.device": ("cpu", NONE, FROM_MASKS),
    "compute.precision": ("float32", NONE, FROM_MASKS),
    "compute.compile": ("off", NONE, NONE),
    "compute.batch_size": (2, NONE, NONE),
    "compute.max_memory_share": (0.5, NONE, NONE),
    "compute.keep_loaded": (True, NONE, NONE),
    "weights.num_connections": (1, NONE, NONE),
    "weights.max_retries": (1, NONE, NONE),
    "fit.sex": ("male", FROM_BODIES, NONE),
    "fit.age_years": (9, FROM_BODIES, NONE),
    "fit.landmark_sigma_per_height": (0.02, FROM_BODIES, NONE),
    "fit.depth_sigma_m": (0.3, FROM_BODIES, NONE),
    "fit.acceleration_m_s2": (20, FROM_BODIES, NONE),
    "fit.num_shape_frames": (12, FROM_BODIES, NONE),
    "fit.chunk_frames": (240, FROM_BODIES, NONE),
    "motion.enabled": (False, FROM_MOTION, FROM_MOTION),
    "motion.min_cutoff_hz": (2, FROM_MOTION, FROM_MOTION),
    "motion.outlier_sigmas": (6, FROM_MOTION, FROM_MOTION),
    "motion.max_gap_s": (0.5, FROM_MOTION, FROM_MOTION),
    "motion.ground": ("off", FROM_MOTION, FROM_MOTION),
    "motion.max_foot_correction_m": (0.1, FROM_MOTION, FROM_MOTION),
    "pictures.enabled": (False, PICTURES, PICTURES),
    "pictures.audio": (True, PICTURES, PICTURES),
    "pictures.overlay_opacity": (0.5, PICTURES, PICTURES),
    "pictures.show_uncertainty": (True, PICTURES, PICTURES),
    "pictures.max_overlay_px": (1280, PICTURES, PICTURES),
    "pictures.panel_height_px": (480, PICTURES, PICTURES),
    "pictures.samples_per_pixel": (8, PICTURES, PICTURES),
    "pictures.num_sheet_frames": (6, PICTURES, PICTURES),
    "pictures.num_workers": (1, NONE, NONE),
    "pictures.device": ("cpu", NONE, NONE),
    "pictures.encoder": ("x264", PICTURES, PICTURES),
    "pictures.encode_crf": (23, PICTURES, PICTURES),
    "pictures.encode_preset": ("fast", PICTURES, PICTURES),
}

OF_NO_RUN = ("preset", "weights.", "space.", "app.")
"""Settings that decide which models run, where checkpoints lie, or what the app and a Space do: they are in no section of a stage.
Which checkpoint a stage was made with, and by which preset, is in its key under their names."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_blazepose(write_fake_checkpoints(tmp_path_factory.mktemp("checkpoints"), moge=True))


def keys(preset: str, folder: Path, **changed: Any) -> dict[str, Any]:
    overrides = {"preset": preset, "weights.folder": str(folder), "compute.device": "auto"}
    settings = load_settings(None, overrides | {name.replace("__", "."): value for name, value in changed.items()}, {})
    return Pipeline.load(settings).cache_inputs("hash of the clip")


def stale(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """The stages whose inputs differ, and those after them."""
    out: list[str] = []
    for stage, earlier in STAGES_BEFORE.items():
        if before[stage] != after[stage] or set(earlier) & set(out):
            out.append(stage)
    return tuple(out)


def test_every_setting_is_listed() -> None:
    names = {name for name in valid_names() if not name.startswith(OF_NO_RUN)}
    assert names == {name for name in STALE if not name.startswith(OF_NO_RUN)}


@pytest.mark.parametrize(("preset", "column"), [("lite", 1), ("sam", 2)])
def test_exactly_the_stages_that_read_a_setting_are_stale(preset: str, column: int, folder: Path) -> None:
    before = keys(preset, folder)
    for name, row in STALE.items():
        assert load_settings(None, {name: row[0]}, {}) != Settings(), f"{name} is not changed by {row[0]!r}"
        assert stale(before, keys(preset, folder, **{name.replace(".", "__"): row[0]})) == row[column], name
