"""BVH: one skeleton per person with the measured bone lengths. Conventions: docs/files.md.

Angles are R = Rz Rx Ry. The middle angle, X, is the one that must stay off ±90°: for a y-up body that is pitch, so that turning on the
spot (Y) and a full swing of an arm to the side (Z) are free. LAFAN1's files have R = Rz Ry Rx.
"""

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.export.frame_grid import frame_grid
from body4d.export.options import ExportOptions
from body4d.export.retarget import RetargetPlan, plan_retarget
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton, build_skeleton, moving_joints, skeletons_at

_SMALL_JOINTS = re.compile(r"eye|toe|finger|metacarpal|thumb|index|middle|ring|pinky|_null$|jaw|teeth|tongue", re.IGNORECASE)
"""Joints left out where none of their kind and side moves: they would be 60 of 104 bones that do not move."""

_FACE = ("jaw", "teeth", "tongue", "_null")
_FINGERS = ("finger", "metacarpal", "thumb", "index", "middle", "ring", "pinky")

_SINGULAR_COS_X = 1e-6  # cos(x) below which Z and Y turn about the same axis

_PER_METRE = {"m": 1.0, "cm": 100.0}
_DECIMALS = {"m": 8, "cm": 6}
"""A ten-thousandth of a millimetre, so that a chain of ten bones is exact to a thousandth."""


def write_bvh(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person. Frame k is clip frame k, or where the clip's steps are uneven the moment k · frame time. Raises OutputError."""
    at_s, step_s = frame_grid(scene.clip, options.fps)
    person = _Person(scene, track, at_s, options)
    lines = ["HIERARCHY", *person.hierarchy(places=bool(person.plan.sliding.any()))]
    _write(path, lines, at_s, step_s, person.tables(places=bool(person.plan.sliding.any())), options)


def write_bvh_together(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write everybody into one file: below a root at the world's origin that does not move, each with ``person_<id>_`` before their bones.

    Every bone has six channels, since readers differ on bones below the root of which some have places. Raises OutputError.
    """
    at_s, step_s = frame_grid(scene.clip, options.fps)
    people = [_Person(scene, track, at_s, options, f"person_{track.person_id}_") for track in scene.people]
    turning = people[0].turning
    lines = ["HIERARCHY", "ROOT everybody", "{", "  OFFSET 0 0 0", f"  CHANNELS 6 Xposition Yposition Zposition {turning}"]
    for person in people:
        lines += person.hierarchy(places=True, depth=1)
    tables = (
        np.concatenate([np.zeros((len(parts[0]), 6)), *parts], axis=1)
        for parts in zip(*(person.tables(places=True) for person in people), strict=True)
    )
    _write(path, [*lines, "}"], at_s, step_s, tables, options)


def _write(
    path: Path, hierarchy: list[str], at_s: Float[np.ndarray, " n"], step_s: float, tables: Iterable[np.ndarray], options: ExportOptions
) -> None:
    with atomic_file(path) as file:
        motion = ["MOTION", f"Frames: {len(at_s)}", f"Frame Time: {step_s:.10f}"]
        file.write("\n".join([*hierarchy, *motion, ""]).encode("ascii", "replace"))
        for table in tables:
            numbers = io.StringIO()
            np.savetxt(numbers, table, fmt=f"%.{_DECIMALS[options.units]}f")
            file.write(numbers.getvalue().encode())


class _Person:
    """One person's bones and numbers, for a file of their own or one with others."""

    def __init__(self, scene: Scene, track: BodyTrack, at_s: Float[np.ndarray, " n"], options: ExportOptions, prefix: str = "") -> None:
        self._scene, self._track, self._at_s, self._options, self._prefix = scene, track, at_s, options, prefix
        self._rig = rig_of(track)
        self.plan = bvh_plan(self._rig, track, scene, at_s, options)
        self.turning = "Zrotation Yrotation Xrotation" if options.rig == "lafan" else "Zrotation Xrotation Yrotation"
        self._order: list[int] = []
        """The bones in the order in which the channels come, once the hierarchy is written."""

    def hierarchy(self, *, places: bool, depth: int = 0) -> list[str]:
        """Lines of the skeleton. With ``places`` every bone has six channels, else only the root."""
        plan, lines = self.plan, []
        offsets = np.where(plan.parents[:, None] >= 0, plan.rest_m - plan.rest_m[np.maximum(plan.parents, 0)], 0.0)

        def offset(values: np.ndarray) -> str:
            decimals = _DECIMALS[self._options.units]
            return "OFFSET " + " ".join(f"{v:.{decimals}f}" for v in values * _PER_METRE[self._options.units] + 0.0)

        def write(k: int, depth: int) -> None:
            pad, children = "  " * depth, np.flatnonzero(plan.parents == k)
            self._order.append(k)
            title = f"{pad}{'JOINT' if depth else 'ROOT'} {self._prefix}{_bvh_name(plan.names[k])}"
            count = f"CHANNELS 6 Xposition Yposition Zposition {self.turning}" if places or k == 0 else f"CHANNELS 3 {self.turning}"
            lines.extend([title, f"{pad}{{", f"{pad}  {offset(offsets[k])}", f"{pad}  {count}"])
            for child in children:
                write(int(child), depth + 1)
            if not len(children):
                tip = plan.turns[k].T @ end_site_offset(self._rig, int(plan.source[k]))
                lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    {offset(tip)}", f"{pad}  }}"])
            lines.append(f"{pad}}}")

        write(0, depth)
        return lines

    def tables(self, *, places: bool) -> Iterator[Float[np.ndarray, "n channels"]]:
        """The numbers, stretch by stretch; angles in degrees go on from one to the next without jumps."""
        order, scale = self._order, _PER_METRE[self._options.units]
        to_angles = matrix_to_zyx if self._options.rig == "lafan" else matrix_to_zxy
        before = np.zeros((len(order), 3))
        for stretch in skeletons_at(self._rig, self._track, self._scene, self._at_s):
            skeleton = self.plan.apply(stretch)
            angles = to_angles(skeleton.rotations[:, order], before)
            before, degrees = angles[-1], np.degrees(angles)
            if places:
                local_m = np.broadcast_to(skeleton.offsets_m[order], degrees.shape).copy()
                local_m[:, 0] = skeleton.root_m
                for at, k in enumerate(order):
                    if k in skeleton.places_m:
                        local_m[:, at] = skeleton.places_m[k]
                table = np.concatenate([local_m * scale, degrees], axis=2).reshape(len(degrees), -1)
            else:
                table = np.concatenate([skeleton.root_m * scale, degrees.reshape(len(degrees), -1)], axis=1)
            table[np.abs(table) < 0.5 * 10.0 ** -_DECIMALS[self._options.units]] = 0.0  # no "-0.000000"
            yield table


