"""What crosses from one stage to the next: frozen dataclasses, checked when they are made, free of torch.

Axes, units and orders are defined in docs/conventions.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.camera import Camera
from body4d.core.errors import RunWarning
from body4d.core.joints import JOINT_SETS, joint_names
from body4d.geometry.camera import transform_points

if TYPE_CHECKING:
    from body4d.core.rig import Rig


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...], kind: str = "") -> None:
    """Raise ValueError unless ``array`` has ``shape`` (None: any length) and, where given, a dtype kind among ``kind``."""
    if array.ndim != len(shape) or any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True)):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({expected}), found {array.shape}")
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


MAX_COUPLED_STEP_S = 0.12
"""Frames further apart, in seconds of real movement, say little of each other: a step or a stroke happens between them."""


def _no_cuts() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Clip:
    """The frames of one video that a run examines, in order and with their exact times."""

    path: Path
    width_px: int
    """Upright, and after shrinking (``video.max_side_px``)."""
    height_px: int
    rate: Fraction
    """The file's mean playback rate in frames/s."""
    times_s: Float[np.ndarray, " frames"]
    """Seconds from the first frame, by presentation time stamps; they rise strictly."""
    source_frames: Int[np.ndarray, " frames"]
    """Which frame of the file each is, counted from 0 in presentation order."""
    capture_rate: Fraction | None = None
    """The rate at which it was filmed where the container states it (slow motion), else equal to ``rate``."""
    rotation_deg: int = 0
    has_audio: bool = False
    focal_mm35: float | None = None
    """35 mm equivalent focal length from the file's metadata."""
    variable_rate: bool = False
    cuts: Int[np.ndarray, " cuts"] = field(default_factory=_no_cuts)
    """Frames of the clip that begin a new shot, rising."""

    def __post_init__(self) -> None:
        _check("times_s", self.times_s, (None,), "f")
        _check_frame_index("cuts", self.cuts)
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

    @cached_property
    def shot_index(self) -> Int[np.ndarray, " frames"]:
        """The number of the shot that each frame belongs to: of one camera, without a cut."""
        return np.searchsorted(self.cuts, np.arange(len(self)), side="right")

    @cached_property
    def stretch_index(self) -> Int[np.ndarray, " frames"]:
        """The number of the stretch that each frame belongs to. Nothing is smoothed, bridged or held from one stretch to the next: between
        them is a cut, or more than ``MAX_COUPLED_STEP_S``."""
        begins = np.zeros(len(self), np.int64)
        begins[1:] = np.diff(self.times_s) * self.time_scale > MAX_COUPLED_STEP_S
        begins[self.cuts] = 1
        return np.cumsum(begins)


@dataclass(frozen=True)
class Prompt:
    """Which person to track, shown on one frame: by clicks, a box or a text."""

    frame: int = 0
    person_id: int | None = None
    """The person that the prompt is for; None: a person of their own."""
    points_px: Float[np.ndarray, "points 2"] | None = None
    labels: Int[np.ndarray, " points"] | None = None
    """1 for a click on the person, 0 for one beside them."""
    box_px: Float[np.ndarray, " 4"] | None = None
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


LEVEL_SIGMA_DEG = (12.0, 3.0)
"""How far from level cameras are held, in pitch and in roll, where nothing in the picture shows it (``Camera.gravity``)."""


@dataclass(frozen=True)
class HandTrack:
    """What a hand landmark network saw of the two hands of one person, left before right as the body's landmarks name them.

    Landmarks are in the order of ``body4d.core.joints.Hand21``. Where a hand was not seen they are NaN, and ``score`` is 0.
    """

    points_px: Float[np.ndarray, "t 2 21 2"]
    world_m: Float[np.ndarray, "t 2 21 3"]
    """The network's own metric estimate, about the middle of the hand, in axes like the camera's."""
    score: Float[np.ndarray, "t 2"]
    """Probability that a hand is there, in [0, 1]."""
    right_probability: Float[np.ndarray, "t 2"]
    """Probability that what is there is a right hand, by its shape, in [0, 1]."""

    def __post_init__(self) -> None:
        t, k = len(self.score), len(JOINT_SETS["hand21"])
        _check("points_px", self.points_px, (t, 2, k, 2), "f")
        _check("world_m", self.world_m, (t, 2, k, 3), "f")
        _check("score", self.score, (t, 2), "f")
        _check("right_probability", self.right_probability, (t, 2), "f")


