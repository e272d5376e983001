"""Addresses, "tcp://HOST:PORT": which are valid, which stay on this machine, and which of ours to publish.

One may pin a key: in "tcp://HOST:PORT#KEY" the agent there must have the public KEY, 43 characters of base64url.
"""

import base64
import hashlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache

from topology.errors import GossamerError

MAX_REMEMBERED = 8192
"""Addresses of which we remember what they are: every record that comes in names one."""


class AddressError(GossamerError, ValueError):
    """An address can't be used. One line: what was expected, what came."""

    code = "G104"


_KEY = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
"""43 characters hold 258 bits: the last two are 0, so that 32 bytes have one spelling (RFC 4648, section 3.5)."""


def split(address: str) -> tuple[str, int]:
    """(host, port). Raises AddressError."""
    match = re.fullmatch(rf"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^\s:;/#\[\]]+):([0-9]{{1,5}})(?:#{_KEY})?", address)
    if match is None or int(match[2]) > 65535:
        raise AddressError(
            f"an address is tcp://HOST:PORT, or tcp://HOST:PORT#KEY where agents have keys: got {address!r}"
        )
    return match[1].strip("[]"), int(match[2])


def key_of(connection: str) -> str:
    """The public key that stands behind an address, or in the name of a connection; "" for none."""
    return connection.partition("#")[2]


def without_key(address: str) -> str:
    """The address alone."""
    return address.partition("#")[0]


@lru_cache(maxsize=MAX_REMEMBERED)
def digest(address: str) -> str:
    """What stands for an address where it isn't told: 22 characters of base64url, "" for none."""
    if not address:
        return ""
    return base64.urlsafe_b64encode(hashlib.blake2b(address.encode(), digest_size=16).digest()).decode().rstrip("=")


def is_key(text: str) -> bool:
    """Whether this has the form of a public key: 32 bytes in base64url, in their one spelling."""
    return re.fullmatch(_KEY, text) is not None


@lru_cache(maxsize=MAX_REMEMBERED)
def is_address(text: str) -> bool:
    """Whether this is an address at all: a peer may send anything."""
    try:
        split(text)
    except AddressError:
        return False
    return True


@lru_cache(maxsize=MAX_REMEMBERED)
def is_loopback(address: str) -> bool:
    """Whether only this machine can use the address; what is none, "" for one, nobody can."""
    if not is_address(address):
        return False
    host, _ = split(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def advertised(bound: str, join: Iterable[str], given: str | None = None) -> str:
    """The address to publish for a socket bound at `bound`; "" if none is known that they could use. given: it.

    A socket on all interfaces is reached by the address from which this machine would send to its peers. One on
    loopback is of no use to peers on other machines, so it isn't published. A key behind `bound` stays there.

    Raises AddressError if one of `join` is none.
    """
    suffix = bound.removeprefix(without_key(bound))
    if given:
        return given if key_of(given) else given + suffix
    join = list(join)
    targets = [split(address)[0] for address in join]
    if not bound:
        return ""
    host, port = split(bound)
    if host not in ("0.0.0.0", "::"):
        return "" if is_loopback(bound) and not all(map(is_loopback, join)) else bound
    for target in [*targets, "192.0.2.1"]:  # RFC 5737: routed as any foreign host
        source = _source(target)
        if source and ((join and all(map(is_loopback, join))) or not ipaddress.ip_address(source).is_loopback):
            return (f"tcp://[{source}]:{port}" if ":" in source else f"tcp://{source}:{port}") + suffix
    return ""


def _source(target: str) -> str:
    """The address of ours from which packets to `target` would leave; "" if there is no route. Sends nothing."""
    try:
        family, _, _, _, endpoint = socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(endpoint)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
