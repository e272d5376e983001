"""Who is behind which connection, who is refused and why, and how agents behind NAT are reached."""

import time
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from memory_network import MemoryNetwork, living

from agents.manifest import Manifest
from agents.mixing.codec_names import KINDS
from agents.protocol import events as ev
from agents.protocol.contact import REFUSED_S
from agents.protocol.core import GossipCore
from agents.protocol.driver import Driver
from agents.protocol.incarnation import NOBODY, Incarnation
from agents.protocol.settings import CoreSettings
from transport.link import Link
from transport.messages import (
    VERSION,
    Ack,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Piece,
    Pull,
    Refuse,
    Report,
    Stranger,
    Unknown,
    Welcome,
)

LOCAL, REMOTE = "tcp://127.0.0.1:1", "tcp://far.example:1"
SHARED = {"alpha": 0.5, "topology": "ring", "seed": 7, "partition": "iid", "shards": 8}
MANIFEST = Manifest(SHARED, {"learning_rate": 0.1})


def member(agent, heartbeat=0, address="", state="training", **report):
    return Member(Identity(agent, 1, address), Liveness(heartbeat, state), Report(**report))


def core(name="me", join=(), run="run", address="", **changes):
    settings = CoreSettings(run, "complete", 0, 0.5, 7, 3, **{"manifest": MANIFEST, "join": join, **changes})
    return GossipCore(settings, member(name, address=address))


def fits(agent="a", incarnation=1, **changes):
    return replace(Hello(VERSION, agent, incarnation, "run", MANIFEST.hash), **changes)


def welcome(agent="a", incarnation=1, run="run", manifest=MANIFEST):
    settings, suggestions = dict(manifest.settings), dict(manifest.suggestions)
    return Welcome(VERSION, agent, incarnation, run, manifest.hash, settings, suggestions, 7)


def receives(made, connection, message, now=0.0):
    """What it sends in return, and the other effects."""
    effects = made.step(ev.Received(connection, message), now)
    return [e.message for e in effects if isinstance(e, ev.Send)], [e for e in effects if not isinstance(e, ev.Send)]


@pytest.mark.parametrize(
    ("hello", "name", "expected", "got"),
    [
        (fits(version=1), "protocol version", str(VERSION), "1"),
        (fits(run="other"), "run", "run", "other"),
        (fits(agent="me", incarnation=9), "name", "one that no other agent has", "me"),
        (fits(agent="", version=1), "protocol version", str(VERSION), "1"),
    ],
)
def test_mismatch_is_refused_naming_what_differs(hello, name, expected, got):
    made = core()
    sent, _ = receives(made, "route:01", hello)
    assert sent == [Refuse(name, expected, got)]
    assert made.handshake.peer("route:01") is None
    assert receives(made, "route:01", Ack(1))[0] == [Stranger()]


def test_another_manifest_is_refused_with_ours():
    made, theirs = core(), Manifest({**SHARED, "alpha": 0.7})
    sent, (notice,) = receives(made, "route:01", fits(manifest=theirs.hash))
    assert sent == [Refuse("manifest", MANIFEST.hash, theirs.hash, SHARED)]
    assert notice == ev.Notice("refused a (route:01): a setting that all agents share differs; it reports which")
    assert made.handshake.identify("route:01") == NOBODY


@pytest.mark.parametrize(
    "hello", [fits(), fits(run=""), fits(agent=""), fits(agent="", run="", manifest=""), fits(agent="", run="other")]
)
def test_who_fits_is_welcomed_and_an_observer_whatever_it_trains(hello):
    made = core()
    (answer,), _ = receives(made, "route:01", hello)
    assert answer == replace(welcome("me"), credit=8, codecs=" ".join(KINDS)), "with all that a joiner takes over"
    assert made.handshake.identify("route:01") == Incarnation(hello.agent, 1)


OTHERS = {"alpha": 0.7, "topology": "torus", "seed": 8, "partition": "labels:2", "shards": 3}


