"""Independent subnetworks: how a model and K narrow ones, each with a Kth of its hidden units, make each other.

After Independent Subnetwork Training (Yuan et al., arXiv 1910.02120). All follows from names and shapes: an axis that
is equal is shared, one that is K times as long is split, and subnetwork k holds the kth block of it. A coordinate that
no subnetwork holds, as it joins units of two, is 0; what all hold is their weighted mean; and a layer that takes in
split units and gives out shared ones adds up what the subnetworks give, so each counts there by its share of all
weight. So the outputs of a network whose last layer is the only such one are the weighted mean of the subnetworks'
outputs (docs/theory.md 26). Pure, for any array namespace.

A layer is the arrays below one name. Its outputs are the axes of its bias, the last axis if it has none. A split axis
of inputs that is longer than the layer before has outputs is a flattened one, of windows or pixels: units are its last
factor, and each group of them is split. The layers' order is that of their names, with numbers as numbers.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from topology.errors import GossamerError

Array = Any  # of whichever namespace x.__array_namespace__() names
Shape = tuple[int, ...]
Parameters = Sequence[tuple[str, Shape]]

SHARED = 0
"""In place of a group's length: an axis that all subnetworks hold as it is."""


class NarrowError(GossamerError, ValueError):
    """A narrow model isn't the full one with a Kth of its hidden units. One line: the parameter, and both shapes."""

    code = "G208"


