"""Outlines of masks, and which point of the body they belong to."""

import numpy as np

from body4d.models.anny_fit.silhouette import outline_points


def disc(radius: float, size: int = 200) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return np.hypot(x - size / 2, y - size / 2) < radius


def test_points_lie_on_the_outline_and_normals_point_outwards():
    points, normals = outline_points(disc(60), 40)
    out = points - 100
    radius = np.linalg.norm(out, axis=-1)
    assert len(points) > 35
    assert np.all(np.abs(radius - 59.5) < 1.5)
    assert np.all(np.sum(normals * out / radius[:, None], -1) > 0.95)


def test_points_at_the_pictures_border_are_left_out():
    mask = np.zeros((100, 100), bool)
    mask[20:100, 30:70] = True
    points, _ = outline_points(mask, 60)
    assert points[:, 1].max() < 98
    assert points[:, 1].min() < 25


def test_crumbs_and_nothing_give_nothing():
    crumb = np.zeros((50, 50), bool)
    crumb[3:5, 3:5] = True
    assert len(outline_points(crumb, 10)[0]) == 0
    assert len(outline_points(np.zeros((50, 50), bool), 10)[0]) == 0
