"""Which point of the body's surface belongs to which point of a mask's outline. Pure functions.

Each sampled point of the outline is matched to the nearest point of the body's silhouette (where the surface turns away from the camera)
that faces the same way in the picture (iterative closest points with normals, as Gavrila & Davis 1996 match contours).
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from body4d.core.rig import Rig
from body4d.models.anny_fit.kinematic_chain import KinematicChain, PointSet
from body4d.models.anny_fit.residuals import MIN_DEPTH_M
from body4d.models.anny_fit.types import ChainPose, SilhouetteMatches

MAX_SILHOUETTE_COSINE = 0.35
"""A surface point is on the silhouette where the cosine between its normal and the ray to it is below this."""
BORDER_MARGIN_PX = 2.0
"""At the picture's border the mask ends and not the person, so points of the outline this close to it are left out."""
MIN_OUTLINE_POINTS = 16
"""A shorter outline is that of a speck."""
OUTLINE_MARGIN_PER_HEIGHT = 0.006
"""How far the outline runs outside the body, as a share of the person's height in the picture: clothes and hair, 1 cm."""
NUM_OUTLINE_POINTS = 96
"""Points of each mask's outline that are matched; more take time and do not improve the fit."""
NUM_SURFACE_POINTS = 1500
"""Points of the body's surface that outline points may be matched to."""
MAX_MATCH_SIGMAS = 5.0
"""Pairs of points farther apart than this many standard deviations, or facing apart, are not matched."""
RIGHT_ANGLE_SIGMAS = 4
"""Normals a right angle apart count as much as places this many standard deviations apart."""


def outline_points(
    mask: Bool[np.ndarray, "h w"], count: int = NUM_OUTLINE_POINTS
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """``count`` or fewer points along the outer outline of ``mask`` and their outward normals, in pixels.

    The outline is that of the largest piece, without holes. Points at the picture's border are left out.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2)), np.zeros((0, 2))
    line = max(contours, key=len)[:, 0].astype(np.float64) + 0.5
    if len(line) < MIN_OUTLINE_POINTS:
        return np.zeros((0, 2)), np.zeros((0, 2))
    sigma = max(1.0, len(line) / 300)
    smooth = gaussian_filter1d(line, sigma, axis=0, mode="wrap")
    tangent = np.roll(smooth, -1, 0) - np.roll(smooth, 1, 0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], -1)
    # The sign of the shoelace area says on which side of the line the outside is.
    area = np.sum(smooth[:, 0] * np.roll(smooth[:, 1], -1) - np.roll(smooth[:, 0], -1) * smooth[:, 1])
    normal *= np.sign(area) / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    index = np.unique(np.linspace(0, len(line) - 1, count).round().astype(int))
    h, w = mask.shape
    inside = np.all((line[index] > BORDER_MARGIN_PX) & (line[index] < np.array([w, h]) - BORDER_MARGIN_PX), -1)
    return smooth[index[inside]], normal[index[inside]]


class SurfaceSample:
    """About ``count`` vertices of a rig's surface on a chain, spread evenly by area."""

    def __init__(self, rig: Rig, chain: KinematicChain, count: int = NUM_SURFACE_POINTS) -> None:
        triangles = rig.rest_vertices_m[rig.faces]
        cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normals, area = np.zeros_like(rig.rest_vertices_m), np.zeros(len(rig.rest_vertices_m))
        for corner in range(3):
            np.add.at(normals, rig.faces[:, corner], cross)
            np.add.at(area, rig.faces[:, corner], np.linalg.norm(cross, axis=-1))
        # Evenly along the running sum of area, so that the same body always gives the same sample.
        share = np.cumsum(area) / area.sum()
        self.vertices = np.unique(np.searchsorted(share, (np.arange(count) + 0.5) / count))
        self.points = chain.surface(rig, self.vertices)
        self.normals = normals[self.vertices] / np.maximum(np.linalg.norm(normals[self.vertices], axis=-1, keepdims=True), 1e-12)

    def posed(
        self, chain: KinematicChain, G: Float[np.ndarray, "t joints 3 3"], p: Float[np.ndarray, "t joints 3"]
    ) -> tuple[Float[np.ndarray, "t n 3"], Float[np.ndarray, "t n 3"]]:
        """Positions and unit normals of the sample."""
        x = chain.points(G, p, self.points)
        rotated = PointSet(np.zeros_like(self.points.weights), self.points.weights[..., None] * self.normals[:, None])
        n = chain.points(G, p, rotated)
        return x, n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)


def match_silhouettes(
    surface: SurfaceSample,
    chain: KinematicChain,
    pose: ChainPose,
    outlines: list[tuple[np.ndarray, np.ndarray]],
    focal_px: float,
    centre_px: Float[np.ndarray, " 2"],
    sigma_px: Float[np.ndarray, " t"],
) -> SilhouetteMatches:
    """Matches between each frame's outline (as ``outline_points``, with standard deviation ``sigma_px``) and the posed body's."""
    G, p = chain.forward(pose.local, pose.translation_m)
    num_points = max([len(points) for points, _ in outlines] + [1])
    T = len(outlines)
    point_index = np.zeros((T, num_points), np.int64)
    target, normal = np.zeros((T, num_points, 2)), np.zeros((T, num_points, 2))
    sigma = np.full((T, num_points), np.inf)
    x, n = surface.posed(chain, G, p)
    ray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
    on_silhouette = (np.abs(np.sum(ray * n, -1)) < MAX_SILHOUETTE_COSINE) & (x[..., 2] > MIN_DEPTH_M)
    u = focal_px * x[..., :2] / np.maximum(x[..., 2:], MIN_DEPTH_M) + centre_px
    facing = n[..., :2] / np.maximum(np.linalg.norm(n[..., :2], axis=-1, keepdims=True), 1e-9)
    for t, (points, normals) in enumerate(outlines):
        candidates = np.flatnonzero(on_silhouette[t])
        if len(points) == 0 or len(candidates) == 0:
            continue
        # The distance between two unit normals a right angle apart is sqrt(2).
        normal_px = RIGHT_ANGLE_SIGMAS * sigma_px[t] / np.sqrt(2)
        tree = KDTree(np.concatenate([u[t, candidates], normal_px * facing[t, candidates]], -1))
        distance, nearest = tree.query(np.concatenate([points, normal_px * normals], -1))
        k = len(points)
        point_index[t, :k], target[t, :k], normal[t, :k] = candidates[nearest], points, normals
        sigma[t, :k] = np.where(distance < MAX_MATCH_SIGMAS * sigma_px[t], sigma_px[t], np.inf)
    return SilhouetteMatches(surface.points, point_index, target, normal, sigma)
