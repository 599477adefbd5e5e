"""Anny fitted to BlazePose's landmarks and masks: the body estimator of preset lite.

For each person: an initial pose in closed form, poses frame by frame, one shape for the clip from a few frames (landmarks and
silhouettes), then all poses together. BlazePose's own depth is poor (hands on one grip may be half a metre apart), so depth comes from
other terms too: bone lengths, joint ranges, silhouettes, hands on one grip, feet on one floor, and calm motion along the ray.
"""

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp
from threadpoolctl import threadpool_limits

from body4d.bodies.anny import (
    DEFAULT_SHAPE,
    FEMALE,
    MALE,
    SHAPE_NAMES,
    UNDECIDED,
    AnnyBody,
    SeenFingers,
    age_parameter,
    anny_body,
    curl_fingers,
)
from body4d.config import FitSettings
from body4d.core.errors import Cancelled, RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import BodyTrack, Camera, Clip, LandmarkTrack, MaskTrack
from body4d.geometry.rotations import matrix_to_rotvec
from body4d.models.anny_fit.gauss_newton import PoseProblem, ShapeVariant
from body4d.models.anny_fit.hands import seen_hands
from body4d.models.anny_fit.initialization import initial_rotations, with_initial_translation
from body4d.models.anny_fit.joint_limits import DRIVEN_JOINTS, joint_limits
from body4d.models.anny_fit.kinematic_chain import KinematicChain, PointSet
from body4d.models.anny_fit.mean_height import mean_height_m
from body4d.models.anny_fit.observations import BODY_PARTS, BodyLandmarks, build_observations, select_rows, shot_rows, steady_rays_px
from body4d.models.anny_fit.residuals import extent_along
from body4d.models.anny_fit.sides import joined_sides, leaping_arm, settle_sides, sides_warning, unclear_spans
from body4d.models.anny_fit.silhouette import OUTLINE_MARGIN_PER_HEIGHT, SurfaceSample, match_silhouettes, outline_points
from body4d.models.anny_fit.types import ChainPose, Observations, SilhouetteMatches
from body4d.runtime.cores import usable_cores

FITTED_SHAPE = ("muscle", "weight", "proportions")
"""Shape parameters that are fitted. Sex is one of three, age is given (adults), and one camera cannot tell height from distance."""
SHAPE_SIGMA = 0.15
"""Spread of Anny's shape parameters around the middle of their range."""
NUM_INDEPENDENT_FRAMES = 2.0
"""Landmarks err alike in all frames, so all frames together count as this many."""
NUM_SHAPE_ROUNDS, NUM_STEPS_PER_SHAPE_ROUND = 4, 3
"""Times the shape is linearised anew (it converges after three), and steps between."""
SHAPE_DIFFERENCE = 0.1
"""Step of the finite differences by a shape parameter."""
MAX_SHAPE_CHANGE = 0.3
"""Shape parameters act piecewise linearly; a longer step leaves the range in which its slope holds."""
MIN_SHAPE, MAX_SHAPE = 0.02, 0.98
"""Shape parameters are defined on [0, 1]."""

MAX_INITIAL_STEPS, MAX_STEPS_AFTER_SHAPE = 12, 8
NUM_POSE_ROUNDS, NUM_STEPS_PER_ROUND = 3, 5
"""Times the silhouettes are matched anew while the poses are solved, and steps between."""
OUTLINE_SIGMA_PER_HEIGHT = 0.01
"""Clothes stand off the body by 1 to 3 cm."""
MIN_FRAMES_TO_PART = 160
"""From this length on a clip is solved in at least two chunks, so that two cores have work."""
NUM_OVERLAP_FRAMES = 32
"""Frames that two chunks share on either side; the influence of one frame on another dies out within ten."""
MAX_WORKERS = 8
"""Chunks that are solved at a time, on one core each, however many cores there are: each takes about 0.3 GB."""
HALF_CONFIDENCE_MISS = 0.05
"""Distance between fit and landmarks, as a share of body height, that halves the confidence."""

