"""Carries out what `simulate` is asked for: makes the sources of its events and runs them on the device."""

import math
import time
from collections.abc import Sequence

from agents.mixing.blocks import patterns
from agents.prepare import parts_of
from sim.conditions import Conditions
from sim.history import History
from sim.learners import task_and_learner
from sim.settings import SimulationSettings
from sim.simulation import make_simulation, message_bytes
from sim.sources.exchange import Exchange
from sim.sources.push import Push
from sim.sources.push_sum import PushSum
from sim.sources.source import EventSource, Floats
from sim.sources.virtual import Virtual
from sim.tracebacks import own_exceptions
from topology import Topology


def simulated(settings: SimulationSettings, seeds: Sequence[int]) -> list[History]:
    """A run of these settings for each of the seeds, all of them at once on the device."""
    began_s = time.monotonic()
    conditions = [settings.conditions(seed) for seed in seeds]
    networks = [settings.network(seed) for seed in seeds]
    steps = math.ceil(settings.rounds * settings.local_steps * float(conditions[0].speed.max()))
    part = settings.private, settings.submodel
    task, learner = task_and_learner(
        settings.task, settings.data, settings.optimizer, settings.learning_rate, steps, settings.rule, part
    )
    blocks, _ = parts_of(task, patterns(settings.private), settings.submodel)
    simulation = make_simulation(
        task,
        learner,
        settings.agents,
        moments=settings.moments(),
        seeds=seeds,
        partition=settings.partition,
        local_steps=settings.local_steps,
        by_samples=settings.weigh == "samples",
        codec=settings.codec,
        blocks=blocks,
        init=settings.init,
        picked=settings.picked,
        agents_per_chunk=settings.agents_per_chunk,
    )
    with own_exceptions():
        if settings.protocol == "synchronous":
            counts = simulation.run_rounds(networks, math.ceil(settings.rounds), settings.progress)
        else:
            met = [settings.met(seed) for seed in seeds]
            weights = simulation.masses if settings.parts > 1 else simulation.weights
            sources = [
                _source(settings, *each, round(message_bytes(settings.codec, blocks.scope.size)))
                for each in zip(met, conditions, weights, strict=True)
            ]
            window = simulation.window(float(conditions[0].speed.mean()))
            counts = simulation.run(sources, settings.rounds, window, settings.progress)
    seconds = round((time.monotonic() - began_s) / len(seeds), 3)
    found = []
    for group, (seed, network) in enumerate(zip(seeds, networks, strict=True)):
        facts = {"task": task.name, **settings.facts(network), "parameters": learner.size, "seconds": seconds}
        found.append(simulation.history(group, counts, network, facts | {"seed": seed}))
    return found


def _source(
    settings: SimulationSettings, network: Topology, conditions: Conditions, weights: Floats, message_bytes: int
) -> EventSource:
    """The events of one seed."""
    local_steps, alpha = settings.local_steps, settings.alpha
    if settings.virtual:
        return Virtual(
            settings.topology,
            conditions,
            alpha=alpha,
            weights=weights,
            local_steps=local_steps,
            message_bytes=message_bytes,
        )
    match settings.protocol:
        case "push":
            return Push(
                network,
                conditions,
                alpha=alpha,
                merge=settings.merge,
                by_age=settings.weigh == "age",
                local_steps=local_steps,
                message_bytes=message_bytes,
            )
        case "push-sum":
            return PushSum(network, conditions, local_steps=local_steps, message_bytes=message_bytes)
        case _:
            return Exchange(
                network,
                conditions,
                alpha=alpha,
                weights=weights,
                local_steps=local_steps,
                message_bytes=message_bytes,
            )
