"""One run on the device, or several side by side: the swarms, what they train on, and what is measured of them.

Several runs that differ in their seeds alone go as one population: the same program with more lanes. Each has its own
tapes, shards, batches and measurements, and no event joins two of them.
"""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from agents.learning.data import Batches, labels_or_count, load_rows, owners, permutation
from agents.learning.learner import Learner
from agents.learning.task import Task
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
from sim.scenarios import Asynchronous, Block
from sim.tape import MIX, TRAIN, Scheduler, Tape, Widths, first_events, place, side_by_side
from sim.virtual import Virtual
from topology import Schedule, Topology
from topology.errors import GossamerError

PICKS = 9  # keeps the random stream apart from those of shards and batches

PICKED = 64
"""How many agents are evaluated at a snapshot, where there are more."""

BLOCK_EVENTS, CACHED_EVENTS = 20_000, 1_500_000
"""About as many events make one tape: enough to fill waves, few enough to make while the device runs the last.

Of large swarms two rounds make one, which carry each agent over less often, or half a round where more events wouldn't
fit a processor's caches.
"""

MEMORY_SHARE = 0.8
"""Of the memory that is free, how much a simulation may take."""


class SimulationError(GossamerError, ValueError):
    """The simulation asked for can't be. One line: what was expected, what came, what to do."""


class Shards:
    """Who holds which samples: of one dataset on the device, the rows of every agent. sizes: (agents,).

    shards: into how many the data is split, anew for each seed. indices (agents,): which of them each agent of a seed
    has, None for its own number. Agents of several seeds are counted one seed after the other.
    """

    def __init__(
        self, task: Task, partition: str, shards: int, seeds: Sequence[int], indices: np.ndarray | None = None
    ) -> None:
        dataset = task.train_data
        indices = np.arange(shards) if indices is None else indices
        self.data = load_rows(dataset, slice(None))
        sizes, rows, starts = [], [], []
        for k, seed in enumerate(seeds):
            owner = owners(partition, labels_or_count(dataset), shards, seed)
            counts = np.bincount(owner, minlength=shards)
            sizes.append(counts[indices])
            rows.append(np.argsort(owner, kind="stable").astype(np.int32))
            starts.append(k * len(owner) + np.concatenate([[0], np.cumsum(counts)])[indices])
        self.sizes, self._rows, self._starts = np.concatenate(sizes), np.concatenate(rows), np.concatenate(starts)
        self.indices = np.tile(indices, len(seeds))
        self._one_each, self._batch_size = self.sizes.max() == 1, task.batch_size
        each = np.repeat(np.array([seed % 2**64 for seed in seeds], np.uint64), len(indices))
        self._batches = Batches(each, self.sizes, task.batch_size, self.indices)

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
    seeds: Sequence[int],
    partition: str = "iid",
    local_steps: int = 1,
    by_samples: bool = True,
    init: Any = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    shards_of: tuple[int, np.ndarray] | None = None,
) -> "Run":
    """A run that is ready to start, of so many agents for each seed. See `simulate` for the rest.

    moments: the rounds after which it is evaluated, ascending. shards_of: (how many shards there are, which of them
    each agent has); None for one each. Raises SimulationError or DataError.
    """
    _check_memory(learner, agents, len(seeds))
    parts, indices = shards_of or (agents, None)
    shards = Shards(task, partition, parts, seeds, indices) if local_steps else None
    theta = [_start(learner, agents, local_steps, seed, init) for seed in seeds]
    weights = shards.sizes.astype(float) if shards and by_samples else np.ones(len(seeds) * agents)
    chunk = _chunk(task, learner, len(seeds) * agents, local_steps, agents_per_chunk)
    return Run(task, learner, shards, theta, weights, moments, chunk, min(picked or PICKED, agents), seeds)


