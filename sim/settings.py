"""The settings of a simulation: every choice of `simulate`, checked and converted once, before anything is compiled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.boost import boost_on
from agents.learning.data import AnyPartition, check_partition
from agents.learning.rule_names import UnknownRule, check_with, parse_rule
from agents.mixing.blocks import patterns
from agents.mixing.capacities import NESTED
from agents.mixing.codec_names import UnknownCodec, parse_codec
from agents.protocol.weighing import BY_SPEED
from agents.submodel import WHOLE, block_count, subnetwork_count
from agents.values import Capacity
from sim.checks import SimulationError, array, number, one_of, shown, whole
from sim.conditions import Conditions, ConditionSettings
from sim.ending import NOTHING_KEPT, check_same, plain
from sim.history import History
from sim.slices import check_blocks, check_divided, check_simulated, met_by
from sim.sources.block_rounds import with_block_rounds
from sim.sources.neighbors import check_choose, check_weights
from sim.sources.own import check_protocol, protocol_name
from sim.sources.push import MERGES
from sim.sources.synchronous import check_whole_rounds
from sim.sources.virtual import check_agents
from sim.turns import check_turns
from topology import Topology, as_topology, overlay
from topology.choices import CHOICES, UNIFORM
from topology.disjoint import disjoint

if TYPE_CHECKING:
    from agents.learning.rules import Rule
    from agents.learning.task import Task

PROTOCOLS = ("exchange", "push", "push-sum", "synchronous")
WEIGHINGS = ("samples", "equal", "age", BY_SPEED)
NEEDS_TAPE = ("delay", "drop", "online", "speeds", "joins", "split")
"""Conditions that mean nothing where all agents mix at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulationSettings(ConditionSettings):
    """What `simulate` is asked for; see there for what each setting means. Numbers are Python's own afterwards.

    Raises SimulationError, ConditionsError, DataError or VirtualError.
    """

    task: "str | Path | Task"
    agents: int
    topology: Any = "ring"
    rounds: float = 100
    alpha: float = 0.5
    protocol: Any = "exchange"
    local_steps: int = 1
    partition: AnyPartition | None = None
    choose: str = UNIFORM
    codec: str = "float32"
    private: Any = ""
    rule: "str | Rule | None" = None
    seed: int = 0
    eval_every: float | None = None
    init: Any = None
    merge: str = "merge-update"
    weigh: str = "samples"
    optimizer: str | None = None
    learning_rate: float | None = None
    picked: int | None = None
    agents_per_chunk: int | None = None
    data: str | Path | None = None
    width: float = 1.0
    submodel: str = "none"
    capacity: Any = 1.0
    turns: int | None = None
    virtual: bool = False
    progress: bool = True
    snapshots: Any = False
    resume: History | None = None

    def __post_init__(self) -> None:
        for name, least in (("agents", 1), ("local_steps", 0), ("picked", 1), ("agents_per_chunk", 1)):
            if getattr(self, name) is not None or name in ("agents", "local_steps"):
                self._set(name, whole(getattr(self, name), f"{name} is a whole number of at least {least}", least))
        self._set("seed", whole(self.seed, "seed is a whole number; for several seeds use sweep(seeds=...)"))
        for name, expected, holds in (
            ("alpha", "alpha is how much of itself an agent keeps, in [0, 1]", lambda x: 0 <= x <= 1),
            ("rounds", "rounds is a number above 0", lambda x: 0 < x < math.inf),
            ("eval_every", "eval_every is a number of rounds above 0", lambda x: x > 0),
            ("learning_rate", "learning_rate is a number above 0", lambda x: 0 < x < math.inf),
            (
                "width",
                "width is a number above 0, of which hidden widths become a multiple",
                lambda x: 0 < x < math.inf,
            ),
        ):
            if getattr(self, name) is not None or name in ("alpha", "rounds", "width"):
                self._set(name, number(getattr(self, name), expected, holds))
        for name, known in (("merge", MERGES), ("weigh", WEIGHINGS), ("choose", CHOICES)):
            one_of(getattr(self, name), name, known)
        try:
            parse_codec(self.codec)
        except UnknownCodec as error:
            raise SimulationError(str(error)) from None
        if isinstance(self.protocol, str):
            one_of(self.protocol, "protocol", PROTOCOLS)
        else:
            check_protocol(self.protocol)
        self._check_rule()
        if self.optimizer is not None and not isinstance(self.optimizer, str):
            raise SimulationError(
                f"optimizer is the name of one, such as 'adam'; an optax transformation belongs into "
                f"Task(optimizer=...): got {shown(self.optimizer)}"
            )
        texts = self.private if isinstance(self.private, str | list | tuple) else [self.private]
        if not all(isinstance(text, str) for text in texts):
            raise SimulationError(f"private is patterns of names, such as 'output/*': got {shown(self.private)}")
        self._set("private", ",".join(patterns(texts)))
        if self.partition is not None:
            check_partition(self.partition, self.agents)
        capacity = check_divided(self.submodel, self.capacity, self.agents, patterns(texts), self.codec)
        self._set("capacity", capacity)
        if self.resume is not None and (not isinstance(self.resume, History) or self.resume.ending is None):
            raise SimulationError(f"{NOTHING_KEPT}: got {shown(self.resume)}")
        self._set("snapshots", self._checked_snapshots())
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_snapshots(self) -> Any:
        """True, False, or rounds (S,), ascending."""
        if self.snapshots is None or isinstance(self.snapshots, bool):
            return bool(self.snapshots)
        expected = f"snapshots is True, or rounds from {self.start:g} to {self.end:g}"
        rounds = np.unique(array(self.snapshots, SimulationError(f"{expected}: got {shown(self.snapshots)}")))
        if np.ndim(self.snapshots) != 1 or not len(rounds) or not self.start <= rounds[0] <= rounds[-1] <= self.end:
            raise SimulationError(f"{expected}: got {shown(self.snapshots)}")
        return rounds

    @property
    def start(self) -> float:
        """The round from which it goes on; 0 where nothing is resumed."""
        return 0.0 if self.resume is None else float(self.resume.rounds[-1])

    @property
    def end(self) -> float:
        """The round at which it ends, counted from the very start."""
        return self.start + self.rounds

    def _check_rule(self) -> None:
        if self.rule is not None and not isinstance(self.rule, str):
            if not hasattr(self.rule, "around"):
                raise SimulationError(
                    f"rule is a name, such as 'drift', or an agents.Rule of one's own: got {shown(self.rule)}"
                )
            return
        try:
            parse_rule(self.rule or "parameters")
            check_with(self.rule, self.codec)
        except UnknownRule as error:
            raise SimulationError(str(error)) from None

    def _check_together(self) -> None:
        """Check the settings that depend on each other."""
        conditions = self.conditions(self.seed)
        for name in NEEDS_TAPE:  # As converted.
            self._set(name, getattr(conditions, name))
        if self.weigh == "age" and self.protocol != "push":
            raise SimulationError(f"weigh 'age' is for protocol 'push': got protocol {protocol_name(self.protocol)!r}")
        if self.codec != "float32" and self.protocol != "exchange":
            raise SimulationError(
                f"codec {self.codec!r} is for protocol 'exchange', in which both sides know the same difference: "
                f"got protocol {protocol_name(self.protocol)!r}"
            )
        if self.protocol == "synchronous":
            for name in NEEDS_TAPE:
                if not np.array_equal(getattr(self, name), getattr(SimulationSettings, name)):
                    raise SimulationError(
                        f"protocol 'synchronous' has no {name}: leave it out, or use 'exchange' or 'push'"
                    )
            check_whole_rounds(rounds=self.rounds, eval_every=self.eval_every, snapshots=self.snapshots)
        check_weights(self.topology, protocol_name(self.protocol), self.agents)
        if self.choose != UNIFORM:
            check_choose(self.choose, protocol_name(self.protocol), self.virtual, self.network(self.seed))
        if self.submodel != WHOLE and not isinstance(self.topology, str):
            raise SimulationError(
                f"submodel {self.submodel!r} needs a topology by name, such as 'ring', to lay it over the agents of "
                f"each part of the model: got {shown(self.topology)}"
            )
        if self.submodel == NESTED:
            check_simulated(protocol_name(self.protocol), self.codec, self.joins, self.virtual)
        check_blocks(self.submodel, protocol_name(self.protocol), self.virtual)
        self._set("turns", check_turns(vars(self), {item.name: item.default for item in fields(self)}))
        if self.virtual:
            if self.submodel != WHOLE:
                raise SimulationError(f"virtual agents train whole models: leave out submodel {self.submodel!r}")
            if self.protocol != "exchange":
                got = protocol_name(self.protocol)
                raise SimulationError(f"virtual agents use the protocol 'exchange': got {got!r}")
            if not isinstance(self.topology, str):
                raise SimulationError(
                    f"virtual agents need a topology by name, such as 'ring', to lay it over those alive: "
                    f"got {shown(self.topology)}"
                )
            check_agents(self.agents)
        if self.resume is not None and self.resume.ending is not None:
            if self.init is not None:
                raise SimulationError("resume brings the models to go on from: leave init out")
            check_same(self.resume.ending.settings, self.lasting())

    @property
    def capacities(self) -> tuple[float, ...]:
        """Of each agent, the share of a nested model's hidden units that it holds; () of other models."""
        return Capacity.parse(self.capacity).of(self.agents) if self.submodel == NESTED else ()

    def conditions(self, seed: int) -> Conditions:
        """The conditions of a run with this seed."""
        return Conditions(
            self.agents, seed, **{item.name: getattr(self, item.name) for item in fields(ConditionSettings)}
        )

    def boost(self, networks: Sequence[Topology]) -> float:
        """What the rule accelerated takes exchanges for. Raises SimulationError or UnknownRule."""
        if self.protocol not in ("exchange", "synchronous"):
            got = protocol_name(self.protocol)
            raise SimulationError(f"rule accelerated is for the protocols 'exchange' and 'synchronous': got {got!r}")
        return boost_on(networks, self.alpha, self.codec, self.submodel, self.protocol == "synchronous")

    @property
    def blocks(self) -> int:
        """How many blocks of the model are trained apart."""
        return block_count(self.submodel)

    def met(self, seed: int) -> Topology:
        """Whom agents meet: by the topology, and where they train blocks of the model those who train the same one."""
        if self.submodel == NESTED:
            return met_by(self.topology, self.capacities, seed)
        return (
            self.network(seed) if self.blocks == 1 else with_block_rounds(self.topology, self.agents, self.blocks, seed)
        )

    def network(self, seed: int) -> Topology:
        """The topology of a run with this seed. Raises TopologyError."""
        count = subnetwork_count(self.submodel)
        if count == 1:
            return as_topology(self.topology, self.agents, seed)
        members = [np.arange(k, self.agents, count) for k in range(count)]
        return disjoint([overlay(self.topology, len(some), seed) for some in members], members, self.agents)

    def moments(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The rounds after which the swarm is evaluated, ascending: 0, every so often, and the last, (S,)."""
        every = self.eval_every or max(1.0, self.rounds / 50)
        evaluated = self.start + np.arange(0, self.end - self.start, every)
        evaluated = np.ceil(evaluated) if self.protocol == "synchronous" else evaluated
        asked = [] if isinstance(self.snapshots, bool) else self.snapshots
        return np.unique(np.concatenate([evaluated, [self.end], asked])).astype(float)

    def kept(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The rounds whose models are kept, ascending, (K,)."""
        if isinstance(self.snapshots, bool):
            return self.moments() if self.snapshots else np.empty(0)
        return np.asarray(self.snapshots, float)

    def lasting(self) -> dict[str, Any]:
        """What must stay the same where a run goes on, but for what the task has a part in: as JSON holds it."""
        names = (item.name for item in fields(self) if item.name not in (*NO_FACTS, *OF_TASK, "rounds", "init"))
        return {name: plain(getattr(self, name)) for name in names} | {
            "seed": self.seed,
            "protocol": protocol_name(self.protocol),
        }

    def facts(self, network: Topology) -> dict[str, Any]:
        """What describes a run on this network, as JSON can hold it; without task, seed and how it is carried out."""
        facts = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in NO_FACTS}
        facts = {name: _fact(value) for name, value in facts.items()} | {
            "protocol": protocol_name(self.protocol),
            "topology": self.topology if isinstance(self.topology, str) else type(network).__name__,
            "delay": self.delay if isinstance(self.delay, int | float) else str(self.delay),
            "joins": {str(agent): when for agent, when in self.joins.items()} if self.joins else None,
        }
        return facts | ({"resumed": self.start} if self.resume is not None else {})


NO_FACTS = ("task", "seed", "eval_every", "picked", "agents_per_chunk", "data", "progress", "snapshots", "resume")
"""Settings that are no facts of a run: given by other facts, or without influence on it."""

OF_TASK = ("partition", "rule", "topology")
"""Settings that stand for something of the task's or the seed's, by which they are told from others."""


def _fact(value: Any) -> Any:
    """A setting as JSON can hold it."""
    return value if value is None or isinstance(value, bool | int | float | str) else "given"
