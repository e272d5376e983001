"""The base class of every error of ours, and this package's own: an argument that no topology can satisfy."""

from __future__ import annotations

from math import nan
from operator import index
from typing import Any, ClassVar


class GossamerError(Exception):
    """The base of all errors that a user can mend. One line: what was expected, what came, what to do.

    It stands in the lowest of our packages, which imports nothing of ours, so that all others can build on it. The
    command line prints its text and exits with 2; anything else that is raised is a bug.
    """

    code: ClassVar[str] = ""
    """The number of this kind of error, such as G101: `agent explain G101` says more. Each subclass has its own."""


class TopologyError(GossamerError, ValueError):
    """An argument that no topology satisfies. One line: what was expected, what came."""

    code = "G103"


def need(holds: bool, expected: str, **got: object) -> None:
    """Raise `TopologyError` "<expected>: got <name>=<value>, ..." unless `holds`."""
    if not holds:
        raise TopologyError(f"{expected}: got {', '.join(f'{name}={value!r}' for name, value in got.items())}")


def need_whole(family: str, name: str, value: Any, least: int = 1) -> int:
    """The value as an int, also of a NumPy integer. Raises `TopologyError` unless it is whole and at least `least`."""
    try:
        whole = index(value)
    except TypeError:
        whole = least - 1
    need(whole >= least, f"{family} needs a whole number {name} >= {least}", **{name: value})
    return whole


def as_number(value: Any) -> float:
    """The value as a float; of what is no number, text included, NaN, for which no bound holds."""
    try:
        return nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return nan


def need_alpha(alpha: float) -> None:
    """Raise `TopologyError` unless alpha, how much of itself an agent keeps in an exchange, lies in [0, 1]."""
    need(
        0 <= as_number(alpha) <= 1, "alpha is how much of itself an agent keeps in an exchange, in [0, 1]", alpha=alpha
    )
