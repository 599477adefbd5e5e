"""The same sums in fewer steps, for networks of diffusers: exact but for rounding."""

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

Net = TypeVar("Net", bound=nn.Module)

MOST_SEQUENCES = 65_535
"""Sequences that attention's CUDA kernels take at once: a side of their grid."""
MOST_ELEMENTS = 2**31 - 1
"""Elements of a tensor up to which every kernel counts right."""


class OneKey:
    """Attention to a single key, for ``diffusers``' Attention: a softmax over one is one, so the value is the answer to any query."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None) -> Tensor:
        """Answer (N, L, C) to ``hidden_states`` (N, L, C) that look at ``encoder_hidden_states`` (N, 1, D)."""
        assert encoder_hidden_states.shape[1] == 1, "there is one embedding to look at"
        answer = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return answer.expand(-1, hidden_states.shape[1], -1)


class FrameConv(nn.Module):
    """A 3D convolution over frames alone, done as a 2D one: libraries are tuned for these."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self.padding = conv.weight, conv.bias, conv.padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) to the same with other channels."""
        out = functional.conv2d(x.flatten(3), self.weight.squeeze(-1), self.bias, padding=(int(self.padding[0]), 0))
        return out.unflatten(3, x.shape[3:])


def quicker(net: Net) -> Net:
    """``net`` with both in place, wherever they fit. Its weights stay what they are."""
    for module in list(net.modules()):
        second = getattr(module, "attn2", None)
        if second is not None:
            second.set_processor(OneKey())
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv3d and child.kernel_size[1:] == (1, 1) and child.stride == (1, 1, 1) and child.padding[1:] == (0, 0):
                setattr(module, name, FrameConv(child))
    return net


def compile_blocks(net: nn.Module, *kinds: str) -> int:
    """Compile each module whose class is named among ``kinds``; gives their number. Equal blocks share what is compiled."""
    import torch._dynamo

    blocks = [module for module in net.modules() if type(module).__name__ in kinds]
    # Every pair of widths and every size of picture is compiled for itself: more of them than torch's own limit.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 * len(blocks))
    for block in blocks:
        block.compile(dynamic=False)
    return len(blocks)
