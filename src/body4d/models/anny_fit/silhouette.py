"""Which point of the body's surface belongs to which point of a mask's outline. Pure numpy and scipy; masks in, correspondences out.

For each sampled point of the outline: the nearest rim point of the body (where the surface turns away from the camera) that faces
the same way in the picture (iterative closest points with normals, as Gavrila & Davis 1996 match contours).
"""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from body4d.core.rig import Rig
from body4d.models.anny_fit.kinematic_chain import Chain, PointSet
from body4d.models.anny_fit.types import Anchors, Pose

_RIM_COSINE = 0.35
"""A surface point is on the rim where its normal and the ray to it are this near to a right angle (cosine)."""


def outline_points(mask: np.ndarray, count: int, margin_px: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` or fewer points (N, 2) along the outer outline of ``mask`` and their outward normals (N, 2), in pixels.

    Points at the picture's border are left out: there the mask ends, not the person. Holes and crumbs are left out too.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2)), np.zeros((0, 2))
    line = max(contours, key=len)[:, 0].astype(np.float64) + 0.5
    if len(line) < 16:
        return np.zeros((0, 2)), np.zeros((0, 2))
    sigma = max(1.0, len(line) / 300)
    smooth = gaussian_filter1d(line, sigma, axis=0, mode="wrap")
    tangent = np.roll(smooth, -1, 0) - np.roll(smooth, 1, 0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], -1)
    # Shoelace area tells the turning sense, and so which side is outside.
    area = np.sum(smooth[:, 0] * np.roll(smooth[:, 1], -1) - np.roll(smooth[:, 0], -1) * smooth[:, 1])
    normal *= np.sign(area) / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    pick = np.unique(np.linspace(0, len(line) - 1, count).round().astype(int))
    h, w = mask.shape
    inside = np.all((line[pick] > margin_px) & (line[pick] < np.array([w, h]) - margin_px), -1)
    return smooth[pick[inside]], normal[pick[inside]]


class Surface:
    """A sample of a rig's surface on a chain: positions and normals of about ``count`` vertices, spread by area."""

    def __init__(self, rig: Rig, chain: Chain, count: int) -> None:
        triangles = rig.rest_vertices_m[rig.faces]
        cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normals, area = np.zeros_like(rig.rest_vertices_m), np.zeros(len(rig.rest_vertices_m))
        for corner in range(3):
            np.add.at(normals, rig.faces[:, corner], cross)
            np.add.at(area, rig.faces[:, corner], np.linalg.norm(cross, axis=-1))
        # Evenly along the running sum of area: the same body always gives the same sample.
        share = np.cumsum(area) / area.sum()
        self.vertices = np.unique(np.searchsorted(share, (np.arange(count) + 0.5) / count))
        self.points = chain.surface(rig, self.vertices)
        self.normals = normals[self.vertices] / np.maximum(np.linalg.norm(normals[self.vertices], axis=-1, keepdims=True), 1e-12)

    def posed(self, chain: Chain, G: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and unit normals (T, N, 3) of the sample."""
        x = chain.points(G, p, self.points)
        turned = PointSet(np.zeros_like(self.points.weights), self.points.weights[..., None] * self.normals[:, None])
        n = chain.points(G, p, turned)
        return x, n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)


def match_outline(
    surface: Surface,
    chain: Chain,
    pose: Pose,
    outlines: list[tuple[np.ndarray, np.ndarray]],
    focal_px: float,
    centre_px: np.ndarray,
    sigma_px: np.ndarray,
    reach: float = 5.0,
) -> Anchors:
    """Correspondences between each frame's outline (points and normals, as :func:`outline_points`) and the posed body's rim.

    ``sigma_px`` (T,) standard deviation of the outline; pairs farther apart than ``reach`` of them, or facing apart, are left out.
    """
    G, p = chain.forward(pose.local, pose.translation_m)
    most = max([len(points) for points, _ in outlines] + [1])
    T = len(outlines)
    point = np.zeros((T, most), np.int64)
    target, normal = np.zeros((T, most, 2)), np.zeros((T, most, 2))
    sigma = np.full((T, most), np.inf)
    x, n = surface.posed(chain, G, p)
    ray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
    rim = (np.abs(np.sum(ray * n, -1)) < _RIM_COSINE) & (x[..., 2] > 0.1)
    u = focal_px * x[..., :2] / np.maximum(x[..., 2:], 0.1) + centre_px
    facing = n[..., :2] / np.maximum(np.linalg.norm(n[..., :2], axis=-1, keepdims=True), 1e-9)
    for t, (points, normals) in enumerate(outlines):
        on = np.flatnonzero(rim[t])
        if len(points) == 0 or len(on) == 0:
            continue
        # Facing counts as place: a right angle apart is as bad as four standard deviations apart.
        turn = 4 * sigma_px[t] / np.sqrt(2)
        tree = KDTree(np.concatenate([u[t, on], turn * facing[t, on]], -1))
        distance, nearest = tree.query(np.concatenate([points, turn * normals], -1))
        k = len(points)
        point[t, :k], target[t, :k], normal[t, :k] = on[nearest], points, normals
        sigma[t, :k] = np.where(distance < reach * sigma_px[t], sigma_px[t], np.inf)
    return Anchors(surface.points, point, target, normal, sigma)
