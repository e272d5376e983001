"""A swarm at one moment, as plain data for people and programs: agents, how far apart they are, links, alarms."""

from dataclasses import dataclass, field

from agents.finite import is_finite
from agents.observe.watching import Watching
from transport.messages import BETWEEN_ALARMS, Member, Welcome

QUIET_S, SWARM = 3.0, 16
"""An agent whose record is older than this isn't called training any more; in swarms of more, in proportion."""

FAR, SHARE = 5.0, 0.01
"""An agent is far from the rest at so many times the usual distance to the mean, and so much of its model's norm."""

STALLED, FAR_AWAY, DEAD, REPORTED, DIVERGED = "stalled", "far", "dead", "reported", "diverged"
"""Kinds of alarms: training stands still; far from the rest; gone without having left; what an agent reports of its
peers; a loss that isn't finite."""


@dataclass(frozen=True)
class AgentSeen:
    """One agent. alive: False for one that is gone or has left.

    state: joining, ready, training, settling, left; stalled where training stands still, silent where nothing came
    lately, dead where nothing will. steps_s: local steps a second; waited: the share of time for which training waited
    for others; loss: None of one that isn't finite or published. to_mean: distance to the mean of all, None where it
    is not known; x, y: where it stands in the map. age_s: of its record. exchanges: completed, whoever began them;
    started, answered, declined, failed: as it counts them, None where it didn't answer us.
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


@dataclass(frozen=True)
class LinkSeen:
    """Two agents that exchanged: completed exchanges a second, lately, and the age of the last one in seconds."""

    agents: tuple[str, str]
    rate: float
    age_s: float


@dataclass(frozen=True)
class Alarm:
    """kind: stalled, far, dead, reported or diverged. text: for people, from a peer perhaps."""

    kind: str
    agent: str
    text: str


@dataclass(frozen=True)
class Snapshot:
    """consensus_distance: None where it is not known; compared: of how many agents it is.

    slope: by what share it changes in a local step, over the last sketches; None of an agent alone or where training
    stands still.
    """

    run: str
    parameters: int
    agents: tuple[AgentSeen, ...]
    consensus_distance: float | None = None
    compared: int = 0
    slope: float | None = None
    links: tuple[LinkSeen, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    course: tuple[tuple[int, float], ...] = field(default=())

    def count(self, state: str) -> int:
        """How many agents are in this state."""
        return sum(each.state == state for each in self.agents)


def snapshot(watch: Watching, welcome: Welcome) -> Snapshot:
    """What is known after the last look."""
    observer = watch.observer
    alive, gone = observer.alive(), observer.gone()
    quiet_s = QUIET_S * max(1.0, (len(alive) + len(gone)) / SWARM)
    agents = []
    for member in (*alive, *gone):
        age_s = observer.silent_s(member.agent)
        agents.append(_seen(member, member in alive, state_of(member, member in alive, age_s, quiet_s), age_s))
    alarms = [Alarm(DEAD, each.agent, f"silent for {each.age_s:.0f} s") for each in agents if each.state == "dead"]
    alarms += [Alarm(REPORTED, m.agent, text) for m in alive for text in m.report.alarm.split(BETWEEN_ALARMS) if text]
    return Snapshot(welcome.run, welcome.parameters, tuple(agents), alarms=tuple(alarms))


def state_of(member: Member, alive: bool, age_s: float, quiet_s: float) -> str:
    """What it is doing, as far as can be known."""
    if member.state == "left":
        return "left"
    if not alive:
        return "dead"
    return "silent" if age_s > quiet_s else member.state


def _seen(member: Member, alive: bool, state: str, age_s: float) -> AgentSeen:
    report = member.report
    loss = report.loss if report.step and is_finite(report.loss) and not report.delta else None
    where = (None, None, None, round(age_s, 3), report.exchanges, None, None, None, None)
    made = (report.bytes_sent, report.codec, report.shard, member.address)
    return AgentSeen(member.agent, alive, state, report.step, report.steps, None, None, loss, *where, *made)
