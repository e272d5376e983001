"""What private steps cost: (epsilon, delta) of subsampled Gaussians, by Google's dp-accounting.

Rényi differential privacy (Mironov 2017, arXiv 1702.07476) of Poisson-sampled Gaussians (Mironov, Talwar and Zhang
2019, arXiv 1908.10530): what each order costs adds up over steps, whatever their noise, so an account is a sum. Two
datasets are neighbors if one has one example more than the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from topology.errors import GossamerError


class PrivacyError(GossamerError, ValueError):
    """Training can't be private as asked. One line: what was expected, what came, what to do."""

    code = "G206"


class Spending(NamedTuple):
    """Private steps of one kind. noise_multiplier: noise over clipping norm. probability: of an example to be drawn."""

    noise_multiplier: float
    probability: float
    steps: int


class Account:
    """The cost of private steps at one delta: of those in `past`, and of any number more.

    noise_multiplier, probability: of the steps to come. Raises PrivacyError if dp-accounting isn't installed.
    """

    def __init__(
        self, delta: float, noise_multiplier: float, probability: float, past: Iterable[Spending] = ()
    ) -> None:
        self._delta = delta
        self._orders, self._each = _renyi(Spending(noise_multiplier, probability, 1))
        self._past = sum((_renyi(spending)[1] for spending in past), np.zeros(len(self._orders)))

    def epsilon(self, steps: int) -> float:
        """After so many more steps."""
        _, rdp = _library()
        total = self._past + steps * self._each if steps else self._past
        return float(rdp.compute_epsilon(self._orders, total, self._delta)[0])

    def affordable(self, epsilon: float, most: int) -> int:
        """How many more steps cost no more than epsilon in all: at most `most`."""
        low, high = 0, most + 1
        while high - low > 1:
            steps = (low + high) // 2
            low, high = (steps, high) if self.epsilon(steps) <= epsilon else (low, steps)
        return low


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, probability: float, steps: int) -> float:
    """The least noise multiplier, nearly, with which so many steps cost at most (epsilon, delta).

    Raises PrivacyError if no noise is enough, or dp-accounting isn't installed.
    """
    library, rdp = _library()
    try:
        with _without_warnings():
            found = library.calibrate_dp_mechanism(
                rdp.RdpAccountant,
                lambda noise: _event(Spending(noise, probability, max(1, steps))),
                epsilon,
                delta,
            )
    except library.mechanism_calibration.NoBracketIntervalFoundError:
        raise PrivacyError(
            f"--dp {epsilon:g},{delta:g} is too little for {steps} steps, however noisy: allow a larger epsilon, or "
            "train for fewer steps"
        ) from None
    return float(found)


@lru_cache(maxsize=64)
def _renyi(spending: Spending) -> tuple[Any, Any]:
    """Orders, and the Rényi divergence of these steps at each."""
    _, rdp = _library()
    accountant = rdp.RdpAccountant()
    with _without_warnings():
        accountant.compose(_event(spending))
    return accountant.orders, accountant.rdp


def _event(spending: Spending) -> Any:
    library, _ = _library()
    step = library.PoissonSampledDpEvent(spending.probability, library.GaussianDpEvent(spending.noise_multiplier))
    return library.SelfComposedDpEvent(step, spending.steps)


def _library() -> tuple[Any, Any]:
    """dp-accounting and its part for Rényi differential privacy."""
    try:
        import dp_accounting
        from dp_accounting import rdp
    except ImportError as error:
        raise PrivacyError(f"--dp needs dp-accounting ({error}): install gossamer[privacy]") from None
    return dp_accounting, rdp


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without a warning for each order that is left out of the minimum: what is left is a bound all the same."""
    absl = logging.getLogger("absl")
    before = absl.level
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        absl.setLevel(before)
