"""The messages that agents send to each other, and nothing about how they are carried.

A connection opens with Hello and Welcome (or Refuse). After that either side may send anything at any time:

    Gossip                      membership: who is alive and how far, epidemically
    Probe -> Alive              is this agent there? Asked of it, or of another that asks it; both carry records as well
    Offer -> Answer ... Ack     one chunk of an exchange each; Ack lets the responder forget its answers
    Offer -> Decline            not now, and why
    Pull -> Piece ...           a vector, chunk by chunk: for late joiners and for whoever assembles the consensus
    Stranger                    I don't know you on this connection: send Hello first
    Sketch                      of the sender's model, from which distances between models are estimated
    Look -> Links, Sketch ...   from whoever watches: with whom an agent exchanged, and the sketches that it has
    Stop                        from whoever runs the swarm: save and leave
    Enroll -> Enrolled          an invitation, in exchange for a place in the list of trusted keys

Adding a message: write its dataclass and list it in `MESSAGES`. Peers that don't know it answer `Unknown`.
Adding a field: give it a default, and put it last. Peers that don't know it ignore it.
"""

from dataclasses import dataclass, field
from typing import Any, NewType

VERSION = 9

AgentId = NewType("AgentId", str)
"""An agent's name in its swarm; "" for an observer."""

ConnectionId = NewType("ConnectionId", str)
"""A connection as the link names it: the address for one that we opened, "route:<hex>" for one opened to us."""

Address = NewType("Address", str)
"""Where an agent listens, tcp://HOST:PORT; "" for none."""

Plain = str | int | float | bool
"""What a manifest is made of."""


