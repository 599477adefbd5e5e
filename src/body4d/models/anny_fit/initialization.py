"""An initial pose from the directions between three-dimensional landmarks, in closed form. Pure numpy.

Iterative fits that start from the rest pose leave elbows and wrists in wrong minima. The limbs are therefore aligned with the landmarks
first: the trunk by its two axes, each limb by its direction and the plane in which it bends.
"""

import numpy as np
from jaxtyping import Float

from body4d.core.joints import Body29 as B
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix
from body4d.models.anny_fit.joint_limits import DRIVEN_JOINTS, JointLimits
from body4d.models.anny_fit.kinematic_chain import KinematicChain, PointSet
from body4d.models.anny_fit.types import ChainPose

MIN_BEND_SINE = np.sin(np.radians(20.0))
"""A limb must be bent by this much for the plane of its bend to be more than noise."""
MIN_DEPTH_M = 0.3
"""Nobody stands nearer to the camera than this."""

_LIMBS = (
    ("upperarm01", "lowerarm01", "SHOULDER", "ELBOW", "WRIST"),
    ("upperleg01", "lowerleg01", "HIP", "KNEE", "ANKLE"),
)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rotation (..., 3, 3) whose first column lies along ``x`` and whose second in the plane of ``x`` and ``y``."""
    a = _unit(x)
    b = _unit(y - np.sum(y * a, -1, keepdims=True) * a)
    return np.stack([a, b, np.cross(a, b)], axis=-1)


def initial_rotations(
    chain: KinematicChain, keypoints: PointSet, limits: JointLimits, landmarks_m: Float[np.ndarray, "t 29 3"]
) -> Float[np.ndarray, "t joints 3 3"]:
    """Local rotations that align the chain with ``landmarks_m``, given in Body29 order and camera axes with any origin."""
    T, D = len(landmarks_m), len(DRIVEN_JOINTS)
    rest = np.einsum("kda->ka", keypoints.offsets_m) + keypoints.weights @ chain.rest_joints_m
    local = np.broadcast_to(np.eye(3), (T, D, 3, 3)).copy()
    slot = {name: d for d, name in enumerate(DRIVEN_JOINTS)}

    def axes(points: np.ndarray, left: B, right: B) -> np.ndarray:
        across = points[..., left, :] - points[..., right, :]
        up = points[..., [B.LEFT_SHOULDER, B.RIGHT_SHOULDER], :].mean(-2) - points[..., [B.LEFT_HIP, B.RIGHT_HIP], :].mean(-2)
        return _frame(across, up)

    pelvis = axes(landmarks_m, B.LEFT_HIP, B.RIGHT_HIP) @ axes(rest, B.LEFT_HIP, B.RIGHT_HIP).T
    chest = axes(landmarks_m, B.LEFT_SHOULDER, B.RIGHT_SHOULDER) @ axes(rest, B.LEFT_SHOULDER, B.RIGHT_SHOULDER).T
    local[:, 0] = pelvis
    # Rotation of the chest against the pelvis, divided among the three driven joints of the trunk.
    third = rotvec_to_matrix(matrix_to_rotvec(np.swapaxes(pelvis, -1, -2) @ chest) / 3)
    for name in ("spine04", "spine03", "spine01"):
        local[:, slot[name]] = third
    for letter, side in (("L", "LEFT"), ("R", "RIGHT")):
        for upper, lower, *points in _LIMBS:
            a, b, c = (B[f"{side}_{p}"] for p in points)
            u, v = slot[f"{upper}.{letter}"], slot[f"{lower}.{letter}"]
            G, _ = chain.forward(local, np.zeros((T, 3)))
            parent = G[:, chain.parents[u]]
            hinge = limits.axes[v - 1, 0]
            first, second = _unit(landmarks_m[:, b] - landmarks_m[:, a]), _unit(landmarks_m[:, c] - landmarks_m[:, b])
            local[:, u], local[:, v] = _limb(rest[[a, b, c]], hinge, parent, first, second, "leg" in upper)
    return local


def _limb(
    rest: np.ndarray, hinge: np.ndarray, parent: np.ndarray, first: np.ndarray, second: np.ndarray, is_leg: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 3, 3) of a limb's two joints that point its bones along ``first`` and ``second`` (T, 3)."""
    bone, bone2 = _unit(rest[1] - rest[0]), _unit(rest[2] - rest[1])
    down = np.swapaxes(parent, -1, -2)
    d1 = np.einsum("tab,tb->ta", down, first)
    d2 = np.einsum("tab,tb->ta", down, second)
    # Bending turns the lower bone about the hinge, towards the reversed upper one, so the observed hinge is d2 x -d1.
    observed_hinge = np.cross(d2, -d1)
    bent = np.linalg.norm(observed_hinge, axis=-1, keepdims=True)
    shortest = rotation_between(np.broadcast_to(bone, d1.shape), d1)
    usual = shortest @ hinge
    sign = np.sign(np.sum(observed_hinge * usual, -1, keepdims=True))
    # A knee that seems to bend forwards has a depth of the wrong sign: the usual plane is kept there.
    plane = np.where((bent > MIN_BEND_SINE) & ((sign > 0) | (not is_leg)), observed_hinge, usual)
    upper = _frame(d1, plane) @ _frame(bone, hinge).T
    within = np.einsum("tba,tb->ta", upper, d2)
    flat = within - np.sum(within * hinge, -1, keepdims=True) * hinge
    flat2 = bone2 - np.sum(bone2 * hinge) * hinge
    angle = np.arctan2(np.cross(np.broadcast_to(flat2, flat.shape), flat) @ hinge, flat @ flat2)
    return upper, rotvec_to_matrix(angle[:, None] * hinge)


def with_initial_translation(
    chain: KinematicChain,
    local: Float[np.ndarray, "t joints 3 3"],
    keypoints: PointSet,
    points_px: Float[np.ndarray, "t k 2"],
    weight: Float[np.ndarray, "t k"],
    focal_px: float,
    centre_px: Float[np.ndarray, " 2"],
) -> ChainPose:
    """The pose with the root position that projects the keypoints nearest to ``points_px``, by weighted least squares."""
    T = len(local)
    G, p = chain.forward(local, np.zeros((T, 3)))
    x = chain.points(G, p, keypoints)
    off = np.nan_to_num(points_px) - centre_px
    w = np.sqrt(np.where(np.isfinite(points_px).all(-1), weight, 0.0))
    # f (X + tx) = (u - cx)(Z + tz), linear in t.
    A = np.zeros((T, x.shape[1], 2, 3))
    A[..., 0, 0] = A[..., 1, 1] = focal_px
    A[..., 2] = -off
    b = off * x[..., 2:] - focal_px * x[..., :2]
    A, b = A * w[..., None, None], b * w[..., None]
    A, b = A.reshape(T, -1, 3), b.reshape(T, -1, 1)
    At = np.swapaxes(A, -1, -2)
    t = np.linalg.solve(At @ A + 1e-6 * np.eye(3), At @ b)[..., 0]
    t[:, 2] = np.maximum(t[:, 2], MIN_DEPTH_M)
    return ChainPose(local, t)
