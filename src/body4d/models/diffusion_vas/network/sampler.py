"""The denoising of Diffusion-VAS, from two conditioning images per frame to a third, over windows of frames that overlap.

Images are in [-1, 1]. Windows may belong to several videos and go through the UNet together. Where windows of one video overlap, their
predictions are averaged at every step, so that they agree on the frames that they share (Bar-Tal et al. 2023).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:  # diffusers takes seconds to import, and most clips never need it
    from body4d.models.diffusion_vas.network.unet import VasUnet

RunBatches = Callable[[int, Callable[[slice], Tensor]], list[Tensor]]
"""Runs work on consecutive rows that cover a count: all at once, or as many as memory holds."""

StepObserver = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called after each step with its index, its noise level, the UNet's input and its output."""

LATENT_CHANNELS = 4
"""Channels of an image's latents. The UNet takes three: the noisy ones, and those of the first and the second conditioning image."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP_SIDE_PX = 224
FPS, MOTION_BUCKET, NOISE_SHARE = 7, 127, 0.02
"""Published: the conditioning on the video (8 frames a second, counted from 0), and the noise that its images get."""


@dataclass(frozen=True)
class VasNetworks:
    """One pipeline's networks. ``scheduler`` makes a new EulerDiscreteScheduler."""

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
class SamplerOptions:
    """``guidance``: the weight of the conditioning; 1 is none beyond it. ``scrambled``: see ``guidance_embeddings``."""

    num_steps: int
    guidance: float
    scrambled: bool = True


def run_at_once(count: int, work: Callable[[slice], Tensor]) -> list[Tensor]:
    """The plain ``RunBatches``."""
    return [work(slice(0, count))]


def clip_embeddings(nets: VasNetworks, images: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f d"]:
    """CLIP's embedding of each image."""
    small = (resize_for_clip(images, CLIP_SIDE_PX) + 1) / 2
    mean, std = (torch.tensor(v, device=small.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    parameter = next(nets.clip.parameters())
    return nets.clip(((small - mean) / std).to(parameter.dtype)).image_embeds


def resize_for_clip(images: Float[Tensor, "f 3 h w"], side: int) -> Float[Tensor, "f 3 side side"]:
    """Images blurred by as much as they shrink, then resized bicubically from corner to corner, as published."""
    for axis in (2, 3):
        size = images.shape[axis]
        sigma = max((size / side - 1) / 2, 1e-3)
        radius = max(int(4 * sigma), 3) // 2
        offset = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-(offset**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view(1, 1, *((-1, 1) if axis == 2 else (1, -1))).expand(3, 1, -1, -1)
        border = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        images = functional.conv2d(functional.pad(images, border, mode="reflect"), kernel, groups=3)
    return functional.interpolate(images, size=(side, side), mode="bicubic", align_corners=True)


def encode_images(nets: VasNetworks, images: Float[Tensor, "f 3 h w"], noise: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 4 h8 w8"]:
    """Latents, an eighth of the images' size, of images with a little ``noise``; not scaled, as the UNet takes them."""
    return nets.vae.encode((images + NOISE_SHARE * noise).to(nets.vae.dtype)).latent_dist.mode()


def guidance_embeddings(embeddings: Float[Tensor, "windows length d"], *, scrambled: bool) -> Float[Tensor, "2 windows length d"]:
    """Embeddings that the frames of both guidance halves attend to: zeros in the unconditional half, their own in the conditional one.

    ``scrambled``: the published code lines up zeros, own, zeros, own, ... and cuts this row in the middle, so that every other frame of
    both halves attends to an embedding, which is that of another frame.
    """
    none = torch.zeros_like(embeddings)
    if not scrambled:
        return torch.stack([none, embeddings])
    windows, length, width = embeddings.shape
    return torch.stack([none, embeddings], dim=2).reshape(windows, 2, length, width).transpose(0, 1)


def denoise(
    nets: VasNetworks,
    noise: Float[Tensor, "f 4 h w"],
    condition_latents: Float[Tensor, "f 8 h w"],
    embeddings: Float[Tensor, "f d"],
    windows: Sequence[Sequence[int]],
    options: SamplerOptions,
    run_batches: RunBatches = run_at_once,
    observe: StepObserver | None = None,
) -> Float[Tensor, "f 4 h w"]:
    """Latents, float32, of the generated images.

    ``condition_latents`` are those of both conditioning images, ``embeddings`` CLIP's of the first one. ``windows`` lists the frames of
    each window; they are all of one length and together cover all frames.
    """
    scheduler = nets.scheduler()
    scheduler.set_timesteps(options.num_steps, device=nets.device)
    index = torch.as_tensor(windows, device=nets.device)
    attended = guidance_embeddings(embeddings[index], scrambled=options.scrambled).to(nets.dtype)
    weight = window_weights(index, len(noise))
    latents = noise.float() * scheduler.init_noise_sigma
    for step, t in enumerate(scheduler.timesteps):
        conditional = torch.cat([scheduler.scale_model_input(latents, t), condition_latents], dim=1)[index]
        unconditional = conditional.clone()
        unconditional[:, :, LATENT_CHANNELS:] = 0
        sample = torch.cat([unconditional, conditional])
        out = _predict(nets, sample, t, attended.flatten(0, 1), run_batches)
        if observe:
            observe(step, t, sample, out)
        base, conditioned = out.chunk(2)
        guided = base + options.guidance * (conditioned - base)
        merged = torch.zeros_like(latents).index_add_(0, index.flatten(), (guided * weight).flatten(0, 1))
        latents = scheduler.step(merged, t, latents).prev_sample
    return latents


def _predict(nets: VasNetworks, sample: Tensor, t: Tensor, attended: Tensor, run_batches: RunBatches) -> Tensor:
    """The UNet's output (2W, L, 4, h, w), float32."""
    time_ids = torch.tensor([[FPS, MOTION_BUCKET, NOISE_SHARE]], device=sample.device)

    def work(part: slice) -> Tensor:
        batch = sample[part].to(nets.dtype)
        return nets.unet(batch, t, attended[part], time_ids.expand(len(batch), 3)).float()

    return torch.cat(run_batches(len(sample), work))


def window_weights(index: Int[Tensor, "windows length"], num_frames: int) -> Float[Tensor, "windows length 1 1 1"]:
    """Weight of each window on each of its frames: least at the window's ends; all weights on a frame sum to one."""
    length = index.shape[1]
    position = torch.arange(length, device=index.device)
    weight = torch.minimum(position + 1, length - position).float().expand(index.shape)
    total = torch.zeros(num_frames, device=index.device).index_add_(0, index.flatten(), weight.flatten())
    return (weight / total[index])[..., None, None, None]


def decode(
    nets: VasNetworks, latents: Float[Tensor, "f 4 h8 w8"], chunk: int, run_batches: RunBatches = run_at_once
) -> Float[Tensor, "f 3 h w"]:
    """Images from the latents of one video, ``chunk`` frames decoded together; several chunks go side by side."""
    latents = (latents / nets.vae.config.scaling_factor).to(nets.vae.dtype)
    full_chunks = len(latents) // chunk

    def work(part: slice) -> Tensor:
        return nets.vae.decode(latents[part.start * chunk : part.stop * chunk], num_frames=chunk).sample.float()

    out = run_batches(full_chunks, work) if full_chunks else []
    if full_chunks * chunk < len(latents):
        rest = latents[full_chunks * chunk :]
        out = [*out, nets.vae.decode(rest, num_frames=len(rest)).sample.float()]
    return torch.cat(out)
