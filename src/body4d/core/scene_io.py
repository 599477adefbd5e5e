"""Scenes, masks and bodies on disk: npz archives without pickle, the same bytes for the same content. Schema: docs/files.md."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.camera import CameraPath
from body4d.core.errors import InputError, RunWarning
from body4d.core.files import atomic_file
from body4d.core.occlusion import OcclusionSegment
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip, HandTrack, LandmarkTrack, MaskTrack, Scene

AnyPath = str | os.PathLike[str]

SCHEMA = 2
"""Version of the file kinds; raised when a reader of the older one would misread the newer."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first moment a zip entry can carry: a fixed one keeps the bytes free of the clock
_UNIX = 3
_TRACK_ARRAYS = ("frame_index", "shape", "rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
_TRACK_OPTIONAL = ("mask_iou", "joints_raw_m", "joint_sigma_m", "hidden")
# What numpy, zipfile, zlib and the nouns raise on altered bytes; NotImplementedError: a zip header asking for an unknown compression.
_DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_RIG_FLOATS = ("rest_joints_m", "rest_vertices_m", "skin_weights", "keypoint_weights", "keypoint_anchors_m")
_RIG_WHOLE = ("parents", "faces", "skin_indices")
_HIDDEN_ARRAYS = ("frame_index", "hidden", "visible_share", "box_px", "pictures")
_LANDMARK_ARRAYS = ("points_px", "depth_px", "world_m", "visibility")
_HAND_ARRAYS = ("points_px", "world_m", "score", "right_probability")
_PATH_ARRAYS = ("T_reference_camera", "focal_px", "rotation_sigma_deg", "position_sigma_m", "focal_sigma")
_PATH_NAMES = ("kind", "source", "scale_source")


def save_scene(scene: Scene, path: AnyPath) -> None:
    """Write ``scene`` to ``path`` (scene.npz), whole or not at all. Of the clip's path only the name is kept. Raises OutputError."""
    clip, camera = scene.clip, scene.camera
    arrays: dict[str, Any] = {
        "preset": scene.preset,
        "warnings": np.array([json.dumps(warning.as_json(), ensure_ascii=False) for warning in scene.warnings], dtype=np.str_),
        "T_world_camera": scene.T_world_camera,
        "clip/name": clip.path.name,
        "clip/size_px": [clip.width_px, clip.height_px],
        "clip/rate": [clip.rate.numerator, clip.rate.denominator],
        "clip/times_s": clip.times_s,
        "clip/source_frames": clip.source_frames,
        "clip/rotation_deg": clip.rotation_deg,
        "clip/has_audio": clip.has_audio,
        "clip/focal_mm35": np.nan if clip.focal_mm35 is None else clip.focal_mm35,
        "clip/variable_rate": clip.variable_rate,
        "clip/cuts": clip.cuts,
        **_camera_arrays(camera),
    }
    if clip.capture_rate is not None:
        arrays["clip/capture_rate"] = [clip.capture_rate.numerator, clip.capture_rate.denominator]
    write_npz(path, "scene", arrays | _body_arrays(scene.people))


def load_scene(path: AnyPath, video: AnyPath | None = None) -> Scene:
    """Read what ``save_scene`` wrote. ``video`` is the path of the clip; without it ``clip.path`` is the bare file name.

    Raises InputError where ``path`` is missing, damaged, of another kind or of another schema.
    """
    data = _read_npz(path, "scene")
    with _reading(path):
        focal = float(data["clip/focal_mm35"])
        width, height = (int(v) for v in data["clip/size_px"])
        clip = Clip(
            path=Path(video) if video else Path(str(data["clip/name"])),
            width_px=width,
            height_px=height,
            rate=_fraction(data["clip/rate"]),
            times_s=data["clip/times_s"],
            source_frames=data["clip/source_frames"],
            capture_rate=_fraction(data["clip/capture_rate"]) if "clip/capture_rate" in data else None,
            rotation_deg=int(data["clip/rotation_deg"]),
            has_audio=bool(data["clip/has_audio"]),
            focal_mm35=None if np.isnan(focal) else focal,
            variable_rate=bool(data["clip/variable_rate"]),
            cuts=data.get("clip/cuts", np.zeros(0, np.int64)),  # not in files of versions before cuts were looked for
        )
        return Scene(
            clip=clip,
            camera=_camera(data),
            people=_bodies(data),
            T_world_camera=data["T_world_camera"],
            preset=str(data["preset"]),
            warnings=tuple(RunWarning.from_json(json.loads(str(warning))) for warning in data["warnings"]),
        )


def save_camera(camera: Camera, path: AnyPath) -> None:
    """Write the camera alone: what a run keeps of the stage ``camera``. Raises OutputError."""
    write_npz(path, "camera", _camera_arrays(camera))


def load_camera(path: AnyPath) -> Camera:
    """Read what ``save_camera`` wrote. Raises InputError as ``load_scene``."""
    data = _read_npz(path, "camera")
    with _reading(path):
        return _camera(data)


def save_bodies(tracks: Sequence[BodyTrack], path: AnyPath) -> None:
    """Write body tracks alone, in order: what a run keeps of the bodies before smoothing. Raises OutputError."""
    write_npz(path, "bodies", _body_arrays(tracks))


def load_bodies(path: AnyPath) -> tuple[BodyTrack, ...]:
    """Read what ``save_bodies`` wrote. Raises InputError as ``load_scene``."""
    data = _read_npz(path, "bodies")
    with _reading(path):
        return _bodies(data)


def save_masks(tracks: Sequence[MaskTrack], path: AnyPath) -> None:
    """Write mask tracks in order, run-length codes end to end, with their landmarks where they have any. Raises OutputError."""
    arrays: dict[str, Any] = {"person_ids": np.array([t.person_id for t in tracks], np.int64)}
    for track in tracks:
        key = f"person_{track.person_id}"
        arrays[f"{key}/frame_index"] = track.frame_index
        arrays[f"{key}/size_px"] = [track.width_px, track.height_px]
        arrays |= _code_arrays(key, track.codes)
        if track.landmarks is not None:
            arrays[f"{key}/landmarks/joint_set"] = track.landmarks.joint_set
            for name in _LANDMARK_ARRAYS:
                arrays[f"{key}/landmarks/{name}"] = getattr(track.landmarks, name)
            for name in _HAND_ARRAYS if track.landmarks.hands is not None else ():
                arrays[f"{key}/hands/{name}"] = getattr(track.landmarks.hands, name)
    write_npz(path, "masks", arrays)


def load_masks(path: AnyPath) -> tuple[MaskTrack, ...]:
    """Read what ``save_masks`` wrote. Raises InputError as ``load_scene``."""
    data = _read_npz(path, "masks")
    tracks = []
    with _reading(path):
        for person_id in data["person_ids"].tolist():
            key = f"person_{person_id}"
            landmarks = None
            if f"{key}/landmarks/joint_set" in data:
                arrays = {name: data[f"{key}/landmarks/{name}"] for name in _LANDMARK_ARRAYS}
                # Masks of versions before hands were read, and of runs without their model, have none.
                hands = HandTrack(**{n: data[f"{key}/hands/{n}"] for n in _HAND_ARRAYS}) if f"{key}/hands/score" in data else None
                landmarks = LandmarkTrack(**arrays, joint_set=str(data[f"{key}/landmarks/joint_set"]), hands=hands)
            tracks.append(
                MaskTrack(
                    person_id=person_id,
                    frame_index=data[f"{key}/frame_index"],
                    codes=_codes(data, key),
                    height_px=int(data[f"{key}/size_px"][1]),
                    width_px=int(data[f"{key}/size_px"][0]),
                    landmarks=landmarks,
                )
            )
    return tuple(tracks)


def save_hidden(segments: Sequence[OcclusionSegment], path: AnyPath) -> None:
    """Write occlusion segments in order, with their amodal masks and completed pictures. Raises OutputError."""
    arrays: dict[str, Any] = {"person_ids": np.array([s.person_id for s in segments], np.int64)}
    for i, segment in enumerate(segments):
        key = f"segment_{i}"
        arrays[f"{key}/size_px"] = [segment.width_px, segment.height_px]
        arrays |= _code_arrays(key, segment.codes)
        arrays |= {f"{key}/{name}": getattr(segment, name) for name in _HIDDEN_ARRAYS}
    write_npz(path, "hidden", arrays)


def load_hidden(path: AnyPath) -> tuple[OcclusionSegment, ...]:
    """Read what ``save_hidden`` wrote. Raises InputError as ``load_scene``."""
    data = _read_npz(path, "hidden")
    with _reading(path):
        return tuple(
            OcclusionSegment(
                person_id=person_id,
                codes=_codes(data, f"segment_{i}"),
                width_px=int(data[f"segment_{i}/size_px"][0]),
                height_px=int(data[f"segment_{i}/size_px"][1]),
                **{name: data[f"segment_{i}/{name}"] for name in _HIDDEN_ARRAYS},
            )
            for i, person_id in enumerate(data["person_ids"].tolist())
        )


def write_npz(path: AnyPath, kind: str, arrays: Mapping[str, Any]) -> None:
    """Write a compressed npz of ``arrays`` with ``format`` = "body4d-<kind>" and ``schema``: atomic, and the same bytes each time.

    ``numpy.savez`` stamps the clock into every entry; here the entries carry a fixed time. Object arrays are refused.
    """
    stamped = {"format": f"body4d-{kind}", "schema": SCHEMA, **arrays}
    with atomic_file(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in stamped.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _EARLIEST)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, _UNIX, 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(value, order="C"), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, content.getvalue())


