"""The solver finds the poses it is shown, and each term of the fit has its effect."""

import dataclasses

import numpy as np
import pytest

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.core.joints import Body29 as B
from body4d.geometry.rotations import geodesic_angle, matrix_to_rotvec, rotvec_to_matrix
from body4d.models.anny_fit import residuals
from body4d.models.anny_fit.gauss_newton import PoseProblem
from body4d.models.anny_fit.initialization import initial_rotations, with_initial_translation
from body4d.models.anny_fit.joint_limits import DRIVEN_JOINTS, joint_limits
from body4d.models.anny_fit.kinematic_chain import KinematicChain
from body4d.models.anny_fit.observations import BODY_PARTS
from body4d.models.anny_fit.steady_acceleration import steady_acceleration
from body4d.models.anny_fit.types import ChainPose, Observations, Palms

T, FOCAL, CENTRE = 12, 900.0, np.array([320.0, 240.0])
pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def problem():
    rig = anny_body().rig(DEFAULT_SHAPE)
    chain = KinematicChain.from_rig(rig, DRIVEN_JOINTS)
    return PoseProblem(chain, chain.keypoints(rig), joint_limits(rig), FOCAL, CENTRE, BODY_PARTS)


def truth(problem: PoseProblem) -> ChainPose:
    """A body that turns about its vertical axis, bends its elbows and knees and walks slowly to the right."""
    time = np.linspace(0, 1, T)
    turns = np.zeros((T, len(DRIVEN_JOINTS), 3))
    turns[:, 0, 1] = 0.8 * time
    for name, flexion in (("lowerarm01.L", 0.9), ("lowerarm01.R", 0.4), ("lowerleg01.L", 0.5), ("upperleg01.L", 0.6)):
        d = DRIVEN_JOINTS.index(name)
        turns[:, d] = flexion * (0.5 + 0.5 * time)[:, None] * problem.limits.axes[d - 1, 0]
    return ChainPose(rotvec_to_matrix(turns), np.stack([0.3 * time, 0 * time + 0.1, 0 * time + 4.0], -1))


def points_of(problem: PoseProblem, pose: ChainPose) -> np.ndarray:
    return problem.chain.points(*problem.chain.forward(pose.local, pose.translation_m), problem.keypoints)


def observe(problem: PoseProblem, pose: ChainPose, noise_px: float = 0.0) -> Observations:
    x = points_of(problem, pose)
    px = FOCAL * x[..., :2] / x[..., 2:] + CENTRE + noise_px * np.random.default_rng(0).normal(size=(T, len(B), 2))
    return Observations(
        points_px=px,
        sigma_px=np.full((T, len(B)), 3.0),
        depth_m=x[..., 2] - x[:, list(BODY_PARTS.hips), 2].mean(1, keepdims=True),
        depth_sigma_m=np.full((T, len(B)), 0.1),
        acceleration_sigma_m=np.full((T, len(B), 3), 0.02),
        angular_acceleration_sigma_rad=np.full(T, np.radians(2.0)),
        is_consecutive=np.ones(T - 1, bool),
        hands_joined=np.zeros(T),
        foot_contact=np.zeros((T, 2)),
    )


def initial_pose(problem: PoseProblem, pose: ChainPose, observations: Observations) -> ChainPose:
    local = initial_rotations(problem.chain, problem.keypoints, problem.limits, points_of(problem, pose))
    return with_initial_translation(problem.chain, local, problem.keypoints, observations.points_px, np.ones((T, len(B))), FOCAL, CENTRE)


