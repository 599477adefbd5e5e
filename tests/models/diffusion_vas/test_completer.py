import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import RunWarning, WeightsError
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import StageOutput
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas.checkpoint import load_vas
from body4d.models.diffusion_vas.completer import Loads, VasCompleter, vas_in
from body4d.models.diffusion_vas.depth import DepthAnything, network_size
from body4d.models.diffusion_vas.pipeline import Key, Step, VasPainter
from vas_files import write_tiny_depth_anything, write_tiny_diffusion_vas

WIDTH, HEIGHT = 256, 128
CPU = ComputeSettings(device="cpu")
QUICK = OcclusionSettings(steps=2, short_side_px=64, long_side_px=128, window_frames=8, overlap_frames=2)


class Frames:
    """Grey frames with the back person in red and the front one in blue."""

    def __init__(self, count: int) -> None:
        self.clip = Clip(Path("clip.mp4"), WIDTH, HEIGHT, Fraction(30), np.arange(count) / 30, np.arange(count))

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, len(self.clip) if last is None else last, step):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            picture[BACK] = [200, 0, 0]
            picture[front(frame)] = [0, 0, 200]
            yield frame, picture


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, max(x0, 0) : max(x1, 0)] = True
    return mask


BACK = box(120, 30, 150, 90)


def front(frame: int) -> np.ndarray:
    return box(20 + 6 * frame, 40, 50 + 6 * frame, 110)


def crossing(count: int = 30) -> tuple[MaskTrack, MaskTrack]:
    """Person 1 stands while person 2 walks past in front of them: hidden by half and more on frames 14 to 19."""
    frames = np.arange(count)
    return (
        MaskTrack(1, frames, tuple(MaskTrack.encode(BACK & ~front(f)) for f in frames), HEIGHT, WIDTH),
        MaskTrack(2, frames, tuple(MaskTrack.encode(front(f)) for f in frames), HEIGHT, WIDTH),
    )


class FakeDepth:
    def nearness(self, pictures: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(pictures)).float().mean(-1)

    def bytes_each(self, height_px: int, width_px: int) -> int:
        return 1


class FakePainter:
    """Paints person 1's whole outline white, or what the pictures told, green where the outline is."""

    warnings = (RunWarning("smaller_batches", "Memory was short."),)

    def __init__(self, region: np.ndarray | None) -> None:
        self.region, self.calls = region, []

    def paint(self, first: Tensor, second: Tensor, keys: Sequence[Key], videos: Sequence[int], step: Step) -> Tensor:
        assert len(first) == len(second) == len(keys) == sum(videos)
        for tensor in (first, second):
            assert tensor.shape[1:] == (3, 64, 128)
            assert tensor.min() >= -1
            assert tensor.max() <= 1
        self.calls.append((first, second, list(keys), list(videos)))
        step(1)
        if self.region is not None:
            return torch.from_numpy(self.region).float().expand(len(first), 3, -1, -1)
        green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
        return torch.where(second > 0, green, torch.ones(()))


class Seat:
    """A completer whose networks are fakes, and which of them were loaded."""

    output: StageOutput[tuple[OcclusionSegment, ...]]

    def __init__(self, outline: np.ndarray | None, settings: OcclusionSettings = QUICK) -> None:
        self.loaded: list[str] = []
        whole = np.zeros((64, 128), bool) if outline is None else outline
        self.amodal, self.content = FakePainter(whole), FakePainter(None)
        loads = Loads(self._load("depth", FakeDepth()), self._load("amodal", self.amodal), self._load("content", self.content))
        self.completer = VasCompleter(loads, settings, CPU)

    def _load(self, name, net):
        def load(device, dtype):
            self.loaded.append(name)
            return net

        return load


WHOLE_FRAME = QUICK.model_copy(update={"region": "frame"})
OUTLINE = BACK.reshape(64, 2, 128, 2).any((1, 3))


def reported(seat: Seat, masks: Sequence[MaskTrack], count: int = 30):
    told: list[tuple[int, int]] = []
    seat.output = seat.completer.complete(Frames(count), masks, lambda done, total: told.append((done, total)))
    return seat.output.value, told


def test_one_unhidden_golfer_loads_nothing() -> None:
    seat = Seat(OUTLINE)
    golfer = MaskTrack(1, np.arange(30), (MaskTrack.encode(BACK),) * 30, HEIGHT, WIDTH)
    found, told = reported(seat, [golfer])
    assert found == ()
    assert seat.loaded == []
    assert told == []
    assert seat.completer.estimate_cost(Frames(30).clip, [golfer]) is None


