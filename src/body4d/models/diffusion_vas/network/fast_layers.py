# diffusers tells its submodules as Tensor | Module, which cannot be called.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportOptionalCall=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIndexIssue=false, reportOperatorIssue=false, reportOptionalSubscript=false
"""diffusers' blocks of Stable Video Diffusion's networks with their own weights, computed with channels last.

Rows are pixels, columns channels, from the first layer to the last: convolutions, products and attention all read that layout, so nothing
is laid out anew between them, and what lies between is one pass through memory (``runtime.fused``). Besides, attention to a single
embedding is that embedding's value, a convolution over frames alone is a 2D one, and a convolution's bias is added where its result is
read next. All of this is exact but for rounding.
"""

from typing import Any, TypeVar

import torch
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from body4d.runtime.fused import add_mixed, add_norm, attention_over_frames, blend, gelu_product, group_norm

Net = TypeVar("Net", bound=nn.Module)

_UNKNOWN = "a variant that no published network has"


def to_rows(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n l c"]:
    """The pixels of maps as rows; no copy where channels lie last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def to_maps(rows: Float[Tensor, "n l c"], height: int) -> Float[Tensor, "n c h w"]:
    """Rows as maps, without a copy."""
    return rows.unflatten(1, (height, -1)).permute(0, 3, 1, 2)


class FrameConv(nn.Module):
    """A 3D convolution over frames alone, done as a 2D one, for which libraries are tuned."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(_channels_last(conv.weight.squeeze(-1)), requires_grad=False)
        self.bias, self.padding = conv.bias, (int(conv.padding[0]), 0)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b out t h w"]:
        return functional.conv2d(x.flatten(3), self.weight, self.bias, padding=self.padding).unflatten(3, x.shape[3:])

    def without_bias(self, rows: Float[Tensor, "b l c"], frames: int) -> Float[Tensor, "b l out"]:
        """The same of videos whose rows are frames times places, less the bias."""
        return to_rows(functional.conv2d(to_maps(rows, frames), self.weight, padding=self.padding))


class NormSilu(nn.Module):
    """A group norm and the SiLU after it, of maps."""

    def __init__(self, norm: nn.GroupNorm, *, silu: bool = True) -> None:
        super().__init__()
        self.norm, self.silu = norm, silu

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return to_maps(_normed(self.norm, to_rows(x), silu=self.silu), x.shape[2])


class ResidualBlock(nn.Module):
    """diffusers' ResnetBlock2D."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        plain = block.time_embedding_norm == "default" and block.output_scale_factor == 1 and not (block.up or block.down)
        assert plain, _UNKNOWN
        self.norm1, self.conv1, self.norm2, self.conv2 = block.norm1, block.conv1, block.norm2, block.conv2
        self.time_emb_proj, self.conv_shortcut = block.time_emb_proj, block.conv_shortcut

    def forward(self, x: Float[Tensor, "n c h w"], temb: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n out h w"]:
        rows, height = to_rows(x), x.shape[2]
        hidden = self._conv(self.conv1, _normed(self.norm1, rows), height)
        hidden = self._conv(self.conv2, _normed(self.norm2, hidden, _shift(self.conv1.bias, self.time_emb_proj, temb)), height)
        if self.conv_shortcut is not None:
            rows = functional.linear(rows, self.conv_shortcut.weight.flatten(1), self.conv_shortcut.bias)
        return to_maps(add_mixed(rows, hidden, None, self.conv2.bias[None]), height)

    @staticmethod
    def _conv(conv: nn.Conv2d, rows: Tensor, height: int) -> Tensor:
        return to_rows(functional.conv2d(to_maps(rows, height), conv.weight, padding=1))


class VideoResidualBlock(nn.Module):
    """diffusers' SpatioTemporalResBlock: a residual block for each frame, and one over frames, a learned share of which is added."""

    def __init__(self, block: SpatioTemporalResBlock) -> None:
        super().__init__()
        over_frames, mixer = block.temporal_res_block, block.time_mixer
        known = mixer.merge_strategy != "fixed" and over_frames.conv_shortcut is None
        assert known, _UNKNOWN
        self.spatial_res_block = ResidualBlock(block.spatial_res_block)
        self.norm1, self.norm2, self.time_emb_proj = over_frames.norm1, over_frames.norm2, over_frames.time_emb_proj
        self.conv1, self.conv2 = FrameConv(over_frames.conv1), FrameConv(over_frames.conv2)
        self.mix_factor, self._switched = mixer.mix_factor, mixer.switch_spatial_to_temporal_mix

    def forward(
        self, x: Float[Tensor, "n c h w"], temb: Float[Tensor, "n d"] | None = None, image_only_indicator: Tensor | None = None
    ) -> Float[Tensor, "n out h w"]:
        assert image_only_indicator is not None
        frames = image_only_indicator.shape[-1]
        maps = self.spatial_res_block(x, temb)
        rows = to_rows(maps).unflatten(0, (-1, frames)).flatten(1, 2)
        hidden = self.conv1.without_bias(_normed(self.norm1, rows), frames)
        shift = _shift(self.conv1.bias, self.time_emb_proj, temb)
        hidden = self.conv2.without_bias(_normed(self.norm2, hidden, shift), frames)
        # Both sides of the mixture hold the frame's own result, so that the other's share of what is added remains.
        share = torch.sigmoid(self.mix_factor.float() if self._switched else -self.mix_factor.float())
        mixed = add_mixed(rows, hidden, share, self.conv2.bias[None])
        return to_maps(mixed.view(len(maps), -1, mixed.shape[2]), maps.shape[2])


class VideoTransformer(nn.Module):
    """diffusers' TransformerSpatioTemporalModel of one layer, whose frames attend to one embedding each."""

    def __init__(self, model: TransformerSpatioTemporalModel) -> None:
        super().__init__()
        assert len(model.transformer_blocks) == 1, _UNKNOWN
        self.norm, self.proj_in, self.proj_out = model.norm, model.proj_in, model.proj_out
        self.time_pos_embed, self.time_proj, self.mix_factor = model.time_pos_embed, model.time_proj, model.time_mixer.mix_factor
        self.spatial, self.over_frames = model.transformer_blocks[0], model.temporal_transformer_blocks[0]
        self.heads = self.spatial.attn1.heads
        for block in (self.spatial, self.over_frames):
            attention = block.attn1
            weights = [attention.to_q.weight, attention.to_k.weight, attention.to_v.weight]
            block.qkv = nn.Parameter(torch.cat(weights), requires_grad=False)
            del attention.to_q, attention.to_k, attention.to_v

    def forward(
        self, x: Float[Tensor, "n c h w"], encoder_hidden_states: Float[Tensor, "n 1 d"], image_only_indicator: Tensor, **_: Any
    ) -> tuple[Float[Tensor, "n c h w"]]:
        assert encoder_hidden_states.shape[1] == 1, "attention to more than one embedding"
        frames, shown = image_only_indicator.shape[-1], encoder_hidden_states[:, 0]
        given = to_rows(x)
        rows = self.proj_in(_normed(self.norm, given, silu=False))
        rows, pending = self._of_frames(rows, shown)
        place = torch.arange(frames, device=x.device).repeat(len(x) // frames)
        place = self.time_pos_embed(self.time_proj(place).to(rows.dtype))
        rows, pending, moving = self._over_frames(rows, pending, place, shown[::frames], frames)
        # A mixture of the frames' own result, which is ``rows`` less ``place``, and that over frames, ``moving + pending``.
        out = self.proj_out(blend(rows, place, moving, pending, torch.sigmoid(-self.mix_factor.float())))
        return (to_maps(given + out, x.shape[2]),)

    def _of_frames(self, rows: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Each frame by itself: two parts of its result, still to be added."""
        block = self.spatial
        qkv = functional.linear(_layer_norm(block.norm1, rows), block.qkv).unflatten(-1, (3, self.heads, -1))
        attended = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        rows, normed = _add_norm(block.norm3, rows, block.attn1.to_out[0](attended), _answer(block.attn2, shown))
        return rows, _feed_forward(block.ff, normed)

    def _over_frames(self, rows: Tensor, pending: Tensor, place: Tensor, shown: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """All frames together: what goes in, and two parts of the result."""
        block = self.over_frames
        given, normed = _add_norm(block.norm_in, rows, pending, place)
        moving, normed = _add_norm(block.norm1, given, _feed_forward(block.ff_in, normed))
        attended = attention_over_frames(functional.linear(normed, block.qkv), frames, self.heads)
        moving, normed = _add_norm(block.norm3, moving, block.attn1.to_out[0](attended), _answer(block.attn2, shown))
        return given, _feed_forward(block.ff, normed), moving


class Doubling(nn.Module):
    """diffusers' Upsample2D: every pixel becomes four, or as many as ``output_size`` asks for, and a convolution follows."""

    def __init__(self, block: Upsample2D) -> None:
        super().__init__()
        known = block.use_conv and block.interpolate and block.norm is None
        assert known, _UNKNOWN
        self.conv = block.conv

    def forward(self, x: Float[Tensor, "n c h w"], output_size: Any = None) -> Float[Tensor, "n c height width"]:
        size = (2 * x.shape[2], 2 * x.shape[3]) if output_size is None else tuple(output_size)
        cells = x.permute(0, 2, 3, 1)
        if size == (2 * x.shape[2], 2 * x.shape[3]):
            cells = cells[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1).flatten(3, 4).flatten(1, 2)
        else:
            down, across = (torch.arange(new, device=x.device) * old // new for new, old in zip(size, x.shape[2:], strict=True))
            cells = cells[:, down][:, :, across]
        return self.conv(cells.permute(0, 3, 1, 2))


def _normed(norm: nn.GroupNorm, rows: Tensor, shared: Tensor | None = None, *, silu: bool = True) -> Tensor:
    return group_norm(rows, norm.weight, norm.bias, norm.num_groups, norm.eps, shared, silu=silu)


def _layer_norm(norm: nn.LayerNorm, rows: Tensor) -> Tensor:
    return functional.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _add_norm(norm: nn.LayerNorm, rows: Tensor, added: Tensor, shared: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return add_norm(rows, added, None, norm.weight, norm.bias, norm.eps, shared)


def _feed_forward(net: Any, rows: Tensor) -> Tensor:
    return net.net[2](gelu_product(net.net[0].proj(rows)))


def _answer(attention: Any, shown: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
    """What attention to a single embedding gives for any query: a softmax over one is one, so it is the embedding's value."""
    return attention.to_out[0](attention.to_v(shown))


def _shift(bias: Tensor, projection: nn.Module | None, temb: Tensor | None) -> Tensor:
    """What is added to a convolution's result: its bias, and the embedding of noise level and frame where there is one."""
    if projection is None or temb is None:
        return bias[None]
    return projection(functional.silu(temb)).float() + bias.float()


def _channels_last(weight: Tensor) -> Tensor:
    return weight.detach().contiguous(memory_format=torch.channels_last)


_FAST = {
    SpatioTemporalResBlock: VideoResidualBlock,
    TransformerSpatioTemporalModel: VideoTransformer,
    ResnetBlock2D: ResidualBlock,
    Upsample2D: Doubling,
}


def use_fast_layers(net: Net) -> Net:
    """``net``, a UNet or VAE of diffusers with its weights, changed to these layers in place."""
    for name, child in list(net.named_children()):
        if type(child) in _FAST:
            child = _FAST[type(child)](child)
            setattr(net, name, child)
        elif type(child) is nn.Conv3d and child.kernel_size[1:] == (1, 1) and child.stride == (1, 1, 1) and child.padding[1:] == (0, 0):
            setattr(net, name, FrameConv(child))
        else:
            use_fast_layers(child)
        for conv in child.modules():
            if isinstance(conv, nn.Conv2d):
                conv.weight.data = _channels_last(conv.weight)
    if isinstance(getattr(net, "conv_norm_out", None), nn.GroupNorm):
        net.conv_norm_out, net.conv_act = NormSilu(net.conv_norm_out), nn.Identity()  # type: ignore[assignment]
    return net
