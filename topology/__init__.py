"""Communication topologies: graphs, schedules, mixing matrices, and how fast they mix. NumPy and SciPy only.

Names are imported when they are first used: every other package takes its errors from here, and `agent --help` needs
no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topology.choices import CHOICES, need_choice
    from topology.closed_forms import (
        complete_rho,
        exponential_rho,
        hypercube_rho,
        path_rho,
        ring_rho,
        star_rho,
        torus_rho,
    )
    from topology.coercion import as_topology
    from topology.errors import GossamerError, TopologyError
    from topology.graphs import (
        Graph,
        complete,
        exponential,
        from_edges,
        from_networkx,
        grid,
        hypercube,
        incomplete_hypercube,
        path,
        ring,
        star,
        torus,
    )
    from topology.names import Topology, named, overlay
    from topology.random_graphs import erdos_renyi, random_regular, small_world
    from topology.schedules import Schedule, base_graph, one_peer_exponential, random_matching
    from topology.selection import draw, in_turn, permutations, select, select_by, turns
    from topology.spectral import (
        algebraic_connectivity,
        contraction_per_exchange,
        exchange_gap,
        rho,
        rounds_to,
        spectral_gap,
    )
    from topology.weights import check_doubly_stochastic, metropolis_hastings

__all__ = [
    "CHOICES",
    "GossamerError",
    "Graph",
    "Schedule",
    "Topology",
    "TopologyError",
    "algebraic_connectivity",
    "as_topology",
    "base_graph",
    "check_doubly_stochastic",
    "complete",
    "complete_rho",
    "contraction_per_exchange",
    "draw",
    "erdos_renyi",
    "exchange_gap",
    "exponential",
    "exponential_rho",
    "from_edges",
    "from_networkx",
    "grid",
    "hypercube",
    "hypercube_rho",
    "in_turn",
    "incomplete_hypercube",
    "metropolis_hastings",
    "named",
    "need_choice",
    "one_peer_exponential",
    "overlay",
    "path",
    "path_rho",
    "permutations",
    "random_matching",
    "random_regular",
    "rho",
    "ring",
    "ring_rho",
    "rounds_to",
    "select",
    "select_by",
    "small_world",
    "spectral_gap",
    "star",
    "star_rho",
    "torus",
    "torus_rho",
    "turns",
]

_HOMES = {
    "topology.choices": "CHOICES need_choice",
    "topology.closed_forms": "complete_rho exponential_rho hypercube_rho path_rho ring_rho star_rho torus_rho",
    "topology.coercion": "as_topology",
    "topology.errors": "GossamerError TopologyError",
    "topology.graphs": (
        "Graph complete exponential from_edges from_networkx grid hypercube incomplete_hypercube path ring star torus"
    ),
    "topology.names": "Topology named overlay",
    "topology.random_graphs": "erdos_renyi random_regular small_world",
    "topology.schedules": "Schedule base_graph one_peer_exponential random_matching",
    "topology.selection": "draw in_turn permutations select select_by turns",
    "topology.spectral": "algebraic_connectivity contraction_per_exchange exchange_gap rho rounds_to spectral_gap",
    "topology.weights": "check_doubly_stochastic metropolis_hastings",
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(home), name)
    raise AttributeError(f"topology has no {name!r}: it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
