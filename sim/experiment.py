"""Carries out what `simulate` is asked for: makes the sources of its events and runs them on the device."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from agents.learning.data import partition_name
from agents.learning.rule_names import check_with
from agents.learning.rules import Rule
from agents.mixing.capacities import NESTED
from agents.mixing.codec_names import steps_between
from agents.prepare import rule_of
from agents.protocol.weighing import BY_SPEED, share
from agents.submodel import subnetwork_count
from sim.conditions import Conditions
from sim.device.carrying import check_optimizer
from sim.device.memory import check_evaluations, check_memory
from sim.ending import check_same
from sim.going_on import goes_on, restore, state_of, told_by_model, told_by_task
from sim.history import History
from sim.learners import Trained, trained
from sim.making import make_simulation
from sim.settings import SimulationSettings
from sim.sources.asynchronous import Asynchronous
from sim.sources.exchange import Exchange
from sim.sources.own import made_source
from sim.sources.push import Push
from sim.sources.push_sum import PushSum
from sim.sources.source import EventSource, Floats
from sim.sources.virtual import Virtual
from sim.tracebacks import own_exceptions
from sim.turns import Turns, check_passed_on, turns_of
from topology import Topology


def simulated(settings: SimulationSettings, seeds: Sequence[int], keep: bool = False) -> list[History]:
    """A run of these settings for each of the seeds, all of them at once on the device.

    keep: whether to keep what another run needs to go on from here, of one seed.
    """
    began_s = time.monotonic()
    conditions = [settings.conditions(seed) for seed in seeds]
    steps = math.ceil(settings.end * settings.local_steps * float(np.max(conditions[0].speeds)))
    task, learner, blocks, whole, levels, _ = _trained(
        settings, steps, lambda: settings.boost(_networks(settings, seeds))
    )
    check_evaluations(settings.agents, len(seeds), settings.rounds, settings.eval_every)
    check_memory(learner, settings.agents, len(seeds))  # Before anything is made for each agent.
    networks = _networks(settings, seeds)
    if settings.rule is None and isinstance(task.rule, str):
        check_with(task.rule, settings.codec)
    check_passed_on(settings.turns, learner.rule)
    turns = turns_of(settings.turns, settings.local_steps, settings.submodel)
    ending = settings.resume.ending if settings.resume else None
    if ending is not None:
        check_same(ending.settings, told_by_model(task, learner))
    partition = settings.partition if settings.partition is not None else task.partition
    partition = "iid" if partition is None else partition
    simulation = make_simulation(
        task,
        learner,
        settings.agents,
        moments=settings.moments(),
        seeds=seeds,
        partition=partition,
        local_steps=settings.local_steps,
        by_samples=settings.weigh in ("samples", BY_SPEED),
        shares=_shares(conditions) if settings.weigh == BY_SPEED else None,
        codec=settings.codec,
        blocks=blocks,
        init=settings.init,
        picked=settings.picked,
        agents_per_chunk=settings.agents_per_chunk,
        kept=settings.kept(),
        resume=settings.resume,
        whole=whole,
        joins=np.concatenate([each.join_times for each in conditions]),
        levels=levels,
        turns=None if turns is None else turns.at(settings.moments()),
    )
    lasting = settings.lasting() | told_by_task(task, learner, networks[0], partition, simulation.shards)
    if ending is not None:
        check_same(ending.settings, lasting)
        check_optimizer(learner, settings.agents, simulation.local_steps, ending)
    with own_exceptions():
        sources: list[EventSource] = []
        if settings.protocol == "synchronous":
            counts = simulation.run_rounds(networks, int(settings.rounds), settings.progress, int(settings.start))
        else:
            met = [settings.met(seed) for seed in seeds]
            weights = simulation.masses if settings.blocks > 1 or levels else simulation.weights
            sources = [
                _source(settings, *each, simulation.local_steps, round(simulation.message_bytes), turns)
                for each in zip(met, conditions, weights, strict=True)
            ]
            if ending is not None:
                restore(sources[0], ending)
            window = simulation.window(float(conditions[0].speed.mean()))
            counts = simulation.run(sources, settings.end, window, settings.progress)
    if keep and all(goes_on(source) for source in sources):
        simulation.keep_ending(lasting, state_of(sources))
    seconds = round((time.monotonic() - began_s) / len(seeds), 3)
    found = []
    for group, (seed, network) in enumerate(zip(seeds, networks, strict=True)):
        facts = {"task": task.name, **settings.facts(network), "parameters": learner.size, "seconds": seconds}
        facts |= {"partition": partition_name(partition), "rule": learner.rule.name}
        facts |= {"full_parameters": whole.map.size} if whole else {}
        found.append(simulation.history(group, counts, network, facts | {"seed": seed}))
    return found


def check_room(settings: SimulationSettings) -> None:
    """Raise SimulationError unless the models of one seed fit, before anything is made for each agent."""
    check_memory(_trained(settings).learner, settings.agents, 1)


def _trained(settings: SimulationSettings, steps: int = 1, boost: Callable[[], float] | None = None) -> Trained:
    """What each agent trains, for runs of so many steps. boost: of the rule accelerated."""
    return trained(
        settings.task,
        settings.data,
        settings.optimizer,
        settings.learning_rate,
        steps,
        settings.rule,
        _every(settings),
        settings.width,
        settings.submodel,
        settings.private,
        boost,
        settings.capacities,
    )


def _every(settings: SimulationSettings) -> int:
    """Local steps between two exchanges."""
    return steps_between(settings.local_steps, settings.codec) or 1


def _shares(conditions: Sequence[Conditions]) -> Floats:
    """How much of its weight each agent has by its speed, for one seed after the other."""
    return np.array([share(speed, each.speed.tolist()) for each in conditions for speed in each.speed.tolist()])


def _networks(settings: SimulationSettings, seeds: Sequence[int]) -> list[Topology]:
    return [settings.network(seed) for seed in seeds]


def _source(
    settings: SimulationSettings,
    network: Topology,
    conditions: Conditions,
    weights: Floats,
    local_steps: int,
    message_bytes: int,
    turns: Turns | None,
) -> EventSource:
    """The events of one seed."""
    sizes = {"local_steps": local_steps, "message_bytes": message_bytes}
    given: dict[str, Any] = {"alpha": settings.alpha, "weights": weights, **sizes}
    if not isinstance(settings.protocol, str):
        return made_source(settings.protocol, network, conditions, given | {"merge": settings.merge})
    if settings.virtual:
        return Virtual(settings.topology, conditions, choose=settings.choose, **given)
    source: Asynchronous
    match settings.protocol:
        case "push":
            by_age = settings.weigh == "age"
            source = Push(network, conditions, alpha=settings.alpha, merge=settings.merge, by_age=by_age, **sizes)
        case "push-sum":
            source = PushSum(network, conditions, **sizes)
        case _:
            source = Exchange(network, conditions, **given, nested=settings.submodel == NESTED, turns=turns)
    source.choose, source.parts = settings.choose, subnetwork_count(settings.submodel)
    return source


TOGETHER_AGENTS, TOGETHER_AGENTS_CPU, TOGETHER_PARAMETERS = 4096, 256, 1 << 27
"""Seeds run together while they have no more agents than this, and their models no more parameters.

On a CPU that helps while what a wave costs is more than its lanes do: 8 seeds of 8 agents take a fifth of the time,
of 32 two thirds, of 100 more.
"""


def together(settings: SimulationSettings, seeds: Sequence[int]) -> list[list[int]]:
    """The seeds, by which of them run together: no more than fit, and all of one rule.

    The boost of the rule accelerated follows from a seed's graph.
    """
    task, learner, *_ = _trained(settings)
    agents = settings.agents
    most = TOGETHER_AGENTS_CPU if jax.default_backend() == "cpu" else TOGETHER_AGENTS
    count = max(1, min(most // agents, TOGETHER_PARAMETERS // (agents * learner.size)))

    def rule(seed: int) -> str | Rule:
        return rule_of(settings.rule, task, _every(settings), lambda: settings.boost([settings.network(seed)]))

    alike: dict[str | Rule, list[int]] = {}
    for seed in seeds:
        alike.setdefault(rule(seed), []).append(seed)
    return [some[k : k + count] for some in alike.values() for k in range(0, len(some), count)]
