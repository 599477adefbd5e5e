"""Pose correctives of MHR: a two-layer network from joint rotations to offsets of the rest surface."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from body4d.bodies.mhr.float32 import product

MOST_DENSITY = 0.4
"""Above this share of non-zeros a dense product is as quick as a sparse one on a CPU (benchmarks/mhr.py, 2 cores, batches of 1 to 64)."""


def density(matrix: Tensor) -> float:
    """Share of entries of ``matrix``, dense or CSR, that are not exactly zero."""
    if matrix.layout == torch.sparse_csr:
        return int(torch.count_nonzero(matrix.values())) / matrix.numel()
    # Row by row blocks: counting all at once would make a mask of the whole matrix.
    return sum(int(torch.count_nonzero(block)) for block in matrix.split(4096)) / matrix.numel()


def compressed(matrix: Tensor, most_density: float = MOST_DENSITY) -> Tensor:
    """``matrix`` as CSR with 32-bit indices where few entries are non-zero, else dense; the same numbers either way."""
    if matrix.layout == torch.sparse_csr or density(matrix) > most_density:
        return matrix
    with warnings.catch_warnings():
        # torch calls sparse matrices a beta on first use; a product with one is all that is wanted here, and tested.
        warnings.filterwarnings("ignore", category=UserWarning, message="Sparse")
        csr = matrix.to_sparse_csr()
        return torch.sparse_csr_tensor(csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape)


def some_rows(matrix: Tensor, rows: Tensor) -> Tensor:
    """The rows ``rows`` of ``matrix``, dense or CSR, as a dense matrix."""
    if matrix.layout != torch.sparse_csr:
        return matrix[rows].contiguous()
    starts, columns, values = matrix.crow_indices().long(), matrix.col_indices().long(), matrix.values()
    counts = starts[rows + 1] - starts[rows]
    place = torch.repeat_interleave(torch.arange(len(rows)), counts)
    within = torch.arange(len(place)) - torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts)
    entry = starts[rows][place] + within
    out = matrix.values().new_zeros(len(rows), matrix.shape[1])
    out[place, columns[entry]] = values[entry]
    return out


class _SparseProduct(torch.autograd.Function):
    """``hidden @ matrix.T`` for a CSR ``matrix`` that itself takes no gradient. The transposed CSR makes the way back as quick."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.transposed = transposed
        return (matrix @ hidden.mT).mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (ctx.transposed @ gradient.mT).mT, None, None


class PoseCorrectives(nn.Module):
    """Offsets (B, 3 R) of R vertices from the corrective features (B, 6 (J - 2)).

    ``first`` (H, 6 (J - 2)) is dense: 9 MB, nothing. ``second`` (3 R, H) is dense (664 MB) or CSR, see :func:`compressed`.
    Neither layer has a bias, so a body at rest is not corrected.
    """

    first: Tensor
    second: Tensor

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", first, persistent=False)
        self._sparse = second.layout == torch.sparse_csr
        if not self._sparse:
            self.register_buffer("second", second, persistent=False)
            return
        back = second.to_sparse_csc()
        shape = (second.shape[1], second.shape[0])
        parts = {
            "starts": second.crow_indices(),
            "columns": second.col_indices(),
            "values": second.values(),
            "back_starts": back.ccol_indices(),
            "back_columns": back.row_indices(),
            "back_values": back.values(),
        }
        self._shapes = (tuple(second.shape), shape)
        for name, part in parts.items():
            self.register_buffer(name, part, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        hidden = torch.relu(product(features, self.first.mT))
        if not self._sparse:
            return product(hidden, self.second.mT)
        return _SparseProduct.apply(hidden, self._csr("", 0), self._csr("back_", 1))  # pyright: ignore[reportReturnType]

    def _csr(self, prefix: str, which: int) -> Tensor:
        parts = [getattr(self, f"{prefix}{name}") for name in ("starts", "columns", "values")]
        return torch.sparse_csr_tensor(parts[0], parts[1], parts[2], self._shapes[which], check_invariants=False)