class Run:
    """The models on the device, and what is measured at each of the moments. A group is the agents of one seed.

    theta: (agents, P) to begin with, for each seed. weights (groups * agents,): in exchanges and in the consensus.
    chunk: agents trained at a time. picked: agents of each group that are evaluated at a moment.
    """

    def __init__(
        self,
        task: Task,
        learner: Learner,
        shards: Shards | None,
        theta: list[np.ndarray],
        weights: np.ndarray,
        moments: np.ndarray,
        chunk: int,
        picked: int,
        seeds: Sequence[int],
    ) -> None:
        self.learner, self.shards, self.moments, self.chunk = learner, shards, moments, chunk
        self.groups, self.agents = len(theta), len(theta[0])
        self.everyone = self.groups * self.agents
        self.weights = weights.reshape(self.groups, self.agents)
        self.started = theta
        self._batch_size = task.batch_size
        test = load_rows(task.test_data, slice(None)) if shards is not None and task.test_data is not None else {}
        all_of_them = np.arange(self.agents)
        picks = [
            [
                all_of_them if picked == self.agents else np.sort(permutation(self.agents, seed, PICKS, k)[:picked])
                for seed in seeds
            ]
            for k in range(len(moments))
        ]
        self.picks = np.array(picks, np.int32)
        self._names = _metric_names(learner, test)
        self._mesh = all_devices_mesh()
        parts = (self.weights / self.weights.sum(axis=1, keepdims=True)).astype(np.float32)
        means = [start[0] if _is_one(start) else part @ start for part, start in zip(parts, theta, strict=True)]
        self.inputs = self._put(
            Inputs(
                data=shards.data if shards else {},
                test=test,
                seeds=np.repeat(np.array([seed % 2**32 for seed in seeds], np.uint32), self.agents),
                numbers=(shards.indices if shards else np.tile(all_of_them, self.groups)).astype(np.int32),
                weights=parts,
                picked=self.picks,
                origin=np.array(means, np.float32),
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
        return Setting(local_steps, self.chunk, self.picks.shape[2], self._names, self._mesh)

    def _swarm(self, setting: Setting) -> Swarm:
        """Everyone at the start. What is the same for all is made many on the device, not here."""

        def for_all(leaf: Any, count: int = self.everyone) -> jax.Array:
            return jnp.repeat(self._put(np.asarray(leaf))[None], count, axis=0)

        groups = [for_all(start[0], self.agents) if _is_one(start) else self._put(start) for start in self.started]
        return Swarm(
            jnp.concatenate(groups) if len(groups) > 1 else groups[0],
            jax.tree.map(for_all, self.learner.init(0).opt_state) if setting.local_steps else (),
            self._put(np.zeros(self.everyone, np.float32)),
            self._put(Measured.empty(len(self.moments), self.groups, setting)),
        )

    def rounds(self, topologies: Sequence[Topology], rounds: int, local_steps: int, progress: bool) -> Any:
        """Synchronous gossip, a topology for each group; none at all: nobody gossips. Snapshots after whole rounds.

        Returns exchanges and messages until each moment, (groups, S) each, as `scenario` and `tapes` do.
        """
        setting = self._setting(local_steps)
        run = rounds_program(self.learner, setting)
        mixing = self._put(mixing_of(topologies) if topologies else self._alone())
        swarm = self._swarm(setting)
        after = np.ceil(self.moments).astype(int)
        block = min(rounds, 256)
        if local_steps:
            batch_bytes = 4 * self.everyone * local_steps * self._batch_size
            block = max(1, min(block, (64 << 20) // batch_bytes))
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
                    rows = np.zeros((block, self.everyone, local_steps, self._batch_size), np.int32)
                    self._fill(rows[:count], first * local_steps)
                swarm = run(swarm, mixing, *self._put((rows, np.int32(first), np.int32(count), snapshot)), self.inputs)
                advance(count, swarm.losses)
        self._end(swarm.theta, swarm.measured)
        messages = np.array([_sent(topology, rounds)[after] for topology in topologies])
        return messages // 2, messages

    def _fill(self, rows: np.ndarray, first_step: int) -> None:
        """Everyone's batches of some rounds: rows (R, groups * agents, local_steps, batch_size)."""
        assert self.shards is not None
        count, everyone, local_steps, _ = rows.shape
        at_once = max(1, 200_000 // everyone)
        for r in range(0, count, at_once):
            some = np.arange(r, min(count, r + at_once))
            steps = np.repeat(first_step + some * local_steps, everyone)
            made = self.shards.rows(np.tile(np.arange(everyone), len(some)), steps, local_steps)
            rows[some] = made.reshape(len(some), *rows.shape[1:])

    def measure(self) -> None:
        """Evaluate the models as they are, once, and run nothing."""
        swarm = self._measured_before(self._swarm(self._setting(0)), self._setting(0))
        self._end(np.concatenate(self.started), swarm.measured)

    def _end(self, theta: Any, measured: Measured) -> None:
        self.theta = np.asarray(theta).reshape(self.groups, self.agents, -1)
        self.measured = jax.device_get(measured)

    def _measured_before(self, swarm: Swarm, setting: Setting) -> Swarm:
        """The snapshot of round 0, before any training."""
        rows = np.zeros((1, self.everyone if setting.local_steps else 1, max(1, setting.local_steps), 1), np.int32)
        still = setting._replace(local_steps=0)
        run = rounds_program(self.learner, still)
        held = swarm._replace(opt_state=())
        given = self._put((self._alone(), rows, np.int32(0), np.int32(1), np.zeros(1, np.int32)))
        then = run(held, *given, self.inputs)
        return then._replace(opt_state=swarm.opt_state)

    def _alone(self) -> Neighborhoods:
        """The mixing of agents that have no neighbors."""
        return Neighborhoods(np.zeros((1, self.everyone, 0), np.int32), np.zeros((1, self.everyone, 0), np.float32))

    def scenario(
        self, scenarios: Sequence[Asynchronous | Virtual], rounds: float, local_steps: int, progress: bool
    ) -> tuple[Any, Any]:
        """Asynchronous gossip, one scenario for each group, a window of rounds at a time."""
        per_round = self.everyone * 3 * float(scenarios[0].conditions.speed.mean())
        window = min(rounds, max(BLOCK_EVENTS / per_round, min(2.0, max(0.5, CACHED_EVENTS / per_round))))
        blocks = zip(*(scenario.blocks(rounds, self.moments, window) for scenario in scenarios), strict=True)
        count = 1 if isinstance(scenarios[0], Virtual) else math.ceil(rounds / window)
        return self.tapes(blocks, count, local_steps, progress)

    def tapes(self, blocks: Iterable[Sequence[Block]], count: int, local_steps: int, progress: bool) -> tuple[Any, Any]:
        """Make a tape of every group's, run it, make the next one meanwhile. count: how many there will be."""
        setting = self._setting(local_steps)
        run = tape_program(self.learner, setting)
        swarm = self._swarm(setting)
        none = np.empty((self.groups, 0), int)
        exchanges, messages = [none], [none]
        scheduler, steps, first = None, 0, 0
        with bar(self.moments[-1], progress) as advance:
            for window in blocks:
                tape = side_by_side([block.tape for block in window])
                if scheduler is None:
                    scheduler = Scheduler(self.everyone, best_widths(tape, self._batch_size * local_steps))
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
                first += len(window[0].rounds)
                exchanges.append(np.array([block.exchanges for block in window]))
                messages.append(np.array([block.messages for block in window]))
                advance(self.moments[-1] / count, swarm.losses)
        assert scheduler is not None
        self._end(swarm.theta[scheduler.slot[: self.everyone]], swarm.measured)
        return np.concatenate(exchanges, axis=1), np.concatenate(messages, axis=1)

    def _batches(self, tape: Tape, waves: Any, local_steps: int) -> np.ndarray:
        """The rows of every lane of every train wave."""
        assert self.shards is not None
        trains = np.flatnonzero(tape.kind == TRAIN)
        made = self.shards.rows(tape.agent[trains], tape.step[trains], local_steps)
        at = np.flatnonzero(waves.train_event.ravel() >= 0)
        rows = np.zeros((waves.train_event.size, *made.shape[1:]), np.int32)
        rows[at] = made[np.searchsorted(trains, waves.train_event.ravel()[at])]
        return rows.reshape(*waves.train_event.shape, *made.shape[1:])

    def history(self, group: int, counts: Any, topology: Topology | None, facts: dict[str, Any]) -> History:
        """What was measured of one group, as users read it. counts: what `tapes` returned."""
        measured, (exchanges, messages) = self.measured, counts
        spread = {name: np.full((len(self.moments), self.agents), np.nan) for name in ("accuracy", "loss")}
        merged = {name: np.full(len(self.moments), np.nan) for name in ("accuracy", "loss")}
        for name in spread:
            if name in self._names:
                picks = self.picks[:, group].astype(int)
                np.put_along_axis(spread[name], picks, measured.picked[name][:, group], axis=1)
                merged[name] = np.asarray(measured.consensus[name][:, group], float)
        graph = topology.graphs[-1] if isinstance(topology, Schedule) else topology
        return History(
            rounds=self.moments,
            consensus_distance=np.asarray(measured.distance[:, group], float),
            accuracy=spread["accuracy"],
            loss=spread["loss"],
            consensus_accuracy=merged["accuracy"],
            consensus_loss=merged["loss"],
            mean_drift=np.asarray(measured.drift[:, group], float),
            bytes=np.asarray(messages[group]) * 4 * self.learner.size,
            exchanges=np.asarray(exchanges[group]),
            theta=self.theta[group],
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
        train = min(-(-agents // 4), WIDEST)
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

WIDEST = 1 << 16
"""Lanes of a train wave at most: enough for any device, few enough to bound what a wave holds beside the models."""


def _check_memory(learner: Learner, agents: int, groups: int) -> None:
    free, needed = _free_bytes(), 3 * 4 * groups * agents * learner.size
    if needed > MEMORY_SHARE * free:
        raise SimulationError(
            f"{groups * agents:,} models of {learner.size:,} parameters take about {needed / 1e9:.1f} GB on their way, "
            f"and {free / 1e9:.1f} GB are free: set agents to {int(MEMORY_SHARE * free / 12 / learner.size):,} or fewer"
        )


def _start(learner: Learner, agents: int, local_steps: int, seed: int, init: Any) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones."""
    shape = (agents, learner.size)
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


def _sent(topology: Topology, rounds: int) -> np.ndarray:
    """Messages until the end of each round, one along every edge in both directions: (rounds + 1,)."""
    graphs = topology.graphs if isinstance(topology, Schedule) else (topology,)
    each = [graphs[r % len(graphs)].indices.size for r in range(rounds)]
    return np.concatenate([[0], np.cumsum(each, dtype=np.int64)])
