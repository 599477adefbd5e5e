"""A Diffusion-VAS pipeline: two images per frame in, the generated one out, windows of several people together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import RunWarning
from body4d.models.diffusion_vas.checkpoint import find_vas, load_vas
from body4d.models.diffusion_vas.network.sampler import (
    LATENT_CHANNELS,
    SamplerOptions,
    VasNetworks,
    clip_embeddings,
    decode,
    denoise,
    encode_images,
)
from body4d.models.diffusion_vas.windows import split_windows
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, free_memory_bytes

NoiseKey = tuple[int, int]
"""A person's id and a clip frame. The noise of an image depends on these alone, so that results do not depend on how people are grouped."""

StepFn = Callable[[int], None]
"""Called with the number of windows that have gone through one step of denoising."""

DECODE_FRAMES = 8
"""Published: frames that the VAE decodes together. Another number changes results."""

MAX_UNET_BATCH = {"cuda": 16, "mps": 2, "cpu": 1}
"""Halves of windows (one for each side of the guidance) that go through the UNet together at most, by device: more gains no speed."""

MAX_ATTENTION_SEQUENCES = 65_535
"""Sequences that attention's CUDA kernels take at once: a side of their grid."""

MAX_TENSOR_ELEMENTS = 2**31 - 1
"""Elements of a tensor up to which every CUDA kernel counts right."""

_VAE_CHANNELS = 128
"""Channels of the VAE's finest maps; twice as many on the way out."""


class VideoDiffusion(Protocol):
    """A pipeline that generates videos from two conditioning videos; tests put others in its place."""

    def generate(
        self,
        first: Float[Tensor, "f 3 h w"],
        second: Float[Tensor, "f 3 h w"],
        noise_keys: Sequence[NoiseKey],
        lengths: Sequence[int],
        step: StepFn,
    ) -> Float[Tensor, "f 3 h w"]:
        """Images in [0, 1] on the host, from two conditioning images in [-1, 1] each; ``lengths`` are the frames of each video."""
        ...

    @property
    def warnings(self) -> tuple[RunWarning, ...]: ...


LoadVideoDiffusion = Callable[[torch.device, torch.dtype], VideoDiffusion]


