"""The setting `submodel`: which part of the model an agent trains. Text alone, so that `--help` needs no NumPy."""

import re
from typing import NamedTuple

from agents.fields import SettingsError, Shard

WHOLE = "none"
"""Every agent trains the whole model."""

MOST = 4096
"""Parts at most: a number from another machine decides how much memory a map of them takes."""


class Submodel(NamedTuple):
    """How a model is divided among agents. kind: "width", by hidden units, or "layers". parts: how many."""

    kind: str
    parts: int

    def part(self, shard: Shard) -> int:
        """Which of the parts the agent with this shard trains."""
        return shard.index % self.parts


def parse(text: str) -> Submodel | None:
    """From "width:4"; None for "none", where everybody trains all. Raises SettingsError."""
    if text == WHOLE:
        return None
    match = re.fullmatch(r"(width|layers):(\d{1,4})", text)
    if not match or not 2 <= int(match[2]) <= MOST:
        raise SettingsError(
            f"--submodel is none, or width:K to split hidden units K ways, such as width:4, K from 2 to {MOST}: "
            f"got {text[:60]!r}"
        )
    return Submodel(match[1], int(match[2]))


def check_submodel(text: str) -> None:
    """Raises SettingsError unless the text is a submodel setting that agents can train, such as "width:4"."""
    submodel = parse(text)
    if submodel is not None and submodel.kind != "width":
        raise SettingsError(f"--submodel {text}: hidden units alone can be split, by width:{submodel.parts}")


def check_shards(text: str, shards: int) -> None:
    """Raises SettingsError where there are more parts than shards, so that nobody would train some of them."""
    submodel = parse(text)
    if submodel is not None and submodel.parts > shards:
        raise SettingsError(
            f"--submodel {text} has {submodel.parts} parts and the data {shards} shards: each part needs an agent, so "
            f"give at most as many parts as shards"
        )


def same_part(text: str, shard: str, other: str) -> bool:
    """Whether the agents of two shards, as their records have them, train the same, and so can mix."""
    if text == WHOLE:
        return True
    part = part_of(text, shard)
    return part is not None and part == part_of(text, other)


def part_of(text: str, shard: str) -> int | None:
    """Which part of the model the agent of this shard, as its record has it, trains: 0 where all train all.

    None where either text, which may come from anybody, makes no sense.
    """
    try:
        submodel = parse(text)
        return 0 if submodel is None else submodel.part(Shard.parse(shard))
    except SettingsError:
        return None
