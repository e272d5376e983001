"""What the vectors of agents make up, one at a time: their mean, or the model of which each holds a subnetwork."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.blocks import Blocks
from agents.mixing.consensus import RunningConsensus, check_held, check_levels
from agents.mixing.narrow import Subnetworks
from agents.mixing.nested import Nested
from agents.observe.outliers import Outliers
from agents.submodel import subnetwork_count
from agents.tensors import Parameters
from agents.values import Shard

Vector = np.ndarray[Any, np.dtype[np.float32]]


class Taken(NamedTuple):
    """How much an agent's vector weighs in a consensus, and of which part of the model it is.

    part: the number of its subnetwork. shard, capacity: the agent's, by which follows what it trains.

    masses: what it weighs in each block, () if that is `weight` in those that it trains.
    """

    weight: float
    part: int
    shard: Shard
    capacity: float = 1.0
    masses: tuple[float, ...] = ()


class Merged:
    """The mean of each part of the model, of vectors that come one at a time. Memory of one model and one vector.

    parameters: of an agent's vector. submodel: how the model is divided. blocks: what of a vector is exchanged, and
    which agents train what.
    """

    def __init__(self, parameters: int, submodel: str, blocks: Blocks) -> None:
        self.parts, self._blocks = subnetwork_count(submodel), blocks
        self._means = [RunningConsensus(parameters, blocks) for _ in range(self.parts)]

    def add(self, theta: Vector, of: Taken) -> None:
        """Take in one agent's vector, (p,)."""
        self._means[of.part].add(theta, of.weight, of.shard.index, of.capacity, of.masses)

    @property
    def distance(self) -> float:
        """sqrt(mean_i ||theta_i - mean of its part||^2)."""
        weight = sum(each.weight for each in self._means)
        return math.sqrt(sum(each.weight * each.distance**2 for each in self._means) / weight) if weight else 0.0

    def check_held(
        self, held: Parameters | None, shards: Iterable[Shard], map: Subnetworks | Nested | None = None
    ) -> None:
        """Raise NobodyTrains unless somebody trains each block. held: names and shapes, None where unknown."""
        if isinstance(map, Nested):
            check_levels(self._means[0].masses, map)
            return
        check_held(self._means[0].masses, self._blocks, held, max(shard.shards for shard in shards))

    def lacking(self, shards: Iterable[Shard]) -> str:
        """Which parts nobody holds, and whose shards are theirs; "" if none. shards: of all known, for their number."""
        gone = [k for k, each in enumerate(self._means) if not each.weight]
        if not gone or self.parts == 1:
            return ""
        count = max((shard.shards for shard in shards), default=self.parts)
        lines = []
        for k in gone[:8]:
            theirs = [f"{index}/{count}" for index in range(k, count, self.parts)[:8]]
            lines.append(f"subnetwork {k} of {self.parts} (shards {', '.join(theirs)})")
        return ", ".join(lines)

    def mean(self, part: int) -> Vector:
        """Of the vectors of one part, (p,)."""
        return self._means[part].mean

    def model(self, map: Subnetworks | Nested | None) -> Vector:
        """The whole model: (P,). map: how its parts make it up."""
        if map is None:
            return self._means[0].mean
        if isinstance(map, Nested):
            return map.whole(self._means[0].mean)
        weights = np.array([each.weight for each in self._means])
        assembled: Vector = map.assemble(np.stack([each.mean for each in self._means]), weights)
        return assembled


class OutliersOfParts:
    """Vectors that are no models of this run, each judged among those of its own part."""

    def __init__(self, parameters: int, parts: int) -> None:
        self._outliers = [Outliers(parameters) for _ in range(parts)]

    def add(self, agent: str, theta: Vector, part: int) -> None:
        """Take in one agent's vector."""
        self._outliers[part].add(agent, theta)

    def found(self) -> dict[str, str]:
        """Who is to be left out, and why."""
        return {agent: why for outliers in self._outliers for agent, why in outliers.found().items()}
