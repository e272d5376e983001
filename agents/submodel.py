"""The setting `submodel`: which part of the model an agent trains. Text alone, so that `--help` needs no NumPy."""

import re
from typing import NamedTuple

from agents.fields import SettingsError, Shard

WHOLE = "none"
"""Every agent trains the whole model."""

WIDTH, LAYERS = "width", "layers"

MOST = {WIDTH: 4096, LAYERS: 40}
"""Parts at most: a number from another machine decides how much memory a map of subnetworks takes, and what a vector
weighs in each of so many blocks of layers fits into a member's record."""


class Submodel(NamedTuple):
    """How a model is divided among agents. parts: how many.

    kind: "width", by hidden units, so that agents hold subnetworks of their own, or "layers", so that agents hold the
    whole and train one block of its layers.
    """

    kind: str
    parts: int

    def part(self, shard: Shard) -> int:
        """Which of the parts the agent with this shard trains."""
        return shard.index % self.parts


def parse(text: str) -> Submodel | None:
    """From "width:4" or "layers:2"; None for "none", where everybody trains all. Raises SettingsError."""
    if text == WHOLE:
        return None
    match = re.fullmatch(rf"({WIDTH}|{LAYERS}):(\d{{1,4}})", text)
    if not match or not 2 <= int(match[2]) <= MOST[match[1]]:
        raise SettingsError(
            f"--submodel is none, or width:K to split hidden units K ways, such as width:4, K from 2 to {MOST[WIDTH]}, "
            f"or layers:K for K blocks of layers, such as layers:2, K from 2 to {MOST[LAYERS]}: got {text[:60]!r}"
        )
    return Submodel(match[1], int(match[2]))


def subnetwork_count(text: str) -> int:
    """Into how many subnetworks hidden units are split; 1 where every agent holds the whole model."""
    submodel = parse(text)
    return submodel.parts if submodel is not None and submodel.kind == WIDTH else 1


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


def check_private_training(text: str, dp: object | None) -> None:
    """Raises SettingsError where an agent that trains a block of layers should train privately. dp: None if not."""
    if dp is not None and block_count(text) > 1:
        raise SettingsError(
            f"--dp takes private steps of all that an agent holds, and with --submodel {text} it trains a block of it: "
            "leave one of the two out, or use width:K"
        )


def same_part(text: str, shard: str, other: str) -> bool:
    """Whether the agents of two shards, as their records have them, hold the same parameters, and so can mix."""
    part = part_of(text, shard)
    return part is not None and part == part_of(text, other)


def part_of(text: str, shard: str) -> int | None:
    """Which subnetwork the agent of this shard, as its record has it, holds: 0 where all hold the whole model.

    None where either text, which may come from anybody, makes no sense.
    """
    try:
        count = subnetwork_count(text)
        return 0 if count == 1 else Shard.parse(shard).index % count
    except SettingsError:
        return None
