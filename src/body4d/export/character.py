"""A person as other programs hold a character: bones without turns at rest, a mesh bound to them, the movement. For GLB, FBX, USD, VRMA."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.bodies.registry import rig_of
from body4d.core.errors import SettingsError
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.export.options import ExportOptions
from body4d.export.retarget import RetargetPlan, bone_of_joint, plan_retarget
from body4d.export.rigs import twist_names
from body4d.export.skeleton import MAX_STILL_CHANGE, REST_TO_Y_UP, Skeleton, build_skeleton, moving_joints, skeletons_at
from body4d.geometry.rotations import matrix_to_quat

_NUM_INFLUENCES = 4  # glTF's one set of joints; FBX and USD would take more, and game engines cut them


@dataclass(frozen=True)
class Movement:
    """What turns and slides, in arrays on the disk: memory does not grow with the clip."""

    quats: Float[np.ndarray, "t bones 4"]
    """float32, x y z w, of each bone's rotation in the one above, the root's in the world; each on the side of the one before it."""
    root_m: Float[np.ndarray, "t 3"]
    """float32, the root bone in the world."""
    places_m: dict[int, Float[np.ndarray, "t 3"]]
    """float32, for bones that slide, by index: their places in the one above."""


@dataclass(frozen=True)
class Character:
    """One person's bones, mesh and movement, y up, metres. The lowest point of the mesh is at y = 0 in the rest pose."""

    scene: Scene
    track: BodyTrack
    rig: Rig
    plan: RetargetPlan
    """``rest_m`` of it are the bones at rest; none of them is turned there."""
    vertices_m: Float[np.ndarray, "vertices 3"]
    """The mesh in the rest pose."""
    skin_indices: Int[np.ndarray, "vertices 4"]
    skin_weights: Float[np.ndarray, "vertices 4"]
    """float32; rows sum to 1."""
    turning: Bool[np.ndarray, " bones"]
    """Which bones turn at all."""

    @property
    def name(self) -> str:
        return f"person_{self.track.person_id}"

    @property
    def offsets_m(self) -> Float[np.ndarray, "bones 3"]:
        """Each bone at rest, relative to the one above; the root's place at rest."""
        parents, rest_m = self.plan.parents, self.plan.rest_m
        return rest_m - np.where(parents[:, None] >= 0, rest_m[np.maximum(parents, 0)], 0.0)

    def stretches(self, at_s: Float[np.ndarray, " n"], *, rigid: bool = False) -> Iterator[Skeleton]:
        """The movement at rising times. ``rigid``: for formats whose bones cannot slide; each then points at the next."""
        for stretch in skeletons_at(self.rig, self.track, self.scene, at_s):
            yield self.plan.apply(stretch, aim=rigid)

    def movement(self, at_s: Float[np.ndarray, " n"], folder: Path, *, rigid: bool = False) -> Movement:
        """The movement at rising times, as arrays in ``folder``: ``quats.npy``, ``root.npy`` and ``place_<bone>.npy``."""

        def array(name: str, *shape: int) -> np.ndarray:
            return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(len(at_s), *shape))

        out = Movement(
            array("quats", len(self.plan.names), 4),
            array("root", 3),
            {int(k): array(f"place_{k}", 3) for k in np.flatnonzero(self.plan.sliding)},
        )
        first, before = 0, None
        for stretch in self.stretches(at_s, rigid=rigid):
            rows = slice(first, first + len(stretch.root_m))
            out.quats[rows] = quats = continuous_quats(stretch.rotations, before)
            out.root_m[rows] = stretch.root_m
            for k, places in out.places_m.items():
                places[rows] = stretch.places_m[k]
            first, before = rows.stop, quats[-1]
        return out