@pytest.mark.parametrize("name", SHARED)
def test_refused_side_names_the_field_and_both_values(name):
    """Over the network: the joiner contradicts the swarm in one setting, and reports which."""
    network = MemoryNetwork(7)
    network.add_agent("old", np.zeros(7), manifest=MANIFEST)
    mine = Manifest({**SHARED, name: OTHERS[name]})
    late = network.add_agent("late", np.zeros(7), manifest=mine, may_fail=True)
    assert network.run(5, lambda: bool(late.signals))
    (fatal,) = late.signals
    assert isinstance(fatal, ev.Fatal)
    assert f"{name} is {OTHERS[name]} here and {SHARED[name]} there; all agents of a run share this" in fatal.text
    assert "tcp://old.example:5710 can't be mixed with" in fatal.text
    assert "give the swarm's value (`agent run --join` takes it over if it is left out)" in fatal.text
    network.run(5)
    assert living(network.agents["old"]) == ["old"]


@pytest.mark.parametrize(
    ("welcomed", "text"),
    [
        (welcome("b", run="other"), "our run is run, theirs other; give the --run of the swarm, or none"),
        (
            replace(welcome("b"), version=VERSION + 1),
            f"our protocol version is {VERSION}, theirs {VERSION + 1}; install the same version",
        ),
        (welcome("b", manifest=Manifest({**SHARED, "seed": 8})), "seed is 7 here and 8 there; all agents of a run"),
        (welcome("b", manifest=Manifest({"alpha": 0.5})), "partition is iid here and not set there"),
        (welcome("me", 2), "our name is one that no other agent has, theirs me; give another --name"),
    ],
)
def test_welcome_that_does_not_fit_is_refused_naming_what_differs(welcomed, text):
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    _, effects = receives(made, REMOTE, welcomed)
    assert [type(e) for e in effects] == [ev.HangUp, ev.Fatal]
    assert text in effects[1].text
    assert made.handshake.peer(REMOTE) is None
    assert receives(made, REMOTE, welcome()) == ([], []), "a connection that was given up stays so"
    assert receives(made, REMOTE, Refuse("run", "x", "y")) == ([], [])
    assert receives(made, REMOTE, Stranger()) == ([], [])
    assert not any(isinstance(e, ev.Send) for tick in range(99) for e in made.step(ev.Tick(), tick / 20))


@pytest.mark.parametrize("name", ["protocol version", "run", "name", "manifest", "something of a later version"])
def test_every_refusal_says_what_to_do(name):
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    _, (_, fatal) = receives(made, REMOTE, Refuse(name, "theirs", "ours"))
    assert f"our {name} is ours, theirs theirs; " in fatal.text
    assert not fatal.text.endswith("; ")


def test_unknown_message_changes_nothing():
    made = core()
    assert receives(made, "route:01", Unknown("Serenade")) == ([], [])


def test_observer_receives_the_records_of_everybody():
    made = core()
    receives(made, "route:01", fits())
    receives(made, "route:01", Gossip((member("a"),)))
    receives(made, "route:02", fits(agent=""), now=1.0)
    (gossip,), _ = receives(made, "route:02", Gossip((), reply=True), now=1.0)
    assert {each.agent for each in gossip.members} == {"me", "a"}
    assert made.handshake.observed(2.0) and not made.handshake.observed(9.0)


def test_hello_is_sent_less_and_less_often_until_welcomed():
    made = core(join=(REMOTE,))
    hellos = []
    for tick in range(400):
        hellos += [tick] * sum(isinstance(e, ev.Send) for e in made.step(ev.Tick(), tick / 20))
    gaps = [b - a for a, b in pairwise(hellos)]
    assert gaps == sorted(gaps) and max(gaps) <= 41
    receives(made, REMOTE, welcome(), now=20.0)
    assert not any(
        isinstance(e, ev.Send) and isinstance(e.message, Hello)
        for tick in range(100)
        for e in made.step(ev.Tick(), 20 + tick / 20)
    )


