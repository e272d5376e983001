"""Simulate a swarm: `simulate(task, agents=16, topology="torus", rounds=200)` -> History."""

import itertools
import math
import os
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from agents.learning.data import Batches, labels_or_count, load_rows, owners, permutation
from agents.learning.learner import Learner, make_learner
from agents.learning.task import Task, load_task
from agents.mixing.chunks import CHUNK
from sim.conditions import Conditions
from sim.exact import recordings, replay_exactly, task_of
from sim.history import History
from sim.population import (
    Inputs,
    Measured,
    Neighborhoods,
    Setting,
    Swarm,
    all_devices_mesh,
    device_bytes,
    for_device,
    grown,
    mixing_of,
    rounds_program,
    slots_for,
    tape_program,
)
from sim.progress import bar
from sim.recorded import recorded_tape
from sim.scenarios import MERGES, PROTOCOLS, WEIGHINGS, Asynchronous, Block, Protocol
from sim.tape import MIX, TRAIN, Scheduler, Tape, Widths, first_events, place
from sim.virtual import Virtual
from topology import Schedule, Topology, TopologyError, named

PICKS = 9  # keeps the random stream apart from those of shards and batches

PICKED = 64
"""How many agents are evaluated at a snapshot, where there are more."""

BLOCK_EVENTS = 20_000
"""About as many events make one tape: enough to fill waves, few enough to make while the device runs the last."""

MEMORY_SHARE = 0.8
"""Of the memory that is free, how much a simulation may take."""


class SimulationError(ValueError):
    """The simulation asked for can't be. One line: what was expected, what came, what to do."""


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
    began_s = time.monotonic()
    _check(agents, rounds, alpha, protocol, local_steps, codec, merge, weigh, eval_every, picked, agents_per_chunk)
    conditions = Conditions(agents, seed, clock, delay, drop, online, session, speeds, joins, split)
    graph = _topology(topology, agents, seed)
    if virtual and not isinstance(topology, str):
        raise SimulationError(
            f"virtual agents lay a topology by name over who is alive: got a {type(topology).__name__}"
        )
    if virtual:
        Virtual(str(topology), Protocol(protocol, alpha), conditions)  # Refuses what it can't drive.
    if protocol == "synchronous":
        _check_synchronous(conditions)
    steps = math.ceil(rounds * local_steps * float(conditions.speed.max()))
    loaded, learner = _learner(task, data, optimizer, learning_rate, steps)
    every = eval_every or max(1.0, rounds / 50)
    run = make_run(
        loaded,
        learner,
        agents,
        moments=np.unique(np.append(np.arange(0, rounds, every), rounds)).astype(float),
        seed=seed,
        partition=partition,
        local_steps=local_steps,
        by_samples=weigh == "samples",
        init=init,
        picked=picked,
        agents_per_chunk=agents_per_chunk,
    )
    spec = Protocol(protocol, alpha, local_steps, run.weights, merge, "age" if weigh == "age" else "alpha")
    if protocol == "synchronous":
        exchanges, messages = run.rounds(graph, math.ceil(rounds), local_steps, progress)
    else:
        source = Virtual(str(topology), spec, conditions, 4 * learner.size) if virtual else None
        source = source or Asynchronous(graph, spec, conditions, 4 * learner.size)
        exchanges, messages = run.scenario(source, rounds, local_steps, progress)
    return run.history(
        exchanges,
        messages,
        graph,
        {
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
            "seed": seed,
            "parameters": learner.size,
            "seconds": round(time.monotonic() - began_s, 3),
        },
    )


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
        seed=seed,
        partition=settings["partition"],
        by_samples=settings.get("weigh") == "samples",
        init=replayed.theta if replayed else None,
        shards_of=shards_of,
    )
    counts = recorded.exchanges, recorded.messages
    if replayed is not None:
        run.measure()
        counts = recorded.exchanges[-1:], recorded.messages[-1:]
    else:
        run.tapes([Block(recorded.tape, recorded.steps, *counts)], 1, 1, progress)
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
    return run.history(*counts, None, facts)


