"""What a device can do at most, and what SAM-3D-Body asks of it: both in floating-point operations."""

import time
from collections.abc import Callable

import torch

from body4d.models.sam3d_body.network.config import NetworkSizes
from body4d.models.sam3d_body.network.prompts import NUM_KEYPOINTS

RAYS = 99
"""Fourier features of a viewing ray."""
FIRST_TOKENS = 4
"""Pose, previous estimate, left and right hand; prompts come on top."""


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def median_s(run: Callable[[], object], device: torch.device, times: int, warm: int = 2) -> float:
    """Median seconds of a call, each waited for."""
    for _ in range(warm):
        run()
    taken = []
    for _ in range(times):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the best of two square products of random numbers, in this process's settings."""
    best = 0.0
    for size in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        best = max(best, 2 * size**3 / median_s(lambda: a @ b, device, 3 if device.type == "cpu" else 15))  # noqa: B023
    return best


def backbone_flops(sizes: NetworkSizes) -> int:
    """Operations of one crop's way through the backbone: products and attention alone, a multiplication and an addition each one."""
    net, cells = sizes.backbone, sizes.grid[0] * sizes.grid[1]
    dino = net.kind == "dinov3"
    tokens = cells + (5 if dino else 0)
    weights = 4 * net.width**2 + (3 if dino else 2) * net.width * net.hidden
    attention = 2 * tokens * net.width
    return 2 * net.depth * tokens * (weights + attention) + 2 * cells * 3 * sizes.patch_px**2 * net.width


def decoder_flops(sizes: NetworkSizes, prompts: int = 1, *, looks: bool = True) -> int:
    """... and through a decoder with its heads, less MHR. ``looks``: the image's keys and values are made, not there already."""
    cells, image, width, inner = sizes.grid[0] * sizes.grid[1], sizes.backbone.width, sizes.decoder_width, sizes.decoder_attention
    tokens, depth = FIRST_TOKENS + prompts + 2 * NUM_KEYPOINTS, sizes.decoder_depth
    total = cells * image * (image + RAYS + 2 * depth * inner) if looks else 0
    layer = tokens * (6 * width * inner + 2 * width * sizes.decoder_hidden + 2 * inner * (tokens + cells))
    heads = 2 * width * width + (519 + 3) * width
    update = NUM_KEYPOINTS * (2 * width * width + 5 * width + image * width)
    return 2 * (total + depth * (layer + heads) + (depth - 1) * update)


def person_flops(sizes: NetworkSizes, *, hands: bool) -> int:
    """Operations of one person in one frame: the body, and with hands two more crops and a second decoding with four prompts."""
    crop = backbone_flops(sizes) + decoder_flops(sizes)
    return 3 * crop + decoder_flops(sizes, 4, looks=False) if hands else crop
