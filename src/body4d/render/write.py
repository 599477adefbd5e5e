"""Write the pictures of a run in one pass over the clip: overlay.mp4, views.mp4 and the contact sheet."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from body4d.config import PictureSettings
from body4d.core.files import atomic_file
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import Scene
from body4d.render.frame_renderer import FrameImages, FrameRenderer
from body4d.render.poses import ScenePoser
from body4d.video import VideoWriter


def write_pictures(
    scene: Scene,
    frames: FrameSource,
    overlay_path: Path,
    views_path: Path,
    sheet_path: Path,
    settings: PictureSettings,
    report: ProgressFn = ignore_progress,
) -> None:
    """Draw everybody of ``scene`` over ``frames`` and on a virtual stage.

    ``overlay_path`` shows bodies over the video, ``views_path`` the overlay with a side and a top view, both with the clip's own times
    and every frame of it; ``sheet_path`` (PNG) some moments side by side. Bodies that were bridged or are not to be trusted are fainter.
    ``report`` is called after each frame and may raise Cancelled; then nothing half-written is left. Raises OutputError.
    """
    clip = scene.clip
    film = FrameRenderer(scene, settings)
    cells = []
    with (
        VideoWriter(overlay_path, *film.overlay_size_px, clip.times_s, clip if settings.audio else None) as overlay,
        VideoWriter(views_path, *film.layout.size_px, clip.times_s) as views,
        closing(_drawn(film, scene, frames, settings)) as drawn,
    ):
        for done, pictures in enumerate(drawn, start=1):
            overlay.write(pictures.overlay)
            views.write(pictures.views)
            if pictures.cells is not None:
                cells.append(pictures.cells)
            report(done, len(clip))
    with atomic_file(sheet_path) as file:
        film.sheet.image(cells).save(file, format="PNG")


def _drawn(film: FrameRenderer, scene: Scene, frames: FrameSource, settings: PictureSettings) -> Generator[FrameImages, None, None]:
    """All frames' pictures in order, drawn ahead on ``settings.lanes`` threads while the caller encodes."""
    poser = ScenePoser(scene, settings)
    waiting: deque[Future[FrameImages]] = deque()
    with ThreadPoolExecutor(settings.lanes, "body4d-draw") as pool:
        try:
            for frame, rgb in frames.read():
                waiting.append(pool.submit(film.pictures, frame, rgb, poser.at(frame)))
                if len(waiting) > settings.lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
