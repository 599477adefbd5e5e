"""Rerun's .rrd: the video, what was measured in it, bodies, camera and curves on two timelines, through rerun-sdk (extra ``rerun``).

World: floor-aligned, y up, metres. Timelines: ``frame``, the clip's frames, and ``clip_time``, their exact times.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from body4d.bodies.registry import rig_of
from body4d.core.errors import InputError
from body4d.core.files import atomic_path
from body4d.core.rig import vertex_normals
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.export.movement import movement
from body4d.export.options import ExportOptions
from body4d.export.skeleton import CHUNK_FRAMES
from body4d.export.surface import world_surfaces
from body4d.render.style import person_colour
from body4d.video.reader import VideoReader
from body4d.video.timeline import CONTAINER_OPTIONS, Timeline
from body4d.video.writer import VideoWriter

_JOINT_RADIUS_M = 0.012
_KEYPOINT_RADIUS = 3.0
"""In points of the screen, which Rerun takes negative radii for."""
_PICTURE_DISTANCE_M = 0.5
"""How far before the camera the viewer draws its picture."""
_PLAYED_CODECS = ("h264", "av1")
"""What the viewer decodes everywhere, in an MP4."""
_MAX_VIDEO_BYTES = 200_000_000
"""A video is kept whole in memory while it is written; a larger one is encoded anew at the clip's size."""
_CURVE_GROUPS = {"Speeds": "speeds", "Joint angles": "angles"}
"""Those of ``movement`` that are written, and the entity above them."""

_BONES = (
    *(("nose", f"{side}_eye") for side in ("left", "right")),
    *((f"{side}_{a}", f"{side}_{b}")
      for side in ("left", "right")
      for a, b in (("eye", "ear"), ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"),
                   ("ankle", "heel"), ("heel", "big_toe"), ("ankle", "big_toe"), ("big_toe", "small_toe"))),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
)  # fmt: skip
"""Lines between joints, by name; those of which a joint set lacks an end are left out."""

_BODY_CLASS, _MEASURED_CLASS = 1, 0
"""Of Rerun's annotations: joints that lines connect, and measured points without lines, of which some are missing."""


