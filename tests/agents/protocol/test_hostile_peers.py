"""Invariant 6: nothing a peer says raises, loops for long or makes an agent grow without bound."""

import time
from dataclasses import fields
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork

from agents.protocol import events as ev
from agents.protocol.exchange import IDLE_S, MAX_LEDGERS, MAX_LIVES, WINDOW, Exchanges
from agents.protocol.gossip import GossipCore, Settings
from agents.protocol.greeting import DIALED_S, MAX_DIALED, MAX_ROUTES
from agents.protocol.membership import MAX_MEMBERS, Membership
from agents.protocol.pull import MAX_RELAYS
from transport.messages import (
    MESSAGES,
    Answer,
    Decline,
    Gossip,
    Hello,
    Member,
    Offer,
    Piece,
    Pull,
    Refuse,
    Stranger,
    Welcome,
)
from transport.wire import LIMITS, decode, encode

MAX = 2**63 - 1
PARAMETERS = 7  # three chunks, see conftest
DIALED, SECOND = "tcp://a.example:1", "tcp://b.example:1"
DOORS = [DIALED, SECOND, "route:01", "route:02", "route:03", "route:04"]

ints = st.sampled_from([-1, 0, 1, 2, 3, 8, 2**31, 2**62, MAX])
floats = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 5e-324, 1.7976931348623157e308, -1e308])
texts = st.sampled_from(["", "a", "b", "me", "run", "theta", "float32", "left", "model", "ready", "tcp://x.example:1",
                         "tcp://127.0.0.1:1", "nonsense", "ipc:///tmp/x", "x" * 1024])  # fmt: skip


def instances(kind):
    hints = get_type_hints(kind)
    by_type = {int: ints, float: floats, str: texts, bool: st.booleans(),
               tuple[Member, ...]: st.lists(st.deferred(lambda: instances(Member)), max_size=3).map(tuple)}  # fmt: skip
    return st.builds(
        kind,
        **{
            item.name: st.binary(max_size=13) if item.name == "payload" else by_type[hints[item.name]]
            for item in fields(kind)
        },
    )


fitting = st.one_of(
    st.builds(Hello, st.just(1), st.just("run"), texts, ints, st.just(PARAMETERS), st.just("model"), texts, ints),
    st.builds(Welcome, st.just(1), st.just("run"), texts, ints, st.just(PARAMETERS), st.just("model"), ints),
    st.builds(Offer, ints, st.integers(0, 2), st.just(3), st.just(0.5), floats, ints, payload=st.binary(max_size=13)),
    st.builds(Answer, st.integers(0, 3), st.integers(0, 3), floats, ints, payload=st.binary(max_size=13)),
    st.builds(Pull, ints, ints, ints, texts, texts),
)
received = st.builds(ev.Received, st.sampled_from(DOORS), fitting | st.one_of([instances(kind) for kind in MESSAGES]))
happenings = st.lists(
    received | st.just(ev.Tick()) | st.builds(ev.Due, st.integers(1, 9)) | st.just(ev.Adopt()), max_size=30
)


def core(join=(DIALED,), **changes):
    plan = {"run": "run", "topology": "complete", "seed": 0, "alpha": 0.5, "parameters": PARAMETERS, "model": "model",
            "chunks": 3, "join": join, **changes}  # fmt: skip
    return GossipCore(Settings(**plan), Member("me", 1, weight=1.0))


def greeted(made, door="route:01", agent="a", incarnation=1, now=0.0):
    made.step(ev.Received(door, Hello(1, "run", agent, incarnation, PARAMETERS, "model")), now)
    made.step(ev.Received(door, Gossip((Member(agent, incarnation),))), now)
    return made


def sends(effects, kind):
    return [effect.message for effect in effects if isinstance(effect, ev.Send) and isinstance(effect.message, kind)]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(happenings, st.booleans())
