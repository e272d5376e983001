"""Links with keys over real sockets: who is let in, who is refused, and that both sides say so in words."""

import select
import socket
import time
from dataclasses import dataclass

import pytest

from transport.credentials import Credentials
from transport.keys import new_key
from transport.link import Link, LinkError
from transport.messages import Piece, Pull
from transport.trust import Trust, Trusted, add, remove
from transport.wire import LIMITS

LIMIT_S = 5.0
ASK = Pull(1, 0, 1)


@dataclass
class Site:
    """A key, and a list of those it trusts in `path`."""

    key: object
    path: object

    @property
    def proof(self) -> Credentials:
        return Credentials(self.key, Trust(self.path))


@pytest.fixture
def sites(tmp_path):
    """Two that trust each other."""
    made = [Site(new_key(), tmp_path / name) for name in ("a.trust", "b.trust")]
    for site, other in (made, made[::-1]):
        add(site.path, Trusted(other.key.public, other.path.stem))
    return made


@pytest.fixture
def links():
    made = []

    def link(bind=None, credentials=None):
        made.append(Link(bind, credentials=credentials))
        return made[-1]

    yield link
    for each in made:
        each.close()


def spoken(server, client, connection, until, limit_s=LIMIT_S):
    """What reaches the server of what the client sends again and again, until the condition holds."""
    came, deadline_s = [], time.monotonic() + limit_s
    while not until(came):
        assert time.monotonic() < deadline_s, f"not within {limit_s:g} s"
        client.send(connection, ASK)
        list(client.poll(0.005))
        came += server.poll(0.005)
    return came


def test_a_trusted_key_is_the_name_of_its_connection_and_is_answered(links, sites):
    a, b = sites
    server, client = links("tcp://127.0.0.1:0", a.proof), links(None, b.proof)
    assert server.address.endswith("#" + a.key.public)
    connection = client.dial(server.address)
    route, message = spoken(server, client, connection, bool)[0]
    assert route.endswith("#" + b.key.public) and message == ASK
    assert server.send(route, ASK)
    assert spoken(client, server, route, bool)[0] == (connection, ASK)


def test_the_largest_payload_travels_encrypted(links):
    secret = Credentials(new_key(), shared=True)
    server, client = links("tcp://127.0.0.1:0", secret), links(None, secret)
    connection = client.dial(server.address)
    spoken(server, client, connection, bool)
    assert client.send(connection, Piece(1, 0, 1, bytes(1 << 20)))
    came = spoken(server, client, connection, lambda came: any(isinstance(message, Piece) for _, message in came))
    assert max(len(message.payload) for _, message in came if isinstance(message, Piece)) == 1 << 20


def test_a_shared_secret_lets_in_who_has_it(links):
    secret = Credentials(new_key(), shared=True)
    server, client = links("tcp://127.0.0.1:0", secret), links(None, secret)
    assert "#" not in server.address
    ((route, message), *_) = spoken(server, client, client.dial(server.address), bool)
    assert message == ASK and "#" not in route


