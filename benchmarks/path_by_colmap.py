"""How does the camera's path compare with COLMAP's on films whose path is known exactly?

    pip install --no-deps pycolmap==4.2.1      # 38 MB; in an environment beside body4d's, or with --target and PYTHONPATH
    python benchmarks/path_by_colmap.py --films FOLDER [--moves pan handheld follow orbit dolly] [--mapper incremental global]
        [--every 5] [--json]

FOLDER holds films of ``body4d.evaluate`` with their truth, as ``python benchmarks/world.py --out FOLDER`` leaves them. Both programs get
every frame (COLMAP every fifth, or it takes a quarter of an hour a film), the true masks (grown for ours, as always) and a focal length
that is assumed. COLMAP: SIFT outside the masks, frames matched with the ten after them, one pinhole camera whose focal length it refines,
the incremental or the global mapper (GLOMAP). Its largest model counts; frames that it leaves out are interpolated. Errors are those of
``body4d.evaluate.world.score_camera``, the path's after the one factor of length that fits best.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from body4d.camera.intrinsics import GivenCamera
from body4d.camera.motion import people_mask
from body4d.camera.path import estimate_path, with_path
from body4d.config import CameraSettings
from body4d.core.camera import Camera, CameraPath
from body4d.core.scene_io import load_masks, load_scene
from body4d.core.stages import ignore_progress
from body4d.evaluate.world import score_camera
from body4d.video import VideoReader, probe

MIN_REGISTERED = 5
"""Fewer frames make no path."""


def interpolated_path(frames: np.ndarray, T_reference_camera: np.ndarray, focal_px: float, count: int) -> CameraPath:
    """A path of ``count`` frames from some of them; beyond the ends the nearest one's."""
    at = np.clip(np.arange(count), frames[0], frames[-1])
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = Slerp(frames, Rotation.from_matrix(T_reference_camera[:, :3, :3]))(at).as_matrix()
    T[:, :3, 3] = np.stack([np.interp(at, frames, T_reference_camera[:, axis, 3]) for axis in range(3)], axis=1)
    none = np.zeros(count)
    return CameraPath("moving", np.linalg.inv(T[0]) @ T, np.full(count, focal_px), none, none, none, source="colmap")


def colmap_camera(reader: VideoReader, masks: Any, camera: Camera, folder: Path, mapper: str, every: int) -> tuple[Camera | None, int]:
    """The camera with COLMAP's path, None where it finds none; and how many frames it places."""
    import pycolmap
    from PIL import Image

    pictures, hidden = folder / "pictures", folder / "masks"
    pictures.mkdir()
    hidden.mkdir()
    for frame, rgb in reader.read(step=every):
        Image.fromarray(rgb).save(pictures / f"{frame:05}.png", compress_level=1)
        people = people_mask(masks, frame, rgb.shape[:2])
        Image.fromarray(np.where(people, 0, 255).astype(np.uint8)).save(hidden / f"{frame:05}.png.png", compress_level=1)
    how = pycolmap.ImageReaderOptions()
    how.camera_model, how.mask_path = "SIMPLE_PINHOLE", str(hidden)
    how.camera_params = f"{camera.focal_px},{camera.cx_px},{camera.cy_px}"
    database = folder / "database.db"
    pycolmap.extract_features(database, pictures, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=how)
    pairing = pycolmap.SequentialPairingOptions()
    pairing.overlap = 10
    pycolmap.match_sequential(database, pairing_options=pairing)
    (folder / "out").mkdir()
    run = pycolmap.incremental_mapping if mapper == "incremental" else pycolmap.global_mapping
    models = run(database, pictures, folder / "out")
    if not models:
        return None, 0
    model = max(models.values(), key=lambda found: found.num_reg_images())
    placed = sorted((int(Path(image.name).stem), image) for image in model.images.values() if image.has_pose)
    if len(placed) < MIN_REGISTERED:
        return None, len(placed)
    T_camera_world = np.tile(np.eye(4), (len(placed), 1, 1))
    T_camera_world[:, :3] = [image.cam_from_world().matrix() for _, image in placed]
    focal_px = float(next(iter(model.cameras.values())).focal_length)
    path = interpolated_path(np.array([frame for frame, _ in placed]), np.linalg.inv(T_camera_world), focal_px, len(reader.clip))
    return dataclasses.replace(camera, focal_px=focal_px, static=False, path=path), len(placed)


def own_camera(reader: VideoReader, masks: Any, camera: Camera) -> tuple[Camera | None, int]:
    """The camera with our path."""
    found = with_path(camera, estimate_path(reader, camera, masks, "auto", ignore_progress))
    return (None, 0) if found.path is None else (found, len(reader.clip))


def measure(film: Path, mapper: str, every: int) -> dict[str, Any]:
    """One film by one program."""
    reader, truth = VideoReader(probe(film)), load_scene(film.with_name("truth.npz"))
    masks = load_masks(film.with_name("truth_masks.npz"))
    camera = GivenCamera(CameraSettings()).estimate(reader, ignore_progress).value
    began, began_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found, placed = (
            own_camera(reader, masks, camera) if mapper == "ours" else colmap_camera(reader, masks, camera, Path(folder), mapper, every)
        )
    row: dict[str, Any] = {"film": film.parent.name, "by": mapper, "frames": len(reader.clip), "placed": placed}
    row |= {"seconds": round(time.perf_counter() - began, 1), "processor_s": round(time.process_time() - began_cpu, 1)}
    if found is None:
        return row
    score = score_camera(found, truth.camera, np.arange(len(reader.clip)))
    row["called"] = score.called
    row["rotation_p90_deg"] = round(score.rotation_p90_deg, 3)
    row["path_error_share"] = round(score.scaled_path_error_share, 4)
    row["focal_max_share"] = round(score.focal_max_share, 4)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--moves", nargs="+", default=["pan", "handheld", "follow", "orbit", "dolly"])
    parser.add_argument("--mapper", nargs="+", choices=("incremental", "global"), default=["incremental"])
    parser.add_argument("--every", type=int, default=5, help="COLMAP gets each so many frames")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for move in given.moves:
        films = sorted(given.films.glob(f"{move}-*/{move}.mp4"))
        if not films:
            raise SystemExit(f"{given.films} holds no film of {move}")
        for film in films:
            for mapper in ("ours", *given.mapper):
                row = measure(film, mapper, given.every)
                print(json.dumps(row) if given.json else row, flush=True)


if __name__ == "__main__":
    main()
