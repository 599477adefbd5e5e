"""Appearance of synthetic people and of their club: colours by body region, and a mesh for the club."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, UInt8

from body4d.core.rig import Rig
from body4d.evaluate.synthetic.limb_poser import unit

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Outfit:
    """Colours (R, G, B) of one person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour


OUTFITS = (
    Outfit(skin=(224, 172, 140), hair=(70, 46, 30), shirt=(36, 62, 120), trousers=(214, 202, 174), shoes=(240, 240, 240)),
    Outfit(skin=(146, 98, 70), hair=(28, 22, 20), shirt=(196, 48, 44), trousers=(44, 46, 54), shoes=(60, 60, 64)),
    Outfit(skin=(236, 190, 160), hair=(150, 110, 60), shirt=(238, 238, 232), trousers=(70, 92, 132), shoes=(90, 62, 44)),
)

_SHIRT = ("spine01", "spine02", "spine03", "spine04", "clavicle", "shoulder01", "upperarm01", "upperarm02", "breast")
_TROUSERS = ("root", "pelvis", "spine05", "upperleg01", "upperleg02", "lowerleg01", "lowerleg02")
_HEM_BELOW_PELVIS_M = -0.045
_SLEEVE_END_M = 0.06  # a short sleeve ends this far above the elbow


def vertex_colours(rig: Rig, outfit: Outfit) -> UInt8[np.ndarray, "v 3"]:
    """Colours of the rig's vertices: by the joint that moves a vertex most, for hair and brows by their place on the head."""
    joint = rig.skin_indices[np.arange(len(rig.skin_indices)), rig.skin_weights.argmax(1)]
    base = np.array([name.split(".")[0] for name in rig.joint_names])[joint]
    at = {name: rig.rest_joints_m[j] for j, name in enumerate(rig.joint_names)}
    v = rig.rest_vertices_m
    colours = np.empty((len(v), 3), np.uint8)
    colours[:] = outfit.skin
    colours[np.isin(base, _SHIRT)] = outfit.shirt
    colours[np.isin(base, _TROUSERS)] = outfit.trousers
    colours[np.char.startswith(base, "foot") | np.char.startswith(base, "toe")] = outfit.shoes
    # By joints alone the hem would be ragged: at rest it is level, a little below the waist.
    trunk = np.isin(base, _TROUSERS + _SHIRT[:4])
    colours[trunk] = np.where((v[trunk, 1] < at["root"][1] + _HEM_BELOW_PELVIS_M)[:, None], outfit.shirt, outfit.trousers)
    for side in "LR":
        elbow, shoulder = at[f"lowerarm01.{side}"], at[f"upperarm01.{side}"]
        along = (v - elbow) @ unit(shoulder - elbow)
        same_side = np.sign(v[:, 0]) == np.sign(elbow[0])
        colours[same_side & np.isin(base, ("upperarm01", "upperarm02")) & (along < _SLEEVE_END_M)] = outfit.skin
    _paint_head(colours, v, base, at, outfit)
    return colours


def _paint_head(colours: np.ndarray, v: np.ndarray, base: np.ndarray, at: dict[str, np.ndarray], outfit: Outfit) -> None:
    """Hair from the forehead back, brows, and dark eyes: without them the face is an egg, to people and to detectors."""
    eye = np.abs((at["eye.L"] + at["eye.R"]) / 2)
    eye_y, front = -eye[1], -eye[2]
    head = np.isin(base, ("head", "eye", "neck03", "neck02"))
    crown = v[head, 1].min()
    from_crown = (v[:, 1] - crown) / (eye_y - crown)  # 0 at the crown, 1 at the eyes
    back = (v[:, 2] - front) / (at["head"][2] - front)  # 0 at the eyes, 1 above the neck
    hair = head & ((from_crown < 0.42 + 0.25 * back) | ((back > 0.85) & (from_crown < 1.25)))
    colours[hair] = outfit.hair
    brow = head & (back < 0.3) & (np.abs(v[:, 1] - (eye_y - 0.021)) < 0.005) & (np.abs(v[:, 0]) > 0.012) & (np.abs(v[:, 0]) < 0.05)
    colours[brow] = outfit.hair
    for side in "LR":
        from_eye = v - at[f"eye.{side}"]
        pupil = (base == "eye") & (np.hypot(from_eye[:, 0], from_eye[:, 1]) < 0.007) & (from_eye[:, 2] < 0)
        colours[(base == "eye") & (np.sign(v[:, 0]) == np.sign(at[f"eye.{side}"][0]))] = (235, 235, 235)
        colours[pupil] = (40, 28, 20)


def club_mesh(
    hands_m: Float[np.ndarray, "3"], shaft: Float[np.ndarray, "3"], face: Float[np.ndarray, "3"], length_m: float
) -> tuple[Float[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"], UInt8[np.ndarray, "v 3"]]:
    """Vertices, faces and colours of a golf club held at ``hands_m``, at one moment."""
    side = np.cross(shaft, face)
    ring = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 6, endpoint=False)])
    stations = ((-0.10, 0.013), (0.12, 0.011), (0.121, 0.007), (length_m, 0.005))
    vertices = [hands_m + shaft * s + radius * (ring[:, :1] * face + ring[:, 1:] * side) for s, radius in stations]
    colours = [np.tile(c, (6, 1)) for c in ((30, 30, 32), (30, 30, 32), (190, 192, 196), (200, 202, 206))]
    faces = []
    for k in range(len(stations) - 1):
        for i in range(6):
            a, b = 6 * k + i, 6 * k + (i + 1) % 6
            faces += [(a, b, b + 6), (a, b + 6, a + 6)]
    head = hands_m + shaft * length_m
    toe = side if side @ np.array([0.0, 0.0, -1.0]) > 0 or abs(shaft[1]) < 0.5 else -side
    corner = len(stations) * 6
    vertices.append(
        np.stack([head + x * toe + y * face + z * shaft for x in (-0.015, 0.075) for y in (-0.012, 0.012) for z in (-0.04, 0.015)])
    )
    colours.append(np.tile((150, 152, 158), (8, 1)))
    box = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces += [(corner + a, corner + b, corner + c) for q in box for a, b, c in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))]
    return np.concatenate(vertices), np.array(faces, np.int32), np.concatenate(colours).astype(np.uint8)