def bvh_plan(rig: Rig, track: BodyTrack, scene: Scene, at_s: Float[np.ndarray, " n"], options: ExportOptions) -> RetargetPlan:
    """Which bones one person's file has, and which of them are not rigid."""
    first = build_skeleton(rig, track, scene, slice(0, 1))
    moves = moving_joints(track)
    plan = plan_retarget(first, options.rig, options.rest, kept_joints(first, moves), moves)
    if options.rig == "native":
        return plan
    sliding = np.zeros(len(plan.names), bool)
    for stretch in skeletons_at(rig, track, scene, at_s):
        sliding |= plan.slides(stretch)
    return plan.with_sliding(sliding)


def kept_joints(skeleton: Skeleton, moves: Bool[np.ndarray, " joints"] | None = None) -> Bool[np.ndarray, " joints"]:
    """Which joints are written: all but eyes, toes and fingers of a side where none of that kind moves.

    So the skeleton is the same for every clip of one preset, and retargeting maps made for one fit the next.
    """
    moves = skeleton.moving_joints() if moves is None else moves
    groups = [_small_joint_group(name) for name in skeleton.names]
    moving = {groups[j] for j in np.flatnonzero(moves)}
    kept = np.array([group is None or group in moving for group in groups])
    for j in range(len(kept) - 1, 0, -1):  # a kept joint keeps those above it
        kept[skeleton.parents[j]] |= kept[j]
    return kept


def _small_joint_group(name: str) -> str | None:
    """ "eye", "toe", "hand" or "face" with the side, for a joint that may be left out."""
    match = _SMALL_JOINTS.search(name)
    if not match:
        return None
    part = match.group().lower()
    part = "hand" if part in _FINGERS else "face" if part in _FACE else part
    return part + (name.rpartition(".")[2] if "." in name else name[:2])


def end_site_offset(rig: Rig, joint: int) -> Float[np.ndarray, " 3"]:
    """Where the last bone of a chain ends, relative to its joint: the farthest vertex that the joint or one below it moves most."""
    below = np.zeros(len(rig.parents), bool)
    below[joint] = True
    for j in range(joint + 1, len(below)):
        below[j] = below[rig.parents[j]]
    strongest = np.take_along_axis(rig.skin_indices, np.argmax(rig.skin_weights, axis=1)[:, None], 1)[:, 0]
    reach = (rig.rest_vertices_m[below[strongest]] - rig.rest_joints_m[joint]) @ REST_TO_Y_UP
    return reach[np.argmax(np.linalg.norm(reach, axis=1))] if len(reach) else np.zeros(3)


def _bvh_name(name: str) -> str:
    """A name without blanks, which would end it in a BVH."""
    return re.sub(r"\s+", "_", name)


_SWAP_XY = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])


def matrix_to_zyx(
    matrices: Float[np.ndarray, "t joints 3 3"], before: Float[np.ndarray, "joints 3"] | None = None
) -> Float[np.ndarray, "t joints 3"]:
    """Angles in radians, in the order z, y, x, of R = Rz Ry Rx; as ``matrix_to_zxy`` otherwise."""
    # A mirror that swaps x and y turns Rz(a) Ry(b) Rx(c) into Rz(-a) Rx(-b) Ry(-c).
    return -matrix_to_zxy(_SWAP_XY @ matrices @ _SWAP_XY, None if before is None else -before)


def matrix_to_zxy(
    matrices: Float[np.ndarray, "t joints 3 3"], before: Float[np.ndarray, "joints 3"] | None = None
) -> Float[np.ndarray, "t joints 3"]:
    """Angles in radians, in the order z, x, y, of R = Rz Rx Ry, each frame the nearest to the one before it, the first to ``before``.

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
    begins = before is None or not np.any(before)
    before = np.zeros((*m.shape[1:-2], 3)) if before is None else before
    for t in range(len(m)):
        z_t = np.where(singular[t], before[..., 0], z[t])
        y_t = np.where(singular[t], np.sign(x[t]) * (twist[t] - z_t), y[t])
        one = np.stack([z_t, x[t], y_t], -1)
        other = np.stack([z_t + np.pi, np.pi - x[t], y_t + np.pi], -1)
        one, other = (angles + 2 * np.pi * np.round((before - angles) / (2 * np.pi)) for angles in (one, other))
        if t == 0 and begins:
            other = one  # the first frame keeps |x| <= 90°
        nearer = np.abs(other - before).sum(-1) < np.abs(one - before).sum(-1)
        out[t] = before = np.where(nearer[..., None], other, one)
    return out
