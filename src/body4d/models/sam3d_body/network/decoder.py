"""The decoder: tokens attend to each other and to the image, and are updated after each layer with what was predicted so far."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.config import HEAD_WIDTH, NetworkSizes
from body4d.models.sam3d_body.network.layers import Mlp

EPS = 1e-6

KeysValues = tuple[Float[Tensor, "b heads keys 64"], Float[Tensor, "b heads keys 64"]]
ImageContext = list[KeysValues]
"""Keys and values of the image for every layer. Decoding does not change the image, so they are made once per crop."""

UpdateFn = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes the normalised pose token, the tokens and their positions; returns new tokens and positions."""


class Attention(nn.Module):
    """Queries of tokens against keys and values that may be as wide as the image's features."""

    def __init__(self, width: int, context: int, inner: int) -> None:
        super().__init__()
        self.heads = inner // HEAD_WIDTH
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(context, inner)
        self.v_proj = nn.Linear(context, inner)
        self.proj = nn.Linear(inner, width)

    def split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, HEAD_WIDTH)).transpose(1, 2)

    def keys_values(self, k: Tensor, v: Tensor) -> KeysValues:
        dtype = self.k_proj.weight.dtype
        return self.split_heads(self.k_proj(k.to(dtype))), self.split_heads(self.v_proj(v.to(dtype)))

    def forward(self, q: Tensor, keys_values: KeysValues) -> Tensor:
        q = self.split_heads(self.q_proj(q.to(self.q_proj.weight.dtype)))
        x = F.scaled_dot_product_attention(q, *keys_values)
        return self.proj(x.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Self-attention, attention to the image, feed-forward, each after its norm. Positions are added to queries and keys only."""

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

    def image_keys_values(self, image: Float[Tensor, "b cells image"], image_position: Float[Tensor, "cells image"]) -> KeysValues:
        """Keys and values of the image's cells."""
        normed = self.ln2_2(image.to(self.ln2_2.weight.dtype))
        return self.cross_attn.keys_values(normed + self.ln_pe_2(image_position).to(normed.dtype), normed)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Run the products and the image's norm in ``dtype``. The tokens that go from layer to layer, and their norms, stay float32."""
        for part in (self.ln2_2, self.self_attn, self.cross_attn, self.ffn):
            part.to(dtype)

    def forward(self, tokens: Tensor, position: Tensor, keys_values: KeysValues) -> Tensor:
        position = self.ln_pe_1(position)
        normed = self.ln1(tokens)
        # The first layer compares the tokens without their positions.
        positioned = normed if self.first else normed + position
        tokens = tokens + self.self_attn(positioned, self.self_attn.keys_values(positioned, normed))
        tokens = tokens + self.cross_attn(self.ln2_1(tokens) + position, keys_values)
        return tokens + self.ffn(self.ln3(tokens))


class Decoder(nn.Module):
    """All layers. Between two of them ``update`` may rewrite the tokens by what the pose token predicts so far."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(sizes, first=i == 0) for i in range(sizes.decoder_depth))
        self.norm_final = nn.LayerNorm(sizes.decoder_width, eps=EPS)

    def image_context(self, image: Float[Tensor, "b cells image"], image_position: Float[Tensor, "cells image"]) -> ImageContext:
        """What every layer needs of the image."""
        return [layer.image_keys_values(image, image_position) for layer in self.layers]  # type: ignore[operator]

    def forward(
        self, tokens: Float[Tensor, "b n width"], position: Float[Tensor, "b n width"], context: ImageContext, update: UpdateFn
    ) -> Float[Tensor, "b n width"]:
        """The final tokens, normalised. ``update`` is called after every layer but the last."""
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

    def forward(
        self, features: Float[Tensor, "b image rows columns"], rays: Float[Tensor, "b 3 rows columns"]
    ) -> Float[Tensor, "b image rows columns"]:
        """Features of the same precision with the rays, which are float32, mixed in."""
        bands = torch.linspace(1.0, self.TOP_BAND, self.BANDS, device=rays.device)
        angle = torch.pi * (rays[:, :, None] * bands[:, None, None]).flatten(1, 2)
        weight, width = self.conv.weight.flatten(1), features.shape[1]
        # One product for the image and one for the rays, which stay float32: bfloat16 would move them by pixels.
        mixed = F.linear(features.movedim(1, -1), weight[:, :width].to(features.dtype))
        mixed = mixed + F.linear(torch.cat([rays, angle.sin(), angle.cos()], 1).movedim(1, -1), weight[:, width:])
        return self.norm(mixed).to(features.dtype).movedim(-1, 1)
