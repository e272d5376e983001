"""The link over real sockets on loopback. Waiting is always for something to arrive, never for time to pass."""

import logging
import threading
import time

import msgpack
import pytest
import zmq

from transport.link import MAX_SENDERS, Link, LinkError
from transport.messages import VERSION, Ack, Gossip, Hello, Offer, Piece, Pull, Stranger, Unknown
from transport.wire import Limits, encode

TIMEOUT_S = 15.0
HELLO = Hello(VERSION, "a", 1, "run")


@pytest.fixture
def links():
    made = []

    def make(bind=None, **settings):
        made.append(Link(bind, **settings))
        return made[-1]

    yield make
    for link in made:
        link.close()


def until(condition, *polled):
    """Poll these links until the condition holds; what they received."""
    received, end = [], time.monotonic() + TIMEOUT_S
    while not condition(received):
        assert time.monotonic() < end, f"waited {TIMEOUT_S} s in vain; received {received}"
        for link in polled:
            received += list(link.poll(0.01))
    return received


def arrive(n):
    return lambda received: len(received) >= n


def insist(sender, connection, message):
    """Send as soon as the connection stands."""
    until(lambda _: sender.send(connection, message), sender)


@pytest.fixture
def raw():
    """A peer that sends whatever it likes."""
    context, made = zmq.Context(), []

    def connect(link, **options):
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        for name, value in options.items():
            socket.set(getattr(zmq, name), value)
        socket.connect(link.address)
        made.append(socket)
        return socket

    yield connect
    for socket in made:
        socket.close()
    context.term()


def test_answers_go_back_on_the_connection_they_came_on(links):
    server, client = links("tcp://127.0.0.1:*"), links()
    connection = client.dial(server.address)
    assert client.dial(server.address) == connection
    insist(client, connection, HELLO)
    ((route, hello),) = until(arrive(1), server)
    assert hello == HELLO and route.startswith("route:")
    assert server.send(route, Ack(7))
    assert until(arrive(1), client) == [(connection, Ack(7))]


def test_payload_travels_untouched_whether_small_or_large(links):
    server, client = links("tcp://127.0.0.1:*"), links()
    connection = client.dial(server.address)
    for size in (0, 1, 65535, 65536, 1 << 20):
        payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
        insist(client, connection, Piece(1, 0, 9, payload))
        ((_, piece),) = until(arrive(1), server)
        assert bytes(piece.payload) == payload
    assert client.send(connection, Offer(1, 0, 1, 0.5), memoryview(b"instead"))
    ((_, offer),) = until(arrive(1), server)
    assert bytes(offer.payload) == b"instead"


def test_limits_are_set_before_bind_and_connect(links, monkeypatch):
    """ZeroMQ silently ignores them afterwards."""
    seen = []

    class Spy(zmq.Socket):
        def bind(self, address):
            self.check(address)
            return super().bind(address)

        def connect(self, address):
            self.check(address)
            return super().connect(address)

        def check(self, address):
            if address.startswith("inproc"):
                return
            seen.append(self)
            assert self.get(zmq.MAXMSGSIZE) == 1 << 20
            assert self.get(zmq.SNDHWM) == self.get(zmq.RCVHWM) == 64
            assert self.get(zmq.RECONNECT_IVL_MAX) > 0
            assert self.get(zmq.HEARTBEAT_IVL) == 0, "a peer that sends fast and hangs up would end the process by them"
            assert self.get(zmq.TCP_MAXRT) == 20_000 and self.get(zmq.TCP_KEEPALIVE) == 1
            assert 0 <= self.get(zmq.LINGER) <= 1000

    monkeypatch.setattr(zmq.Context, "_socket_class", Spy)
    links("tcp://127.0.0.1:*").dial("tcp://127.0.0.1:1")
    assert len(seen) == 2


def test_port_in_use_is_reported_with_what_to_do(links):
    first = links("tcp://127.0.0.1:*")
    with pytest.raises(LinkError, match=r"can't listen on tcp://127\.0\.0\.1:\d+: address already in use.*--listen"):
        Link(first.address)


@pytest.mark.parametrize("bind", ["nonsense", "tcp://203.0.113.7:5710", "tcp://127.0.0.1:99999"])
def test_address_that_cannot_be_bound_is_a_link_error(bind):
    with pytest.raises(LinkError, match="can't listen on"):
        Link(bind)


@pytest.mark.parametrize("address", ["nonsense", "", "ipc:///tmp/x", "inproc://x", "tcp://a", "tcp://*:*"])
def test_address_that_cannot_be_called_is_a_link_error(links, address):
    with pytest.raises(LinkError, match="can't call"):
        links().dial(address)


def test_more_connections_than_sockets_is_a_link_error(links):
    link = links()
    link._context.set(zmq.MAX_SOCKETS, 3)
    with pytest.raises(LinkError, match="can't call"):
        for port in range(1, 9):
            link.dial(f"tcp://127.0.0.1:{port}")


def test_malformed_messages_are_counted_and_logged_once_a_connection(links, raw, caplog):
    server = links("tcp://127.0.0.1:*")
    bad, good = raw(server), raw(server)
    with caplog.at_level(logging.WARNING, "gossamer.link"):
        for frames in ([b"junk"], [b""], [b"a", b"b", b"c", b"d", b"e"], [msgpack.packb(["Ack", {"exchange": "x"}])]):
            bad.send_multipart(frames)
        until(lambda _: server.statistics().malformed == 4, server)
        good.send_multipart(encode(Stranger()))
        ((_, message),) = until(arrive(1), server)
    assert message == Stranger()
    assert len([record for record in caplog.records if "malformed" in record.message]) == 1


