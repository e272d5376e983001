"""A swarm at one moment, as plain data for people and programs: agents, how far apart they are, links, alarms."""

import math
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from agents.finite import is_finite
from agents.mixing.distances import Estimate, mapped, pairwise
from agents.observe.records import alarms_of, stalled_for_s
from agents.observe.watching import Watching
from transport.messages import Links, Member, Plain, Welcome

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
    started, answered, declined, failed: as it counts them, None where it didn't answer us. metric: by which it judges
    its own model while it trains, "" if it doesn't; score: in the last evaluation.
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
    estimate, course = watch.estimate(), watch.course()
    links = watch.links()
    points = places(estimate)
    agents = []
    for member in (*alive, *gone):
        _, of_links = links.get(member.agent, (0.0, Links()))
        counts = of_links.counts if member in alive else {}
        age_s = observer.silent_s(member.agent)
        state = state_of(member, member in alive, age_s, quiet_s)
        agents.append(_seen(member, member in alive, state, age_s, counts, estimate, points))
    living = {member.agent for member in alive}
    return Snapshot(
        welcome.run,
        welcome.parameters,
        tuple(agents),
        estimate.distance if estimate is not None else None,
        len(estimate.agents) if estimate is not None else 0,
        slope_of(course),
        links_of({agent: each for agent, each in links.items() if agent in living}),
        tuple(alarms_in(alive, agents, estimate)),
        tuple(course),
    )


def state_of(member: Member, alive: bool, age_s: float, quiet_s: float) -> str:
    """What it is doing, as far as can be known."""
    if member.state == "left":
        return "left"
    if not alive:
        return "dead"
    if age_s > quiet_s:
        return "silent"
    return "stalled" if stalled_for_s(member, age_s) else member.state


def slope_of(course: list[tuple[int, float]]) -> float | None:
    """The share by which the distance changes in a step: the slope of its logarithm, by least squares."""
    if len(course) < 2 or min(distance for _, distance in course) <= 0:
        return None
    steps, distances = np.array(course).T
    return math.expm1(float(np.polyfit(steps - steps[0], np.log(distances), 1)[0]))


def places(estimate: Estimate | None) -> dict[str, tuple[float, float]]:
    """Where agents stand to each other, in a plane."""
    if estimate is None:
        return {}
    points = mapped(pairwise(estimate.sketches)).tolist()
    return {agent: (x, y) for agent, (x, y) in zip(estimate.agents, points, strict=True)}


def links_of(links: dict[str, tuple[float, Links]]) -> tuple[LinkSeen, ...]:
    """Each two agents that exchanged, once: what the two say of it may differ by what was under way."""
    found: dict[tuple[str, str], LinkSeen] = {}
    for agent, (came_s, of_agent) in links.items():
        for peer, age_s in of_agent.ages.items():
            first, second = sorted((str(agent), peer))
            rate = _number(of_agent.rates.get(peer)) or 0.0
            seen = LinkSeen((first, second), rate, round(came_s + (_number(age_s) or 0.0), 3))
            other = found.get((first, second))
            found[first, second] = seen if other is None or seen.age_s < other.age_s else other
    return tuple(found[pair] for pair in sorted(found))


def alarms_in(alive: list[Member], agents: list[AgentSeen], estimate: Estimate | None) -> list[Alarm]:
    """What the operator should look at, the gravest first."""
    found = [
        Alarm(DEAD, each.agent, f"silent for {each.age_s:.0f} s and gone: its process or its network has ended")
        for each in agents
        if each.state == "dead"
    ]
    for member in alive:
        seen = next(each for each in agents if each.agent == member.agent)
        if stalled_s := stalled_for_s(member, seen.age_s):
            found.append(Alarm(STALLED, member.agent, f"no step for {stalled_s:.0f} s"))
        if member.report.step and not is_finite(member.report.loss):
            found.append(Alarm(DIVERGED, member.agent, "its loss is not finite"))
        found += [Alarm(REPORTED, member.agent, text) for text in alarms_of(member)]
    return found + far_from_the_rest(estimate)


def far_from_the_rest(estimate: Estimate | None) -> list[Alarm]:
    """Those much farther from the mean than is usual: one of two is no farther than the other."""
    if estimate is None or len(estimate.agents) < 3:
        return []
    usual = median(estimate.to_mean.values())
    norms = dict(zip(estimate.agents, np.linalg.norm(estimate.sketches, axis=1).tolist(), strict=True))
    return [
        Alarm(FAR_AWAY, agent, f"{far:.3g} from the mean of all, where {usual:.3g} is usual")
        for agent, far in estimate.to_mean.items()
        if far > FAR * usual and far > SHARE * norms[agent]
    ]


def _seen(
    member: Member,
    alive: bool,
    state: str,
    age_s: float,
    counts: dict[str, Plain],
    estimate: Estimate | None,
    points: dict[str, tuple[float, float]],
) -> AgentSeen:
    report = member.report
    x, y = points.get(member.agent, (None, None))
    numbers = {name: _number(counts.get(name)) for name in ("started", "answered", "declined", "failed")}
    return AgentSeen(
        member.agent,
        alive,
        state,
        report.step,
        report.steps,
        _number(counts.get("steps_s")) if state == "training" else None,
        _number(counts.get("waited")),
        report.loss if report.step and is_finite(report.loss) and not report.delta else None,
        estimate.to_mean.get(member.agent) if estimate is not None else None,
        x,
        y,
        round(age_s, 3),
        report.exchanges,
        **{name: None if value is None else int(value) for name, value in numbers.items()},
        bytes_sent=report.bytes_sent,
        codec=report.codec,
        shard=report.shard,
        address=member.address,
        metric=report.metric,
        score=report.score if report.metric and is_finite(report.score) else None,
    )


def _number(value: Plain | None) -> float | None:
    """A number that a peer sent, or None of what is none."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good and value is not None else None
