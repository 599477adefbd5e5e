"""How many cores this process may use, where several share a machine, and work that is spread over them."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

_limit: int | None = None


def limit_cores(count: int) -> None:
    """Let pools of threads made from now on use at most ``count`` cores. Numbers do not depend on it."""
    global _limit
    _limit = count


def usable_cores() -> int:
    """Cores for a pool of threads: those that this process may run on, unless ``limit_cores`` said fewer."""
    # A job of a cluster is often bound to a part of its machine; only Linux tells.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _limit is None else min(cores, _limit)


def in_threads(work: Callable[..., Result], items: Iterable[tuple[Any, ...]], num_threads: int, name: str) -> Generator[Result, None, None]:
    """``work(*item)`` for each of the items, in order, done ahead in threads called ``name``.

    Items are taken one by one; twice as many as there are threads are under way, so that no thread waits while the caller works. Close the
    generator where it may be left early: what has not begun is then not done.
    """
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads, name) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, *item))
                if len(under_way) >= 2 * num_threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
