"""A swarm at one moment, from what one who watches has received: agents, how far apart they are, links, alarms."""

import math
from statistics import median

import numpy as np

from agents.finite import is_finite
from agents.mixing.distances import Estimate, mapped, pairwise
from agents.observe.expected import predicted_slope
from agents.observe.layers import layers_apart, layers_of
from agents.observe.records import MOST_REFUSALS, alarms_of, codecs_of, refusals_of, stalled_for_s
from agents.observe.seen import (
    DEAD,
    DIVERGED,
    FAR_AWAY,
    REFUSED,
    REPORTED,
    STALLED,
    AgentSeen,
    Alarm,
    LinkSeen,
    Snapshot,
)
from agents.observe.watching import Watching
from transport.messages import AgentId, Links, Member, Plain, Welcome

QUIET_S, SWARM = 3.0, 16
"""An agent whose record is older than this isn't called training any more; in swarms of more, in proportion."""

MOST = 1e15
"""No count and no rate is larger."""

FAR, SHARE = 5.0, 0.01
"""An agent is far from the rest at so many times the usual distance to the mean, and so much of its model's norm."""


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
        of_agent = of_links if member in alive else Links()
        age_s = observer.silent_s(member.agent)
        state = state_of(member, member in alive, age_s, quiet_s, over=not alive)
        agents.append(_seen(member, member in alive, state, age_s, of_agent, estimate, points))
    living = {member.agent for member in alive}
    return Snapshot(
        welcome.run,
        welcome.parameters,
        tuple(agents),
        estimate.distance if estimate is not None else None,
        len(estimate.agents) if estimate is not None else 0,
        slope_of(course),
        links_of({agent: each for agent, each in links.items() if agent in living}),
        (*alarms_in(alive, agents, estimate), *refused_by({agent: links[agent] for agent in living & set(links)})),
        tuple(course),
        layers_apart(each.layers for each in agents),
        predicted_slope(welcome.settings, agents),
    )


def state_of(member: Member, alive: bool, age_s: float, quiet_s: float, over: bool = False) -> str:
    """What it is doing, as far as can be known. over: nobody is alive any more.

    Of a swarm that is over, who had taken its last step has left: where all leave at once, nobody passes that on.
    """
    if member.state == "left" or (over and 0 < member.report.steps <= member.report.step):
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
    """Each two agents that exchanged, once: what the two report may differ by what was under way."""
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


def refused_by(links: dict[AgentId, tuple[float, Links]]) -> list[Alarm]:
    """Connections that these agents refused lately, the latest first, of however many try."""
    found = [(*each, agent) for agent, (came_s, of) in links.items() for each in refusals_of(of, came_s)]
    return [Alarm(REFUSED, agent, text) for _, text, agent in sorted(found)[:MOST_REFUSALS]]


def far_from_the_rest(estimate: Estimate | None) -> list[Alarm]:
    """Those much farther from the mean than is usual: one of two is no farther than the other.

    Who trains a subnetwork alone is the mean itself, and no measure for others.
    """
    compared = [far for far in estimate.to_mean.values() if far > 0] if estimate is not None else []
    if estimate is None or len(compared) < 3:
        return []
    usual = median(compared)
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
    links: Links,
    estimate: Estimate | None,
    points: dict[str, tuple[float, float]],
) -> AgentSeen:
    report, counts = member.report, links.counts
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
        layers=layers_of(links.layers),
        bytes_by_codec=codecs_of(links),
    )


def _number(value: Plain | None) -> float | None:
    """A number that a peer sent, or None of what is none, or more than anything that is counted or measured."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
    return float(value) if good and value is not None else None
