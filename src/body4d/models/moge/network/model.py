"""The network: pictures to maps of points, of what is there at all, of normals, and to the scene's scale in metres."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.moge.network.camera import sampled_index
from body4d.models.moge.network.config import LEVELS, MogeSizes
from body4d.models.moge.network.encoder import Encoder
from body4d.models.moge.network.stack import Stack, grid_uv, scale_head


@dataclass(frozen=True)
class Answer:
    """``points`` (B, H, W, 3) in camera axes up to a shift along z, ``mask`` (B, H, W) in [0, 1] how surely there is something at all,
    ``normals`` (B, H, W, 3) units, ``metres`` (B,) by which points become metres. None where the checkpoint has no such head."""

    points: Tensor
    mask: Tensor | None
    normals: Tensor | None
    metres: Tensor | None


class Moge(nn.Module):
    """MoGe-2. Names of modules are those of the published checkpoint, which therefore loads as it is."""

    def __init__(self, sizes: MogeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = Encoder(sizes)
        self.neck = Stack(sizes.neck)
        self.points_head = Stack(sizes.points)
        self.mask_head = Stack(sizes.mask) if sizes.mask else None
        self.normal_head = Stack(sizes.normal) if sizes.normal else None
        self.scale_head = scale_head(sizes.scale) if sizes.scale else None

    def set_precision(self, encoder: torch.dtype, stacks: torch.dtype) -> "Moge":
        """Numbers of the encoder, and of neck and heads. bfloat16 is too coarse for these: it knows a place to 3 pixels only."""
        self.to(stacks)
        self.encoder.to(encoder)
        return self

    def grid(self, height: int, width: int, tokens: int) -> tuple[int, int]:
        """Rows and columns of about ``tokens`` patches for a picture's aspect."""
        aspect = width / height
        return max(1, round((tokens / aspect) ** 0.5)), max(1, round((tokens * aspect) ** 0.5))

    def tokens_of(self, level: float) -> int:
        """Number of patches at a level of detail, 0 to 9, of the range the checkpoint was trained for."""
        low, high = self.sizes.tokens
        return int(low + level / 9 * (high - low))

    def neck_maps(self, features: Tensor, aspect: float) -> list[Tensor]:
        """The neck's maps, of an encoder's ``features`` (B, C, rows, cols)."""
        count, _, rows, cols = features.shape
        dtype = self._stacks_dtype
        uv = [grid_uv(rows << i, cols << i, aspect, device=features.device).to(dtype).expand(count, -1, -1, -1) for i in range(LEVELS)]
        return self.neck.outputs([torch.cat([features.to(dtype), uv[0]], 1), *uv[1:]])

    def forward(self, images: Tensor, tokens: int) -> Answer:
        """Everything, at the size of ``images`` (B, 3, H, W) RGB in [0, 1]."""
        height, width = images.shape[-2:]
        features, about = self.encoder(images, *self.grid(height, width, tokens))
        maps = self.neck_maps(features, width / height)

        def resized(head: Stack) -> Tensor:
            return F.interpolate(head.output_blocks[-1](head(maps)[-1]).float(), (height, width), mode="bilinear")

        return Answer(
            points=remapped(resized(self.points_head).permute(0, 2, 3, 1), self.sizes.remap),
            mask=resized(self.mask_head)[:, 0].sigmoid() if self.mask_head is not None else None,
            normals=F.normalize(resized(self.normal_head).permute(0, 2, 3, 1), dim=-1) if self.normal_head is not None else None,
            metres=self.scale_head(about.to(self._stacks_dtype)).float()[:, 0].exp() if self.scale_head is not None else None,
        )

    def sampled(self, images: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """What the camera's fit needs and no more: points (B, 64, 64, 3) and mask (B, 64, 64) at the pixels it looks at, float32.

        The same numbers as :meth:`forward` has there, but for rounding: resizing and the last layer, both linear, change places.
        """
        height, width = images.shape[-2:]
        features, _ = self.encoder(images, *self.grid(height, width, tokens))
        maps = self.neck_maps(features, width / height)

        def at(head: Stack) -> Tensor:
            last = head.output_blocks[-1]
            assert isinstance(last, nn.Conv2d)
            return F.conv2d(
                sampled_map(head(maps)[-1], height, width), last.weight.float(), last.bias.float() if last.bias is not None else None
            )

        points = remapped(at(self.points_head).permute(0, 2, 3, 1), self.sizes.remap)
        mask = at(self.mask_head)[:, 0].sigmoid() if self.mask_head is not None else torch.ones_like(points[..., 0])
        return points, mask

    @property
    def _stacks_dtype(self) -> torch.dtype:
        return next(self.points_head.parameters()).dtype


def sampled_map(x: Tensor, height: int, width: int) -> Tensor:
    """A map (B, C, h, w) resized to a picture's size, bilinearly, at the 64 x 64 pixels the camera's fit looks at. float32."""
    for dim, size in ((2, height), (3, width)):
        low, high, share = _neighbours(size, x.shape[dim], x.device)
        share = share.view((-1, 1) if dim == 2 else (-1,))
        x = x.index_select(dim, low).float() * (1 - share) + x.index_select(dim, high).float() * share
    return x


def _neighbours(size: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sampled pixel: the two cells around it, and the share of the second."""
    place = (torch.from_numpy(sampled_index(size)).double() + 0.5) * cells / size - 0.5
    place = place.clamp(0, cells - 1)
    low = place.floor().long()
    return low.to(device), (low + 1).clamp(max=cells - 1).to(device), (place - low).float().to(device)


def remapped(raw: Tensor, how: str) -> Tensor:
    """Raw numbers (..., 3) as points."""
    if how == "linear":
        return raw
    if how == "sinh":
        return raw.sinh()
    xy, z = raw[..., :2], raw[..., 2:].exp()
    return torch.cat([xy * z if how == "exp" else xy.sinh(), z], -1)


def bytes_per_picture(sizes: MogeSizes, rows: int, cols: int, height: int, width: int, itemsize: int) -> int:
    """Memory one picture takes on its way through, ``itemsize`` bytes for each number of neck and heads."""
    cells = rows * cols
    maps = sum((4**i) * cells * channels for i, channels in enumerate(sizes.neck.widths))
    # Before the finest level's convolution a map of the level below stands at its size.
    widest = 4 ** (LEVELS - 1) * cells * (sizes.neck.widths[-2] + 3 * sizes.neck.widths[-1])
    blocks = cells * sizes.width * 16 * 4
    pictures = 12 * height * width * 2 + 3 * 12 * cells * sizes.patch_px**2
    return pictures + blocks + (2 * maps + widest) * itemsize
