"""One simulation on the device, or several side by side that differ in their seeds alone: run, measured, handed over.

Several seeds go as one population: the same program with more lanes. Each has its own tapes, shards, batches and
measurements, and no event joins two of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data import Partition, load_rows, permutation
from agents.learning.learner import Learner
from agents.learning.task import Task
from agents.mixing.blocks import Blocks
from agents.mixing.codecs import named
from agents.mixing.consensus import weighted_mean
from sim.checks import SimulationError, array, shown
from sim.device.evaluation import metric_names
from sim.device.memory import check_memory, room_for, trained_at_once
from sim.device.population import Inputs, Measured, Population, Static, all_devices_mesh, on_device, with_room
from sim.device.rounds import rounds_program
from sim.device.training import starting
from sim.device.waves import for_device, tape_program
from sim.history import History
from sim.progress import bar
from sim.scheduling import Scheduler, best_widths
from sim.shards import Shards
from sim.sources.source import EventSource
from sim.sources.synchronous import messages_until, mixing_of, no_mixing
from sim.tape import side_by_side
from topology import Schedule, Topology

PICKS = 9  # keeps the random stream apart from those of shards and batches

PICKED = 64
"""How many agents are evaluated at a snapshot, where there are more."""

BLOCK_EVENTS, CACHED_EVENTS = 20_000, 1_500_000
"""About as many events make one tape: enough to fill waves, few enough to make while the device runs the last.

