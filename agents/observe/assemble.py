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

from agents.mixing.blocks import OWN, Blocks, named_in, trained_by
from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.capacities import NESTED
from agents.mixing.layout import Layout
from agents.mixing.narrow import Subnetworks
from agents.mixing.nested import Nested
from agents.mixing.norms import NotFinite, finite
from agents.observe.card import Consensus, Metrics, MismatchError, share_missing, write_card, write_model
from agents.observe.ways import ENSEMBLE, MEAN, SOUP, check_way, compared, layers, stacked
from agents.observe.whole import Merged, OutliersOfParts, Taken
from agents.submodel import OF_SHARD, needs_task, part_of
from agents.tensors import Parameters
from agents.values import SettingsError, Shard
from topology.errors import GossamerError

if TYPE_CHECKING:
    from agents.learning.parameters import Parameter
    from agents.observe.evaluation import Judge

Vector = np.ndarray[Any, np.dtype[np.float32]]
Notify = Callable[[str], None]


class NoAgentError(GossamerError, RuntimeError):
    """No agent's vector could be fetched."""

    code = "G405"


class Contribution(NamedTuple):
    """What one agent adds to the consensus. theta: (P,). step: how far it had trained.

    privacy: {"epsilon_spent", "delta"}, None of an agent that did not train privately. shard, capacity, part: as its
    record has them, which determine what the agent trains. Of a nested model theta is in the common order of its
    coordinates, with 0 where the agent holds nothing. masses: what it weighs by block, () if that is `weight`.
    """

    agent: str
    weight: float
    step: int
    theta: Vector
    privacy: Metrics | None = None
    shard: str = ""
    capacity: float = 1.0
    part: int = OF_SHARD
    masses: tuple[float, ...] = ()


class Source(Protocol):
    """Where vectors come from: a running swarm (streaming.py) or folders (folders.py).

    model: the hash of names, shapes and dtypes of the parameters. layout: names and shapes, None where unknown.
    submodel: how the model is divided; width: its hidden widths, as a multiple of the task's own. blocks: what is
    exchanged, and who trains what. holds_own: whether vectors come with what is each agent's own.
    """

    run: str
    task: str
    model: str
    parameters: int
    layout: Parameters | None
    submodel: str
    width: float
    blocks: Blocks
    holds_own: bool

    def contributions(self, notify: Notify) -> Iterator[Contribution]:
        """Each agent's contribution, one after the other; notify: called with a line for each that is missing."""
        ...

    def again(self, agent: str) -> Vector | None:
        """The vector that this agent contributed, to be judged; None if it could not be kept."""
        ...

    def known(self) -> set[str]:
        """The agents that should be in."""
        ...


