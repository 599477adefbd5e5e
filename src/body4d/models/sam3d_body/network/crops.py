"""Square crops around boxes on full frames, on the device, for any number of people and frames at once.

Pixels here count from the centre of the top-left pixel, as in OpenCV's warps. An affine (2, 3) maps frame pixels to crop pixels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from body4d.runtime.torch_utils import float32_matmul


@dataclass(frozen=True)
class Crops:
    """Where B crops lie. Positions are in frame pixels; those of a mirrored crop are in the frame flipped left to right."""

    frame_index: Int[Tensor, " b"]
    """Index into the batch's frames."""
    centre_px: Float[Tensor, "b 2"]
    side_px: Float[Tensor, " b"]
    affine: Float[Tensor, "b 2 3"]
    intrinsics_px: Float[Tensor, "b 3 3"]
    mirrored: Bool[Tensor, " b"]
    """Whether the crop is cut from the frame flipped left to right."""

    def __len__(self) -> int:
        return self.frame_index.shape[0]

    def select(self, index: Int[Tensor, " n"]) -> "Crops":
        """The crops at ``index``."""
        return Crops(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def make_crops(
    boxes_px: Float[Tensor, "b 4"],
    frame_index: Int[Tensor, " b"],
    intrinsics_px: Float[Tensor, "b 3 3"],
    *,
    padding: float,
    aspect: float,
    crop_px: int,
    mirrored: Bool[Tensor, " b"] | None = None,
) -> Crops:
    """Square crops around boxes x0 y0 x1 y1, which grow by ``padding``, then to width / height ``aspect``, then to a square."""
    centre = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    width, height = ((boxes_px[:, 2:] - boxes_px[:, :2]) * padding).unbind(-1)
    # A box wider than the aspect grows in height to width / aspect, and is then higher than wide: this is the square's side.
    side = torch.maximum(width / aspect, height)
    if mirrored is None:
        mirrored = torch.zeros(len(boxes_px), dtype=torch.bool, device=boxes_px.device)
    return Crops(frame_index, centre, side, crop_affine(centre, side, crop_px).to(boxes_px.dtype), intrinsics_px, mirrored)


def crop_affine(centre_px: Float[Tensor, "b 2"], side_px: Float[Tensor, " b"], crop_px: int) -> Float[Tensor, "b 2 3"]:
    """Affines that map the centre to the crop's middle and ``side_px`` to ``crop_px``, in the widest type of the device.

    As published: the transform goes through three points rounded to float32, so that its two scales may differ in the seventh digit.
    Where a pixel's level depends on it, it is the published one.
    """
    wide = torch.float32 if centre_px.device.type == "mps" else torch.float64
    edge = centre_px - side_px[:, None] / 2
    scale = (crop_px / 2) / (centre_px.to(wide) - edge.to(wide))
    shift = crop_px / 2 - centre_px.to(wide) * scale
    zero = torch.zeros_like(scale[:, 0])
    rows = [scale[:, 0], zero, shift[:, 0], zero, scale[:, 1], shift[:, 1]]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def warp_crops(frames: UInt8[Tensor, "f h w c"], crops: Crops, crop_px: int) -> UInt8[Tensor, "b c crop crop"]:
    """The crops of ``frames``: bilinear, black outside the frame, rounded to whole levels.

    Only the four pixels beneath each crop pixel are read, so that frames of any size stay as they are.
    """
    height, width, channels = frames.shape[1:]
    affine = crop_affine(crops.centre_px, crops.side_px, crop_px)
    ramp = torch.arange(crop_px, device=frames.device, dtype=torch.float32)
    # From crop to frame in float32 steps, as OpenCV 5 takes them.
    scale = affine.diagonal(dim1=1, dim2=2)
    step = (1 / scale).float()
    first = (-affine[:, :, 2] / scale).float()
    x, y = (torch.addcmul(first[:, i, None], ramp[None], step[:, i, None]) for i in (0, 1))
    x0, y0 = x.floor(), y.floor()
    x_fraction, y_fraction = (x - x0)[:, None, :, None], (y - y0)[:, :, None, None]
    flat = frames.reshape(-1, channels)
    start = (crops.frame_index * (height * width))[:, None, None]

    def tap(dx: int, dy: int) -> Tensor:
        column, row = x0.long() + dx, y0.long() + dy
        inside = ((column >= 0) & (column < width))[:, None, :] & ((row >= 0) & (row < height))[:, :, None]
        column = torch.where(crops.mirrored[:, None], width - 1 - column, column).clamp(0, width - 1)
        index = start + row.clamp(0, height - 1)[:, :, None] * width + column[:, None, :]
        return flat[index].float() * inside[..., None]

    top = torch.lerp(tap(0, 0), tap(1, 0), x_fraction.expand(-1, crop_px, -1, channels))
    bottom = torch.lerp(tap(0, 1), tap(1, 1), x_fraction.expand(-1, crop_px, -1, channels))
    values = torch.lerp(top, bottom, y_fraction.expand(-1, -1, crop_px, channels))
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 3, 1, 2)


def ray_ramps(
    grid: tuple[int, int], crop_px: int, side_margin_px: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " columns"], Float[Tensor, " rows"]]:
    """Columns and rows of the crop, in its pixels, that the cells of the feature map stand for.

    As published, rays are a full-resolution map shrunk with antialiasing. That map is affine in each direction and the filter's weights
    sum to one, so shrinking one ramp once gives the same, at the edges too.
    """
    ramps = []
    for first, count, cells in ((side_margin_px, crop_px - 2 * side_margin_px, grid[1]), (0, crop_px, grid[0])):
        row = torch.arange(first, first + count, dtype=torch.float32, device="cpu")
        square = row.expand(1, 1, count, count)
        ramps.append(F.interpolate(square, size=(cells, cells), mode="bilinear", align_corners=False, antialias=True)[0, 0, 0].to(device))
    return ramps[0], ramps[1]


def viewing_rays(crops: Crops, ramps: tuple[Float[Tensor, " columns"], Float[Tensor, " rows"]]) -> Float[Tensor, "b 3 rows columns"]:
    """Viewing rays, z = 1, of the feature map's cells in camera axes."""
    K, A = crops.intrinsics_px, crops.affine
    x, y = (((ramp[None] - A[:, i, 2:3]) / A[:, i, i : i + 1] - K[:, i, 2:3]) / K[:, i, i : i + 1] for i, ramp in enumerate(ramps))
    x, y = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
    return torch.stack([x, y, torch.ones_like(x)], 1)


def to_crop_coordinates(points_px: Float[Tensor, "b n 2"], crops: Crops, crop_px: int) -> Float[Tensor, "b n 2"]:
    """Frame pixels as coordinates from -0.5 to 0.5 within the crop."""
    crop_pixels = float32_matmul(points_px, crops.affine[:, :, :2].mT) + crops.affine[:, None, :, 2]
    return crop_pixels / crop_px - 0.5


def box_condition(crops: Crops) -> Float[Tensor, "b 3"]:
    """The crop as the camera sees it: the ray of its centre, and its side over the focal length (CLIFF, Li et al. 2022)."""
    K = crops.intrinsics_px
    focal = K[:, 0, 0]
    offset = (crops.centre_px - K[:, :2, 2]) / focal[:, None]
    return torch.cat([offset, (crops.side_px / focal)[:, None]], -1)
