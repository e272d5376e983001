"""What the vectors of agents make up, one at a time: their mean, or the model of which each holds a subnetwork."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from agents.mixing.consensus import RunningConsensus
from agents.mixing.narrow import Subnetworks
from agents.observe.outliers import Outliers
from agents.submodel import WHOLE, parse, part_of

Vector = np.ndarray[Any, np.dtype[np.float32]]


class Merged:
    """The mean of each part of the model, of vectors that come one at a time. Memory of one model and one vector.

    parameters: of an agent's vector. submodel: how the model is divided.
    """

    def __init__(self, parameters: int, submodel: str) -> None:
        self._submodel = submodel
        shared_out = parse(submodel)
        self.parts = shared_out.parts if shared_out else 1
        self._means = [RunningConsensus(parameters) for _ in range(self.parts)]

    def add(self, theta: Vector, weight: float, part: int) -> None:
        """Take in one agent's vector, (p,), of this part."""
        self._means[part].add(theta, weight)

    @property
    def distance(self) -> float:
        """sqrt(mean_i ||theta_i - mean of its part||^2)."""
        weight = sum(each.weight for each in self._means)
        return math.sqrt(sum(each.weight * each.distance**2 for each in self._means) / weight) if weight else 0.0

    def lacking(self, shards: Iterable[str]) -> str:
        """Which parts nobody holds, and whose shards are theirs; "" if none. shards: of all known, for their number."""
        gone = [k for k, each in enumerate(self._means) if not each.weight]
        if not gone or self._submodel == WHOLE:
            return ""
        counts = [int(shard.partition("/")[2]) for shard in shards if part_of(self._submodel, shard) is not None]
        count = max(counts, default=self.parts)
        lines = []
        for k in gone[:8]:
            theirs = [f"{index}/{count}" for index in range(k, count, self.parts)]
            lines.append(f"subnetwork {k} of {self.parts} (shards {', '.join(theirs[:8])})")
        return ", ".join(lines)

    def model(self, map: Subnetworks | None) -> Vector:
        """The whole model: (P,). map: how subnetworks make it up."""
        if map is None:
            return self._means[0].mean
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