def make_character(
    scene: Scene, track: BodyTrack, options: ExportOptions, at_s: Float[np.ndarray, " n"], *, twists: bool = True
) -> Character:
    """``track`` by the bones of ``options.rig``, for a movement at the times ``at_s``.

    A joint that the rig does not have gives its share of the skin to the nearest bone above, or where it turns, such as a forearm's twist,
    to a bone more on that one, so that the surface stays where it is; without ``twists`` there are none. The rest pose is the body's own
    unless "t" is asked for: skinning is exact where the mesh is bound in the pose that it was made in. Raises SettingsError.
    """
    if options.rig == "lafan":
        raise SettingsError("LAFAN1's skeleton is for BVH: a mesh has no use for its axes.", code="rig_without_mesh",
                            hint="Take native, mixamo, unreal or vrm.")  # fmt: skip
    rig = rig_of(track)
    first = build_skeleton(rig, track, scene, slice(0, 1))
    moves = moving_joints(track)
    plan = plan_retarget(first, options.rig, options.rest or "a", moves=moves)
    if twists:
        skinned = np.zeros(len(moves), bool)
        skinned[rig.skin_indices[rig.skin_weights > 0]] = True
        dropped = np.setdiff1d(np.flatnonzero(moves & skinned), plan.source)
        plan = plan.with_leaves(first, dropped, twist_names(first.names, dropped, options.rig))
    indices, weights = _bone_weights(rig, plan)
    vertices = _bound_to(plan, first, rig.rest_vertices_m @ REST_TO_Y_UP, indices, weights)
    down = np.array([0.0, vertices[:, 1].min(), 0.0])
    plan = replace(plan, rest_m=plan.rest_m - down)
    turning, sliding = np.zeros(len(plan.names), bool), np.zeros(len(plan.names), bool)
    start = None
    for stretch in skeletons_at(rig, track, scene, at_s):
        rotations = plan.apply(stretch, aim=False).rotations
        start = rotations[0] if start is None else start
        turning |= np.abs(rotations - start).max(axis=(0, 2, 3)) > MAX_STILL_CHANGE
        if options.rig != "native":
            sliding |= plan.slides(stretch)
    sliding[0] = False  # the root's place is the movement's own
    return Character(scene, track, rig, plan.with_sliding(sliding), vertices - down, indices, weights, turning)


def _bone_weights(rig: Rig, plan: RetargetPlan) -> tuple[Int[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """The mesh's skin by bones."""
    bone = bone_of_joint(rig.parents, plan.source)
    indices, weights = bone[rig.skin_indices], rig.skin_weights.astype(np.float64)
    for b in range(1, indices.shape[1]):
        for a in range(b):
            same = (indices[:, a] == indices[:, b]) & (weights[:, b] > 0)
            weights[same, a] += weights[same, b]
            weights[same, b] = 0
    return four_influences(indices, weights)


def _bound_to(
    plan: RetargetPlan, skeleton: Skeleton, vertices_m: Float[np.ndarray, "v 3"], indices: Int[np.ndarray, "v 4"],
    weights: Float[np.ndarray, "v 4"],
) -> Float[np.ndarray, "v 3"]:  # fmt: skip
    """The mesh in the plan's rest pose, such that bones turned back into the body's own pose give ``vertices_m`` exactly."""
    # A bone in the body's own pose has the axes ``turns``: v = sum w (R (v' - rest') + rest), to be solved for v'.
    places = skeleton.rest_m[plan.source] - np.einsum("kab,kb->ka", plan.turns, plan.rest_m)
    turns = np.einsum("vw,vwab->vab", weights.astype(np.float64), plan.turns[indices])
    return np.linalg.solve(turns, (vertices_m - np.einsum("vw,vwa->va", weights.astype(np.float64), places[indices]))[..., None])[..., 0]


def four_influences(
    indices: Int[np.ndarray, "v w"], weights: Float[np.ndarray, "v w"]
) -> tuple[Int[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """The four strongest joints of each vertex and float32 weights that sum to 1; unused columns hold joint 0, weight 0."""
    short = max(_NUM_INFLUENCES - weights.shape[1], 0)
    indices, weights = np.pad(indices, ((0, 0), (0, short))), np.pad(weights, ((0, 0), (0, short)))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :_NUM_INFLUENCES]
    indices, kept = np.take_along_axis(indices, order, 1), np.take_along_axis(weights, order, 1)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    kept[:, 0] = 1 - kept[:, 1:].sum(1, dtype=np.float32)  # the strongest takes the rounding
    return np.where(kept > 0, indices, 0), kept


def continuous_quats(
    matrices: Float[np.ndarray, "n *bones 3 3"], before: Float[np.ndarray, "*bones 4"] | None = None
) -> Float[np.ndarray, "n *bones 4"]:
    """float32 quaternions, x y z w, of rotations, each on the same side as the one before it, the first as ``before``."""
    quats = matrix_to_quat(matrices)[..., [1, 2, 3, 0]]
    last = quats[:1] if before is None else before[None]
    flips = np.sign(np.sum(quats * np.concatenate([last, quats[:-1]]), axis=-1, keepdims=True))
    return np.ascontiguousarray(quats * np.cumprod(np.where(flips == 0, 1, flips), axis=0), np.float32)
