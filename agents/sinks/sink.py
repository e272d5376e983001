"""What a sink is: it takes an agent's metrics one line at a time, and does with them what it likes.

A new one is a file of this folder with a function `opened`, and a line in `names.py`. It may be slow, fail or hang:
`feed.py` keeps that from training.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

from topology.errors import GossamerError


class SinkError(GossamerError, RuntimeError):
    """Metrics can't go where they should. One line: what is missing or in the way, what to do."""

    code = "G109"


class Point(NamedTuple):
    """One line of metrics. time_s: since 1970. step: local steps taken. values: by name, finite ones alone.

    keyed: of fields that have a value for each key, such as each codec, the values by key; in `values` they have names
    of their own, of letters, digits and underscores.
    """

    time_s: float
    step: int
    values: Mapping[str, float]
    keyed: Mapping[str, Mapping[str, float]] = MappingProxyType({})


class About(NamedTuple):
    """Whose metrics they are. folder: the agent's own. settings: as it runs, by their names.

    step: local steps taken before, from which it goes on; what an earlier start wrote of later ones is void.
    """

    folder: Path
    run: str
    agent: str
    settings: Mapping[str, object]
    step: int = 0


class Sink(Protocol):
    """Takes metrics. Both are called in a thread of the sink's own; what they raise is logged, and costs that point."""

    def write(self, point: Point) -> None:
        """Take one line of metrics."""

    def close(self) -> None:
        """No more will come: bring what there is to where it belongs."""
