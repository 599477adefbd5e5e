"""Bundle adjustment (Triggs et al. 2000, "Bundle adjustment: a modern synthesis"): the cameras of some frames and the points they see, from
where each was seen. Levenberg-Marquardt; points are eliminated by the Schur complement; a robust loss for what moves by itself.

A point is homogeneous, ``(d, rho)`` of unit length: the direction ``d`` from the reference camera and the inverse distance ``rho`` along it
(Civera et al. 2008). Nothing special happens to points far away. With ``rho`` held at 0, and cameras at the origin, it is the adjustment of
a panorama (Brown & Lowe 2007).

A lens may have radial distortion: where points were seen is undistorted by one number for all cameras before it is compared.

Reference axes are the camera axes of the first camera. ``R`` turns a camera's axes into them, ``position`` is the camera's centre there.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

MIN_DEPTH = 1e-3
"""Of a unit homogeneous point; a point nearer to the camera's plane, or behind it, does not count."""
CAUCHY_SCALE = 2.385
"""Residual, in standard deviations, from which an observation counts less: 95 % efficient where errors are normal."""
MIN_NOISE_PX = 0.03
"""CornerObservations are never taken to be better, in pixels of the clip over a thousand of its longer side."""
SIGMA_PER_MEDIAN = 1.0 / 1.1774
"""Standard deviation per axis in a median length of two-dimensional normal errors."""
MAX_ROUNDS, MAX_STEPS = 4, 12
CONVERGED_SHARE = 1e-4
"""A step that lowers the cost by a smaller share is the last one of its round."""


@dataclass(frozen=True)
class Cameras:
    """K cameras with one lens. Positions are in units of the path. ``distortion``: see ``undistorted``; 0 is a pinhole's."""

    R: Float[np.ndarray, "k 3 3"]
    position: Float[np.ndarray, "k 3"]
    log_focal: Float[np.ndarray, " k"]
    distortion: float = 0.0

    def __len__(self) -> int:
        return len(self.log_focal)


@dataclass(frozen=True)
class CornerObservations:
    """M observations: which camera saw which point where, in pixels from the principal point; ``corner_px`` is how far off that the
    picture's corner is."""

    camera: Int[np.ndarray, " m"]
    point: Int[np.ndarray, " m"]
    xy_px: Float[np.ndarray, "m 2"]
    corner_px: float = 1.0


@dataclass(frozen=True)
class Freedom:
    """What an adjustment may change. The first camera's rotation and position never change.

    Attributes:
        moving: Cameras have positions and points distances; else cameras turn on the spot.
        focal: "fixed", one for all cameras ("shared"), or one for each ("each").
        given_log_focal: The first camera's focal length as it was given, and ``focal_sigma`` its standard deviation as a share of it.
        held: Cameras whose rotation and position stay, where it is not the first one alone.
        distortion_sigma: Standard deviation of the lens's distortion, about none; 0 where it stays as it is.
    """

    moving: bool = False
    focal: str = "shared"
    given_log_focal: float = 0.0
    focal_sigma: float = 0.3
    held: Bool[np.ndarray, " k"] | None = None
    distortion_sigma: float = 0.0


@dataclass(frozen=True)
class Adjusted:
    """Cameras and points after an adjustment.

    Attributes:
        noise_px: Robust standard deviation of the residuals per axis.
        weight: What each observation counts, 1 for one that fits.
        residual_px: Length of each observation's residual.
        covariance: Of each camera's rotation (radians, its own axes), position and log focal length, about those of the first.
        focal_sigma: Standard deviation of the first camera's focal length as a share of it.
    """

    cameras: Cameras
    points: Float[np.ndarray, "n 4"]
    noise_px: float
    weight: Float[np.ndarray, " m"]
    residual_px: Float[np.ndarray, " m"]
    covariance: Float[np.ndarray, "k 7 7"] | None = None
    focal_sigma: float = 0.0