def _code_arrays(key: str, codes: Sequence[bytes]) -> dict[str, Any]:
    """Run-length codes end to end, and where each begins."""
    offsets = np.cumsum([0, *(len(code) for code in codes)], dtype=np.int64)
    return {f"{key}/rle": np.frombuffer(b"".join(codes), np.uint8), f"{key}/rle_offsets": offsets}


def _codes(data: Mapping[str, np.ndarray], key: str) -> tuple[bytes, ...]:
    rle = data[f"{key}/rle"].tobytes()
    return tuple(rle[a:b] for a, b in pairwise(data[f"{key}/rle_offsets"].tolist()))


def _camera_arrays(camera: Camera) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "camera/K": camera.K,
        "camera/size_px": [camera.width_px, camera.height_px],
        "camera/source": camera.source,
        "camera/static": camera.static,
    }
    if camera.focal_spread is not None:
        arrays["camera/focal_spread"] = camera.focal_spread
    if camera.gravity is not None and camera.gravity_sigma_deg is not None:
        arrays |= {"camera/gravity": camera.gravity, "camera/gravity_sigma_deg": camera.gravity_sigma_deg}
    if camera.path is not None:
        arrays |= {f"camera/path/{name}": getattr(camera.path, name) for name in (*_PATH_NAMES, *_PATH_ARRAYS)}
        if camera.path.depth_scale is not None:
            arrays["camera/path/depth_scale"] = camera.path.depth_scale
    return arrays


