"""How long a swarm would train and agree, by number of agents, topology, codec and period: from what was measured.

    rounds     until the squared consensus distance is epsilon of what it was, nobody training (`topology.forecasting`)
    training   every steps; on one machine all agents' steps, and what exchanges compute, share its processors
    exchange   round trip + what crosses the link / bandwidth + what both sides compute, of one exchange
    a round    training + exchange where an agent waits for what it has begun; else training, in which an exchange
               is hidden if it fits, and in as many periods as it takes if it doesn't

Each time is a span: with the quickest and the slowest tenth of the steps that were measured, and with exchanges that
take half as long, or twice.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from topology.forecasting import forecast

FEW = 0.1
"""Of the time, that waiting for exchanges may take in what is recommended."""

TIMES = 3
"""A run is long enough if it has so many times the rounds that agents need to agree."""

ALIKE = 0.05
"""Times that differ by less are alike; then fewer bytes decide."""


class Span(NamedTuple):
    """A time in seconds, and between which it should lie."""

    low: float
    likely: float
    high: float

    def plus(self, other: "Span") -> "Span":
        """One time after the other."""
        return Span(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def times(self, factor: float) -> "Span":
        """Each of the three times this."""
        return Span(*(each * factor for each in self))


class Exchange(NamedTuple):
    """What one exchange costs. bytes: that each of both sides sends, on average. work_s: that each side computes."""

    bytes: float
    work_s: float


@dataclass(frozen=True)
class Costs:
    """What was measured, or is known. step: of one local step of one agent, alone on its machine.

    exchanges: by codec. round_trip_s, bandwidth: of the link between two agents, in bytes a second. cores: that all
    agents share, of one machine; None where each has its own. waits: whether agents wait for what they have begun.
    """

    step: Span
    exchanges: dict[str, Exchange]
    round_trip_s: float
    bandwidth: float
    cores: int | None = None
    waits: bool = True


class Choice(NamedTuple):
    """A setting to plan for. every: local steps between two exchanges that an agent begins. steps: of each agent."""

    agents: int
    topology: str
    codec: str
    every: int
    steps: int


@dataclass(frozen=True)
class Row:
    """What is expected of a choice. rounds: until epsilon. agree: the time of these. train: of all steps.

    bytes: that an agent sends in that time. waiting: the share of it in which training waits. agrees: whether there is
    time to agree.
    """

    choice: Choice
    rounds: float
    agree: Span
    train: Span
    bytes: float
    waiting: float
    agrees: bool

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: seconds and bytes; None for what never comes."""
        spans = {"agree_s": self.agree, "train_s": self.train}
        found: dict[str, Any] = self.choice._asdict() | {"rounds": self.rounds if math.isfinite(self.rounds) else None}
        for name, span in spans.items():
            found |= {name: span.likely if math.isfinite(span.likely) else None}
            found |= {f"{name}_from": span.low, f"{name}_to": span.high} if math.isfinite(span.likely) else {}
        return found | {"bytes": self.bytes, "waiting": self.waiting, "agrees": self.agrees}


def planned(choice: Choice, costs: Costs, epsilon: float, alpha: float = 0.5) -> Row:
    """What to expect of this choice. Raises TopologyError for a topology that there isn't for so many agents."""
    agents, exchange = choice.agents, costs.exchanges[choice.codec]
    rounds, begun = 0.0, 0.0
    if agents > 1:
        found = forecast(choice.topology, agents, alpha, epsilon=epsilon)
        rounds, begun = found.rounds, found.begun
    training = costs.step.times(choice.every)
    work_s = 2 * exchange.work_s if agents > 1 else 0.0  # Of both sides; an agent answers as many as it begins.
    crowded = max(1.0, agents / costs.cores) if costs.cores is not None else 1.0
    working = training.plus(_around(begun * work_s if costs.cores is not None else 0.0)).times(crowded)
    wire_s = 0.0 if agents == 1 else costs.round_trip_s + 2 * exchange.bytes / costs.bandwidth
    waited = _around(wire_s + (0.0 if costs.cores is not None else work_s))
    if costs.waits:
        period, between = working.plus(waited.times(begun)), 1.0  # Who answers waits for nobody.
        a_round = working.plus(waited)
    else:
        period, between = working, max(1.0, math.ceil(waited.likely / working.likely))
        a_round = period.times(between)
    periods = math.ceil(choice.steps / choice.every)
    share = 1 - training.times(crowded).likely / period.likely if period.likely else 0.0
    return Row(
        choice,
        rounds,
        a_round.times(rounds),
        period.times(periods),
        2 * begun * exchange.bytes * periods / between,
        max(0.0, share),
        rounds * between * TIMES <= periods,
    )


def _around(seconds: float) -> Span:
    """A time that is known to a factor of two."""
    return Span(seconds / 2, seconds, seconds * 2)


def best(rows: Sequence[Row]) -> Row:
    """The row to recommend: the quickest training of those that agree in time and hardly wait.

    Of those that agree in time if all wait for long, and if none does the one that needs least more time to agree.
    """
    agree = [row for row in rows if row.agrees]
    if not agree:
        return min(rows, key=lambda row: (row.agree.likely / max(row.train.likely, 1e-12), row.bytes))
    fit = [row for row in agree if row.waiting <= FEW] or agree
    quickest = min(row.train.likely for row in fit)
    alike = [row for row in fit if row.train.likely <= quickest * (1 + ALIKE)]
    return min(alike, key=lambda row: (row.bytes, row.rounds))


def choices(
    agents: Iterable[int], topologies: Iterable[str], codecs: Iterable[str], everys: Iterable[int], samples: int
) -> list[Choice]:
    """All combinations. samples: local steps times agents, the work of a run; each agent takes its part of them."""
    return [
        Choice(n, topology, codec, every, math.ceil(samples / n))
        for n in agents
        for topology in (topologies if n > 1 else ("none",))
        for codec in codecs
        for every in everys
    ]


def assumptions(costs: Costs, epsilon: float, link: str = "") -> list[str]:
    """What the figures rest on, in words. link: where its latency and bandwidth come from."""
    apart = "each agent has a machine like this one"
    where = f"all agents share {costs.cores} cores" if costs.cores is not None else apart
    waits = "they wait for the exchange that they have begun" if costs.waits else "exchanges go on beside training"
    return [
        f"{where}, and {waits}",
        f"the link: {costs.round_trip_s * 1e3:.1f} ms there and back, {costs.bandwidth / 1e6:.1f} MB/s each way{link}",
        f"agreed: the squared consensus distance is {epsilon:g} of what it was, where nobody trains meanwhile",
        "nothing else runs there, data is dealt alike, and nobody fails",
        "how many steps a model needs where data is dealt unevenly isn't planned: `simulate` shows it",
    ]
