"""What an agent is told: every setting with its unit, its default and what it means. Flags, environment and TOML
files all fill these dataclasses; whatever they can't hold is refused before anything starts."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from topology.errors import GossamerError


class SettingsError(GossamerError, ValueError):
    """A setting can't be used. One line: what was expected, what came, what to do."""


@dataclass(frozen=True)
class Every:
    """How often an agent begins an exchange: each `steps` local steps, or each `seconds`; the other is 0."""

    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Every":
        """From "10steps" or "0.5s". Raises SettingsError."""
        match = re.fullmatch(r"(\d+) ?steps?|(\d+(?:\.\d+)?|\.\d+) ?s", text.strip())
        steps, seconds = match.groups() if match else (None, None)
        if not float(steps or seconds or 0) > 0:
            raise SettingsError(f'--every is "10steps" or "0.5s", more than none: got {text!r}')
        return cls(int(steps or 0), float(seconds or 0))


def parse_shard(text: str) -> tuple[int, int]:
    """(index, shards) from "2/8": the third of eight. Raises SettingsError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    index, shards = (int(match[1]), int(match[2])) if match else (0, 0)
    if not index < shards:
        wanted = f"0/{shards} to {shards - 1}/{shards}" if shards else "0/8 to 7/8, say"
        raise SettingsError(f"--shard is INDEX/SHARDS, counted from 0 ({wanted}): got {text!r}")
    return index, shards


def _whole(_: object, tokens: Sequence[Any]) -> int:
    """A whole number; cyclopts itself would round 1.5."""
    value = float(tokens[0].value)
    if not value.is_integer():
        raise ValueError
    return int(value)


Whole = Annotated[int, Parameter(converter=_whole)]
"""1000 or 1e3, but not 1.5."""


@Parameter(name="*", group=Group("Learning", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Learning:
    """What is learned, from which data.

    Parameters:
        task: A built-in task (digits, idx, npz) or a Python file that defines `task = Task(...)`.
        data: Where the task's data lies, if not where it looks by itself.
        partition: How the data is cut into shards: iid, dirichlet:0.1, labels:2 or sizes:1.5.
        optimizer: One of optax by name, in place of the task's own.
        learning_rate: For --optimizer, or in place of the task's own.
        batch_size: Samples in a local step, in place of the task's own.
        steps: Local steps to train; the task's default is 20 epochs.
        epochs: Passes over the shard to train, in place of --steps.
        seed: Of the first model, the shards, the batches and the choice of neighbors: the same for all agents.
    """

    task: str
    data: str | None = None
    partition: str = "iid"
    optimizer: str | None = None
    learning_rate: float | None = None
    batch_size: Whole | None = None
    steps: Whole | None = None
    epochs: float | None = None
    seed: Whole = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise SettingsError("--steps and --epochs both say how long to train: give one of them")
        _at_least("--steps", self.steps, 0)
        _at_least("--batch-size", self.batch_size, 1)
        _positive("--epochs", self.epochs)
        _positive("--learning-rate", self.learning_rate)


@Parameter(name="*", group=Group("Gossip", sort_key=2))
@dataclass(frozen=True, kw_only=True)
class Gossiping:
    """How agents mix.

    Parameters:
        topology: Who may exchange with whom: ring, torus, exponential, base:2, regular:4, complete ...
        alpha: How much of itself an agent keeps in an exchange, in [0, 1]; 0.5 makes both equal.
        every: How often an agent begins an exchange: 10steps, or 0.5s to never wait for an answer.
        weigh: What an agent weighs in exchanges and in the consensus: the "samples" of its shard, or "equal".
        settle: Seconds to go on gossiping without training while others still train.
        linger: Seconds to stay for `agent consensus` once everyone has finished.
        silent: Seconds of silence after which a member counts as gone, until it is heard again.
    """

    topology: str = "ring"
    alpha: float = 0.5
    every: str = "10steps"
    weigh: str = "samples"
    settle: float = 60.0
    linger: float = 10.0
    silent: float = 5.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.weigh not in ("equal", "samples"):
            raise SettingsError(f"--weigh is equal or samples: got {self.weigh!r}")
        if self.silent <= 1:
            raise SettingsError(f"--silent must exceed 1 second, two rumors: got {self.silent}")
        _at_least("--settle", self.settle, 0)
        _at_least("--linger", self.linger, 0)
        Every.parse(self.every)
        if self.topology != Gossiping.topology:
            check_topology(self.topology)


@Parameter(name="*", group=Group("Place", sort_key=3))
@dataclass(frozen=True, kw_only=True)
class Placing:
    """Where an agent stands.

    Parameters:
        listen: Where to listen, such as tcp://0.0.0.0:5710; port 0 for any free one; "none" behind NAT.
        advertise: The address to tell others, if they can't reach this machine by the one it sees itself.
        join: The address of any agent of the swarm; more than one may be given.
        shard: Which shard is ours, of how many, counted from 0: 2/8.
        name: This agent's name in the swarm; made from the host's by default.
        run: The name of the run; agents of different runs don't mix. Whoever joins takes it over.
        wait_for: Begin to train when so many agents are here, this one counted.
        stop_after: Seconds to train at most.
        run_dir: The folder for config, metrics and checkpoint. If it holds a checkpoint, training resumes there.
        checkpoint_every: Seconds between two checkpoints while training.
        evaluate: Judge our own model on the task's test data at the end.
    """

    listen: str = "tcp://0.0.0.0:0"
    advertise: str | None = None
    join: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    shard: str = "0/1"
    name: str | None = None
    run: str | None = None
    wait_for: Whole = 1
    stop_after: Annotated[float | None, Parameter(name=["--for"])] = None
    run_dir: Path | None = None
    checkpoint_every: float = 30.0
    evaluate: bool = True

    def __post_init__(self) -> None:
        parse_shard(self.shard)
        if self.listen not in ("none", Placing.listen):
            check_addresses("--listen", [self.listen], 'tcp://0.0.0.0:5710, with port 0 for any free one, or "none"')
        if self.advertise is not None:
            check_addresses("--advertise", [self.advertise])
        check_addresses("--join", self.join)
        _at_least("--wait-for", self.wait_for, 1)
        _positive("--for", self.stop_after)
        _positive("--checkpoint-every", self.checkpoint_every)
        if self.listen == "none" and not self.join:
            raise SettingsError("--listen none is for agents that call others: give --join tcp://HOST:PORT too")


def check_alpha(alpha: float) -> None:
    """Raises SettingsError unless alpha is how much of itself an agent keeps."""
    if not 0 <= alpha <= 1:
        raise SettingsError(f"--alpha must be in [0, 1]: got {alpha}")


def check_weight(weight: float) -> None:
    """Raises SettingsError unless a model can weigh so much."""
    if not 0 < weight < float("inf"):
        raise SettingsError(f"a model's weight must be positive and finite: got {weight}")


def check_topology(name: str) -> None:
    from topology import TopologyError, overlay  # Late: with SciPy `--help` would take three times as long.

    try:
        overlay(name, 1)
    except TopologyError as error:
        raise SettingsError(f"--topology: {error}") from None


def check_addresses(name: str, addresses: Iterable[str], example: str = "tcp://192.168.1.7:5710") -> None:
    """Raises SettingsError if one is no tcp://HOST:PORT."""
    from transport.addresses import AddressError, split  # Late, as NumPy comes with it.

    for address in addresses:
        try:
            split(address)
        except AddressError as error:
            raise SettingsError(f"{name}: {error}; say {example}") from None


def as_flags(*settings: Any) -> list[str]:
    """What a command line must say for these settings: those that aren't what they would be by themselves."""
    flags = []
    for group in settings:
        for item in fields(group):
            value = getattr(group, item.name)
            if item.default is MISSING or value != item.default:
                flags += [f"--{item.name.replace('_', '-')}", str(value)]
    return flags


def to_toml(settings: dict[str, Any]) -> str:
    """Flat settings as TOML; what is None is left out. JSON's strings and lists are TOML's."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items() if value is not None)


def _positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise SettingsError(f"{name} must be positive: got {value}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise SettingsError(f"{name} must be at least {least}: got {value}")
