"""The consensus model: every agent's vector, one at a time, averaged, written and only then judged.

Needs memory for two models, whatever the number of agents: the mean so far and the vector that just came. A vector that
is no model of this run is left out (`outliers`), and the others are averaged again from where they were kept.
Reported are the mean of the agents, the best agent and the merged model: one final average often beats every
single agent (arXiv 2507.06542).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agents.fields import SettingsError
from agents.mixing.exchange import MAX_WEIGHT
from agents.mixing.norms import NotFinite, finite
from agents.observe.card import Consensus, Metrics, write_card, write_model
from agents.observe.whole import Merged, OutliersOfParts
from agents.submodel import WHOLE, part_of
from agents.tensors import Parameters
from topology.errors import GossamerError

if TYPE_CHECKING:
    from agents.observe.evaluation import Judge

Vector = np.ndarray[Any, np.dtype[np.float32]]
Notify = Callable[[str], None]


class NoAgentError(GossamerError, RuntimeError):
    """No agent's vector could be fetched."""

    code = "G405"


class Contribution(NamedTuple):
    """What one agent adds to the consensus. theta: (P,). step: how far it had trained.

    privacy: {"epsilon_spent", "delta"}, None of an agent that did not train privately. shard: as its record has it.
    """

    agent: str
    weight: float
    step: int
    theta: Vector
    privacy: Metrics | None = None
    shard: str = ""


class Source(Protocol):
    """Where vectors come from: a running swarm (streaming.py) or folders (folders.py).

    model: the hash of names, shapes and dtypes of the parameters. layout: names and shapes, None where unknown.
    submodel: how the model is divided; width: its hidden widths, as a multiple of the task's own.
    """

    run: str
    task: str
    model: str
    parameters: int
    layout: Parameters | None
    submodel: str
    width: float

    def contributions(self, notify: Notify) -> Iterator[Contribution]:
        """One agent after the other; a line for each that should be in and can't be."""
        ...

    def again(self, agent: str) -> Vector | None:
        """The vector that this agent contributed, to be judged; None if it could not be kept."""
        ...

    def known(self) -> set[str]:
        """The agents that should be in."""
        ...


def assemble(
    source: Source, judge: "Judge | None", out: Path, expect: Iterable[str] = (), notify: Notify = print
) -> Consensus:
    """Average, write, evaluate. judge None: nothing is evaluated. expect: who should be in as well, by name.

    out: the safetensors file; its card is written beside it as .json. Raises MismatchError, NoAgentError if nobody's
    vector could be had, or nobody's of some subnetwork, and EvaluationError, when the model is written, if the task's
    metrics fail.
    """
    if judge is not None:
        judge.check(source.model, source.parameters)
    map = judge.map if judge is not None else None
    if source.submodel != WHOLE and map is None:
        raise SettingsError(
            f"these agents train subnetworks ({source.submodel}), which make up a model of the task's: give --task, "
            "and --data if it needs any"
        )
    said: list[str] = []

    def missing(line: str) -> None:
        said.append(line)
        notify(line)

    merged = Merged(source.parameters, source.submodel)
    outliers = OutliersOfParts(source.parameters, merged.parts)
    card = Consensus(source.run, source.task, parameters=source.parameters, model=source.model)
    weights, parts, shards = dict[str, float](), dict[str, int](), list[str]()
    for each in source.contributions(missing):
        part = part_of(source.submodel, each.shard)
        why = _unusable(each) or (f"its shard {each.shard[:40]!r} is of no subnetwork" if part is None else "")
        if why or part is None:
            missing(f"{each.agent} is missing: {why}")
            continue
        with np.errstate(over="ignore"):  # A distance beyond float32 is reported as infinite.
            merged.add(each.theta, each.weight, part)
        outliers.add(each.agent, each.theta, part)
        parts[each.agent] = part
        shards.append(each.shard)
        weights[each.agent], card.steps[each.agent] = each.weight, each.step
        if each.privacy is not None:
            card.privacy[each.agent] = each.privacy
    left_out = outliers.found()
    if left_out:
        for agent, why in left_out.items():
            notify(f"{agent} is left out: {why}")
        merged, weights = _without(left_out, weights, parts, source, notify)
    card.agents = sorted(weights)
    card.steps = {agent: card.steps[agent] for agent in weights}
    card.privacy = {agent: spent for agent, spent in card.privacy.items() if agent in weights}
    card.missing = sorted((source.known() | set(expect)) - set(card.agents))
    if not card.agents:
        why = "; ".join(said[:3]) or "nobody is there"
        raise NoAgentError(f"a consensus needs the vector of at least one agent: got none ({why})")
    if lacking := merged.lacking(shards):
        why = "; ".join([*said[:3], *(f"{agent} is left out" for agent in left_out)]) or "they are not there"
        raise NoAgentError(f"the model can't be assembled without the agents of {lacking}: {why}")
    if map is not None and judge is not None:
        card.submodel, card.subnetworks = source.submodel, {agent: parts[agent] for agent in card.agents}
        card.parameters, card.model = map.size, judge.learner.spec_hash
    card.distance = merged.distance
    card.path, card.assembled = str(out), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    layout = [(name, shape) for name, shape, _ in judge.learner.spec] if judge is not None else source.layout
    theta = merged.model(map)
    write_model(out, theta, layout or [("theta", (source.parameters,))], card)
    if judge is not None and judge.evaluates:
        _evaluate(card, theta, source, judge, notify)
        write_card(out, card)
    return card


def _without(
    left_out: Iterable[str], weights: dict[str, float], parts: dict[str, int], source: Source, notify: Notify
) -> tuple[Merged, dict[str, float]]:
    """The mean of all but these, from the vectors that the source kept, and who is in it."""
    merged, kept = Merged(source.parameters, source.submodel), dict[str, float]()
    for agent in [agent for agent in weights if agent not in left_out]:
        theta = source.again(agent)
        if theta is None:
            notify(f"{agent} is missing: its vector could not be kept")
            continue
        merged.add(theta, weights[agent], parts[agent])
        kept[agent] = weights[agent]
    return merged, kept


def _unusable(each: Contribution) -> str:
    """Why this can't be part of a mean, "" if it can."""
    if not 0 < each.weight <= MAX_WEIGHT:
        return f"its weight is {each.weight:g}, where more than 0 and at most {MAX_WEIGHT:g} is taken"
    try:
        finite(each.theta)
    except NotFinite:
        return "its vector holds NaN, infinity or values beyond 1e19"
    return ""


def _evaluate(card: Consensus, mean: Vector, source: Source, judge: "Judge", notify: Notify) -> None:
    card.metrics = judge(mean)
    for agent in card.agents:
        theta = source.again(agent)
        if theta is not None:
            card.metrics_of[agent] = judge.of_agent(theta)
            notify(f"{agent}: {_line(card.metrics_of[agent])}")
    card.summarize()


def _line(metrics: Metrics) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