def test_nothing_a_peer_says_raises(events, seasoned):
    made = core()
    made.step(ev.Tick(), 0.0)
    if seasoned:
        greeted(greeted(made), "route:02", "b")
        greeted(made, "route:03", "")
    for moment, event in enumerate(events):
        todo = list(made.step(event, moment / 4))
        while todo:
            match todo.pop(0):
                case ev.Concede(door, offer):
                    fits = len(offer.payload) == 12
                    report = ev.Answered(door, offer, b"d") if fits else ev.Unusable(door, offer.exchange, "odd")
                    todo += made.step(report, moment / 4)
                case ev.Close(door, answer) if len(answer.payload) != 12:
                    todo += made.step(ev.Unusable(door, answer.exchange, "odd"), moment / 4)
                case ev.Concede(_, _, share) | ev.Close(_, _, _, share):
                    assert 0 <= share <= 2
                case ev.Send(_, message):
                    decode([bytes(frame) for frame in encode(message)])


@given(instances(Member), instances(Member))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_rumor_can_be_passed_on(one, other):
    made = greeted(greeted(core()), "route:03", "")
    made.step(ev.Received("route:01", Gossip((one, other), reply=True)), 1.0)
    (reply,) = sends(made.step(ev.Received("route:03", Gossip((), reply=True)), 1.0), Gossip)
    assert decode(encode(reply)) == reply


@pytest.mark.parametrize("address", ["nonsense", "ipc:///run/secret", "tcp://", "tcp://a:99999", "x" * 1024])
def test_no_address_that_is_none_is_dialed_or_told(address):
    made = greeted(core())
    effects = made.step(ev.Received("route:01", Gossip((Member("b", 1, 1, address),), reply=True)), 1.0)
    assert not any(isinstance(effect, ev.Dial) for effect in effects)
    assert {member.address for member in sends(effects, Gossip)[0].members} == {""}
    made.step(ev.Received("route:02", Hello(1, "run", "c", 1, PARAMETERS, "model", door=address)), 1.0)
    assert made.members.me.address == ""


@pytest.mark.parametrize("first", [-1, 0, 2**62, MAX])
@pytest.mark.parametrize("count", [-1, 0, 2**62, MAX])
def test_pull_of_any_range_is_served_within_the_vector(first, count):
    made = greeted(core())
    serves = made.step(ev.Received("route:01", Pull(MAX, first, count)), 1.0)
    assert len(serves) <= 2 * WINDOW
    assert all(isinstance(serve, ev.Serve) and 0 <= serve.chunk < 3 for serve in serves)


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e300, 1.7976931348623157e308])
def test_no_weight_makes_a_share_that_is_not_finite(weight):
    (concede,) = greeted(core()).step(ev.Received("route:01", Offer(1, 0, 3, 0.5, weight=weight)), 1.0)
    assert 0 <= concede.share <= 2


@pytest.mark.parametrize("offer", [Offer(1, -1, 3, 0.5), Offer(1, 3, 3, 0.5), Offer(1, 0, MAX, 0.5),
                                   Offer(1, 0, 3, 0.5, acked=-1),
                                   Offer(1, 0, 3, 1.5), Offer(1, 0, 3, -0.1), Offer(1, 0, 3, 0.5, weight=0.0),
                                   Offer(1, 0, 3, 0.5, vector="v" * 1024),
                                   Offer(1, 0, 3, 0.5, codec="'\\" * 512)])  # fmt: skip
def test_offer_that_makes_no_sense_is_declined_readably(offer):
    (decline,) = sends(greeted(core()).step(ev.Received("route:01", offer), 1.0), Decline)
    assert (decline.exchange, decline.chunk) == (offer.exchange, offer.chunk)
    assert decode(encode(decline)) == decline


@pytest.mark.parametrize("credit", [-1, 0, 1, 2**62, MAX])
def test_credit_of_any_size_keeps_one_to_window_chunks_open(credit):
    made = greeted(core(chunks=100))
    made.step(ev.Received("route:02", Hello(1, "run", "a", 1, PARAMETERS, "model", credit=credit)), 0.0)
    offers = made.step(ev.Due(1), 0.0)
    assert 1 <= len(offers) <= WINDOW
    offers += made.step(ev.Received("route:01", Answer(1, 0, credit=credit)), 0.0)
    assert 1 <= len(made.exchanges._begun[1].open) <= WINDOW


