"""What is seen of a swarm at one moment, as plain data for people and programs: agents, links, alarms, layers."""

from dataclasses import dataclass, field

STALLED, FAR_AWAY, DEAD, REPORTED, DIVERGED, REFUSED = "stalled", "far", "dead", "reported", "diverged", "refused"
"""Kinds of alarms: training stands still; far from the rest; gone without having left; what an agent reports of its
peers; a loss that isn't finite; a connection that an agent refused lately."""


@dataclass(frozen=True)
class AgentSeen:
    """One agent. alive: False for one that is gone or has left.

    state: joining, ready, training, settling, left; stalled where training stands still, silent where nothing came
    lately, dead where nothing will. steps_s: local steps a second; waited: the share of time for which training waited
    for others; loss: None of one that isn't finite or published. to_mean: distance to the mean of all, None where it
    is not known; x, y: where it stands in the map. age_s: of its record. exchanges: completed, whoever began them;
    started, answered, declined, failed: as it counts them, None where it didn't answer us. metric: by which it judges
    its own model while it trains, "" if it doesn't; score: in the last evaluation. layers: how far it is from its
    neighbors in each parameter, as its exchanges find; {} where it isn't known. bytes_by_codec: what its exchanges
    sent.
    """

    agent: str
    alive: bool
    state: str
    step: int
    steps: int
    steps_s: float | None
    waited: float | None
    loss: float | None
    to_mean: float | None
    x: float | None
    y: float | None
    age_s: float
    exchanges: int
    started: int | None
    answered: int | None
    declined: int | None
    failed: int | None
    bytes_sent: int
    codec: str
    shard: str
    address: str
    metric: str = ""
    score: float | None = None
    layers: dict[str, float] = field(default_factory=dict)
    bytes_by_codec: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LinkSeen:
    """Two agents that exchanged: completed exchanges a second, lately, and the age of the last one in seconds."""

    agents: tuple[str, str]
    rate: float
    age_s: float


@dataclass(frozen=True)
class Alarm:
    """kind: stalled, far, dead, reported, diverged or refused. text: for people, from a peer perhaps."""

    kind: str
    agent: str
    text: str


@dataclass(frozen=True)
class Snapshot:
    """consensus_distance: None where it is not known; compared: of how many agents it is.

    slope: by what share it changes in a local step, over the last sketches; None of an agent alone or where training
    stands still. predicted_slope: by what share exchanges alone would change it, at most; None where nothing predicts
    it. layers: by parameter, the root mean square distance of two neighbors in it.
    """

    run: str
    parameters: int
    agents: tuple[AgentSeen, ...]
    consensus_distance: float | None = None
    compared: int = 0
    slope: float | None = None
    links: tuple[LinkSeen, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    course: tuple[tuple[int, float], ...] = ()
    layers: dict[str, float] = field(default_factory=dict)
    predicted_slope: float | None = None

    def count(self, state: str) -> int:
        """How many agents are in this state."""
        return sum(each.state == state for each in self.agents)
