"""The decoder: tokens look at each other and at the image, layer by layer, and are told what was predicted so far."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.config import HEAD_WIDTH, NetworkSizes
from body4d.models.sam3d_body.network.layers import Mlp

EPS = 1e-6
Context = list[tuple[Tensor, Tensor]]
"""Keys and values (B, heads, cells, 64) of the image for every layer. The image never changes while decoding: made once per crop."""


class Attention(nn.Module):
    """Queries of tokens against keys and values that may be as wide as the image's features."""

    def __init__(self, width: int, context: int, inner: int) -> None:
        super().__init__()
        self.heads = inner // HEAD_WIDTH
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(context, inner)
        self.v_proj = nn.Linear(context, inner)
        self.proj = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, HEAD_WIDTH)).transpose(1, 2)

    def keys_values(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self.k_proj.weight.dtype
        return self.split(self.k_proj(k.to(dtype))), self.split(self.v_proj(v.to(dtype)))

    def forward(self, q: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        x = F.scaled_dot_product_attention(self.split(self.q_proj(q.to(self.q_proj.weight.dtype))), *keys_values)
        return self.proj(x.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Self-attention, attention to the image, feed-forward; all with their norms first. Positions are added to queries and keys only."""

    def __init__(self, sizes: NetworkSizes, *, first: bool) -> None:
        super().__init__()
        width, image = sizes.decoder_width, sizes.backbone.width
        self.first = first
        self.ln_pe_1 = nn.LayerNorm(width, eps=EPS)
        self.ln_pe_2 = nn.LayerNorm(image, eps=EPS)
        self.ln1 = nn.LayerNorm(width, eps=EPS)
        self.self_attn = Attention(width, width, sizes.decoder_attention)
        self.ln2_1 = nn.LayerNorm(width, eps=EPS)
        self.ln2_2 = nn.LayerNorm(image, eps=EPS)
        self.cross_attn = Attention(width, image, sizes.decoder_attention)
        self.ln3 = nn.LayerNorm(width, eps=EPS)
        self.ffn = Mlp(width, sizes.decoder_hidden, width, gelu=True)

    def look(self, image: Tensor, image_position: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the image's cells (B, cells, C)."""
        seen = self.ln2_2(image.to(self.ln2_2.weight.dtype))
        return self.cross_attn.keys_values(seen + self.ln_pe_2(image_position).to(seen.dtype), seen)

    def lower(self, dtype: torch.dtype) -> None:
        """Products and the image's norm in ``dtype``. The tokens that go from layer to layer, and their norms, stay float32."""
        for part in (self.ln2_2, self.self_attn, self.cross_attn, self.ffn):
            part.to(dtype)

    def forward(self, tokens: Tensor, position: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        position = self.ln_pe_1(position)
        own = self.ln1(tokens)
        # The first layer compares the tokens without their positions.
        placed = own if self.first else own + position
        tokens = tokens + self.self_attn(placed, self.self_attn.keys_values(placed, own))
        tokens = tokens + self.cross_attn(self.ln2_1(tokens) + position, keys_values)
        return tokens + self.ffn(self.ln3(tokens))


class Decoder(nn.Module):
    """All layers. Between two of them ``update`` may rewrite the tokens from what the pose token says by then."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes, first=i == 0) for i in range(sizes.decoder_depth))
        self.norm_final = nn.LayerNorm(sizes.decoder_width, eps=EPS)

    def context(self, image: Tensor, image_position: Tensor) -> Context:
        """What every layer needs of the image, made once: image (B, cells, C), its cells' positions (cells, C)."""
        return [layer.look(image, image_position) for layer in self.layers]  # type: ignore[operator]

    def forward(
        self, tokens: Tensor, position: Tensor, context: Context, update: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Final tokens (B, n, width), normed. ``update(pose token, tokens, position)`` is called after every layer but the last."""
        last = len(self.layers) - 1
        for i, (layer, keys_values) in enumerate(zip(self.layers, context, strict=True)):
            tokens = layer(tokens, position, keys_values)
            if i < last:
                tokens, position = update(self.norm_final(tokens[:, 0]), tokens, position)
        return self.norm_final(tokens)


class RayCondition(nn.Module):
    """Mixes the viewing rays of the cells into the feature map, as Fourier features of 16 bands."""

    BANDS = 16
    TOP_BAND = 32.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width + 3 * (2 * self.BANDS + 1), width, kernel_size=1, bias=False)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, features: Tensor, rays: Tensor) -> Tensor:
        """Features (B, C, h, w) of any precision and rays (B, 3, h, w) float32 to features of the same shape and precision."""
        bands = torch.linspace(1.0, self.TOP_BAND, self.BANDS, device=rays.device)
        angle = torch.pi * (rays[:, :, None] * bands[:, None, None]).flatten(1, 2)
        weight, width = self.conv.weight.flatten(1), features.shape[1]
        # A product of the image and one of the rays: rays are thin, and bfloat16 would move them by pixels.
        mixed = F.linear(features.movedim(1, -1), weight[:, :width].to(features.dtype))
        mixed = mixed + F.linear(torch.cat([rays, angle.sin(), angle.cos()], 1).movedim(1, -1), weight[:, width:])
        return self.norm(mixed).to(features.dtype).movedim(-1, 1)
