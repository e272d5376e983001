"""Simulate a swarm: `simulate(task, agents=16, topology="torus", rounds=200)` -> History."""

import inspect
import itertools
import math
import os
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from agents.mixing.chunks import CHUNK

from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from sim.conditions import Conditions
from sim.exact import recordings, replay_exactly, task_of
from sim.history import History
from sim.progress import bar
from sim.recorded import recorded_tape
from sim.run import SimulationError, make_run
from sim.scenarios import MERGES, PROTOCOLS, WEIGHINGS, Asynchronous, Block, Protocol
from sim.virtual import Virtual
from topology import Schedule, Topology, TopologyError, named


def simulate(
    task: str | Path | Task,
    *,
    agents: int,
    topology: str | Topology = "ring",
    rounds: float = 100,
    alpha: float = 0.5,
    protocol: str = "exchange",
    local_steps: int = 1,
    delay: Any = 0.0,
    drop: float = 0.0,
    online: float = 1.0,
    speeds: Any = 1.0,
    partition: str = "iid",
    codec: str = "float32",
    seed: int = 0,
    eval_every: float | None = None,
    init: Any = None,
    clock: str = "periodic",
    session: float = 10.0,
    joins: dict[int, float] | None = None,
    split: Any = None,
    merge: str = "merge-update",
    weigh: str = "samples",
    optimizer: str | None = None,
    learning_rate: float | None = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    data: str | Path | None = None,
    virtual: bool = False,
    progress: bool = True,
) -> History:
    """Gossip among so many agents, on this machine's accelerator, with the formulas and the learner of live agents.

    task: a name, a task file or a Task. topology: a name ("torus", "base:2"), a Graph or a Schedule.
    rounds: in one round each agent takes a turn (at speed 1): `local_steps` of training, then gossip.
    protocol: "exchange", "push", "push-sum" or "synchronous" (`sim.scenarios` and W Theta).
    delay, drop, online, session, speeds, clock, joins, split: `sim.conditions.Conditions`, times in rounds.
    local_steps=0 trains nothing: pure consensus, from init (agents, params) or independent random vectors.
    merge: "push" merges, then trains ("merge-update"), or the other way. weigh: exchanges by "samples" or "equal"
    weights; "push" merges by "age" of the models or by alpha ("equal").
    eval_every: rounds between two evaluations, a fiftieth of all if None. picked: how many agents each evaluates,
    64 at most if None; the others' accuracy and loss are NaN. agents_per_chunk: trained at once; bounds memory.
    virtual: drive real gossip cores on a virtual network instead of drawing what happens, for up to 200 agents and a
    topology by name: with membership, retries and healing (`sim.virtual`).
    Raises SimulationError, ConditionsError, TopologyError, DataError, TaskError or VirtualError, before it compiles.
    """
    settings = dict(locals())
    return _together([settings.pop("seed")], **settings)[0]


def _together(
    seeds: Sequence[int], *, task: Any, agents: int, topology: Any, rounds: float, alpha: float, protocol: str,
    local_steps: int, delay: Any, drop: float, online: float, speeds: Any, partition: str, codec: str,
    eval_every: float | None, init: Any, clock: str, session: float, joins: Any, split: Any, merge: str, weigh: str,
    optimizer: str | None, learning_rate: float | None, picked: int | None, agents_per_chunk: int | None, data: Any,
    virtual: bool, progress: bool,
) -> list[History]:  # fmt: skip
    """`simulate` for each of these seeds, all of them at once on the device."""
    began_s = time.monotonic()
    _check(agents, rounds, alpha, protocol, local_steps, codec, merge, weigh, eval_every, picked, agents_per_chunk)
    conditions = [Conditions(agents, seed, clock, delay, drop, online, session, speeds, joins, split) for seed in seeds]
    graphs = [_topology(topology, agents, seed) for seed in seeds]
    if virtual and not isinstance(topology, str):
        raise SimulationError(
            f"virtual agents lay a topology by name over who is alive: got a {type(topology).__name__}"
        )
    if virtual:
        Virtual(str(topology), Protocol(protocol, alpha), conditions[0])  # Refuses what it can't drive.
    if protocol == "synchronous":
        _check_synchronous(conditions[0])
    steps = math.ceil(rounds * local_steps * float(conditions[0].speed.max()))
    loaded, learner = _learner(task, data, optimizer, learning_rate, steps)
    every = eval_every or max(1.0, rounds / 50)
    run = make_run(
        loaded,
        learner,
        agents,
        moments=np.unique(np.append(np.arange(0, rounds, every), rounds)).astype(float),
        seeds=seeds,
        partition=partition,
        local_steps=local_steps,
        by_samples=weigh == "samples",
        init=init,
        picked=picked,
        agents_per_chunk=agents_per_chunk,
    )
    if protocol == "synchronous":
        counts = run.rounds(graphs, math.ceil(rounds), local_steps, progress)
    else:
        sources: list[Asynchronous | Virtual] = []
        for graph, around, weights in zip(graphs, conditions, run.weights, strict=True):
            spec = Protocol(protocol, alpha, local_steps, weights, merge, "age" if weigh == "age" else "alpha")
            size = 4 * learner.size
            sources.append(
                Virtual(str(topology), spec, around, size) if virtual else Asynchronous(graph, spec, around, size)
            )
        counts = run.scenario(sources, rounds, local_steps, progress)
    facts = {
        "task": loaded.name,
        "topology": topology if isinstance(topology, str) else type(topology).__name__,
        "agents": agents,
        "rounds": rounds,
        "alpha": alpha,
        "protocol": protocol,
        "local_steps": local_steps,
        "partition": partition,
        "weigh": weigh,
        "clock": clock,
        "virtual": virtual,
        "delay": str(delay) if not isinstance(delay, int | float) else delay,
        "drop": drop,
        "online": online,
        "speeds": speeds if np.ndim(speeds) == 0 else "given",
        "joins": {str(agent): when for agent, when in joins.items()} if joins else None,
        "split": None if split is None else "given",
        "init": None if init is None else "given",
        "parameters": learner.size,
        "seconds": round((time.monotonic() - began_s) / len(seeds), 3),
    }
    return [run.history(k, counts, graphs[k], facts | {"seed": seed}) for k, seed in enumerate(seeds)]


