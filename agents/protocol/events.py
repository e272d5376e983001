"""What the gossip core is told and what it wants done. The runtime and the simulator both speak this language.

Events are what happened: a message came, time passed, training asked for an exchange. Effects are what follows:
messages to send, and work on vectors, which the core never sees: a payload is passed through as it came.
"""

from dataclasses import dataclass
from typing import Any

from transport.messages import Answer, Message, Offer, Pull

Door = str
"""A connection, as the link names it."""


# Events


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in by this door."""

    door: Door
    message: Message


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Due:
    """Training reached the boundary where exchange `round` is to begin."""

    round: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A `Concede` was carried out: the difference both sides now know, to be sent again if it gets lost."""

    door: Door
    offer: Offer
    payload: Any


@dataclass(frozen=True, slots=True)
class Unusable:
    """An offer or an answer could not be mixed in, and nothing was changed by it."""

    door: Door
    exchange: int
    why: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take over the vector of some agent that is already training."""


Event = Received | Tick | Due | Answered | Unusable | Adopt


# Effects


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection; its door is the address."""

    address: Door


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a connection that was opened by Dial."""

    door: Door


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message as it is."""

    door: Door
    message: Message


@dataclass(frozen=True, slots=True)
class Propose:
    """Send this offer with the chunk of our vector as its payload."""

    door: Door
    offer: Offer


@dataclass(frozen=True, slots=True)
class Concede:
    """Answer this offer: mix our chunk by `share`, send the difference, and report `Answered` or `Unusable`.

    Carried out and reported before the next message is taken in: until then the core answers no other offer of
    this peer, lest one that comes twice is mixed twice.
    """

    door: Door
    offer: Offer
    share: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class Close:
    """Mix the answer's difference into our chunk by `share`; report `Unusable` if it can't be."""

    door: Door
    answer: Answer
    alpha: float
    share: float


@dataclass(frozen=True, slots=True)
class Serve:
    """Send chunk `chunk` of our vector for this pull."""

    door: Door
    pull: Pull
    chunk: int


@dataclass(frozen=True, slots=True)
class Keep:
    """A chunk of the vector that we adopt. last: the vector is complete. request: of the pull it answers."""

    door: Door
    chunk: int
    payload: Any
    last: bool
    request: int = 0


@dataclass(frozen=True, slots=True)
class RoundOver:
    """Training need not wait for exchange `round` any longer. peer "": it did not take place; why says the reason."""

    round: int
    peer: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """An exchange is complete on our side, whoever began it."""

    peer: str
    initiated: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator would want to read."""

    text: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """We can't be part of this swarm."""

    text: str


Effect = Dial | HangUp | Send | Propose | Concede | Close | Serve | Keep | RoundOver | Completed | Notice | Fatal
