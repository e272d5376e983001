"""Topologies by name: strict for an experiment, the nearest that exists for a live swarm of changing size."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from topology.errors import TopologyError, need, need_whole
from topology.graphs import (
    COMPLETE_LIMIT,
    Graph,
    complete,
    exponential,
    grid,
    hypercube,
    incomplete_hypercube,
    path,
    ring,
    star,
    torus,
)
from topology.random_graphs import erdos_renyi, random_regular, small_world
from topology.schedules import Schedule, base_graph, one_peer_exponential, random_matching

Topology = Graph | Schedule

NAMES = (
    "ring, path, star, complete, grid, torus, hypercube, exponential, one-peer-exponential, matching, "
    "base:2 (any base), regular:4 (any degree), erdos-renyi:0.1 (any p), small-world:4:0.1 (any even k, any p)"
)
MATCHING_ROUNDS = 128


def named(name: str, n: int, seed: int = 0) -> Topology:
    """The topology of that name on n nodes.

    Raises TopologyError for an unknown name, with the list of those known, and for an n that the family does not have.
    """
    n, seed = need_whole(name, "n", n), seed % 2**64  # A run's seed may be negative, a generator's not.
    match name.split(":"):
        case ["ring"]:
            return ring(n)
        case ["path"]:
            return path(n)
        case ["star"]:
            return star(n)
        case ["complete"]:
            return complete(n)
        case ["grid"]:
            need(_side(n) > 1 or n == 1, "a grid needs n = rows * cols, both 2 or more: use path", n=n)
            return grid(_side(n), n // _side(n))
        case ["torus"]:
            need(_side(n) > 1 or n == 1, "a torus needs n = rows * cols, both 2 or more: use ring", n=n)
            return torus(_side(n), n // _side(n))
        case ["hypercube"]:
            need(n & (n - 1) == 0, "a hypercube needs n = 2 ** dimension: use exponential", n=n)
            return hypercube(n.bit_length() - 1)
        case ["exponential"]:
            return exponential(n)
        case ["one-peer-exponential"]:
            return one_peer_exponential(n)
        case ["matching"]:
            return random_matching(n, MATCHING_ROUNDS, seed=seed)
        case ["base", base]:
            need(_whole(name, base) >= 2, "base:b needs b >= 2, one more than the neighbors a round", name=name)
            return base_graph(n, _whole(name, base) - 1)
        case ["regular", degree]:
            return random_regular(n, _whole(name, degree), seed=seed)
        case ["erdos-renyi", p]:
            return erdos_renyi(n, _number(name, p), seed=seed)
        case ["small-world", k, p]:
            return small_world(n, _whole(name, k), _number(name, p), seed=seed)
    raise TopologyError(f"unknown topology {name!r}: the known ones are {NAMES}")


@lru_cache(maxsize=8)
def overlay(name: str, n: int, seed: int = 0) -> Topology:
    """The topology of that name on n nodes, or the nearest the family has: for a live swarm, where n changes.

    Refuses no n >= 1. Two nodes are joined by an edge, one has no neighbors. A torus on a prime n is a ring, a
    grid a path, a hypercube an incomplete one; a degree beyond what n allows is lowered, though not below a
    ring's; a complete graph too large to hold becomes a random regular one. An unknown name raises TopologyError.
    """
    n, seed = need_whole(name, "n", n), seed % 2**64
    side = _side(n)
    match name.split(":"):
        case ["torus"]:
            return torus(side, n // side)
        case ["grid"]:
            return grid(side, n // side)
        case ["hypercube"]:
            return incomplete_hypercube(n)
        case ["complete"] if n > COMPLETE_LIMIT:
            return random_regular(n, 64, seed=seed)
        case ["regular", degree]:
            wanted = min(_whole(name, degree), n - 1)
            feasible = wanted - n * wanted % 2
            return random_regular(n, max(feasible, 2) if n > 2 else n - 1, seed=seed)
        case ["small-world", k, p]:
            size = max(n, 3)
            lowered = max(min(_whole(name, k), size - 1) // 2 * 2, 2)
            graph = small_world(size, lowered, _number(name, p), seed=seed)
            return graph if n == size else path(n)
        case ["erdos-renyi", p]:
            graph = erdos_renyi(n, _number(name, p), seed=seed)
            return path(n) if n == 2 else graph
    return named(name, n, seed)


def _side(n: int) -> int:
    """The largest divisor of n up to its square root."""
    return next(side for side in range(isqrt(n), 0, -1) if n % side == 0)


def _whole(name: str, text: str) -> int:
    need(text.isdecimal(), f"a whole number belongs in place of {text!r}", name=name)
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TopologyError(f"a number belongs in place of {text!r}: got name={name!r}") from None
