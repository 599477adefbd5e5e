"""Work spread over threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from body4d.runtime.cores import in_threads


def test_results_come_in_order_from_several_threads() -> None:
    threads: set[str] = set()
    both = threading.Barrier(2)

    def work(n: int, name: str) -> str:
        if n < 2:
            both.wait(10)  # Passes only where two are at work at once.
        time.sleep(0.002 * (n % 3))
        threads.add(threading.current_thread().name)
        return f"{name}{n}"

    assert list(in_threads(work, ((n, "x") for n in range(20)), 2, "try")) == [f"x{n}" for n in range(20)]
    assert all(name.startswith("try") for name in threads)


def test_items_are_taken_no_further_ahead_than_twice_the_threads() -> None:
    taken: list[int] = []

    def items() -> Iterator[tuple[int]]:
        for n in range(100):
            taken.append(n)
            yield (n,)

    with closing(in_threads(lambda n: n, items(), 3, "try")) as results:
        assert next(results) == 0
        assert len(taken) == 6
        assert next(results) == 1
        assert len(taken) == 7


def test_an_error_is_raised_in_its_place_and_ends_the_work() -> None:
    done: list[int] = []

    def work(n: int) -> int:
        if n == 3:
            raise ValueError("the fourth")
        done.append(n)
        return n

    results = in_threads(work, ((n,) for n in range(1000)), 2, "try")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert max(done) < 10
