"""Write the pictures of a run in one pass over the clip: overlay.mp4, views.mp4 and the contact sheet."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from body4d.config import PictureSettings
from body4d.core.errors import RunWarning
from body4d.core.files import atomic_file
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import Scene
from body4d.render.contact_sheet import ContactSheet, SheetColumn
from body4d.render.frame_renderer import FrameRenderer, PosedPerson, RenderPerson, ScenePoser
from body4d.render.layers import DevicePainter, LayerPainter, draw_layers
from body4d.runtime.cores import in_threads, usable_cores
from body4d.video import VideoWriter

MAX_WORKERS = 16
"""Threads that render where no number is set, however many cores there are: each holds two pictures, 24 MB at 1080p."""

KEY_DISTANCE = 30
"""Frames between key frames of the overlay, at most: a step back took 30 ms instead of 200 in Chromium, for a fifth more bytes."""

_QUEUED_FRAMES = 4
"""Frames that wait for an encoder at most: it takes them in bursts, as it works on several at once itself."""

_DrawnFrame = tuple[Any, Any, SheetColumn | None]
"""Frames of overlay.mp4 and views.mp4 as their encoders take them, and the contact sheet's column where it shows the frame."""


def write_pictures(
    scene: Scene,
    frames: FrameSource,
    overlay_path: Path,
    views_path: Path,
    sheet_path: Path,
    settings: PictureSettings,
    progress: ProgressFn = ignore_progress,
) -> tuple[RunWarning, ...]:
    """Draw everybody of ``scene`` over ``frames`` and in virtual views.

    ``overlay_path`` shows bodies over the video, ``views_path`` the overlay with a side and a top view, both with the clip's own times
    and every frame of it; ``sheet_path`` (PNG) shows some frames side by side. Bodies that were bridged or are not to be trusted are
    fainter. ``progress`` is called after each frame and may raise Cancelled; then nothing half-written is left. The GPU draws where
    ``settings.device`` is cuda, else the CPU. Returns what the user should know. Raises OutputError, and
    DeviceError where CUDA or NVENC is asked for and missing.
    """
    clip = scene.clip
    renderer, sheet = FrameRenderer(scene, settings), ContactSheet.of(scene, settings)
    painter = DevicePainter("cuda", settings.samples_per_pixel) if settings.device == "cuda" else None
    how = {"crf": settings.encode_crf, "preset": settings.encode_preset, "encoder": settings.encoder}
    audio_from = clip if settings.audio else None
    columns = []
    with (
        VideoWriter(overlay_path, *renderer.overlay_size_px, clip.times_s, audio_from, max_key_distance=KEY_DISTANCE, **how) as overlay,
        VideoWriter(views_path, *renderer.layout.size_px, clip.times_s, **how) as views,
        _EncodingThread(overlay) as overlay_encoder,
        _EncodingThread(views) as views_encoder,
        closing(_drawn_frames(renderer, sheet, scene, frames, settings, painter or draw_layers, overlay, views)) as drawn,
    ):
        for done, (of_overlay, of_views, column) in enumerate(drawn, start=1):
            overlay_encoder.put(of_overlay)
            views_encoder.put(of_views)
            if column is not None:
                columns.append(column)
            progress(done, len(clip))
        ends = [overlay_encoder.finish(), views_encoder.finish()]
        for end in ends:
            end.result()
    with atomic_file(sheet_path) as file:
        sheet.image(columns).save(file, format="PNG")
    return () if painter is None or painter.warning is None else (painter.warning,)


class _EncodingThread:
    """Encodes the frames of one video in a thread of its own, so that no video waits for the other; use as a context manager.

    When the block ends the thread has stopped. Errors are raised by a later ``put``, or by the result of ``finish``.
    """

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(1, "body4d-encode")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def put(self, frame: Any) -> None:
        """Encode a frame after those before it. Waits while ``_QUEUED_FRAMES`` others do."""
        self._waiting.append(self._pool.submit(self._writer.encode, frame))
        while len(self._waiting) > _QUEUED_FRAMES:
            self._waiting.popleft().result()

    def finish(self) -> "Future[None]":
        """Encode all that waits, then what the encoder itself holds back. The result is there when that is done."""

        def finish() -> None:
            for frame in self._waiting:
                frame.result()
            self._writer.finish()

        return self._pool.submit(finish)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)


def _drawn_frames(
    renderer: FrameRenderer,
    sheet: ContactSheet,
    scene: Scene,
    frames: FrameSource,
    settings: PictureSettings,
    paint: LayerPainter,
    overlay: VideoWriter,
    views: VideoWriter,
) -> Generator[_DrawnFrame, None, None]:
    """All frames' pictures in order and in the encoders' colours, drawn ahead on ``settings.num_workers`` threads."""
    num_workers = settings.num_workers or min(usable_cores(), MAX_WORKERS)
    sheet_frames = frozenset(sheet.frames.tolist())

    def render(frame: int, rgb: np.ndarray, poses: Sequence[PosedPerson]) -> _DrawnFrame:
        people = [RenderPerson.of(pose, settings.overlay_opacity) for pose in poses]
        images = renderer.render(frame, rgb, people, paint)
        column = sheet.column(frame, rgb, people) if frame in sheet_frames else None
        return overlay.converted(images.overlay), views.converted(images.views), column

    poser = ScenePoser(scene, show_uncertainty=settings.show_uncertainty)
    posed = ((frame, rgb, poser.at(frame)) for frame, rgb in frames.read())
    return in_threads(render, posed, num_workers, "body4d-render")