def test_off_loads_nothing() -> None:
    seat = Seat(OUTLINE, QUICK.model_copy(update={"mode": "off"}))
    assert reported(seat, crossing())[0] == ()
    assert seat.loaded == []


def test_who_proves_to_be_seen_is_not_completed() -> None:
    """No outline is painted: nobody is hidden, and the completion is never loaded."""
    seat = Seat(None)
    found, told = reported(seat, crossing())
    assert found == ()
    assert seat.loaded == ["depth", "amodal"]
    assert told[-1][0] == told[-1][1] > 0
    assert seat.output.warnings == FakePainter.warnings


def test_who_is_hidden_is_completed() -> None:
    seat = Seat(OUTLINE, WHOLE_FRAME)
    masks = crossing()
    (stretch,), told = reported(seat, masks)
    assert seat.loaded == ["depth", "amodal", "content"]
    share = np.array([(BACK & ~front(f)).sum() / BACK.sum() for f in range(30)])
    hidden = np.flatnonzero((share < 0.7) & (share > 0))
    np.testing.assert_array_equal(stretch.frame_index[stretch.hidden], hidden)
    np.testing.assert_array_equal(stretch.frame_index, np.arange(hidden[0] - 2, hidden[-1] + 3))
    np.testing.assert_allclose(stretch.visible_share[stretch.hidden], share[hidden], atol=0.02)
    assert stretch.person_id == 1
    assert stretch.box_px.tolist() == [0, 0, WIDTH, HEIGHT]
    outline = stretch.outline()
    for row in range(len(stretch.frame_index)):
        assert (outline.mask(row) & BACK).sum() / (outline.mask(row) | BACK).sum() > 0.95
    # Green within the outline, white elsewhere.
    np.testing.assert_array_equal(stretch.pictures[0, 20, 67], [0, 255, 0])
    np.testing.assert_array_equal(stretch.pictures[0, 5, 5], [255, 255, 255])
    assert told[-1][0] == told[-1][1]
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(told))


def test_what_the_networks_are_shown() -> None:
    seat = Seat(OUTLINE, WHOLE_FRAME)
    reported(seat, crossing())
    mask, depth, keys, _ = seat.amodal.calls[0]
    row = keys.index((1, 17))
    seen = (BACK & ~front(17))[1::2, 1::2]
    assert np.mean((mask[row, 0].numpy() > 0) == seen) > 0.99
    assert set(np.unique(mask.numpy())) == {-1.0, 1.0}
    assert depth.min() == -1
    assert depth.max() == 1
    picture, outline, keys, _ = seat.content.calls[0]
    row = keys.index((1, 17))
    assert np.mean((outline[row, 0].numpy() > 0) == OUTLINE) > 0.99
    # Red where seen (above the shoulder of who is in front), white everywhere else, the person in front included.
    assert seen[17, 67]
    assert not seen[32, 67]
    np.testing.assert_allclose(picture[row, :, 17, 67].numpy(), np.array([200, 0, 0]) / 127.5 - 1, atol=0.02)
    np.testing.assert_allclose(picture[row, :, 32, 67].numpy(), 1)
    np.testing.assert_allclose(picture[row, :, 5, 5].numpy(), 1)


def test_only_stretches_go_to_the_networks() -> None:
    seat = Seat(OUTLINE, WHOLE_FRAME)
    reported(seat, crossing(60), 60)
    assert {person for person, _ in seat.amodal.calls[0][2]} == {1}
    assert len(seat.amodal.calls[0][2]) < 30
    assert len(seat.content.calls[0][2]) <= len(seat.amodal.calls[0][2])


def test_two_people_go_together_and_results_hang_on_no_grouping() -> None:
    everybody = WHOLE_FRAME.model_copy(update={"mode": "on"})
    together, apart = (Seat(OUTLINE, everybody.model_copy(update={"group_frames": n})) for n in (60, 30))
    a, b = (reported(seat, crossing())[0] for seat in (together, apart))
    assert len(together.amodal.calls) == 1
    assert len(apart.amodal.calls) == 2
    assert [s.person_id for s in a] == [s.person_id for s in b]
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.frame_index, other.frame_index)
        assert one.codes == other.codes


def test_a_stretch_too_long_for_memory_is_cut_and_none_of_it_is_lost() -> None:
    everybody = WHOLE_FRAME.model_copy(update={"mode": "on"})
    whole, pieces = (reported(Seat(OUTLINE, everybody.model_copy(update={"group_frames": n})), crossing())[0] for n in (60, 25))
    assert (len(whole), len(pieces)) == (1, 2)  # cut in the middle of who is hidden
    np.testing.assert_array_equal(np.concatenate([s.frame_index for s in pieces]), whole[0].frame_index)
    assert pieces[0].codes + pieces[1].codes == whole[0].codes


