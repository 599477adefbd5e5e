"""A yard with houses, crates, posts and trees at many distances, as a camera sees it from anywhere: what a moving camera films.

Pictures are made by casting a ray through each pixel at planes, boxes and balls with drawn textures (paving, bricks, planks, leaves),
whose details fade before they are finer than a pixel (mipmaps: Williams, "Pyramidal parametrics", SIGGRAPH 1983). The floor is y = 0 of
the stage.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32

from body4d.core.types import Camera
from body4d.evaluate.synthetic.background import SUN, horizon, smooth_noise
from body4d.evaluate.synthetic.ray_caster import BRICKS, HORIZON_UP, PLANKS, PLASTER, TEXTURE_M, cast_rays

TEXTURE_PX = 1024

# Boxes: least and greatest corner (x, y, z) in stage axes (y down), texture. People walk within 4 m of the origin at z < 2.
_BOXES: tuple[tuple[tuple[float, float, float], tuple[float, float, float], int], ...] = (
    ((-17.0, -4.2, 9.5), (-3.5, 0.0, 15.0), BRICKS),
    ((-2.0, -6.5, 17.0), (9.0, 0.0, 24.0), PLASTER),
    ((10.5, -5.0, 8.0), (19.0, 0.0, 20.0), BRICKS),
    ((-24.0, -6.0, -9.0), (-17.0, 0.0, 8.0), PLASTER),
    ((17.0, -5.5, -14.0), (24.0, 0.0, 5.0), BRICKS),
    ((-14.0, -5.0, -24.0), (16.0, 0.0, -17.0), PLASTER),
    ((-6.4, -1.1, 4.4), (-5.2, 0.0, 5.6), PLANKS),
    ((-5.0, -0.7, 5.0), (-4.1, 0.0, 5.8), PLANKS),
    ((-1.9, -0.9, 3.2), (-1.1, 0.0, 4.0), PLANKS),
    ((1.6, -1.3, 5.6), (3.0, 0.0, 6.6), PLANKS),
    ((4.3, -0.6, 3.0), (5.1, 0.0, 3.7), PLANKS),
    ((5.6, -1.0, 4.2), (6.8, 0.0, 5.2), PLANKS),
    ((-8.9, -1.8, 6.6), (-7.0, 0.0, 8.0), PLASTER),
    ((7.6, -2.1, 7.0), (9.8, 0.0, 9.4), PLANKS),
    ((-3.14, -3.4, 4.4), (-3.0, 0.0, 4.54), PLANKS),
    ((0.5, -3.6, 7.4), (0.66, 0.0, 7.56), PLANKS),
    ((3.46, -3.4, 4.4), (3.6, 0.0, 4.54), PLANKS),
    ((8.5, -3.8, 4.2), (8.64, 0.0, 4.34), PLANKS),
    ((-10.0, -3.6, 4.0), (-9.86, 0.0, 4.14), PLANKS),
    ((-0.9, -1.9, 9.0), (-0.6, 0.0, 9.3), PLANKS),
    ((-5.75, -1.9, 8.2), (-5.45, 0.0, 8.5), PLANKS),
    ((4.9, -2.0, 10.2), (5.2, 0.0, 10.5), PLANKS),
    ((11.8, -1.8, 4.8), (12.1, 0.0, 5.1), PLANKS),
    ((-12.8, -1.8, 3.2), (-12.5, 0.0, 3.5), PLANKS),
)
# Balls: centre, radius. They are the crowns of the trees whose trunks are above.
_BALLS: tuple[tuple[tuple[float, float, float], float], ...] = (
    ((-0.75, -2.7, 9.15), 1.2),
    ((-5.6, -2.6, 8.35), 1.1),
    ((5.05, -2.9, 10.35), 1.3),
    ((11.95, -2.5, 4.95), 1.1),
    ((-12.65, -2.5, 3.35), 1.1),
)


@dataclass(frozen=True)
class Yard:
    """A yard ready to be filmed; a seed changes its textures and sky."""

    pyramid: Float32[np.ndarray, "textures texels 3"]
    """All levels of each texture end to end, the finest first."""
    boxes: Float[np.ndarray, "boxes 8"]
    """Least corner, greatest corner, texture, tint."""
    balls: Float[np.ndarray, "balls 4"]

    def picture(
        self, camera: Camera, T_camera_stage: Float[np.ndarray, "4 4"], offset_px: tuple[float, float] = (0.0, 0.0)
    ) -> Float32[np.ndarray, "h w 3"]:
        """What ``camera`` sees, in [0, 255], by one ray for each pixel, ``offset_px`` from its centre."""
        out = np.empty((camera.height_px, camera.width_px, 3), np.float32)
        rotation = np.ascontiguousarray(T_camera_stage[:3, :3].T, np.float64)
        eye = -rotation @ T_camera_stage[:3, 3]
        lens = np.array([camera.focal_px, camera.cx_px - offset_px[0], camera.cy_px - offset_px[1]])
        cast_rays(out, rotation, eye, lens, self.boxes, self.balls, np.array(TEXTURE_M), self.pyramid, SUN / np.linalg.norm(SUN))
        return out


@cache
def make_yard(seed: int) -> Yard:
    """The yard of ``seed``."""
    rng = np.random.default_rng([seed, 1])
    drawn = (_paving(rng), _bricks(rng), _planks(rng), _leaves(rng), _plaster(rng), _horizon(rng))
    boxes = np.array([(*low, *high, texture, rng.uniform(0.75, 1.15)) for low, high, texture in _BOXES], np.float64)
    balls = np.array([(*centre, radius) for centre, radius in _BALLS], np.float64)
    return Yard(np.stack([_pyramid(texture) for texture in drawn]), boxes, balls)


def _pyramid(texture: np.ndarray) -> np.ndarray:
    levels = [texture.astype(np.float32)]
    while len(levels[-1]) > 1:
        t = levels[-1]
        levels.append((t[::2, ::2] + t[1::2, ::2] + t[::2, 1::2] + t[1::2, 1::2]) / 4)  # pyright: ignore[reportArgumentType]
    return np.concatenate([level.reshape(-1, 3) for level in levels])


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (u, v) of texels in [0, 1)."""
    at = (np.arange(TEXTURE_PX) + 0.5) / TEXTURE_PX
    u, v = np.meshgrid(at, at)
    return u, v


