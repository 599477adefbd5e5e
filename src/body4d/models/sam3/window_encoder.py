"""SAM-3's vision transformer with its tokens kept in the order of attention's windows, from the first layer to the last.

Most layers attend within windows, and attention over all tokens does not mind their order, given their positions. So they are put in order
once, and not cut into windows and back in every layer. Weights and positions are those of transformers' ``Sam3ViTModel``; a test compares.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from body4d.runtime.fused import add_norm, rotate_


def window_order(height: int, width: int, window: int) -> Int[Tensor, " cells"]:
    """For each token in window order its place in rows; ``window`` divides both sides."""
    rows = torch.arange(height * width).view(height // window, window, width // window, window)
    return rows.permute(0, 2, 1, 3).flatten()


class WindowEncoder:
    """Calls a ``Sam3ViTModel`` as it is meant, with less work on the way. Products are made in ``dtype``, sums are kept in float32."""

    def __init__(self, vit: Any, dtype: torch.dtype) -> None:
        self._vit, self._dtype = vit, dtype
        config = vit.config
        self._side, self._heads = config.image_size // config.patch_size, config.num_attention_heads
        device = vit.layer_norm.weight.device
        self._order = window_order(self._side, self._side, config.window_size).to(device)
        self._rows = torch.argsort(self._order)
        conv, side_px = vit.embeddings.patch_embeddings.projection, config.image_size
        self._patch_px, self._patch_weight = config.patch_size, conv.weight.flatten(1)
        # What the embeddings are besides the product of pixels and weights: positions, and a bias where there is one.
        with torch.inference_mode():
            self._rest = vit.embeddings(torch.zeros(1, 3, side_px, side_px, dtype=conv.weight.dtype, device=device)).float()[:, self._order]
        self._positions = {layer.window_size > 0: self._rotations(layer, device) for layer in vit.layers}

    @staticmethod
    def serves(vit: Any) -> bool:
        """Whether the windows fill the grid, and every layer is of the kind that is written here."""
        config = vit.config
        side = config.image_size // config.patch_size
        return side % config.window_size == 0 and config.hidden_act == "gelu" and not config.hidden_dropout

    def _rotations(self, layer: Any, device: torch.device) -> tuple[Tensor, Tensor]:
        cos, sin = (one[0].float().to(device) for one in layer.rotary_emb(layer.layer_norm1.weight, layer.position_ids.to(device)))
        if not layer.window_size:
            cos, sin = cos[self._order], sin[self._order]
        return cos.contiguous(), sin.contiguous()

    def __call__(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b cells c"]:
        """The last hidden state, by rows."""
        vit, window = self._vit, self._vit.config.window_size**2
        # A convolution whose stride is its size, as one product: cuDNN takes six times as long.
        patches = F.pixel_unshuffle(pixels.to(self._dtype), self._patch_px).flatten(2).mT[:, self._order]
        x = F.linear(patches, self._patch_weight.to(self._dtype)).float() + self._rest
        x = F.layer_norm(x, (vit.config.hidden_size,), *_norm(vit.layer_norm))
        added = torch.zeros_like(x, dtype=self._dtype)
        for layer in vit.layers:
            x, added = self._layer(layer, x, added, window if layer.window_size else x.shape[1])
        return (x + added)[:, self._rows]

    def _layer(self, layer: Any, x: Tensor, added: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """The sum before the layer's last part, and that part, which the next norm adds."""
        attention, mlp = layer.attention, layer.mlp
        x, normed = add_norm(x, added, None, *_norm(layer.layer_norm1))
        normed = normed.view(-1, tokens, x.shape[-1])
        cos, sin = self._positions[layer.window_size > 0]
        q, k = (rotate_(self._linear(normed, part), cos, sin, interleaved=True) for part in (attention.q_proj, attention.k_proj))
        q, k, v = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (q, k, self._linear(normed, attention.v_proj)))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x, normed = add_norm(x, self._linear(attended, attention.o_proj), None, *_norm(layer.layer_norm2))
        return x, self._linear(self._linear_gelu(normed, mlp.fc1), mlp.fc2)

    def _linear_gelu(self, x: Tensor, layer: Any) -> Tensor:
        """GELU of a product. On CUDA the product's kernel computes it, before its sums are rounded, which saves a pass through memory.

        It does so by tanh, 0.02 % off, and is yet nearer to float32 (0.17 %) than the exact function of rounded sums (0.24 %).
        """
        if not x.is_cuda or self._dtype == torch.float32:
            return F.gelu(self._linear(x, layer))
        weight, bias = layer.weight.to(self._dtype), layer.bias.to(self._dtype)
        return torch.ops.aten._addmm_activation(bias, x.flatten(0, -2), weight.mT, use_gelu=True).view(*x.shape[:-1], -1)

    def _linear(self, x: Tensor, layer: Any) -> Tensor:
        return F.linear(x, layer.weight.to(self._dtype), layer.bias.to(self._dtype))


def _norm(norm: Any) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps
