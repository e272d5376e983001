"""What figures and tables read of a run, and how its numbers are summed up for people."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Curves(Protocol):
    """The measurements of one run, as `History` describes them: E evaluations of some agents."""

    @property
    def agents(self) -> int:
        """How many agents there are."""

    @property
    def rounds(self) -> Floats:
        """When it was evaluated, (E,)."""

    @property
    def consensus_distance(self) -> Floats:
        """How far the agents are from agreeing, (E,)."""

    @property
    def mean_drift(self) -> Floats:
        """How far their mean has moved, (E,)."""

    @property
    def bytes(self) -> NDArray[Any]:
        """All that was sent until then, (E,)."""

    @property
    def theta(self) -> NDArray[np.float32]:
        """The models at the end, (agents, params)."""

    @property
    def edges(self) -> NDArray[np.int32]:
        """Of the topology at the end, (M, 2)."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What describes the run."""

    def of_agents(self, metric: str) -> Floats:
        """A metric of each agent, (E, agents)."""

    def of_consensus(self, metric: str) -> Floats:
        """A metric of the consensus model, (E,)."""


def spread(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, least and most over agents, those that are NaN set aside: (E, agents) -> (E,) each, NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    some = count > 0
    mean = np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    low, high = np.where(known, values, np.inf).min(axis=1), np.where(known, values, -np.inf).max(axis=1)
    return np.where(some, mean, np.nan), np.where(some, low, np.nan), np.where(some, high, np.nan)


def readable_bytes(count: float) -> str:
    """1234567 -> "1.23 MB"; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


def notebook_module(name: str) -> Any:
    """Import what only notebooks and figures need."""
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(f"{name.split('.')[0]} is missing: pip install gossamer[notebooks]") from None