BETWEEN_ALARMS = "; "
"""Between two alarms of a report."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which agent a record is about.

    incarnation: the number of its start, greater than all before it; a restarted agent is a later incarnation of the
    same one. address: where it listens, "" for an agent behind NAT. key: its public key, "" where agents have none.
    hidden: the address's digest, where the address itself is left out: a loopback one that leaves its machine. vouch:
    what who invited the agent says of its key, "" for nothing.
    """

    agent: AgentId
    incarnation: int
    address: Address = Address("")
    key: str = ""
    hidden: str = ""
    vouch: str = ""


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether an agent is alive, and what it does.

    heartbeat: grows with each record that it publishes, so the freshest one wins.
    state: joining (holds no vector of the swarm yet), ready, training, settling, left. silent_s: since when it may
    be dead, as far as whoever passes this record on knows; 0 from the agent itself. gone: whether it is gone there.
    """

    heartbeat: int = 0
    state: str = "joining"
    silent_s: float = 0.0
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """An agent's shard, weight, progress and traffic.

    shard: which of how many, "2/8". weight: of its model, 1 or its shard's samples. steps: to train in all. loss: of
    the last local step. exchanges: completed. distance: norm of the difference in its last exchange. last_exchange_s:
    age of that exchange when this was published, -1 for never. bytes_sent: on the wire, in all. pid: of its process.
    finish: digest of the list of members over which it is ready to finish exactly, and how often it came back to one;
    finished: over which it has. mass: what its vector weighs since a pass that was not completed, 0 for its weight.
    stalled_s: since its last step, where that is unusually long, as of when this was published. epsilon: of its privacy
    budget, what is spent; delta: the budget's, 0 for an agent that does not train privately. Such an agent publishes no
    loss. alarm: what its operator should look at, several with BETWEEN_ALARMS between. distrusts: digests of the names
    of members whose models it found too far from its own, with spaces between. lost: chunks that one side alone may
    have applied, as the agent of the other one is over or gone. masses: as mass, by block with spaces between, where
    agents train blocks of the model. codec: in which it begins its exchanges now. metric: by which it judges its own
    model on held-out data, "" if it doesn't; score: in the last evaluation; best: in any; votes: whether it votes to
    stop. capacity: of a nested model, the share of the hidden units that it holds. part: which subnetwork it trains,
    where agents go from one to the next; -1: that of its shard. without: digests of the names of members that block the
    exact finish, which this agent leaves out. apart: digests of the names of members with whom it can't exchange
    directly, though they are there, once it has trained.
    """

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
    finish: str = ""
    finished: str = ""
    mass: float = 0.0
    stalled_s: float = 0.0
    epsilon: float = 0.0
    delta: float = 0.0
    alarm: str = ""
    distrusts: str = ""
    lost: int = 0
    masses: str = ""
    codec: str = ""
    metric: str = ""
    score: float = 0.0
    best: float = 0.0
    votes: bool = False
    capacity: float = 1.0
    part: int = -1
    without: str = ""
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """What an agent publishes about itself; others only pass it on.

    signature: by its key, of all but `silent_s` and `gone`, which others add who pass it on; "" where agents have none.
    """

    identity: Identity
    liveness: Liveness = Liveness()
    report: Report = Report()
    signature: str = ""

    @property
    def agent(self) -> AgentId:
        """Its name."""
        return self.identity.agent

    @property
    def incarnation(self) -> int:
        """Which start of the agent this record is about."""
        return self.identity.incarnation

    @property
    def address(self) -> Address:
        """Where it listens, "" if nowhere."""
        return self.identity.address

    @property
    def state(self) -> str:
        """joining, ready, training, settling or left."""
        return self.liveness.state


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message on a connection: who the sender is, and what must be equal for two agents to mix.

    agent "": an observer, who has no vector; of it only the version is asked. run "": whichever run yours is. manifest:
    hash of the settings that all agents of a run share. address: the one by which the sender reached us. credit: as in
    Welcome, for exchanges that are begun the other way. codecs: the kinds that the sender has, with spaces between.
    """

    version: int
    agent: AgentId
    incarnation: int
    run: str = ""
    manifest: str = ""
    address: Address = Address("")
    credit: int = 1
    codecs: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to Hello. parameters: length of theta. credit: chunks that may be unanswered at a time.

    settings: the manifest itself, what all agents share; suggestions: what a joiner takes over unless it gives its own.
    codecs: as in Hello.
    """

    version: int
    agent: AgentId
    incarnation: int
    run: str = ""
    manifest: str = ""
    settings: dict[str, Plain] = field(default_factory=dict)
    suggestions: dict[str, Plain] = field(default_factory=dict)
    parameters: int = 0
    credit: int = 1
    codecs: str = ""

    @property
    def model(self) -> str:
        """Hash over the names, shapes and dtypes of the parameters; "" if there is none."""
        return str(self.settings.get("model", ""))


@dataclass(frozen=True, slots=True)
class Refuse:
    """We can't mix: `name` is what differs. settings: our manifest, if it is that; the refused side finds the field."""

    name: str
    expected: str
    got: str
    settings: dict[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A message came on a connection that never sent Hello, or sent it to an earlier incarnation of this agent."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A member that did not answer the sender's probe, nor those of others on its behalf."""

    agent: AgentId
    incarnation: int


@dataclass(frozen=True, slots=True)
class Gossip:
    """Members that the sender knows. reply: it wants to receive all that the receiver knows. suspects: its own."""

    members: tuple[Member, ...]
    reply: bool = False
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """Is `agent` there? If that isn't the receiver, it is to ask that agent. members, suspects: as in Gossip."""

    number: int
    agent: AgentId
    members: tuple[Member, ...] = ()
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, slots=True)
class Alive:
    """`agent` has answered the Probe of this number. members, suspects: as in Gossip."""

    number: int
    agent: AgentId
    members: tuple[Member, ...] = ()
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """Chunk `chunk` of `chunks` of the initiator's vector. acked: chunks below it have been applied by the initiator.

    alpha: how much of itself each side keeps, the initiator's to set. weight: the initiator's.
    vector: which of the named vectors; codec: how the payload is written. step: how far the initiator has trained.
    seen: the last exchange of the responder's that the initiator had received when it began this one. finish: which
    round of which pass of the exact finish it belongs to, "" for none: its rates follow from that. by, to: of which
    incarnations it is, the initiator's and the responder's; 0 for any. radius: to what norm the responder clips the
    difference before it applies it, if its own isn't smaller; limit: beyond which norm it declines; 0 for none.
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
    finish: str = ""
    by: int = 0
    to: int = 0
    radius: float = 0.0
    limit: float = 0.0
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the initiator needs to know the difference that both sides apply. codec: how the payload is written.

    weight: the responder's. credit: chunks that may be unanswered from now on. step: how far the responder has trained.
    scale: how much of the difference both sides apply, in (0, 1]: less than 1 where it was clipped. damping: of the
    rates of both sides, in (0, 1]: less than 1 where the responder waits for an answer itself.
    """

    exchange: int
    chunk: int
    weight: float = 1.0
    credit: int = 1
    step: int = 0
    codec: str = "float32"
    scale: float = 1.0
    damping: float = 1.0
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
    agent: AgentId = AgentId("")
    vector: str = "theta"


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a pulled vector. parameters: the length of the whole; -1 if there is no such vector here."""

    request: int
    chunk: int
    parameters: int
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Sketch:
    """256 numbers that stand for an agent's model, little-endian float32 in the payload (`agents.mixing.sketch`).

    step: how far it had trained when this was made; still: it has taken no step lately; age_s: since this was made, as
    far as the sender knows. signature: by the agent's key, of all but age_s; "" where agents have none. part: of which
    subnetwork it is, as in Report.
    """

    agent: AgentId
    incarnation: int
    step: int = 0
    still: bool = False
    age_s: float = 0.0
    signature: str = ""
    part: int = -1
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Look:
    """Send me your sketches and your Links. everyone: and the sketches of others that you have."""

    everyone: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """With whom the sender has exchanged, and how often.

    ages: seconds since it last completed an exchange with each of these agents; rates: completed exchanges a second
    with it, lately. counts: exchanges that it started, answered, that peers declined and that failed; steps_s: its
    local steps a second; waited: the share of time for which training waited for the network. layers: how far it is
    from its neighbors in each parameter, by the name of the parameter. bytes_by_codec: what its exchanges have sent.
    refused: seconds since it last refused a connection, by what and why, in words.
    """

    ages: dict[str, Plain] = field(default_factory=dict)
    rates: dict[str, Plain] = field(default_factory=dict)
    counts: dict[str, Plain] = field(default_factory=dict)
    layers: dict[str, Plain] = field(default_factory=dict)
    bytes_by_codec: dict[str, Plain] = field(default_factory=dict)
    refused: dict[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The sender doesn't know the message type `name`: it has an older version."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Whoever runs the swarm asks the receiver to save and to leave; taken from the same machine alone."""


@dataclass(frozen=True, slots=True)
class Enroll:
    """Who holds an invitation, and has proved it, asks to take part with this public key from now on.

    proof: the key's signature on the invitation's, as one may ask for nobody else's key (`vouching`).
    """

    key: str
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """It may. vouch: what the receiver shows to others; trusted: whom the sender trusts, labels by public key.

    vouch "": it may not, as the invitation has been used meanwhile or has expired.
    """

    vouch: str = ""
    trusted: dict[str, Plain] = field(default_factory=dict)


Message = (
    Hello
    | Welcome
    | Refuse
    | Stranger
    | Gossip
    | Probe
    | Alive
    | Offer
    | Answer
    | Ack
    | Decline
    | Pull
    | Piece
    | Stop
    | Enroll
    | Enrolled
    | Sketch
    | Look
    | Links
    | Unknown
)

MESSAGES: tuple[type[Message], ...] = Message.__args__