_GENDER, _AGE = SHAPE_NAMES.index("gender"), SHAPE_NAMES.index("age")
ARM_JOINTS = ("clavicle", "shoulder", "upperarm", "lowerarm", "wrist")
"""How the names of an arm's joints begin."""

_FITTED_AT = [SHAPE_NAMES.index(name) for name in FITTED_SHAPE]


class AnnyBodyEstimator:
    """Fits one Anny per person.

    ``person_height_m`` is the height of the main (first) person, whose sex and age the settings may say. Other people are adults, and a
    height that is not given is the mean of age and sex (``mean_height_m``), as one camera cannot tell height from distance.
    """

    def __init__(self, settings: FitSettings, person_height_m: float | None = None) -> None:
        self._settings, self._height_m = settings, person_height_m

    @property
    def cache_inputs(self) -> Any:
        return [self._settings.cache_inputs(), self._height_m]

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        progress: ProgressFn,
        occlusions: Sequence[OcclusionSegment] = (),
    ) -> StageOutput[tuple[BodyTrack, ...]]:
        """One BodyTrack per MaskTrack. ``occlusions`` are ignored, as the landmarks are those of the visible parts.

        Raises ValueError for a MaskTrack without landmarks.
        """
        body = anny_body()
        total = sum(len(track) for track in masks)
        done = [0] * len(masks)
        stopped = threading.Event()

        def fit(n: int) -> tuple[BodyTrack, RunWarning | None]:
            def person_progress(rows: int) -> None:
                if stopped.is_set():
                    raise Cancelled("The fit was stopped.")
                done[n] = max(done[n], rows)  # Chunks end in any order.
                progress(sum(done), total)

            given = _GivenShape(self._settings.sex, self._settings.age_years, self._height_m) if n == 0 else _GivenShape()
            person = _PersonFit(body, masks[n], frames.clip, camera, self._settings, chunks)
            track = person.run(given, person_progress)
            person_progress(len(track))
            times_s = frames.clip.times_s[track.frame_index]
            return track, sides_warning(track.person_id, unclear_spans(person.sides.ambiguity, times_s))

        # The matrices are small, so one thread for each and a chunk per core is twice as fast as one chunk on all cores. People wait for
        # their chunks in a pool of their own, or they could take all the threads that chunks need.
        workers = min(usable_cores(), MAX_WORKERS)
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as chunks, ThreadPoolExecutor(workers) as people:
            tasks = [people.submit(fit, n) for n in range(len(masks))]
            try:
                tracks, warnings = zip(*(task.result() for task in tasks), strict=True) if tasks else ((), ())
                return StageOutput(tracks, tuple(warning for warning in warnings if warning))
            except BaseException:
                stopped.set()
                for task in tasks:
                    task.cancel()
                raise


@dataclasses.dataclass(frozen=True)
class _GivenShape:
    """What is known of a person beforehand; None where nothing is."""

    sex: str = "auto"
    age_years: float | None = None
    height_m: float | None = None

    @property
    def gender(self) -> float:
        return {"male": MALE, "female": FEMALE}.get(self.sex, UNDECIDED)

    @property
    def height(self) -> float:
        """In metres: as given, else the mean of age and sex."""
        return self.height_m or mean_height_m(self.gender, self.age_years)


