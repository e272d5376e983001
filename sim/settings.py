"""The settings of a simulation: every choice of `simulate`, checked and converted once, before anything is compiled."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.learning.data import DataError, Partition, parse_partition
from agents.learning.rule_names import UnknownRule, parse_rule
from agents.mixing.blocks import WHOLE, check_shards, parse_submodel, patterns
from agents.mixing.codecs import CODECS
from sim.checks import SimulationError, number, one_of, shown, whole
from sim.conditions import Conditions, ConditionSettings
from sim.sources.fellows import among_fellows
from sim.sources.push import MERGES
from sim.sources.virtual import check_agents
from topology import Topology, as_topology

if TYPE_CHECKING:
    from agents.learning.task import Task

PROTOCOLS = ("exchange", "push", "push-sum", "synchronous")
WEIGHINGS = ("samples", "equal", "age")
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
    protocol: str = "exchange"
    local_steps: int = 1
    partition: str | Partition = "iid"
    codec: str = "float32"
    private: Any = ""
    submodel: str = WHOLE
    rule: str = "parameters"
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
    virtual: bool = False
    progress: bool = True

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
        ):
            if getattr(self, name) is not None or name in ("alpha", "rounds"):
                self._set(name, number(getattr(self, name), expected, holds))
        for name, known in (
            ("protocol", PROTOCOLS),
            ("codec", tuple(CODECS)),
            ("merge", MERGES),
            ("weigh", WEIGHINGS),
        ):
            one_of(getattr(self, name), name, known)
        if self.optimizer is not None and not isinstance(self.optimizer, str):
            raise SimulationError(
                f"optimizer is the name of one, such as 'adam'; an optax transformation belongs into "
                f"Task(optimizer=...): got {shown(self.optimizer)}"
            )
        texts = self.private if isinstance(self.private, str | list | tuple) else [self.private]
        if not all(isinstance(text, str) for text in texts):
            raise SimulationError(f"private is patterns of names, such as 'output/*': got {shown(self.private)}")
        self._set("private", ",".join(patterns(texts)))
        if not isinstance(self.partition, str | Partition):
            raise DataError(
                "a partition is a text such as 'iid', 'dirichlet:0.1', 'labels:2' or 'sizes:1.5': "
                f"got {shown(self.partition)}"
            )
        parse_partition(self.partition)
        try:
            parse_rule(self.rule)
        except UnknownRule as error:
            raise SimulationError(str(error)) from None
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        """Check the settings that depend on each other."""
        conditions = self.conditions(self.seed)
        for name in NEEDS_TAPE:  # As converted.
            self._set(name, getattr(conditions, name))
        if self.weigh == "age" and self.protocol != "push":
            raise SimulationError(f"weigh 'age' is for protocol 'push': got protocol {self.protocol!r}")
        if self.codec != "float32" and self.protocol != "exchange":
            raise SimulationError(
                f"codec {self.codec!r} is for protocol 'exchange', in which both sides know the same difference: "
                f"got protocol {self.protocol!r}"
            )
        if self.protocol == "synchronous":
            for item in fields(ConditionSettings):
                if item.name in NEEDS_TAPE and not _same(getattr(self, item.name), item.default):
                    raise SimulationError(
                        f"protocol 'synchronous' has no {item.name}: leave it out, or use 'exchange' or 'push'"
                    )
        check_shards(self.submodel, self.agents)
        if self.parts > 1 and (self.protocol != "exchange" or self.virtual):
            raise SimulationError(
                f"submodel {self.submodel!r} is for protocol 'exchange', which has two rates for two weights, and not "
                f"for virtual agents: got protocol {self.protocol!r}, virtual={self.virtual}"
            )
        if self.parts > 1 and not isinstance(self.topology, str):
            raise SimulationError(
                f"submodel {self.submodel!r} needs a topology by name, such as 'ring', to lay it over those who train "
                f"the same block too: got {shown(self.topology)}"
            )
        if self.virtual:
            if self.protocol != "exchange":
                raise SimulationError(f"virtual agents use the protocol 'exchange': got {self.protocol!r}")
            if not isinstance(self.topology, str):
                raise SimulationError(
                    f"virtual agents need a topology by name, such as 'ring', to lay it over those alive: "
                    f"got {shown(self.topology)}"
                )
            check_agents(self.agents)

    def conditions(self, seed: int) -> Conditions:
        """The conditions of a run with this seed."""
        return Conditions(
            self.agents, seed, **{item.name: getattr(self, item.name) for item in fields(ConditionSettings)}
        )

    @property
    def parts(self) -> int:
        """How many blocks of the model are trained apart."""
        return parse_submodel(self.submodel)[1]

    def met(self, seed: int) -> Topology:
        """Whom agents meet: by the topology, and where they train blocks of the model those who train the same one."""
        if self.parts == 1:
            return self.network(seed)
        return among_fellows(self.topology, self.agents, self.parts, seed)

    def network(self, seed: int) -> Topology:
        """The topology of a run with this seed. Raises TopologyError."""
        return as_topology(self.topology, self.agents, seed)

    def moments(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The rounds after which the swarm is evaluated, ascending: 0, every so often, and the last, (S,)."""
        every = self.eval_every or max(1.0, self.rounds / 50)
        return np.unique(np.append(np.arange(0, self.rounds, every), self.rounds)).astype(float)

    def facts(self, network: Topology) -> dict[str, Any]:
        """What describes a run on this network, as JSON can hold it; without task, seed and how it is carried out."""
        facts = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in NO_FACTS}
        return {name: _fact(value) for name, value in facts.items()} | {
            "topology": self.topology if isinstance(self.topology, str) else type(network).__name__,
            "delay": self.delay if isinstance(self.delay, int | float) else str(self.delay),
            "joins": {str(agent): when for agent, when in self.joins.items()} if self.joins else None,
        }


NO_FACTS = ("task", "seed", "eval_every", "picked", "agents_per_chunk", "data", "progress")
"""Settings that are no facts of a run: given by other facts, or without influence on it."""


def _fact(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, Partition):
        return f"{value.kind}:{value.value:g}"
    return value if value is None or isinstance(value, bool | int | float | str) else "given"


def _same(value: Any, other: Any) -> bool:
    return value is other or bool(np.ndim(value) == 0 and value == other)
