"""The pyramids of convolutions MoGe-2's neck and heads are made of. Names are those of the published checkpoint."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from body4d.models.moge.network.config import StackSizes

LEAK = 0.2
GROUP = 32

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAK),
    "silu": nn.SiLU,
    "elu": nn.ELU,
}
_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "layer_norm": lambda width: nn.GroupNorm(1, width),
    "group_norm": lambda width: nn.GroupNorm(width // GROUP, width),
    "instance_norm": nn.InstanceNorm2d,
}


def conv3(of: int, to: int) -> nn.Conv2d:
    """3x3, the picture's rim repeated outside."""
    return nn.Conv2d(of, to, 3, padding=1, padding_mode="replicate")


def resampler(kind: str, of: int, to: int) -> nn.Sequential:
    """Twice as fine, ``of`` channels to ``to``."""
    if kind == "conv_transpose":
        return nn.Sequential(nn.ConvTranspose2d(of, to, 2, stride=2), conv3(to, to))
    if kind == "pixel_shuffle":
        return nn.Sequential(conv3(of, 4 * to), nn.PixelShuffle(2), conv3(to, to))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=kind), conv3(of, to))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, sizes: StackSizes) -> None:
        super().__init__()
        hidden = width * sizes.hidden_times
        active = _ACTIVATIONS[sizes.activation]
        self.layers = nn.Sequential(
            _NORMS[sizes.in_norm](width),
            active(),
            conv3(width, hidden),
            _NORMS[sizes.hidden_norm](hidden),
            active(),
            conv3(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Stack(nn.Module):
    """Maps by level, coarse to fine, each twice the size of the one before; what comes in is added, what goes out is refined."""

    def __init__(self, sizes: StackSizes) -> None:
        super().__init__()
        widths = sizes.widths
        self.input_blocks = nn.ModuleList(_point(of, to) for of, to in zip(sizes.inputs, widths, strict=True))
        self.resamplers = nn.ModuleList(
            resampler(kind, of, to) for kind, of, to in zip(sizes.resamplers, widths[:-1], widths[1:], strict=True)
        )
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, sizes) for _ in range(count))) for width, count in zip(widths, sizes.blocks, strict=True)
        )
        self.output_blocks = nn.ModuleList(_point(of, to) for of, to in zip(widths, sizes.outputs, strict=True))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All maps, before the output blocks: which of them are wanted, and where, is the caller's matter."""
        out: list[Tensor] = []
        for i, given in enumerate(maps):
            x = self.input_blocks[i](given)
            if i:
                x = x + self.resamplers[i - 1](out[-1])
            out.append(self.res_blocks[i](x))
        return out

    def outputs(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps as they go out at every level."""
        return [block(x) for block, x in zip(self.output_blocks, self(maps), strict=True)]


def scale_head(dims: Sequence[int]) -> nn.Sequential:
    """Class token to the logarithm of the metric scale."""
    layers: list[nn.Module] = []
    for of, to in pairwise(dims):
        layers += [nn.Linear(of, to), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def grid_uv(rows: int, cols: int, aspect: float, *, device: torch.device | None = None) -> Tensor:
    """Places (2, rows, cols) of a grid's cell centres in a picture of ``aspect``: x to the right, y down, half diagonal 1. float32."""
    diagonal = (1 + aspect * aspect) ** 0.5
    x, y = ((2 * torch.arange(n, device=device, dtype=torch.float64) + 1) / n - 1 for n in (cols, rows))
    y, x = torch.meshgrid(y / diagonal, x * (aspect / diagonal), indexing="ij")
    return torch.stack([x, y]).float()


def _point(of: int | None, to: int | None) -> nn.Module:
    return nn.Identity() if of is None or to is None else nn.Conv2d(of, to, 1)
