"""Whether a camera moves, from points alone: against real projections of points in space."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from body4d.camera.moving_camera import ClipMotion, PairMotion, judge_clip, judge_pair, motion_warnings, votes_of
from body4d.config import CameraSettings

S = CameraSettings()
W, H = 480, 270
FOCAL = 350.0


def seen(points: np.ndarray, focal: float = FOCAL) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * focal + np.array([W / 2, H / 2])


def scene(seed: int = 0, count: int = 300, near: float = 4.0, far: float = 30.0) -> np.ndarray:
    """Points (P, 3) all over the picture, at many distances."""
    rng = np.random.default_rng(seed)
    pixels = rng.random((count, 2)) * [W, H]
    z = near + (far - near) * rng.random(count)
    return np.column_stack([(pixels - [W / 2, H / 2]) / FOCAL * z[:, None], z])


def turned(points: np.ndarray, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    return Rotation.from_euler("yxz", [yaw_deg, pitch_deg, roll_deg], degrees=True).apply(points)


def person(a: np.ndarray, b: np.ndarray, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The points in the middle ``share`` of the picture walk 40 pixels to the right, arms and legs apart."""
    rng = np.random.default_rng(seed)
    inside = np.abs(a[:, 0] - W / 2) < share * W / 2
    b = b.copy()
    b[inside] = a[inside] + [40, 0] + 4 * rng.standard_normal((inside.sum(), 2))
    return a, b


