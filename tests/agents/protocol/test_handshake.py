"""Who stands behind which door, and how agents behind NAT are reached."""

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev
from agents.protocol.gossip import GossipCore, Settings
from transport.link import Link
from transport.messages import Ack, Gossip, Hello, Member, Piece, Pull, Refuse, Stranger, Welcome

LOCAL, REMOTE = "tcp://127.0.0.1:1", "tcp://far.example:1"


def core(name="me", join=(), run="run", **changes):
    return GossipCore(Settings(run, "complete", 0, 0.5, 7, "model", 3, join=join), Member(name, 1, **changes))


def fits(agent="a", incarnation=1, **changes):
    return replace(Hello(1, "run", agent, incarnation, 7, "model"), **changes)


def says(made, door, message, now=0.0):
    """What it sends in return, and the other effects."""
    effects = made.step(ev.Received(door, message), now)
    return [e.message for e in effects if isinstance(e, ev.Send)], [e for e in effects if not isinstance(e, ev.Send)]


@pytest.mark.parametrize(
    ("hello", "name", "expected", "got"),
    [
        (fits(version=2), "protocol version", "1", "2"),
        (fits(run="other"), "run", "run", "other"),
        (fits(parameters=8), "number of parameters", "7", "8"),
        (fits(model="m"), "model (names, shapes and dtypes)", "model", "m"),
        (fits(agent="me", incarnation=9), "name", "one that no other agent has", "me"),
        (fits(agent="", version=2), "protocol version", "1", "2"),
    ],
)
def test_mismatch_is_refused_naming_the_field(hello, name, expected, got):
    made = core()
    sent, _ = says(made, "route:01", hello)
    assert sent == [Refuse(name, expected, got)]
    assert made.greeting.contact("route:01") is None
    assert says(made, "route:01", Ack(1))[0] == [Stranger()]


@pytest.mark.parametrize(
    "hello", [fits(), fits(run=""), fits(agent=""), fits(agent="", parameters=0, model="", run="")]
)
def test_who_fits_is_welcomed_and_an_observer_whatever_it_trains(hello):
    made = core()
    (welcome,), _ = says(made, "route:01", hello)
    assert isinstance(welcome, Welcome) and welcome.run == "run"
    assert made.greeting.contact("route:01").agent == hello.agent


def test_observer_hears_of_everybody():
    made = core()
    says(made, "route:01", fits())
    says(made, "route:01", Gossip((Member("a", 1),)))
    says(made, "route:02", fits(agent=""), now=1.0)
    (rumor,), _ = says(made, "route:02", Gossip((), reply=True), now=1.0)
    assert {member.agent for member in rumor.members} == {"me", "a"}
    assert made.greeting.observed(2.0) and not made.greeting.observed(9.0)


def test_hello_is_said_less_and_less_often_until_welcomed():
    made = core(join=(REMOTE,))
    hellos = []
    for tick in range(400):
        hellos += [tick] * sum(isinstance(e, ev.Send) for e in made.step(ev.Tick(), tick / 20))
    gaps = [b - a for a, b in pairwise(hellos)]
    assert gaps == sorted(gaps) and max(gaps) <= 41
    says(made, REMOTE, Welcome(1, "run", "a", 1, 7, "model"), now=20.0)
    assert not any(
        isinstance(e, ev.Send) and isinstance(e.message, Hello)
        for tick in range(100)
        for e in made.step(ev.Tick(), 20 + tick / 20)
    )


def test_stranger_is_greeted_again():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    says(made, REMOTE, Welcome(1, "run", "a", 1, 7, "model"))
    sent, _ = says(made, REMOTE, Stranger(), now=5.0)
    assert sent == [replace(fits("me"), door=REMOTE, credit=8)]
    assert made.greeting.contact(REMOTE) is None
    says(made, REMOTE, Welcome(1, "run", "a", 2, 7, "model"), now=5.1)
    assert made.greeting.contact(REMOTE).incarnation == 2


def test_dialing_oneself_hangs_up_for_good():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    _, effects = says(made, REMOTE, Welcome(1, "run", "me", 1, 7, "model"))
    assert effects == [ev.HangUp(REMOTE)]
    assert all(not isinstance(e, ev.Dial) for tick in range(99) for e in made.step(ev.Tick(), tick / 20))


