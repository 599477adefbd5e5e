"""The nouns: what crosses from one stage to the next. Frozen, shape-checked at birth, free of torch.

Axes, units and orders are told once in docs/conventions.md.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from body4d.core.errors import RunWarning
from body4d.core.joints import JOINT_SETS, joint_names

if TYPE_CHECKING:
    from body4d.core.rig import Rig


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...], kind: str = "") -> None:
    """Raise ValueError unless ``array`` has ``shape`` (None: any length) and, where given, a dtype kind among ``kind``."""
    if array.ndim != len(shape) or any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), found {array.shape}")
    if kind and array.dtype.kind not in kind:
        raise ValueError(f"{name} must have a dtype of kind {kind!r}, found {array.dtype}")


def _check_frame_index(name: str, frame_index: np.ndarray) -> None:
    _check(name, frame_index, (None,), "iu")
    if len(frame_index) and (frame_index[0] < 0 or np.any(np.diff(frame_index) <= 0)):
        raise ValueError(f"{name} must rise from 0 on without repeats")


def _coco_mask() -> Any:
    """pycocotools' mask module, whose annotations are narrower than what it takes; loaded when the first mask is."""
    from pycocotools import mask

    return mask


@dataclass(frozen=True)
class Clip:
    """The frames of one video that a run looks at, in order and with their exact times.

    ``times_s`` (N,) seconds from the first looked-at frame, by presentation time stamps. ``source_frames`` (N,) which frame of the
    file each is, counted from 0 in presentation order. ``width_px`` and ``height_px`` are upright and after ``--max-side``.
    ``rate`` is the file's average playback rate in frames/s; ``capture_rate`` the rate it was filmed at where the container
    tells it (slow motion), else equal to ``rate``. ``focal_mm35`` is the 35 mm equivalent focal length from the file's
    metadata, or None.
    """

    path: Path
    width_px: int
    height_px: int
    rate: Fraction
    times_s: np.ndarray
    source_frames: np.ndarray
    capture_rate: Fraction | None = None
    rotation_deg: int = 0
    has_audio: bool = False
    focal_mm35: float | None = None
    variable_rate: bool = False

    def __post_init__(self) -> None:
        _check("times_s", self.times_s, (None,), "f")
        _check("source_frames", self.source_frames, (len(self.times_s),), "iu")
        if self.width_px <= 0 or self.height_px <= 0:
            raise ValueError(f"a clip needs a positive size, found {self.width_px}x{self.height_px}")
        if np.any(np.diff(self.times_s) <= 0):
            raise ValueError("times_s must rise strictly")

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def fps(self) -> float:
        return float(self.rate)

    @property
    def time_scale(self) -> float:
        """Seconds of real movement per second of playback: 0.125 for 240 fps played at 30, 1 where the capture rate is unknown."""
        return float(self.rate / self.capture_rate) if self.capture_rate else 1.0


@dataclass(frozen=True)
class Prompt:
    """Whom to follow, told on one frame: clicks ``points_px`` (P, 2) with ``labels`` (P,) 1 inside / 0 outside, a box (4,), or a text."""

    frame: int = 0
    person_id: int | None = None
    points_px: np.ndarray | None = None
    labels: np.ndarray | None = None
    box_px: np.ndarray | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.points_px is None and self.box_px is None and not self.text:
            raise ValueError("a prompt needs points, a box or a text")
        if self.points_px is not None:
            _check("points_px", self.points_px, (None, 2))
            if self.labels is None or len(self.labels) != len(self.points_px):
                raise ValueError("every point of a prompt needs a label")
        if self.box_px is not None:
            _check("box_px", self.box_px, (4,))