def project(cameras: Cameras, points: Float[np.ndarray, "n 4"], seen: CornerObservations) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (M, 2) from the principal point, and points (M, 3) in the axes of the camera that sees them."""
    R, position = cameras.R[seen.camera], cameras.position[seen.camera]
    point = points[seen.point]
    y = np.einsum("mji,mj->mi", R, point[:, :3] - point[:, 3:] * position)
    z = np.maximum(y[:, 2:], MIN_DEPTH)
    return np.exp(cameras.log_focal[seen.camera])[:, None] * y[:, :2] / z, y


def undistorted(xy_px: Float[np.ndarray, "n 2"], distortion: float, corner_px: float) -> Float[np.ndarray, "n 2"]:
    """Where a lens without distortion would have shown what was seen at ``xy_px`` (from the principal point): by the share ``distortion``
    farther out at the picture's corner, ``corner_px`` away, and elsewhere by a share that grows with the square of the distance."""
    if distortion == 0:
        return xy_px
    return xy_px * (1 + distortion * (xy_px**2).sum(-1, keepdims=True) / corner_px**2)


def bearings(xy_px: Float[np.ndarray, "n 2"], focal_px: np.ndarray | float) -> Float[np.ndarray, "*s n 3"]:
    """Unit directions, in camera axes, of pixels from the principal point. Focal lengths are one, or (S, N, 1) for S sets of directions."""
    xy = xy_px / focal_px
    out = np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], axis=-1)
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


def adjust(
    cameras: Cameras,
    points: Float[np.ndarray, "n 4"],
    seen: CornerObservations,
    freedom: Freedom,
    min_noise_px: float,
    rounds: int = MAX_ROUNDS,
    steps: int = MAX_STEPS,
) -> Adjusted:
    """Cameras and points that explain the observations best. The noise is estimated along, once a round of at most so many steps."""
    problem = _Problem(cameras, seen, freedom, len(points))
    for _ in range(rounds):
        residual_px = _lengths(cameras, points, seen)
        noise_px = max(min_noise_px, SIGMA_PER_MEDIAN * float(np.median(residual_px)))
        cameras, points = problem.descend(cameras, points, noise_px, steps)
    residual_px = _lengths(cameras, points, seen)
    noise_px = max(min_noise_px, SIGMA_PER_MEDIAN * float(np.median(residual_px)))
    return Adjusted(cameras, points, noise_px, 1 / (1 + (residual_px / (CAUCHY_SCALE * noise_px)) ** 2), residual_px)


def with_covariance(adjusted: Adjusted, seen: CornerObservations, freedom: Freedom) -> Adjusted:
    """The adjustment with its uncertainty: the inverse of the reduced normal equations."""
    problem = _Problem(adjusted.cameras, seen, freedom, len(adjusted.points))
    covariance, focal_sigma = problem.covariance(adjusted.cameras, adjusted.points, adjusted.noise_px)
    return replace(adjusted, covariance=covariance, focal_sigma=focal_sigma)


@dataclass(frozen=True)
class DistortionDoubt:
    """What a lens with distortion would change in an adjustment that knows of none, to first order.

    Attributes:
        distortion: The likely one.
        gain: By how much it lowers the squared residuals of an observation, in variances.
        focal_sigma: Standard deviation of the first camera's focal length, as a share of it, that allows for the change.
    """

    distortion: float
    gain: float
    focal_sigma: float


def doubt_distortion(adjusted: Adjusted, seen: CornerObservations, freedom: Freedom, distortion_sigma: float) -> DistortionDoubt:
    """What a distortion of that standard deviation would change."""
    problem = _Problem(adjusted.cameras, seen, replace(freedom, distortion_sigma=distortion_sigma), len(adjusted.points))
    distortion, variance, shift, focal_variance = problem.distortion_step(adjusted.cameras, adjusted.points, adjusted.noise_px)
    gain = distortion**2 / variance / len(seen.camera)
    return DistortionDoubt(distortion, gain, float(np.sqrt(focal_variance + shift**2)))


def _lengths(cameras: Cameras, points: np.ndarray, seen: CornerObservations) -> np.ndarray:
    xy, y = project(cameras, points, seen)
    return np.where(y[:, 2] > MIN_DEPTH, np.linalg.norm(xy - undistorted(seen.xy_px, cameras.distortion, seen.corner_px), axis=1), 1e6)


def tangents(points: Float[np.ndarray, "n 4"], moving: bool) -> Float[np.ndarray, "n 4 d"]:
    """Bases of the directions in which unit points can change: 3 on the sphere of homogeneous points, 2 where ``rho`` stays 0."""
    size = 4 if moving else 3
    x = points[:, :size]
    # The Householder reflection that takes x to an axis of the frame; its other columns are at right angles to x.
    sign = np.where(x[:, -1:] >= 0, 1.0, -1.0)
    v = x.copy()
    v[:, -1:] += sign
    H = np.eye(size) - 2 * v[:, :, None] * v[:, None] / (v * v).sum(1)[:, None, None]
    out = np.zeros((len(points), 4, size - 1))
    out[:, :size] = H[:, :, :-1]
    return out


