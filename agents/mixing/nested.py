"""Nested slices: how agents of unlike capacity hold one model, the weaker the first of each layer's hidden units.

After HeteroFL (Diao et al., arXiv 2010.01264). An agent of capacity 1/K holds the first Kth of each group of hidden
units (`narrow.Cut`), so that slices nest: what the smaller one has, all larger ones have. All agents share one order of
the full model's coordinates: those that the smallest slice holds first, then those that the next one adds, and so on.
So a slice is a prefix of that order, what two agents have in common is the shorter prefix, and each level is a block
(`blocks`). An agent trains a dense narrow model, whose coordinates lie in an order of their own (docs/theory.md 31).
"""

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.blocks import Blocks, nested_blocks
from agents.mixing.layout import THETA, Layout, Scope
from agents.mixing.narrow import NarrowError, Parameters, Subnetworks

Places = np.ndarray[Any, np.dtype[np.int64]]
Vector = np.ndarray[Any, np.dtype[np.float32]]


class Nested:
    """The slices of a model. Raises NarrowError.

    full: names and shapes in the order of theta. narrow: those of the slices of capacity 1/2, 1/4, ..., one at least.
    """

    def __init__(self, full: Parameters, narrow: Sequence[Parameters]) -> None:
        self.parameters = tuple(full)
        self.size = sum(prod(shape) for _, shape in full)
        every = np.arange(self.size)
        maps = [Subnetworks(full, each, 2**k) for k, each in enumerate(narrow, 1)]
        self._held: list[Places] = [every, *(map.take(every, 0) for map in maps)]
        self.levels = np.full(self.size, len(narrow))
        for k, held in enumerate(self._held):
            self.levels[held] = len(narrow) - k
        for k, held in enumerate(self._held):
            if np.count_nonzero(self.levels <= len(narrow) - k) != held.size:
                raise NarrowError(
                    f"what narrow(1/{2**k}) holds isn't all in narrow(1/{2 ** (k - 1)}): slices must nest"
                )
        self.order: Places = np.argsort(self.levels, kind="stable")

    @cached_property
    def blocks(self) -> Blocks:
        """What each level adds, from the smallest slice on, in the common order of coordinates."""
        return nested_blocks([held.size for held in reversed(self._held)])

    def held(self, block: int) -> Places:
        """Which of the full model's coordinates the slice up to this block has, in its narrow model's own order."""
        return self._held[self.blocks.count - 1 - block]

    def places(self, block: int) -> Places:
        """For each coordinate of this slice, in the common order, its place in the narrow model's own: (n,)."""
        held, own = self.held(block), np.empty(self.size, np.int64)
        own[held] = np.arange(held.size)
        return own[self.order[: held.size]]

    def padded(self, theta: Vector, block: int) -> Vector:
        """A narrow model's vector, (n,), in the common order, with zeros where it holds nothing: (P,)."""
        return _padded(theta[self.places(block)], self.size)

    def narrowed(self, padded: Vector, block: int) -> Vector:
        """The inverse of `padded`: (P,) -> (n,)."""
        places = self.places(block)
        return _in_own_order(padded[: places.size], places)

    def whole(self, padded: Vector) -> Vector:
        """A vector in the common order as the full model's theta: (P,)."""
        made = np.empty_like(padded)
        made[self.order] = padded
        return made

    def named_in(self, block: int) -> str:
        """The parameters of which a block holds coordinates, by name."""
        spans = Layout(self.parameters).spans()
        return ", ".join(name for name, span in spans.items() if (self.levels[span] == block).any())


class Slice(NamedTuple):
    """What an agent holds of a nested model, for who exchanges it.

    capacity: the share of the hidden units. scope: in the common order of coordinates, a prefix of it. places (n,): for
    each of these its place in the agent's own vector. blocks: of the whole order. model: hash of the full model.
    """

    capacity: float
    scope: Scope
    places: Places
    blocks: Blocks
    model: str

    @property
    def layout(self) -> Layout:
        """Of the vector that this agent exchanges: one parameter, the whole order, of which it holds a scope."""
        return Layout([(THETA, (self.blocks.size,))], self.scope)

    def common(self, theta: Vector) -> Vector:
        """The agent's own vector, (n,), in the common order: (n,)."""
        return theta[self.places]

    def own(self, vector: Vector) -> Vector:
        """The inverse of `common`."""
        return _in_own_order(vector, self.places)

    def padded(self, vector: Vector) -> Vector:
        """A vector in the common order, (n,), with zeros where this agent holds nothing: (P,)."""
        return _padded(vector, self.blocks.size)


def _padded(vector: Vector, size: int) -> Vector:
    made = np.zeros(size, np.float32)
    made[: vector.size] = vector
    return made


def _in_own_order(vector: Vector, places: Places) -> Vector:
    """A vector in the common order, (n,), in the order in which these are its places."""
    made = np.empty(places.size, np.float32)
    made[places] = vector
    return made
