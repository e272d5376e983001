"""The tests' own proxy: each of its faults, on plain sockets, does what it says and nothing else."""

import contextlib
import socket
import time

import pytest
from proxy import Direction, Proxy

TIMEOUT_S = 10.0


@pytest.fixture
def behind():
    """Connects through a proxy: (proxy, client, server), by default with one pair of directions for all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = stack.enter_context(Proxy(listener.getsockname()))

        def connect():
            client = stack.enter_context(socket.create_connection(proxy.address, TIMEOUT_S))
            server = stack.enter_context(listener.accept()[0])
            server.settimeout(TIMEOUT_S)
            return client, server

        yield proxy, connect


def arrived(receiver, count):
    """So many bytes, or all until the stream ends."""
    data = b""
    while len(data) < count and (more := receiver.recv(count - len(data))):
        data += more
    return data


def test_bytes_pass_both_ways_and_each_end_of_a_stream_by_itself(behind):
    proxy, connect = behind
    client, server = connect()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert arrived(server, 100) == b"question"
    server.sendall(b"answer")
    server.close()
    assert arrived(client, 100) == b"answer"
    assert (proxy.up.passed, proxy.down.passed) == (8, 6)


def test_a_delay_is_one_way_and_keeps_the_order(behind):
    proxy, connect = behind
    client, server = connect()
    proxy.up.delay_s = 0.05
    began_s = time.monotonic()
    client.sendall(b"first, ")
    client.sendall(b"second")
    assert arrived(server, 13) == b"first, second"
    assert time.monotonic() - began_s >= 0.05


def test_a_throttled_way_takes_its_time(behind):
    proxy, connect = behind
    client, server = connect()
    proxy.down.bytes_per_s = 10_000
    began_s = time.monotonic()
    server.sendall(bytes(1000))
    assert arrived(client, 1000) == bytes(1000)
    assert time.monotonic() - began_s >= 0.05


def test_a_cut_is_silent_and_what_was_sent_arrives_once_it_is_healed(behind):
    proxy, connect = behind
    client, server = connect()
    proxy.cut()
    client.sendall(b"meanwhile")
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.recv(1)
    proxy.heal()
    server.settimeout(TIMEOUT_S)
    assert arrived(server, 9) == b"meanwhile"


def test_a_reset_ends_every_connection_by_rst_and_the_next_one_passes(behind):
    proxy, connect = behind
    client, server = connect()
    client.sendall(b"x")
    assert arrived(server, 1) == b"x"
    proxy.reset()
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    client, server = connect()
    client.sendall(b"again")
    assert arrived(server, 5) == b"again"


def test_a_reset_of_one_end_reaches_the_other(behind):
    _, connect = behind
    client, server = connect()
    client.sendall(b"x")
    assert arrived(server, 1) == b"x"
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_stream_ends_after_so_many_bytes_and_the_next_connection_is_whole(behind):
    proxy, connect = behind
    client, server = connect()
    proxy.up.truncate(after=10)
    client.sendall(bytes(100))
    assert arrived(server, 100) == bytes(10)
    client, server = connect()
    client.sendall(bytes(100))
    assert arrived(server, 100) == bytes(100)


def test_one_byte_is_another_once(behind):
    proxy, connect = behind
    client, server = connect()
    client.sendall(b"as it is")
    assert arrived(server, 8) == b"as it is"
    proxy.up.corrupt(after=3)
    client.sendall(bytes(8))
    client.sendall(bytes(8))
    assert arrived(server, 16) == b"\0\0\0\xff" + bytes(12)


def test_connections_are_told_apart_by_who_comes():
    ways = {}

    def directions(client):
        return ways.setdefault(client, (Direction(), Direction()))

    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(listener.getsockname(), directions) as proxy:
        ends = []
        for _ in range(2):
            client = socket.create_connection(proxy.address, TIMEOUT_S)
            ends.append((client, listener.accept()[0]))
        ways[ends[0][0].getsockname()][0].is_cut = True
        for client, server in ends:
            client.sendall(b"x")
            server.settimeout(TIMEOUT_S)
        assert arrived(ends[1][1], 1) == b"x"
        ends[0][1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            ends[0][1].recv(1)
        for end in (*ends[0], *ends[1]):
            end.close()


def test_nobody_behind_it_is_a_reset():
    with Proxy() as proxy:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            proxy.target = listener.getsockname()
        with pytest.raises(ConnectionResetError), socket.create_connection(proxy.address, TIMEOUT_S) as client:
            client.recv(1)
