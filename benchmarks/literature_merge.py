"""A single merge at the end: Zhu et al. 2025, arXiv 2507.06542, with Fashion-MNIST and a small model.

Agents with shards that differ seldom meet, here in random pairs; at the end all models are averaged once. Parallel SGD
is the same model, steps and batches with all models averaged at each step.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from literature_images import MISSING, present, trained
from literature_row import IN_PART, NO, YES, Row, listed, skipped, spread

from sim import Block, TapeWriter

NAME = "merge"
STEPS, EVERY = 300, 25


def pairs_at(meets: Callable[[int], bool]) -> type:
    """A protocol in which all train in each round, and meet in random pairs in some."""

    class Pairs:
        def __init__(self, topology: Any, conditions: Any, *, alpha: float, local_steps: int) -> None:
            self.agents, self.seed = conditions.agents, conditions.seed
            self.rate, self.local_steps = 1 - alpha, local_steps

        def blocks(self, rounds: float, moments: Any, window: float) -> Iterator[Block]:
            events, begun = TapeWriter(self.agents, moments), 0
            for r in range(int(rounds)):
                for i in range(self.agents):
                    events.train(r + 0.25, i, step=r * self.local_steps)
                if meets(r):
                    order = np.random.default_rng([self.seed, r]).permutation(self.agents).tolist()
                    for i, j in zip(order[::2], order[1::2], strict=True):
                        events.exchange(r + 0.5, i, j, self.rate)
                if r + 1 - begun >= window or r + 1 == int(rounds):
                    yield events.block(r + 1)
                    begun = r + 1

    return Pairs


def _seldom(every: int) -> Callable[[int], bool]:
    """Each so many steps, the last time half of them before the end."""
    return lambda r: r % every == every // 2


MORE = STEPS // EVERY
WHEN: dict[str, Callable[[int], bool]] = {
    "no exchanges": lambda r: False,
    "every 25 steps": _seldom(EVERY),
    "every 5 steps": _seldom(5),
    f"every 25 steps, and in the first {MORE}": lambda r: r < MORE or _seldom(EVERY)(r),
    f"every 25 steps, and in the last {MORE}": lambda r: r >= STEPS - MORE or _seldom(EVERY)(r),
}


def rows(show: Callable[[str], None], seeds: Any = range(3), alpha: str = "0.1") -> list[Row]:
    """What docs/literature.md shows."""
    if not present():
        return [skipped(NAME, "accuracy before and after the merge", "the merge recovers accuracy", MISSING)]
    parallel = trained(seeds, STEPS, alpha, topology="complete", protocol="synchronous", weigh="equal")
    best = np.array([history.consensus_accuracy[-1] for history in parallel])
    show(f"parallel SGD: {spread(100 * best)}")
    found = {}
    for name, meets in WHEN.items():
        runs = trained(seeds, STEPS, alpha, topology="complete", protocol=pairs_at(meets))
        local = np.array([history.accuracy[-1].mean() for history in runs])
        merged = np.array([history.consensus_accuracy[-1] for history in runs])
        found[name] = local, merged
        show(f"{name}: agents {spread(100 * local)}, merged {spread(100 * merged)}")
    _, seldom, _, early, late = found
    gain = _gain(found[seldom], best)
    claims = {
        seldom: (
            "one merge improves much under heterogeneity, and can match parallel SGD (abstract)",
            YES if gain > 0.5 else IN_PART if gain > 0.25 else NO,
        ),
        late: (
            "communication late does better than early (abstract)",
            YES if all(end.mean() > start.mean() for start, end in zip(found[early], found[late], strict=True)) else NO,
        ),
    }
    whys = {
        seldom: f"yes: over half of the gap to parallel SGD, in part: a quarter; here {gain:.0%}; claims alone",
        late: "yes: agents and merged model above those of early meetings",
    }
    made = []
    for name, (local, merged) in found.items():
        claim, match = claims.get(name, ("", ""))
        made.append(
            Row(
                reproduction=NAME,
                case=f"{name}, Dirichlet {alpha}, {STEPS} steps: accuracy of agents, merged, of parallel SGD",
                reported=claim,
                ours=f"{spread(100 * local, '.1f')}, {spread(100 * merged, '.1f')}, {spread(100 * best, '.1f')}",
                seeds=str(len(seeds)),
                match=match,
                why=whys.get(name, "what the others are beside"),
                values={"agents": listed(local), "merged": listed(merged), "parallel": listed(best)},
            )
        )
    return made


def _gain(found: tuple[Any, Any], best: Any) -> float:
    """How much of the way from the agents' accuracy to parallel SGD's a merge goes."""
    local, merged = found
    return float((merged.mean() - local.mean()) / (best.mean() - local.mean()))
