"""Functions compiled by numba: one decorator, so that all are compiled alike and once per machine."""

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Any:
    """``function`` compiled on its first call and kept on disk, so that later processes load it in milliseconds.

    Calls release the interpreter lock: threads of Python run them side by side, with no thread pool of numba's own, whose usual kinds
    break under fork or when two threads enter. Sums may be reordered (within float rounding), the same way every time.
    """
    import numba

    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # Neither the package's folder nor the user's cache can be written: compile anew in each process.
        return numba.njit(**options)(function)
