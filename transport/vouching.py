"""A trusted agent vouches for the key of one that it has invited, so that others who trust it let that one in.

And who is invited proves that the key it brings is its own.
"""

from transport.addresses import is_key
from transport.keys import Key, signed_by


def vouch(issuer: Key, newcomer: str) -> str:
    """A signed statement that this public key may join: the issuer's public key, a point, and its signature."""
    return f"{issuer.public}.{issuer.sign(_statement(newcomer))}"


def voucher(newcomer: str, said: str) -> str:
    """The public key of who vouches for the newcomer's in these words; "" if nobody does."""
    issuer, _, signature = said.partition(".")
    return issuer if is_key(issuer) and signed_by(issuer, _statement(newcomer), signature) else ""


def asks(newcomer: Key, invitation: str) -> str:
    """The newcomer's signature, by which it asks for itself to be let in with the invitation of this public key."""
    return newcomer.sign(_request(invitation))


def has_asked(newcomer: str, invitation: str, signature: str) -> bool:
    """Whether the owner of this public key asks to be let in with this invitation."""
    return signed_by(newcomer, _request(invitation), signature)


def _request(invitation: str) -> bytes:
    return b"gossamer joins with " + invitation.encode()


def _statement(newcomer: str) -> bytes:
    return b"gossamer vouches for " + newcomer.encode()
