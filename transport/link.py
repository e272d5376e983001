"""ZeroMQ's sockets: one ROUTER bound, one DEALER for each peer we call.

A `ConnectionId` names one connection: "tcp://host:port" for one we opened, "route:<hex>" for one that was opened to us;
with "#KEY" behind it where peers have keys, which is then the key that the other end has proved to have.
What comes in on a connection is answered on it, so an agent behind NAT needs no listening port.

All limits are set before bind or connect: bytes per frame, messages per connection, backoff, time to close. Nothing
here blocks: `send` returns False when a peer can't take a message now, and whoever cares tries again. A link
belongs to one thread; only `wake` may be called from others.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import zmq

from topology.errors import GossamerError
from transport.accepted import Accepted
from transport.addresses import AddressError, key_of, split, without_key
from transport.authentication import Authenticator, Handshakes, prove
from transport.clients import MAX_CLIENTS, Clients
from transport.credentials import Credentials
from transport.memory import LARGE, QUEUES, Unread, keep_freed_memory, nbytes, received_frame
from transport.messages import ConnectionId, Message, Piece, Unknown
from transport.refused import Refused
from transport.resolve import Connector
from transport.statistics import Statistics
from transport.waking import WakeUp
from transport.wire import LIMITS, Limits, UnknownType, WireError, decode, encode

log = logging.getLogger("gossamer.link")

SILENT_S = 20
"""After so long TCP breaks a connection on which nothing of ours arrives. ZeroMQ's own heartbeats can end the process.

They write on a connection that broke while nobody took in what came on it: "Assertion failed: !_io_error" (libzmq's
issue 4364, open in 4.3.5), so that a peer could end us by sending fast and hanging up.
"""

CURVE_BYTES = 33
"""By which an encrypted frame is longer: the command's name, a nonce, a MAC and flags (ZeroMQ RFC 26)."""

_NOW = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_UNREACHABLE = {zmq.EAGAIN, zmq.EHOSTUNREACH}

MAX_SENDERS = 4096
"""Connections whose malformed messages are counted; one that reconnects is another."""


class LinkError(GossamerError, OSError):
    """An address that we were given can't be bound or dialed: our own fault, raised before anything starts."""

    code = "G301"


