"""Poses of one body over a clip from what is observed in it: Gauss-Newton on the rotation group, all frames at once.

Every term is a residual in units of its own standard deviation, so their weights need no tuning against each other: this is
maximum a posteriori estimation (Bogo et al., "Keep it SMPL", ECCV 2016, sec. 3, with analytic derivatives instead of autodiff).
Frames are coupled by the term on accelerations; the normal equations are then block-banded and solved in time linear in length.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.models.anny_fit.joint_limits import JointLimits
from body4d.models.anny_fit.kinematic_chain import KinematicChain, PointSet, slopes_along
from body4d.models.anny_fit.residuals import (
    NormalEquations,
    SurfacePoints,
    acceleration,
    balance,
    floor_contact,
    joined_hands,
    joint_range,
    palm_directions,
    relative_depth,
    reprojection,
    separation,
    silhouette_distance,
)
from body4d.models.anny_fit.steady_acceleration import steady_acceleration
from body4d.models.anny_fit.types import BodyParts, ChainPose, Observations, SilhouetteMatches

INITIAL_DAMPING, MIN_DAMPING, MAX_DAMPING = 1e-3, 1e-5, 1e4
MAX_STEP_RAD = 0.5
"""A rotation beyond half a radian leaves the range in which the linearisation holds."""
MIN_RELATIVE_DECREASE = 1e-4
"""The iteration ends where a step lowers the cost by a smaller share."""


@dataclass(frozen=True)
class PoseProblem:
    """One person's chain, keypoints, limits and camera: what is fixed while poses are estimated.

    ``shapes`` are bodies that differ from this one by a unit of each shape parameter, for ``solve_with_shape``; empty while the
    shape is fixed.
    """

    chain: KinematicChain
    keypoints: PointSet
    limits: JointLimits
    focal_px: float
    centre_px: Float[np.ndarray, " 2"]
    parts: BodyParts
    shapes: tuple["ShapeVariant", ...] = ()

    def with_shape_columns(self, x: np.ndarray, J: np.ndarray, pose: ChainPose) -> np.ndarray:
        """``J`` with a column for each of ``shapes``: how keypoints ``x`` move per unit of the parameter while the pose is kept."""
        columns = []
        for variant in self.shapes:
            G2, p2 = variant.chain.forward(pose.local, pose.translation_m)
            columns.append(variant.chain.points(G2, p2, variant.keypoints) - x)
        return np.concatenate([J, np.stack(columns, -1)], -1) if columns else J

    def _surface_points(self, pose: ChainPose, G: np.ndarray, p: np.ndarray, surface: PointSet) -> SurfacePoints:
        """How ``silhouette_distance`` asks for points of ``surface`` at ``pose``."""

        def points(frames: slice, index: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
            x, levers = self.chain.points_and_levers(G[frames], p[frames], surface, index)

            def slopes(gradient: np.ndarray) -> np.ndarray:
                columns = [slopes_along(gradient, levers)]
                for variant in self.shapes:
                    G2, p2 = variant.chain.forward(pose.local[frames], pose.translation_m[frames])
                    moved = variant.chain.points_and_levers(G2, p2, variant.surface, index)[0] - x
                    columns.append(np.sum(gradient * moved, -1, keepdims=True))
                return np.concatenate(columns, -1) if len(columns) > 1 else columns[0]

            return x, slopes

        return points

    def normal_equations(
        self, pose: ChainPose, observations: Observations, matches: SilhouetteMatches | None, coupled: bool
    ) -> NormalEquations:
        """Normal equations at ``pose``; frames are ``coupled`` by their accelerations or independent."""
        G, p = self.chain.forward(pose.local, pose.translation_m)
        x, J = self.chain.points_and_jacobian(G, p, self.keypoints)
        J = self.with_shape_columns(x, J, pose)
        system = NormalEquations.empty(len(x), J.shape[-1])
        reprojection(system, x, J, observations, self.focal_px, self.centre_px)
        relative_depth(system, x, J, observations)
        joint_range(system, self.chain, pose.local, G, self.limits)
        joined_hands(system, x, J, observations, self.parts)
        palm_directions(system, x, J, observations, self.parts)
        floor_contact(system, x, J, observations, self.parts)
        balance(system, x, J, observations, self.parts)
        separation(system, x, J, self.parts)
        if matches is not None:
            points = self._surface_points(pose, G, p, matches.surface)
            silhouette_distance(system, points, matches, self.focal_px, self.centre_px)
        if coupled:
            term = acceleration if observations.R_reference_camera is None else steady_acceleration
            term(system, self.chain, pose.local, x, J, G, observations)
        system.assemble()
        return system

    def solve(
        self,
        pose: ChainPose,
        observations: Observations,
        num_steps: int,
        matches: SilhouetteMatches | None = None,
        coupled: bool = True,
    ) -> ChainPose:
        """Up to ``num_steps`` damped Gauss-Newton steps from ``pose``; a step that raises the cost is undone and damped more."""
        damping = INITIAL_DAMPING
        system = self.normal_equations(pose, observations, matches, coupled)
        for _ in range(num_steps):
            trial = self.stepped(pose, _limited(system.solve(damping)))
            after = self.normal_equations(trial, observations, matches, coupled)
            if after.cost < system.cost:
                converged = system.cost - after.cost < MIN_RELATIVE_DECREASE * system.cost
                pose, system, damping = trial, after, max(damping / 3, MIN_DAMPING)
                if converged:
                    break
            else:
                damping *= 8
                if damping > MAX_DAMPING:
                    break
        return pose

    def stepped(self, pose: ChainPose, step: Float[np.ndarray, "t parameters"]) -> ChainPose:
        """``pose`` after a step: root shift in metres, then a rotation vector in camera axes for each joint."""
        G, _ = self.chain.forward(pose.local, pose.translation_m)
        rotvecs = step[:, 3:].reshape(len(step), -1, 3)
        return ChainPose(self.chain.rotated(pose.local, G, rotvecs), pose.translation_m + step[:, :3])

    def solve_with_shape(
        self,
        pose: ChainPose,
        observations: Observations,
        matches: SilhouetteMatches | None,
        offset: Float[np.ndarray, " shapes"],
        sigma: Float[np.ndarray, " shapes"],
        num_steps: int,
    ) -> tuple[ChainPose, Float[np.ndarray, " shapes"]]:
        """Poses of a few uncoupled frames, and the change of the one shape of them all, by the Schur complement.

        The shape enters linearly, so the change should be small and the body rebuilt after it.

        Args:
            pose: To start from.
            observations: Of these frames.
            matches: Of their silhouettes.
            offset: Where the shape is, in units of ``sigma`` from the mean of its prior.
            sigma: Standard deviations of the prior.
            num_steps: Gauss-Newton steps.
        """
        S = len(self.shapes)
        change = np.zeros(S)
        for _ in range(num_steps):
            system = self.normal_equations(pose, observations, matches, coupled=False)
            n = system.g.shape[1] - S
            Hp = system.H[:, :n, :n] + 1e-6 * np.eye(n)
            C, gs = system.H[:, :n, n:], system.g[:, n:].sum(0)
            # The columns of the shape are those of the unchanged body; its change so far is added to first order.
            g_pose = system.g[:, :n] + C @ change
            g_shape = gs + system.H[:, n:, n:].sum(0) @ change + (offset * sigma + change) / sigma**2
            inv = np.linalg.solve(Hp, np.concatenate([C, g_pose[..., None]], -1))
            reduced = system.H[:, n:, n:].sum(0) + np.diag(1 / sigma**2) - np.einsum("tps,tpr->sr", C, inv[..., :S])
            ds = -np.linalg.solve(reduced, g_shape - np.einsum("tps,tp->s", C, inv[..., S]))
            pose = self.stepped(pose, _limited(-(inv[..., S] + inv[..., :S] @ ds)))
            change = change + ds
        return pose, change


def _limited(step: np.ndarray) -> np.ndarray:
    """The step of each frame (T, P), shortened so that no joint rotates by more than ``MAX_STEP_RAD`` about an axis."""
    largest = np.abs(step[:, 3:]).max(axis=1, keepdims=True)
    return step * np.minimum(1.0, MAX_STEP_RAD / np.maximum(largest, 1e-9))


@dataclass(frozen=True)
class ShapeVariant:
    """A body that differs from the problem's by a unit of one shape parameter."""

    chain: KinematicChain
    keypoints: PointSet
    surface: PointSet
