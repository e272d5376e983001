"""Checks of settings that several classes of them share, or that depend on more than one."""

import math

from agents.fields import SettingsError
from agents.protocol.timing import TIMINGS


def check_network(network: str, silent: float | None) -> None:
    """Raises SettingsError unless there is such a network, and records come twice at least in so many seconds."""
    if network not in TIMINGS:
        raise SettingsError(f"--network is {', '.join(TIMINGS)}: got {network!r}")
    least = 2 * TIMINGS[network].ping_s
    if silent is not None and not least < silent < math.inf:
        raise SettingsError(
            f"--silent must exceed {least:g} seconds, in which records are spread twice with --network {network}: "
            f"got {silent}"
        )


def check_log(log: str) -> None:
    """Raise SettingsError unless log lines may look so."""
    if log not in ("text", "json"):
        raise SettingsError(f"--log is text or json: got {log!r}; how much is logged is AGENT_LOG_LEVEL=debug")


def positive(name: str, value: float | None) -> None:
    """Raise SettingsError unless it is None, or positive and finite. name: the flag's."""
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"{name} must be positive and finite: got {value}")


def at_least(name: str, value: float | None, least: int) -> None:
    """Raise SettingsError unless it is None or so much. name: the flag's."""
    if value is not None and not value >= least:
        raise SettingsError(f"{name} must be at least {least}: got {value}")