class Link:
    """Sends and receives messages; raises LinkError if `bind` can't be bound.

    bind: "tcp://*:5710", port 0 for any free one, None to only call others. queue_bytes: how much may wait for one
    slow peer, each way; ZeroMQ counts messages, so it becomes a number of the largest ones. credentials: what we prove,
    and who may connect; None for plaintext with anybody. accepts: how many connections may be open to us.
    """

    def __init__(
        self,
        bind: str | None = None,
        limits: Limits = LIMITS,
        queue_bytes: int = 64 << 20,
        credentials: Credentials | None = None,
        accepts: int = MAX_CLIENTS,
    ) -> None:
        self.credentials = credentials
        self._limits = limits
        self._queue = max(4, queue_bytes // limits.payload_bytes)
        self._unread = Unread(QUEUES * self._queue)
        keep_freed_memory()
        self._context = zmq.Context(io_threads=1)
        self._poller = zmq.Poller()
        self._dealers: dict[ConnectionId, zmq.Socket[bytes]] = {}
        self._connections: dict[zmq.Socket[bytes], ConnectionId] = {}
        self._malformed: Counter[ConnectionId] = Counter()
        self._counts = dict.fromkeys(Statistics.__dataclass_fields__, 0)
        self._wake_up = WakeUp()
        self._poller.register(self._wake_up.receiver, zmq.POLLIN)
        self._connector = Connector(self.wake)
        self._handshakes = Handshakes(self._context, credentials, self._poller)
        accepted, self.refused = Accepted(accepts), Refused()
        self._clients = Clients(credentials, accepted)
        self._router: zmq.Socket[bytes] | None = self._socket(zmq.ROUTER) if bind is not None else None
        needed = self._router is not None or (credentials is not None and credentials.trust is not None)
        given = self._context, self._router, credentials, self.wake, accepted, self.refused
        self._authenticator = Authenticator(*given) if needed else None
        self.address = ""
        if bind is not None and self._router is not None:
            self._bind(self._router, bind)

    def _bind(self, router: "zmq.Socket[bytes]", bind: str) -> None:
        router.set(zmq.ROUTER_MANDATORY, 1)
        router.set(zmq.IPV6, "[" in bind)
        try:
            split(bind.removesuffix("*") + "0" if bind.endswith(":*") else bind)  # ZeroMQ takes port 99999 for 34463.
            router.bind(bind)
        except (zmq.ZMQError, AddressError) as error:
            self.close()
            why = zmq.strerror(error.errno or 0).lower() if isinstance(error, zmq.ZMQError) else str(error)
            raise LinkError(
                f"can't listen on {bind}: {why}. "
                "Give --listen tcp://HOST:PORT with a local host and a free port, or port 0 for any."
            ) from None
        suffix = self.credentials.suffix if self.credentials is not None else ""
        self.address = str(router.get_string(zmq.LAST_ENDPOINT)).rstrip("\0") + suffix
        self._poller.register(router, zmq.POLLIN)

    def _socket(self, kind: int) -> "zmq.Socket[bytes]":
        made: zmq.Socket[bytes] = self._context.socket(kind)
        most = max(self._limits.header_bytes, self._limits.payload_bytes)
        made.set(zmq.MAXMSGSIZE, most + (CURVE_BYTES if self.credentials is not None else 0))
        made.set(zmq.SNDHWM, self._queue)
        made.set(zmq.RCVHWM, self._queue)
        made.set(zmq.IMMEDIATE, 1)
        made.set(zmq.RECONNECT_IVL, 100)
        made.set(zmq.RECONNECT_IVL_MAX, 5000)
        made.set(zmq.HANDSHAKE_IVL, 10_000)
        made.set(zmq.TCP_KEEPALIVE, 1)
        made.set(zmq.TCP_KEEPALIVE_IDLE, SILENT_S // 2)
        made.set(zmq.TCP_KEEPALIVE_INTVL, 5)
        made.set(zmq.TCP_KEEPALIVE_CNT, 2)
        made.set(zmq.TCP_MAXRT, SILENT_S * 1000)
        made.set(zmq.LINGER, 500)
        return made

    def dial(self, address: str) -> ConnectionId:
        """Open a connection to `address` if there is none; ZeroMQ keeps trying in the background."""
        connection = ConnectionId(address)
        if connection not in self._dealers:
            try:
                split(address)  # ZeroMQ knows other transports, down to the sockets of other programs on this host.
                dealer = self._socket(zmq.DEALER)
            except AddressError as error:
                raise LinkError(f"can't call {address!r}: {error}") from None
            except zmq.ZMQError as error:
                raise LinkError(f"can't call {address!r}: {zmq.strerror(error.errno or 0).lower()}.") from None
            try:
                prove(dealer, address, self.credentials)
                self._handshakes.watch(dealer, connection)
                self._connector.connect(dealer, address)
            except AddressError as error:
                dealer.close()
                raise LinkError(f"can't call {error}") from None
            except zmq.ZMQError as error:
                self._handshakes.leave(dealer)
                dealer.close()
                raise LinkError(
                    f"can't call {address!r}: {zmq.strerror(error.errno or 0).lower()}. Expected tcp://HOST:PORT."
                ) from None
            self._dealers[connection] = dealer
            self._connections[dealer] = connection
            self._poller.register(dealer, zmq.POLLIN)
        return connection

    def hang_up(self, connection: ConnectionId) -> None:
        """Close a connection that we opened; unknown ones are left alone."""
        self._handshakes.forget(connection)
        self._close(connection)

    def _close(self, connection: ConnectionId) -> None:
        dealer = self._dealers.pop(connection, None)
        if dealer is not None:
            self._handshakes.leave(dealer)
            self._connector.forget(connection)
            self._poller.unregister(dealer)
            del self._connections[dealer]
            dealer.close()

    def send(self, connection: ConnectionId, message: Message, payload: Any = None) -> bool:
        """True if the message is on its way. payload: bytes-like, in place of the message's own.

        It is sent from where it lies: don't change it afterwards.
        """
        frames: list[Any] = encode(message, payload)
        size = sum(map(nbytes, frames))
        if connection.startswith("route:"):
            target, frames = self._router, [bytes.fromhex(without_key(connection)[6:]), *frames]
        else:
            target = self._dealers.get(connection)
        pulled = size >= LARGE and isinstance(message, Piece)  # For the asking, and so without end.
        if target is None or (pulled and not self._unread.has_room(connection)):
            return False
        try:
            for frame in frames[:-1]:
                target.send(frame, _MORE)
            last = frames[-1] if pulled else received_frame(frames[-1])
            sent = target.send(last, _NOW, copy=size < LARGE, track=pulled)
        except zmq.ZMQError as error:
            if error.errno not in _UNREACHABLE:
                raise
            self._counts["unsent"] += 1
            if target is not self._router:
                self._handshakes.fails(target, connection)
            return False
        self._unread.add(connection, sent)
        if target is not self._router:
            self._handshakes.works(target, connection)
        self._counts["bytes_sent"] += size
        self._counts["messages_sent"] += 1
        return True

    def poll(self, timeout_s: float) -> Iterator[tuple[ConnectionId, Message]]:
        """Wait at most timeout_s for something to come in, then yield what is there, each connection in its turn."""
        self._connector.carry_out()
        for source, _ in self._poller.poll(max(0, round(timeout_s * 1000))):
            if not isinstance(source, zmq.Socket):
                self._wake_up.drain()
            elif not self._handshakes.takes(source):
                yield from self._drain(source)
        for connection in map(ConnectionId, self._handshakes.due()):
            if connection in self._dealers:
                self._close(connection)
                with suppress(LinkError):  # Its key isn't trusted any more: whoever dials it again reads that.
                    self.dial(connection)

    def wake(self) -> None:
        """End a `poll` that is waiting; may be called from any thread, and when the link is closed."""
        self._wake_up()

    def removed_keys(self) -> list[str]:
        """Keys that were taken out of the list of trusted ones since the last call: their connections are closed."""
        removed = [each.key for each in self._authenticator.removed()] if self._authenticator else []
        for connection in [each for each in self._dealers if key_of(each) in removed]:
            self.hang_up(connection)
        self._clients.shut(removed)
        return removed

    def refusal(self, connection: ConnectionId) -> str:
        """Why a connection that we opened doesn't come about, if its handshake failed; "" otherwise."""
        return self._handshakes.refusals.get(connection, "")

    def origin(self, connection: ConnectionId) -> str:
        """Where a connection leads: the address that we called, or that of the host which called us, where known."""
        return self._clients.origin(connection)

    def statistics(self) -> Statistics:
        """A frozen snapshot."""
        return Statistics(**self._counts)

    def close(self) -> None:
        """Send what waits, for half a second at most, and close every socket."""
        for connection in list(self._dealers):
            self.hang_up(connection)
        if self._router is not None:
            self._router.close()
        self._connector.close()
        self._wake_up.close()
        self._context.term()

    def _drain(self, source: "zmq.Socket[bytes]") -> Iterator[tuple[ConnectionId, Message]]:
        for _ in range(self._queue):
            if source.closed:
                return
            try:
                frame = source.recv(_NOW, copy=False)
                frames: list[Any] = [frame.buffer]
                while frame.more:
                    frame = source.recv(_NOW, copy=False)
                    if len(frames) < 4:  # More than any message has; the rest of a longer one is read and dropped.
                        frames.append(frame.buffer)
            except zmq.ZMQError as error:
                if error.errno != zmq.EAGAIN:
                    raise
                return
            if source is self._router:
                connection, frames = self._clients.named(frames[0].hex(), frame), frames[1:]
                if connection is None:
                    continue
            else:
                connection = self._connections[source]
            self._counts["bytes_received"] += sum(map(len, frames))
            self._counts["messages_received"] += 1
            try:
                message = decode(frames, self._limits)
            except UnknownType as error:
                self.send(connection, Unknown(error.name))
            except WireError as error:
                self.count_malformed(connection, str(error))
            else:
                if source is not self._router or self._clients.takes(connection, message):
                    yield connection, message

    def count_malformed(self, connection: ConnectionId, what: str) -> None:
        """Count a message that can't be used, and log the first from each connection."""
        self._counts["malformed"] += 1
        if len(self._malformed) >= MAX_SENDERS and connection not in self._malformed:
            self._malformed.clear()
        self._malformed[connection] += 1
        if self._malformed[connection] == 1:
            log.warning("dropped a malformed message from %s: %s (no warning of further ones)", connection, what)