class VasPipeline:
    """The networks of one pipeline as a ``VideoDiffusion``. ``pipeline_index`` keeps the noise of the two pipelines apart."""

    def __init__(self, nets: VasNetworks, pipeline_index: int, settings: OcclusionSettings, compute: ComputeSettings) -> None:
        self.nets, self._index, self._settings, self._compute = nets, pipeline_index, settings, compute
        self.options = SamplerOptions(settings.num_steps, settings.guidance, settings.upstream_exact)
        self._warnings: tuple[RunWarning, ...] = ()

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """What the user should know about memory."""
        return self._warnings

    @torch.inference_mode()
    def generate(
        self,
        first: Float[Tensor, "f 3 h w"],
        second: Float[Tensor, "f 3 h w"],
        noise_keys: Sequence[NoiseKey],
        lengths: Sequence[int],
        step: StepFn,
    ) -> Float[Tensor, "f 3 h w"]:
        condition_latents, embeddings = self._encode(first, second, noise_keys)
        noise = self.draw_noise(noise_keys, (LATENT_CHANNELS, *condition_latents.shape[2:]), 2)
        starts = np.cumsum([0, *lengths])
        windows = [
            [int(start) + row for row in window]
            for start, count in zip(starts, lengths, strict=False)
            for window in split_windows(count, self._settings.window_frames)
        ]
        latents = torch.empty_like(noise)
        # Windows go through together where they are equally long; short videos have shorter ones.
        for length in sorted({len(window) for window in windows}):
            same_length = [window for window in windows if len(window) == length]
            rows = sorted({row for window in same_length for row in window})
            local = [[rows.index(row) for row in window] for window in same_length]
            latents[rows] = self._denoise(noise[rows], condition_latents[rows], embeddings[rows], local, step)
        return torch.cat([self._decode(latents[start : start + count]) for start, count in zip(starts, lengths, strict=False)])

    def _encode(self, first: Tensor, second: Tensor, noise_keys: Sequence[NoiseKey]) -> tuple[Tensor, Tensor]:
        """Latents (F, 8, h, w) of both conditioning images, and CLIP's embedding (F, D) of the first one."""
        nets = self.nets
        elements = _VAE_CHANNELS * first.shape[2] * first.shape[3]
        batches = self._batcher(6 * elements * nets.dtype.itemsize, "pictures", min(64, MAX_TENSOR_ELEMENTS // elements))

        def encode(rows: slice) -> tuple[Tensor, Tensor]:
            pair = [images[rows].to(nets.device, torch.float32) for images in (first, second)]
            noises = [self.draw_noise(noise_keys[rows], images.shape[1:], i) for i, images in enumerate(pair)]
            latents = [encode_images(nets, images, noise) for images, noise in zip(pair, noises, strict=True)]
            return torch.cat(latents, 1).float(), clip_embeddings(nets, pair[0])

        condition_latents, embeddings = zip(*batches.run(len(first), encode), strict=True)
        self._add_warning(batches)
        return torch.cat(condition_latents), torch.cat(embeddings)

    def _denoise(self, noise: Tensor, condition_latents: Tensor, embeddings: Tensor, windows: list[list[int]], step: StepFn) -> Tensor:
        frames, cells = len(windows[0]), noise.shape[2] * noise.shape[3]
        # Temporal attention takes every cell of a row as a sequence of its own; a feed-forward is eight times as wide as its maps.
        widest = frames * cells * 8 * self.nets.unet.config["block_out_channels"][0]
        max_batch = min(MAX_UNET_BATCH.get(noise.device.type, 1), MAX_ATTENTION_SEQUENCES // cells, MAX_TENSOR_ELEMENTS // widest)
        batches = self._batcher(bytes_per_row(frames, noise.shape[2:], self.nets), "windows of frames", max_batch)
        batches.size = even_batch_size(2 * len(windows), batches.size)
        observe = lambda *_: step(len(windows))  # noqa: E731
        latents = denoise(self.nets, noise, condition_latents, embeddings, windows, self.options, batches.run, observe)
        self._add_warning(batches)
        return latents

    def _decode(self, latents: Tensor) -> Tensor:
        elements = DECODE_FRAMES * latents.shape[2] * latents.shape[3] * 64 * 2 * _VAE_CHANNELS
        batches = self._batcher(3 * elements * self.nets.dtype.itemsize, "groups of frames", min(8, MAX_TENSOR_ELEMENTS // elements))
        images = decode(self.nets, latents, DECODE_FRAMES, batches.run)
        self._add_warning(batches)
        return ((images + 1) / 2).clamp(0, 1).cpu()

    def _batcher(self, bytes_per_item: int, items: str, max_size: int) -> AdaptiveBatcher:
        free_bytes = free_memory_bytes(self.nets.device)
        return AdaptiveBatcher(choose_batch_size(free_bytes, bytes_per_item, self._compute, max(max_size, 1)), items)

    def _add_warning(self, batches: AdaptiveBatcher) -> None:
        if batches.warning and batches.warning not in self._warnings:
            self._warnings = (*self._warnings, batches.warning)

    def draw_noise(self, keys: Sequence[NoiseKey], shape: Sequence[int], purpose: int) -> Tensor:
        """Noise (F, ...) on the device, drawn by several threads: one takes 19 ms for an image of 512 x 1024."""
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(lambda key: self._frame_noise(key, shape, purpose), keys))).to(self.nets.device)

    def _frame_noise(self, key: NoiseKey, shape: Sequence[int], purpose: int) -> Tensor:
        """The noise of one frame of one person, drawn on the host, so that it is the same on every device."""
        entropy = [self._settings.seed, self._index, *key, purpose]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def even_batch_size(count: int, max_size: int) -> int:
    """At most ``max_size``, such that ``count`` items go in batches as equal as can be: a small last one would not fill the device."""
    return -(-count // -(-count // max_size))


def bytes_per_row(frames: int, latent_size: Sequence[int], nets: VasNetworks) -> int:
    """Memory that one half of a window takes in the UNet: the finest level's maps, those kept for the way up, and its feed-forward."""
    widths = nets.unet.config["block_out_channels"]
    skipped = sum(3 * width / 4**level for level, width in enumerate(widths))
    return int(frames * latent_size[0] * latent_size[1] * (skipped + 20 * widths[0]) * nets.dtype.itemsize)


def pipeline_from_folder(
    folder: Path, pipeline_index: int, settings: OcclusionSettings, compute: ComputeSettings
) -> Callable[[torch.device, torch.dtype], VasPipeline]:
    """Loads a pipeline from a checkpoint's folder when called; the WeightsError where there is none is raised at once."""
    folder = find_vas(folder)

    def load(device: torch.device, dtype: torch.dtype) -> VasPipeline:
        return VasPipeline(load_vas(folder, device, dtype), pipeline_index, settings, compute)

    return load
