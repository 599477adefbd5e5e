"""Write the pictures of a run in one pass over the clip: overlay.mp4, views.mp4 and the contact sheet."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from body4d.config import PictureSettings
from body4d.core.files import atomic_file
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import Scene
from body4d.render.contact_sheet import ContactSheet, SheetColumn
from body4d.render.frame_renderer import FrameImages, FrameRenderer, PosedPerson, RenderPerson, ScenePoser
from body4d.runtime.cores import usable_cores
from body4d.video import VideoWriter

MAX_WORKERS = 8
"""Threads that render where no number is set, however many cores there are: the two encoders cannot follow more."""

KEY_DISTANCE = 30
"""Frames between key frames of the overlay, at most: a step back took 30 ms instead of 200 in Chromium, for a fifth more bytes."""


def write_pictures(
    scene: Scene,
    frames: FrameSource,
    overlay_path: Path,
    views_path: Path,
    sheet_path: Path,
    settings: PictureSettings,
    progress: ProgressFn = ignore_progress,
) -> None:
    """Draw everybody of ``scene`` over ``frames`` and in virtual views.

    ``overlay_path`` shows bodies over the video, ``views_path`` the overlay with a side and a top view, both with the clip's own times
    and every frame of it; ``sheet_path`` (PNG) shows some frames side by side. Bodies that were bridged or are not to be trusted are
    fainter. ``progress`` is called after each frame and may raise Cancelled; then nothing half-written is left. Raises OutputError.
    """
    clip = scene.clip
    renderer, sheet = FrameRenderer(scene, settings), ContactSheet.of(scene, settings)
    crf, preset = settings.encode_crf, settings.encode_preset
    audio_from = clip if settings.audio else None
    columns = []
    with (
        VideoWriter(
            overlay_path, *renderer.overlay_size_px, clip.times_s, audio_from, crf=crf, preset=preset, max_key_distance=KEY_DISTANCE
        ) as overlay,
        VideoWriter(views_path, *renderer.layout.size_px, clip.times_s, crf=crf, preset=preset) as views,
        ThreadPoolExecutor(1, "body4d-encode") as encoder,
        closing(_rendered_frames(renderer, sheet, scene, frames, settings)) as rendered,
    ):
        for done, (images, column) in enumerate(rendered, start=1):
            # The two videos are encoded side by side.
            written = encoder.submit(overlay.write, images.overlay)
            views.write(images.views)
            written.result()
            if column is not None:
                columns.append(column)
            progress(done, len(clip))
    with atomic_file(sheet_path) as file:
        sheet.image(columns).save(file, format="PNG")


def _rendered_frames(
    renderer: FrameRenderer, sheet: ContactSheet, scene: Scene, frames: FrameSource, settings: PictureSettings
) -> Generator[tuple[FrameImages, SheetColumn | None], None, None]:
    """All frames' pictures in order, drawn ahead on ``settings.num_workers`` threads while the caller encodes."""
    num_workers = settings.num_workers or min(usable_cores(), MAX_WORKERS)
    sheet_frames = frozenset(sheet.frames.tolist())

    def render(frame: int, rgb: np.ndarray, poses: Sequence[PosedPerson]) -> tuple[FrameImages, SheetColumn | None]:
        people = [RenderPerson.of(pose, settings.overlay_opacity) for pose in poses]
        return renderer.render(frame, rgb, people), sheet.column(frame, rgb, people) if frame in sheet_frames else None

    poser = ScenePoser(scene, show_uncertainty=settings.show_uncertainty)
    pending: deque[Future[tuple[FrameImages, SheetColumn | None]]] = deque()
    with ThreadPoolExecutor(num_workers, "body4d-render") as pool:
        try:
            for frame, rgb in frames.read():
                pending.append(pool.submit(render, frame, rgb, poser.at(frame)))
                # Twice as many as there are threads, so that none of them waits while the caller encodes.
                if len(pending) >= 2 * num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
