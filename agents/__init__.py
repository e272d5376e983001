"""One agent of a swarm: training, mixing with neighbors, the gossip protocol, and the `agent` command.

Names are handed on lazily, so `agent --help` needs no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.checkpoint import load_run
    from agents.command.launched import launch
    from agents.learning.data import AsGiven
    from agents.learning.loading import load_task
    from agents.learning.rules import Rule
    from agents.learning.task import Task
    from agents.observe.loaded import load_consensus
    from agents.peer import Peer

_HOMES = {
    "AsGiven": "agents.learning.data",
    "Rule": "agents.learning.rules",
    "Peer": "agents.peer",
    "Task": "agents.learning.task",
    "load_task": "agents.learning.loading",
    "load_run": "agents.checkpoint",
    "load_consensus": "agents.observe.loaded",
    "launch": "agents.command.launched",
}

__all__ = ["AsGiven", "Peer", "Rule", "Task", "launch", "load_consensus", "load_run", "load_task"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"agents has no {name!r}: it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
