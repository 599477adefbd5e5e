"""Anny fitted to BlazePose's landmarks and masks: the BodyEstimator of preset lite.

Order of work for each person: limbs laid along the landmarks in closed form, poses alone, one shape for the clip from a few frames
(landmarks and outlines), then all poses together. Depth, which BlazePose guesses badly (LITE trial: hands of one grip half a metre
apart), has other witnesses: bone lengths, joint ranges, outlines, hands on one grip, feet on one floor, calm motion along the ray.
"""

import dataclasses
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from body4d.bodies.anny import DEFAULT_SHAPE, SHAPE_NAMES, AnnyBody, anny_body, curl_fingers
from body4d.config import ContactSettings, FitSettings
from body4d.core.errors import Cancelled
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack
from body4d.geometry.rotations import matrix_to_rotvec
from body4d.models.anny_fit.gauss_newton import PoseProblem, ShapeVariant
from body4d.models.anny_fit.initialization import starting_pose, starting_translation
from body4d.models.anny_fit.joint_limits import DRIVEN_JOINTS, joint_ranges
from body4d.models.anny_fit.kinematic_chain import Chain, PointSet
from body4d.models.anny_fit.observations import PARTS, Seen, gather, rows_of
from body4d.models.anny_fit.silhouette import Surface, match_outline, outline_points
from body4d.models.anny_fit.types import Anchors, Evidence, Pose

_FITTED = ("gender", "muscle", "weight", "proportions")
"""Phenotypes that are fitted. Age is given (adults), and height cannot be told from distance by one camera."""

_FITTED_AT = [SHAPE_NAMES.index(name) for name in _FITTED]
_SLOPE_STEP = 0.1


class AnnyFit:
    """Fits one Anny per person. ``person_height_m`` is the main (first) person's height, or None for Anny's average adult."""

    def __init__(self, fit: FitSettings, contact: ContactSettings, person_height_m: float | None = None) -> None:
        self._fit, self._contact, self._height_m = fit, contact, person_height_m

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        report: ProgressFn,
        hidden: Sequence[OcclusionSegment] = (),
    ) -> tuple[BodyTrack, ...]:
        """One BodyTrack per MaskTrack; every mask track must bring BlazePose landmarks, else ValueError.

        Landmarks are found before anybody is completed: ``hidden`` changes nothing.
        """
        body = anny_body()
        total = sum(len(track) for track in masks)
        done = [0] * len(masks)
        stopped = threading.Event()

        def fit(n: int) -> BodyTrack:
            def progress(rows: int) -> None:
                if stopped.is_set():
                    raise Cancelled("stopped")
                done[n] = rows
                report(sum(done), total)

            person = _PersonFit(body, masks[n], frames.clip, camera, self._fit, self._contact)
            track = person.run(self._height_m if n == 0 else None, progress)
            progress(len(track))
            return track

        # The matrices are small: one thread each and a person per core is twice as fast as one person on all cores.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
            tasks = [pool.submit(fit, n) for n in range(len(masks))]
            try:
                return tuple(task.result() for task in tasks)
            except BaseException:
                stopped.set()
                for task in tasks:
                    task.cancel()
                raise


