"""Poses of one body over a clip from what pictures tell: Gauss-Newton on the rotation group, all frames at once. Pure numpy.

Every term is a residual in units of its own standard deviation, so their weights need no tuning against each other: this is
maximum a posteriori estimation (Bogo et al., "Keep it SMPL", ECCV 2016, sec. 3, with analytic derivatives instead of autodiff).
Frames are coupled by how little joints accelerate; the normal equations are then block-banded and solved in time linear in length.
"""

from dataclasses import dataclass

import numpy as np

from body4d.config import FitSettings
from body4d.models.anny_fit.equations import NormalEquations
from body4d.models.anny_fit.joint_limits import Ranges
from body4d.models.anny_fit.kinematic_chain import Chain, PointSet
from body4d.models.anny_fit.residuals import (
    apart,
    held_together,
    limits,
    on_the_floor,
    outline,
    relative_depth,
    reprojection,
    smooth_motion,
)
from body4d.models.anny_fit.types import Anchors, Evidence, Parts, Pose


@dataclass(frozen=True)
class PoseProblem:
    """One person's chain, keypoints, ranges and camera: what stays while poses are sought.

    ``shapes``: bodies that differ from this one by a unit of each shape parameter (chain, keypoints, surface), for
    :meth:`solve_with_shape`; empty while the shape stays.
    """

    chain: Chain
    keypoints: PointSet
    ranges: Ranges
    focal_px: float
    centre_px: np.ndarray
    parts: Parts
    settings: FitSettings
    shapes: tuple["ShapeVariant", ...] = ()

    def with_shape_slopes(
        self, x: np.ndarray, J: np.ndarray, pose: Pose, surface: np.ndarray | None = None, t: slice = slice(None)
    ) -> np.ndarray:
        """``J`` with a column for each of ``shapes``: how points ``x`` move per unit of the parameter, poses kept."""
        columns = []
        for variant in self.shapes:
            G2, p2 = variant.chain.forward(pose.local[t], pose.translation_m[t])
            points = variant.keypoints if surface is None else variant.surface.pick(surface)
            columns.append(variant.chain.points(G2, p2, points) - x)
        return np.concatenate([J, np.stack(columns, -1)], -1) if columns else J

    def system(self, pose: Pose, seen: Evidence, drawn: Anchors | None, coupled: bool) -> NormalEquations:
        """Normal equations at ``pose``."""
        G, p = self.chain.forward(pose.local, pose.translation_m)
        x, J = self.chain.points_and_jacobian(G, p, self.keypoints)
        J = self.with_shape_slopes(x, J, pose)
        system = NormalEquations.empty(len(x), J.shape[-1])
        outlier = self.settings.outlier_sigmas
        reprojection(system, x, J, seen, self.focal_px, self.centre_px, outlier)
        relative_depth(system, x, J, seen, self.parts, outlier)
        limits(system, self.chain, pose.local, G, self.ranges, np.radians(self.settings.wall_deg))
        held_together(system, x, J, seen, self.parts, self.settings)
        on_the_floor(system, x, J, seen, self.parts, self.settings)
        apart(system, x, J, self.parts, self.settings)
        if drawn is not None:
            surface = drawn.surface

            def moved(t: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                at = slice(t, t + 1)
                x, J = self.chain.points_and_jacobian(G[at], p[at], surface.pick(which))
                return x[0], self.with_shape_slopes(x, J, pose, which, at)[0]

            outline(system, moved, drawn, self.focal_px, self.centre_px, outlier)
        if coupled:
            smooth_motion(system, self.chain, pose.local, x, J, G, seen, np.radians(self.settings.turn_acceleration_deg))
        return system

    def solve(self, pose: Pose, seen: Evidence, iterations: int, drawn: Anchors | None = None, coupled: bool = True) -> Pose:
        """``iterations`` damped Gauss-Newton steps from ``pose``; a step that raises the cost is taken back and damped more."""
        damping = 1e-3
        system = self.system(pose, seen, drawn, coupled)
        for _ in range(iterations):
            step = system.solve(damping)
            # A turn beyond half a radian leaves the linearisation's reach.
            largest = np.abs(step[:, 3:]).max(axis=1, keepdims=True)
            step = step * np.minimum(1.0, 0.5 / np.maximum(largest, 1e-9))
            trial = self.moved(pose, step)
            after = self.system(trial, seen, drawn, coupled)
            if after.cost < system.cost:
                done = system.cost - after.cost < 1e-4 * system.cost
                pose, system, damping = trial, after, max(damping / 3, 1e-5)
                if done:
                    break
            else:
                damping *= 8
                if damping > 1e4:
                    break
        return pose

    def moved(self, pose: Pose, step: np.ndarray) -> Pose:
        """``pose`` after a step (T, 3 + 3 D): root shift in metres, then joint turns in camera axes."""
        G, _ = self.chain.forward(pose.local, pose.translation_m)
        turns = step[:, 3:].reshape(len(step), -1, 3)
        return Pose(self.chain.turned(pose.local, G, turns), pose.translation_m + step[:, :3])

    def solve_with_shape(
        self, pose: Pose, seen: Evidence, drawn: Anchors | None, offset: np.ndarray, sigma: np.ndarray, iterations: int
    ) -> tuple[Pose, np.ndarray]:
        """Poses of a few frames and one shape for them all: steps of the poses and of the shape, the latter by Schur complement.

        ``offset`` (S,) where the shape stands, in units of its prior's ``sigma`` (S,) from the prior's mean. Returns the poses and the
        shape's change (S,). Frames are not coupled. The shape enters linearly, so keep the change small and rebuild the body after.
        """
        S = len(self.shapes)
        change = np.zeros(S)
        for _ in range(iterations):
            system = self.system(pose, seen, drawn, coupled=False)
            n = system.g.shape[1] - S
            Hp = system.H[:, :n, :n] + 1e-6 * np.eye(n)
            C, gs = system.H[:, :n, n:], system.g[:, n:].sum(0)
            # The system's shape columns are taken at the unchanged body; what the shape has moved since is added to first order.
            g_pose = system.g[:, :n] + C @ change
            g_shape = gs + system.H[:, n:, n:].sum(0) @ change + (offset * sigma + change) / sigma**2
            inv = np.linalg.solve(Hp, np.concatenate([C, g_pose[..., None]], -1))
            reduced = system.H[:, n:, n:].sum(0) + np.diag(1 / sigma**2) - np.einsum("tps,tpr->sr", C, inv[..., :S])
            ds = -np.linalg.solve(reduced, g_shape - np.einsum("tps,tp->s", C, inv[..., S]))
            step = -(inv[..., S] + inv[..., :S] @ ds)
            largest = np.abs(step[:, 3:]).max(axis=1, keepdims=True)
            pose = self.moved(pose, step * np.minimum(1.0, 0.5 / np.maximum(largest, 1e-9)))
            change = change + ds
        return pose, change


@dataclass(frozen=True)
class ShapeVariant:
    """A body that differs from the problem's by a unit of one shape parameter."""

    chain: Chain
    keypoints: PointSet
    surface: PointSet
