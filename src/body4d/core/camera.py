"""The camera of a clip: its lens, and where it is on each frame."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class CameraPath:
    """Where the camera is on each of a clip's T frames, and its focal length there.

    *Reference axes* are the camera axes of the clip's first frame, where they stay: ``T_reference_camera[0]`` is the identity. Points in
    the camera axes of frame t go to ``T_reference_camera[t] @ x``. Lengths are metres.
    """

    kind: Literal["rotating", "moving", "unplaced"]
    """"rotating": turns and zooms on a tripod, its position fixed; "moving": changes its place too; "unplaced": zooms, and it is not known
    where it is. Bodies then stay in the camera axes of their frame, all transforms are the identity, and the focal lengths alone count."""
    T_reference_camera: Float[np.ndarray, "t 4 4"]
    focal_px: Float[np.ndarray, " t"]
    rotation_sigma_deg: Float[np.ndarray, " t"]
    """Standard deviation of each frame's rotation, about any axis."""
    position_sigma_m: Float[np.ndarray, " t"]
    """Standard deviation of each frame's position along each axis."""
    focal_sigma: Float[np.ndarray, " t"]
    """Standard deviation of each frame's focal length relative to the clip's, as a share of it."""
    source: str = "background"
    """What the path was estimated from."""
    scale_source: str = "none"
    """What gave the path its length: "none" (there is none to give), "bodies", "moge", "bodies_and_moge"."""
    depth_scale: tuple[float, float] | None = None
    """Of a path without a length yet: the metres in its unit as a network's metric depth has them, and their standard deviation as a share
    of them. None where no network was asked or none answered."""

    def __post_init__(self) -> None:
        t = len(self.focal_px)
        if self.T_reference_camera.shape != (t, 4, 4):
            raise ValueError(f"T_reference_camera must be ({t}, 4, 4), found {self.T_reference_camera.shape}")
        for name in ("rotation_sigma_deg", "position_sigma_m", "focal_sigma"):
            if getattr(self, name).shape != (t,):
                raise ValueError(f"{name} must be ({t},), found {getattr(self, name).shape}")
        if not (np.all(np.isfinite(self.focal_px)) and np.all(self.focal_px > 0) and np.all(np.isfinite(self.T_reference_camera))):
            raise ValueError("a camera's path must be finite, with positive focal lengths")

    def __len__(self) -> int:
        return len(self.focal_px)


@dataclass(frozen=True)
class DepthMap:
    """A frame's metric depth (z in camera axes) at pixels on a grid; NaN where there is no surface."""

    frame: int
    x_px: Float[np.ndarray, " columns"]
    y_px: Float[np.ndarray, " rows"]
    z_m: Float[np.ndarray, "rows columns"]


def turn_homography(
    K_a: Float[np.ndarray, "3 3"], R_a: Float[np.ndarray, "3 3"], K_b: Float[np.ndarray, "3 3"], R_b: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "3 3"]:
    """Takes homogeneous pixels of camera a to where camera b, at the same place, sees the same. ``R`` turn camera axes to common ones."""
    return K_b @ R_b.T @ R_a @ np.linalg.inv(K_a)


