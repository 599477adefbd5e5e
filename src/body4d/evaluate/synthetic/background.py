"""The background of synthetic clips: sky, trees at the horizon, grass in perspective, and a soft shadow. Pure numpy and scipy."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from body4d.core.types import Camera

_GRASS = np.array([96, 134, 62], np.float32)
_HAZE = np.array([196, 206, 200], np.float32)
_ZENITH = np.array([118, 164, 216], np.float32)
_HORIZON = np.array([214, 226, 234], np.float32)
_TREES = np.array([62, 84, 52], np.float32)
_HAZE_M = 60.0  # distance over which grass fades to a third of its colour
SUN = np.array([0.45, 0.80, 0.40])  # the way light travels in stage axes (y down), not normalised
_SHADOW_CELL_PX = 4
_SHADOW_STRENGTH = 0.55


def render_meadow(camera: Camera, T_camera_stage: Float[np.ndarray, "4 4"], seed: int) -> Float32[np.ndarray, "h w 3"]:
    """Picture in [0, 255] of an empty meadow as ``camera`` sees it; the floor is y = 0 of the stage."""
    rng = np.random.default_rng([seed, 1])
    rays = _rays(camera) @ T_camera_stage[:3, :3]
    eye = np.negative(T_camera_stage[:3, :3].T @ T_camera_stage[:3, 3])
    down = rays[..., 1]
    bearing = np.arctan2(rays[..., 0], rays[..., 2])
    up = np.negative(down) / np.linalg.norm(rays[..., [0, 2]], axis=-1)
    picture = horizon(up, bearing, rng)
    ground = _ground(rays, eye, rng)
    below = np.clip(down / 0.004, 0, 1)[..., None]
    return (picture * (1 - below) + ground * below).astype(np.float32)


def horizon(up: Float[np.ndarray, "*b"], bearing: Float[np.ndarray, "*b"], rng: np.random.Generator) -> Float[np.ndarray, "*b 3"]:
    """Colours in [0, 255] of sky and far trees, by the tangent of the elevation and the bearing in radians."""
    sky = _sky(up, bearing, rng)
    trees = smooth_noise(rng, bearing * 40, np.zeros_like(bearing))
    edge = 0.035 + 0.03 * trees + 0.008 * smooth_noise(rng, bearing * 300, np.zeros_like(bearing))
    leaves = smooth_noise(rng, bearing * 160, up * 160)
    cover = np.clip((edge - up) / 0.004, 0, 1)[..., None]
    return sky * (1 - cover) + cover * (_TREES * (0.8 + 0.5 * leaves[..., None]) * 0.8 + 0.2 * _HAZE)


def _rays(camera: Camera) -> np.ndarray:
    """Directions (H, W, 3) through pixel centres, camera axes."""
    x = (np.arange(camera.width_px) + 0.5 - camera.cx_px) / camera.focal_px
    y = (np.arange(camera.height_px) + 0.5 - camera.cy_px) / camera.focal_px
    xx, yy = np.meshgrid(x, y)
    rays = np.stack([xx, yy, np.ones_like(xx)], -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _sky(up: np.ndarray, bearing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    share = np.clip(up / 0.7, 0, 1)[..., None] ** 0.7
    sky = _HORIZON * (1 - share) + _ZENITH * share
    clouds = smooth_noise(rng, bearing * 9, up * 22) * 0.6 + smooth_noise(rng, bearing * 25, up * 60) * 0.4
    white = np.clip((clouds - 0.5) * 2.2, 0, 0.75)[..., None]
    return sky * (1 - white) + 248 * white


def _ground(rays: np.ndarray, eye: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grass with patches of several sizes, each fading where it would be finer than a pixel."""
    far = -eye[1] / np.maximum(rays[..., 1], 1e-3)
    x, z = eye[0] + far * rays[..., 0], eye[2] + far * rays[..., 2]
    shade = np.ones_like(far)
    for size_m, strength in ((3.0, 0.16), (0.6, 0.14), (0.12, 0.16), (0.025, 0.22)):
        visible_share = 1 / (1 + (far * 0.012 / size_m) ** 2)
        shade += strength * visible_share * (smooth_noise(rng, x / size_m, z / size_m) * 2 - 1)
    haze = (1 - np.exp(-far / _HAZE_M))[..., None] * 0.7
    return _GRASS * shade[..., None] * (1 - haze) + _HAZE * haze


def smooth_noise(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, repeats: int = 256) -> Any:
    """Smooth noise in [0, 1] with features about 1 wide, at coordinates ``u``, ``v``; repeats every ``repeats`` (a power of two)."""
    table = rng.random((repeats, repeats), dtype=np.float32)
    last = repeats - 1
    iu, iv = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = (u - iu).astype(np.float32), (v - iv).astype(np.float32)
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    a, b = table[iv & last, iu & last], table[iv & last, (iu + 1) & last]
    c, d = table[(iv + 1) & last, iu & last], table[(iv + 1) & last, (iu + 1) & last]
    return (a * (1 - fu) + b * fu) * (1 - fv) + (c * (1 - fu) + d * fu) * fv


def shadow_light(
    vertices_stage_m: Float[np.ndarray, "v 3"], camera: Camera, T_camera_stage: Float[np.ndarray, "4 4"]
) -> Float32[np.ndarray, "h w 1"]:
    """Share of the light, in [0, 1], that is left on the floor in the shadow of a body of vertices in stage axes."""
    from scipy.ndimage import gaussian_filter, zoom

    height = -vertices_stage_m[:, 1:2]
    floor = vertices_stage_m + np.maximum(height, 0) * SUN / SUN[1]
    px = camera.project(floor @ T_camera_stage[:3, :3].T + T_camera_stage[:3, 3])
    rows, columns = -(-camera.height_px // _SHADOW_CELL_PX), -(-camera.width_px // _SHADOW_CELL_PX)
    px = px[np.isfinite(px).all(1)] / _SHADOW_CELL_PX
    count, _, _ = np.histogram2d(px[:, 1], px[:, 0], bins=(rows, columns), range=((0, rows), (0, columns)))
    dark = gaussian_filter(np.minimum(count, 3.0).astype(np.float32), 1.6)
    light = 1 - _SHADOW_STRENGTH * np.clip(dark / 1.2, 0, 1)
    full: np.ndarray = np.asarray(zoom(light, _SHADOW_CELL_PX, order=1))
    return full[: camera.height_px, : camera.width_px, None]
