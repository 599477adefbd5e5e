"""How many cores this process may use, where several share a machine."""

import os

_limit: int | None = None


def limit_cores(count: int) -> None:
    """Let pools of threads made from now on use at most ``count`` cores. Numbers do not depend on it."""
    global _limit
    _limit = count


def usable_cores() -> int:
    """Cores for a pool of threads: the machine's, unless ``limit_cores`` said fewer."""
    cores = os.cpu_count() or 1
    return cores if _limit is None else min(cores, _limit)
