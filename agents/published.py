"""What a training loop gives a peer to publish: as Python's own values, and such as whoever receives them takes.

Checked where they are given, they are the caller's error there. Else they would end the network's thread, or have each
message that holds them dropped by all others.
"""

from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

from agents.checks import check_weight
from agents.finite import finite_loss
from agents.values import SettingsError
from transport.messages import Plain, Report
from transport.wire import MAX_INT, WireError, checked, checked_settings


def report_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a member's record (`transport.messages.Report`), by name. Raises SettingsError.

    A loss that isn't finite is published as `agents.finite` has it.
    """
    fields = {name: _plain(value) for name, value in given.items()}
    if "weight" in fields:
        check_weight(fields["weight"])
    if isinstance(fields.get("loss"), float):
        fields = finite_loss(fields)
    try:
        return checked(Report, fields)
    except WireError as error:
        raise SettingsError(f"a member's record: {error}") from None


def plain_settings(of: str, given: Mapping[str, Any]) -> dict[str, Plain]:
    """Settings for a manifest. of: what an error calls them. Raises SettingsError."""
    try:
        return checked_settings({name: _plain(value) for name, value in given.items()})
    except WireError as error:
        raise SettingsError(
            f"{of} are numbers, text, true or false by names, for all agents to compare: {error}"
        ) from None


def whole(name: str, given: Any, least: int = 0) -> int:
    """A whole number of any kind, 3.0 too, that a message can hold. name: for errors. Raises SettingsError."""
    value = _plain(given)
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= MAX_INT:
        raise SettingsError(f"{name} must be a whole number from {least} to 2^63 - 1: got {given!r:.40}")
    return number


def one_number(name: str, given: Any) -> float:
    """The number that this is, or the one in an array. name: for errors. Raises SettingsError."""
    try:
        return float(np.asarray(given).item() if hasattr(given, "dtype") else given)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{name} must be a number, or an array of one: got {given!r:.40}") from None


def _plain(value: Any) -> Any:
    """The number, text or flag in NumPy's, JAX's or a derived type, as Python's own; all else as it is."""
    if hasattr(value, "dtype") and np.ndim(value) == 0:
        value = np.asarray(value).item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value) if kind is not str else str.__str__(value)
    return value
