"""A trusted agent vouches for the key of one that it has invited, so that others who trust it let that one in."""

from transport.addresses import is_key
from transport.keys import Key, signed_by


def vouch(issuer: Key, newcomer: str) -> str:
    """A signed statement that this public key may join: the issuer's public key, a point, and its signature."""
    return f"{issuer.public}.{issuer.sign(_statement(newcomer))}"


def voucher(newcomer: str, said: str) -> str:
    """The public key of who vouches for the newcomer's in these words; "" if nobody does."""
    issuer, _, signature = said.partition(".")
    return issuer if is_key(issuer) and signed_by(issuer, _statement(newcomer), signature) else ""


def _statement(newcomer: str) -> bytes:
    return b"gossamer vouches for " + newcomer.encode()
