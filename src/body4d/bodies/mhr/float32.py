"""Products in full float32, whatever the process allows elsewhere: TF32 keeps 10 bits, which on a body is a millimetre and more."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_LOWERED = ("tf32", "bf16")
_turn = threading.Lock()  # The settings are the process's: two threads would restore each other's.


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 (CUDA) nor bfloat16 (CPU) inside float32 products, however that was allowed; as it was afterwards."""
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    with _turn:
        before = cuda.fp32_precision, cpu.fp32_precision
        if not set(before) & set(_LOWERED):
            yield
            return
        try:
            overall = torch.get_float32_matmul_precision()
        except RuntimeError:  # Allowed by the newer settings alone; torch refuses to say it in the older one's words.
            overall = None
        try:
            if overall is None:
                cuda.fp32_precision, cpu.fp32_precision = "ieee", "ieee"
            else:
                torch.set_float32_matmul_precision("highest")
            yield
        finally:
            if overall is not None:
                torch.set_float32_matmul_precision(overall)
            cuda.fp32_precision, cpu.fp32_precision = before


@torch.library.custom_op("body4d::product", mutates_args=())
def _product(a: Tensor, b: Tensor) -> Tensor:
    with full_float32():
        return a @ b


@_product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved_tensors
    to_a, to_b = ctx.needs_input_grad
    return (
        product(gradient, b.mT).sum_to_size(a.shape) if to_a else None,
        product(a.mT, gradient).sum_to_size(b.shape) if to_b else None,
    )


_product.register_autograd(_back, setup_context=_keep)


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of matrices (..., n, k) and (..., k, m) in full float32, there and back, also inside ``torch.compile``.

    An operation of its own, because a compiler would not see a setting that changes around a product; it costs 10 microseconds.
    """
    return _product(a, b)
