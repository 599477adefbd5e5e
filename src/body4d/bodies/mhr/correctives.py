"""MHR's pose correctives: a two-layer network from joint rotations to offsets of the rest surface."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SPARSE_MAX_DENSITY = 0.4
"""With a larger share of non-zeros a dense product is as fast as a sparse one on a CPU (benchmarks/mhr.py, 2 cores, batches of 1 to 64)."""


def density(matrix: Float[Tensor, "rows columns"]) -> float:
    """Share of entries that are not exactly zero."""
    # In blocks of rows: counting all at once would allocate a mask of the whole matrix.
    return sum(int(torch.count_nonzero(block)) for block in matrix.split(4096)) / matrix.numel()


def compress(matrix: Float[Tensor, "rows columns"], max_density: float = SPARSE_MAX_DENSITY) -> Float[Tensor, "rows columns"]:
    """``matrix`` as CSR with 32-bit indices where few entries are non-zero, else as it is. The numbers are the same."""
    if density(matrix) > max_density:
        return matrix
    with warnings.catch_warnings():
        # On first use torch warns that sparse matrices are in beta; a product with one is all that is used here, and it is tested.
        warnings.filterwarnings("ignore", category=UserWarning, message="Sparse")
        csr = matrix.to_sparse_csr()
        return torch.sparse_csr_tensor(csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape)


class _SparseProduct(torch.autograd.Function):
    """``hidden @ matrix.T`` for a CSR ``matrix`` that takes no gradient. The transposed CSR makes the backward pass as fast."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.transposed = transposed
        return (matrix @ hidden.mT).mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (ctx.transposed @ gradient.mT).mT, None, None


class PoseCorrectives(nn.Module):
    """Offsets of vertices, in cm, from the rotations of joints.

    The first layer is dense (9 MB at MHR's size), the second dense (664 MB) or CSR, see ``compress``. Neither has a bias, so a body
    at rest is not corrected.
    """

    first: Tensor
    second: Tensor

    def __init__(self, first: Float[Tensor, "hidden features"], second: Float[Tensor, "offsets hidden"]) -> None:
        super().__init__()
        self.register_buffer("first", first, persistent=False)
        self._sparse = second.layout == torch.sparse_csr
        if not self._sparse:
            self.register_buffer("second", second, persistent=False)
            return
        transposed = second.to_sparse_csc()
        shape = (second.shape[1], second.shape[0])
        parts = {
            "starts": second.crow_indices(),
            "columns": second.col_indices(),
            "values": second.values(),
            "transposed_starts": transposed.ccol_indices(),
            "transposed_columns": transposed.row_indices(),
            "transposed_values": transposed.values(),
        }
        self._shapes = (tuple(second.shape), shape)
        for name, part in parts.items():
            self.register_buffer(name, part, persistent=False)

    def forward(self, features: Float[Tensor, "b features"]) -> Float[Tensor, "b offsets"]:
        hidden = torch.relu(features @ self.first.mT)
        if not self._sparse:
            return hidden @ self.second.mT
        return _SparseProduct.apply(hidden, self._csr("", 0), self._csr("transposed_", 1))  # pyright: ignore[reportReturnType]

    def _csr(self, prefix: str, which: int) -> Tensor:
        parts = [getattr(self, f"{prefix}{name}") for name in ("starts", "columns", "values")]
        return torch.sparse_csr_tensor(parts[0], parts[1], parts[2], self._shapes[which], check_invariants=False)
