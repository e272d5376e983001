"""Connections that others open are bounded in number, and who opens many loses its own."""

import select
import socket
import time

import pytest

from transport.accepted import Accepted
from transport.addresses import split
from transport.link import Link
from transport.messages import VERSION, Ack, Hello

TIMEOUT_S = 30.0
MOST = 10


@pytest.fixture
def flood():
    """Opens mute connections from a host of its own."""
    made = []

    def open_many(address, count, host="127.0.0.9"):
        found = [socket.create_connection(split(address), TIMEOUT_S, (host, 0)) for _ in range(count)]
        made.extend(found)
        return found

    yield open_many
    for each in made:
        each.close()


def ended(connections):
    """Those that the other side has ended, once its greeting was read."""
    found = []
    for each in connections:
        while select.select([each], [], [], 0)[0]:
            try:
                data = each.recv(4096)
            except ConnectionResetError:
                data = b""
            if not data:
                found.append(each)
                break
    return found


def until(condition):
    deadline_s = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return value


def test_who_opens_many_connections_loses_its_own_and_the_others_keep_theirs(flood):
    server, client = Link("tcp://127.0.0.1:0", accepts=MOST), Link()
    connection = client.dial(server.address)
    until(lambda: client.send(connection, Hello(VERSION, "a", 1, "run")))
    until(lambda: any(isinstance(message, Hello) for _, message in server.poll(0.01)))
    (quiet,) = flood(server.address, 1, "127.0.0.8")
    many = flood(server.address, 5 * MOST)
    gone = until(lambda: (found := ended(many)) and len(found) >= len(many) - MOST + 2 and found)
    assert len(gone) == len(many) - MOST + 2 and many[-1] not in gone, "what came first goes first"
    assert not ended([quiet]), "of another host, mute or not"
    assert client.send(connection, Ack(1))
    until(lambda: any(message == Ack(1) for _, message in server.poll(0.01)))
    late = Link()
    until(lambda: late.send(late.dial(server.address), Ack(2)))
    until(lambda: any(message == Ack(2) for _, message in server.poll(0.01)))
    for each in (late, client, server):
        each.close()


@pytest.mark.parametrize("key", ["", "KEY"])
def test_of_those_that_speak_the_one_that_is_silent_for_longest_goes(flood, key):
    """Of one host, as of one key wherever it comes from."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        made, ours, theirs = Accepted(3), [], []
        for number in range(4):
            theirs += flood(address, 1, f"127.0.0.{number + 1}" if key else "127.0.0.1")
            ours.append(listening.accept()[0])
            made.opened(ours[-1].fileno())
            made.received(ours[-1].fileno(), key)
            if number == 2:
                made.received(ours[0].fileno(), key)
        assert ended(theirs) == [theirs[1]]
        made.closed(ours[2].fileno())
        theirs += flood(address, 1)
        ours.append(listening.accept()[0])
        made.opened(ours[-1].fileno())
        assert ended(theirs) == [theirs[1]], "there was room again"
        for each in ours:
            each.close()


def test_a_descriptor_that_leads_elsewhere_by_now_is_left_alone(tmp_path):
    made = Accepted(1)
    ours, theirs = socket.socketpair()
    with (tmp_path / "file").open("w") as file:
        made.opened(file.fileno())
        made.opened(ours.fileno())
        assert not ended([theirs])
    made.opened(10**6)
    ours.close()
    theirs.close()
