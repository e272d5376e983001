"""Invitations: a key that is exchanged once for that of a newcomer, by the agent of whoever invited it.

A token is that agent's address, which pins its key, and the seed of the invitation's own key: "tcp://HOST:PORT#KEY/SEED".
The public half of that stands in the inviter's file of trusted keys, with the time at which it expires.
"""

import logging
import time
from collections.abc import Mapping

from agents.values import SettingsError
from topology.errors import GossamerError
from transport.addresses import is_address, is_key, key_of
from transport.credentials import Credentials
from transport.keys import Key, key_of_text
from transport.link import Link
from transport.messages import ConnectionId, Enroll, Enrolled, Plain
from transport.trust import AGENT
from transport.vouching import asks, has_asked, vouch

log = logging.getLogger("gossamer")

MAX_TRUSTED = 60
"""Keys that a newcomer is sent: as many as fit into a message."""


class NotEnrolled(GossamerError, RuntimeError):
    """An invitation could not be exchanged. One line: why, what to do."""

    code = "G312"


class InvitationVoid(NotEnrolled):
    """The invitation is exchanged for no key, or for another than ours: to ask again is of no use."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} doesn't know the invitation: it was used, has expired, or was made for another file of trusted "
            "keys; ask for another"
        )


def token_of(address: str, invitation: Key) -> str:
    """What the newcomer pastes."""
    return f"{address}/{invitation.text}"


def read_token(token: str) -> tuple[str, Key]:
    """The address and the invitation's key. Raises SettingsError."""
    address, _, seed = token.strip().rpartition("/")
    if not (is_address(address) and key_of(address) and is_key(seed)):
        raise SettingsError("a token is what `agent invite` prints, tcp://HOST:PORT#KEY/SECRET in one piece")
    return address, key_of_text(seed)


def enrolled(ours: Credentials | None, connection: ConnectionId, message: Enroll) -> Enrolled:
    """The answer to who holds an invitation: its key is trusted from now on, and we vouch for it, or neither."""
    if ours is None or ours.trust is None:
        return Enrolled()
    try:
        invitation = key_of(connection)
        if not has_asked(message.key, invitation, message.proof):
            raise NotEnrolled(f"who holds it hasn't proved to own the key {message.key!r:.60}, which it brought")
        entry = ours.trust.redeem(invitation, message.key)
    except (GossamerError, OSError) as error:
        log.warning("an invitation could not be exchanged: %s", error)
        return Enrolled()
    log.info("%s has used its invitation", entry)
    others: Mapping[str, Plain] = {each.key: each.label for each in ours.trust.entries() if each.role == AGENT}
    sent = {key: label for key, label in [*others.items()][:MAX_TRUSTED] if key != entry.key}
    return Enrolled(vouch(ours.key, entry.key), sent)


def enroll(address: str, invitation: Key, key: Key, timeout_s: float) -> Enrolled:
    """The answer of the inviter's agent, which takes our key for the invitation. Raises InvitationVoid, NotEnrolled."""
    deadline_s = time.monotonic() + timeout_s
    link = Link(None, credentials=Credentials(invitation))
    try:
        connection = link.dial(address)
        sent = False
        while time.monotonic() < deadline_s:
            sent = sent or link.send(connection, Enroll(key.public, asks(key, invitation.public)))
            for _, message in link.poll(0.1):
                if isinstance(message, Enrolled) and message.vouch:
                    return message
                if isinstance(message, Enrolled):
                    raise InvitationVoid(address)
            if link.refusal(connection):
                raise InvitationVoid(address)
    finally:
        link.close()
    raise NotEnrolled(
        f"no answer from {address} within {timeout_s:g} s: expected the agent of who invited us there; ask again"
    )
