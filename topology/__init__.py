"""Who can hear whom: graphs, schedules, mixing matrices, and how fast they mix. numpy and scipy only."""

from topology.closed_forms import (
    complete_rho,
    exponential_rho,
    hypercube_rho,
    path_rho,
    ring_rho,
    star_rho,
    torus_rho,
)
from topology.errors import TopologyError
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
from topology.selection import draw, select
from topology.spectral import algebraic_connectivity, contraction_per_exchange, rho, rounds_to, spectral_gap
from topology.weights import check_doubly_stochastic, metropolis_hastings

__all__ = [
    "Graph",
    "Schedule",
    "Topology",
    "TopologyError",
    "algebraic_connectivity",
    "base_graph",
    "check_doubly_stochastic",
    "complete",
    "complete_rho",
    "contraction_per_exchange",
    "draw",
    "erdos_renyi",
    "exponential",
    "exponential_rho",
    "from_edges",
    "from_networkx",
    "grid",
    "hypercube",
    "hypercube_rho",
    "incomplete_hypercube",
    "metropolis_hastings",
    "named",
    "one_peer_exponential",
    "overlay",
    "path",
    "path_rho",
    "random_matching",
    "random_regular",
    "rho",
    "ring",
    "ring_rho",
    "rounds_to",
    "select",
    "small_world",
    "spectral_gap",
    "star",
    "star_rho",
    "torus",
    "torus_rho",
]
