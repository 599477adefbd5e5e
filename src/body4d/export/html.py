"""HTML: the moving bodies and their player in one page, to send to a friend. Opens in any browser, without a network."""

from pathlib import Path

from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.glb import glb_bytes
from body4d.export.movement import movement_json
from body4d.export.options import ExportOptions
from body4d.player import single_page


def write_html(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``scene`` to ``path`` as one page; the GLB in it is the bytes of ``write_glb``. Raises OutputError."""
    page = single_page(glb_bytes(scene), f"{scene.clip.path.stem} in 3D", movement_json(scene))
    with atomic_file(path) as file:
        file.write(page.encode())
