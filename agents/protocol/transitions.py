"""The states of the two ends of an exchange, what happens to them, and where that leads: one table for each end."""

from enum import Enum
from typing import Any


class IllegalTransition(RuntimeError):
    """A session was asked for what its state doesn't allow: a bug of ours, never a peer's doing."""


class Outgoing(Enum):
    """States of an exchange that we began."""

    OFFERING = "chunks are open or still to be offered"
    STOPPED = "no further chunk is offered; those that are open are completed"
    OVER = "nothing is open"


class Step(Enum):
    """What happens to an exchange that we began."""

    STOP = "the peer declined a chunk, or an answer could not be applied"
    FINISH = "nothing is open and nothing remains to be offered"
    ABANDON = "the peer's incarnation is over"


OUTGOING: dict[tuple[Outgoing, Step], Outgoing] = {
    (Outgoing.OFFERING, Step.STOP): Outgoing.STOPPED,
    (Outgoing.OFFERING, Step.FINISH): Outgoing.OVER,
    (Outgoing.OFFERING, Step.ABANDON): Outgoing.OVER,
    (Outgoing.STOPPED, Step.STOP): Outgoing.STOPPED,
    (Outgoing.STOPPED, Step.FINISH): Outgoing.OVER,
    (Outgoing.STOPPED, Step.ABANDON): Outgoing.OVER,
}


class Incoming(Enum):
    """States of an exchange that a peer began."""

    OPEN = "the next chunk offered is applied and answered"
    APPLYING = "one chunk is being applied"
    REFUSING = "no further chunk is applied; answers given are repeated, all else is declined"
    ACKNOWLEDGED = "the initiator has every answer; what comes still is an echo"


class Turn(Enum):
    """What happens to an exchange that a peer began."""

    APPLY = "a chunk that was not seen before was offered"
    APPLIED = "that chunk was applied"
    REFUSE = "a chunk can't be applied, now or ever"
    ACKNOWLEDGE = "the initiator has applied every answer"


INCOMING: dict[tuple[Incoming, Turn], Incoming] = {
    (Incoming.OPEN, Turn.APPLY): Incoming.APPLYING,
    (Incoming.OPEN, Turn.REFUSE): Incoming.REFUSING,
    (Incoming.OPEN, Turn.ACKNOWLEDGE): Incoming.ACKNOWLEDGED,
    (Incoming.APPLYING, Turn.APPLIED): Incoming.OPEN,
    (Incoming.APPLYING, Turn.REFUSE): Incoming.REFUSING,
    (Incoming.REFUSING, Turn.REFUSE): Incoming.REFUSING,
    (Incoming.REFUSING, Turn.ACKNOWLEDGE): Incoming.ACKNOWLEDGED,
    (Incoming.ACKNOWLEDGED, Turn.ACKNOWLEDGE): Incoming.ACKNOWLEDGED,
}


def looked_up(table: dict[Any, Any], state: Enum, step: Enum) -> Any:
    """Where the step leads from this state. Raises IllegalTransition if the table has no such row."""
    if (state, step) not in table:
        raise IllegalTransition(f"an exchange in state {state.name} has no transition {step.name}")
    return table[state, step]