def _speckle(rng: np.random.Generator, sizes: tuple[int, ...] = (256, 64, 16)) -> np.ndarray:
    """Noise (H, W, 1) about 1 with features of several sizes, in features to the side; it repeats without a seam."""
    u, v = _grid()
    return 1 + sum(0.22 * (smooth_noise(rng, u * n, v * n, repeats=n) - 0.5) for n in sizes)[..., None]  # pyright: ignore[reportIndexIssue]


def _cells(rng: np.random.Generator, columns: int, rows: int, joint: float, *, staggered: bool) -> tuple[np.ndarray, np.ndarray]:
    """A pattern of ``columns`` by ``rows`` stones: where (H, W, 1) a stone is and no joint, and a number of its own in [0, 1]."""
    u, v = _grid()
    row = np.floor(v * rows).astype(int)
    across = u * columns + (0.5 * (row % 2) if staggered else 0.0)
    column = np.floor(across).astype(int) % columns
    inside = np.minimum(across % 1, 1 - across % 1) * (rows / columns) > joint
    inside &= np.minimum(v * rows % 1, 1 - v * rows % 1) > joint
    return inside[..., None], rng.random((rows, columns))[row, column][..., None]


def _paving(rng: np.random.Generator) -> np.ndarray:
    """Slabs of half a metre, some dark, some red, with stains, leaves and a painted line."""
    stone, own = _cells(rng, 16, 16, 0.025, staggered=False)
    grey = np.array([150.0, 148, 140]) * (0.7 + 0.5 * own)
    colour = np.where(own > 0.88, np.array([150.0, 92, 74]) * (0.6 + own / 2), np.where(own < 0.1, np.array([84.0, 86, 92]), grey))
    colour = np.where(stone, colour, 66.0)
    for _ in range(420):
        size, turn = rng.uniform(2, 6), rng.uniform(0, np.pi)  # texels, radians
        x, y = np.meshgrid(np.arange(-14, 15), np.arange(-14, 15))
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        left, top = rng.integers(0, TEXTURE_PX - 29, 2)
        part = colour[top : top + 29, left : left + 29]
        part[np.abs(along) / (2.2 * size) + np.abs(across) / size < 1] = np.array([92.0, 70, 38]) * rng.uniform(0.5, 1.8)
    u, v = _grid()
    line = (np.abs(v - 0.31) < 0.006) & (smooth_noise(rng, u * 64, v * 64, repeats=64) > 0.25)
    colour[line] = (222, 214, 190)
    return colour * _speckle(rng)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    """Bricks, windows with frames and bars, a door and posters. The texture is 6 m wide and high, its lower edge on the floor."""
    stone, own = _cells(rng, 24, 72, 0.08, staggered=True)
    colour = np.where(stone, np.array([158.0, 84, 62]) * (0.65 + 0.6 * own), np.array([176.0, 168, 156])) * _speckle(rng)
    for left, top in ((0.06, 0.12), (0.40, 0.12), (0.74, 0.12), (0.06, 0.55), (0.40, 0.55)):
        _paint_window(colour, rng, left, top, 0.20, 0.24)
    _paint_rectangle(colour, 0.76, 0.62, 0.15, 0.38, (58, 78, 66))
    _paint_rectangle(colour, 0.785, 0.66, 0.10, 0.12, (120, 142, 150))
    for _ in range(5):
        left, top = rng.uniform(0.02, 0.9), rng.uniform(0.80, 0.88)
        _paint_rectangle(colour, left, top, 0.07, 0.10, tuple(rng.uniform(60, 235, 3)))
        for k in range(4):
            _paint_rectangle(colour, left + 0.008, top + 0.012 + 0.022 * k, rng.uniform(0.02, 0.054), 0.010, tuple(rng.uniform(20, 245, 3)))
    return colour


