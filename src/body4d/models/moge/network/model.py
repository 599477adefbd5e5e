"""The network: images to maps of points, of the probability of a surface, of normals, and to the scene's metric scale."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.moge.network.camera import sampled_index
from body4d.models.moge.network.config import LEVELS, MogeSizes
from body4d.models.moge.network.encoder import Encoder
from body4d.models.moge.network.stack import Stack, grid_uv, scale_head


@dataclass(frozen=True)
class MogeOutput:
    """``points`` in camera axes, up to a shift along z. ``mask``: probability that there is a surface at all. ``normals`` are unit vectors.
    Points times ``metric_scale`` are in metres. None where the checkpoint has no such head."""

    points: Float[Tensor, "b h w 3"]
    mask: Float[Tensor, "b h w"] | None
    normals: Float[Tensor, "b h w 3"] | None
    metric_scale: Float[Tensor, " b"] | None


class Moge(nn.Module):
    """MoGe-2. Module names are those of the published checkpoint, which therefore loads as it is."""

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
        """Set the dtype of the encoder, and that of neck and heads. bfloat16 is too coarse for these: it resolves positions to 3 pixels."""
        self.to(stacks)
        self.encoder.to(encoder)
        return self

    def grid(self, height: int, width: int, num_tokens: int) -> tuple[int, int]:
        """Rows and columns of about ``num_tokens`` patches for the image's aspect ratio."""
        aspect = width / height
        return max(1, round((num_tokens / aspect) ** 0.5)), max(1, round((num_tokens * aspect) ** 0.5))

    def num_tokens(self, level: float) -> int:
        """Number of patches at a level of detail, 0 to 9, within the range that the checkpoint was trained for."""
        low, high = self.sizes.tokens
        return int(low + level / 9 * (high - low))

    def neck_maps(self, features: Float[Tensor, "b c rows cols"], aspect: float) -> list[Tensor]:
        """The neck's maps, coarse to fine, of an encoder's ``features``."""
        count, _, rows, cols = features.shape
        dtype = self._stacks_dtype
        uv = [grid_uv(rows << i, cols << i, aspect, device=features.device).to(dtype).expand(count, -1, -1, -1) for i in range(LEVELS)]
        return self.neck.outputs([torch.cat([features.to(dtype), uv[0]], 1), *uv[1:]])

    def forward(self, images: Float[Tensor, "b 3 h w"], num_tokens: int) -> MogeOutput:
        """All outputs, at the size of ``images``, which are RGB in [0, 1]."""
        height, width = images.shape[-2:]
        features, cls_token = self.encoder(images, *self.grid(height, width, num_tokens))
        maps = self.neck_maps(features, width / height)

        def resized(head: Stack) -> Tensor:
            return F.interpolate(head.output_blocks[-1](head(maps)[-1]).float(), (height, width), mode="bilinear")

        return MogeOutput(
            points=remapped(resized(self.points_head).permute(0, 2, 3, 1), self.sizes.remap),
            mask=resized(self.mask_head)[:, 0].sigmoid() if self.mask_head is not None else None,
            normals=F.normalize(resized(self.normal_head).permute(0, 2, 3, 1), dim=-1) if self.normal_head is not None else None,
            metric_scale=self._metric_scale(cls_token),
        )

    def sampled(
        self, images: Float[Tensor, "b 3 h w"], num_tokens: int
    ) -> tuple[Float[Tensor, "b 64 64 3"], Float[Tensor, "b 64 64"], Float[Tensor, " b"] | None]:
        """Points and mask, float32, at the pixels that the camera's fit uses, and the metric scale; nothing else.

        The numbers are those of ``forward`` but for rounding: resizing and the last layer, both linear, are exchanged.
        """
        height, width = images.shape[-2:]
        features, cls_token = self.encoder(images, *self.grid(height, width, num_tokens))
        maps = self.neck_maps(features, width / height)

        def sample(head: Stack) -> Tensor:
            last = head.output_blocks[-1]
            assert isinstance(last, nn.Conv2d)
            return F.conv2d(
                sampled_map(head(maps)[-1], height, width), last.weight.float(), last.bias.float() if last.bias is not None else None
            )

        points = remapped(sample(self.points_head).permute(0, 2, 3, 1), self.sizes.remap)
        mask = sample(self.mask_head)[:, 0].sigmoid() if self.mask_head is not None else torch.ones_like(points[..., 0])
        return points, mask, self._metric_scale(cls_token)

    def _metric_scale(self, cls_token: Float[Tensor, "b c"]) -> Float[Tensor, " b"] | None:
        return None if self.scale_head is None else self.scale_head(cls_token.to(self._stacks_dtype)).float()[:, 0].exp()

    @property
    def _stacks_dtype(self) -> torch.dtype:
        return next(self.points_head.parameters()).dtype


def sampled_map(x: Float[Tensor, "b c h w"], height: int, width: int) -> Float[Tensor, "b c 64 64"]:
    """A map resized to the image's size, bilinearly, at the 64 x 64 pixels that the camera's fit uses. float32."""
    for dim, size in ((2, height), (3, width)):
        low, high, weight = _neighbours(size, x.shape[dim], x.device)
        weight = weight.view((-1, 1) if dim == 2 else (-1,))
        x = x.index_select(dim, low).float() * (1 - weight) + x.index_select(dim, high).float() * weight
    return x


def _neighbours(size: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each sampled pixel, and the weight of the second."""
    position = (torch.from_numpy(sampled_index(size)).double() + 0.5) * cells / size - 0.5
    position = position.clamp(0, cells - 1)
    low = position.floor().long()
    return low.to(device), (low + 1).clamp(max=cells - 1).to(device), (position - low).float().to(device)


def remapped(raw: Float[Tensor, "*n 3"], remap: str) -> Float[Tensor, "*n 3"]:
    """Points from the head's raw output, by the function that the checkpoint's config names."""
    if remap == "linear":
        return raw
    if remap == "sinh":
        return raw.sinh()
    xy, z = raw[..., :2], raw[..., 2:].exp()
    return torch.cat([xy * z if remap == "exp" else xy.sinh(), z], -1)


def bytes_per_image(sizes: MogeSizes, rows: int, cols: int, height: int, width: int, itemsize: int) -> int:
    """Memory that one image takes on its way through, with ``itemsize`` bytes for each number of neck and heads."""
    cells = rows * cols
    maps = sum((4**i) * cells * channels for i, channels in enumerate(sizes.neck.widths))
    # Before the finest level's convolution a map of the level below stands at its size.
    widest = 4 ** (LEVELS - 1) * cells * (sizes.neck.widths[-2] + 3 * sizes.neck.widths[-1])
    blocks = cells * sizes.width * 16 * 4
    images = 12 * height * width * 2 + 3 * 12 * cells * sizes.patch_px**2
    return images + blocks + (2 * maps + widest) * itemsize
