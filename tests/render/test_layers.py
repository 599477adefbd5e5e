"""Layers drawn by torch are those of the CPU's renderer, whatever is in them, and the CPU takes over where a device fails."""

import dataclasses

import numpy as np
import pytest

from body4d.core.types import Camera
from body4d.render.layers import DevicePainter, Layer, draw_layers
from body4d.render.rasterizer import Mesh, shade_mesh
from body4d.runtime import raster

CAMERA = Camera(90.0, 50.0, 33.0, 96, 64)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def _sphere(centre_m, radius_m, rings=14, columns=20):
    """Vertices and faces of a sphere, counter-clockwise from outside."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], -1).reshape(-1, 3)
    first = (np.arange(rings - 1)[:, None] * columns + np.arange(columns)).ravel()
    second = (np.arange(rings - 1)[:, None] * columns + (np.arange(columns) + 1) % columns).ravel()
    quads = np.stack([first, second, second + columns, first + columns], 1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return (unit * radius_m + centre_m).astype(np.float32), faces


def _layers():
    rng = np.random.default_rng(0)
    colour = np.array([0.3, 0.7, 0.9])
    near, near_faces = _sphere([0.1, 0, 2.0], 0.5)
    far, far_faces = _sphere([-0.4, 0.2, 2.3], 0.6)
    cut, cut_faces = _sphere([0.35, 0.1, 0.3], 0.27)  # Its front is nearer than a lens focuses.
    many = rng.uniform([-1, -0.7, 0.5], [1, 0.7, 4], (36, 3)).astype(np.float32)
    one_sided = Mesh(many, rng.permutation(36).reshape(12, 3).astype(np.int32), rng.uniform(0, 1, (36, 3)), opacity=0.6, lit=False)
    twice = [shade_mesh(Mesh(near, near_faces, colour, opacity=0.8)) for _ in range(2)]  # Every depth is there two times.
    wall = np.array([[-9, -9, 3], [9, -9, 3], [9, 9, 3], [-9, 9, 3]], np.float32)
    behind = Mesh(wall, np.array([[0, 2, 1], [0, 3, 2]], np.int32), colour, two_sided=True)
    return [
        Layer([*twice, Mesh(far, far_faces, rng.uniform(0, 1, (len(far), 3)), opacity=0.5)], CAMERA),
        Layer([Mesh(cut, cut_faces, colour)], dataclasses.replace(CAMERA.scaled(1.5), cx_px=60.0)),
        Layer([one_sided, dataclasses.replace(one_sided, two_sided=True)], CAMERA.scaled(0.75)),
        Layer([behind, Mesh(far, far_faces, colour)], CAMERA.scaled(0.25)),
        Layer([], CAMERA, rng.integers(0, 256, (64, 96, 3), np.uint8)),
        Layer([Mesh(near - [50, 0, 0], near_faces, colour)], CAMERA.scaled(0.5), np.full((32, 48, 3), 9, np.uint8)),
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("samples", [1, 4, 8])
def test_torch_draws_what_the_cpu_draws(device, samples, monkeypatch):
    # Small enough that boxes and covered pixels take several rounds.
    monkeypatch.setattr(raster, "_MAX_PAIRS", 1000)
    monkeypatch.setattr(raster, "_MAX_SAMPLES", 3000)
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    layers, painter = _layers(), DevicePainter(device, samples)
    expected, found = draw_layers(frame, layers, samples), painter(frame, layers, samples)
    assert painter.warning is None
    empty = draw_layers(frame, [dataclasses.replace(layer, meshes=[]) for layer in layers], samples)
    for n, (a, b, background) in enumerate(zip(expected, found, empty, strict=True)):
        assert np.mean(a != background) > (0.1 if n < 4 else -1)
        apart = np.abs(a.astype(int) - b).max(-1)
        # Where two depths differ in the last bit, or a level lies halfway, another order of rounding may decide.
        assert np.count_nonzero(apart) <= a.shape[0] * a.shape[1] / 500
        assert np.count_nonzero(apart > 1) <= 1


def test_where_the_device_fails_the_cpu_draws_on_and_it_is_said_once(monkeypatch):
    painter = DevicePainter("cpu", 4)
    asked = []

    def full(*inputs):
        asked.append(inputs)
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines.")

    monkeypatch.setattr(painter._rasterizer, "draw", full)
    frame, layers = np.full((64, 96, 3), 90, np.uint8), _layers()
    for _ in range(2):
        for a, b in zip(painter(frame, layers, 4), draw_layers(frame, layers, 4), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(asked) == 1
    assert painter.warning is not None
    assert painter.warning.facts["reason"] == "CUDA out of memory. Tried to allocate 2 GiB."
