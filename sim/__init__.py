"""Simulates a swarm on one accelerator: the formulas, the learner and the protocol of live agents, compiled.

Names are handed on lazily, so that a saved history is read without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.learning.data import AsGiven
    from sim.api import replay, simulate, sweep
    from sim.conditions import Conditions
    from sim.history import History
    from sim.sources.source import Block, EventSource
    from sim.sources.writing import TapeWriter
    from sim.tape import MIX, TRAIN, Tape
    from topology.forecasting import forecast

_HOMES = {
    "MIX": "sim.tape",
    "TRAIN": "sim.tape",
    "AsGiven": "agents.learning.data",
    "Block": "sim.sources.source",
    "Conditions": "sim.conditions",
    "EventSource": "sim.sources.source",
    "History": "sim.history",
    "Tape": "sim.tape",
    "TapeWriter": "sim.sources.writing",
    "forecast": "topology.forecasting",
    "replay": "sim.api",
    "simulate": "sim.api",
    "sweep": "sim.api",
}

__all__ = [
    "MIX",
    "TRAIN",
    "AsGiven",
    "Block",
    "Conditions",
    "EventSource",
    "History",
    "Tape",
    "TapeWriter",
    "forecast",
    "replay",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"sim has no {name!r}: it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