STRANGERS = {
    "an untrusted key": (
        lambda a, b: (Credentials(new_key()), a.key.public),
        "doesn't hold its key; if it belongs here, `agent trust add KEY",
        "our key isn't trusted there; `agent trust add",
        "its key isn't trusted; if it belongs here, `agent trust add KEY` lets it in",
    ),
    "a wrong server key": (
        lambda a, b: (Credentials(b.key), new_key().public),
        "it expects another key here than ours",
        "it has another key than its address says",
        "it expects another key here than ours",
    ),
    "another secret": (
        lambda a, b: (Credentials(new_key(), shared=True), ""),
        "it expects another key here than ours",
        "it has another secret, or runs without one",
        "it expects another key here than ours",
    ),
    "plaintext": (
        lambda a, b: (None, ""),
        "refused a connection in plaintext: this agent talks with keys or a secret only",
        "it takes no plaintext; give the --secret of its swarm, or --key",
        "in plaintext: this agent talks with keys or a secret only",
    ),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_refused_and_both_sides_say_so(links, sites, caplog, stranger):
    proof, there, here, shown = STRANGERS[stranger]
    a, b = sites
    server = links("tcp://127.0.0.1:0", a.proof)
    credentials, key = proof(a, b)
    client = links(None, credentials)
    connection = client.dial(server.address.partition("#")[0] + ("#" + key if key else ""))
    came = spoken(server, client, connection, lambda _: there in caplog.text and here in caplog.text)
    assert came == []
    assert here in client.refusal(connection)
    (refused,) = server.refused.recent()
    assert refused.startswith("a connection") and shown in refused


def test_keys_at_an_agent_without_are_refused_and_both_sides_say_so(links, sites, caplog):
    a, b = sites
    server, client = links("tcp://127.0.0.1:0"), links(None, b.proof)
    connection = client.dial(f"{server.address}#{a.key.public}")
    both = ("this agent runs without keys", "given up in its handshake"), ("runs without keys; give it", "another key")
    came = spoken(server, client, connection, lambda _: all(any(t in caplog.text for t in side) for side in both))
    assert came == []


@pytest.mark.parametrize("proof", [None, Credentials(new_key(), shared=True)], ids=["plaintext", "secret"])
def test_a_peer_that_leaves_within_the_handshake_has_refused_nobody(links, caplog, proof):
    """Who refuses us does so when it is called again, and then it is said."""
    with socket.create_server(("127.0.0.1", 0)) as leaving:
        client = links(None, proof)
        connection = client.dial(f"tcp://127.0.0.1:{leaving.getsockname()[1]}")
        leaving.accept()[0].close()
        assert select.select([leaving], [], [], LIMIT_S)[0], "it isn't called again"
        for _ in range(10):
            list(client.poll(0.005))
        assert not client.refusal(connection) and "can't be connected with" not in caplog.text
        leaving.accept()[0].close()
        deadline_s = time.monotonic() + LIMIT_S
        while not client.refusal(connection):
            assert time.monotonic() < deadline_s
            list(client.poll(0.005))
    assert f"{connection} can't be connected with" in caplog.text


def test_a_key_that_is_removed_loses_its_connection_and_both_sides_say_so(links, sites, caplog):
    a, b = sites
    server, client = links("tcp://127.0.0.1:0", a.proof), links(None, b.proof)
    connection = client.dial(server.address)
    spoken(server, client, connection, bool)
    remove(a.path, "b")
    began_s, removed = time.monotonic(), []

    def told(_):
        removed.extend(server.removed_keys())
        return removed and "our key isn't trusted there" in client.refusal(connection)

    spoken(server, client, connection, told)
    assert removed == [b.key.public] and time.monotonic() - began_s < LIMIT_S
    assert f"{b.key.public} b is no longer trusted" in caplog.text
    assert not client.send(connection, ASK), "the connection is closed, and not opened again"
    add(a.path, Trusted(b.key.public, "b"))
    assert spoken(server, client, connection, bool)


def test_our_own_connections_to_a_key_that_is_removed_are_closed(links, sites):
    a, b = sites
    server, client = links("tcp://127.0.0.1:0", a.proof), links(None, b.proof)
    connection = client.dial(server.address)
    spoken(server, client, connection, bool)
    remove(b.path, "a")
    deadline_s = time.monotonic() + LIMIT_S
    while not client.removed_keys():
        assert time.monotonic() < deadline_s
        list(client.poll(0.01))
    assert not client.send(connection, ASK)
    with pytest.raises(LinkError, match=r"isn't trusted here: `agent trust add"):
        client.dial(server.address)


def test_an_address_without_a_key_is_not_called_with_one_nor_one_with_a_key_in_plaintext(links, sites):
    a, b = sites
    with pytest.raises(LinkError, match="doesn't say whose it is: expected tcp://HOST:PORT#KEY"):
        links(None, b.proof).dial("tcp://127.0.0.1:9")
    with pytest.raises(LinkError, match="pins a key, in plaintext: give --key FILE"):
        links().dial(f"tcp://127.0.0.1:9#{a.key.public}")
    with pytest.raises(LinkError, match="pins a key, where a shared secret was given"):
        links(None, Credentials(new_key(), shared=True)).dial(f"tcp://127.0.0.1:9#{a.key.public}")


def test_the_largest_payload_passes_encrypted(sites, links):
    """It is longer then; what is beyond ZeroMQ's limit ends the connection, and the exchange of any large model."""
    server, client = links("tcp://127.0.0.1:0", sites[0].proof), links(credentials=sites[1].proof)
    connection = client.dial(server.address)
    spoken(server, client, connection, lambda came: came)
    payload = bytes(LIMITS.payload_bytes)
    assert client.send(connection, Piece(1, 0, 1, payload=payload))
    came = []
    while not any(isinstance(message, Piece) for _, message in came):
        came += server.poll(0.05)
    assert bytes(came[-1][1].payload) == payload
