"""Who may be hidden, from masks alone."""

import numpy as np
import pytest

from body4d.config import OcclusionSettings
from body4d.core.types import LandmarkTrack, MaskTrack
from body4d.models.diffusion_vas.candidates import (
    MAX_TOUCH_DISTANCE_PER_HEIGHT,
    OcclusionCues,
    RowSpan,
    candidate_spans,
    may_be_in_front,
    may_be_occluded,
    occlusion_cues,
    padded_runs,
    touches,
)

S = OcclusionSettings()
WIDTH, HEIGHT, FPS = 200, 120, 30.0


def picture(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def track(person_id: int, masks: list[np.ndarray], first: int = 0, landmarks: LandmarkTrack | None = None) -> MaskTrack:
    return MaskTrack(person_id, np.arange(first, first + len(masks)), tuple(map(MaskTrack.encode, masks)), HEIGHT, WIDTH, landmarks)


def times(count: int) -> np.ndarray:
    return np.arange(count) / FPS


def golfer(frames: int = 90) -> list[np.ndarray]:
    """A body, and an arm that swings out to the side: width and area change, nobody else is there."""
    reach = (18 * np.abs(np.sin(np.arange(frames) / 9))).astype(int)
    return [picture((90, 20, 110, 100), (110, 35, 110 + r, 45)) for r in reach]


def test_a_golfer_alone_is_no_candidate() -> None:
    assert candidate_spans([track(1, golfer())], times(90), S) == ()


def test_who_bends_down_is_not_hidden() -> None:
    """Half as tall and nearly as large: from 80 to 44 lines, and wider."""
    lower = np.concatenate([np.linspace(80, 44, 20), np.full(20, 44), np.linspace(44, 80, 20)]).astype(int)
    masks = [picture((100 - 640 // h, 100 - h, 100 + 640 // h, 100)) for h in lower]
    assert candidate_spans([track(1, masks)], times(60), S) == ()


def test_a_pillar_in_front_is_noticed_without_anybody_else() -> None:
    """Somebody walks behind a pillar 14 wide; they are 20 wide."""
    masks = []
    for x in range(40, 140):
        mask = picture((x, 20, x + 20, 100))
        mask[:, 85:99] = False
        masks.append(mask)
    spans = candidate_spans([track(1, masks)], times(100), S)
    assert len(spans) == 1
    # Behind it by more than 40 % while the left side is at 73 to 91.
    assert 25 <= spans[0].first <= 36
    assert 49 <= spans[0].last <= 62


def crossing() -> tuple[MaskTrack, MaskTrack]:
    """One stands at the back, another walks past in front, lower in the picture."""
    front = [picture((x, 30, x + 20, 110)) for x in range(20, 160, 2)]
    back = [picture((90, 20, 110, 95)) & ~mask for mask in front]
    return track(1, back), track(2, front)


def test_who_is_crossed_is_a_candidate_and_who_crosses_is_not() -> None:
    spans = candidate_spans(crossing(), times(70), S)
    assert [span.track for span in spans] == [0]
    met = [row for row, x in enumerate(range(20, 160, 2)) if x < 110 and x + 20 > 90]
    assert spans[0].first <= met[0] and spans[0].last > met[-1]  # noqa: PT018
    assert len(spans[0]) < 40


def test_neighbours_apart_are_no_candidates() -> None:
    left, right = [picture((30, 20, 50, 100))] * 30, [picture((70, 20, 90, 100))] * 30
    assert candidate_spans([track(1, left), track(2, right)], times(30), S) == ()


def test_people_on_other_frames_do_not_occlude() -> None:
    masks = [picture((30, 20, 50, 100))] * 10
    nearer = [picture((45, 30, 65, 110))] * 10
    assert candidate_spans([track(1, masks), track(2, nearer, first=10)], times(20), S) == ()


def test_modes() -> None:
    people = [track(1, golfer(10)), track(2, [])]
    assert candidate_spans(people, times(10), S.model_copy(update={"mode": "on"})) == (RowSpan(0, 0, 10),)
    shots = np.repeat([0, 1], [4, 6])
    assert candidate_spans(people, times(10), S.model_copy(update={"mode": "on"}), shots) == (RowSpan(0, 0, 4), RowSpan(0, 4, 10))
    assert candidate_spans(crossing(), times(70), S.model_copy(update={"mode": "off"})) == ()


def cues(**changes: float) -> OcclusionCues:
    values = {
        "occluder_near": False,
        "relative_area": 1.0,
        "relative_height": 1.0,
        "touches_border": False,
        "is_leaving": False,
        "joint_visibility": np.nan,
    } | changes
    return OcclusionCues(**{name: np.array([value]) for name, value in values.items()})


@pytest.mark.parametrize(
    ("changes", "hidden"),
    [
        ({}, False),
        ({"occluder_near": True}, True),
        ({"relative_area": 0.59}, True),
        ({"relative_area": 0.61}, False),
        ({"relative_area": 0.69, "relative_height": 0.69}, True),
        ({"relative_area": 0.69, "relative_height": 0.71}, False),
        ({"relative_area": 0.9, "relative_height": 0.5}, False),
        ({"joint_visibility": 0.49}, True),
        ({"joint_visibility": 0.51}, False),
        ({"relative_area": 0.3, "touches_border": True}, False),
        ({"occluder_near": True, "touches_border": True}, True),
        ({"occluder_near": True, "is_leaving": True}, False),
        ({"relative_area": 0.3, "is_leaving": True}, False),
    ],
    ids=str,
)
def test_may_be_occluded(changes: dict[str, float], hidden: bool) -> None:
    assert may_be_occluded(cues(**changes)).tolist() == [hidden]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([5], [(3, 8)]),
        ([0], [(0, 3)]),
        ([19], [(17, 20)]),
        ([3, 4, 5], [(1, 8)]),
        ([3, 12], [(1, 15)]),  # 6 and 10: four rows apart
        ([3, 13], [(1, 6), (11, 16)]),
    ],
)
def test_padded_runs(rows: list[int], expected: list[tuple[int, int]]) -> None:
    flags = np.zeros(20, bool)
    flags[rows] = True
    assert padded_runs(flags) == expected


@pytest.mark.parametrize(
    ("other_bottom", "front"),
    [(90.0, False), (95.9, False), (96.1, True), (110.0, True), (120.0, True)],
)
def test_who_stands_lower_is_in_front(other_bottom: float, front: bool) -> None:
    mine, other = np.array([90.0, 20, 110, 100]), np.array([100.0, 30, 120, other_bottom])
    assert may_be_in_front(mine, other, HEIGHT) is front


def test_feet_out_of_the_picture_tell_nothing() -> None:
    assert may_be_in_front(np.array([0.0, 20, 20, 120]), np.array([10.0, 20, 30, 80]), HEIGHT)


@pytest.mark.parametrize(("gap", "near"), [(1, True), (2, True), (4, False)])
def test_touching_within_reach(gap: int, near: bool) -> None:
    """The person is 80 lines tall. The occluder leans into the box above a shoulder."""
    mine = picture((90, 20, 100, 100), (100, 50, 110, 100))
    other = picture((100 + gap - 1, 20, 120, 50 - gap + 1))
    assert touches(mine, other, np.array([90, 20, 110, 100]), MAX_TOUCH_DISTANCE_PER_HEIGHT * 80) is near


def test_touching_needs_some_of_the_box() -> None:
    mine, beside = picture((90, 20, 110, 100)), picture((110, 20, 130, 100))
    assert not touches(mine, beside, np.array([90, 20, 110, 100]), 3.0)


def test_the_border_explains_a_smaller_mask() -> None:
    masks = [picture((max(x, 0), 20, x + 20, 100)) for x in range(60, -20, -1)]
    assert candidate_spans([track(1, masks)], times(80), S) == ()


def test_joints_of_low_visibility_are_a_cue() -> None:
    sure = np.where(np.arange(20) < 10, 0.9, 0.2)
    seen = LandmarkTrack(np.zeros((20, 33, 2)), np.zeros((20, 33)), np.zeros((20, 33, 3)), np.repeat(sure[:, None], 33, axis=1))
    one = track(1, [picture((90, 20, 110, 100))] * 20, landmarks=seen)
    np.testing.assert_allclose(occlusion_cues([one], times(20))[0].joint_visibility, sure)
    assert candidate_spans([one], times(20), S) == (RowSpan(0, 8, 20),)