@dataclass(frozen=True)
class Camera:
    """The pinhole camera of a clip: square pixels, no distortion. Pixels from the top-left corner of the picture.

    Without a ``path`` it is one camera for all frames. With one, ``focal_px`` is that of the first frame; ``at(frame)`` gives others.
    """

    focal_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int
    source: str = "default"
    """Where the focal length comes from: "fov", "focal_mm35", "metadata", "moge", "default"."""
    static: bool = True
    """False where the camera is known to move."""
    focal_spread: float | None = None
    """Standard deviation of single frames' focal lengths as a share of it, where it was estimated from frames."""
    gravity: tuple[float, float, float] | None = None
    """Direction of gravity in the camera's axes, as a unit vector, as far as the picture's own verticals show it; None where not asked."""
    gravity_sigma_deg: tuple[float, float] | None = None
    """Standard deviations of its pitch (about the camera's x axis) and roll (about its z axis)."""
    path: CameraPath | None = None
    """How a moving camera moves, where that is known. ``gravity`` is then in the axes of its first frame."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"focal_px must be positive, found {self.focal_px}")

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsic matrix."""
        return np.array([[self.focal_px, 0, self.cx_px], [0, self.focal_px, self.cy_px], [0, 0, 1]], dtype=np.float64)

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        return float(np.degrees(2 * np.arctan(self.width_px / (2 * self.focal_px))))

    @property
    def has_world(self) -> bool:
        """Whether it is known where the camera is on each frame, so that bodies have one world: it stands still, or has a path."""
        return self.static or self.has_places

    @property
    def has_places(self) -> bool:
        """Whether the camera moves and it is known where it is on each frame."""
        return self.path is not None and self.path.kind != "unplaced"

    def at(self, frame: int) -> "Camera":
        """The camera of one frame, which has no path."""
        if self.path is None:
            return self
        return dataclasses.replace(self, focal_px=float(self.path.focal_px[frame]), path=None)

    def focal_px_at(self, frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Focal lengths on some frames."""
        return np.full(len(frames), self.focal_px) if self.path is None else self.path.focal_px[frames]

    def T_reference_camera_at(self, frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 4 4"]:
        """Camera axes of some frames to those of the first: the identity where there is no path."""
        return np.tile(np.eye(4), (len(frames), 1, 1)) if self.path is None else self.path.T_reference_camera[frames]

    def homography(self, a: int, b: int) -> Float[np.ndarray, "3 3"]:
        """Takes homogeneous pixels of frame ``a`` to where frame ``b`` sees the same: exactly where the camera only turns and zooms, else
        for what is far away beside its change of place."""
        if self.path is None:
            return np.eye(3)
        R_a, R_b = self.path.T_reference_camera[[a, b], :3, :3]
        return turn_homography(self.at(a).K, R_a, self.at(b).K, R_b)

    def project(self, points_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels of points in camera axes. Points at or behind the camera plane come out as NaN."""
        z = points_m[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = points_m[..., :2] / np.where(z > 1e-6, z, np.nan)
        return xy * self.focal_px + np.array([self.cx_px, self.cy_px])

    def project_at(self, points_m: Float[np.ndarray, "n *k 3"], frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n *k 2"]:
        """``project`` of points in the camera axes of their own frame."""
        return self.with_zoom(self.project(points_m), frames)

    def with_zoom(self, pixels: Float[np.ndarray, "n *k 2"], frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n *k 2"]:
        """Where pixels of the first frame's focal length are at that of each frame."""
        return pixels if self.path is None else self._zoomed(pixels, self.path.focal_px[frames] / self.focal_px)

    def without_zoom(self, pixels: Float[np.ndarray, "n *k 2"], frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n *k 2"]:
        """Where pixels of each frame's focal length would be at that of the first: with them the clip has one focal length."""
        return pixels if self.path is None else self._zoomed(pixels, self.focal_px / self.path.focal_px[frames])

    def _zoomed(self, pixels: np.ndarray, factor: np.ndarray) -> np.ndarray:
        centre = np.array([self.cx_px, self.cy_px])
        return (pixels - centre) * factor.reshape(-1, *[1] * (pixels.ndim - 1)) + centre

    def scaled(self, factor: float) -> "Camera":
        """The same camera for pictures resized by ``factor``."""
        return dataclasses.replace(
            self,
            focal_px=self.focal_px * factor,
            cx_px=self.cx_px * factor,
            cy_px=self.cy_px * factor,
            width_px=round(self.width_px * factor),
            height_px=round(self.height_px * factor),
            path=None if self.path is None else dataclasses.replace(self.path, focal_px=self.path.focal_px * factor),
        )