def jacobians(
    cameras: Cameras, points: np.ndarray, seen: CornerObservations, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (M, 2), points in camera axes (M, 3), and derivatives of the pixels by the camera (M, 2, 7: rotation, position, log focal
    length) and by the point (M, 2, d)."""
    xy, y = project(cameras, points, seen)
    z = np.maximum(y[:, 2], MIN_DEPTH)
    focal = np.exp(cameras.log_focal[seen.camera])
    by_y = np.zeros((len(xy), 2, 3))
    by_y[:, 0, 0] = by_y[:, 1, 1] = focal / z
    by_y[:, :, 2] = -xy / z[:, None]
    to_camera = by_y @ cameras.R[seen.camera].swapaxes(1, 2)
    by_camera = np.empty((len(xy), 2, 7))
    by_camera[:, :, :3] = np.cross(by_y, y[:, None])  # by_y @ [y]x, the change of y where the camera turns about its own axes
    by_camera[:, :, 3:6] = -points[seen.point, 3][:, None, None] * to_camera
    by_camera[:, :, 6] = xy
    by_homogeneous = np.concatenate([to_camera, -(to_camera @ cameras.position[seen.camera][:, :, None])], axis=2)
    return xy, y, by_camera, by_homogeneous @ basis[seen.point]


class _Problem:
    """The columns of one adjustment, and its steps."""

    def __init__(self, cameras: Cameras, seen: CornerObservations, freedom: Freedom, num_points: int) -> None:
        self._seen, self._freedom = seen, freedom
        self._dims = 3 if freedom.moving else 2
        k = len(cameras)
        self.column = np.full((k, 7), -1)
        free = np.zeros((k, 7), bool)
        free[:, : 6 if freedom.moving else 3] = (np.arange(k) > 0)[:, None] if freedom.held is None else ~freedom.held[:, None]
        free[:, 6] = freedom.focal == "each"
        self.column[free] = np.arange(free.sum())
        self.num_columns = int(free.sum())
        if freedom.focal == "shared":
            self.column[:, 6] = self.num_columns
            self.num_columns += 1
        self._distorts = freedom.distortion_sigma > 0
        self.num_columns += self._distorts  # the last one
        m = len(seen.camera)
        used = self.column[seen.camera]
        self._kept = used >= 0
        rows = np.broadcast_to(np.arange(2 * m).reshape(m, 2, 1), (m, 2, 7))
        columns = np.broadcast_to(used[:, None], (m, 2, 7))
        mask = np.broadcast_to(self._kept[:, None], (m, 2, 7))
        self._camera_mask, self._camera_at = mask, (rows[mask], columns[mask])
        d = self._dims
        self._point_at = (
            np.broadcast_to(np.arange(2 * m).reshape(m, 2, 1), (m, 2, d)).ravel(),
            np.broadcast_to((d * seen.point[:, None] + np.arange(d))[:, None], (m, 2, d)).ravel(),
        )
        self._num_points = num_points

    def descend(self, cameras: Cameras, points: np.ndarray, noise_px: float, steps: int) -> tuple[Cameras, np.ndarray]:
        """Levenberg-Marquardt at a given noise."""
        damping, cost = 1e-4, self._cost(cameras, points, noise_px)
        for _ in range(steps):
            system = self._normal_equations(cameras, points, noise_px)
            for _ in range(6):
                stepped = self._stepped(cameras, points, system, damping)
                new_cost = self._cost(*stepped, noise_px)
                if new_cost < cost:
                    break
                damping *= 10
            else:
                return cameras, points
            gain, cost = (cost - new_cost) / max(cost, 1e-12), new_cost
            (cameras, points), damping = stepped, max(damping / 10, 1e-9)
            if gain < CONVERGED_SHARE:
                break
        return cameras, points

    def covariance(self, cameras: Cameras, points: np.ndarray, noise_px: float) -> tuple[np.ndarray, float]:
        """Of each camera's seven parameters (K, 7, 7), focal lengths about the first one's, and the first one's own deviation."""
        C, _ = self._reduced(cameras, points, noise_px)
        out = np.zeros((len(cameras), 7, 7))
        for k, column in enumerate(self.column):
            free = np.flatnonzero(column >= 0)
            out[k][np.ix_(free, free)] = C[np.ix_(column[free], column[free])]
        f = self.column[:, 6]
        if self._freedom.focal == "fixed":
            return out, 0.0
        var = np.diag(C)[f]
        out[:, 6, 6] = var + var[0] - 2 * C[f, f[0]]
        return out, float(np.sqrt(var[0]))

    def distortion_step(self, cameras: Cameras, points: np.ndarray, noise_px: float) -> tuple[float, float, float, float]:
        """What a step of everything at once would make of the distortion, its variance, and how the first camera's log focal length would
        change with it, and its variance."""
        C, gradient = self._reduced(cameras, points, noise_px)
        step = C @ gradient
        if self._freedom.focal == "fixed":
            return float(step[-1]), float(C[-1, -1]), 0.0, 0.0
        f = self.column[0, 6]
        # Not the focal length's own step, which a search that ended early left: only what comes with the distortion.
        return float(step[-1]), float(C[-1, -1]), float(C[f, -1] / C[-1, -1] * step[-1]), float(C[f, f])

    def _reduced(self, cameras: Cameras, points: np.ndarray, noise_px: float) -> tuple[np.ndarray, np.ndarray]:
        """The covariance of the columns, and their gradient, with the points eliminated."""
        H_cc, W, V, g_c, g_p, _ = self._normal_equations(cameras, points, noise_px)
        V_inverse = self._inverse(V, 0.0)
        S = (H_cc - W @ V_inverse @ W.T).toarray()
        if self._freedom.moving:
            # The path has no length of its own: it is held, as nothing else can say it.
            column = self.column[:, 3:6]
            length = np.zeros(self.num_columns)
            length[column[column >= 0]] = cameras.position[column >= 0]
            S += np.outer(length, length) / max(float(length @ length), 1e-12) * np.trace(S) / len(S)
        S += 1e-13 * np.trace(S) / len(S) * np.eye(len(S))
        return np.linalg.inv(S), g_c - W @ V_inverse @ g_p

    def _cost(self, cameras: Cameras, points: np.ndarray, noise_px: float) -> float:
        scale = CAUCHY_SCALE * noise_px
        loss = CAUCHY_SCALE**2 * np.log1p((_lengths(cameras, points, self._seen) / scale) ** 2).sum()
        distortion = (cameras.distortion / self._freedom.distortion_sigma) ** 2 if self._distorts else 0.0
        return float(loss + (self._focal_residual(cameras) / self._freedom.focal_sigma) ** 2 + distortion)

    def _focal_residual(self, cameras: Cameras) -> float:
        return 0.0 if self._freedom.focal == "fixed" else float(cameras.log_focal[0]) - self._freedom.given_log_focal

    def _normal_equations(self, cameras: Cameras, points: np.ndarray, noise_px: float) -> tuple:
        seen, n, d = self._seen, self._num_points, self._dims
        basis = tangents(points, self._freedom.moving)
        xy, y, by_camera, by_point = jacobians(cameras, points, seen, basis)
        residual = undistorted(seen.xy_px, cameras.distortion, seen.corner_px) - xy
        weight = 1 / (1 + (np.linalg.norm(residual, axis=1) / (CAUCHY_SCALE * noise_px)) ** 2)
        weight = np.where(y[:, 2] > MIN_DEPTH, np.sqrt(weight) / noise_px, 0.0)[:, None]
        residual = (weight * residual).ravel()
        by_camera, by_point = weight[..., None] * by_camera, weight[..., None] * by_point
        m = len(seen.camera)
        J_c = sparse.csr_matrix((by_camera[self._camera_mask], self._camera_at), shape=(2 * m, self.num_columns))
        if self._distorts:
            # What is seen moves, and not what is expected: hence the sign.
            by_distortion = -weight * seen.xy_px * (seen.xy_px**2).sum(1, keepdims=True) / seen.corner_px**2
            J_c = sparse.hstack([J_c[:, :-1], by_distortion.reshape(-1, 1)], format="csr")
        J_p = sparse.csr_matrix((by_point.ravel(), self._point_at), shape=(2 * m, d * n))
        V = np.zeros((n, d, d))
        np.add.at(V, seen.point, by_point.swapaxes(1, 2) @ by_point)
        H_cc, g_c, g_p = (J_c.T @ J_c).tolil(), J_c.T @ residual, J_p.T @ residual
        if self._freedom.focal != "fixed":
            f = self.column[0, 6]
            H_cc[f, f] += self._freedom.focal_sigma**-2
            g_c[f] -= self._focal_residual(cameras) * self._freedom.focal_sigma**-2
        if self._distorts:
            H_cc[-1, -1] += self._freedom.distortion_sigma**-2
            g_c[-1] -= cameras.distortion * self._freedom.distortion_sigma**-2
        return H_cc.tocsr(), (J_c.T @ J_p).tocsr(), V, g_c, g_p, basis

    def _inverse(self, V: np.ndarray, damping: float) -> sparse.csr_matrix:
        """The points' blocks (N, d, d) of the normal equations, inverted."""
        n, d = self._num_points, self._dims
        diagonal = damping * np.einsum("nii->ni", V) + 1e-9 + 1e-12 * np.trace(V, axis1=1, axis2=2)[:, None] / d
        inverse = np.linalg.inv(V + diagonal[:, :, None] * np.eye(d))
        return sparse.bsr_matrix((inverse, np.arange(n), np.arange(n + 1)), shape=(d * n, d * n)).tocsr()  # pyright: ignore[reportReturnType]

    def _stepped(self, cameras: Cameras, points: np.ndarray, system: tuple, damping: float) -> tuple[Cameras, np.ndarray]:
        H_cc, W, V, g_c, g_p, basis = system
        V_inverse = self._inverse(V, damping)
        WV = W @ V_inverse
        S = (H_cc - WV @ W.T + sparse.diags(damping * H_cc.diagonal() + 1e-9)).tocsc()
        step_c = splu(S, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(g_c - WV @ g_p)
        step_p = (V_inverse @ (g_p - W.T @ step_c)).reshape(self._num_points, self._dims)
        change = np.append(step_c, 0.0)[self.column]
        R = cameras.R @ Rotation.from_rotvec(change[:, :3]).as_matrix()
        # A step of the points beyond a turn by a radian says nothing but their direction.
        step_p /= np.maximum(1, np.linalg.norm(step_p, axis=1, keepdims=True))
        moved = points + np.einsum("nij,nj->ni", basis, step_p)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        distortion = cameras.distortion + (float(step_c[-1]) if self._distorts else 0.0)
        return Cameras(R, cameras.position + change[:, 3:6], cameras.log_focal + change[:, 6], distortion), moved


def resect(
    camera: Cameras,
    points: Float[np.ndarray, "n 4"],
    xy_px: Float[np.ndarray, "n 2"],
    free: Bool[np.ndarray, " 7"],
    noise_px: float,
    num_steps: int = 8,
) -> tuple[Cameras, Float[np.ndarray, "7 7"]]:
    """One camera that sees known points where they were seen, from one that is near it; and the covariance of its parameters."""
    seen = CornerObservations(np.zeros(len(points), int), np.arange(len(points)), xy_px)
    basis, covariance = np.zeros((len(points), 4, 1)), np.zeros((7, 7))
    scale = CAUCHY_SCALE * noise_px
    for step in range(num_steps):
        xy, y, by_camera, _ = jacobians(camera, points, seen, basis)
        residual = xy_px - xy
        length = np.linalg.norm(residual, axis=1)
        # From afar first: a start that is off by more than the noise must not make outliers of all.
        wide = max(scale, CAUCHY_SCALE * SIGMA_PER_MEDIAN * float(np.median(length)))
        weight = np.where(y[:, 2] > MIN_DEPTH, 1 / (1 + (length / wide) ** 2), 0.0) / noise_px**2
        J = by_camera[:, :, free]
        A = np.einsum("mij,m,mik->jk", J, weight, J)
        A += np.diag(1e-6 * np.diag(A) + 1e-12)
        change = np.zeros(7)
        change[free] = np.linalg.solve(A, np.einsum("mij,m,mi->j", J, weight, residual))
        camera = Cameras(
            camera.R @ Rotation.from_rotvec(change[None, :3]).as_matrix(), camera.position + change[3:6], camera.log_focal + change[6]
        )
        if step > 1 and np.abs(J @ change[free]).max() < 0.02 * noise_px:
            break
    covariance[np.ix_(free, free)] = np.linalg.inv(A)  # pyright: ignore[reportPossiblyUnboundVariable]
    return camera, covariance
