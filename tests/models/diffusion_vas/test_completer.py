"""The completer on fake networks, and the pipeline on tiny ones."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import DeviceError, RunWarning, WeightsError
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import StageOutput
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas import completer as vas_completer
from body4d.models.diffusion_vas import crops
from body4d.models.diffusion_vas.checkpoint import load_vas
from body4d.models.diffusion_vas.completer import VasCompleter, VasLoaders, vas_from_folders
from body4d.models.diffusion_vas.depth import DepthAnything, input_size_px
from body4d.models.diffusion_vas.pipeline import NoiseKey, StepFn, VasPipeline
from vas_files import write_tiny_depth_anything, write_tiny_diffusion_vas

WIDTH, HEIGHT = 256, 128
CPU = ComputeSettings(device="cpu")
QUICK = OcclusionSettings(num_steps=2, short_side_px=64, long_side_px=128, window_frames=8)


class Frames:
    """Grey frames with the person behind in red and the one in front in blue."""

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
    def inverse_depth(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(images)).float().mean(-1)

    def bytes_per_image(self, height_px: int, width_px: int) -> int:
        return 1


class FakePipeline:
    """Generates person 1's amodal mask in white, or else the conditioning images, green within the mask."""

    warnings = (RunWarning("smaller_batches", "Memory was short."),)

    def __init__(self, region: np.ndarray | None) -> None:
        self.region, self.calls = region, []

    def generate(self, first: Tensor, second: Tensor, keys: Sequence[NoiseKey], lengths: Sequence[int], step: StepFn) -> Tensor:
        assert len(first) == len(second) == len(keys) == sum(lengths)
        for tensor in (first, second):
            assert tensor.shape[1:] == (3, 64, 128)
            assert tensor.min() >= -1
            assert tensor.max() <= 1
        self.calls.append((first, second, list(keys), list(lengths)))
        step(1)
        if self.region is not None:
            return torch.from_numpy(self.region).float().expand(len(first), 3, -1, -1)
        green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
        return torch.where(second > 0, green, torch.ones(()))


class FakeNetworks:
    """A completer whose networks are fakes, and which of them were loaded."""

    output: StageOutput[tuple[OcclusionSegment, ...]]

    def __init__(self, outline: np.ndarray | None, settings: OcclusionSettings = QUICK, **options: int) -> None:
        self.loaded: list[str] = []
        whole = np.zeros((64, 128), bool) if outline is None else outline
        self.amodal, self.content = FakePipeline(whole), FakePipeline(None)
        loaders = VasLoaders(self._load("depth", FakeDepth()), self._load("amodal", self.amodal), self._load("content", self.content))
        self.completer = VasCompleter(loaders, settings, CPU, **options)

    def _load(self, name, net):
        def load(device, dtype):
            self.loaded.append(name)
            return net

        return load


OUTLINE = BACK.reshape(64, 2, 128, 2).any((1, 3))


