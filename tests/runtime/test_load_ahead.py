"""Networks loaded in a thread before they are asked for."""

import threading

import pytest
import torch

from body4d.core.errors import WeightsError
from body4d.runtime import load_ahead
from body4d.runtime.load_ahead import AheadLoader, has_room_ahead


class Loads:
    """Counts what is loaded, and in which thread."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.threads: list[str] = []

    def __call__(self, *arguments: object) -> list[object]:
        self.asked.append(arguments)
        self.threads.append(threading.current_thread().name)
        return list(arguments)


def test_what_was_begun_is_handed_out_once() -> None:
    load = Loads()
    loader = AheadLoader(load)
    loader.begin("cuda", 16)
    loader.begin("cuda", 16)
    first = loader("cuda", 16)
    assert first == ["cuda", 16]
    assert [name.startswith("body4d-load") for name in load.threads] == [True]
    assert loader("cuda", 16) is not first
    assert load.threads[1] == threading.current_thread().name


def test_other_arguments_are_loaded_anew() -> None:
    load = Loads()
    loader = AheadLoader(load)
    loader.begin("cuda", 16)
    assert loader("cuda", 32) == ["cuda", 32]
    assert loader("cuda", 16) == ["cuda", 16]
    assert sorted(load.asked) == [("cuda", 16), ("cuda", 32)]


def test_an_error_is_raised_where_the_network_is_asked_for() -> None:
    def refuse() -> None:
        raise WeightsError("The file is cut short.", code="checkpoint_damaged")

    loader = AheadLoader(refuse)
    loader.begin()
    with pytest.raises(WeightsError, match="cut short"):
        loader()


def test_what_is_dropped_is_loaded_again() -> None:
    load = Loads()
    loader = AheadLoader(load)
    loader.begin(1)
    loader.drop()
    loader.drop()
    assert loader(1) == [1]
    assert load.threads[-1] == threading.current_thread().name


@pytest.mark.parametrize(
    ("device", "gigabytes", "expected"), [("cpu", 24, False), ("mps", 24, False), ("cuda", 16, False), ("cuda", 24, True)]
)
def test_only_large_gpus_hold_two_networks(monkeypatch: pytest.MonkeyPatch, device: str, gigabytes: int, expected: bool) -> None:
    monkeypatch.setattr(load_ahead, "cuda_bytes", lambda: gigabytes << 30)
    assert has_room_ahead(torch.device(device)) == expected
