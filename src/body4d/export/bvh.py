"""BVH: one skeleton per person with the measured bone lengths. Conventions: docs/files.md.

Angles are R = Rz Rx Ry. The middle angle, X, is the one that must stay off ±90°: for a y-up body that is pitch, so that turning on the
spot (Y) and a full swing of an arm to the side (Z) are free.
"""

import io
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton, build_skeleton, resample_skeleton

_SMALL_JOINTS = re.compile(r"eye|toe|finger|metacarpal", re.IGNORECASE)
"""Joints left out where none of their kind and side moves: they would be 60 of 104 bones that do not move."""

_SINGULAR_COS_X = 1e-6  # cos(x) below which Z and Y turn about the same axis

_EVEN_SHARE = 0.02
"""Frame steps that differ by less than this share count as one rate: containers round time stamps, commonly to milliseconds."""


def write_bvh(scene: Scene, out: Path, *, one_file: bool) -> list[Path]:
    """Write a file per person: ``person_<id>.bvh`` in the folder ``out``, or with ``one_file`` at ``out`` itself.

    Where ``one_file`` meets several people, ``_person_<id>`` goes before the ending. Raises OutputError.
    """
    paths = []
    for track in scene.people:
        path = out / f"person_{track.person_id}.bvh"
        if one_file:
            path = out if len(scene.people) == 1 else out.with_stem(f"{out.stem}_person_{track.person_id}")
        rig = rig_of(track)
        text = bvh_text(rig, build_skeleton(rig, track, scene.T_world_camera), track, scene.clip)
        with atomic_file(path) as file:
            file.write(text.encode("ascii", "replace"))
        paths.append(path)
    return paths


def bvh_text(rig: Rig, skeleton: Skeleton, track: BodyTrack, clip: Clip) -> str:
    """The file's text. Frame k is clip frame k, or where the clip's steps are uneven the moment k · frame time."""
    at_s, step_s = frame_grid(clip)
    rotations, root_m = resample_skeleton(skeleton, clip.times_s[track.frame_index], at_s)
    kept = kept_joints(skeleton)
    lines, order = _hierarchy(rig, skeleton, kept)
    angles_deg = np.degrees(matrix_to_zxy(rotations[:, order]))
    table = np.concatenate([root_m, angles_deg.reshape(len(at_s), -1)], axis=1) + 0.0  # no "-0.000000"
    numbers = io.StringIO()
    np.savetxt(numbers, table, fmt="%.6f")
    motion = ["MOTION", f"Frames: {len(at_s)}", f"Frame Time: {step_s:.10f}"]
    return "\n".join([*lines, *motion, numbers.getvalue()])


def frame_grid(clip: Clip) -> tuple[Float[np.ndarray, " n"], float]:
    """Times of a BVH's frames in seconds, and its frame time: the clip's own where its steps are even, else evenly spread.

    The frame time is exact where the clip's steps are those of its rate (1001/30000 s for 29.97 frames/s).
    """
    n = len(clip)
    if n == 1:
        return clip.times_s, float(1 / clip.rate)
    mean = float(clip.times_s[-1] - clip.times_s[0]) / (n - 1)
    even = np.max(np.abs(clip.times_s - clip.times_s[0] - mean * np.arange(n))) <= max(_EVEN_SHARE * mean, 1e-3)
    if not even:
        return clip.times_s[0] + mean * np.arange(n), mean
    # The mean of rounded stamps is off the true step by one rounding at most; a clip of every n-th frame gives a multiple.
    multiple = max(round(mean * clip.rate), 1)
    exact = float(Fraction(multiple) / clip.rate)
    return clip.times_s, exact if abs(exact - mean) * (n - 1) <= max(_EVEN_SHARE * mean, 2e-3) else mean


def kept_joints(skeleton: Skeleton) -> Bool[np.ndarray, " joints"]:
    """Which joints are written: all but eyes, toes and fingers of a side where none of that kind moves.

    So the skeleton is the same for every clip of one preset, and retargeting maps made for one fit the next.
    """
    moves = skeleton.moving_joints()
    groups = [_small_joint_group(name) for name in skeleton.names]
    moving = {groups[j] for j in np.flatnonzero(moves)}
    kept = np.array([group is None or group in moving for group in groups])
    for j in range(len(kept) - 1, 0, -1):  # a kept joint keeps those above it
        kept[skeleton.parents[j]] |= kept[j]
    return kept