class Cut(NamedTuple):
    """How one parameter is split.

    groups: for each axis how many units lie together that are split into K blocks, or SHARED. narrower: whether a unit
    that it leads to has a Kth of its inputs. gathers: whether that unit is a shared one, which adds up over all blocks.
    """

    name: str
    full: Shape
    narrow: Shape
    groups: tuple[int, ...]
    narrower: bool
    gathers: bool

    def take(self, array: Array, k: int) -> Array:
        """What subnetwork k holds of the full parameter, in its narrow shape."""
        count, apart, index = 1, list[int](), list[Any]()
        for size, narrow, group in zip(self.full, self.narrow, self.groups, strict=True):
            if group == SHARED:
                apart, index = [*apart, size], [*index, slice(None)]
                continue
            count = size // narrow
            apart, index = [*apart, size // group, count, group // count], [*index, slice(None), k, slice(None)]
        return array.reshape(apart)[tuple(index)].reshape(self.narrow)


class Subnetworks:
    """The map between theta, (P,), and the vectors of `count` subnetworks, (p,) each. Raises NarrowError.

    full, narrow: names and shapes in the order of theta.
    """

    def __init__(self, full: Parameters, narrow: Parameters, count: int) -> None:
        self.count = count
        self.cuts = cuts(full, narrow, count)
        self.size, self.narrow_size = (sum(prod(shape) for _, shape in each) for each in (full, narrow))

    def begin(self, theta: Array, k: int) -> Array:
        """What subnetwork k begins with, (p,), where the full model would begin with theta, (P,): its part of it.

        Where a unit has but a Kth of its inputs, weights are larger by sqrt(K), as the narrow model's init draws them.
        """
        return self._parts(theta, k, sqrt(self.count))

    def take(self, theta: Array, k: int) -> Array:
        """What subnetwork k holds of the full vector: (P,) -> (p,)."""
        return self._parts(theta, k, 1)

    def _parts(self, theta: Array, k: int, scale: float) -> Array:
        """What subnetwork k holds, where units have fewer inputs times scale."""
        xp, start, parts = theta.__array_namespace__(), 0, []
        for cut in self.cuts:
            stop = start + prod(cut.full)
            part = cut.take(theta[start:stop], k).reshape(-1)
            parts.append(part * scale if cut.narrower and scale != 1 else part)
            start = stop
        return xp.concat(parts)

    def assemble(self, means: Array, weights: Array) -> Array:
        """The full vector: the mean of each subnetwork's agents, (K, p), and their weights' sums, (K,) -> (P,)."""
        xp = means.__array_namespace__()
        shares = (weights / xp.sum(weights)).astype(means.dtype)
        scaled = means * xp.where(xp.asarray(self._gathers)[None, :], shares[:, None], 1)
        mean = xp.sum(means * shares[:, None], axis=0)
        held = xp.concat([scaled.reshape(-1), mean, xp.zeros(1, means.dtype)])
        return xp.take(held, xp.asarray(self._sources))

    @cached_property
    def _gathers(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which coordinates of a subnetwork are weights of a layer that adds up over split units: (p,)."""
        return np.concatenate([np.full(prod(cut.narrow), cut.gathers) for cut in self.cuts])

    @cached_property
    def _sources(self) -> np.ndarray[Any, Any]:
        """Where each coordinate comes from: (P,) places among those of all subnetworks, their mean's, and one 0."""
        size, count = self.narrow_size, self.count
        dtype = np.int32 if (count + 1) * size + 1 < 2**31 else np.int64
        sources = np.full(self.size, (count + 1) * size, dtype)
        places = np.arange(self.size, dtype=dtype)
        for k in range(count):
            sources[self.take(places, k)] = np.arange(k * size, (k + 1) * size, dtype=dtype)
        shared = np.concatenate([np.full(prod(cut.narrow), not any(cut.groups)) for cut in self.cuts])
        sources[self.take(places, 0)[shared]] = count * size + np.flatnonzero(shared)
        return sources


def cuts(full: Parameters, narrow: Parameters, count: int) -> tuple[Cut, ...]:
    """How each parameter of the full model is split into `count`. Raises NarrowError."""
    theirs = dict(narrow)
    names = {name for name, _ in full}
    for name, shape in (*full, *narrow):
        if name not in theirs or name not in names:
            where = "full model alone" if name in names else "narrow model alone"
            raise NarrowError(f"{name} {shape} is in the {where}: narrow(share) must return the same parameters")
    for name, shape in full:
        small = theirs[name]
        fits = len(shape) == len(small) and all(n in (s, count * s) for n, s in zip(shape, small, strict=True))
        if not fits:
            raise NarrowError(
                f"{name} is {shape} in the full model and {small} in that of narrow(1/{count}): each axis must be "
                f"equal, or {count} times as long in the full one"
            )
    if dict(full) == theirs:
        raise NarrowError(f"narrow(1/{count}) returned the full model: no parameter is smaller")
    layers: dict[str, list[str]] = {}
    for name, _ in full:
        layers.setdefault(name.rpartition("/")[0], []).append(name)
    shapes, found, before = dict(full), dict[str, Cut](), list[int]()
    for layer in sorted(layers, key=_natural):
        members = [(name, shapes[name], theirs[name]) for name in layers[layer]]
        for name, shape, small in members:
            outputs = _outputs(name, members)
            groups, narrower = [], False
            for axis, (size, less) in enumerate(zip(shape, small, strict=True)):
                inputs = axis not in outputs and size != less
                group = next((units for units in before if size % units == 0), size) if inputs else size
                groups.append(SHARED if size == less else group)
                narrower |= inputs
            gathers = narrower and all(shape[axis] == small[axis] for axis in outputs)
            found[name] = Cut(name, shape, small, tuple(groups), narrower, gathers)
        split = [
            shape[axis]
            for name, shape, small in members
            for axis in _outputs(name, members)
            if shape[axis] != small[axis]
        ]
        before = [*split[-1:], *before]
    return tuple(found[name] for name, _ in full)


def _outputs(name: str, members: list[tuple[str, Shape, Shape]]) -> tuple[int, ...]:
    """Which axes of this array its layer gives out: those of its bias, by both shapes; the last one if it has none."""
    (mine,) = (both for other, *both in members if other == name)
    axes = len(mine[0])
    others = [both for other, *both in members if other != name]
    if any(_ends(larger, mine) or _begins(larger, mine) for larger in others if len(larger[0]) > axes):
        return tuple(range(axes))  # It is the bias of another.
    biases = sorted((both for both in others if 0 < len(both[0]) < axes), key=lambda both: -len(both[0]))
    for bias in biases:
        if _ends(mine, bias):
            return tuple(range(axes - len(bias[0]), axes))
    for bias in biases:
        if _begins(mine, bias):
            return tuple(range(len(bias[0])))
    return (axes - 1,) if axes else ()


def _ends(larger: list[Shape], smaller: list[Shape]) -> bool:
    """Whether the last axes of the one are those of the other, in the full model and in the narrow one."""
    return all(a[len(a) - len(b) :] == b for a, b in zip(larger, smaller, strict=True))


def _begins(larger: list[Shape], smaller: list[Shape]) -> bool:
    return all(a[: len(b)] == b for a, b in zip(larger, smaller, strict=True))


def _natural(name: str) -> list[tuple[int, str]]:
    """A name to sort by, with its numbers as numbers: Dense_2 comes before Dense_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