def replay(run_dir: str | Path, exact: bool = False, progress: bool = True) -> History:
    """A real run again, from the tapes that its agents left: agents by sorted id.

    exact: one agent at a time with the agents' own compiled functions: theta is that of `agents.load_run` bit for bit,
    on the same machine; evaluated once, at the end. Else vmapped, which agrees to about 1e-4, with some 50 evaluations;
    rounds are then mean local steps. Models of more than one chunk (2^18 parameters) are always replayed exactly.
    What can't be replayed, as an agent left no tape or was cut off, is in facts["notes"]. Raises ReplayError.
    """
    found = recordings(run_dir)
    first = found[0].lives[0].facts
    settings = found[0].settings
    task = task_of(settings)
    rate, seed = settings.get("learning_rate"), settings["seed"]
    learner = make_learner(task, settings.get("optimizer"), rate, first["steps"], seed=seed)
    exact = exact or first["parameters"] > CHUNK
    shards_of = int(settings["shard"].split("/")[1]), np.array([each.lives[0].facts["index"] for each in found])
    recorded = recorded_tape(found)
    replayed = replay_exactly(run_dir) if exact else None
    run = make_run(
        task,
        learner,
        len(found),
        moments=recorded.steps[-1:] if exact else recorded.steps,
        seeds=[seed],
        partition=settings["partition"],
        by_samples=settings.get("weigh") == "samples",
        init=replayed.theta if replayed else None,
        shards_of=shards_of,
    )
    counts = recorded.exchanges[None], recorded.messages[None]
    if replayed is not None:
        run.measure()
        counts = recorded.exchanges[None, -1:], recorded.messages[None, -1:]
    else:
        block = Block(recorded.tape, recorded.steps, recorded.exchanges, recorded.messages)
        run.tapes([[block]], 1, 1, progress)
    facts = {
        "task": task.name,
        "topology": settings["topology"],
        "agents": len(found),
        "alpha": settings["alpha"],
        "protocol": "exchange",
        "partition": settings["partition"],
        "seed": seed,
        "parameters": learner.size,
        "names": [each.agent for each in found],
        "steps": [int(steps) for steps in (replayed.steps if replayed else recorded.last)],
        "notes": replayed.notes if replayed else recorded.notes,
        "replay": "exact" if exact else "vmapped",
    }
    return run.history(0, counts, None, facts)


def sweep(
    task: str | Path | Task, *, seeds: Iterable[int] = range(3), progress: bool = True, **settings: Any
) -> dict[tuple[Any, ...], History]:
    """`simulate` for every seed and every combination of the settings that are given as a list.

    Returns {(value of each listed setting, in the order given, ..., seed): History}. Seeds run together, as one
    population as wide as they fit on the device, which changes a run by no more than rounding; what agrees in shape is
    compiled once. To compare a setting over seeds, average what its keys have: see `sim.plots.compare`.
    """
    listed = {name: value for name, value in settings.items() if isinstance(value, list) and name not in ONE_EACH}
    fixed = {name: value for name, value in settings.items() if name not in listed}
    task = task if isinstance(task, Task) else _loaded(str(task), fixed.pop("data", None))
    every_seed = list(seeds)
    cases = [dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())]
    found: dict[tuple[Any, ...], History] = {}
    with bar(len(cases) * len(every_seed), progress) as advance:
        for case in cases:
            chosen = _bound(task, **fixed, **case, progress=False)
            at_once = _at_once(chosen)
            for k in range(0, len(every_seed), at_once):
                some = every_seed[k : k + at_once]
                histories = _together(some, **chosen)
                found |= {(*case.values(), seed): history for seed, history in zip(some, histories, strict=True)}
                advance(len(some), np.zeros(()))
    return found