def write_rrd(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write the recording. Without a clip at ``options.video`` or where the scene names it there is no video in it.

    Raises InputError where ``options.video`` is no file, OutputError.
    """
    import rerun as rr  # pyright: ignore[reportMissingImports]

    if options.video is not None and not options.video.is_file():
        raise InputError(f"There is no video at {options.video}.", code="clip_moved", hint="Name its place, or leave it out.")
    video = options.video or (scene.clip.path if scene.clip.path.is_file() else None)
    with atomic_path(path) as made:
        # The name is fixed so that files of one clip differ in nothing but the rows' stamps, which are the library's.
        out = rr.RecordingStream("body4d", recording_id=scene.clip.path.stem, send_properties=False)
        out.save(str(made), default_blueprint=_blueprint(rr))
        try:
            _write_scene(rr, out, scene, video, options)
            out.flush()
        finally:
            out.disconnect()


def _write_scene(rr: Any, out: Any, scene: Scene, video: Path | None, options: ExportOptions) -> None:
    """All of the recording, in the order in which a reader needs it."""
    out.log("world", rr.ViewCoordinates.RIGHT_HAND_Y_UP, static=True)
    scale = _write_video(rr, out, scene.clip, video) if video else 1.0
    _write_camera(rr, out, scene, scale)
    sets = {track.joint_set: _BODY_CLASS + k for k, track in enumerate({t.joint_set: t for t in scene.people}.values())}
    out.log("world", _annotations(rr, scene, sets), static=True)
    done, total = 0, sum(map(len, scene.people))
    for k, track in enumerate(scene.people):
        _write_joints(rr, out, scene, track, sets[track.joint_set], person_colour(k))
        _write_keypoints(rr, out, scene, track, person_colour(k), scale)
        if options.mesh:
            for count in _write_surface(rr, out, scene, track, person_colour(k)):
                done += count
                options.on_progress(done, total)
        _write_absences(rr, out, scene, track)
    _write_curves(rr, out, scene)


def _blueprint(rr: Any) -> Any:
    """Bodies in space beside the picture, and the curves below it."""
    import rerun.blueprint as rrb  # pyright: ignore[reportMissingImports]

    picture = rrb.Spatial2DView(origin="world/camera", name="Video")
    curves = rrb.Tabs(rrb.TimeSeriesView(origin="speeds", name="Speeds"), rrb.TimeSeriesView(origin="angles", name="Angles"))
    space = rrb.Spatial3DView(origin="world", name="World")
    return rrb.Blueprint(rrb.Horizontal(space, rrb.Vertical(picture, curves)), collapse_panels=True)


def _times(rr: Any, clip: Clip, frames: np.ndarray) -> list[Any]:
    """The two timelines at these frames."""
    stamps = np.round(clip.times_s[frames] * 1e9).astype("timedelta64[ns]")
    return [rr.TimeColumn("frame", sequence=frames), rr.TimeColumn("clip_time", duration=stamps)]


def _write_video(rr: Any, out: Any, clip: Clip, video: Path) -> float:
    """Write the video and which of its pictures belongs to each frame; returns its size over the clip's."""
    with TemporaryDirectory() as folder:
        path, width_px, source_frames = _playable(replace(clip, path=video), Path(folder))
        asset = rr.AssetVideo(contents=path.read_bytes(), media_type="video/mp4")
    out.log("world/camera/video", asset, static=True)
    stamps = np.sort(asset.read_frame_timestamps_nanos())[source_frames]
    for first in range(0, len(clip), CHUNK_FRAMES):
        frames = np.arange(first, min(first + CHUNK_FRAMES, len(clip)))
        out.send_columns("world/camera/video", _times(rr, clip, frames), rr.VideoFrameReference.columns_nanos(stamps[frames]))
    return width_px / clip.width_px


def _playable(clip: Clip, folder: Path) -> tuple[Path, int, np.ndarray]:
    """A video that the viewer plays as it is: the clip's own, or its frames encoded anew in ``folder``; its width in pixels, and which of
    its pictures each frame of the clip is."""
    timeline = Timeline.open(clip.path)
    with av.open(str(clip.path), container_options=CONTAINER_OPTIONS) as container:
        codec = container.streams.video[0].codec_context.name
    is_plain = clip.rotation_deg == 0 and timeline.pixel_aspect == 1 and clip.path.suffix.lower() in (".mp4", ".m4v")
    if is_plain and codec in _PLAYED_CODECS and clip.path.stat().st_size <= _MAX_VIDEO_BYTES:
        return clip.path, timeline.stored_size_px[0], clip.source_frames
    path = folder / "clip.mp4"
    with VideoWriter(path, clip.width_px, clip.height_px, clip.times_s) as writer:
        for _, picture in VideoReader(clip).read():
            writer.write(picture)
    return path, clip.width_px, np.arange(len(clip))


def _write_camera(rr: Any, out: Any, scene: Scene, scale: float) -> None:
    """The pinhole, in the video's pixels, on each frame where it moves; its axes are x right, y down, z forward."""
    camera, path = scene.camera.scaled(scale), "world/camera"
    resolution = [camera.width_px, camera.height_px]
    if camera.path is None:
        T = scene.T_world_camera
        out.log(path, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]), static=True)
        pinhole = rr.Pinhole(
            image_from_camera=camera.K, resolution=resolution, camera_xyz=rr.ViewCoordinates.RDF, image_plane_distance=_PICTURE_DISTANCE_M
        )
        out.log(path, pinhole, static=True)
        return
    # What is static would hide what is told of a frame, so that the fixed part of the pinhole is told without the moving one.
    fixed = {"resolution": resolution, "camera_xyz": rr.ViewCoordinates.RDF, "image_plane_distance": _PICTURE_DISTANCE_M}
    out.log(path, rr.Pinhole.from_fields(**fixed), static=True)
    for first in range(0, len(scene.clip), CHUNK_FRAMES):
        frames = np.arange(first, min(first + CHUNK_FRAMES, len(scene.clip)))
        T, K = scene.T_world_camera_at(frames), np.stack([camera.at(int(frame)).K for frame in frames])
        places = rr.Transform3D.columns(translation=T[:, :3, 3], mat3x3=T[:, :3, :3])
        out.send_columns(path, _times(rr, scene.clip, frames), [*places, *rr.Pinhole.columns(image_from_camera=K)])


def _annotations(rr: Any, scene: Scene, sets: dict[str, int]) -> Any:
    """Names of joints and the lines between them, for each joint set."""
    classes = [rr.ClassDescription(info=rr.AnnotationInfo(id=_MEASURED_CLASS, label="measured"))]
    for track in {t.joint_set: t for t in scene.people}.values():
        at = {name: k for k, name in enumerate(track.joint_names)}
        classes.append(
            rr.ClassDescription(
                info=rr.AnnotationInfo(id=sets[track.joint_set], label=track.joint_set),
                keypoint_annotations=[rr.AnnotationInfo(id=k, label=name) for name, k in at.items()],
                keypoint_connections=[(at[a], at[b]) for a, b in _BONES if a in at and b in at],
            )
        )
    return rr.AnnotationContext(classes)