def test_a_flood_of_members_is_bounded_and_the_living_stay():
    made = Membership(Member("me", 1), silent_s=5, sweep_s=0.1)
    made.hear([Member("friend", 1)], 0.0)
    for batch in range(3):
        made.hear([Member(f"{batch}-{i}", 1, task="x" * 1024) for i in range(4096)], 0.0)
    assert len(made.ids()) == MAX_MEMBERS + 1
    assert made.is_alive("friend")
    made.sweep(0.0)
    for tenth in range(1, 80):
        made.hear([Member("friend", 1, tenth)], tenth / 10)
        made.sweep(tenth / 10)
    made.hear([Member("newcomer", 1)], 8.0)
    assert made.ids() == ["friend", "me", "newcomer"]
    assert len(made.rumor(0.0)) <= LIMITS.members


def test_rumor_of_many_long_members_fits_a_message_and_tells_all_in_turn():
    made = Membership(Member("me", 1), silent_s=5, sweep_s=0.1)
    members = [Member(f"{i:04}", MAX, MAX, task="é" * 1000) for i in range(1500)]
    made.hear(members, 0.0)
    told = set()
    for _ in range(6):
        rumor = made.rumor(0.0)
        assert len(encode(Gossip(rumor))[0]) <= LIMITS.header_bytes
        told |= {member.agent for member in rumor}
    assert len(told) == 1501


def test_hearing_of_four_thousand_agents_takes_no_second_and_few_sockets():
    made = greeted(core())
    crowd = Gossip(tuple(Member(f"{i}", 1, 1, f"tcp://10.0.{i // 256}.{i % 256}:1") for i in range(4000)))
    start = time.process_time()
    dials = [e for e in made.step(ev.Received("route:01", crowd), 1.0) if isinstance(e, ev.Dial)]
    made.step(ev.Received("route:01", Gossip(tuple(Member(f"{i}", 1, 2, state="left") for i in range(4000)))), 2.0)
    made.step(ev.Received("route:01", Gossip(tuple(Member(f"{i}", 1, 2, state="left") for i in range(4000)))), 2.0)
    assert time.process_time() - start < 5, "not a bound for speed: the quadratic way takes a minute"
    assert len(dials) <= MAX_DIALED


def test_dialed_doors_are_bounded_and_the_silent_give_way():
    made = core().greeting
    for i in range(2 * MAX_DIALED):
        made.dial(f"tcp://h{i}.example:1", 0.0)
    assert len(made._contacts) == MAX_DIALED
    effects = made.dial("tcp://late.example:1", DIALED_S)
    assert [type(effect) for effect in effects] == [ev.HangUp, ev.Dial]
    assert len(made._contacts) == MAX_DIALED
    assert made.dial(DIALED, 0.0) == [ev.Dial(DIALED)], "whom we mean to join always finds room"


def test_routes_relays_and_ledgers_are_bounded():
    made = core()
    for i in range(MAX_ROUTES + 50):
        made.step(ev.Received(f"route:{i:06x}", Hello(1, "run", f"a{i}", 1, PARAMETERS, "model")), float(i))
    assert len(made.greeting._contacts) <= MAX_ROUTES
    door = f"route:{MAX_ROUTES:06x}"
    made.step(ev.Received(door, Gossip((Member(f"a{MAX_ROUTES + 1}", 1),))), 5000.0)
    for request in range(MAX_RELAYS + 50):
        made.step(ev.Received(door, Pull(request, 0, 1, agent=f"a{MAX_ROUTES + 1}")), 5000.0)
    assert len(made._pulls._relays) == MAX_RELAYS
    made._pulls.tick(5100.0)
    assert not made._pulls._relays


