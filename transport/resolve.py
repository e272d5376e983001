"""Host names are resolved here, in threads of their own: ZeroMQ is given numeric addresses alone.

ZeroMQ resolves in its one I/O thread, which all connections share: a name whose server doesn't answer would stop them
all for as long as the system's resolver takes. A name is resolved again now and then, as a host that comes back may
have another address.
"""

import ipaddress
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from transport.addresses import split, without_key

log = logging.getLogger("gossamer.link")

WORKERS = 4
"""Names that are resolved at the same time."""

MAX_PENDING = 256
"""Names that wait to be resolved: more are asked for later."""

MAX_WARNINGS = 20
"""Lines about names that can't be resolved; peers may name any."""

REFRESH_S, RETRY_S = 30.0, 2.0
"""Between two times that a name is resolved: after it was found, and after it wasn't."""


class Dealer(Protocol):
    """Of ZeroMQ's socket, what is used here."""

    ipv6: Any

    def connect(self, addr: str) -> object:
        """Connect to a numeric address."""

    def disconnect(self, addr: str) -> object:
        """Give that up."""


@dataclass
class Named:
    """A socket whose address has a name. at: where it is connected to, "" for nowhere. due_s: when it is resolved."""

    dealer: Dealer
    at: str = ""
    due_s: float = 0.0
    warned: bool = False


class Connector:
    """Connects sockets to addresses, at once or when their names are resolved; for one thread.

    wake: called from other threads when `carry_out` has something to do.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._named: dict[str, Named] = {}
        self._asked: SimpleQueue[str | None] = SimpleQueue()
        self._answers: deque[tuple[str, str, str]] = deque()
        self._pending: set[str] = set()
        self._workers = 0
        self._warnings = MAX_WARNINGS

    def connect(self, dealer: Dealer, address: str) -> None:
        """Now if the host is numeric, else once it is known. address: a valid one, with a key behind it or without."""
        plain = without_key(address)
        if is_numeric(plain):
            dealer.ipv6 = "[" in plain
            dealer.connect(plain)
        else:
            self._named[address] = Named(dealer)
            self.carry_out()

    def forget(self, address: str) -> None:
        """Its socket is about to close."""
        self._named.pop(address, None)

    def carry_out(self) -> None:
        """Connect what was resolved meanwhile, and have resolved what is due."""
        now = time.monotonic()
        while self._answers:
            address, at, why = self._answers.popleft()
            self._pending.discard(address)
            named = self._named.get(address)
            if named is not None:
                named.due_s = now + (REFRESH_S if at else RETRY_S)
                self._take(address, named, at, why)
        for address, named in self._named.items():
            if now >= named.due_s and address not in self._pending and len(self._pending) < MAX_PENDING:
                self._ask(address)

    def close(self) -> None:
        """Resolve nothing any longer."""
        self._named.clear()
        for _ in range(self._workers):
            self._asked.put(None)

    def _take(self, address: str, named: Named, at: str, why: str) -> None:
        if not at:
            if not named.warned and self._warnings > 0:
                self._warnings -= 1
                named.warned = True
                log.warning("the host of %r can't be found (%s): trying on", without_key(address), why)
        elif at != named.at:
            if named.at:
                named.dealer.disconnect(named.at)
            named.dealer.ipv6 = "[" in at
            named.dealer.connect(at)
            named.at, named.warned = at, False

    def _ask(self, address: str) -> None:
        if self._workers < min(WORKERS, len(self._named)):
            with suppress(RuntimeError):  # The system gives no more threads now.
                threading.Thread(target=self._work, name="resolve", daemon=True).start()
                self._workers += 1
        if self._workers:
            self._pending.add(address)
            self._asked.put(address)
        else:
            self._named[address].due_s = time.monotonic() + RETRY_S

    def _work(self) -> None:
        while (address := self._asked.get()) is not None:
            self._answers.append((address, *resolved(without_key(address))))
            self._wake()


def is_numeric(address: str) -> bool:
    """Whether an address needs no resolver."""
    try:
        ipaddress.ip_address(split(address)[0])
    except ValueError:
        return False
    return True


def resolved(address: str) -> tuple[str, str]:
    """The address with its host as a number, IPv4 first; or "", and why there is none. May take as long as it likes."""
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return "", str(error)
    _, number = min((family != socket.AF_INET, str(at[0])) for family, _, _, _, at in found)
    return f"tcp://[{number}]:{port}" if ":" in number else f"tcp://{number}:{port}", ""
