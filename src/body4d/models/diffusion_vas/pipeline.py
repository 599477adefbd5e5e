"""A Diffusion-VAS pipeline at work: two pictures a frame in, the painted one out, windows of several people together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import RunWarning
from body4d.models.diffusion_vas.checkpoint import find_vas, load_vas
from body4d.models.diffusion_vas.network.fast_layers import MOST_ELEMENTS, MOST_SEQUENCES, compile_blocks
from body4d.models.diffusion_vas.network.sampler import (
    LATENT_CHANNELS,
    Recipe,
    VasNetworks,
    clip_embeddings,
    decode,
    denoise,
    picture_latents,
)
from body4d.models.diffusion_vas.windows import windows_of
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, free_memory_bytes
from body4d.runtime.torch_utils import set_compile_cache

Key = tuple[int, int]
"""A person's id and a clip frame: the noise of a picture hangs on these alone, so that results hang on no grouping."""

Step = Callable[[int], None]
"""Hears how many windows have gone through one step of denoising."""

_MOST_ROWS = {"cuda": 16, "mps": 2, "cpu": 1}
"""Windows' halves put through the UNet at once at most: more gains no speed."""
_WIDE = 128
"""Channels of the VAE's finest maps; twice as many on the way out."""
_COMPILED = ("SpatioTemporalResBlock", "TransformerSpatioTemporalModel")


class Painter(Protocol):
    """What a pipeline does, for whoever stands in for it."""

    def paint(self, first: Tensor, second: Tensor, keys: Sequence[Key], videos: Sequence[int], step: Step) -> Tensor:
        """Pictures (F, 3, H, W) in [0, 1] on the host, from two (F, 3, H, W) in [-1, 1]; ``videos``: frames of each video."""
        ...

    @property
    def warnings(self) -> tuple[RunWarning, ...]: ...


