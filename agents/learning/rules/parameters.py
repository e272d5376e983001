"""The rule "parameters": gossip averages the parameters alone; the optimizer's state stays with its agent.

Decentralized SGD (Lian et al. 2017, arXiv 1705.09056). Momentum, if there is any, is each agent's own.
"""

from __future__ import annotations

from typing import Any

from agents.learning.rules.rule import Rule


def init(params: Any) -> tuple[()]:
    """Nothing is remembered."""
    return ()


def update(state: tuple[()], before: Any, after: Any) -> tuple[tuple[()], Any]:
    """Training goes on from where the exchanges left the parameters."""
    return state, after


parameters = Rule("parameters", ("theta",), init, update)
