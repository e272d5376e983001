"""The setting `submodel`: which part of the model an agent trains. Text alone, so that `--help` needs no NumPy."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from agents.mixing.capacities import NESTED
from agents.mixing.layout import THETA
from agents.values import SettingsError, Shard

WHOLE = "none"
"""Every agent trains the whole model."""

WIDTH, LAYERS = "width", "layers"

MOST = {WIDTH: 4096, LAYERS: 40}
"""Parts at most: a number from another machine decides how much memory a map of subnetworks takes, and what a vector
weighs in each of so many blocks of layers fits into a member's record."""

OF_SHARD = -1
"""In place of a subnetwork's number: the one that the number of its shard gives an agent."""


class Submodel(NamedTuple):
    """How a model is divided among agents. parts: how many, 1 where it isn't by shard.

    kind: "width", by hidden units, so that agents hold subnetworks of their own; "layers", so that agents hold the
    whole and train one block of its layers; or "nested", so that an agent holds as many of the first hidden units as
    its capacity says.
    """

    kind: str
    parts: int

    def part(self, shard: Shard) -> int:
        """Which of the parts the agent with this shard trains."""
        return shard.index % self.parts


def parse(text: str) -> Submodel | None:
    """From "width:4", "layers:2" or "nested"; None for "none", where everybody trains all. Raises SettingsError."""
    if text == WHOLE:
        return None
    if text == NESTED:
        return Submodel(NESTED, 1)
    match = re.fullmatch(rf"({WIDTH}|{LAYERS}):(\d{{1,4}})", str(text))
    if not match or not 2 <= int(match[2]) <= MOST[match[1]]:
        raise SettingsError(
            f"--submodel is none, or width:K to split hidden units K ways, such as width:4, K from 2 to {MOST[WIDTH]}, "
            f"or layers:K for K blocks of layers, such as layers:2, K from 2 to {MOST[LAYERS]}, or nested, where each "
            f"agent has its --capacity: got {text!r:.60}"
        )
    return Submodel(match[1], int(match[2]))


def subnetwork_count(text: str) -> int:
    """Into how many subnetworks hidden units are split; 1 where every agent holds the whole model."""
    submodel = parse(text)
    return submodel.parts if submodel is not None and submodel.kind == WIDTH else 1


def needs_task(text: str) -> bool:
    """Whether what agents hold makes up a model only by the shapes of the task's own."""
    return text == NESTED or subnetwork_count(text) > 1


def block_count(text: str) -> int:
    """How many blocks of layers are trained apart; 1 where every agent trains all that it holds."""
    submodel = parse(text)
    return submodel.parts if submodel is not None and submodel.kind == LAYERS else 1


def check_shards(text: str, shards: int) -> None:
    """Raises SettingsError where there are more parts than shards, so that nobody would train some of them."""
    submodel = parse(text)
    if submodel is not None and submodel.parts > shards:
        raise SettingsError(
            f"--submodel {text} has {submodel.parts} parts and the data {shards} shards: each part needs an agent, so "
            f"give at most as many parts as shards"
        )


def check_capacities(
    text: str, capacities: Sequence[float], private: Sequence[str] = (), codec: str = "", vectors: int = 1
) -> None:
    """Raises SettingsError unless agents of these capacities can divide a model so, and a codec write what they share.

    private: patterns of parameters that stay with their agent. vectors: how many the rule exchanges.
    """
    if text != NESTED and any(capacity != 1 for capacity in capacities):
        got = ",".join(f"{capacity:g}" for capacity in capacities)
        raise SettingsError(f"--capacity below 1 needs --submodel nested: got --capacity {got} with --submodel {text}")
    if text != NESTED:
        return
    if private:
        raise SettingsError(f"--private and --submodel nested exclude each other: got --private {','.join(private)}")
    if codec.startswith("lowrank"):
        raise SettingsError(
            f"--codec {codec} is of whole matrices, and with --submodel nested agents share parts of them: take "
            "float32, bfloat16, lattice:4 or segments:1/5"
        )
    if vectors > 1:
        raise SettingsError(
            "--submodel nested is for rules that exchange the parameters alone, such as parameters or drift: leave "
            "momentum and tracking out"
        )


