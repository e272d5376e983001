"""How fast swarms agree by how their agents choose neighbors: exchanges and time until all are nearly equal.

Without training, from independent random vectors, until the squared consensus distance is a thousandth of what it was;
`exchanges` are those begun by an agent until then, on average, `std` over the seeds. A schedule such as base:2 says
whom an agent meets in each round, and chooses nothing. In the second part each agent has one link on which messages
take ten times as long, and begins its next exchange once the last is over: real cores on a virtual network, where
`time` is in exchanges over a quick link.

    python benchmarks/choosing.py
    python benchmarks/choosing.py --seeds 1 --topologies ring:16 --links ring:16
    python benchmarks/choosing.py --keep docs/neighbors.json         what docs/neighbors.md shows
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from agents.protocol.virtual import Node
from sim.conditions import Conditions
from sim.sources.exchange import Exchange
from sim.sources.virtual import Virtual
from sim.tape import MIX, Tape
from topology import Schedule, named
from topology.choices import CHOICES
from transport.messages import Message

DIMENSIONS, AGREED = 64, 1e-3
SLOWER, QUICK_S = 10.0, 0.1
ROUNDS, TIME = 400.0, 300.0
TOPOLOGIES = (
    *("ring:16", "matching:16", "one-peer-exponential:16", "base:2:16"),
    *("torus:64", "complete:64", "regular:4:64", "matching:64", "one-peer-exponential:64", "base:2:64"),
)
LINKS = ("ring:16", "torus:64", "complete:16")
"""Graphs in which agents 2k and 2k + 1 are neighbors: the slow link of each."""


class Unequal(Virtual):
    """Agents 2k and 2k + 1 reach each other by a slow link."""

    def _carry(self, sender: Node, receiver: Node, message: Message) -> Iterable[float]:
        one, other = (self.number_of(node.name) for node in (sender, receiver))
        factor = SLOWER if one // 2 == other // 2 else 1.0
        return [factor * delay_s for delay_s in super()._carry(sender, receiver, message)]


def agreement(tape: Tape, seed: int) -> tuple[float, float, float]:
    """Until the squared consensus distance is AGREED of what it was: exchanges, the round, and mixes that are slow.

    The last one is the share of exchanges over slow links.
    """
    versions = list(np.random.default_rng(seed).standard_normal((tape.agents, DIMENSIONS)))
    now = np.array(versions)
    start, exchanges, slow = _squared(now), 0, 0
    for row in range(len(tape.kind)):
        assert tape.kind[row] == MIX
        coefficient = float(tape.coefficient[row])
        mixed = versions[tape.cur[row]] + coefficient * (versions[tape.b[row]] - versions[tape.a[row]])
        versions.append(mixed)
        agent, peer = int(tape.agent[row]), int(tape.peer[row])
        now[agent] = mixed
        if coefficient > 0:  # Who began the exchange ends it.
            exchanges += 1
            slow += agent // 2 == peer // 2
            if _squared(now) <= AGREED * start:
                return exchanges / tape.agents, float(tape.time[row]), slow / exchanges
    return np.inf, np.inf, np.nan


def _squared(vectors: Any) -> float:
    return float(((vectors - vectors.mean(0)) ** 2).sum())


def split(place: str) -> tuple[str, int]:
    """regular:4:64: the graph regular:4 of 64 agents."""
    name, agents = place.rsplit(":", 1)
    return name, int(agents)


def by_count(place: str, choose: str, seed: int) -> float:
    """Exchanges begun by an agent until all agree, each beginning one a round."""
    name, agents = split(place)
    source = Exchange(named(name, agents, seed), Conditions(agents, seed), local_steps=0)
    source.choose = choose
    (block,) = source.blocks(ROUNDS, np.array([]), ROUNDS)
    return agreement(block.tape, seed)[0]


def by_time(place: str, choose: str, seed: int) -> tuple[float, float]:
    """Time until all agree, and the share of exchanges over slow links."""
    name, agents = split(place)
    conditions = Conditions(agents, seed, delay=QUICK_S / 2, speeds=2 / QUICK_S)  # Turns wait for the exchange before.
    (block,) = Unequal(name, conditions, local_steps=0, choose=choose).blocks(TIME * QUICK_S, np.array([]))
    _, time, slow = agreement(block.tape, seed)
    return time / QUICK_S, slow


def main() -> None:
    """Print a line for each case, and keep all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--topologies", nargs="*", default=TOPOLOGIES, help="NAME:AGENTS, for exchanges")
    parser.add_argument("--links", nargs="*", default=LINKS, help="NAME:AGENTS, for time over unequal links")
    parser.add_argument("--keep", type=Path, help="a file for all that was found, as JSON")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for place in given.topologies:
        fixed = isinstance(named(*split(place)), Schedule)
        for choose in CHOICES[:1] if fixed else CHOICES[:2]:
            counts = [by_count(place, choose, seed) for seed in range(given.seeds)]
            found.append({"part": "exchanges", "topology": place, "choose": "" if fixed else choose, **spread(counts)})
            print(
                "{topology:24} {choose:10} {mean:6.1f} +- {std:.1f} exchanges an agent".format(**found[-1]), flush=True
            )
    for place in given.links:
        for choose in CHOICES:
            times, slow = zip(*(by_time(place, choose, seed) for seed in range(given.seeds)), strict=True)
            found.append({"part": "time", "topology": place, "choose": choose, **spread(times), "slow": np.mean(slow)})
            line = (
                "{topology:24} {choose:10} {mean:6.1f} +- {std:.1f} quick exchanges' time, {slow:.0%} over slow links"
            )
            print(line.format(**found[-1]), flush=True)
    if given.keep:
        given.keep.write_text(json.dumps(found, indent=1) + "\n")


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    values = list(values)
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "seeds": len(values)}


if __name__ == "__main__":
    main()
