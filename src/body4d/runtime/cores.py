"""How many cores this process may use, where several share a machine."""

import os

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
