"""Signs and verifies records of members and sketches of models, bound to a run and to what all of its agents share."""

from dataclasses import replace

from transport.credentials import Credentials
from transport.keys import signed_by
from transport.messages import Member, Sketch
from transport.wire import sketch_statement, statement


def signer(credentials: Credentials | None, manifest: str) -> "Signer | None":
    """What signs for an agent with these credentials; None where it has no key of its own."""
    return Signer(credentials, manifest) if credentials is not None and not credentials.shared else None


class Signer:
    """credentials: our key, and whose are trusted. manifest: the hash of what all agents share, the model among it."""

    def __init__(self, credentials: Credentials, manifest: str) -> None:
        self._credentials, self._manifest = credentials, manifest
        self._last: tuple[Member, str, Member] | None = None

    @property
    def key(self) -> str:
        """Our public key."""
        return self._credentials.key.public

    def signed(self, member: Member, run: str) -> Member:
        """Our record with our signature; what was signed last isn't signed again."""
        if self._last is None or self._last[0] is not member or self._last[1] != run:
            signature = self._credentials.key.sign(statement(member, run, self._manifest))
            self._last = member, run, replace(member, signature=signature)
        return self._last[2]

    def is_signed(self, member: Member, run: str) -> bool:
        """Whether the owner of the record's key has signed it, for this run."""
        return signed_by(member.identity.key, statement(member, run, self._manifest), member.signature)

    def sketched(self, sketch: Sketch, run: str) -> Sketch:
        """Our sketch with our signature."""
        return replace(sketch, signature=self._credentials.key.sign(sketch_statement(sketch, run, self._manifest)))

    def is_sketched(self, sketch: Sketch, key: str, run: str) -> bool:
        """Whether the owner of this key has signed the sketch, for this run."""
        return signed_by(key, sketch_statement(sketch, run, self._manifest), sketch.signature)

    @property
    def vouch(self) -> str:
        """What who invited us says of our key."""
        return self._credentials.key.vouch

    def may_join(self, key: str) -> bool:
        """Whether the owner of this key may take part."""
        return self._credentials.may_join(key)

    def admits(self, member: Member) -> bool:
        """Whether the agent of this record may take part, if need be because one whom we trust vouches for it."""
        return self._credentials.vouched(member.identity.key, member.identity.vouch)
