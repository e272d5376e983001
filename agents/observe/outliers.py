"""Which of many vectors are no models of this run: too far from all others to be averaged with them.

A vector is left out if its median distance to the others is more than TIMES that of the usual vector, and more than
SHARE of the usual norm. Both must hold: where agents are equal but for rounding, any distance is many times theirs, and
where data differ much, models do. Of two vectors nobody can tell which is wrong.

Distances come from sketches of fixed size, so that memory is needed for two models, whatever the number of agents:
the norm of each block, in which no single coordinate can hide, and a sample of coordinates, drawn anew each time.
"""

import math
from statistics import median_low
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

TIMES, SHARE = 10.0, 0.5

SAMPLE, BLOCK = 4096, 1 << 16
"""Coordinates in a sample, and in a block whose norm is kept."""


class Outliers:
    """Sketches of vectors (P,), added one at a time."""

    def __init__(self, parameters: int) -> None:
        count = min(SAMPLE, parameters)
        self._at = np.sort(np.random.default_rng().choice(parameters, count, replace=False))
        self._scale = math.sqrt(parameters / count) if count else 1.0
        self._sketches: dict[str, Array] = {}

    def add(self, agent: str, theta: Array) -> None:
        """Take in one agent's vector."""
        blocks = [float(np.linalg.norm(theta[start : start + BLOCK])) for start in range(0, theta.size, BLOCK)]
        self._sketches[agent] = np.concatenate([theta[self._at] * np.float32(self._scale), blocks]).astype(np.float32)

    def found(self) -> dict[str, str]:
        """Who is to be left out, and why."""
        if len(self._sketches) < 3:
            return {}
        agents, sketches = list(self._sketches), np.stack(list(self._sketches.values())).astype(np.float64)
        apart = {}
        for k, agent in enumerate(agents):
            distances = np.linalg.norm(sketches - sketches[k], axis=1)
            apart[agent] = median_low(np.delete(distances, k).tolist())
        usual = median_low(apart.values())
        norm = median_low(np.linalg.norm(sketches[:, self._at.size :], axis=1).tolist())
        return {
            agent: f"its model is {distance:.3g} from the others, which are {usual:.3g} apart, with norms of {norm:.3g}"
            for agent, distance in apart.items()
            if distance > TIMES * usual and distance > SHARE * norm
        }
