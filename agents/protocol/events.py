"""Events that go into the gossip core and effects that come out: its whole interface, as plain data.

Events are what happened: a message came, time passed, training asked for an exchange. Effects are what follows:
messages to send, and work on vectors, which the core never sees. A payload is passed through as it came. `driver`
carries effects out.
"""

from dataclasses import dataclass, field
from typing import Any

from agents.protocol.incarnation import Incarnation
from agents.submodel import OF_SHARD
from transport.messages import Address, AgentId, Answer, ConnectionId, Message, Offer, Pull

NO_PEER = AgentId("")

# Events


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in on this connection."""

    connection: ConnectionId
    message: Message


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Due:
    """Training reached the boundary where exchange `round` is to begin."""

    round: int


@dataclass(frozen=True, slots=True)
class OfferApplied:
    """An `ApplyOffer` was carried out. answer: as it was sent, to be sent again if it gets lost.

    squared: squared norm of the difference, before it was clipped.
    """

    connection: ConnectionId
    offer: Offer
    answer: Answer
    squared: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerApplied:
    """An `ApplyAnswer` was carried out. squared: as in `OfferApplied`."""

    connection: ConnectionId
    answer: Answer
    squared: float = 0.0


@dataclass(frozen=True, slots=True)
class Unusable:
    """An offer or an answer could not be applied, and nothing was changed by it. theirs: whether it was their fault."""

    connection: ConnectionId
    exchange: int
    why: str
    theirs: bool = True


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take over the vector of some agent that is already training. instead_of: whose vector can't be used.

    finished: the digest of the list over which it must have finished exactly, "" if that doesn't matter.
    """

    instead_of: AgentId = NO_PEER
    finished: str = ""


@dataclass(frozen=True, slots=True)
class StopAdopting:
    """Take over no vector any longer: there is nobody left to have one from."""


@dataclass(frozen=True, slots=True)
class FinishExactly:
    """Training is over: average exactly over all that have finished, as soon as everyone has.

    without_others: now, without those that still train.
    """

    without_others: bool = False


@dataclass(frozen=True, slots=True)
class GiveUpFinish:
    """The exact finish takes too long: go on without it, with the weight that our vector has by now."""


@dataclass(frozen=True, slots=True)
class TookOver:
    """Our vector is now that of members that have finished without us. digest: of their list (`Finish.missed`)."""

    digest: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Begin no exchange any longer and decline new ones; those that are open are completed."""


@dataclass(frozen=True, slots=True)
class Sketched:
    """A sketch of our model was made, of when it had taken so many steps. still: it has taken none lately.

    part: of which subnetwork it is, as in our record.
    """

    step: int
    still: bool
    payload: bytes
    part: int = OF_SHARD


@dataclass(frozen=True, slots=True)
class Expelled:
    """The owners of these keys are no longer trusted to take part."""

    keys: tuple[str, ...]


Event = (
    Expelled
    | Received
    | Tick
    | Due
    | OfferApplied
    | AnswerApplied
    | Unusable
    | Adopt
    | StopAdopting
    | FinishExactly
    | GiveUpFinish
    | TookOver
    | Drain
    | Sketched
)


# Effects


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection; it is named by its address."""

    address: Address


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a connection that was opened by Dial."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message as it is."""

    connection: ConnectionId
    message: Message


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Send this offer with the chunk of our vector as its payload."""

    connection: ConnectionId
    offer: Offer


@dataclass(frozen=True, slots=True)
class ApplyOffer:
    """Move our chunk by -rate times the difference, send the answer, and report `OfferApplied` or `Unusable`.

    Carried out and reported before the next message is taken in: until then the core answers no other offer of
    this peer, lest one that comes twice is applied twice.
    """

    connection: ConnectionId
    offer: Offer
    rate: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class ApplyAnswer:
    """Move our chunk by rate times the difference of this answer; report `AnswerApplied` or `Unusable`."""

    connection: ConnectionId
    answer: Answer
    rate: float


@dataclass(frozen=True, slots=True)
class SendPiece:
    """Send chunk `chunk` of our vector for this pull."""

    connection: ConnectionId
    pull: Pull
    chunk: int


@dataclass(frozen=True, slots=True)
class KeepPiece:
    """Keep a chunk of the vector that we adopt. last: the vector is complete. request: of the pull it answers."""

    connection: ConnectionId
    chunk: int
    payload: Any
    last: bool
    request: int = 0


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came on this connection is no honest agent's: it is counted against whoever is there."""

    connection: ConnectionId
    why: str


@dataclass(frozen=True, slots=True)
class RoundOver:
    """Training need not wait for exchange `round` any longer. peer "": it did not take place; why gives the reason."""

    round: int
    peer: AgentId = NO_PEER
    why: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """An exchange is complete on our side, whoever began it.

    distance: norm of the difference. scale: the least that was applied of it in a chunk, 1 where nothing was clipped.
    """

    peer: AgentId
    initiated: bool
    distance: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Lost:
    """Chunks that may have been applied on one side alone: `peer`, who had the other one, is over.

    exchange: the initiator's number of it. initiated: by us, so that the peer may have applied them; else we did, and
    it may not. moved: by how much they moved our vector, in norm; 0 where we can't know.
    """

    peer: Incarnation
    exchange: int
    chunks: tuple[int, ...]
    initiated: bool
    moved: float = 0.0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator would want to read.

    event: its kind in one word, for programs that read the log. connection, agent: whom it is about, if anybody.
    """

    text: str
    event: str = field(default="notice", compare=False)
    connection: ConnectionId | None = field(default=None, compare=False)
    agent: AgentId = field(default=AgentId(""), compare=False)


@dataclass(frozen=True, slots=True)
class Fatal:
    """The swarm refuses us, or we can't work with it: the agent must stop."""

    text: str


Signal = RoundOver | Completed | Lost | Notice | Fatal
"""Effects that the host handles itself, as they are no work on sockets or vectors."""

Effect = Dial | HangUp | Malformed | Send | SendOffer | ApplyOffer | ApplyAnswer | SendPiece | KeepPiece | Signal
