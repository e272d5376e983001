"""Who may connect to a link, and why a connection failed: ZeroMQ's authentication (ZAP, RFC 27) and its monitors.

ZeroMQ lets anybody in where nobody answers its question who may connect, unless the domain is enforced; and a key that
is refused looks like silence on both sides. So the answer is ready before the socket is bound, and what goes wrong in
handshakes is read from the sockets' monitors and said in words.
"""

import itertools
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import zmq

from transport.accepted import Accepted
from transport.addresses import AddressError, key_of
from transport.credentials import Credentials
from transport.refused import Refused
from transport.trust import Trusted
from transport.warning import Warnings

log = logging.getLogger("gossamer.link")

AGAIN_S = 1.0
"""Before a peer that has refused us is called again."""

STALLED_S = 10.0
"""A connection on which nothing could be sent for so long is dialed anew."""

LOOK_S = 0.5
"""Between two looks at the file of trusted keys."""

MAX_WATCHED = 64
"""Connections of ours whose handshakes are watched at a time: a socket more for each."""

_DOMAIN = b"gossamer"
_FAILED = int(
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_ALL = int(_FAILED | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
_CRYPTOGRAPHIC = int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)

_number = itertools.count()

Socket = zmq.Socket[bytes]


class Authenticator:
    """Answers who may connect to `router`, which isn't bound yet, and says who was refused; in a thread of its own.

    A client waits in its handshake for the answer, and the link's thread may be busy compiling. It ends with the
    context. credentials: None where anybody may connect, in plaintext. wake: called when keys were removed. accepted:
    is given which connections are open, refused: which were refused.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        router: Socket | None,
        credentials: Credentials | None,
        wake: Callable[[], None],
        accepted: Accepted,
        refused: Refused,
    ) -> None:
        self._credentials, self._wake, self._accepted, self._refused = credentials, wake, accepted, refused
        self._removed: deque[Trusted] = deque()
        self._warn = Warnings()
        self._poller = zmq.Poller()
        self._requests: Socket | None = None
        self._events = monitor(context, router, _ALL) if router is not None else None
        if credentials is not None:
            self._requests = context.socket(zmq.REP)
            self._requests.bind("inproc://zeromq.zap.01")
            self._poller.register(self._requests, zmq.POLLIN)
        if self._events is not None:
            self._poller.register(self._events, zmq.POLLIN)
        if router is not None and credentials is not None:
            router.set(zmq.CURVE_SERVER, 1)
            router.set(zmq.CURVE_SECRETKEY, credentials.key.curve_secret)
            router.set(zmq.ZAP_DOMAIN, _DOMAIN)
            router.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        threading.Thread(target=self._run, name="authentication", daemon=True).start()

    def removed(self) -> list[Trusted]:
        """The keys that may do less than before, since the last call."""
        return [self._removed.popleft() for _ in range(len(self._removed))]

    def _run(self) -> None:
        try:
            while True:
                ready = {source for source, _ in self._poller.poll(round(1000 * LOOK_S))}
                if self._requests is not None and self._requests in ready:
                    self._answer(self._requests)
                if self._events is not None and self._events in ready:
                    self._read(self._events)
                self._look()
        except zmq.ContextTerminated:
            return
        finally:
            for each in (self._requests, self._events):
                if each is not None:
                    each.close(linger=0)

    def _answer(self, requests: Socket) -> None:
        """One request: version, number, domain, address, routing id, mechanism, key."""
        assert self._credentials is not None, "nobody asks where anybody may connect"
        version, number, _, address, _, mechanism, *given = requests.recv_multipart()
        curve = given[0] if mechanism == b"CURVE" and len(given) == 1 else b""
        key = self._credentials.client(curve)
        if key is None:
            self._look()  # It may have been added just now.
            key = self._credentials.client(curve)
        status, text = (b"200", b"OK") if key is not None else (b"400", b"no trusted key")
        requests.send_multipart([version, number, status, text, (key or "").encode(), b""])
        if key is None:
            host = address.decode(errors="replace")
            self._warn(f"refused {host}: {self._unknown()}")
            shared = self._credentials.trust is None
            advice = "its key isn't trusted; if it belongs here, `agent trust add KEY` lets it in"
            self._refused.note(f"a connection: {'it has another secret' if shared else advice}", host)

    def _unknown(self) -> str:
        trust = self._credentials.trust if self._credentials is not None else None
        if trust is None:
            return "it has another secret"
        return f"{trust.path} doesn't hold its key; if it belongs here, `agent trust add KEY --trust {trust.path}`"

    def _read(self, events: Socket) -> None:
        """All that has happened to connections that are opened to us; ZeroMQ waits where nobody takes it in."""
        with suppress(zmq.Again):
            while True:
                event, value = what_happened(events.recv_multipart(zmq.DONTWAIT))
                match event:
                    case zmq.Event.ACCEPTED:
                        self._accepted.opened(value)
                    case zmq.Event.DISCONNECTED:
                        self._accepted.closed(value)
                    case _:
                        self._report(event, value)

    def _report(self, event: int, value: int) -> None:
        """A handshake that a client of ours failed in; who it is, ZeroMQ doesn't say."""
        ours = self._credentials
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return  # `_answer` has said more.
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._warn("a connection to us was given up in its handshake", again_s=600.0)
            return
        what = "an encrypted connection: this agent runs without keys, give it --key or --secret"
        if value == _CRYPTOGRAPHIC:
            what = "a connection: it expects another key here than ours"
            what += ", as it has another secret" if ours is not None and ours.shared else ""
        elif ours is not None:
            what = "a connection in plaintext: this agent talks with keys or a secret only"
        self._warn(f"refused {what}")
        self._refused.note(what)

    def _look(self) -> None:
        removed = self._credentials.reread() if self._credentials is not None else []
        for each in removed:
            log.warning("%s is no longer trusted%s", each, " to take part" if each.role else "")
        if removed:
            self._removed.extend(removed)
            self._wake()


class Handshakes:
    """Why connections of ours don't come about, and when to dial them anew.

    Where a peer has refused us ZeroMQ doesn't try again, and it may refuse us at any time. So with keys a connection is
    watched as long as it is open, one of many while nothing can be sent on it; in plaintext until something can be.
    """

    def __init__(self, context: "zmq.Context[Socket]", credentials: Credentials | None, poller: zmq.Poller) -> None:
        self._context, self._credentials, self._poller = context, credentials, poller
        self._watched: dict[Socket, Socket] = {}
        self._dealers: dict[Socket, tuple[Socket, str]] = {}
        self._warn = Warnings()
        self.refusals: dict[str, str] = {}
        """Connection: why it failed last, until a message can be sent on it."""
        self._ended = set[str]()
        self._again_s: dict[str, float] = {}

    def fails(self, dealer: Socket, connection: str) -> None:
        """Nothing can be sent on it now."""
        if self._credentials is not None:
            self._again_s.setdefault(connection, time.monotonic() + STALLED_S)
        self.watch(dealer, connection)

    def watch(self, dealer: Socket, connection: str) -> None:
        """Receive the events of this socket's monitor, unless too many are watched or no file descriptors are left."""
        if dealer in self._watched or len(self._watched) >= MAX_WATCHED:
            return
        with suppress(zmq.ZMQError):
            events = self._watched[dealer] = monitor(self._context, dealer)
            self._dealers[events] = dealer, connection
            self._poller.register(events, zmq.POLLIN)

    def works(self, dealer: Socket, connection: str) -> None:
        """A message could be sent on it."""
        if self._credentials is None:
            self.leave(dealer)
        self._again_s.pop(connection, None)
        self.forget(connection)

    def forget(self, connection: str) -> None:
        """How it failed until now is of no interest any more."""
        self._ended.discard(connection)
        self.refusals.pop(connection, None)

    def leave(self, dealer: Socket) -> None:
        """Watch it no longer."""
        events = self._watched.pop(dealer, None)
        if events is not None:
            dealer.monitor(None, 0)
            self._poller.unregister(events)
            del self._dealers[events]
            events.close(linger=0)

    def due(self) -> list[str]:
        """The connections to dial anew."""
        now = time.monotonic()
        due = [connection for connection, at_s in self._again_s.items() if now >= at_s]
        for connection in due:
            del self._again_s[connection]
        return due

    def takes(self, source: Socket) -> bool:
        """Whether this is one of our monitors; what it tells is read and logged."""
        if source not in self._dealers:
            return False
        _, connection = self._dealers[source]
        event, value = what_happened(source.recv_multipart())
        if event & _FAILED:
            self._again_s[connection] = time.monotonic() + AGAIN_S
            if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and connection not in self._ended:
                self._ended.add(connection)  # Who refuses us does so again; who only leaves is called once.
                return True
            self.refusals[connection] = why = self._why(event, value)
            self._warn(f"{connection} can't be connected with: {why}")
        return True

    def _why(self, event: int, value: int) -> str:
        ours = self._credentials
        if ours is None:
            return "it takes no plaintext; give the --secret of its swarm, or --key with a key that is trusted there"
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return f"our key isn't trusted there; `agent trust add {ours.key.public}` on that side lets us in"
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value != _CRYPTOGRAPHIC:
            return "it runs without keys; give it --key or --secret too"
        if ours.shared:
            return "it ended the handshake, as it has another secret, or runs without one"
        return "it ended the handshake, as it has another key than its address says, or runs without keys"


def prove(dealer: Socket, address: str, ours: Credentials | None) -> None:
    """Tell a socket, before it connects, whom it must find and who we are. Raises AddressError if it can't be known."""
    if ours is not None:
        dealer.set(zmq.CURVE_SERVERKEY, ours.server_key(address))
        dealer.set(zmq.CURVE_PUBLICKEY, ours.key.curve_public)
        dealer.set(zmq.CURVE_SECRETKEY, ours.key.curve_secret)
    elif key_of(address):
        raise AddressError(f"{address}, which pins a key, in plaintext: give --key FILE")


def monitor(context: "zmq.Context[Socket]", watched: Socket, kinds: int = _FAILED) -> Socket:
    """A socket that receives what happens to the connections of `watched`: handshakes that fail, if nothing else.

    Raises zmq.ZMQError where the process may have no more descriptors; nothing is monitored then.
    """
    name = f"inproc://handshakes-{next(_number)}"
    events: Socket = context.socket(zmq.PAIR)
    try:
        watched.monitor(name, kinds)
        events.connect(name)
    except zmq.ZMQError:
        events.close(linger=0)
        raise
    return events


def what_happened(frames: list[bytes]) -> tuple[int, int]:
    """The event and its value in what a monitor sends, as zmq_socket_monitor(3) describes it.

    That of `zmq.utils.monitor` brings asyncio along, which takes longer to import than ZeroMQ itself.
    """
    event, value = struct.unpack("=hi", frames[0])
    return event, value