def test_a_region_of_a_person_lies_right_in_the_frame() -> None:
    seat = Seat(np.ones((64, 128), bool), QUICK)
    painter = seat.amodal

    def paint(first: Tensor, second: Tensor, keys: Sequence[Key], videos: Sequence[int], step: Step) -> Tensor:
        """The union of all that is ever seen, which is the whole person."""
        painter.calls.append(keys)
        return (first > 0).any(0, keepdim=True).float().expand(len(first), -1, -1, -1)

    painter.paint = paint  # type: ignore[method-assign]
    (stretch,), _ = reported(seat, crossing())
    x0, _, x1, _ = stretch.box_px
    assert x1 - x0 < WIDTH
    outline = stretch.outline()
    for row in range(len(stretch.frame_index)):
        assert (outline.mask(row) & BACK).sum() / (outline.mask(row) | BACK).sum() > 0.93


def test_the_tiny_checkpoints_go_through(tmp_path: Path) -> None:
    amodal, content = (write_tiny_diffusion_vas(tmp_path / name, seed) for seed, name in enumerate(("a", "b")))
    loads = vas_in(amodal, content, write_tiny_depth_anything(tmp_path / "d"), QUICK, CPU)
    completer = VasCompleter(loads, QUICK.model_copy(update={"mask_least": 0.5}), CPU)
    assert "1 person may be hidden" in completer.estimate_cost(Frames(30).clip, crossing()).message
    assert isinstance(completer.complete(Frames(30), crossing(), lambda done, total: None).value, tuple)


def test_missing_checkpoints_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        vas_in(tmp_path, tmp_path, tmp_path, QUICK, CPU)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory):
    return load_vas(write_tiny_diffusion_vas(tmp_path_factory.mktemp("vas")))


def painted(nets, settings: OcclusionSettings, keys: list[Key], videos: list[int], **compute) -> Tensor:
    made = torch.Generator().manual_seed(3)
    every = {key: torch.rand(2, 3, 64, 64, generator=made) * 2 - 1 for key in [(p, f) for p in (1, 2) for f in range(10)]}
    first, second = (torch.stack([every[key][i] for key in keys]) for i in (0, 1))
    return VasPainter(nets, 0, settings, ComputeSettings(device="cpu", **compute)).paint(first, second, keys, videos, lambda n: None)


def test_batches_change_nothing(nets) -> None:
    keys = [(1, f) for f in range(10)] + [(2, f) for f in range(4)]
    whole, few = (painted(nets, QUICK, keys, [10, 4], batch=n) for n in (16, 1))
    torch.testing.assert_close(whole, few, atol=1e-4, rtol=0)


def test_people_painted_together_come_out_as_alone(nets) -> None:
    one, two = [(1, f) for f in range(10)], [(2, f) for f in range(8)]
    both = painted(nets, QUICK, one + two, [10, 8])
    torch.testing.assert_close(both[10:], painted(nets, QUICK, two, [8]), atol=1e-4, rtol=0)
    # Another person's pictures are far from these, so that the likeness means something.
    assert (both[:8] - both[10:]).abs().max() > 100e-4


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (1080, 1920), (1920, 1080), (512, 1024), (100, 900)])
def test_depth_sees_the_published_size(size: tuple[int, int]) -> None:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    own = DPTImageProcessorPil(size={"height": 518, "width": 518}, keep_aspect_ratio=True, ensure_multiple_of=14)
    expected = own(np.zeros((*size, 3), np.uint8), return_tensors="pt")["pixel_values"].shape[2:]
    # Its own rule keeps the side that changes less; it is the shorter one that is published as at least 518.
    if min(expected) >= 518:
        assert network_size(*size) == tuple(expected)
    assert min(network_size(*size)) == 518
    assert all(side % 14 == 0 for side in network_size(*size))


def test_depth_is_shown_red_for_blue() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Tensor):
            return type("Out", (), {"predicted_depth": x[:, 0]})

    red = np.zeros((518, 518, 3), np.uint8)
    red[..., 0] = 255
    right, swapped = (DepthAnything(Net(), torch.device("cpu"), torch.float32, swapped=s).nearness([red]) for s in (False, True))
    torch.testing.assert_close(right, torch.full((1, 518, 518), (1 - 0.485) / 0.229))
    torch.testing.assert_close(swapped, torch.full((1, 518, 518), -0.485 / 0.229))