class _PersonFit:
    """The fit of one person: what all its steps share. Chunks of the clip are solved side by side on the threads of ``pool``."""

    def __init__(self, body: AnnyBody, track: MaskTrack, clip: Clip, camera: Camera, settings: FitSettings, pool: Executor) -> None:
        if track.landmarks is None:
            raise ValueError(f"person {track.person_id} has no landmarks, which this fit needs")
        self.body, self.track, self.clip, self.camera, self.settings = body, track, clip, camera, settings
        self.pool = pool
        # A lens that zooms is a matter of the picture's scale alone: all that is seen is brought to one focal length.
        landmarks = _without_zoom(track.landmarks, camera, track.frame_index)
        seen = BodyLandmarks.from_track(landmarks).in_camera_axes(camera)
        self.shots = shot_rows(clip, track.frame_index)
        real_s = clip.times_s[track.frame_index] * clip.time_scale
        self.sides = joined_sides([settle_sides(seen.rows(rows), real_s[rows]) for rows in self.shots])
        self.landmarks = self.sides.landmarks
        times_s, hands = clip.times_s[track.frame_index], landmarks.hands
        self.hands = seen_hands(hands, seen, self.landmarks, times_s, camera) if hands else None
        self.centre_px = np.array([camera.cx_px, camera.cy_px])
        self.outline_sigma_px = OUTLINE_SIGMA_PER_HEIGHT * self.landmarks.height_px
        self.outlines = [self._outline(row) for row in range(len(track))]

    def _outline(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Points of the body's outline on one frame, inside that of the clothes, and their outward normals."""
        points, normals = outline_points(self.track.mask(row))
        points = self.camera.without_zoom(points[None], self.track.frame_index[row : row + 1])[0]
        return points - OUTLINE_MARGIN_PER_HEIGHT * self.landmarks.height_px * normals, normals

    def run(self, given: _GivenShape, progress: Callable[[int], None]) -> BodyTrack:
        """The person's track. ``progress`` is called with the share of the work done, in frames, and may raise to stop it."""
        T = len(self.track)
        shape = self._average_shape(given)
        problem, surface = self._problem(shape)
        pose = self._initial_pose(problem)
        depth = pose.translation_m[:, 2]
        focal_px = self.camera.focal_px
        turns = None if self.camera.path is None else self.camera.T_reference_camera_at(self.track.frame_index)
        steady = None if turns is None else steady_rays_px(self.landmarks.points_px, turns[:, :3, :3], self.camera)
        observations = build_observations(self.landmarks, self.track.frame_index, self.clip, depth, focal_px, self.settings, steady)
        if self.camera.gravity is not None and self.camera.gravity_sigma_deg is not None:
            down, pitch_sigma_deg = np.array(self.camera.gravity), self.camera.gravity_sigma_deg[0]
            observations = dataclasses.replace(observations, down=down, pitch_sigma_deg=pitch_sigma_deg)
        if turns is not None:
            observations = _with_turns(observations, turns, self.camera)
        observations = dataclasses.replace(observations, depth_sigma_m=observations.depth_sigma_m * self.sides.doubt[:, None])

        observations = self._with_hands(observations)

        pose = self._solve_frames(problem, pose, observations, MAX_INITIAL_STEPS)
        progress(T // 5)
        shape = self._fit_shape(shape, pose, observations, given.height)
        problem, surface = self._problem(shape)
        pose = self._without_leaps(problem, self._solve_frames(problem, pose, observations, MAX_STEPS_AFTER_SHAPE))
        progress(2 * T // 5)
        # One camera that keeps its place sees one floor, whatever was cut out.
        shots = [np.arange(T)] if self.camera.has_world else self.shots
        floor_m = np.zeros(T)
        for rows in shots:
            part = ChainPose(pose.local[rows], pose.translation_m[rows])
            floor_m[rows] = _floor_distance(problem, part, select_rows(observations, rows))
        observations = dataclasses.replace(observations, floor_m=floor_m)

        solved: list[int] = []

        def solve_coupled(part: ChainPose, rows: np.ndarray) -> ChainPose:
            some = select_rows(observations, rows)
            for _ in range(NUM_POSE_ROUNDS):
                part = problem.solve(part, some, NUM_STEPS_PER_ROUND, self._matches(problem, surface, part, rows))
            solved.append(len(rows))
            progress(min(T, (2 * T + 3 * sum(solved)) // 5))
            return part

        return self._track(shape, self._in_chunks(pose, solve_coupled), observations, given)

    def _with_hands(self, observations: Observations) -> Observations:
        """``observations`` with the palms of the hands that are seen, and their knuckles in place of BlazePose's."""
        if self.hands is None:
            return observations
        points, sigma = self.hands.knuckles()
        is_seen = np.isfinite(sigma)
        return dataclasses.replace(
            observations,
            points_px=np.where(is_seen[..., None], points, observations.points_px),
            sigma_px=np.where(is_seen, np.minimum(sigma, observations.sigma_px), observations.sigma_px),
            palms=self.hands.palms,
        )

    def _average_shape(self, given: _GivenShape) -> np.ndarray:
        """The average body of the given sex, age and height."""
        shape = DEFAULT_SHAPE.astype(np.float64)
        shape[_GENDER] = given.gender
        if given.age_years is not None:
            shape[_AGE] = age_parameter(given.age_years)
        return self.body.with_height(shape, given.height)

    def _problem(self, shape: np.ndarray, with_slopes: bool = False) -> tuple[PoseProblem, SurfaceSample]:
        rig = self.body.rig(shape)
        chain = KinematicChain.from_rig(rig, DRIVEN_JOINTS)
        surface = SurfaceSample(rig, chain)
        keypoints = chain.keypoints(rig)
        variants = tuple(self._variant(shape, at, chain, keypoints, surface) for at in _FITTED_AT) if with_slopes else ()
        problem = PoseProblem(chain, keypoints, joint_limits(rig), self.camera.focal_px, self.centre_px, BODY_PARTS, variants)
        return problem, surface

    def _variant(self, shape: np.ndarray, at: int, chain: KinematicChain, keypoints: PointSet, surface: SurfaceSample) -> ShapeVariant:
        """The body a whole unit of shape parameter ``at`` away, extrapolated from a small step."""
        step = SHAPE_DIFFERENCE if shape[at] + SHAPE_DIFFERENCE < 1 else -SHAPE_DIFFERENCE
        stepped_shape = shape.copy()
        stepped_shape[at] += step
        rig = self.body.rig(stepped_shape)
        stepped = KinematicChain.from_rig(rig, DRIVEN_JOINTS)

        def extrapolate(here: np.ndarray, there: np.ndarray) -> np.ndarray:
            return here + (there - here) / step

        joints = extrapolate(chain.rest_joints_m, stepped.rest_joints_m)
        keypoint_offsets = extrapolate(keypoints.offsets_m, stepped.keypoints(rig).offsets_m)
        surface_offsets = extrapolate(surface.points.offsets_m, stepped.surface(rig, surface.vertices).offsets_m)
        return ShapeVariant(
            dataclasses.replace(stepped, rest_joints_m=joints),
            PointSet(keypoints.weights, keypoint_offsets),
            PointSet(surface.points.weights, surface_offsets),
        )

    def _initial_pose(self, problem: PoseProblem) -> ChainPose:
        chain, keypoints, landmarks = problem.chain, problem.keypoints, self.landmarks
        local = initial_rotations(chain, keypoints, problem.limits, np.nan_to_num(landmarks.world_m))
        return with_initial_translation(
            chain, local, keypoints, landmarks.points_px, landmarks.visibility, self.camera.focal_px, self.centre_px
        )

    def _solve_frames(self, problem: PoseProblem, pose: ChainPose, observations: Observations, max_steps: int) -> ChainPose:
        """Each frame's pose by itself, from landmarks alone."""

        def solve(part: ChainPose, rows: np.ndarray) -> ChainPose:
            return problem.solve(part, select_rows(observations, rows), max_steps, coupled=False)

        return self._in_chunks(pose, solve, overlap=0)

    def _without_leaps(self, problem: PoseProblem, pose: ChainPose) -> ChainPose:
        """``pose`` with arms that leap for some frames turned as between the frames around: solved by itself, a frame may end in another
        pose of a hidden arm, from which no coupling brings it back."""
        G, p = problem.chain.forward(pose.local, pose.translation_m)
        joints = problem.chain.points(G, p, problem.keypoints)
        times_s = self.clip.times_s[self.track.frame_index] * self.clip.time_scale
        local = pose.local.copy()
        for rows, side in itertools.product(self.shots, ("LEFT", "RIGHT")):
            leaps = np.zeros(len(times_s), bool)
            leaps[rows] = leaping_arm(joints[rows], times_s[rows], side)
            kept = rows[~leaps[rows]]
            if not leaps.any() or len(kept) < 2:
                continue
            between_s = np.clip(times_s[leaps], times_s[kept[0]], times_s[kept[-1]])
            for d, name in enumerate(DRIVEN_JOINTS):
                if name.startswith(ARM_JOINTS) and name.endswith(side[0]):
                    local[leaps, d] = Slerp(times_s[kept], Rotation.from_matrix(local[kept, d]))(between_s).as_matrix()
        return ChainPose(local, pose.translation_m)

    def _fit_shape(self, shape: np.ndarray, pose: ChainPose, observations: Observations, height_m: float) -> np.ndarray:
        """The person's one shape, from the most visible frame of each of ``num_shape_frames`` equal parts of the clip."""
        rows = _best_rows(self.landmarks.visibility.sum(1), self.settings.num_shape_frames)
        few, some = ChainPose(pose.local[rows], pose.translation_m[rows]), select_rows(observations, rows)
        shape = shape.copy()
        sigma = np.full(len(FITTED_SHAPE), SHAPE_SIGMA * np.sqrt(min(1.0, NUM_INDEPENDENT_FRAMES / len(rows))))
        for _ in range(NUM_SHAPE_ROUNDS):
            problem, surface = self._problem(shape, with_slopes=True)
            matches = self._matches(problem, surface, few, rows)
            offset = (shape[_FITTED_AT] - DEFAULT_SHAPE[_FITTED_AT]) / sigma
            few, change = problem.solve_with_shape(few, some, matches, offset, sigma, NUM_STEPS_PER_SHAPE_ROUND)
            change = np.clip(change, -MAX_SHAPE_CHANGE, MAX_SHAPE_CHANGE)
            shape[_FITTED_AT] = np.clip(shape[_FITTED_AT] + change, MIN_SHAPE, MAX_SHAPE)
        return self.body.with_height(shape, height_m)

    def _matches(self, problem: PoseProblem, surface: SurfaceSample, pose: ChainPose, rows: np.ndarray) -> SilhouetteMatches:
        sigma = np.full(len(rows), self.outline_sigma_px)
        outlines = [self.outlines[row] for row in rows]
        return match_silhouettes(surface, problem.chain, pose, outlines, self.camera.focal_px, self.centre_px, sigma)

    def _in_chunks(
        self, pose: ChainPose, solve: Callable[[ChainPose, np.ndarray], ChainPose], overlap: int = NUM_OVERLAP_FRAMES
    ) -> ChainPose:
        """``solve(part, rows)`` for chunks side by side. Chunks overlap, and each keeps its middle, so that a seam is far from either end.

        No chunk reads another's result, so that the order in which they are solved changes nothing.
        """
        T = len(pose.local)
        num_chunks = max(math.ceil(T / self.settings.chunk_frames), 2 if T >= MIN_FRAMES_TO_PART else 1)
        size = math.ceil(T / num_chunks)
        firsts = range(0, T, size)

        def solve_chunk(first: int) -> ChainPose:
            low, high, last = max(0, first - overlap), min(T, first + size + overlap), min(T, first + size)
            part = solve(ChainPose(pose.local[low:high], pose.translation_m[low:high]), np.arange(low, high))
            return ChainPose(part.local[first - low : last - low], part.translation_m[first - low : last - low])

        parts = list(self.pool.map(solve_chunk, firsts))
        return ChainPose(np.concatenate([part.local for part in parts]), np.concatenate([part.translation_m for part in parts]))

    def _track(self, shape: np.ndarray, pose: ChainPose, observations: Observations, given: _GivenShape) -> BodyTrack:
        rig, translation = self.body.rig(shape), pose.translation_m
        chain = KinematicChain.from_rig(rig, DRIVEN_JOINTS)
        fingers = SeenFingers(self.hands.flexion, self.hands.weight) if self.hands else None
        rotations = matrix_to_rotvec(chain.to_rig(pose.local))
        for rows in self.shots:
            seen = fingers and SeenFingers(fingers.flexion[rows], fingers.weight[rows])
            rotations[rows] = curl_fingers(rig, rotations[rows], observations.hands_joined[rows], seen)
        joints = rig.keypoints(*rig.forward(rotations, translation))
        return BodyTrack(
            person_id=self.track.person_id,
            body="anny",
            frame_index=self.track.frame_index,
            shape=shape.astype(np.float32),
            rotations=rotations,
            translation_m=translation,
            joints_m=joints,
            keypoints_px=self.camera.with_zoom(
                np.where(self.sides.measured[..., None], self.landmarks.points_px, np.nan), self.track.frame_index
            ),
            visibility=self.landmarks.visibility,
            confidence=_confidence(joints, self.landmarks, self.camera) * (1 - self.sides.ambiguity),
            observed=np.ones(len(translation), bool),
            height_assumed=given.height_m is None,
        )


def _without_zoom(landmarks: LandmarkTrack, camera: Camera, frames: np.ndarray) -> LandmarkTrack:
    """Landmarks as they would be seen at the focal length of the clip's first frame."""
    if camera.path is None:
        return landmarks
    hands = landmarks.hands and dataclasses.replace(landmarks.hands, points_px=camera.without_zoom(landmarks.hands.points_px, frames))
    return dataclasses.replace(landmarks, points_px=camera.without_zoom(landmarks.points_px, frames), hands=hands)


def _with_turns(observations: Observations, T_reference_camera: np.ndarray, camera: Camera) -> Observations:
    """``observations`` tied in axes that stay, where the camera turns: of a path without a length its turns alone are known."""
    R = T_reference_camera[:, :3, :3]
    is_to_scale = camera.path is not None and camera.path.kind == "moving" and camera.path.scale_source != "none"
    return dataclasses.replace(
        observations,
        down=np.einsum("tba,b->ta", R, observations.down),
        R_reference_camera=R,
        camera_m=T_reference_camera[:, :3, 3] if is_to_scale else None,
    )


def _floor_distance(problem: PoseProblem, pose: ChainPose, observations: Observations) -> float:
    """How far below the camera the floor under resting feet lies, in metres, or NaN where no foot rests."""
    G, p = problem.chain.forward(pose.local, pose.translation_m)
    below = extent_along(problem.chain.points(G, p, problem.keypoints), observations.down)
    resting = [below[observations.foot_contact[:, side] > 0, k] for side, feet in enumerate(BODY_PARTS.feet) for k in feet]
    depths = np.concatenate(resting)
    return float(np.median(depths)) if len(depths) else float("nan")


def _best_rows(score: np.ndarray, num_parts: int) -> np.ndarray:
    """The row of highest ``score`` (T,) in each of ``num_parts`` equal stretches, in order."""
    edges = np.linspace(0, len(score), min(num_parts, len(score)) + 1).round().astype(int)
    return np.array([a + int(np.argmax(score[a:b])) for a, b in itertools.pairwise(edges) if b > a])


def _confidence(joints_m: np.ndarray, landmarks: BodyLandmarks, camera: Camera) -> Float[np.ndarray, " t"]:
    """How far to trust each frame: the visibility of the body's main joints, lowered where the fit misses the landmarks."""
    miss = np.linalg.norm(camera.project(joints_m) - landmarks.points_px, axis=-1) / landmarks.height_px
    weight = np.where(np.isfinite(miss), landmarks.visibility, 0.0)
    mean_miss = np.sum(np.nan_to_num(miss) * weight, 1) / np.maximum(weight.sum(1), 1e-6)
    visibility = landmarks.visibility[:, [*BODY_PARTS.shoulders, *BODY_PARTS.hips, *BODY_PARTS.arms]]
    return np.clip(visibility.mean(1), 0, 1) / (1 + (mean_miss / HALF_CONFIDENCE_MISS) ** 2)