def noisy(a: np.ndarray, b: np.ndarray, px: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    return a, b + px * np.random.default_rng(2).standard_normal(b.shape)


ROOM = scene()
MIDDLE = np.array([0.0, 0.0, 14.0])
"""What a camera that circles looks at: things before it go one way, things behind it the other."""
STILL = (seen(ROOM), seen(ROOM))


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (noisy(*STILL), "still"),
        (noisy(*person(*STILL, share=0.3)), "still"),
        (noisy(*person(*STILL, share=0.42)), "still"),
        ((STILL[0], STILL[1] + 1.0), "still"),  # a tripod in the wind
        ((STILL[0], STILL[1] + [14.0, 3.0]), "moved"),
        ((STILL[0], seen(turned(ROOM, 2.0))), "moved"),
        ((STILL[0], seen(turned(ROOM, 8.0, 2.0))), "moved"),
        ((STILL[0], seen(turned(ROOM, 20.0))), "moved"),
        (noisy(*person(STILL[0], seen(turned(ROOM, 5.0)), share=0.3)), "moved"),
        ((STILL[0], seen(ROOM, 1.1 * FOCAL)), "moved"),
        ((STILL[0], seen(ROOM, 0.6 * FOCAL)), "moved"),
        ((STILL[0], seen(turned(ROOM, 0, 0, 3.0))), "moved"),
        ((STILL[0], seen(turned(ROOM - MIDDLE, 12.0) + MIDDLE)), "travelled"),
        ((STILL[0][:10], STILL[1][:10]), "unknown"),
        ((STILL[0] * [0.2, 0.2], STILL[1] * [0.2, 0.2]), "unknown"),  # all in one corner: one thing
        ((np.zeros((0, 2)), np.zeros((0, 2))), "unknown"),
    ],
    ids=[
        "still", "a person", "a near person", "wind", "shift", "slow pan", "pan", "fast pan", "pan with a person", "zoom in", "zoom out",
        "roll", "circling", "few points", "one thing", "nothing",
    ],
)  # fmt: skip
def test_pair(pair: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    assert judge_pair(*pair, W, H, S).kind == kind


def test_a_walk_past_a_street_is_no_turn() -> None:
    """Walking sideways, near things move by tens of pixels and far ones by a few."""
    street = scene(near=1.5, far=40)
    found = judge_pair(seen(street), seen(street - [1.0, 0, 0]), W, H, S)
    assert found.kind in ("moved", "travelled")
    assert found.shift_share > S.motion_least_share


@pytest.mark.parametrize("factor", [0.7, 0.97, 1.05, 1.6])
def test_zoom_is_measured(factor: float) -> None:
    found = judge_pair(STILL[0], seen(ROOM, factor * FOCAL), W, H, S)
    assert found.zoom == pytest.approx(factor, rel=1e-6)
    assert found.shift_share < 1e-6


def test_pan_and_roll_are_measured() -> None:
    panned = seen(turned(ROOM, -5.0))
    found = judge_pair(STILL[0], panned, W, H, S)
    assert found.shift_share == pytest.approx(np.linalg.norm(panned - STILL[0], axis=1).mean() / np.hypot(W, H), rel=0.05)
    # Clockwise in the picture is positive, as y is down.
    assert judge_pair(STILL[0], seen(turned(ROOM, 0, 0, 4.0)), W, H, S).roll_deg == pytest.approx(4.0)


def test_a_textured_thing_has_no_more_votes_than_a_plain_one() -> None:
    busy = np.concatenate([STILL[0][:80], np.random.default_rng(3).random((900, 2)) * [60, 45]])
    votes = votes_of(busy, W, H, S)
    assert votes.sum() == pytest.approx(1)
    assert votes[80:].sum() < 0.05
    after = busy.copy()
    after[80:] += [30, 0]
    assert judge_pair(busy, after, W, H, S).kind == "still"


def test_the_same_answer_each_time() -> None:
    pair = noisy(STILL[0], seen(turned(ROOM, 3.0)))
    assert judge_pair(*pair, W, H, S) == judge_pair(*pair, W, H, S)


MOVED = PairMotion("moved", 0.1, 1.2, 1.0, 0.15)
OTHER = PairMotion("travelled", 0.3, rim_share=0.3)
STOOD = PairMotion("still")
NOTHING = PairMotion("unknown")


@pytest.mark.parametrize(
    ("pairs", "motion"),
    [
        ([], ClipMotion("unknown")),
        ([NOTHING] * 4, ClipMotion("unknown")),
        ([STOOD] * 4, ClipMotion("still", pairs=4)),
        ([STOOD, NOTHING], ClipMotion("still", pairs=1)),
        ([MOVED, STOOD, STOOD], ClipMotion("still", pairs=3, moved=1)),
        ([MOVED], ClipMotion("moving", 0.1, 1.2, 1.0, 1, 1)),
        ([MOVED, OTHER, STOOD, NOTHING], ClipMotion("moving", 0.3, 1.2, 1.0, 3, 2)),
        ([MOVED, PairMotion("moved", 0.0, 0.5, -9.0, 0.2)], ClipMotion("moving", 0.1, 0.5, -9.0, 2, 2)),
    ],
)
def test_clip(pairs: list[PairMotion], motion: ClipMotion) -> None:
    assert judge_clip(pairs) == motion


@pytest.mark.parametrize(
    ("motion", "said", "words"),
    [
        (ClipMotion("still"), "static", ()),
        (ClipMotion("unknown"), "static", ("cannot be seen",)),
        (ClipMotion("moving", 0.12), "static", ("seems to move (its picture shifts by 12% of the diagonal or more)", "--camera moving")),
        (ClipMotion("moving", 0.12, 0.5), "static", ("zoomed by 2.00 or more",)),
        (ClipMotion("moving", 0.12), "moving", ("bodies stay in the camera's axes", "no floor is claimed")),
        (ClipMotion("still"), "moving", ("bodies stay in the camera's axes", "--camera static")),
    ],
)
def test_notes(motion: ClipMotion, said: str, words: tuple[str, ...]) -> None:
    notes = " ".join(warning.text for warning in motion_warnings(motion, CameraSettings(motion=said)))  # type: ignore[arg-type]
    assert all(word in notes for word in words)
    assert bool(notes) == bool(words)