def _camera(data: Mapping[str, np.ndarray]) -> Camera:
    K = data["camera/K"]
    path = None
    if "camera/path/kind" in data:
        names: dict[str, Any] = {name: str(data[f"camera/path/{name}"]) for name in _PATH_NAMES}
        arrays: dict[str, Any] = {name: data[f"camera/path/{name}"] for name in _PATH_ARRAYS}
        depth_scale = tuple(data["camera/path/depth_scale"].tolist()) if "camera/path/depth_scale" in data else None
        path = CameraPath(**names, **arrays, depth_scale=depth_scale)
    return Camera(
        focal_px=float(K[0, 0]),
        cx_px=float(K[0, 2]),
        cy_px=float(K[1, 2]),
        width_px=int(data["camera/size_px"][0]),
        height_px=int(data["camera/size_px"][1]),
        source=str(data["camera/source"]),
        static=bool(data["camera/static"]),
        focal_spread=float(data["camera/focal_spread"]) if "camera/focal_spread" in data else None,
        gravity=tuple(data["camera/gravity"].tolist()) if "camera/gravity" in data else None,
        gravity_sigma_deg=tuple(data["camera/gravity_sigma_deg"].tolist()) if "camera/gravity" in data else None,
        path=path,
    )


def _body_arrays(tracks: Sequence[BodyTrack]) -> dict[str, Any]:
    arrays: dict[str, Any] = {"person_ids": np.array([t.person_id for t in tracks], np.int64)}
    for track in tracks:
        key = f"person_{track.person_id}"
        arrays[f"{key}/body"] = track.body
        arrays[f"{key}/joint_set"] = track.joint_set
        arrays[f"{key}/joint_names"] = np.array(track.joint_names)
        arrays[f"{key}/parameters"] = track.parameters
        for name in (*_TRACK_ARRAYS, *_TRACK_OPTIONAL):
            if getattr(track, name) is not None:
                arrays[f"{key}/{name}"] = getattr(track, name)
        if track.height_assumed is not None:
            arrays[f"{key}/height_assumed"] = track.height_assumed
        if track.rig is not None:
            arrays |= {f"{key}/rig/{name}": value for name, value in _rig_arrays(track.rig).items()}
    return arrays