def _small_joint_group(name: str) -> str | None:
    """ "eye", "toe" or "hand" with the side, for a joint that may be left out."""
    match = _SMALL_JOINTS.search(name)
    if not match:
        return None
    part = match.group().lower()
    return ("hand" if part in ("finger", "metacarpal") else part) + name.rpartition(".")[2]


def _hierarchy(rig: Rig, skeleton: Skeleton, kept: np.ndarray) -> tuple[list[str], list[int]]:
    """HIERARCHY lines, and the joints in the order in which the channels come."""
    offsets, lines, order = skeleton.offsets_m, ["HIERARCHY"], []
    children = {j: [c for c in np.flatnonzero(skeleton.parents == j) if kept[c]] for j in range(len(kept))}

    def offset(values: np.ndarray) -> str:
        return "OFFSET " + " ".join(f"{v:.6f}" for v in values + 0.0)

    def write(j: int, depth: int) -> None:
        pad, channels = "  " * depth, "Zrotation Xrotation Yrotation"
        order.append(j)
        title = f"{pad}JOINT {_bvh_name(skeleton.names[j])}" if depth else f"ROOT {_bvh_name(skeleton.names[j])}"
        count = f"CHANNELS 3 {channels}" if depth else f"CHANNELS 6 Xposition Yposition Zposition {channels}"
        lines.extend([title, f"{pad}{{", f"{pad}  {offset(offsets[j])}", f"{pad}  {count}"])
        for child in children[j]:
            write(int(child), depth + 1)
        if not children[j]:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    {offset(_end_site_offset(rig, skeleton, j))}", f"{pad}  }}"])
        lines.append(f"{pad}}}")

    write(0, 0)
    return lines, order


def _end_site_offset(rig: Rig, skeleton: Skeleton, joint: int) -> np.ndarray:
    """Where the last bone of a chain ends, relative to its joint: the farthest vertex that the joint or one below it moves most."""
    below = np.zeros(len(skeleton.names), bool)
    below[joint] = True
    for j in range(joint + 1, len(below)):
        below[j] = below[skeleton.parents[j]]
    strongest = np.take_along_axis(rig.skin_indices, np.argmax(rig.skin_weights, axis=1)[:, None], 1)[:, 0]
    reach = rig.rest_vertices_m[below[strongest]] @ REST_TO_Y_UP - skeleton.rest_m[joint]
    return reach[np.argmax(np.linalg.norm(reach, axis=1))] if len(reach) else np.zeros(3)


def _bvh_name(name: str) -> str:
    """A name without blanks, which would end it in a BVH."""
    return re.sub(r"\s+", "_", name)


def matrix_to_zxy(matrices: Float[np.ndarray, "t joints 3 3"]) -> Float[np.ndarray, "t joints 3"]:
    """Angles in radians, in the order z, x, y, of rotations, each frame the nearest to the one before it.

    A rotation has two sets of angles, (z, x, y) and (z + π, π − x, y + π), each up to full turns; where cos x = 0 only z ± y is
    determined, and z stays what it was.
    """
    m = np.asarray(matrices, np.float64)
    cos_x = np.hypot(m[..., 0, 1], m[..., 1, 1])
    x = np.arctan2(m[..., 2, 1], cos_x)
    z = np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    y = np.arctan2(-m[..., 2, 0], m[..., 2, 2])
    singular = cos_x < _SINGULAR_COS_X
    twist = np.arctan2(m[..., 1, 0], m[..., 0, 0])  # z + y where x = 90°, z − y where x = −90°
    out = np.empty((*m.shape[:-2], 3))
    before = np.zeros((*m.shape[1:-2], 3))
    for t in range(len(m)):
        z_t = np.where(singular[t], before[..., 0], z[t])
        y_t = np.where(singular[t], np.sign(x[t]) * (twist[t] - z_t), y[t])
        one = np.stack([z_t, x[t], y_t], -1)
        other = np.stack([z_t + np.pi, np.pi - x[t], y_t + np.pi], -1)
        one, other = (angles + 2 * np.pi * np.round((before - angles) / (2 * np.pi)) for angles in (one, other))
        if t == 0:
            other = one  # the first frame keeps |x| <= 90°
        nearer = np.abs(other - before).sum(-1) < np.abs(one - before).sum(-1)
        out[t] = before = np.where(nearer[..., None], other, one)
    return out