def test_only_so_many_exchanges_are_answered_and_the_long_silent_give_way():
    made = Exchanges("me", 0.5, 1.0, 3, first_s=1, floor_s=1)

    def offer(i, now, exchange=1, chunk=0):
        life, message = (f"a{i}", 1), Offer(exchange, chunk, 3, 0.5)
        effects = made.on_offer(life, "door", message, now)
        for effect in effects:
            if isinstance(effect, ev.Concede):
                made.answered(life, ev.Answered("door", message, b"d"))
        return effects

    for i in range(MAX_LEDGERS):
        assert isinstance(offer(i, float(i))[0], ev.Concede)
    (busy,) = sends(offer("late", 100.0), Decline)
    assert "busy" in busy.why
    assert sends(offer("late", IDLE_S), Decline), "an echo of what was declined"
    assert isinstance(offer("late", IDLE_S, exchange=2)[0], ev.Concede), "the first gave way"
    assert sends(offer(0, IDLE_S), Decline), "and is told, not mixed twice"
    assert sends(offer(1, IDLE_S), Answer), "the others are served"
    for i in range(MAX_LIVES + 100):
        life = (f"b{i}", 1)
        made.on_offer(life, "door", Offer(1, 0, 3, 0.5), 1e6 + i * IDLE_S)
        made.forget(("nobody", 0))
    assert len(made._ledgers) <= MAX_LIVES


def test_more_chunks_than_the_credit_are_not_mixed():
    made = Exchanges("me", 0.5, 1.0, 1000, first_s=1, floor_s=1)
    conceded = 0
    for chunk in range(1000):
        offer = Offer(1, chunk, 1000, 0.5)
        for effect in made.on_offer(("a", 1), "door", offer, 0.0):
            conceded += isinstance(effect, ev.Concede)
            made.answered(("a", 1), ev.Answered("door", offer, b"d"))
    assert conceded == WINDOW


def test_strangers_and_observers_mix_nothing():
    made = greeted(core(), "route:03", "")
    assert made.step(ev.Received("route:03", Offer(1, 0, 3, 0.5)), 1.0) == []
    assert made.step(ev.Received("route:09", Offer(1, 0, 3, 0.5)), 1.0) == [ev.Send("route:09", Stranger())]
    made.step(ev.Received("route:03", Gossip((Member("ghost", 1),))), 1.0)
    assert made.members.get("ghost") is None


def test_piece_of_another_agent_is_neither_kept_nor_relayed():
    network = MemoryNetwork(PARAMETERS)
    made = network.add("me", [0.0] * PARAMETERS).core
    for door, agent in [("route:01", "a"), ("route:02", "b"), ("route:03", "")]:
        made.step(ev.Received(door, Hello(1, "run", agent, 1, PARAMETERS, "model")), 0.0)
    made.step(ev.Received("route:01", Gossip((Member("a", 1, 1, step=5), Member("b", 1)))), 0.0)
    (pull,) = sends(made.step(ev.Adopt(), 0.0), Pull)
    assert made.step(ev.Received("route:02", Piece(pull.request, 0, PARAMETERS, b"0" * 12)), 0.0) == []
    assert isinstance(
        made.step(ev.Received("route:01", Piece(pull.request, 0, PARAMETERS, b"0" * 12)), 0.0)[0], ev.Keep
    )
    (onward,) = made.step(ev.Received("route:03", Pull(7, 0, 1, "b")), 0.0)
    assert onward.door == "route:02"
    piece = Piece(onward.message.request, 0, PARAMETERS, b"0" * 12)
    assert made.step(ev.Received("route:01", piece), 0.0) == []
    (back,) = made.step(ev.Received("route:02", piece), 0.0)
    assert (back.door, back.message.request) == ("route:03", 7)


@pytest.mark.parametrize("message", [Refuse("run", "a", "b"), Stranger(), Welcome(1, "run", "x", 1, 7, "model")])
def test_words_that_only_the_called_may_say_change_nothing_from_a_caller(message):
    made = greeted(core())
    assert made.step(ev.Received("route:01", message), 1.0) in (
        [],
        [ev.Send("route:01", made._rumor("route:01", 1.0, True))],
    )
    assert made._door_to("a") == "route:01"