def sweep(
    task: str | Path | Task, *, seeds: Iterable[int] = range(3), progress: bool = True, **settings: Any
) -> dict[tuple[Any, ...], History]:
    """`simulate` for every seed and every combination of the settings that are given as a list.

    Returns {(value of each listed setting, in the order given, ..., seed): History}. What agrees in shape is compiled
    once. To compare a setting over seeds, average what its keys have: see `sim.plots.compare`.
    """
    listed = {name: value for name, value in settings.items() if isinstance(value, list) and name not in ONE_EACH}
    fixed = {name: value for name, value in settings.items() if name not in listed}
    loaded = task if isinstance(task, Task) else _loaded(str(task), fixed.pop("data", None))
    cases = [(*values, seed) for values in itertools.product(*listed.values()) for seed in seeds]
    found = {}
    with bar(len(cases), progress) as advance:
        for case in cases:
            chosen = dict(zip(listed, case, strict=False))
            found[case] = simulate(loaded, seed=case[-1], progress=False, **fixed, **chosen)
            advance(1, np.zeros(()))
    return found


ONE_EACH = ("speeds", "init")
"""Settings whose value may be a list by itself."""


class Shards:
    """Who holds which samples: of one dataset on the device, the rows of every agent. sizes: (agents,).

    shards: into how many the data is split; indices (agents,): which of them each agent has, None for its own number.
    """

    def __init__(self, task: Task, partition: str, shards: int, seed: int, indices: np.ndarray | None = None) -> None:
        dataset = task.train_data
        owner = owners(partition, labels_or_count(dataset), shards, seed)
        sizes = np.bincount(owner, minlength=shards)
        self.indices = np.arange(shards) if indices is None else indices
        self.data = load_rows(dataset, slice(None))
        self.sizes = sizes[self.indices]
        self._one_each, self._batch_size = self.sizes.max() == 1, task.batch_size
        self._rows = np.argsort(owner, kind="stable").astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(sizes)])[self.indices].astype(np.int32)
        seeds = np.full(len(self.indices), seed % 2**64, np.uint64)
        self._batches = Batches(seeds, self.sizes, task.batch_size, self.indices)

    def rows(self, agents: np.ndarray, steps: np.ndarray, count: int) -> np.ndarray:
        """int32 (L, count, batch_size): the samples that these agents train on, for `count` steps from these."""
        if self._one_each:
            only = self._rows[self._starts[agents]][:, None, None]
            return np.broadcast_to(only, (len(agents), count, self._batch_size))
        return self._rows[self._starts[agents][:, None, None] + self._batches.rows(agents, steps, count)]


def make_run(
    task: Task,
    learner: Learner,
    agents: int,
    *,
    moments: np.ndarray,
    seed: int,
    partition: str = "iid",
    local_steps: int = 1,
    by_samples: bool = True,
    init: Any = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    shards_of: tuple[int, np.ndarray] | None = None,
) -> "Run":
    """A run that is ready to start. moments: the rounds after which it is evaluated, ascending. See `simulate`.

    shards_of: (how many shards there are, which of them each agent has); None for one each.
    """
    parts, indices = shards_of or (agents, None)
    shards = Shards(task, partition, parts, seed, indices) if local_steps else None
    theta = _start(learner, agents, local_steps, seed, init)
    weights = shards.sizes.astype(float) if shards and by_samples else np.ones(agents)
    chunk = _chunk(task, learner, agents, local_steps, agents_per_chunk)
    return Run(task, learner, shards, theta, weights, moments, chunk, min(picked or PICKED, agents), seed)


