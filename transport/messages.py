"""The vocabulary of the wire: what agents say to each other, and nothing about how it is carried.

A conversation opens with Hello and Welcome (or Refuse). After that either side may send anything at any time:

    Gossip                      who is alive and how far, spread by rumor
    Offer -> Answer ... Ack     one chunk of an exchange each; Ack lets the responder forget its answers
    Offer -> Decline            not now, and why
    Pull -> Piece ...           a vector, chunk by chunk: for late joiners and for whoever assembles the consensus
    Stranger                    I don't know you on this connection: say Hello first

Adding a message: write its dataclass and list it in `MESSAGES`. Peers that don't know it answer `Unknown`.
Adding a field: give it a default. Peers that don't know it ignore it.
"""

from dataclasses import dataclass
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class Member:
    """What one agent says of itself; others only pass it on.

    incarnation: nanoseconds since 1970 when this life of the agent began: a restarted agent is a new life.
    heartbeat: grows with each word of its own, so the freshest rumor wins.
    address: where it listens, "" for an agent behind NAT. state: joining, ready, training, settling, left.
    weight: 1, or the shard's samples. loss: of the last local step. distance: to the peer of its last exchange.
    last_exchange_s: age of that exchange when this was said, -1 for never. bytes_sent: on the wire, all told.
    silent_s: how long ago whoever passes this on heard it, 0 from the agent itself.
    """

    agent: str
    incarnation: int
    heartbeat: int = 0
    address: str = ""
    state: str = "joining"
    shard: str = "0/1"
    weight: float = 1.0
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    exchanges: int = 0
    bytes_sent: int = 0
    distance: float = 0.0
    last_exchange_s: float = -1.0
    pid: int = 0
    task: str = ""
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hello:
    """The first word on a connection: what must be equal for two agents to mix. run "": whichever run yours is.

    agent "": an observer, who has no vector; of it only the version is asked. parameters: length of theta.
    model: hash over the names, shapes and dtypes of the parameters. door: the address by which the sender reached us.
    credit: as in Welcome, for exchanges that are begun the other way.
    """

    version: int
    run: str
    agent: str
    incarnation: int
    parameters: int = 0
    model: str = ""
    door: str = ""
    credit: int = 1


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to Hello, in the same words. credit: chunks that may be under way unanswered."""

    version: int
    run: str
    agent: str
    incarnation: int
    parameters: int
    model: str
    credit: int = 1


@dataclass(frozen=True, slots=True)
class Refuse:
    """We can't mix: `name` is the field of Hello that differs."""

    name: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """A message came on a connection that never said Hello, or said it to an earlier life of this agent."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """All members the sender knows. reply: the sender wants to hear the same."""

    members: tuple[Member, ...]
    reply: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """Chunk `chunk` of `chunks` of the initiator's vector. acked: chunks below it have been applied by the initiator.

    alpha: the mixing rate of this exchange, the initiator's to say. weight: the initiator's.
    vector: which of the named vectors; codec: how the payload is written. step: how far the initiator has trained.
    seen: the last exchange of the responder's that the initiator had heard of when it began this one.
    """

    exchange: int
    chunk: int
    chunks: int
    alpha: float
    weight: float = 1.0
    acked: int = 0
    vector: str = "theta"
    codec: str = "float32"
    step: int = 0
    seen: int = 0
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The difference that both sides add. credit: chunks that may be under way unanswered from now on.

    step: how far the responder has trained.
    """

    exchange: int
    chunk: int
    weight: float = 1.0
    credit: int = 1
    step: int = 0
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The initiator has applied every chunk of the exchange: its answers may be forgotten."""

    exchange: int


@dataclass(frozen=True, slots=True)
class Decline:
    """This chunk of the exchange was not applied and never will be, nor will any that follows it.

    Chunks answered before stay applied, and their answers are repeated as long as they are asked for.
    """

    exchange: int
    chunk: int
    why: str


@dataclass(frozen=True, slots=True)
class Pull:
    """Send me chunks [first, first + count) of the current vector of `agent` ("": yours)."""

    request: int
    first: int
    count: int
    agent: str = ""
    vector: str = "theta"


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a pulled vector. parameters: the length of the whole; -1 if there is no such vector here."""

    request: int
    chunk: int
    parameters: int
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The sender doesn't know the message type `name`: it speaks an older version."""

    name: str


Message = Hello | Welcome | Refuse | Stranger | Gossip | Offer | Answer | Ack | Decline | Pull | Piece | Unknown

MESSAGES: tuple[type[Message], ...] = Message.__args__