@pytest.fixture
def whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops are the whole frame."""
    monkeypatch.setattr(crops, "crop_region", lambda boxes, usual, frame_size, crop_size: np.array([0, 0, *frame_size]))


def reported(fakes: FakeNetworks, masks: Sequence[MaskTrack], count: int = 30):
    steps: list[tuple[int, int]] = []
    fakes.output = fakes.completer.complete(Frames(count), masks, lambda done, total: steps.append((done, total)))
    return fakes.output.value, steps


def test_one_unhidden_golfer_loads_nothing() -> None:
    fakes = FakeNetworks(OUTLINE)
    golfer = MaskTrack(1, np.arange(30), (MaskTrack.encode(BACK),) * 30, HEIGHT, WIDTH)
    found, steps = reported(fakes, [golfer])
    assert found == ()
    assert fakes.loaded == []
    assert steps == []
    assert fakes.completer.estimate_cost(Frames(30).clip, [golfer]) is None


def test_off_loads_nothing() -> None:
    fakes = FakeNetworks(OUTLINE, QUICK.model_copy(update={"mode": "off"}))
    assert reported(fakes, crossing())[0] == ()
    assert fakes.loaded == []


def test_who_proves_to_be_seen_is_not_completed() -> None:
    """No outline is painted: nobody is hidden, and the completion is never loaded."""
    fakes = FakeNetworks(None)
    found, steps = reported(fakes, crossing())
    assert found == ()
    assert fakes.loaded == ["depth", "amodal"]
    assert steps[-1][0] == steps[-1][1] > 0
    assert fakes.output.warnings == FakePipeline.warnings


def test_memory_that_does_not_suffice_costs_the_completion_and_not_the_run() -> None:
    def runs_out(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    fakes = FakeNetworks(OUTLINE)
    fakes.amodal.generate = runs_out  # pyright: ignore[reportAttributeAccessIssue]
    assert reported(fakes, crossing())[0] == ()
    assert [warning.code for warning in fakes.output.warnings] == ["smaller_batches", "hidden_people_no_memory"]
    asked = FakeNetworks(OUTLINE, QUICK.model_copy(update={"mode": "on"}))
    asked.amodal.generate = runs_out  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(DeviceError, match=r"does not suffice to complete hidden people \(CUDA out of memory"):
        reported(asked, crossing())


def test_depth_goes_on_with_fewer_frames_where_memory_runs_out() -> None:
    class Narrow(FakeDepth):
        def inverse_depth(self, images: Sequence[np.ndarray]) -> Tensor:
            if len(images) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().inverse_depth(images)

    fakes, narrow = FakeNetworks(OUTLINE), FakeNetworks(OUTLINE)
    loaders = narrow.completer._loaders
    narrow.completer._loaders = VasLoaders(narrow._load("depth", Narrow()), loaders.amodal, loaders.content)
    expected, found = reported(fakes, crossing())[0], reported(narrow, crossing())[0]
    assert [segment.codes for segment in found] == [segment.codes for segment in expected]
    assert any("frames at once" in warning.text for warning in narrow.output.warnings)


@pytest.mark.usefixtures("whole_frame")
def test_who_is_hidden_is_completed() -> None:
    fakes = FakeNetworks(OUTLINE)
    masks = crossing()
    (segment,), steps = reported(fakes, masks)
    assert fakes.loaded == ["depth", "amodal", "content"]
    share = np.array([(BACK & ~front(f)).sum() / BACK.sum() for f in range(30)])
    hidden = np.flatnonzero((share < 0.7) & (share > 0))
    np.testing.assert_array_equal(segment.frame_index[segment.hidden], hidden)
    np.testing.assert_array_equal(segment.frame_index, np.arange(hidden[0] - 2, hidden[-1] + 3))
    np.testing.assert_allclose(segment.visible_share[segment.hidden], share[hidden], atol=0.02)
    assert segment.person_id == 1
    assert segment.box_px.tolist() == [0, 0, WIDTH, HEIGHT]
    outline = segment.amodal_masks()
    for row in range(len(segment.frame_index)):
        assert (outline.mask(row) & BACK).sum() / (outline.mask(row) | BACK).sum() > 0.95
    # Green within the outline, white elsewhere.
    np.testing.assert_array_equal(segment.pictures[0, 20, 67], [0, 255, 0])
    np.testing.assert_array_equal(segment.pictures[0, 5, 5], [255, 255, 255])
    assert steps[-1][0] == steps[-1][1]
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(steps))


@pytest.mark.usefixtures("whole_frame")
def test_what_the_networks_are_shown() -> None:
    fakes = FakeNetworks(OUTLINE)
    reported(fakes, crossing())
    mask, depth, keys, _ = fakes.amodal.calls[0]
    row = keys.index((1, 17))
    seen = (BACK & ~front(17))[1::2, 1::2]
    assert np.mean((mask[row, 0].numpy() > 0) == seen) > 0.99
    assert set(np.unique(mask.numpy())) == {-1.0, 1.0}
    assert depth.min() == -1
    assert depth.max() == 1
    picture, outline, keys, _ = fakes.content.calls[0]
    row = keys.index((1, 17))
    assert np.mean((outline[row, 0].numpy() > 0) == OUTLINE) > 0.99
    # Red where seen (above the shoulder of who is in front), white everywhere else, the person in front included.
    assert seen[17, 67]
    assert not seen[32, 67]
    np.testing.assert_allclose(picture[row, :, 17, 67].numpy(), np.array([200, 0, 0]) / 127.5 - 1, atol=0.02)
    np.testing.assert_allclose(picture[row, :, 32, 67].numpy(), 1)
    np.testing.assert_allclose(picture[row, :, 5, 5].numpy(), 1)


@pytest.mark.usefixtures("whole_frame")
def test_only_candidate_spans_go_to_the_networks() -> None:
    fakes = FakeNetworks(OUTLINE)
    reported(fakes, crossing(60), 60)
    assert {person for person, _ in fakes.amodal.calls[0][2]} == {1}
    assert len(fakes.amodal.calls[0][2]) < 30
    assert len(fakes.content.calls[0][2]) <= len(fakes.amodal.calls[0][2])


@pytest.mark.usefixtures("whole_frame")
def test_two_people_go_together_and_results_do_not_depend_on_grouping() -> None:
    everywhere = QUICK.model_copy(update={"mode": "on"})
    together, apart = (FakeNetworks(OUTLINE, everywhere, max_group_frames=n) for n in (60, 30))
    a, b = (reported(fakes, crossing())[0] for fakes in (together, apart))
    assert len(together.amodal.calls) == 1
    assert len(apart.amodal.calls) == 2
    assert [s.person_id for s in a] == [s.person_id for s in b]
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.frame_index, other.frame_index)
        assert one.codes == other.codes


@pytest.mark.usefixtures("whole_frame")
def test_a_span_too_long_for_memory_is_cut_and_none_of_it_is_lost() -> None:
    everywhere = QUICK.model_copy(update={"mode": "on"})
    whole, pieces = (reported(FakeNetworks(OUTLINE, everywhere, max_group_frames=n), crossing())[0] for n in (60, 25))
    assert (len(whole), len(pieces)) == (1, 2)  # cut in the middle of who is hidden
    np.testing.assert_array_equal(np.concatenate([s.frame_index for s in pieces]), whole[0].frame_index)
    assert pieces[0].codes + pieces[1].codes == whole[0].codes


def test_a_region_of_a_person_lies_right_in_the_frame() -> None:
    fakes = FakeNetworks(np.ones((64, 128), bool), QUICK)
    amodal = fakes.amodal

    def generate(first: Tensor, second: Tensor, keys: Sequence[NoiseKey], lengths: Sequence[int], step: StepFn) -> Tensor:
        """The union of all that is ever visible, which is the whole person."""
        amodal.calls.append(keys)
        return (first > 0).any(0, keepdim=True).float().expand(len(first), -1, -1, -1)

    amodal.generate = generate  # type: ignore[method-assign]
    (segment,), _ = reported(fakes, crossing())
    x0, _, x1, _ = segment.box_px
    assert x1 - x0 < WIDTH
    outline = segment.amodal_masks()
    for row in range(len(segment.frame_index)):
        assert (outline.mask(row) & BACK).sum() / (outline.mask(row) | BACK).sum() > 0.93


def test_the_tiny_checkpoints_go_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vas_completer, "MASK_THRESHOLD", 0.5)
    amodal, content = (write_tiny_diffusion_vas(tmp_path / name, seed) for seed, name in enumerate(("a", "b")))
    loaders = vas_from_folders(amodal, content, write_tiny_depth_anything(tmp_path / "d"), QUICK, CPU)
    completer = VasCompleter(loaders, QUICK, CPU)
    assert "1 person may be hidden" in completer.estimate_cost(Frames(30).clip, crossing()).message
    assert isinstance(completer.complete(Frames(30), crossing(), lambda done, total: None).value, tuple)


def test_missing_checkpoints_are_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        vas_from_folders(tmp_path, tmp_path, tmp_path, QUICK, CPU)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory):
    return load_vas(write_tiny_diffusion_vas(tmp_path_factory.mktemp("vas")))


def generated(nets, settings: OcclusionSettings, keys: list[NoiseKey], lengths: list[int], **compute) -> Tensor:
    made = torch.Generator().manual_seed(3)
    every = {key: torch.rand(2, 3, 64, 64, generator=made) * 2 - 1 for key in [(p, f) for p in (1, 2) for f in range(10)]}
    first, second = (torch.stack([every[key][i] for key in keys]) for i in (0, 1))
    pipeline = VasPipeline(nets, 0, settings, ComputeSettings(device="cpu", **compute))
    return pipeline.generate(first, second, keys, lengths, lambda n: None)


def test_batches_change_nothing(nets) -> None:
    keys = [(1, f) for f in range(10)] + [(2, f) for f in range(4)]
    whole, few = (generated(nets, QUICK, keys, [10, 4], batch_size=n) for n in (16, 1))
    torch.testing.assert_close(whole, few, atol=1e-4, rtol=0)


def test_people_generated_together_come_out_as_alone(nets) -> None:
    one, two = [(1, f) for f in range(10)], [(2, f) for f in range(8)]
    both = generated(nets, QUICK, one + two, [10, 8])
    torch.testing.assert_close(both[10:], generated(nets, QUICK, two, [8]), atol=1e-4, rtol=0)
    # Another person's pictures are far from these, so that the likeness means something.
    assert (both[:8] - both[10:]).abs().max() > 100e-4


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (1080, 1920), (1920, 1080), (512, 1024), (100, 900)])
def test_depth_takes_the_published_size(size: tuple[int, int]) -> None:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    own = DPTImageProcessorPil(size={"height": 518, "width": 518}, keep_aspect_ratio=True, ensure_multiple_of=14)
    expected = own(np.zeros((*size, 3), np.uint8), return_tensors="pt")["pixel_values"].shape[2:]
    # Its own rule keeps the side that changes less; it is the shorter one that is published as at least 518.
    if min(expected) >= 518:
        assert input_size_px(*size) == tuple(expected)
    assert min(input_size_px(*size)) == 518
    assert all(side % 14 == 0 for side in input_size_px(*size))


def test_depth_is_shown_red_for_blue() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Tensor):
            return type("Out", (), {"predicted_depth": x[:, 0]})

    red = np.zeros((518, 518, 3), np.uint8)
    red[..., 0] = 255
    right, swapped = (DepthAnything(Net(), torch.device("cpu"), torch.float32, swap_channels=s).inverse_depth([red]) for s in (False, True))
    torch.testing.assert_close(right, torch.full((1, 518, 518), (1 - 0.485) / 0.229))
    torch.testing.assert_close(swapped, torch.full((1, 518, 518), -0.485 / 0.229))