def check_somebody_holds_all(capacities: Sequence[float]) -> None:
    """Raises SettingsError where nobody has capacity 1, so that there would be no whole model at the end."""
    if max(capacities) < 1:
        got = ",".join(f"{each:g}" for each in capacities)
        raise SettingsError(f"--capacity: one agent at least must hold the whole model, with capacity 1: got {got}")


def check_slice(text: str, slice: Any, private: Sequence[str], codec: str, vectors: int) -> None:
    """Raises SettingsError unless a peer that has this slice of a model, None for all of it, can take part so.

    vectors: how many its rule exchanges.
    """
    capacity: Any = getattr(slice, "capacity", None)
    fits = capacity is not None if text == NESTED else slice is None
    if not fits:
        raise SettingsError(
            f"submodel {NESTED} and a slice belong together, from `agents.subnetworks.slice_of(task, capacity)`: got "
            f"submodel {text!r} with slice {slice if capacity is None else capacity!r}"
        )
    if slice is not None:
        check_capacities(text, [capacity], private, codec, vectors)


def check_private_training(text: str, dp: object | None) -> None:
    """Raises SettingsError where an agent that trains a block of layers should train privately. dp: None if not."""
    if dp is not None and block_count(text) > 1:
        raise SettingsError(
            f"--dp takes private steps of all that an agent holds, and with --submodel {text} it trains a block of it: "
            "leave one of the two out, or use width:K"
        )


def check_turns(turns: int, text: str, shards: int, private: Sequence[str] = ()) -> None:
    """Raises SettingsError unless agents can go from one subnetwork to the next.

    turns: after so many local steps; 0 for never. private: patterns of what stays with an agent.
    """
    if turns and not 1 < subnetwork_count(text) < shards:
        raise SettingsError(
            f"--turns is for --submodel width:K with more agents than subnetworks, as the first K stay and the others "
            f"move on: got --turns {turns} with --submodel {text} and {shards} shards; use more agents or a smaller K"
        )
    if turns and private:
        raise SettingsError(
            f"--turns and --private exclude each other, as an agent that goes to another subnetwork takes all of it: "
            f"got --private {','.join(private)}"
        )


def part_in_turn(shard: Any, turn: Any, count: int) -> Any:
    """Which of `count` subnetworks the agent of a shard trains in a turn: numbers, or arrays of them.

    The first `count` agents stay, so that whoever moves on leaves no subnetwork without an agent.
    """
    return (shard + turn * (shard >= count)) % count


def stays(text: str, shard: str) -> bool:
    """Whether the agent of this shard, as its record has it, never goes to another subnetwork."""
    try:
        return Shard.parse(shard).index < subnetwork_count(text)
    except SettingsError:
        return False


class HasPart(Protocol):
    """The fields of a record that determine which subnetwork its agent trains (`transport.messages.Report`)."""

    @property
    def shard(self) -> str:
        """The number of its shard, of how many: "2/8"."""

    @property
    def part(self) -> int:
        """Which subnetwork, or OF_SHARD."""


def same_part(text: str, ours: HasPart, theirs: HasPart) -> bool:
    """Whether two agents, by their records, hold the same parameters, and so can mix."""
    part = part_of(text, ours.shard, ours.part)
    return part is not None and part == part_of(text, theirs.shard, theirs.part)


def part_of(text: str, shard: str, part: int = OF_SHARD) -> int | None:
    """Which subnetwork an agent holds, by its record's shard and part: 0 where all hold the whole model.

    None where any of it, which may come from anybody, makes no sense.
    """
    try:
        count = subnetwork_count(text)
        own = 0 if count == 1 else Shard.parse(shard).index % count
    except SettingsError:
        return None
    return own if part == OF_SHARD or count == 1 else part if 0 <= part < count else None


def vector_of(part: int) -> str:
    """The name of the vector that an agent exchanges and serves; part: as its record has it.

    Where agents go from one subnetwork to another, each subnetwork's is a vector of its own.
    """
    return THETA if part < 0 else f"{THETA}.{part}"
