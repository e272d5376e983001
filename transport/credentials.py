"""What a link proves of itself, and whom it lets in: its own key and the trusted ones, or a shared secret."""

from dataclasses import dataclass

from transport.addresses import AddressError, key_of
from transport.keys import Key, KeyFileError, curve_of
from transport.trust import AGENT, Trust, Trusted
from transport.vouching import voucher


@dataclass(frozen=True)
class Credentials:
    """key: ours. trust: who may connect, and whom we call; None for an observer, whom nobody calls.

    shared: every agent has this key, derived from a secret. It keeps outsiders out, and members can't be told apart.
    """

    key: Key
    trust: Trust | None = None
    shared: bool = False

    @property
    def suffix(self) -> str:
        """What stands behind our address: "#KEY", so that who calls us knows whom to expect; "" for a shared key."""
        return "" if self.shared else f"#{self.key.public}"

    def client(self, curve: bytes) -> str | None:
        """The public key of who connects with this CURVE key, (32,) bytes; None if that is nobody we trust."""
        if curve == self.key.curve_public:
            return self.key.public
        return self.trust.of_curve(curve) if self.trust is not None else None

    def server_key(self, address: str) -> bytes:
        """The CURVE key that must be at this address, (32,) bytes. Raises AddressError."""
        key = key_of(address)
        if self.shared:
            if key:
                raise AddressError(f"{address} pins a key, where a shared secret was given: give --key FILE instead")
            return self.key.curve_public
        if not key:
            raise AddressError(
                f"{address} doesn't say whose it is: expected tcp://HOST:PORT#KEY, as `agent run` prints it there"
            )
        if not self.knows(key):
            assert self.trust is not None, "an observer knows everyone"
            raise AddressError(
                f"the key of {address} isn't trusted here: `agent trust add {key} --trust {self.trust.path}`"
            )
        try:
            return curve_of(key)
        except KeyFileError as error:
            raise AddressError(f"{address} pins what is no key: {error}") from None

    def knows(self, key: str) -> bool:
        """Whether we talk with the owner of this key at all."""
        return self.shared or self.trust is None or key == self.key.public or self.trust.role(key) != ""

    def may_join(self, key: str) -> bool:
        """Whether the owner of this key may take part, and not only look."""
        if self.shared or self.trust is None or key == self.key.public:
            return True
        return self.trust.role(key) == AGENT

    def vouched(self, key: str, vouch: str) -> bool:
        """Whether the owner of this key may take part, if need be because one whom our file trusts vouches for it."""
        if not vouch or self.trust is None or self.trust.role(key):
            return self.may_join(key)
        by = voucher(key, vouch)
        return by != "" and self.trust.vouched(key, by)

    def invites(self, key: str) -> bool:
        """Whether this is the key of an invitation, whose holder may exchange it for a key of its own."""
        return self.trust is not None and self.trust.invites(key)

    def reread(self) -> list[Trusted]:
        """The keys that may do less than before, if the file of trusted keys has changed."""
        return self.trust.reread() if self.trust is not None else []
