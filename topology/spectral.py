"""Second eigenvalues: how fast a topology mixes. Dense up to 500 nodes, iterative beyond."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from topology.errors import TopologyError, as_number, need, need_alpha
from topology.graphs import Graph, need_graph
from topology.weights import check_doubly_stochastic

DENSE = 500


def rho(W: Any) -> float:
    """The second largest |eigenvalue| of a doubly stochastic W (n, n), dense or sparse; 0 for n = 1.

    Deterministic. Raises TopologyError if W is not doubly stochastic, or if the iteration for a large asymmetric W does
    not converge.
    """
    from scipy.sparse import csr_array

    check_doubly_stochastic(W)
    W = csr_array(W, dtype=np.float64)
    n = W.shape[0]
    asymmetry = abs(W - W.T)
    if asymmetry.nnz and asymmetry.max() > 1e-12:
        return _modulus(W)
    top = _second(W)
    # Gershgorin: no eigenvalue lies below twice the least own weight minus 1.
    if n > 1 and top < 1 - 2 * W.diagonal().min():
        return max(top, _second(-W))
    return max(top, 0.0)


def spectral_gap(W: Any) -> float:
    """1 - rho(W)."""
    return 1.0 - rho(W)


def algebraic_connectivity(graph: Graph) -> float:
    """lambda2(L), the second smallest eigenvalue of the Laplacian; 0 if the graph is not connected, or is one node."""
    from scipy.sparse import csr_array, diags_array

    need_graph("algebraic_connectivity", graph)
    need(not graph.directed, "algebraic_connectivity needs an undirected graph", directed=graph.directed)
    ones = np.ones(graph.indices.size)
    adjacency = csr_array((ones, graph.indices, graph.indptr), shape=(graph.n, graph.n))
    return max(-_second(csr_array(adjacency - diags_array(graph.degree.astype(np.float64)))), 0.0)


def contraction_per_exchange(graph: Graph, alpha: float) -> float:
    """1 - 2 alpha (1 - alpha) lambda2(L) / |E|: what one random exchange leaves of the squared consensus distance.

    In expectation, without training, in the slowest direction: an upper bound for any other, and for the mean factor
    of many exchanges, since each turns the slowest direction into others. Exact in every direction on a
    complete graph alone: 1 - 4 alpha (1 - alpha) / (n - 1). A random agent that picks a random neighbor
    picks every edge alike only on a regular graph: others raise TopologyError, as do digraphs.
    """
    need_graph("contraction_per_exchange", graph)
    degree = graph.degree
    regular = not graph.directed and degree.min() == degree.max() > 0
    need(
        bool(regular),
        "contraction_per_exchange needs an undirected regular graph with edges",
        directed=graph.directed,
        least_degree=int(degree.min()),
        most_degree=int(degree.max()),
    )
    need_alpha(alpha)
    edges = graph.indices.size / 2
    return 1 - 2 * alpha * (1 - alpha) * algebraic_connectivity(graph) / edges


def exchange_gap(graph: Graph, alpha: float) -> float:
    """1 - lambda2(E[W]) of a round in which each agent begins one exchange, with a neighbor that it draws.

    E[W] = I - (1 - alpha) L, for the Laplacian whose edge i, j weighs 1 / degree_i + 1 / degree_j: as if no
    exchange of the round saw another's result, so it is an estimate where rounds are long against an exchange.
    On a ring, with alpha 0.5, 1 - cos(2 pi / n). 0 for one node, or if the graph is not connected.
    """
    from scipy.sparse import csr_array, diags_array

    need_graph("exchange_gap", graph)
    need(not graph.directed, "exchange_gap needs an undirected graph", directed=graph.directed)
    need_alpha(alpha)
    degree = np.maximum(graph.degree, 1).astype(np.float64)
    rows = np.repeat(1 / degree, np.diff(graph.indptr)) + 1 / degree[graph.indices]
    rates = csr_array((rows, graph.indices, graph.indptr), shape=(graph.n, graph.n))
    return max(-(1 - alpha) * _second(csr_array(rates - diags_array(np.asarray(rates.sum(axis=1)).ravel()))), 0.0)


def rounds_to(factor: float, rho: float) -> float:
    """ln(1 / factor) / (-2 ln rho): rounds until the squared consensus distance is `factor` of what it was.

    0 for rho = 0, where a single round does it; infinite for rho = 1.
    """
    need(0 < as_number(factor) <= 1, "factor lies in 0 .. 1, 0 excluded", factor=factor)
    need(0 <= as_number(rho) <= 1, "rho lies in 0 .. 1", rho=rho)
    if rho in (0, 1):
        return 0.0 if rho == 0 or factor == 1 else math.inf
    return math.log(1 / factor) / (-2 * math.log(rho))


def _second(S: Any) -> float:
    """The largest eigenvalue of a symmetric sparse S (n, n) with constant row sums, the all-ones vector set aside."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = S.shape[0]
    if n == 1:
        return 0.0
    bound = float(abs(S).sum(axis=1).max())
    shift = float(S.sum()) / n + bound  # takes the all-ones vector's eigenvalue to the spectrum's lower end
    if n <= DENSE:
        return float(np.linalg.eigvalsh(S.toarray() - shift / n)[-1])
    operator = LinearOperator((n, n), matvec=lambda x: S @ x - shift * x.mean(), dtype=np.float64)
    try:
        top = eigsh(operator, k=1, which="LA", v0=_start(n), ncv=48, maxiter=30, tol=1e-9, return_eigenvectors=False)
    except ArpackNoConvergence:
        return _inverted(S, bound)
    return float(top[0])


def _inverted(S: Any, bound: float) -> float:
    """As `_second`, by inverse iteration next to the upper end: for long thin graphs, whose eigenvalues crowd there."""
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import LinearOperator, eigsh, splu

    n = S.shape[0]
    end = float(S.sum()) / n + 1e-9 * bound
    solve = splu((S - diags_array(np.full(n, end))).tocsc()).solve
    operator = LinearOperator((n, n), matvec=lambda x: _centered(solve(_centered(x))), dtype=np.float64)
    inverse = eigsh(operator, k=1, which="SA", v0=_start(n), return_eigenvectors=False)
    return float(end + 1 / inverse[0])


def _modulus(W: Any) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    n = W.shape[0]
    if n <= DENSE:
        return float(np.abs(np.linalg.eigvals(W.toarray() - 1 / n)).max())
    operator = LinearOperator((n, n), matvec=lambda x: W @ x - x.mean(), dtype=np.float64)
    try:
        values = eigs(operator, k=2, which="LM", v0=_start(n), ncv=64, maxiter=1000, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise TopologyError(
            f"rho of this asymmetric matrix of {n} nodes did not converge: its eigenvalues crowd at one modulus. "
            f"Use at most {DENSE} nodes, or np.linalg.eigvals(W.toarray())"
        ) from error
    return float(np.abs(values).max())


def _start(n: int) -> Any:
    return _centered(np.random.default_rng(0).standard_normal(n))


def _centered(x: Any) -> Any:
    return x - x.mean()
