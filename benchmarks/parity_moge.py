"""MoGe-2's part of parity.py: fills the network as the golden's config says, and names what is compared.

``forwardN/`` is the network with N tokens; ``infer/`` and ``infer_fovD/`` go on to the camera, found or given as D degrees; ``solverK/``
is the camera's fit alone.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import Row, compare
from scipy.optimize import least_squares
from torch import Tensor

from body4d.models.moge.checkpoint import build_moge
from body4d.models.moge.network.camera import TOLERANCE, focal_and_shift, sampled_index, sampled_uv
from body4d.models.moge.network.config import BACKBONES, sizes_of
from body4d.models.moge.network.model import Moge

POSITIONS = 37
"""Side of the published backbones' table of positions."""

ILL_CONDITIONED = "random weights make points that belong to no camera, so the focal length found from them hangs on last bits"
DEGENERATE_FOCAL = 1e-3
"""Upstream's own failures among the solver's cases: points behind the starting camera, focal length about zero."""


def rows(golden: Path, goldens: Path, salt: str, only: str | None) -> Iterator[Row | str]:
    """Compare every array of every case."""
    data = np.load(golden)
    net = filled_network(goldens, data, salt)
    image = torch.from_numpy(data["image"])
    cases = list(dict.fromkeys(key.split("/")[0] for key in data.files if "/" in key))
    with torch.inference_mode():
        for case in [c for c in cases if only in (None, c)]:
            golden_of = {key.split("/")[1]: data[key] for key in data.files if key.startswith(case + "/")}
            if case.startswith("forward"):
                yield from forward_case(net, image, case, golden_of)
            elif case.startswith("infer"):
                yield from infer_case(net, image, case, golden_of)
            elif case.startswith("solver"):
                yield from solver_case(case, golden_of)
            else:
                raise SystemExit(f"{case}: a case this script does not know.")


def filled_network(goldens: Path, data: Any, salt: str) -> Moge:
    """The network of the golden's config, weights by the fill rule under the official keys."""
    from fill_rule import value_fan_in  # type: ignore[import-not-found]

    config = ast.literal_eval(str(data["config"]))
    width, depth = BACKBONES[config["encoder"]["backbone"]]
    backbone = "encoder.backbone."
    shapes = {f"{backbone}patch_embed.proj.weight": (width, 3, 14, 14), f"{backbone}pos_embed": (1, 1 + POSITIONS**2, width)}
    with torch.device("meta"):
        net = Moge(sizes_of(config, shapes | {f"{backbone}blocks.{i}.norm1.weight": (width,) for i in range(depth)}))
    state = {
        key: torch.from_numpy(np.ascontiguousarray(value_fan_in(key, tensor.shape, salt)))
        for key, tensor in net.state_dict().items()
        if not key.startswith("encoder.image_")
    }
    return build_moge(config, state, "fill rule")


def forward_case(net: Moge, image: Tensor, case: str, golden: dict[str, Any]) -> Iterator[Row | str]:
    tokens = int(case.removeprefix("forward"))
    height, width = image.shape[-2:]
    answer = net(image, tokens)
    features, about = net.encoder(image, *net.grid(height, width, tokens))
    ours = {
        "points": answer.points[:, ::2, ::2],
        "normal": part(answer.normals)[:, ::2, ::2],
        "mask": part(answer.mask)[:, ::2, ::2],
        "metric_scale": part(answer.metric_scale),
        "enc": features,
        "cls": about,
    }
    for i, x in enumerate(net.neck_maps(features, width / height)):
        ours[f"neck{i}_mean_hw"] = x.mean((2, 3))
        ours[f"neck{i}_shape"] = torch.tensor(x.shape)
    for name, theirs in golden.items():
        yield compare(f"{case}/{name}", theirs, ours[name].numpy())
    points, mask, _ = net.sampled(image, tokens)
    y, x = (torch.from_numpy(sampled_index(n)) for n in (height, width))
    for name, few, full in (("points", points, answer.points), ("mask", mask, part(answer.mask))):
        yield compare(f"{case}/{name} at the fit's pixels alone, against our full map", full[:, y][:, :, x].numpy(), few.numpy())


