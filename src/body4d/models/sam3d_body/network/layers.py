"""Small layers of the published network, and constants as tensors."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Layer norm over the last axis, under the name that the published norm over channels has."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Mlp(nn.Module):
    """Two linear layers with a ReLU or GELU between them, each in the precision of its own weights."""

    def __init__(self, width: int, hidden: int, out: int, *, gelu: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x.to(self.fc1.weight.dtype))
        return self.fc2((F.gelu(x) if self.gelu else F.relu(x)).to(self.fc2.weight.dtype))


def patch_linear(x: Float[Tensor, "b c h w"], conv: nn.Conv2d) -> Float[Tensor, "b rows columns out"]:
    """A convolution whose stride equals its kernel size, as one matrix product; the result has its channels last.

    cuDNN would compute it in TF32 even where TF32 is off for products, and the next layers need channels last.
    """
    patches = F.pixel_unshuffle(x, conv.kernel_size[0]) if conv.kernel_size[0] > 1 else x
    return F.linear(patches.movedim(1, -1), conv.weight.flatten(1), conv.bias)


def constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers as a tensor that is made once per device: making it anew would wait until the device has finished its work."""
    return _cached_tensor(values, device, dtype)


def constant_index(index: tuple[int, ...], device: torch.device) -> Tensor:
    """Indices as a tensor that is made once per device; see ``constant``."""
    return _cached_tensor(tuple(int(i) for i in index), device, torch.long)


@lru_cache(maxsize=128)
def _cached_tensor(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)
