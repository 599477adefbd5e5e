"""How a person is shown: their colour, how opaque they are, and how uncertainty tints them. Pure functions of tracks."""

import numpy as np
from jaxtyping import Float, Int

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack

Rgb = tuple[int, int, int]

PALETTE: tuple[Rgb, ...] = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178), (240, 228, 66))
"""Okabe and Ito 2008, "Color Universal Design": distinct for colour-blind eyes too. It begins with what stands out from skin, grass and
cloth."""

UNCERTAIN_COLOUR: Rgb = (224, 0, 96)
"""Magenta: no person's own colour, and neither skin, grass nor cloth."""

FAINT_OPACITY = 0.35
"""Factor of opacity of a body that was interpolated across an absence or is not to be trusted."""

MIN_CONFIDENCE = 0.2
"""Frames of less confidence are drawn faintly."""

FADE_S = 0.12
"""Time over which a body fades, so that single frames of low confidence do not flicker."""

CERTAIN_SIGMA_M = 0.02
"""A joint with this standard deviation or less has the person's own colour: smoothing leaves millimetres of noise."""

UNCERTAIN_SIGMA_M = 0.25
"""A joint with this standard deviation or more is magenta: a hand's width away, it is elsewhere."""

_NUM_NEAREST_JOINTS = 3
"""Joints from which a vertex takes its uncertainty, so that colours change smoothly from one joint to the next."""


def person_colour(index: int) -> Rgb:
    """sRGB of the person at ``index`` in the scene, in pictures and in GLB; after the palette's end it repeats paler, then darker."""
    base = np.array(PALETTE[index % len(PALETTE)], float)
    round_ = index // len(PALETTE) % 3
    red, green, blue = (base, base + 0.5 * (255 - base), base * 0.6)[round_].round().astype(int)
    return (int(red), int(green), int(blue))


def body_opacity(track: BodyTrack, times_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Opacity of a person's body: 1 where it was seen well, ``FAINT_OPACITY`` where it was interpolated or is not to be trusted.

    ``times_s`` are those of the clip. Changes are faded over ``FADE_S``, so that bodies do not flicker; within a stretch that is
    longer the body is as faint as it should be.
    """
    trusted = track.observed & (track.confidence >= MIN_CONFIDENCE)
    target = np.where(trusted, 1.0, FAINT_OPACITY)
    times = times_s[track.frame_index]
    half = FADE_S / 2
    first, end = np.searchsorted(times, times - half - 1e-9), np.searchsorted(times, times + half + 1e-9, side="right")
    total = np.concatenate([[0.0], np.cumsum(target)])
    return (total[end] - total[first]) / (end - first)


def uncertainty_share(sigma_m: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Standard deviations in metres as shares of the way from ``CERTAIN_SIGMA_M`` to ``UNCERTAIN_SIGMA_M``, by their logarithm."""
    scaled = np.log(np.maximum(sigma_m, 1e-9) / CERTAIN_SIGMA_M) / np.log(UNCERTAIN_SIGMA_M / CERTAIN_SIGMA_M)
    return np.clip(scaled, 0.0, 1.0)


def vertex_uncertainty(rig: Rig, track: BodyTrack, rows: slice) -> Float[np.ndarray, "t v"] | None:
    """How uncertain each vertex is in ``rows``, from 0 to 1; None where the track has no ``joint_sigma_m``. Unknown joints count as 1."""
    if track.joint_sigma_m is None:
        return None
    joints = uncertainty_share(np.nan_to_num(track.joint_sigma_m[rows], nan=np.inf)).astype(np.float32)
    nearest, weights = nearest_joints(rig)
    return np.clip(np.einsum("tvk,vk->tv", joints[:, nearest], weights), 0, 1)


def nearest_joints(rig: Rig) -> tuple[Int[np.ndarray, "v 3"], Float[np.ndarray, "v 3"]]:
    """The named joints nearest to each vertex in the rest pose, and their weights by the inverse square of distance."""
    from scipy.spatial import KDTree

    joints = rig.keypoint_anchors_m.sum(1)
    # Every joint set has more joints than that.
    distances, nearest = KDTree(joints).query(rig.rest_vertices_m, k=_NUM_NEAREST_JOINTS)
    weights = 1 / np.maximum(distances, 1e-3) ** 2
    return np.asarray(nearest), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def tint_by_uncertainty(colour: Rgb, uncertainty: Float[np.ndarray, " v"] | None) -> Float[np.ndarray, "*v 3"]:
    """sRGB in [0, 1] of a body: one colour for all vertices, or one a vertex that turns to ``UNCERTAIN_COLOUR`` by ``uncertainty``."""
    own = np.array(colour) / 255
    return own if uncertainty is None else own + uncertainty[:, None] * (np.array(UNCERTAIN_COLOUR) / 255 - own)
