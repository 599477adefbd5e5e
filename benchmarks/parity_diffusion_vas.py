"""Diffusion-VAS's part of parity.py: the UNet alone, and the whole denoising with every step's UNet input and output.

The networks' sizes are in the golden; weights are filled by the rule under the official keys of state_dict_keys_vas_*_tiny.txt.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import Row, compare
from torch import Tensor

from body4d.models.diffusion_vas.checkpoint import PARTS, build_unet, build_vas
from body4d.models.diffusion_vas.network.sampler import (
    FPS,
    MOTION_BUCKET,
    NOISE_SHARE,
    SamplerOptions,
    VasNetworks,
    clip_embeddings,
    decode,
    denoise,
    encode_images,
    guidance_embeddings,
)

SEED, GUIDANCE, DECODED_TOGETHER = 23, 1.5, 8
CONFIG_NAMES = {"unet": "unet", "vae": "vae", "image_encoder": "clip"}


def rows(golden: Path, goldens: Path, salt: str, only: str | None) -> Iterator[Row | str]:
    """Compare every array of every case."""
    data = np.load(golden)
    config = ast.literal_eval(str(data["config"]))
    with torch.inference_mode():
        if "sample" in data.files:
            yield from unet_case(data, build_unet(config, state_of("unet", goldens, salt, ""), "fill rule"))
            return
        configs = {part: config[CONFIG_NAMES[part]] for part in PARTS}
        states = {part: state_of(part, goldens, salt, f"{part}.") for part in PARTS}
        nets = build_vas(configs, states, config["scheduler"], "fill rule")
        for case in dict.fromkeys(key.split("/")[0] for key in data.files if "/" in key):
            if only in (None, case):
                yield from pipeline_case(case, data, nets)


def state_of(part: str, goldens: Path, salt: str, prefix: str) -> dict[str, Tensor]:
    """Weights by the fill rule under the official keys of a part."""
    from fill_rule import value_fan_in  # type: ignore[import-not-found]

    out = {}
    for line in (goldens / f"state_dict_keys_vas_{part}_tiny.txt").read_text().splitlines():
        key, shape = line.split(maxsplit=1)
        if not key.endswith("position_ids"):
            out[key] = torch.from_numpy(np.ascontiguousarray(value_fan_in(prefix + key, ast.literal_eval(shape), salt)))
    return out


def unet_case(data: Any, unet: Any) -> Iterator[Row | str]:
    sample, embeds, t, about = (torch.from_numpy(data[name]) for name in ("sample", "clip_embeds", "timestep", "added_time_ids"))
    yield compare("unet/output", data["output"], unet(sample, t, embeds.reshape(*sample.shape[:2], -1), about).numpy())


def in_colour(pictures: Tensor) -> Tensor:
    """Pictures (F, 1 or 3, H, W) with three channels."""
    return pictures.expand(-1, 3, -1, -1).contiguous()


def pipeline_case(case: str, data: Any, nets: VasNetworks) -> Iterator[Row | str]:
    """One video from its two pictures a frame to the decoded ones, noise as the published code draws it."""
    golden = {key.removeprefix(f"{case}/"): data[key] for key in data.files if key.startswith(f"{case}/")}
    first, second = (in_colour(torch.from_numpy(golden[name]).float()[0]) for name in ("arg1", "arg2"))
    generator = torch.Generator().manual_seed(SEED)
    noises = [torch.randn(first[:, None].shape, generator=generator)[:, 0] for _ in range(2)]
    embeddings = clip_embeddings(nets, first)
    condition_latents = torch.cat([encode_images(nets, p, n) for p, n in zip((first, second), noises, strict=True)], 1)
    attended = guidance_embeddings(embeddings[None], scrambled=True)
    yield compare(f"{case}/clip", golden["clip"][:, 0], attended.reshape(2 * len(first), -1).numpy())
    yield compare(f"{case}/added_time_ids", golden["added_time_ids"], np.array([[FPS, MOTION_BUCKET, NOISE_SHARE]] * 2))
    seen: list[Row | str] = []

    def observe(step: int, t: Tensor, sample: Tensor, out: Tensor) -> None:
        theirs = golden[f"step{step}/sample"]
        seen.append(compare(f"{case}/step{step}/t", golden[f"step{step}/t"], t.numpy()))
        seen.append(compare(f"{case}/step{step}/sample", theirs, sample[:, :, : theirs.shape[2]].numpy()))
        seen.append(compare(f"{case}/step{step}/eps", golden[f"step{step}/eps"], out.numpy()))

    steps = sum(key.endswith("/t") for key in golden)
    noise = torch.from_numpy(golden["initial_latents_before_sigma"])[0]
    latents = denoise(nets, noise, condition_latents, embeddings, [range(len(first))], SamplerOptions(steps, GUIDANCE), observe=observe)
    yield from seen
    yield compare(f"{case}/final_latents", golden["final_latents"], latents[None].numpy())
    yield compare(f"{case}/decoded", golden["decoded"], decode(nets, latents, DECODED_TOGETHER).transpose(0, 1)[None].numpy())
