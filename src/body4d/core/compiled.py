"""Functions compiled by numba: one decorator, so that all are compiled alike and once per machine."""

import inspect
from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Any:
    """``function`` compiled on its first call and cached on disk, so that later processes load it in milliseconds.

    Calls release Python's interpreter lock, so that threads run them in parallel. numba's own thread pools are not used: the usual ones
    break under fork, or when two threads enter. Sums may be reordered (within float rounding), the same way every time.
    """
    import numba

    function = inspect.unwrap(function)  # A test run may have wrapped it, to check the shapes of its arguments.
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # Neither the package's folder nor the user's cache is writable: every process compiles for itself.
        return numba.njit(**options)(function)