def test_refusal_ends_us_only_before_anybody_welcomed_us():
    made = core(join=(REMOTE, LOCAL))
    made.step(ev.Tick(), 0.0)
    _, effects = says(made, REMOTE, Refuse("run", "theirs", "ours"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Fatal]
    assert "our run is ours, theirs theirs" in effects[1].text
    other = core(join=(REMOTE, LOCAL))
    other.step(ev.Tick(), 0.0)
    says(other, LOCAL, Welcome(1, "run", "a", 1, 7, "model"))
    _, effects = says(other, REMOTE, Refuse("run", "theirs", "ours"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Notice]


def test_one_without_a_run_joins_the_first_that_welcomes_it_and_no_second():
    made = core(join=(REMOTE, LOCAL), run="")
    made.step(ev.Tick(), 0.0)
    says(made, REMOTE, Welcome(1, "x", "a", 1, 7, "model"))
    _, effects = says(made, LOCAL, Welcome(1, "y", "b", 1, 7, "model"))
    assert [type(e) for e in effects] == [ev.HangUp, ev.Notice]
    assert made.greeting.ours.run == "x"
    assert made.greeting.contact(LOCAL) is None


def test_loopback_is_told_to_local_doors_only():
    made = core(join=(REMOTE, LOCAL), address="tcp://127.0.0.1:5710")
    made.step(ev.Tick(), 0.0)
    says(made, LOCAL, Welcome(1, "run", "near", 1, 7, "model"))
    says(made, LOCAL, Gossip((Member("near", 1, 1, LOCAL), Member("far", 1, 1, REMOTE))))
    says(made, "route:01", fits("near"))
    says(made, "route:02", fits("nowhere"))
    says(made, "route:03", fits(agent=""))
    says(made, REMOTE, Welcome(1, "run", "far", 1, 7, "model"))
    for door, local in [(LOCAL, True), ("route:01", True), (REMOTE, False), ("route:02", False), ("route:03", False)]:
        (rumor,), _ = says(made, door, Gossip((), reply=True))
        told = {member.agent: member.address for member in rumor.members}
        assert told["far"] == REMOTE
        assert (told["near"], told["me"]) == ((LOCAL, "tcp://127.0.0.1:5710") if local else ("", ""))


def test_own_address_is_learned_from_whoever_fits_and_reached_us():
    made = core()
    says(made, "route:01", fits(run="other", door="tcp://wrong.example:1"))
    says(made, "route:01", fits(door=LOCAL))
    assert made.members.me.address == ""
    says(made, "route:01", fits(door="tcp://me.example:1"))
    assert made.members.me.address == "tcp://me.example:1"
    says(made, "route:01", fits(door="tcp://other.example:1"))
    assert made.members.me.address == "tcp://me.example:1"


def test_door_that_went_dead_gives_way_to_one_that_speaks():
    made = core(join=(REMOTE,))
    made.step(ev.Tick(), 0.0)
    says(made, REMOTE, Welcome(1, "run", "a", 1, 7, "model"))
    says(made, "route:01", fits())
    assert made.greeting.ready("a", 1) == REMOTE
    for second in range(1, 30):
        says(made, "route:01", Gossip((Member("a", 1, second),)), now=float(second))
    assert made.greeting.ready("a", 1) == "route:01"


@pytest.mark.parametrize("initiator", ["hidden", "open"])
def test_agent_behind_nat_exchanges_over_the_connection_it_opened(initiator):
    network = MemoryNetwork(24)
    network.add("open", np.zeros(24))
    network.add("hidden", np.ones(24), nat=True)
    network.meet()
    network.due(initiator, 1)
    offers = len(network.nodes[initiator].of(ev.Propose))
    assert offers == 8, "a window at once, whichever way the connection was opened"
    assert network.run(5, network.at_rest)
    for node in network.nodes.values():
        np.testing.assert_allclose(node.theta, 0.5, atol=1e-6)


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_late_joiner_adopts_a_whole_vector_in_any_weather(lost):
    network = MemoryNetwork(60)
    theta = np.random.default_rng(0).normal(size=60).astype(np.float32)
    network.add("old", theta)
    late = network.add("late", np.zeros(60), nat=True)
    network.meet()
    network.nodes["old"].core.announce(network.now, step=5)
    network.weather = Weather(lost, 0.3, 0.2)
    network.step(late, ev.Adopt())
    assert network.run(120, lambda: late.adopted)
    np.testing.assert_array_equal(late.adopting, theta)


def test_pull_is_relayed_to_an_agent_behind_nat():
    network = MemoryNetwork(60)
    network.add("open", np.zeros(60))
    hidden = network.add("hidden", np.arange(60), nat=True)
    network.meet()
    server, pieces = network.nodes["open"], {}
    send = network.send

    def catch(sender, door, message, payload=None):
        if door == "route:ee" and isinstance(message, Piece):
            pieces[message.request, message.chunk] = message
        send(sender, door, message, payload)

    network.send = catch
    network.step(server, ev.Received("route:ee", fits(agent="")))
    network.step(server, ev.Received("route:ee", Pull(41, 0, 8, "hidden")))
    network.run(1)
    network.step(server, ev.Received("route:ee", Pull(42, 8, 12, "hidden")))
    network.step(server, ev.Received("route:ee", Pull(43, 0, 1, "nobody")))
    network.run(1)
    assert set(pieces) == {(41, k) for k in range(8)} | {(42, k) for k in range(8, 20)} | {(43, 0)}
    assert pieces[43, 0].parameters == -1
    np.testing.assert_array_equal(np.frombuffer(bytes(pieces[42, 19].payload), "<f4"), hidden.theta[57:])


def test_pull_is_relayed_over_real_sockets():
    """An observer pulls from a hidden agent through an open one: three links, two cores, loopback."""
    links = {"open": Link("tcp://127.0.0.1:*"), "hidden": Link(), "observer": Link()}
    address = links["open"].address
    cores = {"open": core("open", address=address), "hidden": core("hidden", join=(address,))}
    door, got, asked = links["observer"].dial(address), {}, False
    end = time.monotonic() + 20
    try:
        while len(got) < 3:
            now = time.monotonic()
            assert now < end, f"only {sorted(got)} came"
            for name, made in cores.items():
                events = [ev.Received(*heard) for heard in links[name].poll(0.005)]
                for effect in [e for event in [*events, ev.Tick()] for e in made.step(event, now)]:
                    match effect:
                        case ev.Dial(where):
                            links[name].dial(where)
                        case ev.Send(where, message):
                            links[name].send(where, message)
                        case ev.Serve(where, pull, chunk):
                            links[name].send(where, Piece(pull.request, chunk, 7), f"{name} {chunk}".encode())
            if not asked and cores["open"]._door_to("hidden"):
                asked = links["observer"].send(door, fits(agent="")) and links["observer"].send(
                    door, Pull(5, 0, 8, "hidden")
                )
            for _, message in links["observer"].poll(0.005):
                if isinstance(message, Piece):
                    got[message.chunk] = (message.request, bytes(message.payload))
    finally:
        for link in links.values():
            link.close()
    assert got == {k: (5, f"hidden {k}".encode()) for k in range(3)}
