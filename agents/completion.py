"""A joiner's settings before it starts: completed by those of the swarm, which it asks for them (DESIGN 1.10)."""

import logging
from collections.abc import Collection
from dataclasses import replace

from agents.joining import AgentSettings, incomplete, take_over
from agents.observe.welcome import ask
from transport.addresses import without_key
from transport.credentials import Credentials

log = logging.getLogger("gossamer")

OWN_ANSWER_S = 5.0
"""How long a joiner asks for the swarm's settings before it starts from its own, if it is one of those it asks."""


def completed(mine: AgentSettings, own: Collection[str], credentials: Credentials | None = None) -> AgentSettings:
    """My settings, and the swarm's where none are given and there is one; joined are others alone.

    own: our addresses. credentials: what we prove; None in plaintext.

    Where all machines are given the same list of addresses, each is one of those that it asks, and somebody is the
    first to start: from its own settings.
    """
    learning, gossiping, placing = mine
    ours = {without_key(address) for address in own}
    others = tuple(address for address in placing.join if without_key(address) not in ours)
    if not others or not incomplete(*mine):
        return learning, gossiping, replace(placing, join=others)
    welcome = ask(others, limit_s=None if others == placing.join else OWN_ANSWER_S, credentials=credentials)
    if welcome is None:
        log.info("no agent of %s answers: starting from the settings given here", " ".join(others))
    else:
        learning, gossiping, placing = take_over(mine, welcome.run, welcome.settings, welcome.suggestions)
    return learning, gossiping, replace(placing, join=others)
