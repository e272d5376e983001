"""How fast a swarm will agree, computed before it runs.

Without training, and from independent random vectors, the expected squared consensus distance is known exactly. With
C the agents' covariance (n, n), each synchronous round makes it W C W', each exchange E[W_ij C W_ij'].
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topology.coercion import as_network, uneven
from topology.covariances import lanczos
from topology.errors import TopologyError, as_number, need, need_whole
from topology.graphs import Graph
from topology.names import Topology
from topology.schedules import Schedule
from topology.spectral import rho, spectral_gap
from topology.weights import metropolis_hastings, mixing_matrix

PROTOCOLS = ("exchange", "synchronous")
COVARIANCES = 500  # agents, up to which (n, n) covariances are worth their time
ROUNDS = 4096
UNEVEN = (
    "in an exchange each neighbor in a row of W is equally likely, whatever its weight: give the graph alone, "
    "as_topology(W, agents).graphs[0], or protocol 'synchronous'"
)
GONE = 1e-24  # of a squared distance: what is left is rounding

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Forecast:
    """What `forecast` found. "Distance" is the squared consensus distance, as a share of what it was.

    rounds: whole rounds until it is at most epsilon, inf for never. exact: rounds until all agents are equal, None
    for never. factor: what a round leaves of it in the long run. rho: sqrt(factor), of synchronous rounds alone.
    per_exchange: 1 - 2 alpha (1 - alpha) lambda2, of exchanges on a graph alone: what one leaves in the slowest
    direction; exact in every direction on a complete graph, elsewhere an upper bound for the rate of many.
    bound: whether `squared_distance`, factor and rounds are upper bounds rather than expected values.
    begun: exchanges that an agent begins in a round, on average: half of one where a schedule pairs all agents.
    curve (R + 1,): the distance after each of the first rounds.
    """

    topology: str
    agents: int
    alpha: float
    protocol: str
    epsilon: float
    rounds: float
    exact: int | None
    factor: float
    rho: float | None
    per_exchange: float | None
    bound: bool
    begun: float
    curve: Floats = field(repr=False)

    @property
    def exchanges(self) -> float | None:
        """Until the distance is epsilon, those of all agents. None for synchronous rounds."""
        return self.rounds * self.agents * self.begun if self.protocol == "exchange" else None

    def squared_distance(self, rounds: ArrayLike) -> Floats:
        """The expected share of the squared consensus distance that is left after so many rounds, of any shape."""
        rounds = np.asarray(rounds, np.float64)
        last = len(self.curve) - 1
        later = np.maximum(rounds - last, 0.0)
        return np.asarray(np.interp(rounds, np.arange(last + 1), self.curve) * self.factor**later)

    def __str__(self) -> str:
        who = f"{self.topology}, {self.agents} agent{'s' * (self.agents != 1)}, {self.protocol}"
        if self.protocol == "exchange":
            who += f", alpha {self.alpha:g}"
        if math.isinf(self.rounds):
            return f"{who}: they never agree"
        needs = f"{'at most ' * self.bound}{self.rounds:,.0f} round{'s' * (self.rounds != 1)}"
        if self.exchanges is not None:
            needs += f" ({self.exchanges:,.0f} exchanges)"
        needs += f" to bring the squared consensus distance to {self.epsilon:g} of what it was"
        if self.exact is not None:
            return f"{who}: {needs}; all equal after {self.exact}"
        return f"{who}: {needs}" + (f"; spectral gap {1 - self.rho:.3g}" if self.rho is not None else "")


def forecast(
    topology: str | Topology | Any,
    agents: int,
    alpha: float = 0.5,
    *,
    protocol: str = "exchange",
    epsilon: float = 1e-3,
    seed: int = 0,
) -> Forecast:
    """How fast agents agree that don't train and start from independent random vectors.

    "exchange": every agent begins one exchange a round, at random times, with a neighbor drawn at random; of two that a
    schedule pairs, one of them (`Schedule.begins_with`). Agents with periodic clocks, who begin exactly one each round,
    agree somewhat sooner: on a large complete graph 1 / (2 sqrt(e)) is left a round where random times leave 1 / e
    (Jelasity, Montresor and Babaoglu 2005). "synchronous": theta = W @ theta, in which alpha has no part. Exact up to
    500 agents. Beyond, synchronous schedules run on sampled vectors, and a graph has its slowest direction as a bound.
    topology: as `simulate` takes it: a name, a Graph, a Schedule, a networkx graph, or a matrix W, whose weights are
    read by "synchronous" alone. seed: of a random topology. Raises TopologyError.
    """
    if protocol not in PROTOCOLS:
        raise TopologyError(f"a forecast is for protocol {' or '.join(PROTOCOLS)}: got {protocol!r}")
    if not 0 <= as_number(alpha) <= 1:
        raise TopologyError(f"alpha lies in 0 .. 1: got {alpha!r}")
    if not 0 < as_number(epsilon) <= 1:
        raise TopologyError(f"epsilon lies in 0 .. 1, 0 excluded: got {epsilon!r}")
    alpha, epsilon, agents = float(alpha), float(epsilon), need_whole("a forecast", "agents", agents)
    name = topology if isinstance(topology, str) else type(topology).__name__.lower()
    network = as_network(topology, agents, seed)
    if network.n != agents:
        raise TopologyError(f"agents are as many as the topology's nodes, {network.n}: got {agents}")
    if protocol == "exchange" and isinstance(network, Schedule) and not isinstance(topology, str | Schedule):
        need(not uneven(network), UNEVEN, topology=name)
    parts = _parts(network)
    if parts > 1:
        raise TopologyError(f"{name} falls into {parts} parts, which never agree with each other")
    per_exchange, bound = None, False
    if agents == 1:
        curve, factor = np.zeros(1), 0.0
    elif protocol == "synchronous":
        curve, factor, bound = _synchronous(network)
    elif isinstance(network, Schedule):
        curve, factor = _scheduled_exchanges(network, alpha)
    else:
        curve, factor, bound, per_exchange = _exchanges(network, alpha)
    sharp = np.flatnonzero((curve[1:] <= GONE) & (curve[:-1] > 1e-12))
    exact = 0 if agents == 1 else int(sharp[0]) + 1 if sharp.size else None
    if exact is not None:
        curve, factor = np.append(curve[:exact], 0.0), 0.0
    rounds = _rounds_until(epsilon, curve, factor)
    ratio = math.sqrt(factor) if protocol == "synchronous" else None
    begun = _begun(network) if protocol == "exchange" else 0.0
    return Forecast(
        name, agents, alpha, protocol, epsilon, rounds, exact, factor, ratio, per_exchange, bound, begun, curve
    )


def _begun(network: Topology) -> float:
    """Exchanges that an agent begins in a round, on average."""
    if isinstance(network, Graph):
        return 1.0
    shares = [np.mean(graph.degree > 0) / (1 + network.pairs_up(r)) for r, graph in enumerate(network.graphs)]
    return float(np.mean(shares))


def _parts(network: Topology) -> int:
    """How many parts a network falls into, all rounds of a schedule taken together."""
    from scipy.sparse.csgraph import connected_components

    weights = sum(_pairs(graph) for graph in _graphs(network))
    return int(connected_components(weights, directed=False, return_labels=False))


def _graphs(network: Topology) -> tuple[Graph, ...]:
    return network.graphs if isinstance(network, Schedule) else (network,)


def _rounds_until(epsilon: float, curve: Floats, factor: float) -> float:
    reached = np.flatnonzero(curve <= epsilon)
    if reached.size:
        return float(reached[0])
    return len(curve) - 1 + math.ceil(math.log(epsilon / curve[-1]) / math.log(factor)) if 0 < factor < 1 else math.inf


def _from_powers(powers: Floats, weights: Floats) -> Floats:
    """The curve sum_k weights_k powers_k^r, (R + 1,): until nothing is left, or the slowest part alone is."""
    slowest = min(float(powers.max()), 1 - 1e-12)
    last = min(ROUNDS, math.ceil(math.log(GONE) / math.log(max(slowest, GONE))))
    after = np.power(powers[None, :], np.arange(1, last + 1)[:, None]) @ weights
    return np.concatenate([np.ones(1), after])


# Synchronous rounds.


def _synchronous(network: Topology) -> tuple[Floats, float, bool]:
    """(curve, factor, bound) of theta = W @ theta."""
    if isinstance(network, Schedule):
        curve = _run(list(network), network.n)
        return curve, _long_run(curve, len(network)), False
    W = metropolis_hastings(network)
    factor = rho(W) ** 2
    if network.directed:  # W is not normal, so that its eigenvalues alone don't decide.
        return _run([W], network.n), factor, False
    if network.n > COVARIANCES:
        return _from_powers(np.array([factor]), np.ones(1)), factor, factor > GONE
    values = np.linalg.eigvalsh(W.toarray() - 1 / network.n)
    return _from_powers(values**2, np.full(network.n, 1 / (network.n - 1))), factor, False


def _run(matrices: list[Any], n: int) -> Floats:
    """The curve of repeated rounds: of all unit vectors as starts, or of 64 random ones."""
    X = np.eye(n) if n <= COVARIANCES else np.random.default_rng(0).standard_normal((n, 64))
    X = X - X.mean(axis=0)
    start = float((X**2).sum())
    curve = [1.0]
    while curve[-1] > GONE and len(curve) <= ROUNDS:
        X = matrices[(len(curve) - 1) % len(matrices)] @ X
        curve.append(float((X**2).sum()) / start)
    return np.array(curve)


def _long_run(curve: Floats, period: int) -> float:
    """What a round leaves, by whole periods of the curve's later half where it has any."""
    last = len(curve) - 1
    span = max(last // 2 // period * period, min(period, last))
    return float((curve[last] / curve[last - span]) ** (1 / span))


# Exchanges. W_ij = I - beta L_ij, where L_ij is the Laplacian of the edge alone, so L_ij^2 = 2 L_ij and
# E[W_ij' W_ij] = I - 2 alpha beta E[L_ij].


def _pairs(graph: Graph) -> Any:
    """How likely each pair meets in one exchange, symmetric csr (n, n): initiator uniform, then its neighbor."""
    from scipy.sparse import csr_array

    likely = 1 / (graph.n * graph.degree[graph.sources])
    likely = csr_array((likely, graph.indices, graph.indptr), shape=(graph.n, graph.n))
    return csr_array(likely + likely.T)


def _exchanges(graph: Graph, alpha: float) -> tuple[Floats, float, bool, float]:
    """(curve, factor, bound, per_exchange) of n exchanges a round."""
    from scipy.sparse import diags_array

    n, pairs = graph.n, _pairs(graph)
    rates = pairs.sum(axis=1)
    lazy = 1 / (2 * rates.max())  # I - lazy L is doubly stochastic, and no eigenvalue is negative.
    gap = spectral_gap(diags_array(1 - lazy * rates) + lazy * pairs)
    per_exchange = 1 - 2 * alpha * (1 - alpha) * gap / lazy
    known = graph.indices.size == n * (n - 1) or alpha in (0, 1)
    if known or n > COVARIANCES:
        factor = max(per_exchange, 0.0) ** n
        return _from_powers(np.array([factor]), np.ones(1)), factor, not known, per_exchange
    start = np.eye(n) - 1 / n
    values, vectors, _ = lanczos(pairs, 1 - alpha, start / math.sqrt(n - 1), steps=400)
    powers = np.clip(values, 0, 1) ** n
    return _from_powers(powers, vectors[0] ** 2), float(powers.max()), False, per_exchange


def _scheduled_exchanges(schedule: Schedule, alpha: float) -> tuple[Floats, float]:
    """(curve, factor) of n exchanges a round among that round's neighbors, or one of each pair."""
    n = schedule.n
    if n > COVARIANCES:
        raise TopologyError(
            f"a forecast of exchanges on a schedule goes up to {COVARIANCES} agents: got {n};"
            " forecast fewer, or protocol 'synchronous'"
        )
    if alpha in (0, 1):
        return np.ones(2), 1.0
    pairing = {
        r: mixing_matrix(graph, np.full(graph.indices.size, 1 - alpha))
        for r, graph in enumerate(schedule.graphs)
        if schedule.pairs_up(r)
    }
    if len(pairing) == len(schedule):
        exact = _run(list(pairing.values()), n)
        return exact, _long_run(exact, len(schedule))
    meetings = [_pairs(graph) for graph in schedule.graphs]
    C = (np.eye(n) - 1 / n) / (n - 1)
    curve = [1.0]
    while curve[-1] > 1e-9 and len(curve) <= ROUNDS // 8:
        place = (len(curve) - 1) % len(meetings)
        if place in pairing:
            C = np.asarray(pairing[place] @ (pairing[place] @ C).T)
        else:
            size = float(np.linalg.norm(C))
            values, vectors, basis = lanczos(meetings[place], 1 - alpha, C / size, steps=14)
            weights = vectors @ (np.clip(values, 0, 1) ** n * vectors[0]) * size
            C = np.asarray(sum(weight * Q for weight, Q in zip(weights, basis, strict=True)))
        curve.append(float(np.trace(C)))
    return np.array(curve), _long_run(np.array(curve), len(schedule))