def assemble(
    source: Source,
    judge: "Judge | None",
    out: Path | None,
    expect: Iterable[str] = (),
    notify: Notify = print,
    how: str = MEAN,
    compare: bool = False,
) -> Consensus:
    """Average, write, evaluate. judge None: nothing is evaluated. expect: who should be in as well, by name.

    out: the safetensors file; its card is written beside it as .json; None to write nothing. how: which model it holds
    (`ways`). compare: judge the ensemble and the soup too. Raises MismatchError, SettingsError where there is no such
    model, NoAgentError if nobody's vector could be had, or nobody's of some subnetwork, NobodyTrains if none of those
    who train a block is in, and EvaluationError, when the model is written, if the task's metrics fail.
    """
    if judge is not None:
        judge.check(source.model, source.parameters)
    map = judge.map if judge is not None else None
    if needs_task(source.submodel) and map is None:
        what = "slices" if source.submodel == NESTED else "subnetworks"
        raise SettingsError(
            f"these agents train {what} ({source.submodel}), which make up a model of the task's: give --task, "
            "and --data if it needs any"
        )
    check_way(how, source.submodel, source.blocks.keeps, judge)
    if isinstance(map, Nested) and source.blocks != map.blocks:
        raise MismatchError(f"the swarm's slices are {source.blocks}, those of task {source.task} {map.blocks}"[:300])
    reported: list[str] = []

    def missing(line: str) -> None:
        reported.append(line)
        notify(line)

    blocks = source.blocks
    merged = Merged(source.parameters, source.submodel, blocks)
    outliers = OutliersOfParts(blocks.held(0).size if blocks.nested else source.parameters, merged.parts)
    card = Consensus(source.run, source.task, model=source.model, submodel=source.submodel, width=source.width)
    taken = dict[str, Taken]()
    for each in source.contributions(missing):
        part, shard = part_of(source.submodel, each.shard, each.part), _shard(each.shard, blocks)
        none = "subnetwork" if part is None else "block" if shard is None else ""
        why = _unusable(each) or (f"its shard {each.shard[:40]!r} is of no {none}" if none else "")
        if not why and blocks.of_agent(0, each.capacity) is None:
            why = f"its capacity {each.capacity:g} is none of this model's"
        if why or part is None or shard is None:
            missing(f"{each.agent} is missing: {why}")
            continue
        with np.errstate(over="ignore"):  # A distance beyond float32 is reported as infinite.
            of = taken[each.agent] = Taken(each.weight, part, shard, each.capacity, each.masses)
            merged.add(each.theta, of)
        outliers.add(each.agent, _compared(each.theta, blocks), part)
        card.steps[each.agent] = each.step
        if each.privacy is not None:
            card.privacy[each.agent] = each.privacy
    left_out = outliers.found()
    if left_out:
        for agent, why in left_out.items():
            notify(f"{agent} is left out: {why}")
        merged, taken = _without(left_out, taken, source, notify)
    card.agents = sorted(taken)
    card.steps = {agent: card.steps[agent] for agent in taken}
    card.privacy = {agent: spent for agent, spent in card.privacy.items() if agent in taken}
    shards = {agent: of.shard for agent, of in taken.items()}
    parts, shares = {a: of.part for a, of in taken.items()}, {a: of.capacity for a, of in taken.items()}
    card.missing = sorted((source.known() | set(expect)) - set(card.agents))
    card.missing_data = share_missing(shards[agent] for agent in card.agents)
    if not card.agents:
        why = "; ".join(reported[:3]) or "nobody is there"
        raise NoAgentError(f"a consensus needs the vector of at least one agent: got none ({why})")
    if lacking := merged.lacking(shards.values()):
        why = "; ".join([*reported[:3], *(f"{agent} is left out" for agent in left_out)]) or "they are not there"
        raise NoAgentError(f"the model can't be assembled without the agents of {lacking}: {why}")
    held = _names(judge.held) if judge is not None else source.layout
    merged.check_held(held, shards.values(), map)
    if isinstance(map, Nested):
        card.capacities = {agent: shares[agent] for agent in card.agents}
    elif map is not None and judge is not None:
        card.subnetworks, card.model = {agent: parts[agent] for agent in card.agents}, judge.learner.spec_hash
    card.distance = merged.distance
    card.own = named_in(blocks, OWN, held)
    numbers = {agent: shards[agent].index for agent in card.agents}
    card.trained_by = {} if blocks.nested else trained_by(blocks, held, numbers)
    card.path, card.assembled = str(out or ""), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    layout = _names(judge.learner.spec) if judge is not None else source.layout
    theta, written = _exchanged(merged.model(map), blocks, held, layout)
    card.how, agents = how if how != SOUP else MEAN, {agent: taken[agent].weight for agent in card.agents}
    card.parameters = theta.size * (len(agents) if how == ENSEMBLE else 1)
    if held is not None and not blocks.nested:
        apart = layers(agents, source.again, lambda agent: merged.mean(parts[agent]), held)
        card.layers = {name: distance for name, distance in apart.items() if name not in card.own.split(", ")}
    if out is not None:
        write_model(out, *(stacked(agents, source.again, written) if how == ENSEMBLE else (theta, written)), card)
    if judge is not None and judge.evaluates:
        _evaluate(card, merged, map, parts, shares, source, judge, notify)
        if not card.own and (compare or how in (ENSEMBLE, SOUP)):
            theta = compared(card, agents, source.again, judge, shares, how)
        if out is not None and how == SOUP:
            write_model(out, theta, written, card)
        elif out is not None:
            write_card(out, card)
    return card