class VasPainter:
    """The networks of one pipeline. ``which`` keeps the noise of the two pipelines apart."""

    def __init__(self, nets: VasNetworks, which: int, settings: OcclusionSettings, compute: ComputeSettings) -> None:
        self._nets, self._which, self._settings, self._compute = nets, which, settings, compute
        self._recipe = Recipe(settings.steps, settings.guidance, settings.upstream_exact)
        self._warnings: tuple[RunWarning, ...] = ()

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """What the user should know about memory."""
        return self._warnings

    @torch.inference_mode()
    def paint(self, first: Tensor, second: Tensor, keys: Sequence[Key], videos: Sequence[int], step: Step) -> Tensor:
        """As :meth:`Painter.paint`."""
        told, embeddings = self._looked_at(first, second, keys)
        latents = self._noises(keys, (LATENT_CHANNELS, *told.shape[2:]), 2)
        starts = np.cumsum([0, *videos])
        window, overlap = self._settings.window_frames, self._settings.overlap_frames
        windows = [
            [int(a) + row for row in w] for a, count in zip(starts, videos, strict=False) for w in windows_of(count, window, overlap)
        ]
        out = torch.empty_like(latents)
        # Windows go through together where they are equally long; short clips have shorter ones.
        for length in sorted({len(w) for w in windows}):
            alike = [w for w in windows if len(w) == length]
            rows = sorted({row for w in alike for row in w})
            out[rows] = self._denoised(latents[rows], told[rows], embeddings[rows], [[rows.index(r) for r in w] for w in alike], step)
        return torch.cat([self._decoded(out[a : a + count]) for a, count in zip(starts, videos, strict=False)])

    def _looked_at(self, first: Tensor, second: Tensor, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Latents (F, 8, h, w) of both pictures, and what CLIP sees in the first one (F, D)."""
        nets = self._nets
        elements = _WIDE * first.shape[2] * first.shape[3]
        batches = self._batches(6 * elements * nets.dtype.itemsize, "pictures", min(64, MOST_ELEMENTS // elements))

        def work(rows: slice) -> tuple[Tensor, Tensor]:
            pair = [p[rows].to(nets.device, torch.float32) for p in (first, second)]
            noises = [self._noises(keys[rows], p.shape[1:], i) for i, p in enumerate(pair)]
            latents = [picture_latents(nets, p, n) for p, n in zip(pair, noises, strict=True)]
            return torch.cat(latents, 1).float(), clip_embeddings(nets, pair[0])

        told, embeddings = zip(*batches.run(len(first), work), strict=True)
        self._tell(batches)
        return torch.cat(told), torch.cat(embeddings)

    def _denoised(self, noise: Tensor, told: Tensor, embeddings: Tensor, windows: list[list[int]], step: Step) -> Tensor:
        each = bytes_per_row(len(windows[0]), noise.shape[2:], self._nets)
        # Attention over time sees every place of a row as a sequence of its own; a feed-forward is eight times as wide as its maps.
        places = noise.shape[2] * noise.shape[3]
        widest = len(windows[0]) * places * 8 * self._nets.unet.config["block_out_channels"][0]
        most = min(_MOST_ROWS.get(noise.device.type, 1), MOST_SEQUENCES // places, MOST_ELEMENTS // widest)
        batches = self._batches(each, "windows of frames", most)
        batches.size = evenly(2 * len(windows), batches.size)
        watch = lambda *_: step(len(windows))  # noqa: E731
        out = denoise(self._nets, noise, told, embeddings, windows, self._recipe, batches.run, watch)
        self._tell(batches)
        return out

    def _decoded(self, latents: Tensor) -> Tensor:
        chunk = self._settings.decode_frames
        elements = chunk * latents.shape[2] * latents.shape[3] * 64 * 2 * _WIDE
        batches = self._batches(3 * elements * self._nets.dtype.itemsize, "groups of frames", min(8, MOST_ELEMENTS // elements))
        pictures = decode(self._nets, latents, chunk, batches.run)
        self._tell(batches)
        return ((pictures + 1) / 2).clamp(0, 1).cpu()

    def _batches(self, each: int, what: str, most: int) -> AdaptiveBatcher:
        free = free_memory_bytes(self._nets.device)
        return AdaptiveBatcher(choose_batch_size(free, each, self._compute, max(most, 1)), what)

    def _tell(self, batches: AdaptiveBatcher) -> None:
        if batches.warning and batches.warning not in self._warnings:
            self._warnings = (*self._warnings, batches.warning)

    def _noises(self, keys: Sequence[Key], shape: Sequence[int], turn: int) -> Tensor:
        """Noise (F, ...) on the device, drawn by several threads: one takes 19 ms for a picture of 512 x 1024."""
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(lambda key: self._noise(key, shape, turn), keys))).to(self._nets.device)

    def _noise(self, key: Key, shape: Sequence[int], turn: int) -> Tensor:
        """Noise of one frame of one person, the same on every device: drawn on the host."""
        seed = int(np.random.SeedSequence([self._settings.seed, self._which, *key, turn]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def evenly(count: int, most: int) -> int:
    """At most ``most`` at once, so that ``count`` go in batches as equal as can be: a last small one would not fill the device."""
    return -(-count // -(-count // most))


def bytes_per_row(frames: int, size: Sequence[int], nets: VasNetworks) -> int:
    """Memory that one half of a window takes in the UNet: the finest level's maps, those kept for the way up, and its feed-forward."""
    widths = nets.unet.config["block_out_channels"]
    kept = sum(3 * width / 4**level for level, width in enumerate(widths))
    return int(frames * size[0] * size[1] * (kept + 20 * widths[0]) * nets.dtype.itemsize)


def compiled(nets: VasNetworks, settings: OcclusionSettings) -> VasNetworks:
    """The same networks, the UNet's blocks compiled where that is wished and CUDA is there."""
    if settings.compile == "on" and nets.device.type == "cuda":
        set_compile_cache()
        compile_blocks(nets.unet, *_COMPILED)
    return nets


def painter_in(
    place: Path, which: int, settings: OcclusionSettings, compute: ComputeSettings
) -> Callable[[torch.device, torch.dtype], VasPainter]:
    """Loads a pipeline from a checkpoint's folder; WeightsError where there is none is raised at once."""
    folder = find_vas(place)

    def load(device: torch.device, dtype: torch.dtype) -> VasPainter:
        return VasPainter(compiled(load_vas(folder, device, dtype), settings), which, settings, compute)

    return load
