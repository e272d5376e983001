"""The columns that an asynchronous source works on: messages in flight, and what happens in a window of rounds."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.sources.source import Floats, Ints
from sim.tape import ADOPT, MIX, TRAIN

Int32s = NDArray[np.int32]

JOIN, TURN_TRAIN, READ, TAKE, TAKEN_TRAIN, RETURN = range(6)
"""Parts of a turn: a late joiner takes a model; an agent trains at its turn; a model is read to be sent; a message is
taken in; an agent trains on what it took in; an answer is back at the initiator."""

KINDS = np.array([ADOPT, TRAIN, MIX, MIX, TRAIN, MIX], np.int8)
"""Of the event that each part writes; a READ writes none."""


class Messages(NamedTuple):
    """Messages under way, a column each (K,): a model, or an exchange whose answer is not back yet.

    sent, arrives, returns: when. read, before: the versions that were sent, and that the receiver had before it took
    the message in; -1 if not yet. receiver: -1 where nobody is met, -2 where nothing arrives. damping: of both sides'
    rates, decided where it is taken in.
    """

    sender: Ints
    receiver: Ints
    sent: Floats
    arrives: Floats
    returns: Floats
    read: Ints
    before: Ints
    damping: Floats

    @classmethod
    def none(cls) -> "Messages":
        """No messages."""
        whole, times = np.empty(0, np.int32), np.empty(0)
        return cls(whole, whole, times, times, times, whole, whole, times)

    def where(self, mask: Any) -> "Messages":
        """Those that a mask, an index or a slice picks."""
        return Messages(*(column[mask] for column in self))

    def and_these(self, more: "Messages") -> "Messages":
        """These, then more."""
        return Messages(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))


class Entries(NamedTuple):
    """What happens in a window, a column each (K,), in the order of time. row: of the message, -1 for none."""

    time: Floats
    part: NDArray[np.int8]
    agent: Int32s
    row: Int32s


class Window(NamedTuple):
    """A window's entries with their versions, and what each entry that mixes adds: coefficient * (b - a).

    version, cur (K,): the version that an entry writes, -1 for none, and that its agent has before it. a, b,
    coefficient (K,): to be filled in by the protocol; at first they add nothing.
    """

    entries: Entries
    messages: Messages
    version: Int32s
    cur: Int32s
    a: Int32s
    b: Int32s
    coefficient: NDArray[np.float32]

    def of(self, part: int) -> tuple[Ints, Ints]:
        """(entries of this part, the row of each one's message)."""
        found = np.flatnonzero(self.entries.part == part)
        return found, self.entries.row[found]
