"""A video in, consistent moving metric 3D human bodies out.

    import body4d
    scene = body4d.Pipeline.load(body4d.load_settings()).run("clip.mp4")
    scene.people[0].joint("left_wrist")  # (T, 3) metres, camera axes

Names are imported when they are first used: importing the package loads no torch and no decoder.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from body4d.batch.run_many import run_many
    from body4d.config import Settings
    from body4d.config.loading import load_settings
    from body4d.core.errors import Body4DError
    from body4d.core.scene_io import load_scene
    from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt, Scene
    from body4d.core.version import __version__
    from body4d.export import export_scene
    from body4d.run.pipeline import Pipeline

_HOMES = {
    "BodyTrack": "core.types",
    "Body4DError": "core.errors",
    "Camera": "core.types",
    "Clip": "core.types",
    "MaskTrack": "core.types",
    "Pipeline": "run.pipeline",
    "Prompt": "core.types",
    "Scene": "core.types",
    "Settings": "config",
    "export_scene": "export",
    "load_scene": "core.scene_io",
    "load_settings": "config.loading",
    "run_many": "batch.run_many",
    "__version__": "core.version",
}

__all__ = [
    "Body4DError",
    "BodyTrack",
    "Camera",
    "Clip",
    "MaskTrack",
    "Pipeline",
    "Prompt",
    "Scene",
    "Settings",
    "__version__",
    "export_scene",
    "load_scene",
    "load_settings",
    "run_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'body4d' has no attribute {name!r}")
    value = getattr(import_module(f"body4d.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
