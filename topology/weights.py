"""Mixing matrices: how much each agent takes from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from topology.errors import TopologyError, need
from topology.graphs import Graph, need_graph

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def mixing_matrix(graph: Graph, weights: NDArray[np.float64]) -> csr_array:
    """W (n, n) with W[i, j] = weights (arcs,) along the graph's arcs i -> j, and on the diagonal what a row lacks."""
    from scipy.sparse import csr_array, diags_array

    off_diagonal = csr_array((weights, graph.indices, graph.indptr), shape=(graph.n, graph.n))
    own = 1.0 - np.bincount(graph.sources, weights, graph.n)
    return csr_array(off_diagonal + diags_array(own, format="csr"))


@overload
def metropolis_hastings(graph: Graph, dense: Literal[False] = False) -> csr_array: ...
@overload
def metropolis_hastings(graph: Graph, dense: Literal[True]) -> NDArray[np.float64]: ...
def metropolis_hastings(graph: Graph, dense: bool = False) -> Any:
    """The doubly stochastic W (n, n): W[i, j] = 1 / (1 + max(degree_i, degree_j)) for neighbors. Sparse unless `dense`.

    A digraph gets 1 / (1 + degree) if all in- and out-degrees are one number, and TopologyError otherwise, for its
    columns would not sum to 1.
    """
    need_graph("metropolis_hastings", graph)
    degree = graph.degree
    if graph.directed:
        received = np.bincount(graph.indices, minlength=graph.n)
        degrees = np.unique(np.concatenate([degree, received]))
        need(
            degrees.size == 1,
            "Metropolis-Hastings weights on a digraph need all in- and out-degrees equal",
            least=int(degrees[0]),
            most=int(degrees[-1]),
        )
    W = mixing_matrix(graph, 1.0 / (1 + np.maximum(degree[graph.sources], degree[graph.indices])))
    return W.toarray() if dense else W


def _place(W: Any, there: NDArray[np.bool_]) -> tuple[int, int]:
    """The row and column of the first of these entries; there: of a dense matrix, or of a sparse one's data."""
    if not hasattr(W, "tocsr"):
        row, column = np.argwhere(there)[0]
    else:
        entries = W.tocoo()
        row, column = (axis[int(np.flatnonzero(there)[0])] for axis in (entries.row, entries.col))
    return int(row), int(column)


def check_doubly_stochastic(W: Any, tolerance: float = 1e-9) -> None:
    """Raise TopologyError, naming the worst place, unless W (n, n) has no negative entry and rows and columns sum to 1.

    W: dense or scipy sparse. tolerance: largest absolute error of an entry's sign or of a sum.
    """
    W = W if hasattr(W, "tocsr") else np.asarray(W)
    shape = W.shape
    need(len(shape) == 2 and shape[0] == shape[1] >= 1, "a mixing matrix is square", shape=shape)
    need(W.dtype.kind in "biuf", "a mixing matrix holds real numbers", dtype=W.dtype.name)
    entries = W.data if hasattr(W, "tocsr") else W
    if (bad := ~np.isfinite(entries)).any():
        need(False, "a mixing matrix is finite", bad=int(bad.sum()), place=_place(W, bad))
    least = float(entries.min(initial=0.0))
    if least < -tolerance:
        need(False, "a mixing matrix has no negative entry", least=least, place=_place(W, entries == least))
    for axis, line in [(1, "row"), (0, "column")]:
        sums = np.asarray(W.sum(axis=axis)).ravel()
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > tolerance:
            raise TopologyError(
                f"every {line} of a doubly stochastic matrix sums to 1 within {tolerance:g}: "
                f"got {sums[worst]:.9g} in {line} {worst}"
            )
