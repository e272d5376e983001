"""Simulate a swarm: `simulate(task, agents=16, topology="torus", rounds=200)` -> History."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.learning.data import AnyPartition, partition_name
from agents.learning.rules import Rule
from agents.learning.task import Task
from agents.mixing.layout import CHUNK
from agents.prepare import partition_of
from sim.exact_replay import replay_exactly
from sim.experiment import check_room, simulated, together
from sim.history import History
from sim.learners import loaded, replayed
from sim.listed import checked_seeds, is_listed, keys_of
from sim.making import make_simulation
from sim.progress import bar
from sim.recordings import are_alike, capacities, check_complete, parts_of, recordings
from sim.settings import SimulationSettings
from sim.simulation import Counts
from sim.sources.recorded import recorded_tape
from sim.sources.source import EventSource
from sim.tracebacks import own_exceptions
from topology import Topology


def simulate(
    task: str | Path | Task,
    *,
    agents: int,
    topology: str | Topology | Any = "ring",
    rounds: float = 100,
    alpha: float = 0.5,
    protocol: str | Callable[..., EventSource] | EventSource = "exchange",
    local_steps: int = 1,
    delay: float | tuple[float, float] | str = 0.0,
    drop: float = 0.0,
    online: float = 1.0,
    speeds: float | Sequence[float] | np.ndarray = 1.0,
    partition: AnyPartition | None = None,
    choose: str = "uniform",
    codec: str = "float32",
    private: str | Sequence[str] = "",
    rule: str | Rule | None = None,
    seed: int = 0,
    eval_every: float | None = None,
    init: Any = None,
    clock: str = "periodic",
    session: float = 10.0,
    joins: Mapping[int, float] | None = None,
    split: tuple[float, float, Sequence[int]] | None = None,
    merge: str = "merge-update",
    weigh: str = "samples",
    optimizer: str | None = None,
    learning_rate: float | None = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    data: str | Path | None = None,
    width: float = 1.0,
    submodel: str = "none",
    capacity: float | Sequence[float] = 1.0,
    turns: int | None = None,
    virtual: bool = False,
    progress: bool = True,
    snapshots: bool | Sequence[float] = False,
    resume: History | None = None,
) -> History:
    """Gossip among so many agents, on this machine's accelerator, with the formulas and the learner of live agents.

    In one round each agent takes a turn (at speed 1): `local_steps` of training, then gossip. Times are in rounds.

    task: a name ("digits"), a task file or a Task. data: the folder or file of a task that reads one.
    agents: how many.
    topology: who may turn to whom: a name ("torus", "base:2", "regular:4"), a Graph, a Schedule, a networkx graph or
        a doubly stochastic matrix W (agents, agents). Weights, of W or a Schedule, are read by "synchronous" alone:
        elsewhere each neighbor is equally likely, and a W with other weights for some of a row's is refused.
    rounds: how many; may be fractional, as may eval_every and snapshots, but for "synchronous".
    alpha: how much of itself an agent keeps in an exchange, in [0, 1].
    protocol: "exchange", zero-sum between two neighbors, as live agents do; "push", one-way gossip learning;
        "push-sum", one-way and mass-conserving; "synchronous", Theta <- W Theta. Or one of your own: a class or a
        function (topology, conditions, ...) that makes an EventSource (examples/own_protocol.py).
    local_steps: of training at a turn; 0 trains nothing: pure consensus, from init or independent random vectors.
    delay: of each message: a number, a (low, high) pair to draw from, "lognormal:MEDIAN:SIGMA" or "bandwidth:BYTES"
        (a round). drop: the share of messages that are lost, in [0, 1).
    online, session: the share of the time that an agent is online, in sessions of so many rounds, on and off together.
    speeds: turns a round, one number or one for each agent. clock: when turns are taken, "periodic" or "poisson".
    joins: {agent: the round when it joins}; until then the consensus, its distance and its drift are without it.
    split: (from, until, groups): meanwhile only agents of one group reach each other; groups (agents,).
    partition: how samples are dealt: "iid", "dirichlet:0.1", "labels:2" or "sizes:1.5"; one list of row indices an
        agent; an owner of each row (samples,); or a function (labels_or_count, agents, seed) of either. What leaves
        rows out or gives some to several agents on purpose is wrapped: AsGiven(partition). None: the task's own, or
        "iid".
    choose: which neighbor an agent turns to: "uniform", each equally likely, "roundrobin", one after the other, or
        "fastest", the likelier, the less time exchanges with it took, for virtual agents, who measure that.
    codec: how differences are written in an exchange: "float32", "bfloat16", "lattice:2" to "lattice:8", of so many
        bits a coordinate, "segments:1/5", "lowrank:4", or two, as in "lattice:4+segments:1/5" or
        "lowrank:4+lattice:4/5".
    private: patterns of parameters' names, such as "output/*", that never leave an agent; consensus metrics are then
        the mean of those of the agents that are evaluated, each with what is exchanged merged.
    rule: how exchanges meet the optimizer: "parameters" averages these alone, or one or more of "drift", "quasi",
        "noloco", "prox", "ema", "accelerated", "momentum" and "tracking", such as "drift:0.1+prox:0.01"; or an
        agents.Rule of your own. None: the task's own, or "parameters". Without training "accelerated" alone does
        anything.
    seed: of everything random. The same seed gives the same run.
    eval_every: rounds between two evaluations, a fiftieth of all if None. picked: how many agents each evaluates,
        64 at most if None; the others' metrics are NaN.
    init: models to begin with, (agents, params) or (params,).
    merge: "push" merges, then trains ("merge-update"), or the other way ("update-merge").
    weigh: exchanges by "samples" or "equal" weights, or by "speed", samples, of which agents below the median of
        `speeds` have a share alone (docs/theory.md 33); "push" merges by the models' "age", else by alpha.
    optimizer, learning_rate: in place of the task's own, by name.
    agents_per_chunk: how many are trained at once; bounds memory.
    width: hidden widths of the task's model times this. submodel: what an agent trains of it: "none", the whole model;
        "width:4", one of four independent subnetworks; each is trained by every fourth agent, among whom the
        topology is laid, and metrics of the consensus are those of the model that is assembled from all; or "layers:4",
        one of four blocks of layers, i mod 4 for agent i, which follows the others, with protocol "exchange"; "nested",
        the share of the hidden units that `capacity` says, from the first on, one for all agents or one for each.
    turns: with "width:K", after so many local steps all agents but the first K go to the next subnetwork: agent i then
        trains number (i + turn) mod K, which it takes over from the one of its K that leaves it, and keeps its
        optimizer's state. The history's rows are models, row i of subnetwork i mod K. None: each keeps its own.
    virtual: drive real protocol cores on a virtual network instead of drawing what happens, for up to 200 agents and a
        topology by name: with membership, retries and healing.
    progress: whether to show a progress bar.
    snapshots: whether to keep all models at the evaluations, or the rounds at which to: `history.snapshots`.
    resume: a history to go on from where it ended, for so many rounds more, with its other settings; its rounds,
        exchanges and bytes go on too (docs/own_parts.md).

    Raises SimulationError, ConditionsError, TopologyError, DataError, TaskError, ScopeError, TapeError or VirtualError
    before it compiles. What your own functions raise comes as it is.
    """
    settings = SimulationSettings(
        task=task,
        agents=agents,
        topology=topology,
        rounds=rounds,
        alpha=alpha,
        protocol=protocol,
        local_steps=local_steps,
        delay=delay,
        drop=drop,
        online=online,
        speeds=speeds,
        partition=partition,
        choose=choose,
        codec=codec,
        private=private,
        rule=rule,
        seed=seed,
        eval_every=eval_every,
        init=init,
        clock=clock,
        session=session,
        joins=joins,
        split=split,
        merge=merge,
        weigh=weigh,
        optimizer=optimizer,
        learning_rate=learning_rate,
        picked=picked,
        agents_per_chunk=agents_per_chunk,
        data=data,
        width=width,
        submodel=submodel,
        capacity=capacity,
        turns=turns,
        virtual=virtual,
        progress=progress,
        snapshots=snapshots,
        resume=resume,
    )
    return simulated(settings, [settings.seed], keep=True)[0]


def sweep(
    task: str | Path | Task, *, seeds: Iterable[int] = range(3), progress: bool = True, **settings: Any
) -> dict[tuple[Any, ...], History]:
    """`simulate` for every seed and every combination of the settings that are given as a list.

    One value of speeds, capacity, private and snapshots may be a list itself: a list of lists or tuples has several. A
    list for init is always one.

    Returns {(value of each listed setting, in the order given, ..., seed): History}, which `sim.plots` draws with a
    line and a band for each setting; lists are tuples there. Seeds run together, as one population as wide as they fit
    on the device, which changes a run by no more than rounding; what agrees in shape is compiled once. Raises what
    `simulate` does. A history of it can't be resumed. An EventSource is used once: give what makes one.
    """
    every_seed = checked_seeds(seeds, settings)
    listed = {name: value for name, value in settings.items() if is_listed(name, value)}
    fixed = {name: value for name, value in settings.items() if name not in listed}
    task = task if "data" in listed else loaded(task, fixed.pop("data", None))
    combinations = list(itertools.product(*listed.values()))
    keys = list(itertools.product(*(keys_of(name, values) for name, values in listed.items())))
    cases = [
        SimulationSettings(task=task, **fixed, **dict(zip(listed, values, strict=True)), progress=False)
        for values in combinations
    ]
    for case in cases:
        check_room(case)
        case.network(every_seed[0] if every_seed else 0)  # Refused before the first of them runs, not after an hour.
    found: dict[tuple[Any, ...], History] = {}
    with bar(len(cases) * len(every_seed), progress) as advance:
        for key, case in zip(keys, cases, strict=True):
            for some in together(case, every_seed):
                histories = simulated(case, some)
                found |= {(*key, seed): history for seed, history in zip(some, histories, strict=True)}
                advance(len(some), np.zeros(()))
    return {(*key, seed): found[(*key, seed)] for key in keys for seed in every_seed}


def replay(run_dir: str | Path, exact: bool = False, progress: bool = True) -> History:
    """A real run again, from the recordings that its agents left: agents by sorted id.

    exact: one agent at a time with the agents' own compiled functions: theta is that of `agents.load_run` bit for bit,
    on the same machine; evaluated once, at the end. Else vmapped, which agrees to about 1e-4, with some 50 evaluations;
    rounds are then mean local steps. Exact in any case: models of over a chunk (2^18 parameters), codecs that round,
    rules of one's own, that exchange more than theta or end with an average, agents that don't exchange all, train each
    in their own way (steps, optimizer, batch size) or went back to a checkpoint. What can't be replayed, as an agent
    left no recording or was cut off, is in facts["notes"]. Raises ReplayError.
    """
    found = recordings(run_dir)
    learning, gossiping, facts = found[0].learning, found[0].gossiping, found[0].facts
    shard = found[0].placing.shard
    task, learner, blocks, whole, levels, _ = replayed(learning, gossiping, shard, facts["steps"], capacities(found))
    partition = partition_of(learning, task)
    exact = exact or facts["parameters"] > CHUNK or not are_alike(found) or learner.width > learner.size
    own = gossiping.rule is None and isinstance(
        task.rule, Rule
    )  # It is told of exchanges alone, which a tape can't say.
    exact = exact or own or not blocks.is_whole or learner.rule.final is not None or bool(gossiping.turns or levels)
    indices = np.array([each.facts["index"] for each in found])
    parts = parts_of(gossiping.submodel, indices)
    if not gossiping.turns:
        check_complete(gossiping, found, parts)
    recorded = recorded_tape(found)
    followed = replay_exactly(run_dir) if exact else None
    if followed is not None and gossiping.turns:
        check_complete(gossiping, found, parts := followed.parts)
    simulation = make_simulation(
        task,
        learner,
        len(found),
        moments=recorded.steps[-1:] if exact else recorded.steps,
        seeds=[learning.seed],
        partition=partition,
        by_samples=gossiping.weigh != "equal",
        blocks=blocks,
        init=followed.theta if followed else None,
        shards_of=(shard.shards, indices),
        parts_of=parts.tolist() if whole else None,
        whole=whole,
        levels=levels,
    )
    with own_exceptions():
        if followed is not None:
            simulation.measure()
            counts = Counts(recorded.exchanges[None, -1:], recorded.messages[None, -1:])
        else:
            rounds = float(recorded.steps[-1])
            counts = simulation.run([recorded], rounds, rounds, progress)
    about = {
        "task": task.name,
        "topology": gossiping.topology,
        "agents": len(found),
        "alpha": gossiping.alpha,
        "protocol": "exchange",
        "partition": partition_name(partition),
        "seed": learning.seed,
        "parameters": learner.size,
        "names": [each.agent for each in found],
        "steps": [int(steps) for steps in (followed.steps if followed else recorded.last)],
        "notes": followed.notes if followed else recorded.notes,
        "replay": "exact" if exact else "vmapped",
    }
    return simulation.history(0, counts, None, about)
