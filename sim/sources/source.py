"""What an event source is: anything that yields the events of a simulated run as a sequence of tapes.

A source of one's own needs `agents` and `blocks`. The simulator keeps the models: a source decides who trains and who
mixes with whom, when, and in which order, by writing events over versions of models (`sim.tape`).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.tape import Tape

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


class Block(NamedTuple):
    """The tape of a window of rounds, and what has been counted until each of its snapshots.

    until: the round at which the window ends. rounds, exchanges, messages (S,): the time of each snapshot, and totals
    from the run's start. exchanges: completed ones, or models taken in. messages: models and differences sent, each as
    large as theta.
    """

    tape: Tape
    until: float
    rounds: Floats
    exchanges: Ints
    messages: Ints


class EventSource(Protocol):
    """Yields the tapes of one run, each of which begins with the versions that the one before it leaves.

    agents: how many there are; versions 0 .. agents - 1 enter the first tape.
    """

    @property
    def agents(self) -> int:
        """How many agents there are."""

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """Tapes for all the rounds, in order; called once.

        moments (S,): when to take snapshots, ascending, each in exactly one block. window: about how many rounds make a
        tape that is quick to schedule; a source may take more.
        """
