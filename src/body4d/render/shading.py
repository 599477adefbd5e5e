"""Light on a body: a neutral studio, computed at vertices. The meshes are dense enough that nothing is lost between them."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float

from body4d.core.compiled import compiled


@dataclass(frozen=True)
class Light:
    """Lamps around the camera. Directions point to the lamp in camera axes (x right, y down, z forward) and need not be unit.

    ``key`` is the main lamp and ``fill`` the weak one opposite, ``sky`` and ``ground`` the light from above and below, ``rim`` the
    brightness of edges at grazing angles, ``gloss`` that of highlights. All are factors of the surface's own colour, linear in light.
    """

    key_direction: tuple[float, float, float] = (-0.7, -0.8, -0.6)
    fill_direction: tuple[float, float, float] = (0.8, -0.15, -0.55)
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)
    key: float = 0.88
    fill: float = 0.16
    sky: float = 0.26
    ground: float = 0.09
    rim: float = 0.25
    gloss: float = 0.10
    wrap: float = 0.15

    @cached_property
    def packed(self) -> Float[np.ndarray, " 16"]:
        """The fields in order, directions made unit, as the kernel takes them."""
        units = [np.array(d, np.float64) / np.linalg.norm(d) for d in (self.key_direction, self.fill_direction, self.up)]
        return np.concatenate([*units, [self.key, self.fill, self.sky, self.ground, self.rim, self.gloss, self.wrap]])


STUDIO = Light()


@compiled
def shade_vertices(
    vertices_m: np.ndarray, normals: np.ndarray, colours: np.ndarray, opacity: float, light: np.ndarray, srgb: np.ndarray, out: np.ndarray
) -> None:
    """Fill ``out`` (V, 4) with lit colours, sRGB in [0, 255], and ``opacity``.

    ``vertices_m``, ``normals`` (V, 3) in camera axes; ``colours`` (V or 1, 3) linear in light; ``light`` from ``Light.packed``,
    ``srgb`` from ``linear_to_srgb_table``.
    Diffuse light wraps a little around the body, as from a large lamp; highlights after Blinn 1977.
    """
    key, fill, sky, ground, rim, gloss, wrap = light[9], light[10], light[11], light[12], light[13], light[14], light[15]
    many = colours.shape[0] > 1
    last = srgb.shape[0] - 1
    for v in range(vertices_m.shape[0]):
        x, y, z = vertices_m[v, 0], vertices_m[v, 1], vertices_m[v, 2]
        distance = np.sqrt(x * x + y * y + z * z) + 1e-12
        ex, ey, ez = -x / distance, -y / distance, -z / distance
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        facing = min(max(nx * ex + ny * ey + nz * ez, 0.0), 1.0)
        from_key = max((nx * light[0] + ny * light[1] + nz * light[2] + wrap) / (1 + wrap), 0.0)
        from_fill = max((nx * light[3] + ny * light[4] + nz * light[5] + wrap) / (1 + wrap), 0.0)
        height = 0.5 + 0.5 * (nx * light[6] + ny * light[7] + nz * light[8])
        diffuse = key * from_key + fill * from_fill + ground + (sky - ground) * height
        hx, hy, hz = light[0] + ex, light[1] + ey, light[2] + ez
        highlight = max((nx * hx + ny * hy + nz * hz) / (np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12), 0.0)
        white = gloss * highlight**24 + rim * (1 - facing) ** 3 * (0.35 + 0.65 * height)
        row = v if many else 0
        for c in range(3):
            # The soft shoulder keeps bright colours from turning white.
            linear = colours[row, c] * diffuse + white * (0.4 + 0.6 * colours[row, c])
            linear = linear if linear < 0.7 else 0.7 + 0.3 * (1 - np.exp((0.7 - linear) / 0.3))
            out[v, c] = srgb[min(max(int(linear * last + 0.5), 0), last)]
        out[v, 3] = opacity


@cache
def linear_to_srgb_table() -> Float[np.ndarray, " 4096"]:
    """sRGB in [0, 255] of linear light 0 to 1 in 4096 steps, float32: a power for each vertex would take longer than all the rest."""
    linear = np.linspace(0, 1, 4096)
    return (255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.float32)


def srgb_to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light in [0, 1] of sRGB values in [0, 1] (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