def _plaster(rng: np.random.Generator) -> np.ndarray:
    """Plaster with stains, windows, a drain pipe and a plinth."""
    u, v = _grid()
    stain = smooth_noise(rng, u * 8, v * 4, repeats=8) * smooth_noise(rng, u * 32, v * 32, repeats=32)
    colour = np.array([206.0, 192, 158]) * (1.05 - 0.5 * stain[..., None]) * _speckle(rng)
    for left, top in ((0.10, 0.10), (0.58, 0.10), (0.10, 0.52), (0.58, 0.52)):
        _paint_window(colour, rng, left, top, 0.26, 0.26)
    _paint_rectangle(colour, 0.92, 0.0, 0.02, 1.0, (98, 104, 108))
    _paint_rectangle(colour, 0.0, 0.93, 1.0, 0.07, (122, 116, 108))
    return colour * (1 + 0.1 * (rng.random((TEXTURE_PX // 16, TEXTURE_PX // 16, 1)) - 0.5)).repeat(16, 0).repeat(16, 1)


def _planks(rng: np.random.Generator) -> np.ndarray:
    """Boards with grain, nails, a frame, and stencilled marks."""
    board, own = _cells(rng, 2, 12, 0.035, staggered=True)
    u, v = _grid()
    grain = smooth_noise(rng, u * 16, v * 256, repeats=256)[..., None]
    colour = np.where(board, np.array([172.0, 132, 88]) * (0.6 + 0.5 * own + 0.35 * grain), 42.0)
    for _ in range(26):
        left, top = rng.uniform(0.02, 0.9, 2)
        _paint_rectangle(colour, left, top, rng.uniform(0.01, 0.09), rng.uniform(0.01, 0.05), tuple(rng.choice((28.0, 235.0)) * np.ones(3)))
    return colour * _speckle(rng, (128,))


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Clumps of leaves, light above dark."""
    u, v = _grid()
    light = sum(w * smooth_noise(rng, u * n, v * n, repeats=n) for n, w in ((12, 0.35), (40, 0.35), (120, 0.3)))
    return np.array([74.0, 108, 50]) * (0.25 + 1.6 * np.clip((light - 0.25) * 1.6, 0, 1))[..., None]


def _horizon(rng: np.random.Generator) -> np.ndarray:
    """Sky and far trees all around: bearing across, tangent of elevation from ``HORIZON_UP`` down to 0."""
    u, v = _grid()
    return horizon((1 - v) * HORIZON_UP, (u - 0.5) * 2 * np.pi, rng)


def _paint_rectangle(colour: np.ndarray, left: float, top: float, width: float, height: float, rgb: tuple[float, ...]) -> None:
    """Paint over part of a texture, given in shares of it; what is beyond its edge is left out."""
    x0, x1, y0, y1 = (round(value * TEXTURE_PX) for value in (left, left + width, top, top + height))
    colour[y0:y1, x0:x1] = rgb


def _paint_window(colour: np.ndarray, rng: np.random.Generator, left: float, top: float, width: float, height: float) -> None:
    """A frame, panes of different brightness between bars, and a sill."""
    _paint_rectangle(colour, left - 0.008, top - 0.008, width + 0.016, height + 0.016, (226, 222, 210))
    for i in range(2):
        for k in range(3):
            pane = np.array([70.0, 88, 104]) * rng.uniform(0.45, 1.5)
            _paint_rectangle(
                colour, left + 0.008 + i * width / 2, top + 0.008 + k * height / 3, width / 2 - 0.016, height / 3 - 0.016, tuple(pane)
            )
    _paint_rectangle(colour, left - 0.02, top + height + 0.008, width + 0.04, 0.014, (168, 160, 148))