class Run:
    """One simulation: the models on the device, and what is measured at each of the moments.

    theta (agents, P): to begin with. weights (agents,): in exchanges and in the consensus. chunk: agents trained at a
    time. picked: agents evaluated at a moment.
    """

    def __init__(
        self,
        task: Task,
        learner: Learner,
        shards: Shards | None,
        theta: np.ndarray,
        weights: np.ndarray,
        moments: np.ndarray,
        chunk: int,
        picked: int,
        seed: int,
    ) -> None:
        self.learner, self.shards, self.moments, self.chunk = learner, shards, moments, chunk
        self.agents, self.weights = len(theta), weights
        self.started = theta
        self._batch_size = task.batch_size
        test = load_rows(task.test_data, slice(None)) if shards is not None and task.test_data is not None else {}
        everyone = np.arange(self.agents)
        picks = [
            everyone if picked == self.agents else np.sort(permutation(self.agents, seed, PICKS, k)[:picked])
            for k in range(len(moments))
        ]
        self.picks = np.array(picks, np.int32)
        self._names = _metric_names(learner, test)
        self._mesh = all_devices_mesh()
        parts = weights / weights.sum()
        self.inputs = self._put(
            Inputs(
                data=shards.data if shards else {},
                test=test,
                seeds=np.full(self.agents, seed % 2**32, np.uint32),
                numbers=(shards.indices if shards else everyone).astype(np.int32),
                weights=parts.astype(np.float32),
                picked=self.picks,
                origin=theta[0] if _is_one(theta) else parts.astype(np.float32) @ theta,
            )
        )

    def _put(self, tree: Any) -> Any:
        """Onto the device; onto each, where there are several."""
        if self._mesh is None:
            return jax.device_put(tree)
        everywhere = NamedSharding(self._mesh, PartitionSpec())

        def replicated(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, everywhere, leaf.__getitem__)

        return jax.tree.map(replicated, tree)

    def _setting(self, local_steps: int) -> Setting:
        return Setting(local_steps, self.chunk, self.picks.shape[1], self._names, self._mesh)

    def _swarm(self, setting: Setting) -> Swarm:
        """Everyone at the start. What is the same for all is made many on the device, not here."""

        def for_all(leaf: Any) -> jax.Array:
            return jnp.repeat(self._put(np.asarray(leaf))[None], self.agents, axis=0)

        return Swarm(
            for_all(self.started[0]) if _is_one(self.started) else self._put(self.started),
            jax.tree.map(for_all, self.learner.init(0).opt_state) if setting.local_steps else (),
            self._put(np.zeros(self.agents, np.float32)),
            self._put(Measured.empty(len(self.moments), setting)),
        )

    def rounds(self, topology: Topology | None, rounds: int, local_steps: int, progress: bool) -> tuple[Any, Any]:
        """Synchronous gossip: all train, then all mix; None: nobody does. Snapshots after whole rounds."""
        setting = self._setting(local_steps)
        run = rounds_program(self.learner, setting)
        mixing = self._put(mixing_of(topology) if topology else self._alone())
        arcs = _arcs(topology)
        swarm = self._swarm(setting)
        after = np.ceil(self.moments).astype(int)
        if local_steps:
            batch_bytes = 4 * self.agents * local_steps * self._batch_size
            block = max(1, min(rounds, 256, (64 << 20) // batch_bytes))
        else:
            block = min(rounds, 256)
        everyone = np.arange(self.agents)
        swarm = self._measured_before(swarm, setting)
        with bar(rounds, progress) as advance:
            for first in range(0, rounds, block):
                count = min(block, rounds - first)
                snapshot = np.full(block, -1, np.int32)
                for k, when in enumerate(after):
                    if first < when <= first + count:
                        snapshot[when - first - 1] = k
                rows = np.zeros((block, 1, 1, 1), np.int32)
                if local_steps and self.shards:
                    rows = np.zeros((block, self.agents, local_steps, self._batch_size), np.int32)
                    at_once = max(1, 200_000 // self.agents)
                    for r in range(0, count, at_once):
                        some = np.arange(r, min(count, r + at_once))
                        steps = np.repeat((first + some) * local_steps, self.agents)
                        made = self.shards.rows(np.tile(everyone, len(some)), steps, local_steps)
                        rows[some] = made.reshape(len(some), *rows.shape[1:])
                swarm = run(swarm, mixing, *self._put((rows, np.int32(first), np.int32(count), snapshot)), self.inputs)
                advance(count, swarm.losses)
        self.theta, self.measured = np.asarray(swarm.theta), jax.device_get(swarm.measured)
        messages = np.concatenate([[0], np.cumsum([arcs[r % len(arcs)] for r in range(rounds)])])[after]
        return messages // 2, messages

    def measure(self) -> None:
        """Evaluate the models as they are, once, and run nothing."""
        swarm = self._measured_before(self._swarm(self._setting(0)), self._setting(0))
        self.theta, self.measured = np.asarray(self.started), jax.device_get(swarm.measured)

    def _measured_before(self, swarm: Swarm, setting: Setting) -> Swarm:
        """The snapshot of round 0, before any training."""
        rows = np.zeros((1, self.agents if setting.local_steps else 1, max(1, setting.local_steps), 1), np.int32)
        still = setting._replace(local_steps=0)
        run = rounds_program(self.learner, still)
        held = swarm._replace(opt_state=())
        given = self._put((self._alone(), rows, np.int32(0), np.int32(1), np.zeros(1, np.int32)))
        then = run(held, *given, self.inputs)
        return then._replace(opt_state=swarm.opt_state)

    def _alone(self) -> Neighborhoods:
        """The mixing of agents that have no neighbors."""
        return Neighborhoods(np.zeros((1, self.agents, 0), np.int32), np.zeros((1, self.agents, 0), np.float32))

    def scenario(
        self, scenario: Asynchronous | Virtual, rounds: float, local_steps: int, progress: bool
    ) -> tuple[Any, Any]:
        """Asynchronous gossip, a window of rounds at a time."""
        per_round = self.agents * 3 * float(scenario.conditions.speed.mean())
        window = min(rounds, max(2.0, BLOCK_EVENTS / per_round))
        blocks = scenario.blocks(rounds, self.moments, window)
        count = 1 if isinstance(scenario, Virtual) else math.ceil(rounds / window)
        return self.tapes(blocks, count, local_steps, progress)

    def tapes(self, blocks: Iterable[Block], count: int, local_steps: int, progress: bool) -> tuple[Any, Any]:
        """Make a tape, run it, make the next one meanwhile. count: how many there will be."""
        setting = self._setting(local_steps)
        run = tape_program(self.learner, setting)
        swarm = self._swarm(setting)
        exchanges, messages = [np.empty(0, int)], [np.empty(0, int)]
        scheduler, steps, first = None, 0, 0
        with bar(self.moments[-1], progress) as advance:
            for block in blocks:
                tape = block.tape
                if scheduler is None:
                    scheduler = Scheduler(self.agents, best_widths(tape, self._batch_size * local_steps))
                waves = scheduler.schedule(tape)
                rows = np.zeros((len(waves.snapshot), 1, 1, 1), np.int32)
                if local_steps and self.shards:
                    rows = self._batches(tape, waves, local_steps)
                if len(waves.snapshot) > steps:
                    steps = slots_for(len(waves.snapshot))
                given = self._put(for_device(waves, steps, rows, first))
                if waves.slots > swarm.theta.shape[0]:
                    swarm = grown(swarm, slots_for(waves.slots))
                swarm = run(swarm, *given, self._put(np.int32(len(waves.snapshot))), self.inputs)
                first += len(block.rounds)
                exchanges.append(block.exchanges)
                messages.append(block.messages)
                advance(self.moments[-1] / count, swarm.losses)
        assert scheduler is not None
        slots = scheduler.slot[: self.agents]
        self.theta, self.measured = np.asarray(swarm.theta[slots]), jax.device_get(swarm.measured)
        return np.concatenate(exchanges), np.concatenate(messages)

    def _batches(self, tape: Tape, waves: Any, local_steps: int) -> np.ndarray:
        """The rows of every lane of every train wave."""
        assert self.shards is not None
        trains = np.flatnonzero(tape.kind == TRAIN)
        made = self.shards.rows(tape.agent[trains], tape.step[trains], local_steps)
        at = np.flatnonzero(waves.train_event.ravel() >= 0)
        rows = np.zeros((waves.train_event.size, *made.shape[1:]), np.int32)
        rows[at] = made[np.searchsorted(trains, waves.train_event.ravel()[at])]
        return rows.reshape(*waves.train_event.shape, *made.shape[1:])

    def history(self, exchanges: Any, messages: Any, topology: Topology | None, facts: dict[str, Any]) -> History:
        """What was measured, as users read it."""
        spread = {name: np.full((len(self.moments), self.agents), np.nan) for name in ("accuracy", "loss")}
        merged = {name: np.full(len(self.moments), np.nan) for name in ("accuracy", "loss")}
        for name in spread:
            if name in self._names:
                np.put_along_axis(spread[name], self.picks.astype(int), self.measured.picked[name], axis=1)
                merged[name] = np.asarray(self.measured.consensus[name], float)
        graph = topology.graphs[-1] if isinstance(topology, Schedule) else topology
        return History(
            rounds=self.moments,
            consensus_distance=np.asarray(self.measured.distance, float),
            accuracy=spread["accuracy"],
            loss=spread["loss"],
            consensus_accuracy=merged["accuracy"],
            consensus_loss=merged["loss"],
            mean_drift=np.asarray(self.measured.drift, float),
            bytes=np.asarray(messages) * 4 * self.learner.size,
            exchanges=np.asarray(exchanges),
            theta=self.theta,
            facts=facts,
            edges=graph.edges if graph and graph.n <= 2000 else np.empty((0, 2), np.int32),
        )


def best_widths(tape: Tape, samples_a_turn: int) -> Widths:
    """Widths of waves that run this tape in the least time, by a model of what a lane costs; found by trying some.

    For many agents, where trying takes long, those that do well for a few.
    """
    agents = tape.agents
    trains, mixes = int((tape.kind == TRAIN).sum()), int((tape.kind == MIX).sum())
    if not trains:
        return Widths(1, max(1, agents // 4), 2)
    if agents > TRIED_AGENTS:
        train = -(-agents // 4)
        return Widths(train, math.ceil(1.15 * mixes / trains * train / 2), 2)
    train_cost, mix_cost, step_cost = 3 + 0.3 * samples_a_turn, 1.6, 20
    head = first_events(tape, 4 * TRIED_AGENTS)
    tried = []
    for part in (1, 2, 3, 4, 5, 6, 8):
        for mix_waves in (1, 2, 3):
            train = -(-agents // part)
            mix = max(1, math.ceil(1.15 * mixes / trains * train / mix_waves))
            cost = train * train_cost + mix * mix_waves * mix_cost + step_cost
            tried.append((place(head, Widths(train, mix, mix_waves))[3] * cost, Widths(train, mix, mix_waves)))
    return min(tried)[1]


TRIED_AGENTS = 1000


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


def _start(learner: Learner, agents: int, local_steps: int, seed: int, init: Any) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones."""
    shape = (agents, learner.size)
    free, needed = _free_bytes(), 3 * 4 * agents * learner.size
    if needed > MEMORY_SHARE * free:
        raise SimulationError(
            f"{agents:,} models of {learner.size:,} parameters take about {needed / 1e9:.1f} GB on their way, and "
            f"{free / 1e9:.1f} GB are free: set agents to {int(MEMORY_SHARE * free / 12 / learner.size):,} or fewer"
        )
    if init is not None:
        given = np.asarray(init, np.float32)
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given).all():
            raise SimulationError(f"init is (agents, params) finite numbers, {shape} here: got shape {given.shape}")
        return np.broadcast_to(given, shape)
    if not local_steps:
        return np.random.default_rng(seed).standard_normal(shape, np.float32)
    return np.broadcast_to(np.asarray(learner.flatten(learner.init(seed).params)), shape)


def _is_one(theta: np.ndarray) -> bool:
    """Whether all agents start from one vector, held once."""
    return theta.strides[0] == 0


def _free_bytes() -> float:
    """What the device, or for a CPU this machine, has free."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0)) * jax.local_device_count()
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return math.inf


TRAINING_BYTES = 1 << 29
"""What training may take besides the models themselves, if agents_per_chunk is left open."""


def _chunk(task: Task, learner: Learner, agents: int, local_steps: int, asked: int | None) -> int:
    """How many agents are trained at a time."""
    if asked is not None:
        return min(asked, agents)
    if not local_steps:
        return agents
    if jax.default_backend() == "cpu" and _has_convolutions(learner, task):
        return 1
    least = 16 * learner.size * agents
    if least < TRAINING_BYTES // 8:
        return agents
    data = {name: field[:1] for name, field in load_rows(task.train_data, slice(0, 1)).items()}
    each = device_bytes(learner, learner.init(0), (local_steps, task.batch_size), data) + 16 * learner.size
    return max(1, min(agents, TRAINING_BYTES // max(1, each)))


def _has_convolutions(learner: Learner, task: Task) -> bool:
    batch = load_rows(task.train_data, slice(0, 1))
    jaxpr = jax.make_jaxpr(task.loss)(learner.init(0).params, batch, jax.random.key(0))
    return "conv_general_dilated" in str(jaxpr)


def _metric_names(learner: Learner, test: dict[str, Any]) -> tuple[str, ...]:
    if not test:
        return ()
    shapes = jax.eval_shape(
        learner.measure,
        jax.eval_shape(lambda: learner.init(0).params),
        {name: field[:1] for name, field in test.items()},
    )
    return tuple(sorted(shapes))


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


def _arcs(topology: Topology | None) -> list[int]:
    if topology is None:
        return [0]
    graphs = topology.graphs if isinstance(topology, Schedule) else (topology,)
    return [graph.indices.size for graph in graphs]
