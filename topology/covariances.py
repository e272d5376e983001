"""What exchanges do to the covariance of agents' vectors, in expectation (docs/theory.md 6)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def lanczos(pairs: Any, beta: float, start: Floats, steps: int) -> tuple[Floats, Floats, list[Floats]]:
    """Lanczos' method for T(C) = E[W_ij C W_ij'], what one exchange makes of a covariance C in expectation.

    T is symmetric, so f(T) start = sum_k (vectors @ (f(values) vectors[0]))_k basis_k. start (n, n): of norm 1, rows
    sum to 0. values (K,), vectors (K, K): the eigenvalues and vectors of T on the basis. <start, f(T) start> is a
    Gauss quadrature, sum_k vectors[0, k]^2 f(values_k) (Golub and Meurant 1994). Ends sooner where the largest
    eigenvalue has converged.
    """
    basis, diagonal = [start], list[float]()
    beside = list[float]()
    before, top = np.zeros_like(start), -1.0
    while True:
        step = expected(pairs, beta, basis[-1]) - (beside[-1] if beside else 0.0) * before
        diagonal.append(float(np.vdot(basis[-1], step)))
        step = centered(step - diagonal[-1] * basis[-1])
        size = float(np.linalg.norm(step))
        if len(diagonal) % 10 == 0 or size < 1e-12 or len(diagonal) == steps:
            values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
            if size < 1e-12 or len(diagonal) == steps or abs(values[-1] - top) < 1e-9 * (1 - values[-1]):
                return values, vectors, basis
            top = values[-1]
        before = basis[-1]
        beside.append(size)
        basis.append(step / size)


def centered(C: Floats) -> Floats:
    """Symmetric, with rows that sum to 0. T keeps it so, but the rounding elsewhere would outlive all the rest."""
    C = (C + C.T) / 2
    rows = C.mean(axis=1)
    return np.asarray(C - rows[:, None] - rows + rows.mean())


def expected(pairs: Any, beta: float, C: Floats) -> Floats:
    """E[W_ij C W_ij']: C - beta (L C + C L) + beta^2 E[q_ij L_ij], q_ij = C_ii + C_jj - 2 C_ij, L = E[L_ij]."""
    LC = pairs.sum(axis=1)[:, None] * C - pairs @ C
    pairs = pairs.tocoo()
    i, j = pairs.row, pairs.col
    q = pairs.data * (C[i, i] + C[j, j] - 2 * C[i, j])
    after = C - beta * (LC + LC.T)
    after[i, j] -= beta**2 * q
    np.fill_diagonal(after, after.diagonal() + beta**2 * np.bincount(i, q, len(C)))
    return np.asarray(after)
