"""Layers: bodies over a background, and who draws them: the CPU, or a GPU for all layers of a frame at once."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from body4d.core.errors import RunWarning
from body4d.core.types import Camera
from body4d.render.kernels import enlarge, resize_weights, sample_offsets, shrink
from body4d.render.rasterizer import NEAR_M, Mesh, ShadedMesh, draw, project_mesh, shade_mesh, touched_part

if TYPE_CHECKING:
    from body4d.runtime.raster import RasterMesh, RasterPicture

Picture = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Layer:
    """``meshes`` before ``camera``, over ``background`` of its size, or where that is None over the clip's frame resized to it."""

    meshes: Sequence[Mesh | ShadedMesh]
    camera: Camera
    background: UInt8[np.ndarray, "h w 3"] | None = None


class LayerPainter(Protocol):
    """Draws the layers of one frame ``rgb`` with ``samples`` a pixel: pictures that the caller may draw on."""

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], layers: Sequence[Layer], samples: int) -> list[Picture]: ...


def draw_layers(rgb: UInt8[np.ndarray, "h w 3"], layers: Sequence[Layer], samples: int) -> list[Picture]:
    """A ``LayerPainter``: on the CPU, one after the other."""
    return [draw(layer.meshes, layer.camera, _background(rgb, layer), samples=samples) for layer in layers]


def _background(rgb: np.ndarray, layer: Layer) -> np.ndarray:
    return resize_image(rgb, layer.camera.width_px, layer.camera.height_px) if layer.background is None else layer.background


class DevicePainter:
    """A ``LayerPainter`` on a torch device; any number of threads may call it.

    Light and projection stay on the CPU, so that the same triangles are drawn; what is visible and how it is blended is computed on the
    device, and differs from the CPU's by rounding alone. Where the device fails or its memory does not suffice, the CPU draws on, and
    ``warning`` says so.
    """

    def __init__(self, device: Literal["cuda", "cpu"], samples: int) -> None:
        """Raises DeviceError where ``device`` is missing."""
        from body4d.config import ComputeSettings
        from body4d.runtime.device import choose_device
        from body4d.runtime.raster import DeviceRasterizer

        self.warning: RunWarning | None = None
        self._lock = threading.Lock()
        self._rasterizer = DeviceRasterizer(choose_device(ComputeSettings(device=device)), sample_offsets(samples))

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], layers: Sequence[Layer], samples: int) -> list[Picture]:
        if self.warning is None:
            try:
                return self._rasterizer.draw(rgb, [_raster_picture(rgb, layer) for layer in layers])
            # torch, CUDA, Triton and its compiler have no error in common; what is wrong with the layers themselves the CPU says again.
            except Exception as error:
                self._give_up((str(error) or type(error).__name__).splitlines()[0])
        return draw_layers(rgb, layers, samples)

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if self.warning is None:
                self.warning = RunWarning(
                    "pictures_on_cpu",
                    f"The GPU could not draw the pictures ({reason}), and the CPU went on with them. They look the same.",
                    "pictures.device=cpu leaves the GPU alone.",
                    {"reason": reason},
                )


def _raster_picture(rgb: np.ndarray, layer: Layer) -> "RasterPicture":
    from body4d.runtime.raster import RasterPicture

    width, height = layer.camera.width_px, layer.camera.height_px
    meshes = tuple(_raster_mesh(mesh, layer.camera) for mesh in layer.meshes)
    part = touched_part([mesh.points for mesh in meshes], layer.camera)
    if layer.background is not None or rgb.shape[:2] == (height, width):
        return RasterPicture(width, height, meshes, part, layer.background)
    bicubic = _is_bicubic(rgb, width, height)
    if bicubic is None:
        return RasterPicture(width, height, meshes, part, resize_image(rgb, width, height))
    weights = resize_weights(rgb.shape[1], width, bicubic), resize_weights(rgb.shape[0], height, bicubic)
    return RasterPicture(width, height, meshes, part, resize=weights)


def _raster_mesh(mesh: Mesh | ShadedMesh, camera: Camera) -> "RasterMesh":
    from body4d.runtime.raster import RasterMesh

    shaded = mesh if isinstance(mesh, ShadedMesh) else shade_mesh(mesh)
    points, faces, colours = project_mesh(shaded.vertices_m, shaded.faces, shaded.colours, camera, NEAR_M)
    # A rig's faces are the same on every frame, unless some are cut off at the lens.
    return RasterMesh(points, faces, shaded.colours if colours is None else colours, shaded.two_sided, kept_faces=faces is mesh.faces)


def resize_image(rgb: UInt8[np.ndarray, "h w 3"], width_px: int, height_px: int) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """A picture at another size; the same array where it has that size."""
    if rgb.shape[:2] == (height_px, width_px):
        return rgb
    bicubic = _is_bicubic(rgb, width_px, height_px)
    if bicubic is not None:
        return enlarge(rgb, width_px, height_px) if bicubic else shrink(rgb, width_px, height_px)
    shrinks = width_px * height_px < rgb.shape[0] * rgb.shape[1]
    method = Image.Resampling.BILINEAR if shrinks else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(rgb).resize((width_px, height_px), method, reducing_gap=1.0 if shrinks else None))


def _is_bicubic(rgb: np.ndarray, width_px: int, height_px: int) -> bool | None:
    """Whether a picture is resized by ``enlarge`` or by ``shrink``; None where Pillow does it.

    Shrinking averages whole pixels anyway, so that the cheaper filter serves; whole factors are taken out first, which is quicker still.
    """
    height, width = rgb.shape[:2]
    if width_px >= width and height_px >= height:
        return True
    if width_px * height_px < width * height and width < 2 * width_px and height < 2 * height_px:
        return False
    return None
