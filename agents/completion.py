"""A joiner's settings before it starts: completed by those of the swarm, which it asks for them (DESIGN 1.10)."""

import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from agents.checkpoint import FILE, CheckpointError, load_header
from agents.claim import interrupted_in
from agents.durable import generations
from agents.joining import AgentSettings, incomplete, take_over
from agents.observe.welcome import ask
from agents.settings import Placing
from transport.addresses import is_address, without_key
from transport.credentials import Credentials

log = logging.getLogger("gossamer")

OWN_ANSWER_S = 5.0
"""How long a joiner asks for the swarm's settings before it starts from its own, if it is one of those it asks."""

KNOWN_AFTER_S = 5.0
"""How long a restarted joiner asks its --join alone, before it asks the addresses in its checkpoint as well."""


class Known(NamedTuple):
    """What an earlier start of an agent knew of its swarm. run: its name. addresses: of others."""

    run: str = ""
    addresses: tuple[str, ...] = ()


def known_before(placing: Placing, task: str, words: Iterable[str]) -> Known:
    """What the checkpoint holds in the folder in which these words were interrupted. task: "" if none is given."""
    found = interrupted_in(placing.run_dir, task, placing.shard, words)
    if found is None or not found[1].run:
        return Known()
    folder, last = found
    for path in generations(folder / FILE):
        with suppress(CheckpointError):
            facts = load_header(path).facts
            addresses = facts.get("addresses", ()) if facts.get("agent") == last.agent else ()
            return Known(last.run, tuple(address for address in addresses if is_address(address)))
    return Known()


def completed(
    mine: AgentSettings, own: Collection[str], credentials: Credentials | None = None, before: Known | None = None
) -> AgentSettings:
    """My settings, and the swarm's where none are given and there is one; joined are others alone.

    own: our addresses. credentials: what we prove; None in plaintext. before: addresses from the checkpoint of an
    earlier start, asked as well where no --join answers; an answer from another run is ignored.

    Where all machines are given the same list of addresses, each is one of those that it asks, and somebody is the
    first to start: from its own settings.
    """
    learning, gossiping, placing = mine
    ours = {without_key(address) for address in own}
    others = tuple(address for address in placing.join if without_key(address) not in ours)
    if not others or not incomplete(*mine):
        return learning, gossiping, replace(placing, join=others)
    run, addresses = before or Known()
    named = ours | {without_key(address) for address in others}
    known = tuple(address for address in addresses if without_key(address) not in named)
    limit_s = None if others == placing.join else OWN_ANSWER_S
    welcome = ask(others, limit_s=KNOWN_AFTER_S if known else limit_s, credentials=credentials)
    if welcome is None and known:
        log.info("no agent of %s answers: asking those that the last checkpoint names as well", " ".join(others))
        welcome = ask(others, limit_s=limit_s, credentials=credentials, known=known, run=run)
    if welcome is None:
        log.info("no agent of %s answers: starting from the settings given here", " ".join(others))
    else:
        learning, gossiping, placing = take_over(mine, welcome.run, welcome.settings, welcome.suggestions)
    return learning, gossiping, replace(placing, join=others)
