"""One simulation on the device, or several side by side that differ in their seeds alone: run, measured, handed over.

Several seeds go as one population: the same program with more lanes. Each has its own tapes, shards, batches and
measurements, and no event joins two of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data import load_rows
from agents.learning.learner import Learner
from agents.learning.task import Task
from agents.mixing.codecs import FLOAT32
from sim.device.carrying import begun, taken
from sim.device.coding import message_bytes
from sim.device.evaluation import metric_names
from sim.device.memory import room_for
from sim.device.population import Inputs, Measured, Population, Static, all_devices_mesh, on_device, with_room
from sim.device.rounds import rounds_program
from sim.device.training import finals
from sim.device.waves import for_device, tape_program
from sim.device.whole import Parts
from sim.ending import ORIGIN, SOURCE, TRAINED, Ending
from sim.history import History
from sim.progress import bar
from sim.scheduling import Scheduler, best_widths
from sim.shards import Shards
from sim.sources.source import EventSource
from sim.sources.synchronous import messages_until, mixing_of, no_mixing
from sim.starting import at_start, first_moments, origins, picks
from sim.tape import side_by_side
from sim.turns import held_by
from topology import Schedule, Topology

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


class Simulation:
    """The models on the device, and what is measured at each of the moments. A group is the agents of one seed.

    theta: (agents, P) to begin with, for each seed. weights (groups * agents,): in exchanges and in the consensus.
    chunk: agents trained at a time. picked: agents of each group that are evaluated at a moment. parts: who holds what.
    kept: moments whose models are kept. resume: what it goes on from. joins (groups * agents,): when each agent comes,
    0 for those who are there; None where all are.
    turn (S,): at each moment, how often agents have gone to other subnetworks; None where they don't.
    """

    def __init__(
        self,
        task: Task,
        learner: Learner,
        shards: Shards | None,
        test: Any,
        theta: list[np.ndarray],
        weights: np.ndarray,
        moments: np.ndarray,
        chunk: int,
        picked: int,
        seeds: Sequence[int],
        local_steps: int,
        codec: str,
        parts: Parts,
        kept: np.ndarray,
        resume: Ending | None = None,
        joins: np.ndarray | None = None,
        turn: np.ndarray | None = None,
    ) -> None:
        self.learner, self.shards, self.moments, self.local_steps = learner, shards, moments, local_steps
        self.groups, self.agents = len(theta), len(theta[0])
        self.everyone = self.groups * self.agents
        self.weights = weights.reshape(self.groups, self.agents)
        self.started, self.resume, self.kept = theta, resume, kept
        self.ending: Ending | None = None
        self._turn = turn
        self._batch_size, self.message_bytes = task.batch_size, message_bytes(codec, learner, parts.blocks)
        test = load_rows(test, slice(None)) if test is not None else {}
        self._evaluated = resume.evaluations if resume else 0
        self.picks = picks(self.agents, picked, range(self._evaluated, self._evaluated + len(moments)), seeds)
        self._mesh = all_devices_mesh()
        self._static = Static(local_steps, chunk, picked, metric_names(learner, test), codec, self._mesh, parts)
        comes = np.zeros(self.everyone) if joins is None else joins
        self._static = self._static._replace(adopts=bool(comes.any()) and codec != FLOAT32.name)
        numbers = shards.indices if shards else np.tile(np.arange(self.agents), self.groups)
        self.masses: np.ndarray = self.weights
        if parts.blocks is not None:  # By block as well, (groups, agents, B).
            own = parts.levels * self.groups or numbers.tolist()
            each = [parts.blocks.weights(*one) for one in zip(weights.tolist(), own, strict=True)]
            self.masses = np.array(each).reshape(self.groups, self.agents, parts.blocks.count)
        shares = (self.masses.T / self.weights.sum(axis=1)).T.astype(np.float32)
        came = first_moments(moments, comes.reshape(self.groups, -1), self.masses, parts)
        at_first = (shares.T * (came == 0).T).T if came.size else shares
        self.inputs = self._put(
            Inputs(
                data=shards.data if shards else {},
                test=test,
                seeds=np.repeat(np.array([seed % 2**32 for seed in seeds], np.uint32), self.agents),
                numbers=numbers.astype(np.int32),
                weights=shares,
                picked=self.picks,
                origin=origins(theta, at_first, parts) if resume is None else resume.arrays[ORIGIN][None],
                kept=np.where(np.isin(moments, kept), np.searchsorted(kept, moments), len(kept)).astype(np.int32),
                late=comes > 0,
                came=came,
                holder=self._holder(),
            )
        )

    def _holder(self) -> np.ndarray:
        """Who trains each model at each moment, (S, agents); (0, 0) where that is the agent of its number."""
        if self._turn is None:
            return np.empty((0, 0), np.int32)
        models, count = np.arange(self.agents, dtype=np.int32), len(self._static.parts.members)
        holder: np.ndarray = held_by(models, self._turn[:, None], count)
        return holder

    def _put(self, tree: Any) -> Any:
        return on_device(tree, self._mesh)

    def _population(self) -> Population:
        """Everyone at the start."""
        measured = self._put(Measured.empty(len(self.moments), self.groups, self._static))
        kept = self._put(np.zeros((len(self.kept), self.everyone, self.learner.size), np.float32))
        if self.resume is not None:
            again = begun(self.learner, self.started[0], self.resume, self._static, self._put)
            return again._replace(measured=measured, kept=kept)
        fresh = at_start(self.learner, self.started, self._static, self._put)
        return fresh._replace(measured=measured, kept=kept)

    # Synchronous gossip.

    def run_rounds(self, topologies: Sequence[Topology], rounds: int, progress: bool, before: int = 0) -> Counts:
        """Synchronous gossip, a topology for each group; none at all: nobody gossips. All moments are whole rounds.

        before: rounds that there were already.
        """
        local_steps, program = self.local_steps, rounds_program(self.learner, self._static)
        mixing = self._put(mixing_of(topologies) if topologies else no_mixing(self.everyone))
        after = self.moments.astype(int) - before
        block = min(rounds, 256)
        if local_steps:
            batch_bytes = 4 * self.everyone * local_steps * self._batch_size
            block = max(1, min(block, BATCH_BYTES // batch_bytes))
        population = self._measured(self._population(), 0)
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
                    self.shards.fill(rows[:count], (before + first) * local_steps)
                given = self._put((rows, np.int32(before + first), np.int32(count), snapshot))
                population = program(population, mixing, *given, self.inputs)
                advance(count, population.losses)
        self._end(population, np.arange(self.everyone))
        messages = np.array([messages_until(topology, before + rounds)[before + after] for topology in topologies])
        return Counts(messages // 2, messages)

    def _measured(self, population: Population, snapshot: int) -> Population:
        """With the snapshot of this number, of the models as they are. theta (agents, V * P)."""
        rows = np.zeros((1, self.everyone if self.local_steps else 1, max(1, self.local_steps), 1), np.int32)
        program = rounds_program(self.learner, self._static._replace(local_steps=0))
        given = self._put((no_mixing(self.everyone), rows, np.int32(0), np.int32(1), np.array([snapshot], np.int32)))
        then = program(population._replace(opt_state=()), *given, self.inputs)
        return then._replace(opt_state=population.opt_state)

    def measure(self) -> None:
        """Evaluate the models as they are, once, and run nothing."""
        self._end(self._measured(self._population(), 0), np.arange(self.everyone), trained=False)

    # Tapes.

    def window(self, turns_a_round: float) -> float:
        """How many rounds make a tape that is quick to make and fills its waves; turns_a_round: of one agent."""
        per_round = self.everyone * 3 * turns_a_round
        return max(BLOCK_EVENTS / per_round, min(2.0, max(0.5, CACHED_EVENTS / per_round)))

    def run(self, sources: Sequence[EventSource], rounds: float, window: float, progress: bool) -> Counts:
        """Run an event source for each group, a window of rounds at a time: the next tape is made meanwhile."""
        population = self._population()
        none = np.empty((self.groups, 0), int)
        exchanges, messages = [none], [none]
        scheduler, steps, snapshots, now = None, 0, 0, float(self.moments[0]) if self.resume else 0.0
        with bar(rounds - now, progress) as advance:
            blocks = (source.blocks(rounds, self.moments, min(rounds - now, window)) for source in sources)
            for together in zip(*blocks, strict=True):
                tape = side_by_side([block.tape for block in together])
                if scheduler is None:
                    scheduler = Scheduler(tape.entering, best_widths(tape, self._batch_size * self.local_steps))
                waves = scheduler.schedule(tape)
                rows = np.zeros((len(waves.snapshot), 1, 1, 1), np.int32)
                if self.shards:
                    rows = self.shards.of_waves(tape, waves, self.local_steps)
                if len(waves.snapshot) > steps:
                    steps = room_for(len(waves.snapshot))
                given = self._put(for_device(waves, steps, rows, snapshots))
                if waves.slots > population.theta.shape[0]:
                    population = with_room(population, room_for(waves.slots))
                program = tape_program(self.learner, self._static)  # Only once the first block is checked.
                population = program(population, *given, self._put(np.int32(len(waves.snapshot))), self.inputs)
                snapshots += len(together[0].rounds)
                exchanges.append(np.array([block.exchanges for block in together]))
                messages.append(np.array([block.messages for block in together]))
                advance(together[0].until - now, population.losses)
                now = together[0].until
        assert scheduler is not None
        self._end(population, scheduler.slot)
        return Counts(np.concatenate(exchanges, axis=1), np.concatenate(messages, axis=1))

    # What comes of it.

    def _end(self, population: Population, slots: np.ndarray, trained: bool = True) -> None:
        """slots: of the versions that are left, the agents' own first. trained: whether training ends here."""
        self._left, self._trained = (population, slots), None
        ended = population.theta[slots[: self.everyone], : self.learner.size]
        if trained and self._static.local_steps and self.learner.rule.final is not None:
            self._trained = np.array(ended)
            ended = finals(self.learner, self._static, ended, population.opt_state, self.inputs.numbers)
            again = Population(ended, (), jnp.zeros(self.everyone), population.measured, kept=population.kept)
            population = self._measured(again, len(self.moments) - 1)
            ended = population.theta
        self.theta = np.asarray(ended).reshape(self.groups, self.agents, -1)
        self.measured = jax.device_get(population.measured)
        self.snapshots = np.asarray(population.kept).reshape(len(self.kept), *self.theta.shape)

    def keep_ending(self, settings: dict[str, Any], state: dict[str, np.ndarray]) -> None:
        """Keep what a run needs to go on from here, if it isn't too much. state: of the source."""
        arrays = taken(*self._left, self.everyone, self.learner.size)
        if arrays is not None:
            arrays |= {ORIGIN: np.array(self.inputs.origin[0])}
            arrays |= {} if self._trained is None else {TRAINED: self._trained}
            arrays |= {f"{SOURCE}{name}": np.asarray(value) for name, value in state.items()}
            self.ending = Ending(settings, self._evaluated + len(self.moments) - 1, arrays)

    def history(self, group: int, counts: Counts, topology: Topology | None, facts: dict[str, Any]) -> History:
        """What was measured of one group, as users read it."""
        measured, moments, names = self.measured, len(self.moments), self._static.metrics
        each = {name: np.full((moments, self.agents), np.nan) for name in {"accuracy", "loss", *names}}
        merged = {name: np.full(moments, np.nan) for name in each}
        for name in names:
            np.put_along_axis(each[name], self.picks[:, group].astype(int), measured.picked[name][:, group], axis=1)
            merged[name] = np.asarray(measured.consensus[name][:, group], float)
        movers = self.agents - len(self._static.parts.members)
        of_turns = 0 if self._turn is None else self._turn.astype(np.int64) * 4 * movers * self.learner.size
        graph = topology.graphs[-1] if isinstance(topology, Schedule) else topology
        return History(
            rounds=self.moments,
            consensus_distance=np.asarray(measured.distance[:, group], float),
            accuracy=each.pop("accuracy"),
            loss=each.pop("loss"),
            consensus_accuracy=merged.pop("accuracy"),
            consensus_loss=merged.pop("loss"),
            mean_drift=np.asarray(measured.drift[:, group], float),
            bytes=np.asarray(counts.messages[group]) * self.message_bytes + of_turns,
            exchanges=np.asarray(counts.exchanges[group]),
            theta=self.theta[group],
            facts=facts,
            edges=graph.edges if graph and graph.n <= 2000 else np.empty((0, 2), np.int32),
            metrics=dict(sorted(each.items())),
            consensus_metrics=dict(sorted(merged.items())),
            snapshots=self.snapshots[:, group] if len(self.kept) else np.empty((0, 0, 0), np.float32),
            snapshot_rounds=self.kept,
            ending=self.ending,
        )
