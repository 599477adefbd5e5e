"""The normal equations of a whole clip: gathered term by term, block-banded in time, solved in time linear in length. Pure numpy."""

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solveh_banded


@dataclass
class NormalEquations:
    """Block-banded normal equations being gathered: H[t] on the diagonal, H1[t] couples t with t+1, H2[t] with t+2."""

    H: np.ndarray
    g: np.ndarray
    H1: np.ndarray
    H2: np.ndarray
    cost: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def empty(T: int, P: int) -> "NormalEquations":
        return NormalEquations(np.zeros((T, P, P)), np.zeros((T, P)), np.zeros((max(T - 1, 0), P, P)), np.zeros((max(T - 2, 0), P, P)))

    def add(self, name: str, residual: np.ndarray, jacobian: np.ndarray, soft: np.ndarray | float = 1.0) -> None:
        """Add rows: ``residual`` (T, M) and ``jacobian`` (T, M, P), both divided by their standard deviations, ``soft`` (T, M) or 1
        their weights under :func:`robust`, with which both are yet to be multiplied."""
        rows = jacobian * soft[..., None] if isinstance(soft, np.ndarray) else jacobian
        Jt = np.swapaxes(rows, -1, -2)
        self.H += Jt @ rows
        self.g += (Jt @ (residual * soft)[..., None])[..., 0]
        self.note(name, residual, soft)

    def note(self, name: str, residual: np.ndarray, soft: np.ndarray | float = 1.0) -> None:
        """Count the (robust) cost of ``residual``: r² / (1 + (r/scale)²)."""
        part = float(np.sum(residual**2 * soft))
        self.parts[name] = self.parts.get(name, 0.0) + part
        self.cost += part

    def solve(self, damping: float) -> np.ndarray:
        """The Gauss-Newton step (T, P)."""
        T, P = self.g.shape
        diagonal = np.einsum("tpp->tp", self.H)
        damped = self.H.copy()
        np.einsum("tpp->tp", damped)[...] = diagonal * (1 + damping) + 1e-6
        if not np.any(self.H1) and not np.any(self.H2):
            return -np.linalg.solve(damped, self.g[..., None])[..., 0]
        band = np.zeros((3 * P, T * P))
        for offset, blocks in ((0, damped), (1, self.H1), (2, self.H2)):
            _scatter_lower(band, blocks, offset, P)
        return -solveh_banded(band, self.g.ravel(), lower=True, overwrite_ab=True, check_finite=False).reshape(T, P)


def _scatter_lower(band: np.ndarray, blocks: np.ndarray, offset: int, P: int) -> None:
    """Write blocks (N, P, P), standing at block column t and block row t + offset, into LAPACK's lower band form."""
    n = len(blocks)
    if n == 0:
        return
    view = band.reshape(3 * P, -1, P)
    for column in range(P):
        first = 0 if offset else column
        rows = offset * P + np.arange(first, P) - column
        # blocks[t] couples t (columns) with t + offset (rows), so its transpose is what stands below the diagonal.
        view[rows, :n, column] = blocks[:, column, first:].T


def robust(residual: np.ndarray, scale: float) -> np.ndarray:
    """Square-root weights (T, M) of the Geman-McClure loss for residual norms (T, M) in standard deviations."""
    return 1.0 / (1.0 + (residual / scale) ** 2)