def test_the_initial_pose_points_limbs_the_right_way(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    distance = np.linalg.norm(points_of(problem, initial_pose(problem, pose, observations)) - points_of(problem, pose), axis=-1)
    assert distance[:, : B.LEFT_BIG_TOE].mean() < 0.06


def test_a_pose_observed_exactly_is_found(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    found = problem.solve(initial_pose(problem, pose, observations), observations, 25)
    distance = np.linalg.norm(points_of(problem, found) - points_of(problem, pose), axis=-1)
    assert distance.mean() < 0.012
    assert distance.max() < 0.06
    main = [DRIVEN_JOINTS.index(n) for n in ("root", "lowerarm01.L", "lowerleg01.L")]
    assert np.degrees(geodesic_angle(found.local[:, main], pose.local[:, main])).mean() < 8


def test_every_step_lowers_the_cost(problem):
    pose = truth(problem)
    observations = observe(problem, pose, noise_px=4.0)
    start = initial_pose(problem, pose, observations)
    costs = [problem.normal_equations(problem.solve(start, observations, n), observations, None, True).cost for n in (0, 1, 3, 8)]
    assert costs[0] > costs[1] > costs[2] > costs[3]


@pytest.mark.parametrize("with_path", [False, True], ids=["turns", "turns and moves"])
def test_frames_are_tied_in_axes_that_stay_where_the_camera_turns(problem, with_path):
    """The equations of a body seen by a camera that turns are those before a still camera, each frame's unknowns turned with it."""
    pose = truth(problem)
    turns = rotvec_to_matrix(np.stack([0.1 * np.sin(np.arange(T)), 0.15 * np.arange(T), 0.05 * np.cos(np.arange(T))], -1))
    places = np.stack([0.2 * np.arange(T), 0.1 * np.sin(np.arange(T)), np.zeros(T)], -1) * with_path
    backwards = np.swapaxes(turns, 1, 2)
    local = pose.local.copy()
    local[:, 0] = backwards @ local[:, 0]
    seen = ChainPose(local, np.einsum("tab,tb->ta", backwards, pose.translation_m - places))
    still = observe(problem, pose)
    moved = dataclasses.replace(still, R_reference_camera=turns, camera_m=places if with_path else None)

    def equations(pose: ChainPose, observations: Observations) -> residuals.NormalEquations:
        G, p = problem.chain.forward(pose.local, pose.translation_m)
        x, J = problem.chain.points_and_jacobian(G, p, problem.keypoints)
        system = residuals.NormalEquations.empty(T, J.shape[-1])
        term = residuals.acceleration if observations.R_reference_camera is None else steady_acceleration
        term(system, problem.chain, pose.local, x, J, G, observations)
        return system

    want, got = equations(pose, still), equations(seen, moved)
    turn = np.stack([np.kron(np.eye(got.g.shape[1] // 3), R) for R in turns])  # from each frame's unknowns to those of the still camera
    back = np.swapaxes(turn, 1, 2)
    assert got.cost_by_term == pytest.approx(want.cost_by_term)
    np.testing.assert_allclose(got.g, np.einsum("tpq,tq->tp", back, want.g), atol=1e-6)
    np.testing.assert_allclose(got.H, back @ want.H @ turn, atol=1e-5)
    np.testing.assert_allclose(got.H1, back[:-1] @ want.H1 @ turn[1:], atol=1e-5)
    np.testing.assert_allclose(got.H2, back[:-2] @ want.H2 @ turn[2:], atol=1e-5)


def test_one_wild_landmark_does_not_move_the_body(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    wild = observations.points_px.copy()
    wild[5, B.LEFT_WRIST] += 200.0
    found = problem.solve(initial_pose(problem, pose, observations), dataclasses.replace(observations, points_px=wild), 25)
    assert np.linalg.norm(points_of(problem, found)[5, B.LEFT_WRIST] - points_of(problem, pose)[5, B.LEFT_WRIST]) < 0.08


def test_a_seen_palm_turns_forearm_and_wrist(problem):
    """The picture shows the knuckles of a hand that hangs, but hardly which way its palm faces."""
    pose = truth(problem)
    turn = np.zeros((len(DRIVEN_JOINTS), 3))
    forearm, wrist = (DRIVEN_JOINTS.index(f"{name}.L") for name in ("lowerarm02", "wrist"))
    turn[forearm], turn[wrist] = 1.0 * problem.limits.axes[forearm - 1, 2], 0.5 * problem.limits.axes[wrist - 1, 0]
    pose = ChainPose(pose.local @ rotvec_to_matrix(turn), pose.translation_m)
    x = points_of(problem, pose)
    index, pinky, middle = x[:, B.LEFT_INDEX], x[:, B.LEFT_PINKY], (x[:, B.LEFT_INDEX] + x[:, B.LEFT_PINKY]) / 2
    directions = np.zeros((T, 2, 2, 3))
    directions[:, 0] = np.stack([middle - x[:, B.LEFT_WRIST], index - pinky], 1)
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-9)
    observations = observe(problem, pose)
    sigma = observations.sigma_px.copy()
    sigma[:, [B.LEFT_THUMB, B.LEFT_INDEX, B.LEFT_PINKY]] = 60.0
    blurred = dataclasses.replace(observations, sigma_px=sigma)
    error_deg = []
    for weight in (0.0, 1.0):
        weights = np.zeros((T, 2))
        weights[:, 0] = weight
        found = problem.solve(initial_pose(problem, pose, observations), dataclasses.replace(blurred, palms=Palms(directions, weights)), 25)
        y = points_of(problem, found)
        across = y[:, B.LEFT_INDEX] - y[:, B.LEFT_PINKY]
        cosine = np.sum(across * directions[:, 0, 1], -1) / np.linalg.norm(across, axis=-1)
        error_deg.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    assert error_deg[0] > 30
    assert error_deg[1] < 8


def test_joined_hands_meet_in_depth(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    depth = observations.depth_m.copy()
    left, right = list(BODY_PARTS.hands[0]), list(BODY_PARTS.hands[1])
    depth[:, [*left, B.LEFT_WRIST]] += 0.4
    apart = dataclasses.replace(observations, depth_m=depth, depth_sigma_m=np.full_like(depth, 0.3))
    gaps = []
    for joined in (np.zeros(T), np.ones(T)):
        x = points_of(
            problem, problem.solve(initial_pose(problem, pose, observations), dataclasses.replace(apart, hands_joined=joined), 15)
        )
        gaps.append(np.abs(x[:, left, 2].mean(1) - x[:, right, 2].mean(1)).mean())
    assert gaps[1] < 0.05
    assert gaps[1] < 0.4 * gaps[0]


def test_resting_feet_stand_on_one_floor(problem, monkeypatch):
    """Landmarks that put one foot before and one behind the body, though the picture shows both at one height."""
    pose = truth(problem)
    still = ChainPose(np.broadcast_to(np.eye(3), pose.local.shape).copy(), np.broadcast_to([0.0, 0.1, 4.0], (T, 3)).copy())
    observations = observe(problem, still)
    left, right = list(BODY_PARTS.feet[0]), list(BODY_PARTS.feet[1])
    floor = float(points_of(problem, still)[0, left + right, 1].mean())
    split = observations.depth_m.copy()
    split[:, left] += 0.25
    split[:, right] -= 0.25
    loose = {"sigma_px": np.full((T, len(B)), 8.0), "depth_sigma_m": np.full_like(split, 0.15)}
    wrong = dataclasses.replace(observations, depth_m=split, foot_contact=np.ones((T, 2)), **loose)
    monkeypatch.setattr(residuals, "FLOOR_SIGMA_M", 0.03)
    stride = []
    for floor_y in (np.nan, floor):
        x = points_of(problem, problem.solve(still, dataclasses.replace(wrong, floor_m=floor_y), 15))
        stride.append(abs(x[:, left, 2].mean() - x[:, right, 2].mean()))
    assert stride[0] > 0.1
    assert stride[1] < 0.75 * stride[0]


def leaning(problem, degrees):
    """A standing body that leans away from a level camera, and what is seen of it; depths carry the same error as the pose."""
    turns = np.zeros((T, len(DRIVEN_JOINTS), 3))
    turns[:, 0, 0] = np.radians(degrees)
    return ChainPose(rotvec_to_matrix(turns), np.broadcast_to([0.0, 0.1, 4.0], (T, 3)).copy())


def lean_deg(problem, pose, down=(0.0, 1.0, 0.0)):
    """Angle between gravity and the line from the middle of the feet to the centre of mass, along the view."""
    over = np.einsum("k,tka->ta", BODY_PARTS.mass_weights - BODY_PARTS.feet_weights, points_of(problem, pose)).mean(0)
    up, away = -np.asarray(down), np.array([0.0, 0.0, 1.0]) - down[2] * np.asarray(down)
    return float(np.degrees(np.arctan2(over @ away, over @ up)))


@pytest.mark.parametrize("pitch_deg", [0.0, -15.0])
def test_a_body_whose_depths_are_tilted_keeps_its_balance_under_known_gravity(problem, pitch_deg):
    down = np.array([0.0, np.cos(np.radians(pitch_deg)), -np.sin(np.radians(pitch_deg))])
    wrong = leaning(problem, 9 - pitch_deg)
    observations = dataclasses.replace(observe(problem, wrong), sigma_px=np.full((T, len(B)), 8.0), down=down)
    unknown, known = (
        problem.solve(wrong, dataclasses.replace(observations, pitch_sigma_deg=sigma, foot_contact=np.ones((T, 2))), 15)
        for sigma in (60.0, 2.0)
    )
    assert abs(lean_deg(problem, known, down)) < 0.8 * abs(lean_deg(problem, unknown, down))


def test_people_who_lie_have_no_balance_to_keep(problem):
    lying = leaning(problem, 80)
    observations = observe(problem, lying)
    found = problem.solve(lying, dataclasses.replace(observations, pitch_sigma_deg=2.0), 10)
    assert np.abs(points_of(problem, found) - points_of(problem, lying)).max() < 0.05


def test_the_depths_common_tilt_counts_as_one_error(problem, monkeypatch):
    """Depths that tilt a whole body by 6 degrees cost little; the same lengths of error, at random, cost much."""
    pose = leaning(problem, 0)
    observations, x = observe(problem, pose), points_of(problem, pose)
    tilt = np.tan(np.radians(6)) * (x[..., 1] - x[..., 1].mean(1, keepdims=True))
    shuffled = np.random.default_rng(0).permuted(tilt, axis=1)
    costs = []
    for error in (tilt, shuffled):
        system = residuals.NormalEquations.empty(T, 3 + 3 * len(DRIVEN_JOINTS))
        J = problem.chain.points_and_jacobian(*problem.chain.forward(pose.local, pose.translation_m), problem.keypoints)[1]
        residuals.relative_depth(system, x, J, dataclasses.replace(observations, depth_m=observations.depth_m + error))
        costs.append(system.cost_by_term["depth"])
    assert costs[0] < 0.25 * costs[1]


def test_knees_do_not_bend_backwards(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    depth = observations.depth_m.copy()
    depth[:, B.LEFT_ANKLE] -= 0.8
    found = problem.solve(initial_pose(problem, pose, observations), dataclasses.replace(observations, depth_m=depth), 20)
    d = DRIVEN_JOINTS.index("lowerleg01.L")
    flexion = matrix_to_rotvec(found.local[:, d]) @ problem.limits.axes[d - 1, 0]
    assert np.degrees(flexion).min() > -12


def test_missing_landmarks_weigh_nothing(problem):
    pose = truth(problem)
    observations = observe(problem, pose)
    px, sigma = observations.points_px.copy(), observations.sigma_px.copy()
    px[:, B.NOSE], sigma[:, B.NOSE] = np.nan, np.inf
    blind = dataclasses.replace(observations, points_px=px, sigma_px=sigma)
    system = problem.normal_equations(pose, blind, None, True)
    assert np.isfinite(system.cost)
    assert np.isfinite(system.H).all()


def test_normal_equations_are_those_of_the_accelerations(problem, monkeypatch):
    """The sums over frames that the term adds at once are the products of its rows, whatever frames are multiplied together."""
    monkeypatch.setattr(residuals, "BLOCK_FRAMES", 5)
    pose = truth(problem)
    observations = observe(problem, pose, noise_px=2.0)
    G, p = problem.chain.forward(pose.local, pose.translation_m)
    x, J = problem.chain.points_and_jacobian(G, p, problem.keypoints)
    x = x + np.random.default_rng(1).normal(size=x.shape) * 0.02
    P = J.shape[-1]
    found, angular = residuals.NormalEquations.empty(T, P), residuals.NormalEquations.empty(T, P)
    residuals.acceleration(found, problem.chain, pose.local, x, J, G, observations)
    residuals._angular_acceleration(angular, problem.chain, pose.local, G, np.ones(T - 2), observations.angular_acceleration_sigma_rad)
    dense, gradient = np.zeros((T, P, T, P)), np.zeros((T, P))
    for t in range(T - 2):
        r = (x[t] - 2 * x[t + 1] + x[t + 2]) / observations.acceleration_sigma_m[t + 1]
        weight = residuals.robust_weights(np.linalg.norm(r, axis=-1), residuals.FAST_MOTION_SIGMAS)[:, None]
        factors = ((t, 1.0), (t + 1, -2.0), (t + 2, 1.0))
        rows = {s: (f * weight / observations.acceleration_sigma_m[t + 1])[..., None] * J[s] for s, f in factors}
        for s, row in rows.items():
            gradient[s] += np.einsum("kap,ka->p", row, r * weight)
            for s2, row2 in rows.items():
                dense[s, :, s2] += np.einsum("kap,kaq->pq", row, row2)
    for step, blocks, other in ((0, found.H, angular.H), (1, found.H1, angular.H1), (2, found.H2, angular.H2)):
        expected = np.stack([dense[t, :, t + step] for t in range(T - step)])
        np.testing.assert_allclose(blocks - other, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(found.g - angular.g, gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())
