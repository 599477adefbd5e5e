"""From boxes on full frames to square crops, on the device, for any number of people and frames at once.

Pixels count from the top-left corner's centre, as OpenCV's warps have it. An affine (2, 3) takes frame pixels to crop pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from body4d.runtime.torch_utils import float32_matmul


@dataclass(frozen=True)
class Crops:
    """Where B crops lie: ``frame`` (B,) index into the frames given, ``centre_px`` (B, 2) and ``side_px`` (B,) in frame pixels,
    ``affine`` (B, 2, 3), ``intrinsics_px`` (B, 3, 3), ``mirrored`` (B,): cut from the frame flipped left to right, all places in flipped
    pixels."""

    frame: Tensor
    centre_px: Tensor
    side_px: Tensor
    affine: Tensor
    intrinsics_px: Tensor
    mirrored: Tensor

    def __len__(self) -> int:
        return self.frame.shape[0]

    def rows(self, index: Tensor) -> "Crops":
        """The crops at ``index``."""
        return Crops(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def make_crops(
    boxes_px: Tensor, frame: Tensor, intrinsics_px: Tensor, *, padding: float, aspect: float, crop_px: int, mirrored: Tensor | None = None
) -> Crops:
    """Square crops around boxes (B, 4) x0 y0 x1 y1: grown by ``padding``, then to width / height ``aspect``, then to a square."""
    centre = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    width, height = ((boxes_px[:, 2:] - boxes_px[:, :2]) * padding).unbind(-1)
    # A box wider than the aspect grows in height to width / aspect and is then higher than wide: the square takes that side.
    side = torch.maximum(width / aspect, height)
    if mirrored is None:
        mirrored = torch.zeros(len(boxes_px), dtype=torch.bool, device=boxes_px.device)
    return Crops(frame, centre, side, crop_affine(centre, side, crop_px).to(boxes_px.dtype), intrinsics_px, mirrored)


def crop_affine(centre_px: Tensor, side_px: Tensor, crop_px: int) -> Tensor:
    """Affines (B, 2, 3) that take the centre to the crop's middle and ``side_px`` to ``crop_px``, in the widest type the device has.

    As published: the transform goes through three points rounded to float32, so its two scales may differ in the seventh digit. Where
    a level of a pixel hangs on that, it is the published one.
    """
    wide = torch.float32 if centre_px.device.type == "mps" else torch.float64
    edge = centre_px - side_px[:, None] / 2
    scale = (crop_px / 2) / (centre_px.to(wide) - edge.to(wide))
    shift = crop_px / 2 - centre_px.to(wide) * scale
    zero = torch.zeros_like(scale[:, 0])
    rows = [scale[:, 0], zero, shift[:, 0], zero, scale[:, 1], shift[:, 1]]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def warp(pictures: Tensor, crops: Crops, crop_px: int) -> Tensor:
    """Crops (B, C, s, s) uint8 of pictures (F, H, W, C) uint8: bilinear, black outside, rounded to whole levels.

    Only the four pixels beneath each crop pixel are read, so frames of any size stay as they are.
    """
    height, width, channels = pictures.shape[1:]
    affine = crop_affine(crops.centre_px, crops.side_px, crop_px)
    ramp = torch.arange(crop_px, device=pictures.device, dtype=torch.float32)
    # Back from crop to frame: float32 steps, as OpenCV 5 takes them.
    scale = affine.diagonal(dim1=1, dim2=2)
    step = (1 / scale).float()
    first = (-affine[:, :, 2] / scale).float()
    x, y = (torch.addcmul(first[:, i, None], ramp[None], step[:, i, None]) for i in (0, 1))
    x0, y0 = x.floor(), y.floor()
    across, down = (x - x0)[:, None, :, None], (y - y0)[:, :, None, None]
    flat = pictures.reshape(-1, channels)
    start = (crops.frame * (height * width))[:, None, None]

    def tap(dx: int, dy: int) -> Tensor:
        column, row = x0.long() + dx, y0.long() + dy
        inside = ((column >= 0) & (column < width))[:, None, :] & ((row >= 0) & (row < height))[:, :, None]
        column = torch.where(crops.mirrored[:, None], width - 1 - column, column).clamp(0, width - 1)
        index = start + row.clamp(0, height - 1)[:, :, None] * width + column[:, None, :]
        return flat[index].float() * inside[..., None]

    top = torch.lerp(tap(0, 0), tap(1, 0), across.expand(-1, crop_px, -1, channels))
    bottom = torch.lerp(tap(0, 1), tap(1, 1), across.expand(-1, crop_px, -1, channels))
    values = torch.lerp(top, bottom, down.expand(-1, -1, crop_px, channels))
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 3, 1, 2)


def ray_ramps(grid: tuple[int, int], crop_px: int, side_margin_px: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Crop columns and rows that the cells of the feature map stand for: (columns,), (rows,) in crop pixels.

    Rays are published as a full-resolution map shrunk with antialiasing. That map is affine in each direction and the filter's weights
    add up to one, so shrinking one ramp once is the same, edges included.
    """
    ramps = []
    for first, count, cells in ((side_margin_px, crop_px - 2 * side_margin_px, grid[1]), (0, crop_px, grid[0])):
        row = torch.arange(first, first + count, dtype=torch.float32, device="cpu")
        square = row.expand(1, 1, count, count)
        ramps.append(F.interpolate(square, size=(cells, cells), mode="bilinear", align_corners=False, antialias=True)[0, 0, 0].to(device))
    return ramps[0], ramps[1]


def rays(crops: Crops, ramps: tuple[Tensor, Tensor]) -> Tensor:
    """Viewing rays (B, 3, rows, columns), z = 1, of the feature map's cells in the camera's axes."""
    K, A = crops.intrinsics_px, crops.affine
    x, y = (((ramp[None] - A[:, i, 2:3]) / A[:, i, i : i + 1] - K[:, i, 2:3]) / K[:, i, i : i + 1] for i, ramp in enumerate(ramps))
    x, y = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
    return torch.stack([x, y, torch.ones_like(x)], 1)


def to_crop(points_px: Tensor, crops: Crops, crop_px: int) -> Tensor:
    """Frame pixels (B, n, 2) as crop coordinates from -0.5 to 0.5."""
    moved = float32_matmul(points_px, crops.affine[:, :, :2].mT) + crops.affine[:, None, :, 2]
    return moved / crop_px - 0.5


def box_condition(crops: Crops) -> Tensor:
    """Where the crop lies as seen by the camera (B, 3): its centre's ray and its side over the focal length (CLIFF, Li et al. 2022)."""
    K = crops.intrinsics_px
    focal = K[:, 0, 0]
    offset = (crops.centre_px - K[:, :2, 2]) / focal[:, None]
    return torch.cat([offset, (crops.side_px / focal)[:, None]], -1)