@dataclass(frozen=True)
class LandmarkTrack:
    """What a landmark network saw of one person."""

    points_px: Float[np.ndarray, "t landmarks 2"]
    depth_px: Float[np.ndarray, "t landmarks"]
    """The network's own depth in pixels at the picture's scale: 0 at the hips, positive away from the camera."""
    world_m: Float[np.ndarray, "t landmarks 3"]
    """The network's own metric estimate, about the middle of the hips, in axes like the camera's."""
    visibility: Float[np.ndarray, "t landmarks"]
    """In [0, 1]."""
    joint_set: str = "blazepose33"
    """A key of ``body4d.core.joints.JOINT_SETS``."""
    hands: HandTrack | None = None
    """None where hands were not read."""

    def __post_init__(self) -> None:
        if self.hands is not None and len(self.hands.score) != len(self.points_px):
            raise ValueError("hands must have one row for each row of the landmarks")
        k = len(JOINT_SETS[self.joint_set])
        t = len(self.points_px)
        _check("points_px", self.points_px, (t, k, 2), "f")
        _check("depth_px", self.depth_px, (t, k), "f")
        _check("world_m", self.world_m, (t, k, 3), "f")
        _check("visibility", self.visibility, (t, k), "f")


@dataclass(frozen=True)
class MaskTrack:
    """One person's masks, run-length coded (COCO), on the frames where the person was seen."""

    person_id: int
    frame_index: Int[np.ndarray, " t"]
    """Clip frames, rising."""
    codes: tuple[bytes, ...]
    """Compressed COCO codes of masks of ``height_px`` x ``width_px``, one for each frame."""
    height_px: int
    width_px: int
    landmarks: LandmarkTrack | None = None
    """Row for row with ``frame_index``, where the segmenter sees landmarks (preset lite)."""

    def __post_init__(self) -> None:
        _check_frame_index("frame_index", self.frame_index)
        if len(self.codes) != len(self.frame_index):
            raise ValueError(f"{len(self.frame_index)} frames need as many masks, found {len(self.codes)}")
        if self.landmarks is not None and len(self.landmarks.points_px) != len(self.frame_index):
            raise ValueError("landmarks must have one row for each frame of the track")

    def __len__(self) -> int:
        return len(self.frame_index)

    def row(self, frame: int) -> int | None:
        """Row of clip frame ``frame``, or None where the track has no mask of it."""
        row = int(np.searchsorted(self.frame_index, frame))
        return row if row < len(self) and self.frame_index[row] == frame else None

    def _coco(self, row: int) -> Any:
        return {"size": [self.height_px, self.width_px], "counts": self.codes[row]}

    def mask(self, row: int) -> Bool[np.ndarray, "height width"]:
        """Mask of row ``row``. Its columns are contiguous, not its rows."""
        return self.part(row, (0, 0, self.width_px, self.height_px))

    def edges(self, row: int) -> Int[np.ndarray, " n"]:
        """Where the mask of row ``row`` begins and ends in turn, as pixels counted down the columns: what a mask is without decoding it."""
        return _edges(self.codes[row])

    def part(self, row: int, box_px: tuple[int, int, int, int]) -> Bool[np.ndarray, "rows columns"]:
        """The part of the mask of row ``row`` from the left and top pixel of a box up to its right and bottom one, without these. The rest
        is not decoded, and other threads may run. Its columns are contiguous, not its rows."""
        left, top, right, bottom = box_px
        edges, height = self.edges(row), self.height_px
        out = np.zeros((right - left, bottom - top), bool)
        if len(edges) % 2:
            edges = np.append(edges, self.width_px * height)  # It ends with the picture.
        if not len(edges):
            return out.T
        # The mask's own columns alone.
        first, last = max(left, int(edges[0]) // height), min(right, -(-int(edges[-1]) // height))
        if first >= last:
            return out.T
        edges = edges - first * height
        turns = np.zeros((last - first) * height, np.uint8)
        before, behind = np.searchsorted(edges, [0, len(turns)])
        turns[edges[before:behind]] = 1
        turns[0] ^= before % 2  # What begins before the first column and goes on.
        inside = (np.cumsum(turns, dtype=np.uint8) & 1).view(bool)
        out[first - left : last - left] = inside.reshape(-1, height)[:, top:bottom]
        return out.T

    def boxes_px(self) -> Float[np.ndarray, "t 4"]:
        """Boxes around the masks: left, top, right, bottom. An empty mask gives zeros."""
        xywh = _coco_mask().toBbox([self._coco(i) for i in range(len(self))]).reshape(-1, 4)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    def areas_px(self) -> Int[np.ndarray, " t"]:
        """Mask areas in pixels."""
        return np.asarray(_coco_mask().area([self._coco(i) for i in range(len(self))]), dtype=np.int64).reshape(-1)

    @staticmethod
    def encode(mask: Bool[np.ndarray, "h w"], left_top: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> bytes:
        """Compressed COCO run-length code of a mask: of a whole picture, or of the part of a picture of ``size`` (height, width) that
        begins at column and row ``left_top``, with nothing around it."""
        # pycocotools' own encode walks every pixel while no other thread may run; numpy finds the runs in half the time and lets them.
        (part_height, part_width), (left, top) = mask.shape, left_top
        height, width = size or mask.shape
        columns = np.zeros((part_width, part_height + 1), np.int8)  # an empty row below ends a run at the foot of its column
        columns[:, :part_height] = mask.T
        steps = np.diff(columns.ravel(), prepend=0)
        starts, ends = (
            (left + at // (part_height + 1)) * height + top + at % (part_height + 1) for at in map(np.flatnonzero, (steps > 0, steps < 0))
        )
        is_apart = starts[1:] != ends[:-1]  # a run that goes on at the head of the next column is one run
        starts, ends = starts[np.append(True, is_apart)[: len(starts)]], ends[np.append(is_apart, True)[: len(ends)]]
        edges = np.stack([starts, ends], axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=height * width).tolist()
        if len(edges) and counts[-1] == 0:
            counts.pop()
        code = _coco_mask().frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return bytes(code["counts"])


def _edges(code: bytes) -> Int[np.ndarray, " n"]:
    """Where runs of a compressed COCO run-length code meet, rising.

    A code is a list of run lengths, from the third on as differences to the one two before, each in groups of five bits, lowest first: 32
    is set in every group but a number's last, and 16 in the last one of a negative number (cocoapi, maskApi.c).
    """
    groups = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((groups & 32) == 0)
    first = np.append(0, last[:-1] + 1)
    size = last - first + 1
    place = np.arange(len(groups)) - np.repeat(first, size)
    runs = np.add.reduceat((groups & 31) << 5 * place, first)
    runs -= np.where(groups[last] & 16, 1 << 5 * size, 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    edges, met = np.unique(np.cumsum(runs[:-1]), return_counts=True)
    return edges[met % 2 == 1]  # Two at one place are an empty run, as other programs may write.


@dataclass(frozen=True)
class BodyTrack:
    """One person's body over the frames on which it was tracked."""

    person_id: int
    body: str
    """The body model: "anny" or "mhr"."""
    frame_index: Int[np.ndarray, " t"]
    """Clip frames, rising."""
    shape: Float[np.ndarray, " parameters"]
    """The body model's shape parameters, one set for the clip."""
    rotations: Float[np.ndarray, "t joints 3"]
    """Rotation vectors of the rig's joints relative to their parents, in rest axes, radians."""
    translation_m: Float[np.ndarray, "t 3"]
    """The root joint in camera axes."""
    joints_m: Float[np.ndarray, "t keypoints 3"]
    """The named joints of ``joint_set`` in camera axes."""
    keypoints_px: Float[np.ndarray, "t keypoints 2"]
    """Where the joints were *measured* in the picture; NaN where they were not."""
    visibility: Float[np.ndarray, "t keypoints"]
    confidence: Float[np.ndarray, " t"]
    """How far to trust the frame, in [0, 1]."""
    observed: Bool[np.ndarray, " t"]
    """False where the body was bridged, not seen."""
    joint_set: str = "body29"
    """A key of ``body4d.core.joints.JOINT_SETS``."""
    parameters: Float[np.ndarray, "rows native"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """The body model's native parameters of each frame, where it has any; else no rows."""
    mask_iou: Float[np.ndarray, " t"] | None = None
    """Overlap (IoU) of silhouette and mask; NaN where it was not measured."""
    joints_raw_m: Float[np.ndarray, "t keypoints 3"] | None = None
    """``joints_m`` before smoothing and before feet are held; NaN where the body was bridged."""
    joint_sigma_m: Float[np.ndarray, "t keypoints"] | None = None
    """The joints' error as the smoother estimates it, root mean square; None where nothing was smoothed."""
    hidden: Bool[np.ndarray, " t"] | None = None
    """True where the person was occluded and the body comes from a completed picture; None where nobody was completed."""
    height_assumed: bool | None = None
    """True where the body's height, and with it the scale of everything, is the mean of people; False where it was given; None where it
    was estimated or is not known."""
    rig: "Rig | None" = None
    """Comes along where the body model is no part of body4d, so that a result can be drawn and exported anywhere."""

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

    def joint(self, name: str) -> Float[np.ndarray, "t 3"]:
        """Track of one joint by its name, such as ``"left_wrist"``, in metres, camera axes."""
        return self.joints_m[:, self.joint_names.index(name)]

    @cached_property
    def _row_of_frame(self) -> dict[int, int]:
        return {int(f): i for i, f in enumerate(self.frame_index)}

    def row(self, frame: int) -> int | None:
        """Row of clip frame ``frame``, or None where the person is not followed there."""
        return self._row_of_frame.get(frame)


@dataclass(frozen=True)
class Scene:
    """The result of a run: the clip, the camera that saw it, everybody in it, and where the floor is."""

    clip: Clip
    camera: Camera
    people: tuple[BodyTrack, ...]
    T_world_camera: Float[np.ndarray, "4 4"] = field(default_factory=lambda: np.diag([1.0, -1.0, -1.0, 1.0]))
    """Camera axes, of the first frame where the camera moves, to the floor-aligned world, y up."""
    preset: str = "lite"
    warnings: tuple[RunWarning, ...] = ()
    """What the user should know: what was assumed, and what could not be tracked."""

    def __post_init__(self) -> None:
        _check("T_world_camera", self.T_world_camera, (4, 4), "f")
        if self.camera.path is not None and len(self.camera.path) != len(self.clip):
            raise ValueError(f"the camera's path has {len(self.camera.path)} frames, the clip {len(self.clip)}")
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

    def T_world_camera_at(self, frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 4 4"]:
        """Camera axes of some frames to the world."""
        return self.T_world_camera @ self.camera.T_reference_camera_at(frames)

    def world_points(self, points_m: Float[np.ndarray, "n *k 3"], frames: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n *k 3"]:
        """Points in the camera axes of their frames, in the world."""
        if self.camera.path is None:  # one product for all frames, whose rounding files of still cameras have always had
            return points_m @ self.T_world_camera[:3, :3].T + self.T_world_camera[:3, 3]
        return transform_points(self.T_world_camera_at(frames), points_m.reshape(len(frames), -1, 3)).reshape(points_m.shape)

    def visible_at(self, frame: int) -> Iterator[tuple[BodyTrack, int]]:
        """Everybody followed at clip frame ``frame``, each with the row of their track."""
        for track in self.people:
            row = track.row(frame)
            if row is not None:
                yield track, row
