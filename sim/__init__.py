"""Simulates a swarm on one accelerator: the formulas, the learner and the protocol of live agents, compiled.

Names are handed on lazily, so that a saved history is read without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.api import replay, simulate, sweep
    from sim.forecasting import forecast
    from sim.history import History

_HOMES = {
    "History": "sim.history",
    "forecast": "sim.forecasting",
    "replay": "sim.api",
    "simulate": "sim.api",
    "sweep": "sim.api",
}

__all__ = ["History", "forecast", "replay", "simulate", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"sim has no {name!r}: it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
