"""Writes model files in the structure of SMPL's and SMPL-X's, of any size: a made-up body with vertices strewn around its joints."""

from pathlib import Path

import numpy as np

_BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_FINGERS = tuple(parent for wrist, first in ((20, 25), (21, 40)) for f in range(5) for parent in (wrist, first + 3 * f, first + 3 * f + 1))
PARENTS = {"smpl": (*_BODY_PARENTS, 20, 21), "smplx": (*_BODY_PARENTS, 15, 15, 15, *_FINGERS)}

_BODY_PLACES_M = (
    *((0, 0.95, 0), (0.08, 0.87, 0), (-0.08, 0.87, 0), (0, 1.05, 0), (0.1, 0.48, 0), (-0.1, 0.48, 0), (0, 1.18, 0), (0.1, 0.08, -0.02)),
    *((-0.1, 0.08, -0.02), (0, 1.24, 0), (0.12, 0.02, 0.1), (-0.12, 0.02, 0.1), (0, 1.45, 0), (0.08, 1.37, 0), (-0.08, 1.37, 0)),
    *((0, 1.55, 0.02), (0.19, 1.4, 0), (-0.19, 1.4, 0), (0.45, 1.4, 0), (-0.45, 1.4, 0), (0.7, 1.4, 0), (-0.7, 1.4, 0)),
)


def model_arrays(
    kind: str, vertices_per_joint: int = 12, betas: int = 4, seed: int = 0, pose_scale_m: float = 0.002
) -> dict[str, np.ndarray]:
    """The arrays of a model file. Its joints are means of the vertices around them, and each vertex has two joints."""
    rng = np.random.default_rng(seed)
    parents = np.array(PARENTS[kind])
    places = list(_BODY_PLACES_M)
    for j in range(len(places), len(parents)):
        up = np.array(places[parents[j]])
        step = (np.sign(up[0]) * 0.04, 0.0, rng.uniform(-0.03, 0.03)) if up[0] else (0.03 * (j - 23.5), 0.05, 0.08)
        places.append(tuple(up + np.array(step)))
    count = len(parents) * vertices_per_joint
    owner = np.repeat(np.arange(len(parents)), vertices_per_joint)
    template = np.array(places)[owner] + rng.normal(0, 0.04, (count, 3))
    regressor = np.zeros((len(parents), count))
    regressor[owner, np.arange(count)] = 1 / vertices_per_joint
    weights = np.zeros((count, len(parents)))
    share = rng.uniform(0, 0.4, count)
    np.add.at(weights, (np.arange(count), owner), 1 - share)
    np.add.at(weights, (np.arange(count), np.maximum(parents[owner], 0)), share)
    return {
        "v_template": template,
        "shapedirs": rng.normal(0, 0.01, (count, 3, betas)) + template[..., None] * rng.normal(0, 0.03, betas),
        "posedirs": rng.normal(0, pose_scale_m, (count, 3, 9 * (len(parents) - 1))),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(len(parents))]),
        "f": rng.integers(0, count, (2 * count, 3)),
    }


def write_model(path: Path, kind: str, **choices: object) -> dict[str, np.ndarray]:
    """Write ``model_arrays`` to ``path`` (.npz) and return them."""
    arrays = model_arrays(kind, **choices)  # pyright: ignore[reportArgumentType]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return arrays
