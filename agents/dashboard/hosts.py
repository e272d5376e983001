"""Whether a request names this machine: a page of another site must not read ours through a name of its own."""

import socket
from ipaddress import ip_address


def split_host(text: str) -> str:
    """The host of HOST, HOST:PORT or [HOST]:PORT, in small letters; "" for what is none."""
    host, bracket, rest = text.strip().lower().partition("]")
    if bracket:
        return host[1:] if host.startswith("[") and (not rest or rest[1:].isdecimal()) else ""
    name, _, port = host.partition(":")
    return name if not port or port.isdecimal() else ""


def is_ours(text: str, listens: str) -> bool:
    """Whether a Host header names us. listens: the host of --listen.

    DNS rebinding needs a name that its attacker can point at us, and no address in numbers is one.
    """
    host = split_host(text)
    if host in {"localhost", listens.lower(), socket.gethostname().lower()} - {""}:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