def _rig_arrays(rig: Rig) -> dict[str, Any]:
    """A rig in 32 bits: a body measures a metre or two, and 32 bits resolve a ten-millionth of it."""
    names = {"joint_names": np.array(rig.joint_names), "joint_set": rig.joint_set}
    return (
        names
        | {name: getattr(rig, name).astype(np.float32) for name in _RIG_FLOATS}
        | {name: getattr(rig, name).astype(np.int32) for name in _RIG_WHOLE}
    )


def _rig(data: Mapping[str, np.ndarray], key: str) -> Rig | None:
    if f"{key}/joint_set" not in data:
        return None
    return Rig(
        joint_names=tuple(str(name) for name in data[f"{key}/joint_names"]),
        joint_set=str(data[f"{key}/joint_set"]),
        **{name: data[f"{key}/{name}"].astype(np.float64) for name in _RIG_FLOATS},
        **{name: data[f"{key}/{name}"] for name in _RIG_WHOLE},
    )


def _bodies(data: Mapping[str, np.ndarray]) -> tuple[BodyTrack, ...]:
    tracks = []
    for person_id in data["person_ids"].tolist():
        key = f"person_{person_id}"
        tracks.append(
            BodyTrack(
                person_id=person_id,
                body=str(data[f"{key}/body"]),
                joint_set=str(data[f"{key}/joint_set"]),
                parameters=data[f"{key}/parameters"],
                **{name: data.get(f"{key}/{name}") for name in _TRACK_OPTIONAL},
                height_assumed=bool(data[f"{key}/height_assumed"]) if f"{key}/height_assumed" in data else None,
                rig=_rig(data, f"{key}/rig"),
                **{name: data[f"{key}/{name}"] for name in _TRACK_ARRAYS},
            )
        )
    return tuple(tracks)


def _read_npz(path: AnyPath, kind: str) -> dict[str, np.ndarray]:
    """All arrays of a file of ours, after a look at its kind and version."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a {kind} file.", code="file_is_folder", hint="Name the .npz file inside it.")
    if not path.exists():
        raise InputError(f"{path} does not exist.", code="file_missing", hint="Check the path, or run body4d again to make it.")
    with _reading(path), np.load(path, allow_pickle=False) as archive:
        if not hasattr(archive, "files"):
            raise ValueError("it holds a single array")
        names = set(archive.files)
        kind_found = str(archive["format"]) if "format" in names else "some other npz"
        version = int(archive["schema"]) if "schema" in names else 0
        if kind_found == f"body4d-{kind}" and version == SCHEMA:
            return {name: archive[name] for name in archive.files}
    if kind_found != f"body4d-{kind}":
        raise InputError(
            f"{path} is not a body4d {kind} file (found: {kind_found}).",
            code="file_kind",
            hint=f"Name the {kind} file of a run.",
            found=kind_found,
        )
    if version < SCHEMA:
        raise InputError(
            f"{path} was written by an older body4d (schema {version}, this one reads {SCHEMA}).",
            code="file_schema",
            hint="Make it anew from the video: `body4d run CLIP --fresh`.",
            schema=version,
        )
    raise InputError(
        f"{path} was written by a newer body4d (schema {version}, this one reads {SCHEMA}).",
        code="file_schema",
        hint="Update body4d.",
        schema=version,
    )


_AGAIN = "Run body4d again to make it anew."


class _reading:
    """Turns whatever goes wrong while a file is taken apart into one sentence that names the file."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise InputError(f"{self._path} is damaged or incomplete (it lacks {error}).", code="file_damaged", hint=_AGAIN) from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"{self._path} cannot be read for lack of rights.", code="file_unreadable", hint="Check its permissions."
            ) from error
        if isinstance(error, _DAMAGE):
            raise InputError(f"{self._path} is damaged or no body4d file ({error}).", code="file_damaged", hint=_AGAIN) from error


def _fraction(pair: np.ndarray) -> Fraction:
    return Fraction(int(pair[0]), int(pair[1]))
