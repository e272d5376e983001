"""The rounds of one pass of the exact finish: who gives how much of what its vector weighs to whom.

Where all reach one another a pass is one period of the Base-2 graph. Where some don't, as two agents behind NAT, those
that all reach one another do that among themselves, the core. Before it all others hand what they weigh to a member
that they reach, inward from the farthest; after it they take over the mean the same way outward (docs/theory.md 22).
"""

from collections.abc import Collection, Iterable
from functools import lru_cache

from topology import base_graph

Arc = tuple[int, int, float]
"""(to whom, from whom, the share of what the second weighs)."""

Pairs = frozenset[tuple[int, int]]
"""Members that can't exchange with each other, by their numbers, the smaller one first."""

KEPT = 2.0**-40
"""What who hands over its weight keeps of it, so that it weighs something: of the mean that it takes over later, so
little of its own vector is left in it."""


def component(start: int, members: int, apart: Collection[tuple[int, int]]) -> list[int]:
    """Whom this member reaches, itself and through others included, in order."""
    found, todo = {start}, [start]
    while todo:
        one = todo.pop()
        fresh = [k for k in range(members) if k not in found and (min(one, k), max(one, k)) not in apart]
        found.update(fresh)
        todo += fresh
    return sorted(found)


@lru_cache(maxsize=8)
def rounds(members: int, apart: Pairs = frozenset()) -> tuple[list[Arc], ...]:
    """The arcs of each round, among members that reach one another, directly or through others.

    Each pair of a round has both arcs; of each round no member is in more than one pair. Every new list asks again.
    """
    if not apart:
        return _among(range(members))
    core, levels = _tree(members, apart)
    return (*_gather(levels), *_among(core), *_scatter(levels, members))


def _among(core: Iterable[int]) -> tuple[list[Arc], ...]:
    names = list(core)
    schedule = base_graph(len(names))
    return tuple(
        [
            (names[i], names[j], share)
            for i, j, share in zip(graph.sources.tolist(), graph.indices.tolist(), shares.tolist(), strict=True)
        ]
        for graph, shares in zip(schedule.graphs, schedule.weights, strict=True)
    )


def _tree(members: int, apart: Pairs) -> tuple[list[int], list[dict[int, list[int]]]]:
    """The core, and the children of each parent, level by level outward from it."""

    def reach(i: int, j: int) -> bool:
        return (min(i, j), max(i, j)) not in apart

    degree = [sum(reach(i, j) for j in range(members) if j != i) for i in range(members)]
    core: list[int] = []
    for one in sorted(range(members), key=lambda k: (-degree[k], k)):
        if all(reach(one, other) for other in core):
            core.append(one)
    left, inner, levels = [k for k in range(members) if k not in core], sorted(core), list[dict[int, list[int]]]()
    while left:
        children: dict[int, list[int]] = {}
        for one in left:
            parents = [k for k in inner if reach(k, one)]
            if parents:
                children.setdefault(min(parents, key=lambda k: (len(children.get(k, ())), k)), []).append(one)
        levels.append(children)
        inner = sorted(one for some in children.values() for one in some)
        left = [k for k in left if k not in inner]
    return sorted(core), levels


def _gather(levels: list[dict[int, list[int]]]) -> Iterable[list[Arc]]:
    for children in reversed(levels):
        for turn in range(max(map(len, children.values()))):
            pairs = [(parent, some[turn]) for parent, some in sorted(children.items()) if turn < len(some)]
            yield [arc for p, c in pairs for arc in ((p, c, 1 - KEPT), (c, p, 0.0))]


def _scatter(levels: list[dict[int, list[int]]], members: int) -> Iterable[list[Arc]]:
    """Each child gets what its part of the tree is of what its parent has still to share out, so all weigh alike."""
    size = [1] * members
    for children in reversed(levels):
        for parent, some in children.items():
            size[parent] += sum(size[child] for child in some)
    for children in levels:
        left = {parent: size[parent] for parent in children}
        for turn in range(max(map(len, children.values()))):
            arcs: list[Arc] = []
            for parent, some in sorted(children.items()):
                if turn < len(some):
                    child = some[turn]
                    arcs += [(child, parent, size[child] / left[parent]), (parent, child, 0.0)]
                    left[parent] -= size[child]
            yield arcs