def _names(spec: "Iterable[Parameter]") -> Parameters:
    return [(name, shape) for name, shape, _ in spec]


def _shard(text: str, blocks: Blocks) -> Shard | None:
    """Of an agent's record; None if it is none, which matters only where who trains what follows from it."""
    try:
        return Shard.parse(text)
    except SettingsError:
        return Shard(0, 1) if blocks.count == 1 else None


def _exchanged(
    theta: Vector, blocks: Blocks, held: Parameters | None, layout: Parameters | None
) -> tuple[Vector, Parameters]:
    """The part of the model that is exchanged, and its parameters: what is each agent's own is in no consensus.

    held: names and shapes of what an agent holds, layout: of the model; None where they are unknown.
    """
    if held is None or layout is None:
        shared = np.concatenate([theta[run] for run, block in blocks.runs if block != OWN])
        return shared, [("theta", (shared.size,))]
    which = blocks.of_spans(Layout(held).spans().values())
    own = {name for (name, shape), block in zip(held, which, strict=True) if block == OWN and prod(shape) > 0}
    spans = Layout(layout).spans()
    parts = [theta[span] for name, span in spans.items() if name not in own]
    return np.concatenate(parts), [(name, shape) for name, shape in layout if name not in own]


def _compared(theta: Vector, blocks: Blocks) -> Vector:
    """What of a vector is compared with others: what is exchanged; of a nested model what all hold."""
    if blocks.nested:
        return theta[: blocks.held(0).size]
    return blocks.shared(theta) if blocks.keeps else theta


def _without(
    left_out: Iterable[str], taken: Mapping[str, Taken], source: Source, notify: Notify
) -> tuple[Merged, dict[str, Taken]]:
    """The mean of all but these, from the vectors that the source kept, and who is in it."""
    merged, kept = Merged(source.parameters, source.submodel, source.blocks), dict[str, Taken]()
    for agent in [agent for agent in taken if agent not in left_out]:
        theta = source.again(agent)
        if theta is None:
            notify(f"{agent} is missing: its vector could not be kept")
            continue
        merged.add(theta, taken[agent])
        kept[agent] = taken[agent]
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


def _evaluate(
    card: Consensus,
    merged: Merged,
    map: Subnetworks | Nested | None,
    parts: Mapping[str, int],
    shares: Mapping[str, float],
    source: Source,
    judge: "Judge",
    notify: Notify,
) -> None:
    """Of the merged model, and of each agent's. map: how its parts make it up.

    Where parameters are each agent's own, the merged model is one only together with those of an agent: its metrics are
    the mean of the agents', each with what is exchanged merged.
    """
    if card.own and not source.holds_own:
        notify(
            f"not evaluated: {card.own} stay with their agents, each of which evaluates its own model; "
            "`agent consensus FOLDERS` does it for all"
        )
        return
    completed: list[Metrics] = []
    for agent in card.agents:
        theta = source.again(agent)
        if theta is not None:
            card.metrics_of[agent] = judge.of_agent(theta, shares[agent])
            notify(f"{agent}: " + ", ".join(f"{name} {value:.4f}" for name, value in card.metrics_of[agent].items()))
            if card.own:
                completed.append(judge.of_agent(source.blocks.shared(merged.mean(parts[agent]), theta)))
    if not card.own:
        card.metrics = judge(merged.model(map))
    elif completed:
        card.metrics = {name: sum(each[name] for each in completed) / len(completed) for name in completed[0]}
    card.summarize()
