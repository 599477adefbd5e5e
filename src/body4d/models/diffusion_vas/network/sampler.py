"""From two pictures a frame to a third: the denoising of Diffusion-VAS over windows of frames that overlap.

All pictures are (F, 3, H, W) in [-1, 1]. Windows may belong to several videos and go through the UNet together; where windows of one video
overlap, their predictions are averaged at every step, so that the frames they share come out as one (Bar-Tal et al. 2023).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:  # diffusers takes seconds to import, and most clips never ask for it
    from body4d.models.diffusion_vas.network.unet import VasUnet

Rows = Callable[[int, Callable[[slice], Tensor]], list[Tensor]]
"""Does work on consecutive rows that cover a count: all at once, or as many as memory holds."""

Watch = Callable[[int, Tensor, Tensor, Tensor], None]
"""Hears of each step: its number, its noise level, the UNet's input and what it made of it."""

LATENT_CHANNELS = 4
"""Channels of a picture's latents: the noisy ones, then those of the first and of the second picture that tell what is wanted."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP_SIDE_PX = 224
FPS, MOTION_BUCKET, NOISE_SHARE = 7, 127, 0.02
"""Published: what the network is told of the video (8 frames a second, counted from 0), and how much noise its pictures get."""


@dataclass(frozen=True)
class VasNetworks:
    """One pipeline's networks: ``scheduler`` makes a new EulerDiscreteScheduler."""

    unet: "VasUnet"
    vae: Any
    clip: nn.Module
    scheduler: Callable[[], Any]

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype


@dataclass(frozen=True)
class Recipe:
    """How the denoising goes: ``steps``, ``guidance`` towards what the pictures tell, ``scrambled`` as :func:`embeddings_of_rows`."""

    steps: int
    guidance: float
    scrambled: bool = True


def all_at_once(count: int, work: Callable[[slice], Tensor]) -> list[Tensor]:
    """The plain :data:`Rows`."""
    return [work(slice(0, count))]


def clip_embeddings(nets: VasNetworks, pictures: Tensor) -> Tensor:
    """What CLIP sees in each picture (F, D)."""
    small = (shrunk(pictures, CLIP_SIDE_PX) + 1) / 2
    mean, std = (torch.tensor(v, device=small.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    parameter = next(nets.clip.parameters())
    return nets.clip(((small - mean) / std).to(parameter.dtype)).image_embeds


def shrunk(pictures: Tensor, side: int) -> Tensor:
    """Pictures (F, 3, side, side): blurred as far as they are shrunk, then bicubic from corner to corner, as published."""
    for axis in (2, 3):
        size = pictures.shape[axis]
        sigma = max((size / side - 1) / 2, 1e-3)
        reach = max(int(4 * sigma), 3) // 2
        place = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
        kernel = torch.exp(-(place**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view(1, 1, *((-1, 1) if axis == 2 else (1, -1))).expand(3, 1, -1, -1)
        rim = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        pictures = functional.conv2d(functional.pad(pictures, rim, mode="reflect"), kernel, groups=3)
    return functional.interpolate(pictures, size=(side, side), mode="bicubic", align_corners=True)


def picture_latents(nets: VasNetworks, pictures: Tensor, noise: Tensor) -> Tensor:
    """Latents (F, 4, H/8, W/8) of pictures with a little ``noise`` of their shape, not scaled, as the UNet wants them."""
    return nets.vae.encode((pictures + NOISE_SHARE * noise).to(nets.vae.dtype)).latent_dist.mode()


def embeddings_of_rows(embeddings: Tensor, *, scrambled: bool) -> Tensor:
    """What each frame of the UNet's two halves (2, W, L, D) is shown: nothing in the first half, its own embedding in the second.

    ``embeddings`` (W, L, D). The published code takes none, own, none, own, ... in a row and cuts the row in the middle, so that every
    other frame of both halves is shown an embedding, and that of another frame: ``scrambled``.
    """
    none = torch.zeros_like(embeddings)
    if not scrambled:
        return torch.stack([none, embeddings])
    windows, length, width = embeddings.shape
    return torch.stack([none, embeddings], dim=2).reshape(windows, 2, length, width).transpose(0, 1)


def denoise(
    nets: VasNetworks,
    noise: Tensor,
    told: Tensor,
    embeddings: Tensor,
    windows: Sequence[Sequence[int]],
    recipe: Recipe,
    rows: Rows = all_at_once,
    watch: Watch | None = None,
) -> Tensor:
    """Latents (F, 4, h, w), float32, of the wanted pictures, from ``noise`` of that shape.

    ``told`` (F, 8, h, w) are the latents of both pictures, ``embeddings`` (F, D) CLIP's of the first one; ``windows`` lists the frames of
    each window, all of one length, together covering all F.
    """
    scheduler = nets.scheduler()
    scheduler.set_timesteps(recipe.steps, device=nets.device)
    index = torch.as_tensor(windows, device=nets.device)
    shown = embeddings_of_rows(embeddings[index], scrambled=recipe.scrambled).to(nets.dtype)
    share = _shares(index, len(noise))
    latents = noise.float() * scheduler.init_noise_sigma
    for step, t in enumerate(scheduler.timesteps):
        given = torch.cat([scheduler.scale_model_input(latents, t), told], dim=1)[index]
        half = given.clone()
        half[:, :, LATENT_CHANNELS:] = 0
        sample = torch.cat([half, given])
        out = _predicted(nets, sample, t, shown.flatten(0, 1), rows)
        if watch:
            watch(step, t, sample, out)
        without, with_ = out.chunk(2)
        guided = without + recipe.guidance * (with_ - without)
        whole = torch.zeros_like(latents).index_add_(0, index.flatten(), (guided * share).flatten(0, 1))
        latents = scheduler.step(whole, t, latents).prev_sample
    return latents


def _predicted(nets: VasNetworks, sample: Tensor, t: Tensor, shown: Tensor, rows: Rows) -> Tensor:
    """The UNet's word (2W, L, 4, h, w), float32, in as many goes as ``rows`` wants."""
    about = torch.tensor([[FPS, MOTION_BUCKET, NOISE_SHARE]], device=sample.device)

    def work(part: slice) -> Tensor:
        given = sample[part].to(nets.dtype)
        return nets.unet(given, t, shown[part], about.expand(len(given), 3)).float()

    return torch.cat(rows(len(sample), work))


def _shares(index: Tensor, frames: int) -> Tensor:
    """Say of each window in each of its frames (W, L, 1, 1, 1): least at its ends, and one in all for a frame."""
    length = index.shape[1]
    place = torch.arange(length, device=index.device)
    weight = torch.minimum(place + 1, length - place).float().expand(index.shape)
    total = torch.zeros(frames, device=index.device).index_add_(0, index.flatten(), weight.flatten())
    return (weight / total[index])[..., None, None, None]


def decode(nets: VasNetworks, latents: Tensor, chunk: int, rows: Rows = all_at_once) -> Tensor:
    """Pictures (F, 3, H, W) of one video's latents, ``chunk`` frames seen together; chunks go side by side as ``rows`` wants."""
    latents = (latents / nets.vae.config.scaling_factor).to(nets.vae.dtype)
    whole = len(latents) // chunk

    def work(part: slice) -> Tensor:
        return nets.vae.decode(latents[part.start * chunk : part.stop * chunk], num_frames=chunk).sample.float()

    out = rows(whole, work) if whole else []
    if whole * chunk < len(latents):
        rest = latents[whole * chunk :]
        out = [*out, nets.vae.decode(rest, num_frames=len(rest)).sample.float()]
    return torch.cat(out)