TOGETHER_AGENTS, TOGETHER_AGENTS_CPU, TOGETHER_PARAMETERS = 4096, 256, 1 << 27
"""Seeds run together while they have no more agents than this, and their models no more parameters.

On a CPU that helps while what a wave costs is more than its lanes do: 8 seeds of 8 agents take a fifth of the time,
of 32 two thirds, of 100 more.
"""


def _at_once(settings: dict[str, Any]) -> int:
    """How many seeds of these settings run together."""
    _, learner = _learner(settings["task"], settings["data"], settings["optimizer"], settings["learning_rate"], 1)
    agents = max(1, settings["agents"])
    most = TOGETHER_AGENTS_CPU if jax.default_backend() == "cpu" else TOGETHER_AGENTS
    return max(1, min(most // agents, TOGETHER_PARAMETERS // (agents * learner.size)))


def _bound(task: Any, **settings: Any) -> dict[str, Any]:
    """Everything that `simulate` takes besides the seed. Raises TypeError for what it doesn't take."""
    bound = inspect.signature(simulate).bind(task, **settings)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "seed"}


ONE_EACH = ("speeds", "init")
"""Settings whose value may be a list by itself."""


# What is asked for, checked before anything is compiled.


def _check(
    agents: Any, rounds: Any, alpha: Any, protocol: Any, local_steps: Any, codec: Any, merge: Any, weigh: Any,
    eval_every: Any, picked: Any, agents_per_chunk: Any,
) -> None:  # fmt: skip
    whole = {"agents": (agents, 1), "local_steps": (local_steps, 0)}
    whole |= {name: (n, 1) for name, n in (("picked", picked), ("agents_per_chunk", agents_per_chunk)) if n is not None}
    for name, (number, least) in whole.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise SimulationError(f"{name} is a whole number of at least {least}: got {number!r}")
    if not 0 <= alpha <= 1:
        raise SimulationError(f"alpha is how much of itself an agent keeps, in [0, 1]: got {alpha}")
    if not 0 < rounds < math.inf:
        raise SimulationError(f"rounds is a number above 0: got {rounds}")
    if eval_every is not None and not eval_every > 0:
        raise SimulationError(f"eval_every is a number of rounds above 0: got {eval_every}")
    chosen = {
        "protocol": (protocol, PROTOCOLS), "codec": (codec, ("float32",)), "merge": (merge, MERGES),
        "weigh": (weigh, ("samples", "equal", *WEIGHINGS[1:])),
    }  # fmt: skip
    for name, (value, known) in chosen.items():
        if value not in known:
            raise SimulationError(f"{name} is one of {', '.join(known)}: got {value!r}")
    if weigh == "age" and protocol != "push":
        raise SimulationError(f"weigh 'age' is for protocol 'push': got protocol {protocol!r}")


def _check_synchronous(conditions: Conditions) -> None:
    plain = Conditions(conditions.agents)
    for name in ("delay", "drop", "online", "speeds", "joins", "split"):
        if getattr(conditions, name) is not getattr(plain, name) and getattr(conditions, name) != getattr(plain, name):
            raise SimulationError(f"protocol 'synchronous' has no {name}: leave it out, or use 'exchange' or 'push'")


def _topology(topology: str | Topology, agents: int, seed: int) -> Topology:
    made = named(topology, agents, seed) if isinstance(topology, str) else topology
    if made.n != agents:
        raise TopologyError(f"the topology must have a node for each agent: got {made.n} nodes and agents={agents}")
    if isinstance(made, Schedule):
        return made
    if not made.is_connected:
        raise TopologyError(
            "the topology must be connected, or agents can never agree: this graph falls apart; add edges, or for a "
            "random one take another seed or more neighbors"
        )
    return made


def _learner(task: Any, data: Any, optimizer: str | None, rate: float | None, steps: int) -> tuple[Task, Learner]:
    if not isinstance(task, Task):
        task = _loaded(str(task), str(data) if data else None)
    key = id(task), optimizer, rate, max(1, steps)
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        _LEARNERS[key] = task, make_learner(task, optimizer, rate, max(1, steps))
    return _LEARNERS[key]


_LEARNERS: dict[Any, tuple[Task, Learner]] = {}
"""The same learner again means the same compiled programs again. Seeds are no part of it: each agent brings its own."""


def _loaded(task: str, data: str | None) -> Task:
    return _loaded_then(task, data, os.path.getmtime(task) if os.path.isfile(task) else 0.0)


@lru_cache(maxsize=8)
def _loaded_then(task: str, data: str | None, changed: float) -> Task:
    """The task as it was when its file was changed last."""
    return load_task(task, data)