def _write_joints(rr: Any, out: Any, scene: Scene, track: BodyTrack, class_id: int, colour: tuple[int, int, int]) -> None:
    """All joints of each frame in the world."""
    path, names = f"world/person_{track.person_id}/joints", track.joint_names
    shown = rr.Points3D.from_fields(radii=[_JOINT_RADIUS_M], colors=[colour], class_ids=[class_id], show_labels=False)
    out.log(path, shown, static=True)
    for rows, frames in _stretches(track):
        places = scene.world_points(track.joints_m[rows], frames).astype(np.float32)
        ids = np.tile(np.arange(len(names), dtype=np.uint16), len(frames))
        columns = rr.Points3D.columns(positions=places.reshape(-1, 3), keypoint_ids=ids).partition([len(names)] * len(frames))
        out.send_columns(path, _times(rr, scene.clip, frames), columns)


def _write_keypoints(rr: Any, out: Any, scene: Scene, track: BodyTrack, colour: tuple[int, int, int], scale: float) -> None:
    """The points measured in the picture; those that were not are left out."""
    path = f"world/camera/person_{track.person_id}/keypoints"
    shown = rr.Points2D.from_fields(radii=[-_KEYPOINT_RADIUS], colors=[colour], class_ids=[_MEASURED_CLASS], show_labels=False)
    out.log(path, shown, static=True)
    for rows, frames in _stretches(track):
        points = track.keypoints_px[rows] * scale
        seen = np.isfinite(points).all(-1)
        ids = np.nonzero(seen)[1].astype(np.uint16)
        columns = rr.Points2D.columns(positions=points[seen].astype(np.float32), keypoint_ids=ids).partition(seen.sum(1))
        out.send_columns(path, _times(rr, scene.clip, frames), columns)


def _write_surface(rr: Any, out: Any, scene: Scene, track: BodyTrack, colour: tuple[int, int, int]) -> Iterator[int]:
    """The triangles once, then vertices and normals of each frame; yields how many frames each stretch had."""
    path, faces = f"world/person_{track.person_id}/surface", rig_of(track).faces
    out.log(path, rr.Mesh3D.from_fields(triangle_indices=faces.astype(np.uint32), albedo_factor=[*colour, 255]), static=True)
    for rows, surfaces in world_surfaces(scene, track):
        normals = np.stack([vertex_normals(vertices, faces) for vertices in surfaces])
        columns = rr.Mesh3D.columns(vertex_positions=surfaces.reshape(-1, 3), vertex_normals=normals.reshape(-1, 3))
        columns = columns.partition([surfaces.shape[1]] * len(surfaces))
        out.send_columns(path, _times(rr, scene.clip, track.frame_index[rows]), columns)
        yield len(surfaces)


def _write_absences(rr: Any, out: Any, scene: Scene, track: BodyTrack) -> None:
    """Take a person away where they are no longer followed: what was logged last would stay otherwise."""
    gone = track.frame_index[np.diff(track.frame_index, append=len(scene.clip)) > 1] + 1
    gone = gone[gone < len(scene.clip)]
    if len(gone):
        for above in ("world", "world/camera", "speeds", "angles"):
            cleared = rr.Clear.columns(is_recursive=[True] * len(gone))
            out.send_columns(f"{above}/person_{track.person_id}", _times(rr, scene.clip, gone), cleared)


def _write_curves(rr: Any, out: Any, scene: Scene) -> None:
    """Speeds and joint angles as the page of a result shows them."""
    for track, person in zip(scene.people, movement(scene)["people"], strict=True):
        for curve in person["curves"]:
            group = _CURVE_GROUPS.get(curve["group"])
            if group is None:
                continue
            values = np.array(curve["values"], float)  # None: NaN
            known = np.isfinite(values)
            path = f"{group}/person_{track.person_id}/{curve['name']}"
            out.log(path, rr.SeriesLines.from_fields(names=[f"{curve['label']} ({track.person_id})"]), static=True)
            times = _times(rr, scene.clip, track.frame_index[known])
            out.send_columns(path, times, rr.Scalars.columns(scalars=values[known]))


def _stretches(track: BodyTrack) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a track and their frames, some at a time."""
    for first in range(0, len(track), CHUNK_FRAMES):
        rows = slice(first, first + CHUNK_FRAMES)
        yield rows, track.frame_index[rows]
