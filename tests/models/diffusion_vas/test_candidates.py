import numpy as np
import pytest

from body4d.config import OcclusionSettings
from body4d.core.types import LandmarkTrack, MaskTrack
from body4d.models.diffusion_vas.candidates import (
    Evidence,
    Span,
    evidence_of,
    may_be_hidden,
    may_be_in_front,
    runs,
    spans_to_look_at,
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


def test_one_golfer_whom_nobody_hides_is_never_looked_at() -> None:
    assert spans_to_look_at([track(1, golfer())], times(90), S) == ()


def test_who_bends_down_is_not_hidden() -> None:
    """Half as tall and nearly as large: from 80 to 44 lines, and wider."""
    lower = np.concatenate([np.linspace(80, 44, 20), np.full(20, 44), np.linspace(44, 80, 20)]).astype(int)
    masks = [picture((100 - 640 // h, 100 - h, 100 + 640 // h, 100)) for h in lower]
    assert spans_to_look_at([track(1, masks)], times(60), S) == ()


def test_a_pillar_in_front_is_noticed_without_anybody_else() -> None:
    """Somebody walks behind a pillar 14 wide; they are 20 wide."""
    masks = []
    for x in range(40, 140):
        mask = picture((x, 20, x + 20, 100))
        mask[:, 85:99] = False
        masks.append(mask)
    spans = spans_to_look_at([track(1, masks)], times(100), S)
    assert len(spans) == 1
    # Behind it by more than 40 % while the left side is at 73 to 91.
    assert 25 <= spans[0].first <= 36
    assert 49 <= spans[0].last <= 62


def crossing() -> tuple[MaskTrack, MaskTrack]:
    """One stands at the back, another walks past in front, lower in the picture."""
    front = [picture((x, 30, x + 20, 110)) for x in range(20, 160, 2)]
    back = [picture((90, 20, 110, 95)) & ~mask for mask in front]
    return track(1, back), track(2, front)


def test_who_is_crossed_is_looked_at_and_who_crosses_is_not() -> None:
    spans = spans_to_look_at(crossing(), times(70), S)
    assert [span.person for span in spans] == [0]
    met = [row for row, x in enumerate(range(20, 160, 2)) if x < 110 and x + 20 > 90]
    assert spans[0].first <= met[0] and spans[0].last > met[-1]  # noqa: PT018
    assert len(spans[0]) < 40


def test_neighbours_apart_are_not_looked_at() -> None:
    left, right = [picture((30, 20, 50, 100))] * 30, [picture((70, 20, 90, 100))] * 30
    assert spans_to_look_at([track(1, left), track(2, right)], times(30), S) == ()


def test_people_on_other_frames_do_not_crowd() -> None:
    masks = [picture((30, 20, 50, 100))] * 10
    nearer = [picture((45, 30, 65, 110))] * 10
    assert spans_to_look_at([track(1, masks), track(2, nearer, first=10)], times(20), S) == ()


def test_modes() -> None:
    people = [track(1, golfer(10)), track(2, [])]
    assert spans_to_look_at(people, times(10), S.model_copy(update={"mode": "on"})) == (Span(0, 0, 10),)
    assert spans_to_look_at(crossing(), times(70), S.model_copy(update={"mode": "off"})) == ()


def evidence(**changes: float) -> Evidence:
    values = {"crowded": False, "area_share": 1.0, "height_share": 1.0, "at_rim": False, "leaving": False, "sureness": np.nan} | changes
    return Evidence(**{name: np.array([value]) for name, value in values.items()})


@pytest.mark.parametrize(
    ("changes", "hidden"),
    [
        ({}, False),
        ({"crowded": True}, True),
        ({"area_share": 0.59}, True),
        ({"area_share": 0.61}, False),
        ({"area_share": 0.69, "height_share": 0.69}, True),
        ({"area_share": 0.69, "height_share": 0.71}, False),
        ({"area_share": 0.9, "height_share": 0.5}, False),
        ({"sureness": 0.49}, True),
        ({"sureness": 0.51}, False),
        ({"area_share": 0.3, "at_rim": True}, False),
        ({"crowded": True, "at_rim": True}, True),
        ({"crowded": True, "leaving": True}, False),
        ({"area_share": 0.3, "leaving": True}, False),
    ],
    ids=str,
)
def test_may_be_hidden(changes: dict[str, float], hidden: bool) -> None:
    assert may_be_hidden(evidence(**changes), S).tolist() == [hidden]


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
def test_runs(rows: list[int], expected: list[tuple[int, int]]) -> None:
    flags = np.zeros(20, bool)
    flags[rows] = True
    assert runs(flags, S) == expected


@pytest.mark.parametrize(
    ("other_bottom", "front"),
    [(90.0, False), (95.9, False), (96.1, True), (110.0, True), (120.0, True)],
)
def test_who_stands_lower_is_in_front(other_bottom: float, front: bool) -> None:
    mine, other = np.array([90.0, 20, 110, 100]), np.array([100.0, 30, 120, other_bottom])
    assert may_be_in_front(mine, other, HEIGHT, S) is front


def test_feet_out_of_the_picture_tell_nothing() -> None:
    assert may_be_in_front(np.array([0.0, 20, 20, 120]), np.array([10.0, 20, 30, 80]), HEIGHT, S)


@pytest.mark.parametrize(("gap", "near"), [(1, True), (2, True), (4, False)])
def test_touching_within_reach(gap: int, near: bool) -> None:
    """Reach is 0.03 of 80 lines. The intruder leans into the box above a shoulder."""
    mine = picture((90, 20, 100, 100), (100, 50, 110, 100))
    other = picture((100 + gap - 1, 20, 120, 50 - gap + 1))
    assert touches(mine, other, np.array([90, 20, 110, 100]), 0.03 * 80, S) is near


def test_touching_needs_some_of_the_box() -> None:
    mine, beside = picture((90, 20, 110, 100)), picture((110, 20, 130, 100))
    assert not touches(mine, beside, np.array([90, 20, 110, 100]), 3.0, S)


def test_the_rim_explains_a_smaller_mask() -> None:
    masks = [picture((max(x, 0), 20, x + 20, 100)) for x in range(60, -20, -1)]
    assert spans_to_look_at([track(1, masks)], times(80), S) == ()


def test_unsure_joints_are_evidence() -> None:
    sure = np.where(np.arange(20) < 10, 0.9, 0.2)
    seen = LandmarkTrack(np.zeros((20, 33, 2)), np.zeros((20, 33)), np.zeros((20, 33, 3)), np.repeat(sure[:, None], 33, axis=1))
    one = track(1, [picture((90, 20, 110, 100))] * 20, landmarks=seen)
    np.testing.assert_allclose(evidence_of([one], times(20), S)[0].sureness, sure)
    assert spans_to_look_at([one], times(20), S) == (Span(0, 8, 20),)
