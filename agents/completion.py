"""A joiner's settings before it starts: completed by those of the swarm, which it asks for them (DESIGN 1.10)."""

import logging
from collections.abc import Collection

from agents.joining import AgentSettings, incomplete, take_over
from agents.observe.welcome import ask

log = logging.getLogger("gossamer")

OWN_ANSWER_S = 5.0
"""How long a joiner asks for the swarm's settings before it starts from its own, if it is one of those it asks."""


def completed(mine: AgentSettings, own: Collection[str]) -> AgentSettings:
    """My settings, and the swarm's where none are given and there is one. own: our addresses.

    Where all machines are given the same list of addresses, each is one of those that it asks, and somebody is the
    first to start: from its own settings.
    """
    _, _, placing = mine
    if not placing.join or not incomplete(*mine):
        return mine
    welcome = ask(placing.join, limit_s=OWN_ANSWER_S if set(placing.join) & set(own) else None)
    if welcome is None:
        log.info("no agent of %s answers: starting from the settings given here", " ".join(placing.join))
        return mine
    return take_over(mine, welcome.run, welcome.settings, welcome.suggestions)
