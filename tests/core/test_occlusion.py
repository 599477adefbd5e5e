"""What an occlusion segment holds, the frame that it completes, and the confidence of its frames."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from body4d.core.occlusion import (
    MIN_HIDDEN_CONFIDENCE,
    OcclusionSegment,
    completed_frame,
    occluded_rows,
    occlusion_confidence,
    occlusion_warnings,
    sample_bilinear,
    segments_of_person,
    with_amodal_masks,
)
from body4d.core.types import MaskTrack

WIDTH, HEIGHT = 40, 20


def mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    out = np.zeros((HEIGHT, WIDTH), bool)
    out[y0:y1, x0:x1] = True
    return out


WHOLE, VISIBLE = mask(10, 4, 18, 16), mask(10, 4, 18, 8)


def segment(
    person_id: int = 1, frames: tuple[int, ...] = (3, 4, 6), share: tuple[float, ...] = (0.9, 0.4, 0.0), **changes
) -> OcclusionSegment:
    fields: dict[str, Any] = {
        "person_id": person_id,
        "frame_index": np.array(frames),
        "hidden": np.array([s < 0.7 for s in share]),
        "visible_share": np.array(share, np.float32),
        "codes": (MaskTrack.encode(WHOLE),) * len(frames),
        "height_px": HEIGHT,
        "width_px": WIDTH,
        "box_px": np.array([4, 2, 24, 18]),
        "pictures": np.full((len(frames), 8, 10, 3), (0, 200, 0), np.uint8),
    }
    return OcclusionSegment(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_index": np.array([3, 3, 6])}, "rise"),
        ({"codes": ()}, "as many"),
        ({"hidden": np.zeros(3)}, "bool"),
        ({"pictures": np.zeros((3, 8, 10, 3), np.float32)}, "uint8"),
        ({"box_px": np.array([4, 2, 41, 18])}, "outside"),
    ],
)
def test_inconsistent_fields_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segment(**changes)


@pytest.mark.parametrize(("frame", "row"), [(2, None), (3, 0), (4, 1), (5, None), (6, 2), (7, None)])
def test_rows(frame: int, row: int | None) -> None:
    assert segment().row(frame) == row


def test_only_the_hidden_part_is_filled_in() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    before = picture.copy()
    out = completed_frame(picture, VISIBLE, segment(), 1)
    assert (out[WHOLE & ~VISIBLE] == (0, 200, 0)).all()
    np.testing.assert_array_equal(out[VISIBLE | ~WHOLE], before[VISIBLE | ~WHOLE])
    np.testing.assert_array_equal(picture, before)


def test_completed_images_lie_where_they_belong() -> None:
    """An image that encodes its own places: red grows to the right and green downwards, over the region."""
    x, y = np.meshgrid((np.arange(10) + 0.5) / 10, (np.arange(8) + 0.5) / 8)
    image = np.stack([200 * x, 200 * y, 0 * x], -1).round().astype(np.uint8)
    out = completed_frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros_like(VISIBLE), segment(pictures=np.stack([image] * 3)), 0)
    ys, xs = np.nonzero(WHOLE)
    np.testing.assert_allclose(out[ys, xs, 0], 200 * (xs + 0.5 - 4) / 20, atol=1)
    np.testing.assert_allclose(out[ys, xs, 1], 200 * (ys + 0.5 - 2) / 16, atol=1)


def test_sampling_between_pixels_and_at_the_border() -> None:
    picture = np.array([[[0, 0, 0], [100, 0, 0]]], np.uint8)
    red = sample_bilinear(picture, np.array([0.0, 0.25, 0.5, 0.75, 1.0]), np.full(5, 0.5))[:, 0]
    assert red.tolist() == [0, 0, 50, 100, 100]


def test_amodal_masks_replace_visible_ones() -> None:
    track = MaskTrack(1, np.arange(2, 6), (MaskTrack.encode(VISIBLE),) * 4, HEIGHT, WIDTH)
    whole = with_amodal_masks(track, [segment(), segment(2, (5,), (0.5,))])
    assert [np.array_equal(whole.mask(row), WHOLE) for row in range(4)] == [False, True, True, False]
    assert [np.array_equal(whole.mask(row), VISIBLE) for row in range(4)] == [True, False, False, True]


def test_confidence_is_the_visible_share() -> None:
    factor = occlusion_confidence(np.arange(8), [segment()])
    expected = np.ones(8)
    expected[4], expected[6] = 0.4, MIN_HIDDEN_CONFIDENCE
    np.testing.assert_allclose(factor, expected, rtol=1e-6)


def test_rows_that_lead_up_to_an_occlusion_are_not_hidden() -> None:
    assert np.flatnonzero(occluded_rows(np.arange(8), [segment()])).tolist() == [4, 6]
    assert not occluded_rows(np.arange(8), []).any()


def test_of_one_person() -> None:
    both = [segment(1), segment(2), dataclasses.replace(segment(1), frame_index=np.array([10, 11, 12]))]
    assert [s.frame_index[0] for s in segments_of_person(1, both)] == [3, 10]


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([], ()),
        ([segment()], ("person 1 on 2 frames.",)),
        ([segment(3, (5,), (0.5,)), segment(1), segment(1, (9,), (0.1,))], ("person 3 on 1 frame, person 1 on 3 frames.",)),
    ],
    ids=["nobody", "one", "two"],
)
def test_notes(segments: list[OcclusionSegment], words: tuple[str, ...]) -> None:
    notes = occlusion_warnings(segments)
    assert len(notes) == len(words)
    assert all(word in note.message for word, note in zip(words, notes, strict=True))
