"""Checks of arguments: a value of the right kind as plain Python, or an error in one line that names what to pass."""

from collections.abc import Callable
from typing import Any

import numpy as np

from topology.errors import GossamerError


class SimulationError(GossamerError, ValueError):
    """The simulation asked for can't be. One line: what was expected, what came, what to do."""

    code = "G601"


def scalar(value: Any) -> Any:
    """NumPy's and JAX's scalars as Python's own; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def number(
    value: Any, expected: str, holds: Callable[[Any], bool], error: type[GossamerError] = SimulationError
) -> float:
    """The value as Python's int or float. Raises error "<expected>: got <value>" unless it is a number that holds."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not holds(plain):
        raise error(f"{expected}: got {shown(plain)}")
    return plain


def whole(value: Any, expected: str, least: int | None = None, error: type[GossamerError] = SimulationError) -> int:
    """The value as Python's int. Raises error "<expected>: got <value>" unless it is a whole number >= least."""
    plain = scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, int) or (least is not None and plain < least):
        raise error(f"{expected}: got {shown(plain)}")
    return plain


def one_of(value: Any, name: str, known: tuple[str, ...], error: type[GossamerError] = SimulationError) -> str:
    """The value. Raises error unless it is one of `known`."""
    if not isinstance(value, str) or value not in known:
        raise error(f"{name} is one of {', '.join(known)}: got {shown(value)}")
    return value


def array(value: Any, error: GossamerError) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The value as float64 numbers in C order. Raises the error if it doesn't hold numbers."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):  # Rows of several lengths, or what refuses to be an array.
        raise error from None
    if found.dtype.kind not in "biuf" and found.dtype.name != "bfloat16":
        raise error
    return np.asarray(found, np.float64, order="C")


def shown(value: Any) -> str:
    """A value in one short line: what it is, or of what kind and shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} values of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
