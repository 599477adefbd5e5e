"""Model files that are pickles, read without running anything in them: arrays and sparse matrices are let through, all else is refused."""

import io
import pickle
from typing import Any

import numpy as np

from body4d.core.errors import WeightsError


class _Holder:
    """Stands in for an object of a package that is not loaded (scipy's matrices, chumpy's arrays) and keeps its fields."""


class _SparseHolder(_Holder):
    pass


class _ChumpyHolder(_Holder):
    pass


class _ArrayKind:
    """Stands in for numpy's class, which a pickle names and nothing here has to call."""


def _hold(kind: type, base: type, state: Any) -> _Holder:
    """What ``copyreg._reconstructor`` does, for our own holders alone."""
    if not (isinstance(kind, type) and issubclass(kind, _Holder)):
        raise pickle.UnpicklingError("an object of a class that is not let through")
    return kind()


def _array_of(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
    """The empty array that a pickled one is filled into."""
    return np.ndarray((0,), np.uint8)


def _array_from(data: Any, kind: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    """The array of these bytes, as newer pickles hold it."""
    return np.frombuffer(data, kind).reshape(shape, order=order)


_KNOWN: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array_of for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_from for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): lambda *_: None for core in ("core", "_core")},  # single numbers are not needed
    ("numpy", "ndarray"): _ArrayKind,
    ("numpy", "dtype"): np.dtype,
    **{(f"scipy.sparse.{module}", "csc_matrix"): _SparseHolder for module in ("csc", "_csc")},
    ("chumpy.ch", "Ch"): _ChumpyHolder,
    **{(module, "_reconstructor"): _hold for module in ("copy_reg", "copyreg")},
    **{(module, "object"): object for module in ("__builtin__", "builtins")},
    ("_codecs", "encode"): lambda text, encoding="latin1": text.encode("latin1"),
}


class _Reader(pickle.Unpickler):
    """Finds the names of ``_KNOWN`` and no others."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}") from None


def read_pickled_arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of a pickled dict by name, sparse ones dense; other entries are left out. Raises WeightsError for anything unknown."""
    try:
        content = _Reader(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises whatever its opcodes do
        raise WeightsError(
            f"{name} is a pickle with more in it than arrays ({error}), and running it is refused.",
            code="unsafe_pickle",
            hint="Take the model's .npz, or write its arrays with numpy.savez in the environment that can read it.",
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{name} is a pickle of something else than a body model.", code="not_a_body_model", hint="Take another file.")
    arrays = {str(key): _as_array(value) for key, value in content.items()}
    return {key: value for key, value in arrays.items() if value is not None}


def _as_array(value: Any) -> np.ndarray | None:
    fields = vars(value) if isinstance(value, _Holder) else {}
    if isinstance(value, _ChumpyHolder):
        value = fields.get("x")
    elif isinstance(value, _SparseHolder):
        from scipy.sparse import csc_matrix

        try:
            shape = fields.get("_shape", fields.get("shape"))
            return csc_matrix((fields["data"], fields["indices"], fields["indptr"]), shape=shape).toarray()
        except (KeyError, TypeError, ValueError):
            return None
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else None