class _PersonFit:
    """The fit of one person: what stays the same through its steps."""

    def __init__(self, body: AnnyBody, track: MaskTrack, clip: Clip, camera: Camera, fit: FitSettings, contact: ContactSettings) -> None:
        if track.landmarks is None:
            raise ValueError(f"person {track.person_id} has no landmarks, which this fit needs")
        self.body, self.track, self.clip, self.camera, self.fit, self.contact = body, track, clip, camera, fit, contact
        self.seen = Seen.of(track.landmarks).turned_to(camera)
        self.centre = np.array([camera.cx_px, camera.cy_px])
        self.outline_sigma_px = fit.outline_sigma_of_height * self.seen.height_px
        self.outlines = [outline_points(track.mask(row), fit.outline_points) for row in range(len(track))]

    def run(self, height_m: float | None, progress: Callable[[int], None]) -> BodyTrack:
        """The person's track; ``progress`` is told rows done, in shares of the work, and may raise to stop it."""
        T = len(self.track)
        shape = DEFAULT_SHAPE.astype(np.float64)
        problem, surface = self._problem(shape)
        local = starting_pose(problem.chain, problem.keypoints, problem.ranges, np.nan_to_num(self.seen.world_m))
        pose = starting_translation(
            problem.chain, local, problem.keypoints, self.seen.points_px, self.seen.visibility, self.camera.focal_px, self.centre
        )
        depth = pose.translation_m[:, 2]
        evidence = gather(self.seen, self.track.frame_index, self.clip, depth, self.camera.focal_px, self.fit, self.contact)
        pose = self._in_chunks(pose, lambda part, rows: problem.solve(part, rows_of(evidence, rows), 12, coupled=False))
        progress(T // 5)
        shape = self._shape(shape, pose, evidence)
        problem, surface = self._problem(shape)
        pose = self._in_chunks(pose, lambda part, rows: problem.solve(part, rows_of(evidence, rows), 8, coupled=False))
        progress(2 * T // 5)
        evidence = dataclasses.replace(evidence, floor_m=_floor_distance(problem, pose, evidence))

        def settle(part: Pose, rows: np.ndarray) -> Pose:
            some = rows_of(evidence, rows)
            for _ in range(self.fit.pose_rounds):
                part = problem.solve(part, some, self.fit.steps_per_round, self._anchors(problem, surface, part, rows))
            progress((2 * T + 3 * int(rows[-1])) // 5)
            return part

        return self._track(shape, self._in_chunks(pose, settle), evidence, height_m)

    def _problem(self, shape: np.ndarray, slopes: bool = False) -> tuple[PoseProblem, Surface]:
        rig = self.body.rig(shape)
        chain = Chain.of(rig, DRIVEN_JOINTS)
        surface = Surface(rig, chain, self.fit.surface_points)
        keypoints = chain.keypoints(rig)
        variants = tuple(self._variant(shape, at, chain, keypoints, surface) for at in _FITTED_AT) if slopes else ()
        ranges = joint_ranges(rig)
        return PoseProblem(chain, keypoints, ranges, self.camera.focal_px, self.centre, PARTS, self.fit, variants), surface

    def _variant(self, shape: np.ndarray, at: int, chain: Chain, keypoints: PointSet, surface: Surface) -> ShapeVariant:
        """The body a whole unit of shape parameter ``at`` away, extrapolated from a small step."""
        step = _SLOPE_STEP if shape[at] + _SLOPE_STEP < 1 else -_SLOPE_STEP
        other = shape.copy()
        other[at] += step
        rig = self.body.rig(other)
        there = Chain.of(rig, DRIVEN_JOINTS)

        def extrapolate(here: np.ndarray, stepped: np.ndarray) -> np.ndarray:
            return here + (stepped - here) / step

        joints = extrapolate(chain.rest_joints_m, there.rest_joints_m)
        reach = extrapolate(keypoints.reach_m, there.keypoints(rig).reach_m)
        skin = extrapolate(surface.points.reach_m, there.surface(rig, surface.vertices).reach_m)
        return ShapeVariant(
            dataclasses.replace(there, rest_joints_m=joints), PointSet(keypoints.weights, reach), PointSet(surface.points.weights, skin)
        )

    def _shape(self, shape: np.ndarray, pose: Pose, evidence: Evidence) -> np.ndarray:
        """The person's one shape, from the best seen frame of each of ``shape_frames`` equal parts of the clip."""
        rows = _best_rows(self.seen.visibility.sum(1), self.fit.shape_frames)
        few, some = Pose(pose.local[rows], pose.translation_m[rows]), rows_of(evidence, rows)
        shape = shape.copy()
        sigma = np.full(len(_FITTED), self.fit.shape_sigma * np.sqrt(min(1.0, self.fit.shape_independent_frames / len(rows))))
        for _ in range(self.fit.shape_rounds):
            problem, surface = self._problem(shape, slopes=True)
            drawn = self._anchors(problem, surface, few, rows)
            offset = (shape[_FITTED_AT] - DEFAULT_SHAPE[_FITTED_AT]) / sigma
            few, change = problem.solve_with_shape(few, some, drawn, offset, sigma, iterations=3)
            # Phenotypes are defined on [0, 1], and piecewise linear: a long step leaves the slope it was made with.
            shape[_FITTED_AT] = np.clip(shape[_FITTED_AT] + np.clip(change, -0.3, 0.3), 0.02, 0.98)
        return shape

    def _anchors(self, problem: PoseProblem, surface: Surface, pose: Pose, rows: np.ndarray) -> Anchors:
        sigma = np.full(len(rows), self.outline_sigma_px)
        outlines = [self.outlines[row] for row in rows]
        return match_outline(surface, problem.chain, pose, outlines, self.camera.focal_px, self.centre, sigma)

    def _in_chunks(self, pose: Pose, solve: Callable[[Pose, np.ndarray], Pose]) -> Pose:
        """``solve(part, rows)`` chunk by chunk. Chunks overlap, and each keeps its middle, so that a seam lies far from either end."""
        T, size, overlap = len(pose.local), self.fit.chunk_frames, self.fit.overlap_frames
        local, translation = pose.local.copy(), pose.translation_m.copy()
        for first in range(0, T, size):
            low, high, last = max(0, first - overlap), min(T, first + size + overlap), min(T, first + size)
            part = solve(Pose(pose.local[low:high], pose.translation_m[low:high]), np.arange(low, high))
            local[first:last], translation[first:last] = part.local[first - low : last - low], part.translation_m[first - low : last - low]
        return Pose(local, translation)

    def _track(self, shape: np.ndarray, pose: Pose, evidence: Evidence, height_m: float | None) -> BodyTrack:
        rig, translation = self.body.rig(shape), pose.translation_m
        if height_m is not None:
            # One camera cannot tell a small person near by from a tall one far away: scaling both leaves the picture as it is.
            scale = height_m / rig.height_m
            shape = np.concatenate([shape[:-1], [shape[-1] * scale]])
            rig, translation = self.body.rig(shape), translation * scale
        chain = Chain.of(rig, DRIVEN_JOINTS)
        rotations = curl_fingers(rig, matrix_to_rotvec(chain.to_rig(pose.local)), evidence.held)
        joints = rig.keypoints(*rig.forward(rotations, translation))
        body_visibility = self.seen.visibility[:, [*PARTS.shoulders, *PARTS.hips, *PARTS.arms]]
        return BodyTrack(
            person_id=self.track.person_id,
            body="anny",
            frame_index=self.track.frame_index,
            shape=shape.astype(np.float32),
            rotations=rotations,
            translation_m=translation,
            joints_m=joints,
            keypoints_px=self.seen.points_px,
            visibility=self.seen.visibility,
            confidence=_confidence(joints, self.seen, self.camera, body_visibility),
            observed=np.ones(len(translation), bool),
            joints_raw_m=_landmarks_in_place(self.seen, joints),
        )


def _floor_distance(problem: PoseProblem, pose: Pose, evidence: Evidence) -> float:
    """How far below the camera the floor under planted feet lies, metres, or NaN where none ever rests."""
    G, p = problem.chain.forward(pose.local, pose.translation_m)
    below = problem.chain.points(G, p, problem.keypoints) @ evidence.down
    resting = [below[evidence.planted[:, side] > 0, k] for side, feet in enumerate(PARTS.feet) for k in feet]
    depths = np.concatenate(resting)
    return float(np.median(depths)) if len(depths) else float("nan")


def _landmarks_in_place(seen: Seen, joints_m: np.ndarray) -> np.ndarray:
    """BlazePose's own metric landmarks (T, K, 3), which are relative to the hips, carried to the fitted hips: what the fit had to
    start from, and what its calm is measured against."""
    hips = joints_m[:, list(PARTS.hips)].mean(1, keepdims=True)
    return seen.world_m - seen.world_m[:, list(PARTS.hips)].mean(1, keepdims=True) + hips


def _best_rows(score: np.ndarray, parts: int) -> np.ndarray:
    """The row of highest ``score`` (T,) in each of ``parts`` equal stretches, rising."""
    edges = np.linspace(0, len(score), min(parts, len(score)) + 1).round().astype(int)
    return np.array([a + int(np.argmax(score[a:b])) for a, b in itertools.pairwise(edges) if b > a])


def _confidence(joints_m: np.ndarray, seen: Seen, camera: Camera, visibility: np.ndarray) -> np.ndarray:
    """How far to trust each frame (T,): visibility of the body's main joints, lowered where the fit misses the landmarks.

    A miss of 5 % of body height halves it.
    """
    miss = np.linalg.norm(camera.project(joints_m) - seen.points_px, axis=-1) / seen.height_px
    weight = np.where(np.isfinite(miss), seen.visibility, 0.0)
    mean_miss = np.sum(np.nan_to_num(miss) * weight, 1) / np.maximum(weight.sum(1), 1e-6)
    return np.clip(visibility.mean(1), 0, 1) / (1 + (mean_miss / 0.05) ** 2)
