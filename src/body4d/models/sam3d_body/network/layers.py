"""Small pieces the published network is made of, and the two ways of keeping float32 what it says."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Layer norm over the last axis, under the name the published norm over channels has."""

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


def patch_linear(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution whose stride is its size, as one matrix product: x (B, C, H, W) to (B, H / k, W / k, out), channels last.

    cuDNN would do it in TF32 even where TF32 is not allowed for products, and what follows wants channels last.
    """
    patches = F.pixel_unshuffle(x, conv.kernel_size[0]) if conv.kernel_size[0] > 1 else x
    return F.linear(patches.movedim(1, -1), conv.weight.flatten(1), conv.bias)


def constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers of the code as a tensor, made once per device: making one anew waits until the device has done all it was given."""
    return _constant(values, device, dtype)


@lru_cache(maxsize=128)
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def fixed_index(index: tuple[int, ...], device: torch.device) -> Tensor:
    """Indices of the code as a tensor, made once per device; see :func:`constant`."""
    return _constant(index, device, torch.long)