def test_stranger_is_sent_hello_again():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    receives(made, REMOTE, welcome())
    sent, _ = receives(made, REMOTE, Stranger(), now=5.0)
    assert sent == [replace(fits("me"), address=REMOTE, credit=8, codecs=" ".join(KINDS))]
    assert made.handshake.peer(REMOTE) is None
    receives(made, REMOTE, welcome("a", 2), now=5.1)
    assert made.handshake.identify(REMOTE) == Incarnation("a", 2)


@pytest.mark.parametrize("now_there", [0, 2])
def test_a_connection_on_which_another_start_speaks_is_asked_anew_who_is_there(now_there):
    """The earlier one's welcome came late: what the other sends is none of its messages."""
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    receives(made, REMOTE, welcome())
    receives(made, REMOTE, Gossip((member("a"),)))
    other = replace(member("a"), identity=Identity("a", now_there))
    sent, _ = receives(made, REMOTE, Gossip((member("b"), other)), now=5.0)
    assert [type(message) for message in sent] == [Hello] and made.handshake.peer(REMOTE) is None
    assert made.members.contact_age_s("a", 5.0) == 5.0
    receives(made, REMOTE, welcome("a", now_there), now=5.1)
    assert made.handshake.identify(REMOTE) == Incarnation("a", now_there)


def test_dialing_oneself_hangs_up_for_good():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    _, effects = receives(made, REMOTE, welcome("me"))
    assert effects == [ev.HangUp(REMOTE)]
    assert all(not isinstance(e, ev.Dial) for tick in range(99) for e in made.step(ev.Tick(), tick / 20))