Of large swarms two rounds make one, which carry each agent over less often, or half a round where more events wouldn't
fit a processor's caches.
"""

BATCH_BYTES = 64 << 20
"""Of the batches that one call of the synchronous program is given."""


class Counts(NamedTuple):
    """Totals until each moment: exchanges completed, messages (models) sent, (groups, S) each."""

    exchanges: Any
    messages: Any


def make_simulation(
    task: Task,
    learner: Learner,
    agents: int,
    *,
    moments: np.ndarray,
    seeds: Sequence[int],
    partition: str | Partition = "iid",
    local_steps: int = 1,
    by_samples: bool = True,
    codec: str = "float32",
    blocks: Blocks | None = None,
    init: Any = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    shards_of: tuple[int, np.ndarray] | None = None,
) -> "Simulation":
    """A simulation that is ready to start, of so many agents for each seed. See `simulate` for the rest.

    moments: the rounds after which it is evaluated, ascending. shards_of: (how many shards there are, which of them
    each agent has); None for one each. Raises SimulationError or DataError.
    """
    check_memory(learner, agents, len(seeds))
    parts, indices = shards_of or (agents, None)
    shards = Shards(task, partition, parts, seeds, indices) if local_steps else None
    theta = [_start(learner, agents, local_steps, seed, init) for seed in seeds]
    weights = shards.sizes.astype(float) if shards and by_samples else np.ones(len(seeds) * agents)
    chunk = trained_at_once(task, learner, len(seeds) * agents, local_steps, agents_per_chunk)
    chosen = min(picked or PICKED, agents)
    partial = None if blocks is None or blocks.is_whole else blocks
    return Simulation(task, learner, shards, theta, weights, moments, chunk, chosen, seeds, local_steps, codec, partial)


class Simulation:
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
        local_steps: int,
        codec: str,
        blocks: Blocks | None,
    ) -> None:
        self.learner, self.shards, self.moments, self.local_steps = learner, shards, moments, local_steps
        self.groups, self.agents = len(theta), len(theta[0])
        self.everyone = self.groups * self.agents
        self.weights = weights.reshape(self.groups, self.agents)
        self.started = theta
        self._batch_size = task.batch_size
        self._exchanged = learner.size if blocks is None else blocks.scope.size
        test = load_rows(task.test_data, slice(None)) if shards is not None and task.test_data is not None else {}
        self.picks = _picks(self.agents, picked, len(moments), seeds)
        self._mesh = all_devices_mesh()
        self._static = Static(local_steps, chunk, picked, metric_names(learner, test), codec, self._mesh, blocks)
        numbers = shards.indices if shards else np.tile(np.arange(self.agents), self.groups)
        self.masses: np.ndarray = self.weights
        if blocks is not None:  # By block as well, (groups, agents, K).
            each = [blocks.weights(*one) for one in zip(weights.tolist(), numbers.tolist(), strict=True)]
            self.masses = np.array(each).reshape(self.groups, self.agents, blocks.count)
        parts = (self.masses / self.weights.sum(axis=1).reshape(-1, *[1] * (self.masses.ndim - 1))).astype(np.float32)
        self.inputs = self._put(
            Inputs(
                data=shards.data if shards else {},
                test=test,
                seeds=np.repeat(np.array([seed % 2**32 for seed in seeds], np.uint32), self.agents),
                numbers=numbers.astype(np.int32),
                weights=parts,
                picked=self.picks,
                origin=np.array([_mean(*each, blocks) for each in zip(theta, parts, strict=True)], np.float32),
            )
        )

    def _put(self, tree: Any) -> Any:
        return on_device(tree, self._mesh)

    def _population(self) -> Population:
        """Everyone at the start. What is the same for all is made many on the device, not here."""

        def for_all(leaf: Any, count: int = self.everyone) -> jax.Array:
            return jnp.repeat(self._put(np.asarray(leaf))[None], count, axis=0)

        groups = [for_all(start[0], self.agents) if _is_one(start) else self._put(start) for start in self.started]
        theta = jnp.concatenate(groups) if len(groups) > 1 else groups[0]
        return Population(
            theta,
            starting(self.learner, theta) if self.local_steps else (),
            self._put(np.zeros(self.everyone, np.float32)),
            self._put(Measured.empty(len(self.moments), self.groups, self._static)),
            jax.jit(named(self._static.codec).begin)(theta),
        )

    # Synchronous gossip.

    def run_rounds(self, topologies: Sequence[Topology], rounds: int, progress: bool) -> Counts:
        """Synchronous gossip, a topology for each group; none at all: nobody gossips. Snapshots after whole rounds."""
        local_steps, program = self.local_steps, rounds_program(self.learner, self._static)
        mixing = self._put(mixing_of(topologies) if topologies else no_mixing(self.everyone))
        after = np.ceil(self.moments).astype(int)
        block = min(rounds, 256)
        if local_steps:
            batch_bytes = 4 * self.everyone * local_steps * self._batch_size
            block = max(1, min(block, BATCH_BYTES // batch_bytes))
        population = self._measured_before(self._population())
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
                    self.shards.fill(rows[:count], first * local_steps)
                given = self._put((rows, np.int32(first), np.int32(count), snapshot))
                population = program(population, mixing, *given, self.inputs)
                advance(count, population.losses)
        self._end(population.theta, population.measured)
        messages = np.array([messages_until(topology, rounds)[after] for topology in topologies])
        return Counts(messages // 2, messages)

    def _measured_before(self, population: Population) -> Population:
        """The snapshot of round 0, before any training."""
        rows = np.zeros((1, self.everyone if self.local_steps else 1, max(1, self.local_steps), 1), np.int32)
        program = rounds_program(self.learner, self._static._replace(local_steps=0))
        given = self._put((no_mixing(self.everyone), rows, np.int32(0), np.int32(1), np.zeros(1, np.int32)))
        then = program(population._replace(opt_state=()), *given, self.inputs)
        return then._replace(opt_state=population.opt_state)

    def measure(self) -> None:
        """Evaluate the models as they are, once, and run nothing."""
        self._end(np.concatenate(self.started), self._measured_before(self._population()).measured)

    # Tapes.

    def window(self, turns_a_round: float) -> float:
        """How many rounds make a tape that is quick to make and fills its waves; turns_a_round: of one agent."""
        per_round = self.everyone * 3 * turns_a_round
        return max(BLOCK_EVENTS / per_round, min(2.0, max(0.5, CACHED_EVENTS / per_round)))

    def run(self, sources: Sequence[EventSource], rounds: float, window: float, progress: bool) -> Counts:
        """Run an event source for each group, a window of rounds at a time: the next tape is made meanwhile."""
        program = tape_program(self.learner, self._static)
        population = self._population()
        none = np.empty((self.groups, 0), int)
        exchanges, messages = [none], [none]
        scheduler, steps, snapshots, now = None, 0, 0, 0.0
        with bar(rounds, progress) as advance:
            blocks = (source.blocks(rounds, self.moments, min(rounds, window)) for source in sources)
            for together in zip(*blocks, strict=True):
                tape = side_by_side([block.tape for block in together])
                if scheduler is None:
                    scheduler = Scheduler(self.everyone, best_widths(tape, self._batch_size * self.local_steps))
                waves = scheduler.schedule(tape)
                rows = np.zeros((len(waves.snapshot), 1, 1, 1), np.int32)
                if self.shards:
                    rows = self.shards.of_waves(tape, waves, self.local_steps)
                if len(waves.snapshot) > steps:
                    steps = room_for(len(waves.snapshot))
                given = self._put(for_device(waves, steps, rows, snapshots))
                if waves.slots > population.theta.shape[0]:
                    population = with_room(population, room_for(waves.slots))
                population = program(population, *given, self._put(np.int32(len(waves.snapshot))), self.inputs)
                snapshots += len(together[0].rounds)
                exchanges.append(np.array([block.exchanges for block in together]))
                messages.append(np.array([block.messages for block in together]))
                advance(together[0].until - now, population.losses)
                now = together[0].until
        assert scheduler is not None
        self._end(population.theta[scheduler.slot[: self.everyone]], population.measured)
        return Counts(np.concatenate(exchanges, axis=1), np.concatenate(messages, axis=1))

    # What comes of it.

    def _end(self, theta: Any, measured: Measured) -> None:
        self.theta = np.asarray(theta).reshape(self.groups, self.agents, -1)
        self.measured = jax.device_get(measured)

    def history(self, group: int, counts: Counts, topology: Topology | None, facts: dict[str, Any]) -> History:
        """What was measured of one group, as users read it."""
        measured, moments, names = self.measured, len(self.moments), self._static.metrics
        each = {name: np.full((moments, self.agents), np.nan) for name in {"accuracy", "loss", *names}}
        merged = {name: np.full(moments, np.nan) for name in each}
        for name in names:
            np.put_along_axis(each[name], self.picks[:, group].astype(int), measured.picked[name][:, group], axis=1)
            merged[name] = np.asarray(measured.consensus[name][:, group], float)
        graph = topology.graphs[-1] if isinstance(topology, Schedule) else topology
        return History(
            rounds=self.moments,
            consensus_distance=np.asarray(measured.distance[:, group], float),
            accuracy=each.pop("accuracy"),
            loss=each.pop("loss"),
            consensus_accuracy=merged.pop("accuracy"),
            consensus_loss=merged.pop("loss"),
            mean_drift=np.asarray(measured.drift[:, group], float),
            bytes=np.asarray(counts.messages[group]) * message_bytes(self._static.codec, self._exchanged),
            exchanges=np.asarray(counts.exchanges[group]),
            theta=self.theta[group],
            facts=facts,
            edges=graph.edges if graph and graph.n <= 2000 else np.empty((0, 2), np.int32),
            metrics=dict(sorted(each.items())),
            consensus_metrics=dict(sorted(merged.items())),
        )


def message_bytes(codec: str, size: int) -> float:
    """Of an offer and an answer, on average: half of what an exchange takes. size: of theta."""
    return sum(named(codec).size(size)) / 2


def _picks(agents: int, picked: int, moments: int, seeds: Sequence[int]) -> np.ndarray:
    """Who of each group is evaluated at each moment: int32 (S, groups, picked), ascending."""

    def pick(seed: int, moment: int) -> np.ndarray:
        if picked == agents:
            return np.arange(agents)
        return np.sort(permutation(agents, seed, PICKS, moment)[:picked])

    return np.array([[pick(seed, moment) for seed in seeds] for moment in range(moments)], np.int32)


def _start(learner: Learner, agents: int, local_steps: int, seed: int, init: Any) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones."""
    shape = (agents, learner.size)
    if init is not None:
        expected = f"init is (agents, params) finite numbers, {shape} here: got "
        given = array(init, SimulationError(expected + shown(init)))
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given.astype(np.float32)).all():
            raise SimulationError(f"{expected}shape {given.shape}")
        return np.broadcast_to(given.astype(np.float32), shape)
    if not local_steps:
        return np.random.default_rng(seed % 2**64).standard_normal(shape, np.float32)
    return np.broadcast_to(np.asarray(learner.flatten(learner.init(seed).params)), shape)


def _is_one(theta: np.ndarray) -> bool:
    """Whether all agents start from one vector, held once."""
    return theta.strides[0] == 0


def _mean(theta: np.ndarray, weights: np.ndarray, blocks: Blocks | None) -> np.ndarray:
    """The consensus model of the models to begin with."""
    return theta[0] if _is_one(theta) else weighted_mean(theta, weights, blocks=blocks)
