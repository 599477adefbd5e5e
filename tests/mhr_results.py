"""Makes a stored result in the form SAM-3D-Body writes, with made-up numbers that agree with each other."""

from pathlib import Path

import numpy as np

from mhr_files import random_inputs


def save_result(path: Path, vertices: int = 150, seed: int = 0, **changes: np.ndarray) -> Path:
    """Write one person; ``changes`` replace arrays."""
    rng = np.random.default_rng(seed)
    shape, parameters, _ = random_inputs(1, seed)
    keypoints, away = rng.normal(0, 0.4, (70, 3)).astype(np.float32), np.array([0.2, 0.9, 5.0], np.float32)
    at = keypoints + away
    arrays = {
        "pred_keypoints_3d": keypoints,
        "pred_keypoints_2d": (at[:, :2] / at[:, 2:] * 1000 + [320, 240]).astype(np.float32),
        "pred_vertices": rng.normal(0, 0.4, (vertices, 3)).astype(np.float32),
        "pred_cam_t": away,
        "shape_params": shape[0],
        "mhr_model_params": parameters[0],
    }
    np.savez(path, **(arrays | changes))
    return path
