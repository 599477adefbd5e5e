"""Batches that give way to memory, and which device and precision are taken."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import ComputeSettings
from body4d.core.errors import DeviceError
from body4d.runtime import device
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, choose_device, choose_dtype, free_memory_bytes, is_out_of_memory, kept


class Holds:
    """Work that fails beyond ``most`` rows, as torch does."""

    def __init__(self, most: int, error: Exception | None = None) -> None:
        self.most, self.tried = most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def __call__(self, rows: slice) -> list[int]:
        self.tried.append(rows.stop - rows.start)
        if rows.stop - rows.start > self.most:
            raise self.error
        return list(range(rows.start, rows.stop))


@given(count=st.integers(0, 40), size=st.integers(1, 16), fits=st.integers(1, 20))
def test_every_row_is_done_once_whatever_fits(count: int, size: int, fits: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "release_memory", lambda: None)  # Collects garbage, which takes a while.
        batches = AdaptiveBatcher(size, "people")
        assert [row for part in batches.run(count, Holds(fits)) for row in part] == list(range(count))
    assert batches.size <= size


def test_memory_is_run_into_once_and_said_once() -> None:
    work, batches = Holds(3), AdaptiveBatcher(8, "people")
    batches.run(16, work)
    assert work.tried[:3] == [8, 4, 2]
    assert max(work.tried[3:]) == 2
    warning = batches.warning
    assert warning is not None
    assert "8 people" in warning.message
    batches.run(16, Holds(1))
    assert batches.warning is warning


def test_not_even_one_fits() -> None:
    with pytest.raises(DeviceError, match=r"even one of the people \(CUDA out of memory") as error:
        AdaptiveBatcher(4, "people").run(4, Holds(0))
    assert error.value.code == "out_of_memory"
    assert "--device cpu" in error.value.hint


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        AdaptiveBatcher(4, "people").run(4, Holds(0, RuntimeError("shape mismatch")))


@pytest.mark.parametrize(
    "words",
    ["MPS backend out of memory (MPS allocated: 9 GB)", "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"],
)
def test_other_devices_words_for_it(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))


def test_the_real_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("free", "each", "batch", "expected"),
    [(1000, 100, None, 7), (1000, 10, None, 16), (10, 100, None, 1), (10, 100, 5, 5), (10, 0, None, 7)],
)
def test_batch_that_fits(free: int, each: int, batch: int | None, expected: int) -> None:
    assert choose_batch_size(free, each, ComputeSettings(batch_size=batch), max_size=16) == expected


def test_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device(ComputeSettings()).type == "cpu"
    with pytest.raises(DeviceError) as error:
        choose_device(ComputeSettings(device="cuda"))
    assert (error.value.code, error.value.facts["device"]) == ("device_missing", "cuda")
    assert "--device auto" in error.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(ComputeSettings()).type == "cuda"
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_dtype(ComputeSettings(), cuda, torch.float16) == torch.float16
    assert choose_dtype(ComputeSettings(), cpu, torch.float16) == torch.float32
    assert choose_dtype(ComputeSettings(precision="bfloat16"), cpu, torch.float16) == torch.bfloat16
    assert choose_dtype(ComputeSettings(precision="float16"), cuda, torch.bfloat16) == torch.float16


def test_some_memory_is_free_here() -> None:
    assert 1 << 26 < free_memory_bytes(torch.device("cpu")) < 1 << 50


def test_networks_are_kept_where_the_settings_ask() -> None:
    loaded: list[tuple[str, str]] = []

    def load(place: str, dtype: str) -> object:
        loaded.append((place, dtype))
        return object()

    once, each = kept(load, ComputeSettings(keep_loaded=True)), kept(load, ComputeSettings())
    assert once("gpu", "half") is once("gpu", "half")
    assert once("gpu", "float") is not once("gpu", "half")
    assert loaded == [("gpu", "half"), ("gpu", "float")]
    assert each("gpu", "half") is not each("gpu", "half")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_limit_on_torch_counts_as_the_card_s_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card has 80 of 100 bytes free; torch may take 30, holds 20 and uses 15."""

    def share(index: int) -> float:
        if isinstance(index, torch.device) and index.index is None:  # as torch 2.11 and 2.13 do
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{index}")
        return 0.3

    for asked, answer in {
        "current_device": lambda: 0,
        "mem_get_info": lambda device: (80, 100),
        "memory_reserved": lambda device: 20,
        "memory_allocated": lambda device: 15,
        "get_device_properties": lambda device: SimpleNamespace(total_memory=100),
        "get_per_process_memory_fraction": share,
        "is_available": lambda: True,
    }.items():
        monkeypatch.setattr(torch.cuda, asked, answer)
    assert free_memory_bytes(torch.device(name)) == 15
    assert device.cuda_bytes() == 30


@pytest.mark.cuda
def test_the_real_card_s_free_memory_follows_a_limit() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.05)
    try:
        assert 0 < free_memory_bytes(torch.device("cuda")) <= 0.05 * total
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