@dataclass(frozen=True)
class Camera:
    """One pinhole camera for a whole clip: square pixels, no distortion. Pixels from the top-left corner.

    ``source`` says where the focal length comes from: "fov", "focal_mm35", "metadata", "moge", "default".
    ``static`` is False where the camera is known to move. ``focal_spread`` is by what share of it the focal lengths of single frames
    scatter, where it was estimated from frames.
    """

    focal_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int
    source: str = "default"
    static: bool = True
    focal_spread: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"focal_px must be positive, found {self.focal_px}")

    @property
    def K(self) -> np.ndarray:
        """Intrinsic matrix (3, 3)."""
        return np.array([[self.focal_px, 0, self.cx_px], [0, self.focal_px, self.cy_px], [0, 0, 1]], dtype=np.float64)

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        return float(np.degrees(2 * np.arctan(self.width_px / (2 * self.focal_px))))

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in camera axes. Points at or behind the camera plane come out as NaN."""
        z = points_m[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = points_m[..., :2] / np.where(z > 1e-6, z, np.nan)
        return xy * self.focal_px + np.array([self.cx_px, self.cy_px])

    def scaled(self, factor: float) -> "Camera":
        """The same camera for pictures resized by ``factor``."""
        return dataclasses.replace(
            self,
            focal_px=self.focal_px * factor,
            cx_px=self.cx_px * factor,
            cy_px=self.cy_px * factor,
            width_px=round(self.width_px * factor),
            height_px=round(self.height_px * factor),
        )


@dataclass(frozen=True)
class LandmarkTrack:
    """What a landmark network saw of one person.

    ``points_px`` (T, K, 2) pixels. ``depth_px`` (T, K) the network's own depth in pixels at the picture's scale, 0 at the hips, away
    from the camera positive. ``world_m`` (T, K, 3) its own metric guess, hip-centred, camera-like axes.
    ``visibility`` (T, K) in [0, 1]. ``joint_set`` is a key of ``body4d.core.joints.JOINT_SETS``.
    """

    points_px: np.ndarray
    depth_px: np.ndarray
    world_m: np.ndarray
    visibility: np.ndarray
    joint_set: str = "blazepose33"

    def __post_init__(self) -> None:
        k = len(JOINT_SETS[self.joint_set])
        t = len(self.points_px)
        _check("points_px", self.points_px, (t, k, 2), "f")
        _check("depth_px", self.depth_px, (t, k), "f")
        _check("world_m", self.world_m, (t, k, 3), "f")
        _check("visibility", self.visibility, (t, k), "f")


@dataclass(frozen=True)
class MaskTrack:
    """One person's masks, run-length coded (COCO), on the frames where the person was seen.

    ``frame_index`` (T,) rises. ``codes`` are the T compressed COCO codes of masks of size ``height_px`` x ``width_px``.
    ``landmarks`` come along where the segmenter sees them (lite), row for row with ``frame_index``.
    """

    person_id: int
    frame_index: np.ndarray
    codes: tuple[bytes, ...]
    height_px: int
    width_px: int
    landmarks: LandmarkTrack | None = None

    def __post_init__(self) -> None:
        _check_frame_index("frame_index", self.frame_index)
        if len(self.codes) != len(self.frame_index):
            raise ValueError(f"{len(self.frame_index)} frames need as many masks, found {len(self.codes)}")
        if self.landmarks is not None and len(self.landmarks.points_px) != len(self.frame_index):
            raise ValueError("landmarks must have one row for each frame of the track")

    def __len__(self) -> int:
        return len(self.frame_index)

    def _coco(self, row: int) -> Any:
        return {"size": [self.height_px, self.width_px], "counts": self.codes[row]}

    def mask(self, row: int) -> np.ndarray:
        """Mask of row ``row`` as bool (H, W)."""
        return _coco_mask().decode(self._coco(row)).astype(bool)

    def boxes_px(self) -> np.ndarray:
        """Boxes (T, 4) around the masks; an empty mask gives zeros."""
        xywh = _coco_mask().toBbox([self._coco(i) for i in range(len(self))]).reshape(-1, 4)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    def areas_px(self) -> np.ndarray:
        """Mask areas (T,) in pixels."""
        return np.asarray(_coco_mask().area([self._coco(i) for i in range(len(self))]), dtype=np.int64).reshape(-1)

    @staticmethod
    def encode(mask: np.ndarray) -> bytes:
        """Compressed COCO run-length code of a mask (H, W)."""
        # pycocotools' own encode walks every pixel while no other thread may run; numpy finds the runs in half the time and lets them.
        columns = np.asfortranarray(mask.astype(bool, copy=False)).ravel(order="K")
        starts = np.flatnonzero(columns[1:] != columns[:-1]) + 1
        runs = np.diff(starts, prepend=0, append=columns.size).tolist()
        counts = [0, *runs] if columns.size and columns[0] else runs
        code = _coco_mask().frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)
        return bytes(code["counts"])


@dataclass(frozen=True)
class BodyTrack:
    """One person's body over the frames it was followed.

    ``body`` names the body model ("anny", "mhr"), ``shape`` (S,) its shape parameters, one for the clip. ``rotations`` (T, J, 3)
    rotation vectors of the rig's joints relative to their parents, in rest axes; ``translation_m`` (T, 3) the root joint in
    camera axes. ``joints_m`` (T, K, 3) the named joints of ``joint_set`` in camera axes. ``keypoints_px`` (T, K, 2) where they
    were *measured* in the picture (NaN: not measured) with ``visibility`` (T, K). ``confidence`` (T,) how far to trust the frame;
    ``observed`` (T,) false where the body was bridged. ``parameters`` (T, P) the model's native parameters where it has any.
    ``rig`` comes along where the body model is no part of body4d, so that a result can be drawn and exported anywhere.
    ``mask_iou`` (T,) overlap of silhouette and mask, NaN where not judged. ``joints_raw_m`` (T, K, 3): the joints
    as the networks alone gave them, before any fit or smoothing (NaN where they gave none). ``joint_sigma_m`` (T, K): how far the
    joints are off by the smoother's own account, root mean square, metres; absent where nothing was smoothed. ``hidden`` (T,) true
    where the person was hidden and the body comes from a completed picture; absent where they never were completed.
    """

    person_id: int
    body: str
    frame_index: np.ndarray
    shape: np.ndarray
    rotations: np.ndarray
    translation_m: np.ndarray
    joints_m: np.ndarray
    keypoints_px: np.ndarray
    visibility: np.ndarray
    confidence: np.ndarray
    observed: np.ndarray
    joint_set: str = "body29"
    parameters: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    mask_iou: np.ndarray | None = None
    joints_raw_m: np.ndarray | None = None
    joint_sigma_m: np.ndarray | None = None
    hidden: np.ndarray | None = None
    rig: "Rig | None" = None

    def __post_init__(self) -> None:
        t, k = len(self.frame_index), len(JOINT_SETS[self.joint_set])
        _check_frame_index("frame_index", self.frame_index)
        _check("shape", self.shape, (None,), "f")
        _check("rotations", self.rotations, (t, None, 3), "f")
        _check("translation_m", self.translation_m, (t, 3), "f")
        _check("joints_m", self.joints_m, (t, k, 3), "f")
        _check("keypoints_px", self.keypoints_px, (t, k, 2), "f")
        _check("visibility", self.visibility, (t, k), "f")
        _check("confidence", self.confidence, (t,), "f")
        _check("observed", self.observed, (t,), "b")
        if self.mask_iou is not None:
            _check("mask_iou", self.mask_iou, (t,), "f")
        if self.joints_raw_m is not None:
            _check("joints_raw_m", self.joints_raw_m, (t, k, 3), "f")
        if self.joint_sigma_m is not None:
            _check("joint_sigma_m", self.joint_sigma_m, (t, k), "f")
        if self.hidden is not None:
            _check("hidden", self.hidden, (t,), "b")
        for name in ("rotations", "translation_m", "joints_m"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise ValueError(f"{name} of person {self.person_id} holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return joint_names(self.joint_set)

    def joint(self, name: str) -> np.ndarray:
        """Track (T, 3) of one joint by its name, such as ``"left_wrist"``, in metres, camera axes."""
        return self.joints_m[:, self.joint_names.index(name)]

    @cached_property
    def _row_of_frame(self) -> dict[int, int]:
        return {int(f): i for i, f in enumerate(self.frame_index)}

    def row(self, frame: int) -> int | None:
        """Row of clip frame ``frame``, or None where the person is not followed there."""
        return self._row_of_frame.get(frame)


@dataclass(frozen=True)
class Scene:
    """The result of a run: the clip, the camera that saw it, everybody in it, and where the floor is.

    ``T_world_camera`` (4, 4) maps camera axes to the floor-aligned world (y up). ``warnings`` are what the user should know:
    what was assumed, and what could not be tracked.
    """

    clip: Clip
    camera: Camera
    people: tuple[BodyTrack, ...]
    T_world_camera: np.ndarray = field(default_factory=lambda: np.diag([1.0, -1.0, -1.0, 1.0]))
    preset: str = "lite"
    warnings: tuple[RunWarning, ...] = ()

    def __post_init__(self) -> None:
        _check("T_world_camera", self.T_world_camera, (4, 4), "f")
        ids = [p.person_id for p in self.people]
        if len(set(ids)) != len(ids):
            raise ValueError(f"person ids must differ, found {ids}")
        for person in self.people:
            if len(person) and person.frame_index[-1] >= len(self.clip):
                raise ValueError(f"person {person.person_id} has frames beyond the clip's {len(self.clip)}")

    def person(self, person_id: int) -> BodyTrack:
        for track in self.people:
            if track.person_id == person_id:
                return track
        raise KeyError(f"no person {person_id}; there are {[p.person_id for p in self.people]}")

    def visible_at(self, frame: int) -> Iterator[tuple[BodyTrack, int]]:
        """Everybody followed at clip frame ``frame``, each with the row of their track."""
        for track in self.people:
            row = track.row(frame)
            if row is not None:
                yield track, row
