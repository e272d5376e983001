"""What a running swarm shares, asked of the first of its agents that answers."""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from agents.values import SettingsError
from transport.credentials import Credentials
from transport.link import Link, LinkError
from transport.messages import VERSION, Address, AgentId, Hello, Refuse, Welcome

log = logging.getLogger("gossamer")

ASK_S, REMIND_S = 0.1, 5.0
"""Between two times that we ask, and between two notices that nobody answers."""


def ask(
    addresses: Iterable[str],
    notify: Callable[[str], None] = log.info,
    limit_s: float | None = None,
    credentials: Credentials | None = None,
    known: Iterable[str] = (),
    run: str = "",
) -> Welcome | None:
    """The welcome, with the manifest's settings, of the first agent that answers at one of these addresses.

    limit_s: None where nobody answered in that time; without a limit it is waited for as long as it takes. notify:
    called with a line now and then while nobody answers. credentials: what we prove; None in plaintext. known: other
    addresses, of which only an answer from this run counts; one that can't be dialed is left out. Raises SettingsError
    if we are refused at one of `addresses`.
    """
    began_s = time.monotonic()
    remind_s = began_s + REMIND_S / 5
    link = Link(None, credentials=credentials)
    try:
        named = [link.dial(address) for address in addresses]
        connections = list(named)
        for address in known:
            with suppress(LinkError):  # Of a key that isn't trusted any more, say.
                connections.append(link.dial(address))
        while limit_s is None or time.monotonic() - began_s < limit_s:
            for connection in connections:
                link.send(connection, Hello(VERSION, AgentId(""), 0, address=Address(connection)))
            for connection, message in link.poll(ASK_S):
                match message:
                    case Welcome(agent=agent) if agent and (connection in named or message.run == run):
                        return message
                    case Refuse(name, expected, got) if connection in named:
                        raise SettingsError(
                            f"--join: {connection} refused us: our {name} is {got}, theirs {expected};"
                            " install the same version"
                        )
            if time.monotonic() > remind_s:
                remind_s = time.monotonic() + REMIND_S
                notify(f"no answer from {' '.join(connections)} yet; still trying. Is an agent listening there?")
        return None
    finally:
        link.close()
