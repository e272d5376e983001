"""The consensus model: every agent's vector, one at a time, averaged, written and only then judged.

Needs memory for two models, whatever the number of agents: the mean so far and the vector that just came. A vector that
is no model of this run is left out (`outliers`), and the others are averaged again from where they were kept.
Reported are the mean of the agents, the best agent and the merged model: one final average often beats every
single agent (arXiv 2507.06542).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agents.fields import Shard
from agents.mixing.blocks import OWN, Blocks, named_in, trained_by
from agents.mixing.consensus import RunningConsensus, check_held
from agents.mixing.exchange import MAX_WEIGHT
from agents.mixing.layout import Layout
from agents.mixing.norms import NotFinite, finite
from agents.observe.card import Consensus, Metrics, write_card, write_model
from agents.observe.outliers import Outliers
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

    privacy: {"epsilon_spent", "delta"}, None of an agent that did not train privately. shard: which block it trains
    follows from it.
    """

    agent: str
    weight: float
    step: int
    theta: Vector
    privacy: Metrics | None = None
    shard: Shard = Shard(0, 1)


class Source(Protocol):
    """Where vectors come from: a running swarm (streaming.py) or folders (folders.py).

    model: the hash of names, shapes and dtypes of the parameters. layout: names and shapes, None where unknown.
    blocks: what is exchanged, and who trains what. holds_own: whether vectors come with what is each agent's own.
    """

    run: str
    task: str
    model: str
    parameters: int
    layout: Parameters | None
    blocks: Blocks
    holds_own: bool

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
    vector could be had, NobodyTrains if none of those who train a block is in, and EvaluationError, when the model is
    written, if the task's metrics fail.
    """
    if judge is not None:
        judge.check(source.model, source.parameters)
    said: list[str] = []

    def missing(line: str) -> None:
        said.append(line)
        notify(line)

    layout = [(name, shape) for name, shape, _ in judge.learner.spec] if judge is not None else source.layout
    blocks = source.blocks
    merged, outliers = RunningConsensus(source.parameters, blocks), Outliers(source.parameters)
    card = Consensus(source.run, source.task, parameters=blocks.scope.size, model=source.model)
    weights: dict[str, float] = {}
    shards: dict[str, Shard] = {}
    for each in source.contributions(missing):
        why = _unusable(each)
        if why:
            missing(f"{each.agent} is missing: {why}")
            continue
        with np.errstate(over="ignore"):  # A distance beyond float32 is reported as infinite.
            merged.add(each.theta, each.weight, each.shard.index)
        outliers.add(each.agent, blocks.shared(each.theta))
        weights[each.agent], card.steps[each.agent] = each.weight, each.step
        shards[each.agent] = each.shard
        if each.privacy is not None:
            card.privacy[each.agent] = each.privacy
    left_out = outliers.found()
    if left_out:
        for agent, why in left_out.items():
            notify(f"{agent} is left out: {why}")
        merged, weights = _without(left_out, weights, shards, source, notify)
    card.agents = sorted(weights)
    card.steps = {agent: card.steps[agent] for agent in weights}
    card.privacy = {agent: spent for agent, spent in card.privacy.items() if agent in weights}
    card.missing = sorted((source.known() | set(expect)) - set(card.agents))
    if not card.agents:
        why = "; ".join(said[:3]) or "nobody is there"
        raise NoAgentError(f"a consensus needs the vector of at least one agent: got none ({why})")
    check_held(merged.masses, blocks, layout, max(shard.shards for shard in shards.values()))
    card.distance = merged.distance
    card.own = named_in(blocks, OWN, layout)
    card.trained_by = trained_by(blocks, layout, {agent: shards[agent].index for agent in card.agents})
    card.path, card.assembled = str(out), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_model(out, *_exchanged(merged.mean, blocks, layout), card)
    if judge is not None:
        _evaluate(card, merged.mean, source, judge, notify)
        write_card(out, card)
    return card


def _exchanged(mean: Vector, blocks: Blocks, layout: Parameters | None) -> tuple[Vector, Parameters]:
    """The part of a vector that is exchanged, and its parameters: what is each agent's own is in no consensus."""
    theta = np.concatenate([mean[run] for run, block in blocks.runs if block != OWN])
    if layout is None:
        return theta, [("theta", (theta.size,))]
    which = blocks.of_spans(Layout(layout).spans().values())
    return theta, [each for each, block in zip(layout, which, strict=True) if block != OWN or not prod(each[1])]


def _without(
    left_out: Iterable[str], weights: dict[str, float], shards: Mapping[str, Shard], source: Source, notify: Notify
) -> tuple[RunningConsensus, dict[str, float]]:
    """The mean of all but these, from the vectors that the source kept, and who is in it."""
    merged, kept = RunningConsensus(source.parameters, source.blocks), dict[str, float]()
    for agent in [agent for agent in weights if agent not in left_out]:
        theta = source.again(agent)
        if theta is None:
            notify(f"{agent} is missing: its vector could not be kept")
            continue
        merged.add(theta, weights[agent], shards[agent].index)
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
    """Of the merged model, and of each agent's.

    Where parameters are each agent's own, the merged model is one only together with those of an agent: its metrics are
    the mean of the agents', each with what is exchanged merged.
    """
    if card.own and not source.holds_own:
        notify(
            f"not evaluated: {card.own} stay with their agents, each of which evaluates its own model; "
            "`agent consensus FOLDERS` does it for all"
        )
        return
    merged: list[Metrics] = []
    for agent in card.agents:
        theta = source.again(agent)
        if theta is not None:
            card.metrics_of[agent] = judge(theta)
            notify(f"{agent}: {_line(card.metrics_of[agent])}")
            if card.own:
                merged.append(judge(source.blocks.shared(mean, theta)))
    if card.own and merged:
        card.metrics = {name: sum(each[name] for each in merged) / len(merged) for name in merged[0]}
    elif not card.own:
        card.metrics = judge(mean)
    card.summarize()


def _line(metrics: Metrics) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
