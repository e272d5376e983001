"""What of a model is exchanged, and who trains which part of it: the blocks of a run (DESIGN 1.5).

Parameters that a pattern of `--private` matches are in no block: they never leave their agent. `--submodel layers:K`
cuts the others into K blocks of whole layers, which follow each other; the agent of shard s trains block s mod K. In an
exchange of a chunk an agent weighs what it always does if it trains the chunk's block, and else nothing: whoever
follows takes over what the owners hold and moves them by nothing (`exchange.rate`).

With `--submodel nested` blocks are levels (`mixing/nested.py`): an agent holds those from the first up to that of its
capacity, and of the others nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import groupby, pairwise
from math import inf, prod
from typing import Any

from agents.mixing.capacities import NESTED, steps_down
from agents.mixing.layout import Layout, Scope
from topology.errors import GossamerError

OWN = -1
"""In place of a block's number: private, so in no block."""

TRAINED, TEXT, MOST_TEXTS = "trained", 1000, 32
"""In a manifest: the setting that holds a run's blocks, how long a text may be, and how many it may take."""


class ScopeError(GossamerError, ValueError):
    """Parameters can't be shared out so. One line: what was expected, what came, what there is."""

    code = "G108"


@dataclass(frozen=True)
class Blocks:
    """Disjoint scopes in a space of `size` coordinates, one for each block; coordinates of none are each agent's own.

    nested: whether they are levels, of which an agent holds the first ones. Raises ScopeError unless they fit.
    """

    size: int
    scopes: tuple[Scope, ...]
    nested: bool = False

    def __post_init__(self) -> None:
        edges = [edge for start, stop, _ in self._ranges for edge in (start, stop)]
        if not self.scopes or any(a > b for a, b in pairwise([*edges, self.size])):
            raise ScopeError(f"blocks are disjoint ranges of {self.size} coordinates: got {self}"[:300])

    @classmethod
    def whole(cls, size: int) -> "Blocks":
        """Everything is exchanged, and everybody trains it."""
        return cls(size, (Scope.full(size),))

    @classmethod
    def parse(cls, text: str, size: int) -> "Blocks":
        """From "0-512;512-640,700-720", the inverse of `str`; "" is the whole. Raises ScopeError."""
        if not text:
            return cls.whole(size)
        if not re.fullmatch(r"\d{1,15}-\d{1,15}([,;]\d{1,15}-\d{1,15})*", text):
            raise ScopeError(f'expected blocks such as "0-512;512-640", in coordinates: got {text[:60]!r}')
        ranges = [[tuple(map(int, one.split("-"))) for one in block.split(",")] for block in text.split(";")]
        try:
            return cls(size, tuple(Scope(tuple((start, stop) for start, stop in block)) for block in ranges))
        except ScopeError:
            raise
        except ValueError as error:
            raise ScopeError(str(error)[:300]) from None

    def __str__(self) -> str:
        if self.is_whole:
            return ""
        return ";".join(",".join(f"{start}-{stop}" for start, stop in scope.ranges) for scope in self.scopes)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any], size: int) -> "Blocks":
        """From a manifest's settings, which hold `settings`, in a space of this size. Raises ScopeError."""
        parts = [str(settings.get(f"{TRAINED}{k or ''}", "")) for k in range(MOST_TEXTS)]
        return replace(cls.parse("".join(parts), size), nested=settings.get("submodel") == NESTED)

    @property
    def settings(self) -> dict[str, str]:
        """What stands of them in a run's manifest, for who doesn't know the model; nothing of the whole.

        Raises ScopeError if they are too many pieces for it.
        """
        text = str(self)
        if len(text) > MOST_TEXTS * TEXT:
            raise ScopeError(f"what is exchanged lies in {len(self._ranges)} pieces: match whole layers with --private")
        return {f"{TRAINED}{k or ''}": text[k * TEXT :][:TEXT] for k in range(-(-len(text) // TEXT))}

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self.scopes)

    @property
    def is_whole(self) -> bool:
        """Whether everybody trains everything, and nothing is anybody's own."""
        return self.count == 1 and self.scopes[0] == Scope.full(self.size)

    @cached_property
    def scope(self) -> Scope:
        """All that is exchanged; no range crosses the border of two blocks, so neither does a chunk."""
        return Scope(tuple((start, stop) for start, stop, _ in self._ranges))

    @cached_property
    def of_chunks(self) -> tuple[int, ...]:
        """The block of each chunk of the scope."""
        return tuple(block for start, stop, block in self._ranges for _ in Scope(((start, stop),)).chunks())

    @cached_property
    def runs(self) -> tuple[tuple[slice, int], ...]:
        """All coordinates from first to last, cut where the block changes: (coordinates, block or OWN)."""
        found, at = list[tuple[slice, int]](), 0
        for start, stop, block in [*self._ranges, (self.size, self.size, OWN)]:
            for first, last, which in ((at, start, OWN), (start, stop, block)):
                if first < last and found and found[-1][1] == which:
                    found[-1] = slice(found[-1][0].start, last), which
                elif first < last:
                    found.append((slice(first, last), which))
            at = stop
        return tuple(found)

    @property
    def keeps(self) -> bool:
        """Whether something is each agent's own."""
        return self.scope.size < self.size

    def of_shard(self, shard: int) -> int:
        """The block that the agent of this shard trains."""
        return shard % self.count

    def of_agent(self, shard: int, capacity: float) -> int | None:
        """The block that an agent trains; of levels the last one, None for a capacity that is none of this run's."""
        if not self.nested:
            return self.of_shard(shard)
        down = steps_down(capacity)
        return None if down is None or down >= self.count else self.count - 1 - down

    def trains(self, own: int, block: int) -> bool:
        """Whether an agent trains a block. own: as `of_agent` has it."""
        return block <= own if self.nested else block == own

    def share(self, level: int) -> str:
        """The share of hidden units up to a level of a nested model, such as 1/2; 0 below the first."""
        return "0" if level < 0 else f"1/{2 ** (self.count - 1 - level)}"

    def held(self, own: int) -> Scope:
        """What an agent holds of what is exchanged. own: as `of_agent` has it."""
        if not self.nested:
            return self.scope
        return Scope(tuple(edges for scope in self.scopes[: own + 1] for edges in scope.ranges))

    def weights(self, weight: float, own: int) -> tuple[float, ...]:
        """What an agent weighs in each block. own: as `of_agent` has it."""
        return tuple(weight if self.trains(own % self.count, block) else 0.0 for block in range(self.count))

    def of_spans(self, spans: Iterable[slice]) -> tuple[int, ...]:
        """The block of each parameter, from its coordinates; OWN where it is each agent's own."""
        edges = [(run.start, run.stop, block) for run, block in self.runs]
        return tuple(
            next((block for start, stop, block in edges if start <= span.start < stop), OWN)
            if span.start < span.stop
            else OWN
            for span in spans
        )

    def shared(self, theta: Any, others: Any = 0) -> Any:
        """A copy of theta (P,) with those of another vector, or with zeros, where coordinates are each agent's own."""
        made = theta.copy()
        for run, block in self.runs:
            if block == OWN:
                made[run] = others if isinstance(others, int) else others[run]
        return made

    @cached_property
    def _ranges(self) -> list[tuple[int, int, int]]:
        return sorted((start, stop, block) for block, scope in enumerate(self.scopes) for start, stop in scope.ranges)


def nested_blocks(sizes: Sequence[int]) -> Blocks:
    """Levels of a nested model. sizes: how many coordinates each slice holds, from the smallest one to the whole."""
    return Blocks(sizes[-1], tuple(Scope((edges,)) for edges in pairwise([0, *sizes])), nested=True)


def patterns(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Patterns of names, of texts that may hold several with commas between: each once, sorted."""
    texts = [texts] if isinstance(texts, str) else texts
    return tuple(sorted({each.strip() for text in texts for each in text.split(",")} - {""}))


def blocks_of(layout: Layout, private: Sequence[str] = (), count: int = 1) -> Blocks:
    """So many blocks of a model of these parameters. private: patterns of names, as `fnmatch` has them.

    Blocks are as even in size as cuts between layers allow: of all such cuts one with the least sum of squares.
    Raises ScopeError.
    """
    names = [name for name, _ in layout.parameters]
    there = f"the parameters are {_listed(names)}"
    for pattern in private:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ScopeError(f"--private {pattern} matches no parameter: {there}")
    kept = [not any(fnmatchcase(name, pattern) for pattern in private) for name in names]
    sizes = [prod(shape) for _, shape in layout.parameters]
    if private and not any(size for size, is_kept in zip(sizes, kept, strict=True) if is_kept):
        raise ScopeError(f"--private {','.join(private)} matches all parameters, so nothing is exchanged: {there}")
    spans = [slice(at - size, at) for size, at in zip(sizes, _sums(sizes), strict=True)]
    shared = [
        (layer, span)
        for layer, span, is_kept in zip(layers(names), spans, kept, strict=True)
        if is_kept and _holds(span)
    ]
    grouped = [[span for _, span in group] for _, group in groupby(shared, key=lambda each: each[0])]
    if count > max(1, len(grouped)):
        found = [layer for layer, _ in groupby(layer for layer, _ in shared)]
        raise ScopeError(
            f"--submodel layers:{count}: {count} blocks of a model whose layers are {len(found)}, {_listed(found)}: "
            f"a layer isn't split; take at most layers:{len(found)}"
        )
    cuts = _even([sum(span.stop - span.start for span in spans) for spans in grouped], count)
    parts = [[span for spans in grouped[first:last] for span in spans] for first, last in pairwise(cuts)]
    return Blocks(layout.size, tuple(Scope(_merged(part)) for part in parts))


def named_in(blocks: Blocks, block: int, parameters: Sequence[tuple[str, tuple[int, ...]]] | None) -> str:
    """What lies in a block, or in none: its parameters by name, or its coordinates where names aren't known."""
    if parameters is None:
        return ", ".join(f"coordinates {run.start} to {run.stop - 1}" for run, which in blocks.runs if which == block)
    spans = Layout(parameters).spans()
    return _listed([name for name, which in zip(spans, blocks.of_spans(spans.values()), strict=True) if which == block])


def trained_by(
    blocks: Blocks, parameters: Sequence[tuple[str, tuple[int, ...]]] | None, shards: Mapping[str, int]
) -> dict[str, list[str]]:
    """The agents that train each block, by what is in it; nothing where all train everything. shards: of each agent."""
    if blocks.count == 1:
        return {}
    found = {block: named_in(blocks, block, parameters) for block in range(blocks.count)}
    return {
        what: [agent for agent, shard in shards.items() if blocks.of_shard(shard) == block]
        for block, what in found.items()
    }


def layers(names: Sequence[str]) -> list[str]:
    """The layer of each parameter: the first part of its name in which not all agree; a name without parts is one."""
    parts = [name.split("/") for name in names]
    depth = 0
    while all(len(each) > depth + 1 for each in parts) and len({each[depth] for each in parts}) == 1:
        depth += 1
    return ["/".join(each[: depth + 1]) for each in parts]


def _even(sizes: Sequence[int], count: int) -> list[int]:
    """Where to cut a list into so many parts that follow each other: 0, ..., len(sizes)."""
    sums = [0, *_sums(sizes)]
    best: list[tuple[float, tuple[int, ...]]] = [(float(total**2) or inf, (0, end)) for end, total in enumerate(sums)]
    for _ in range(count - 1):
        best = [
            min(((best[k][0] + (sums[end] - sums[k]) ** 2, (*best[k][1], end)) for k in range(end)), default=(inf, ()))
            for end in range(len(sizes) + 1)
        ]
    return list(best[-1][1]) if sizes else [0, 0]


def _sums(sizes: Iterable[int]) -> list[int]:
    found, total = list[int](), 0
    for size in sizes:
        total += size
        found.append(total)
    return found


def _merged(spans: Iterable[slice]) -> tuple[tuple[int, int], ...]:
    """Ranges that touch become one."""
    found = list[tuple[int, int]]()
    for span in spans:
        if found and found[-1][1] == span.start:
            found[-1] = found[-1][0], span.stop
        else:
            found.append((span.start, span.stop))
    return tuple(found)


def _holds(span: slice) -> bool:
    return bool(span.start < span.stop)


MOST_NAMES = 40


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