def test_refusal_ends_us_only_before_anybody_welcomed_us():
    made = core(join=(REMOTE, LOCAL))
    made.step(ev.Tick(), 0.0)
    _, effects = receives(made, REMOTE, Refuse("run", "theirs", "ours"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Fatal]
    assert "our run is ours, theirs theirs" in effects[1].text
    other = core(join=(REMOTE, LOCAL))
    other.step(ev.Tick(), 0.0)
    receives(other, LOCAL, welcome())
    _, effects = receives(other, REMOTE, Refuse("run", "theirs", "ours"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Notice]


def test_address_that_was_refused_is_dialed_again_later_and_what_is_there_then_may_fit():
    made = core(join=(REMOTE, LOCAL))
    made.step(ev.Tick(), 0.0)
    receives(made, LOCAL, welcome())
    receives(made, REMOTE, Refuse("run", "theirs", "ours"), now=1.0)
    for tick in range(1, 590):
        assert ev.Dial(REMOTE) not in made.step(ev.Tick(), 1.0 + tick / 10), "not before"
    effects = made.step(ev.Tick(), 1.0 + REFUSED_S)
    assert ev.Dial(REMOTE) in effects and REMOTE in [e.connection for e in effects if isinstance(e, ev.Send)]
    receives(made, REMOTE, welcome("b"), now=62.0)
    assert made.handshake.identify(REMOTE) == Incarnation("b", 1)


def test_neighbor_that_was_refused_is_dialed_again_later():
    """Over the network: an agent of another run makes room, at the same address, for one of ours."""
    network = MemoryNetwork(7)
    network.add_agent("a", np.zeros(7), manifest=MANIFEST)
    network.add_agent("b", np.zeros(7), manifest=MANIFEST)
    network.meet()
    network.add_agent("a", np.zeros(7), incarnation=2, run="other", manifest=MANIFEST, join=(), may_fail=True)
    address = network.agents["a"].core.members.me.address
    network.agents["b"].core.handshake._contacts.clear()
    network.run(10)
    assert network.agents["b"].core.handshake._contacts[address].refused
    network.add_agent("a", np.zeros(7), incarnation=3, manifest=MANIFEST, join=())
    assert network.run(REFUSED_S + 20, lambda: network.route("b", "a") is not None)


def test_one_without_a_run_joins_the_first_that_welcomes_it_and_no_second():
    made = core(join=(REMOTE, LOCAL), run="")
    made.step(ev.Tick(), 0.0)
    receives(made, REMOTE, welcome("a", run="x"))
    _, effects = receives(made, LOCAL, welcome("b", run="y"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Notice]
    assert made.handshake.ours.run == "x"
    assert made.handshake.peer(LOCAL) is None


def test_loopback_is_sent_over_local_connections_only():
    made = core(join=(REMOTE, LOCAL), address="tcp://127.0.0.1:5710")
    made.step(ev.Tick(), 0.0)
    receives(made, LOCAL, welcome("near"))
    receives(made, LOCAL, Gossip((member("near", 1, LOCAL), member("far", 1, REMOTE))))
    receives(made, "route:01", fits("near"))
    receives(made, "route:02", fits("nowhere"))
    receives(made, "route:03", fits(agent=""))
    receives(made, REMOTE, welcome("far"))
    local_ones = (LOCAL, "route:01")
    for connection in (*local_ones, REMOTE, "route:02", "route:03"):
        (gossip,), _ = receives(made, connection, Gossip((), reply=True))
        sent = {each.agent: each.address for each in gossip.members}
        assert sent["far"] == REMOTE
        assert (sent["near"], sent["me"]) == ((LOCAL, "tcp://127.0.0.1:5710") if connection in local_ones else ("", ""))


def test_own_address_is_learned_from_whoever_fits_and_reached_us():
    made = core()
    receives(made, "route:01", fits(run="other", address="tcp://wrong.example:1"))
    receives(made, "route:01", fits(address=LOCAL))
    assert made.members.me.address == ""
    receives(made, "route:01", fits(address="tcp://me.example:1"))
    assert made.members.me.address == "tcp://me.example:1"
    receives(made, "route:01", fits(address="tcp://other.example:1"))
    assert made.members.me.address == "tcp://me.example:1"


def test_silent_connection_yields_to_one_in_use():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    receives(made, REMOTE, welcome())
    receives(made, "route:01", fits())
    assert made.handshake.route(Incarnation("a", 1)) == REMOTE
    for second in range(1, 30):
        receives(made, "route:01", Gossip((member("a", second),)), now=float(second))
    assert made.handshake.route(Incarnation("a", 1)) == "route:01"


@pytest.mark.parametrize("initiator", ["hidden", "open"])
def test_agent_behind_nat_exchanges_over_the_connection_it_opened(initiator):
    network = MemoryNetwork(24)
    network.add_agent("open", np.zeros(24))
    network.add_agent("hidden", np.ones(24), nat=True)
    network.meet()
    network.due(initiator, 1)
    offers = len(network.agents[initiator].of(ev.SendOffer))
    assert offers == 8, "a window at once, whichever way the connection was opened"
    assert network.run(5, network.at_rest)
    for node in network.agents.values():
        np.testing.assert_allclose(node.theta, 0.5, atol=1e-6)


class Observer:
    """In place of a core: receives, and does nothing."""

    def __init__(self):
        self.members = SimpleNamespace(me=member("observer"))
        self.settings = SimpleNamespace(tick_s=1.0)
        self.received = []

    def step(self, event, now):
        """Remember the message."""
        self.received += [event.message] if isinstance(event, ev.Received) else []
        return []


def test_pull_is_relayed_to_an_agent_behind_nat():
    network = MemoryNetwork(60)
    network.add_agent("open", np.zeros(60))
    hidden = network.add_agent("hidden", np.arange(60), nat=True)
    network.meet()
    observer = Observer()
    link = network.add(observer, None).link
    connection = link.dial("tcp://open.example:5710")
    link.send(connection, fits(agent="", manifest=""))
    network.run(1)
    link.send(connection, Pull(41, 0, 8, "hidden"))
    network.run(1)
    link.send(connection, Pull(42, 8, 12, "hidden"))
    link.send(connection, Pull(43, 0, 1, "nobody"))
    network.run(1)
    pieces = {(message.request, message.chunk): message for message in observer.received if isinstance(message, Piece)}
    assert set(pieces) == {(41, k) for k in range(8)} | {(42, k) for k in range(8, 20)} | {(43, 0)}
    assert pieces[43, 0].parameters == -1
    np.testing.assert_array_equal(np.frombuffer(bytes(pieces[42, 19].payload), "<f4"), hidden.theta[57:])


class Served:
    """Vectors that serve a text a chunk, and nothing else."""

    def __init__(self, name):
        self.name = name

    def piece(self, peer, pull, chunk):
        """Whose it is, and which."""
        return Piece(pull.request, chunk, 7, f"{self.name} {chunk}".encode())


def test_pull_is_relayed_over_real_sockets():
    """An observer pulls from a hidden agent through an open one: three links, two cores, loopback."""
    links = {"open": Link("tcp://127.0.0.1:*"), "hidden": Link(), "observer": Link()}
    address = links["open"].address
    cores = {"open": core("open", address=address), "hidden": core("hidden", join=(address,))}
    connection, got, asked = links["observer"].dial(address), {}, False
    end = time.monotonic() + 20
    drivers = {
        name: Driver(made, links[name], Served(name), time.monotonic, lambda signal: None)
        for name, made in cores.items()
    }
    try:
        while len(got) < 3:
            assert time.monotonic() < end, f"only {sorted(got)} came"
            for name, driver in drivers.items():
                for event in [*(ev.Received(*came) for came in links[name].poll(0.005)), ev.Tick()]:
                    driver.handle(event)
            if not asked and cores["open"].handshake.route(Incarnation("hidden", 1)):
                asked = links["observer"].send(connection, fits(agent="")) and links["observer"].send(
                    connection, Pull(5, 0, 8, "hidden")
                )
            for _, message in links["observer"].poll(0.005):
                if isinstance(message, Piece):
                    got[message.chunk] = (message.request, bytes(message.payload))
    finally:
        for link in links.values():
            link.close()
    assert got == {k: (5, f"hidden {k}".encode()) for k in range(3)}


def test_a_connection_to_a_member_that_is_gone_is_opened_anew_until_it_answers():
    """A socket that received bytes that make no sense is silent for ever: ZeroMQ does not reconnect it."""
    network = MemoryNetwork(7)
    for name in "ab":
        network.add_agent(name, np.zeros(7))
    network.meet()
    dialing = network.agents["b"]
    network.weather.cut = frozenset({frozenset("ab")})
    assert network.run(30, lambda: living(dialing) == ["b"])
    dialing.core.done.clear()
    network.run(25)
    opened = [effect for effect in dialing.core.done if isinstance(effect, ev.HangUp | ev.Dial)]
    assert opened == [ev.HangUp("tcp://a.example:5710"), ev.Dial("tcp://a.example:5710")] * 3
    network.weather.cut = frozenset()
    assert network.run(5, lambda: living(dialing) == ["a", "b"] and network.route("b", "a"))


def test_an_address_that_has_answered_once_is_not_said_to_answer_never():
    """Its agent leaves: that is told of the member. One that never answered is told of again and again."""
    answered, silent = "tcp://a.example:1", "tcp://b.example:1"
    agent = core(join=(answered, silent))
    texts = []
    for k in range(300):
        effects = agent.step(ev.Tick(), k / 10)
        if k == 3:
            effects += agent.step(ev.Received(answered, welcome("a")), k / 10)
        if k == 100:
            effects += agent.step(ev.Received(answered, Stranger()), k / 10)
        texts += [effect.text for effect in effects if isinstance(effect, ev.Notice) and effect.event == "unanswered"]
    assert not [text for text in texts if answered in text]
    assert 4 <= len([text for text in texts if silent in text]) <= 8
