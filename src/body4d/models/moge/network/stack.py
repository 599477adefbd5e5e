"""The pyramids of convolutions that MoGe-2's neck and heads consist of. Module names are those of the published checkpoint."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from body4d.models.moge.network.config import StackSizes

LEAKY_SLOPE = 0.2
CHANNELS_PER_GROUP = 32

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "silu": nn.SiLU,
    "elu": nn.ELU,
}
_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "layer_norm": lambda width: nn.GroupNorm(1, width),
    "group_norm": lambda width: nn.GroupNorm(width // CHANNELS_PER_GROUP, width),
    "instance_norm": nn.InstanceNorm2d,
}


def conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3, with the border repeated outside."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="replicate")


def resampler(kind: str, in_channels: int, out_channels: int) -> nn.Sequential:
    """Maps twice as fine."""
    if kind == "conv_transpose":
        return nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2), conv3(out_channels, out_channels))
    if kind == "pixel_shuffle":
        return nn.Sequential(conv3(in_channels, 4 * out_channels), nn.PixelShuffle(2), conv3(out_channels, out_channels))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=kind), conv3(in_channels, out_channels))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, sizes: StackSizes) -> None:
        super().__init__()
        hidden = width * sizes.hidden_times
        activation = _ACTIVATIONS[sizes.activation]
        self.layers = nn.Sequential(
            _NORMS[sizes.in_norm](width),
            activation(),
            conv3(width, hidden),
            _NORMS[sizes.hidden_norm](hidden),
            activation(),
            conv3(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Stack(nn.Module):
    """Maps by level, coarse to fine, each twice the size of the one before: a level is its input plus the resampled level before it."""

    def __init__(self, sizes: StackSizes) -> None:
        super().__init__()
        widths = sizes.widths
        self.input_blocks = nn.ModuleList(_pointwise(*channels) for channels in zip(sizes.inputs, widths, strict=True))
        self.resamplers = nn.ModuleList(
            resampler(*kind_and_channels) for kind_and_channels in zip(sizes.resamplers, widths[:-1], widths[1:], strict=True)
        )
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, sizes) for _ in range(count))) for width, count in zip(widths, sizes.blocks, strict=True)
        )
        self.output_blocks = nn.ModuleList(_pointwise(*channels) for channels in zip(widths, sizes.outputs, strict=True))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All maps, before the output blocks, which the caller applies where it needs them."""
        out: list[Tensor] = []
        for i, features in enumerate(maps):
            x = self.input_blocks[i](features)
            if i:
                x = x + self.resamplers[i - 1](out[-1])
            out.append(self.res_blocks[i](x))
        return out

    def outputs(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps of all levels, after the output blocks."""
        return [block(x) for block, x in zip(self.output_blocks, self(maps), strict=True)]


def scale_head(dims: Sequence[int]) -> nn.Sequential:
    """From the class token to the logarithm of the metric scale."""
    layers: list[nn.Module] = []
    for in_features, out_features in pairwise(dims):
        layers += [nn.Linear(in_features, out_features), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def grid_uv(rows: int, cols: int, aspect: float, *, device: torch.device | None = None) -> Float[Tensor, "2 rows cols"]:
    """Centres of a grid's cells in an image of this aspect ratio: x right, y down from its centre, in half diagonals. float32."""
    diagonal = (1 + aspect * aspect) ** 0.5
    x, y = ((2 * torch.arange(n, device=device, dtype=torch.float64) + 1) / n - 1 for n in (cols, rows))
    y, x = torch.meshgrid(y / diagonal, x * (aspect / diagonal), indexing="ij")
    return torch.stack([x, y]).float()


def _pointwise(in_channels: int | None, out_channels: int | None) -> nn.Module:
    return nn.Identity() if in_channels is None or out_channels is None else nn.Conv2d(in_channels, out_channels, 1)
