"""Records signed by the agent they are about: nobody speaks for another, and each key has one name. Sans-IO.

Only what is news is verified, so what a record costs doesn't depend on how often it comes. A record that isn't signed
rightly ends the reading of the message that brought it, and counts against whoever passed it on.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from agents.protocol.dissemination import RECORD_BYTES
from agents.protocol.incarnation import Incarnation
from agents.protocol.known import bytes_of
from agents.protocol.membership import Membership, freshness
from transport.addresses import is_address, key_of
from transport.messages import AgentId, Member, Sketch


class Signing(Protocol):
    """What signs and verifies records, bound to a run and to what all of its agents share."""

    @property
    def key(self) -> str:
        """Our public key."""

    def signed(self, member: Member, run: str) -> Member:
        """Our record with our signature."""

    def is_signed(self, member: Member, run: str) -> bool:
        """Whether the owner of the record's key has signed it, for this run."""

    def sketched(self, sketch: Sketch, run: str) -> Sketch:
        """Our sketch with our signature."""

    @property
    def vouch(self) -> str:
        """The public key of who invited us, and its signature on ours."""

    def may_join(self, key: str) -> bool:
        """Whether the owner of this key may take part."""

    def admits(self, member: Member) -> bool:
        """Whether the agent of this record may take part, if need be because one whom we trust vouches for it."""


class Screening:
    """Which records are taken in. signing: None where agents have no keys. run: the name of our run."""

    def __init__(self, members: Membership, signing: Signing | None, run: Callable[[], str]) -> None:
        self._members, self._signing, self._run = members, signing, run
        self._named: dict[str, AgentId] = {}

    def may_join(self, key: str) -> bool:
        """Whether who has proved to have this key may take part, and not only look."""
        return self._signing is None or self._signing.may_join(key)

    def other_name(self, key: str, name: AgentId) -> AgentId | None:
        """The other name under which an agent of this key is there; None if there is none."""
        if self._signing is not None and key == self._signing.key:
            return self._members.me.agent if name != self._members.me.agent else None
        other = self._named.get(key, name)
        known = self._members.get(other) if other != name else None
        has_it = known is not None and known.identity.key == key and self._members.is_alive(other)
        return other if has_it else None

    def is_impostor(self, peer: Incarnation) -> bool:
        """Whether another key has this agent's name; it keeps it until its owner has left."""
        known = self._members.get(peer.agent)
        return known is not None and known.identity.key != peer.key and known.state != "left"

    def screen(self, members: Iterable[Member]) -> tuple[tuple[Member, ...], str]:
        """The records to take in, up to the first with which something is wrong; and what that is, "" for nothing."""
        taken: list[Member] = []
        for member in members:
            if (takes := bytes_of(member)) > RECORD_BYTES:
                return tuple(taken), f"the record of {member.agent!r:.40} takes {takes} bytes of at most {RECORD_BYTES}"
            if self._signing is None:
                taken.append(_plain(member))
                continue
            key = member.identity.key
            named = self._signing.may_join(key) or member.identity.vouch
            if not named or not self._is_news(member) or self.other_name(key, member.agent):
                continue
            if member.address and (not is_address(member.address) or key_of(member.address) != key):
                return tuple(taken), f"the address of {member.agent!r:.40} is none, or pins another key than its own"
            if not self._signing.is_signed(member, self._run()):
                return tuple(taken), f"the record of {member.agent!r:.40} isn't signed by its key for this run"
            if not self._signing.admits(member):  # It may let the key in, which its owner alone may ask for.
                continue
            self._named[key] = member.agent
            taken.append(member)
        return tuple(taken), ""

    def _is_news(self, member: Member) -> bool:
        """Whether it is newer than what we know; a name stays with its key until the agent has left."""
        known = self._members.get(member.agent)
        if member.agent == self._members.me.agent or self.is_impostor(Incarnation.of(member)):
            return False
        return known is None or known.identity.key != member.identity.key or freshness(member) > freshness(known)


def _plain(member: Member) -> Member:
    """Without a key that nobody has proved to have."""
    if not member.identity.key and not member.signature:
        return member
    return replace(member, identity=replace(member.identity, key="", hidden="", vouch=""), signature="")
