"""The mechanism of private training (DP-SGD): how examples are drawn, clipped and noised in each step.

Abadi et al. 2016, arXiv 1607.00133: each example of the shard is drawn with probability q, independently; the gradients
of those drawn are clipped to norm C; of their sum plus N(0, (C * noise_multiplier)^2) in each coordinate the optimizer
gets a batch_size-th.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

NEVER = 80.0
"""No step in e**80 draws more examples than a `Draw` has room for."""


@dataclass(frozen=True)
class Mechanism:
    """samples: of the shard. batch_size: drawn on average. clip: the norm. noise_multiplier: noise over that norm."""

    samples: int
    batch_size: float
    clip: float
    noise_multiplier: float

    @property
    def probability(self) -> float:
        """Of an example, to be drawn in a step."""
        return self.batch_size / self.samples

    @property
    def most(self) -> int:
        """How many examples a step has room for: more are drawn with probability e**-NEVER, by Bernstein's bound."""
        room = self.batch_size + NEVER / 3 + math.sqrt((NEVER / 3) ** 2 + 2 * NEVER * self.batch_size)
        return min(self.samples, math.ceil(room))

    @property
    def usual(self) -> int:
        """How many examples are enough for nearly every step: three standard deviations above the mean."""
        spread = math.sqrt(self.batch_size * (1 - self.probability))
        return min(self.samples, math.ceil(self.batch_size + 3 * spread))


class Draw(NamedTuple):
    """What some steps train on. rows: int32 (steps, most), of the shard. sizes: int32 (steps,), how many of them count.

    keys: uint32 (steps, 2), of each step's noise: they are used once and kept nowhere.
    """

    rows: Any
    sizes: Any
    keys: Any


class PoissonBatches:
    """The batches of private steps, drawn from the system's generator and forgotten: nobody can compute them again.

    steps: how many a draw has room for. spend: called with how many are drawn, before they are.
    That others can't know which examples are in a batch is part of the guarantee, so no seed of the run's will do.
    """

    def __init__(self, mechanism: Mechanism, steps: int, spend: Callable[[int], None] = lambda steps: None) -> None:
        self._mechanism, self._steps, self._spend = mechanism, steps, spend
        self._random = np.random.default_rng()  # seeded by the system with 128 bits

    def __call__(self, step: int, count: int) -> tuple[Draw, np.int32]:
        """The batches of `count` steps, whatever their number, and that count."""
        self._spend(count)
        mechanism = self._mechanism
        rows = np.zeros((self._steps, mechanism.most), np.int32)
        sizes = np.zeros(self._steps, np.int32)
        sizes[:count] = self._random.binomial(mechanism.samples, mechanism.probability, count).clip(max=mechanism.most)
        for k in range(count):
            rows[k, : sizes[k]] = self._random.choice(mechanism.samples, sizes[k], replace=False, shuffle=False)
        keys = np.frombuffer(os.urandom(8 * self._steps), np.uint32).reshape(self._steps, 2)
        return Draw(rows, sizes, keys), np.int32(count)
