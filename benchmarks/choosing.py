"""How fast swarms agree by how their agents choose neighbors: exchanges and time until all are nearly equal.

Without training, from independent random vectors, until the squared consensus distance is a thousandth of what it was;
`exchanges` are those begun by an agent until then, on average, `std` over the seeds. A schedule such as base:2 says
whom an agent meets in each round, and chooses nothing. In the second part each agent has one link on which messages
take FACTOR times as long, and begins its next exchange once the last is over: real cores on a virtual network, where
`time` is in exchanges over a quick link, from a moment at which agents have measured their links.

    python benchmarks/choosing.py
    python benchmarks/choosing.py --seeds 1 --topologies ring:16 --links ring:16:10
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
QUICK = 0.02
"""Rounds that an exchange over a quick link takes; a round is a second."""

ROUNDS, TIME, LIMIT = 400.0, 64.0, 4096.0
"""How long is looked: rounds; in the second part so many quick exchanges' time, or twice as much, up to the limit."""

WARM = 10
"""Before, agents exchange for as long as so many exchanges over a slow link take, so that they know the times."""

TOPOLOGIES = (
    *("ring:16", "matching:16", "one-peer-exponential:16", "base:2:16"),
    *("torus:64", "complete:64", "regular:4:64", "matching:64", "one-peer-exponential:64", "base:2:64"),
)
LINKS = ("ring:16:10", "torus:16:10", "complete:16:10", "torus:16:50")
"""NAME:AGENTS:FACTOR, graphs in which agents 2k and 2k + 1 are neighbors: that is the slow link of each."""

SETTING = ("part", "topology", "slower", "choose")
"""What tells two results apart that stand side by side."""


class Unequal(Virtual):
    """Agents 2k and 2k + 1 reach each other by a slow link."""

    slower = 1.0

    def _carry(self, sender: Node, receiver: Node, message: Message) -> Iterable[float]:
        one, other = (self.number_of(node.name) for node in (sender, receiver))
        factor = self.slower if one // 2 == other // 2 else 1.0
        return [factor * delay_s for delay_s in super()._carry(sender, receiver, message)]


def agreement(tape: Tape, seed: int, warm: float = 0.0) -> tuple[float, float, float]:
    """Until the squared consensus distance is AGREED of what it was: exchanges, rounds, and the share that is slow.

    warm: up to this round agents exchange without anything moving.
    """
    versions = list(np.random.default_rng(seed).standard_normal((tape.agents, DIMENSIONS)))
    now = np.array(versions)
    start, exchanges, slow = _squared(now), 0, 0
    for row in range(len(tape.kind)):
        assert tape.kind[row] == MIX
        if tape.time[row] < warm:
            versions.append(versions[tape.agent[row]])
            continue
        coefficient = float(tape.coefficient[row])
        mixed = versions[tape.cur[row]] + coefficient * (versions[tape.b[row]] - versions[tape.a[row]])
        versions.append(mixed)
        agent, peer = int(tape.agent[row]), int(tape.peer[row])
        now[agent] = mixed
        if coefficient > 0:  # Who began the exchange ends it.
            exchanges += 1
            slow += agent // 2 == peer // 2
            if _squared(now) <= AGREED * start:
                return exchanges / tape.agents, float(tape.time[row]) - warm, slow / exchanges
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


def by_time(place: str, slower: float, choose: str, seed: int) -> tuple[float, float]:
    """Time until all agree, and the share of exchanges over slow links."""
    name, agents = split(place)
    conditions = Conditions(agents, seed, delay=QUICK / 2, speeds=2 / QUICK)  # Turns wait for the exchange before.
    looked, warm, time, slow = TIME, WARM * slower * QUICK, np.inf, np.nan
    while time == np.inf and looked <= LIMIT:
        source = Unequal(name, conditions, local_steps=0, choose=choose)
        source.slower = slower
        (block,) = source.blocks(warm + looked * QUICK, np.array([]))
        _, time, slow = agreement(block.tape, seed, warm)
        looked *= 2
    return time / QUICK, slow


def main() -> None:
    """Print a line for each case, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--topologies", nargs="*", default=TOPOLOGIES, help="NAME:AGENTS, for exchanges")
    parser.add_argument("--links", nargs="*", default=LINKS, help="NAME:AGENTS:FACTOR, for time")
    parser.add_argument("--keep", type=Path, help="a file for all that was found, as JSON")
    given = parser.parse_args()
    for place in given.topologies:
        fixed = isinstance(named(*split(place)), Schedule)
        for choose in CHOICES[:1] if fixed else CHOICES[:2]:
            counts = [by_count(place, choose, seed) for seed in range(given.seeds)]
            setting = {"part": "exchanges", "topology": place, "slower": 1, "choose": "" if fixed else choose}
            result = setting | spread(counts)
            keep(given.keep, result)
            print("{topology:24} {choose:10} {mean:6.1f} +- {std:.1f} exchanges an agent".format(**result), flush=True)
    for link in given.links:
        place, _, slower = link.rpartition(":")
        for choose in CHOICES:
            runs = [by_time(place, float(slower), choose, seed) for seed in range(given.seeds)]
            setting = {"part": "time", "topology": place, "slower": int(slower), "choose": choose}
            result = setting | spread(time for time, _ in runs) | {"slow": float(np.mean([slow for _, slow in runs]))}
            keep(given.keep, result)
            line = (
                "{topology:15} x{slower:<7} {choose:10} {mean:6.1f} +- {std:.1f} quick exchanges' time, {slow:.0%} slow"
            )
            print(line.format(**result), flush=True)


def keep(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result into a file of them, in the place of an earlier one of the same setting."""
    if path is None:
        return
    kept = json.loads(path.read_text()) if path.exists() else []
    places = [place for place, other in enumerate(kept) if all(other[name] == result[name] for name in SETTING)]
    kept = [*kept[: places[0]], result, *kept[places[0] + 1 :]] if places else [*kept, result]
    path.write_text(json.dumps(kept, indent=1) + "\n")


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    values = list(values)
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "seeds": len(values)}


if __name__ == "__main__":
    main()