def infer_case(net: Moge, image: Tensor, case: str, golden: dict[str, Any]) -> Iterator[Row | str]:
    """Depth, points, mask and intrinsics by the focal length found, or by the horizontal field of view the case names."""
    height, width = image.shape[-2:]
    given = re.fullmatch(r"infer_fov(\d+)", case)
    answer = net(image, net.num_tokens(9))
    seen = part(answer.mask)[0].numpy() > 0.5
    y, x = np.ix_(sampled_index(height), sampled_index(width))
    few, uv = answer.points[0].numpy()[y, x][seen[y, x]], sampled_uv(height, width)[seen[y, x]]
    if given:
        focal = focal_of_fov(float(given.group(1)), width / height)
        shift = shift_for_focal(few, uv, focal)
    else:
        focal, shift = focal_and_shift(few, uv)
        focal = focal if np.isfinite(focal) else 1.0  # What upstream says of fewer than two points.
    half = focal * np.hypot(height, width) / 2
    z = answer.points[0, ..., 2].numpy() + np.float32(shift)
    seen &= z > 0
    v, u = np.meshgrid(np.arange(height) + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2, indexing="ij")
    metres = part(answer.metric_scale).item()
    depth = z * metres
    points = np.stack([u / half * depth, v / half * depth, depth], -1)
    ours = {
        "points": points[None, ::4, ::4],
        "depth": depth[None, ::4, ::4],
        "mask": seen[None, ::4, ::4],
        "normal": part(answer.normals)[:, ::4, ::4].numpy(),
        "intrinsics": np.array([[[half / width, 0, 0.5], [0, half / height, 0.5], [0, 0, 1]]]),
    }
    for name, theirs in golden.items():
        reason = ILL_CONDITIONED if not given and name in ("points", "intrinsics", "depth") else ""
        yield compare(f"{case}/{name}", theirs, ours[name], reason)


def solver_case(case: str, golden: dict[str, Any]) -> Iterator[Row | str]:
    height, width, focal = (float(v) for v in golden["params"][:3])
    mask = golden.get("mask_nearest64", np.ones((64, 64), bool))
    points, uv = golden["points_nearest64"][mask], sampled_uv(int(height), int(width))[mask]
    found, shift = focal_and_shift(points, uv)
    known = shift_for_focal(points, uv, focal)
    if abs(golden["focal"][0]) < DEGENERATE_FOCAL:
        yield f"{case}: upstream finds no camera here (focal {golden['focal'][0]:.1e}); ours finds {found:.3g}. Not compared."
        return
    yield compare(f"{case}/focal", golden["focal"], np.array([found]))
    for name, ours in (("shift", shift), ("shift_known_focal", known)):
        # Points are about one away: a shift near zero is no smaller a thing to be right about.
        yield compare(f"{case}/1 + {name}", 1 + golden[name], np.array([1 + ours]))


def focal_of_fov(fov_x_deg: float, aspect: float) -> float:
    """Focal length relative to half the diagonal, of a horizontal field of view on an image ``aspect`` times as wide as high."""
    return float(aspect / np.sqrt(1 + aspect**2) / np.tan(np.radians(fov_x_deg) / 2))


def shift_for_focal(points: np.ndarray, uv: np.ndarray, focal: float) -> float:
    """The published fit of the shift alone, where the focal length is known; body4d never asks for it."""
    if len(points) < 2:
        return 0.0
    points, uv = points.astype(np.float64), uv.astype(np.float64)

    def residuals(shift: np.ndarray) -> np.ndarray:
        return (focal * (points[:, :2] / (points[:, 2:] + shift)) - uv).ravel()

    return float(least_squares(residuals, x0=np.zeros(1), ftol=TOLERANCE, method="lm").x[0])


def part(value: Tensor | None) -> Tensor:
    assert value is not None, "the golden's network has all heads"
    return value