def test_senders_of_malformed_messages_are_bounded(links):
    link = links()
    for i in range(MAX_SENDERS + 10):
        link.count_malformed(f"route:{i:x}", "odd")
    assert len(link._malformed) <= MAX_SENDERS
    assert link.statistics().malformed == MAX_SENDERS + 10


def test_message_of_a_newer_peer_is_answered_unknown(links, raw):
    server = links("tcp://127.0.0.1:*")
    peer = raw(server)
    peer.send_multipart([msgpack.packb(["Serenade", {"song": 1}])])
    until(lambda _: peer.poll(0), server)
    assert peer.recv_multipart() == encode(Unknown("Serenade"))


def test_oversized_frame_is_dropped_and_the_link_goes_on(links, raw):
    server = links("tcp://127.0.0.1:*")
    bad, good = raw(server), raw(server)
    bad.send(bytes((1 << 20) + 1))
    good.send_multipart(encode(Stranger()))
    assert [message for _, message in until(arrive(1), server)] == [Stranger()]


def test_peer_that_vanished_is_no_error(links):
    server, client = links("tcp://127.0.0.1:*"), Link()
    insist(client, client.dial(server.address), HELLO)
    ((route, _),) = until(arrive(1), server)
    client.close()
    until(lambda _: not server.send(route, Ack(1)), server)
    assert server.statistics().unsent == 1
    assert not server.send("route:00ff00ff00", Ack(1))
    assert not server.send("tcp://never.dialed:1", Ack(1))
    server.hang_up("tcp://never.dialed:1")
    assert not links().send("route:00", Ack(1)), "no router, no route"


def test_peer_that_never_reads_cannot_block_or_fill_the_sender(links, raw):
    server = links("tcp://127.0.0.1:*", limits=Limits(payload_bytes=1 << 16, header_bytes=1 << 16), queue_bytes=1 << 18)
    raw(server, RCVHWM=1, RCVBUF=1 << 16).send_multipart(encode(HELLO))
    ((route, _),) = until(arrive(1), server)
    start, sent = time.monotonic(), 0
    while server.send(route, Piece(1, 0, 1, bytes(1 << 16))):
        sent += 1
        assert sent < 1000, "65 MB are under way to a peer that reads none"
    assert time.monotonic() - start < 5
    assert server.statistics().unsent == 1


def test_peers_that_never_read_what_they_pull_hold_a_bounded_memory_in_all_and_others_are_served(links, raw):
    """Four queues in all, where each of six could hold one: whoever reads gets its pieces at any time."""
    size = 1 << 17
    server = links("tcp://127.0.0.1:*", limits=Limits(payload_bytes=size, header_bytes=1 << 16), queue_bytes=16 * size)
    for _ in range(6):
        raw(server, RCVHWM=1, RCVBUF=1 << 16).send_multipart(encode(HELLO))
    routes = [route for route, _ in until(arrive(6), server)]
    payload = bytes(size)
    for _ in range(1000):
        for route in routes:
            server.send(route, Piece(1, 0, 1, payload))
    held = [len(each) for each in server._unread._held.values()]
    assert len(held) == 6 and min(held) > 4 and sum(held) < 4 * 16, "what sockets hold is not counted"
    reader = raw(server)
    reader.send_multipart(encode(HELLO))
    ((route, _),) = until(arrive(1), server)
    for _ in range(100):
        until(lambda _: server.send(route, Piece(1, 0, 1, payload)), server)
        assert reader.poll(15_000)
        assert len(reader.recv_multipart()[-1]) == size


def test_peer_that_restarts_is_reached_by_the_same_connection(links):
    first, client = Link("tcp://127.0.0.1:*"), links()
    connection = client.dial(first.address)
    insist(client, connection, Ack(1))
    until(arrive(1), first)
    address = first.address
    first.close()
    second = None
    while second is None:
        try:
            second = links(address)
        except LinkError:
            continue

    def reached(received):
        client.send(connection, Ack(2))
        return any(message == Ack(2) for _, message in received)

    until(reached, second, client)


def test_wake_from_another_thread_ends_poll(links):
    link = links()
    thread = threading.Thread(target=link.wake)
    start = time.monotonic()
    thread.start()
    assert list(link.poll(TIMEOUT_S)) == []
    thread.join()
    assert time.monotonic() - start < TIMEOUT_S / 2


def test_any_number_of_wake_ups_is_one_and_none_hurts_a_closed_link():
    link = Link()
    for _ in range(100_000):
        link.wake()
    assert list(link.poll(0)) == []
    link.close()
    link.wake()


def test_statistics_count_both_ways(links):
    server, client = links("tcp://127.0.0.1:*"), links()
    connection = client.dial(server.address)
    insist(client, connection, Pull(1, 0, 1))
    before = client.statistics()
    client.send(connection, Piece(1, 0, 1, b"12345"))
    until(arrive(2), server)
    after, there = client.statistics(), server.statistics()
    assert after.messages_sent == 2 and there.messages_received == 2
    assert after.bytes_sent == there.bytes_received
    assert after.bytes_sent - before.bytes_sent == sum(map(len, encode(Piece(1, 0, 1, b"12345"))))
    assert before.messages_sent == 1, "a snapshot"


def test_connection_closed_while_its_messages_are_read_yields_no_more(links):
    server, client = links("tcp://127.0.0.1:*"), links()
    connection = client.dial(server.address)
    insist(client, connection, HELLO)
    ((route, _),) = until(arrive(1), server)
    for _ in range(5):
        server.send(route, Gossip(()))
    got = []

    def hang_up(_):
        for name, message in client.poll(0.01):
            got.append(message)
            client.hang_up(name)
        return bool(got)

    until(hang_up)
    assert len(got) == 1
    assert not client.send(connection, HELLO)
