"""Invariant 6: nothing a peer sends raises, loops for long or makes an agent grow without bound."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork
from message_strategies import instances, messages

from agents.manifest import Manifest
from agents.mixing.bounds import MAX_WEIGHT
from agents.protocol import events as ev
from agents.protocol.core import GossipCore
from agents.protocol.dissemination import DELTA_BYTES, PAGE_BYTES, RECORD_BYTES
from agents.protocol.exchanges import MAX_INITIATORS, Exchanges
from agents.protocol.handshake import DIALED_S, MAX_DIALED, MAX_ROUTES
from agents.protocol.incarnation import NOBODY, Incarnation
from agents.protocol.known import bytes_of
from agents.protocol.membership import MAX_MEMBERS, MAX_UNMET, Membership
from agents.protocol.pull import MAX_RELAYS, OF_ONE
from agents.protocol.session import WINDOW
from agents.protocol.settings import CoreSettings, ExchangeSettings
from agents.protocol.standing import IDLE_S, MAX_OPEN, YIELD_S
from agents.view import view_of
from transport.messages import (
    VERSION,
    Ack,
    Answer,
    Decline,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Offer,
    Piece,
    Pull,
    Refuse,
    Report,
    Stranger,
    Welcome,
)
from transport.wire import LIMITS, decode, encode

MAX = 2**63 - 1
PARAMETERS = 7  # three chunks, see conftest
DIALED, SECOND = "tcp://a.example:1", "tcp://b.example:1"
CONNECTIONS = [DIALED, SECOND, "route:01", "route:02", "route:03", "route:04"]

ints = st.sampled_from([-1, 0, 1, 2, 3, 8, 2**31, 2**62, MAX])
floats = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 5e-324, 1.7976931348623157e308, -1e308])
texts = st.sampled_from(["", "a", "b", "me", "run", "theta", "float32", "left", "model", "ready", "tcp://x.example:1",
                         "tcp://127.0.0.1:1", "nonsense", "ipc:///tmp/x", "x" * 1024])  # fmt: skip
values = {int: ints, float: floats, str: texts, bool: st.booleans()}
plain = st.dictionaries(texts, texts | ints | floats | st.booleans(), max_size=3)
payloads = st.binary(max_size=13)
members = instances(Member, values, plain, payloads)

fitting = st.one_of(
    st.builds(Hello, st.just(VERSION), texts, ints, st.just("run"), st.just(Manifest().hash), texts, ints),
    st.builds(Welcome, st.just(VERSION), texts, ints, st.just("run"), st.just(Manifest().hash), credit=ints),
    st.builds(Offer, ints, st.integers(0, 2), st.just(3), st.just(0.5), floats, ints, payload=payloads),
    st.builds(Answer, st.integers(0, 3), st.integers(0, 3), floats, ints, payload=payloads),
    st.builds(Pull, ints, ints, ints, texts, texts),
    st.builds(Piece, st.integers(0, 3), st.integers(0, 3), st.just(PARAMETERS), payloads),
)
received = st.builds(ev.Received, st.sampled_from(CONNECTIONS), fitting | messages(values, plain, payloads))
happenings = st.lists(
    received
    | st.sampled_from([ev.Tick(), ev.Adopt(), ev.Adopt("a"), ev.StopAdopting(), ev.Drain()])
    | st.builds(ev.Due, st.integers(1, 9)),
    max_size=30,
)


def member(agent, incarnation=1, heartbeat=0, address="", state="training", **report):
    return Member(Identity(agent, incarnation, address), Liveness(heartbeat, state), Report(**report))


def hello(agent="a", incarnation=1, **changes):
    return Hello(VERSION, agent, incarnation, "run", Manifest().hash, **changes)


def core(join=(DIALED,), state="training", **changes):
    plan = {"run": "run", "topology": "complete", "seed": 0, "alpha": 0.5, "parameters": PARAMETERS, "chunks": 3,
            "join": join, **changes}  # fmt: skip
    return GossipCore(CoreSettings(**plan), member("me", state=state))


def introduced(made, connection="route:01", agent="a", incarnation=1, now=0.0):
    ours = made.handshake.ours
    made.step(ev.Received(connection, replace(hello(agent, incarnation), manifest=ours.manifest)), now)
    made.step(ev.Received(connection, Gossip((member(agent, incarnation),))), now)
    return made


def sends(effects, kind):
    return [effect.message for effect in effects if isinstance(effect, ev.Send) and isinstance(effect.message, kind)]


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(happenings, st.booleans(), st.sampled_from(["training", "joining"]))
def test_nothing_a_peer_sends_raises(events, seasoned, state):
    made = core(state=state)
    made.step(ev.Tick(), 0.0)
    if seasoned:
        introduced(introduced(made), "route:02", "b")
        introduced(made, "route:03", "")
    for moment, event in enumerate(events):
        todo = list(made.step(event, moment / 4))
        while todo:
            match todo.pop(0):
                case ev.ApplyOffer(connection, offer, rate):
                    assert 0 <= rate <= 2
                    assert state != "joining", "nothing is exchanged before a vector is adopted"
                    usable = len(offer.payload) == 12
                    report = (
                        ev.OfferApplied(connection, offer, Answer(offer.exchange, offer.chunk))
                        if usable
                        else ev.Unusable(connection, offer.exchange, "odd")
                    )
                    todo += made.step(report, moment / 4)
                case ev.ApplyAnswer(connection, answer, rate):
                    assert 0 <= rate <= 2
                    usable = len(answer.payload) == 12
                    report = (
                        ev.AnswerApplied(connection, answer)
                        if usable
                        else ev.Unusable(connection, answer.exchange, "odd")
                    )
                    todo += made.step(report, moment / 4)
                case ev.SendOffer() | ev.SendPiece():
                    assert state != "joining"
                case ev.Send(_, message):
                    decode([bytes(frame) for frame in encode(message)])


@given(members, members)
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_any_records_can_be_passed_on(one, other):
    made = introduced(introduced(core()), "route:03", "")
    made.step(ev.Received("route:01", Gossip((one, other), reply=True)), 1.0)
    (reply,) = sends(made.step(ev.Received("route:03", Gossip((), reply=True)), 1.0), Gossip)
    assert decode(encode(reply)) == reply


@pytest.mark.parametrize("address", ["nonsense", "ipc:///run/secret", "tcp://", "tcp://a:99999", "x" * 1024])
def test_no_address_that_is_none_is_dialed_or_passed_on(address):
    made = introduced(core())
    effects = made.step(ev.Received("route:01", Gossip((member("b", 1, 1, address),), reply=True)), 1.0)
    assert not any(isinstance(effect, ev.Dial) for effect in effects)
    assert {each.address for each in sends(effects, Gossip)[0].members} == {""}
    made.step(ev.Received("route:02", hello("c", address=address)), 1.0)
    assert made.members.me.address == ""


@pytest.mark.parametrize("first", [-1, 0, 2**62, MAX])
@pytest.mark.parametrize("count", [-1, 0, 2**62, MAX])
def test_pull_of_any_range_is_served_within_the_vector(first, count):
    made = introduced(core())
    serves = made.step(ev.Received("route:01", Pull(MAX, first, count)), 1.0)
    assert len(serves) <= 2 * WINDOW
    assert all(isinstance(serve, ev.SendPiece) and 0 <= serve.chunk < 3 for serve in serves)


@pytest.mark.parametrize("weight", [5e-324, 1e-300, MAX_WEIGHT])
def test_no_weight_makes_a_rate_that_is_not_finite(weight):
    (apply,) = introduced(core()).step(ev.Received("route:01", Offer(1, 0, 3, 0.5, weight=weight)), 1.0)
    assert 0 <= apply.rate <= 2


@pytest.mark.parametrize(("weigh", "most"), [("equal", 1.0), ("samples", MAX_WEIGHT)])
def test_what_a_peer_says_that_it_weighs_is_bounded_by_what_the_run_agreed_on(weigh, most):
    """Neither its offers nor its answers are applied, and the exact finish is laid over the others."""
    manifest = Manifest({"weigh": weigh})
    made = introduced(core(manifest=manifest))
    assert made.step(ev.Received("route:01", Offer(1, 0, 3, 0.5, weight=most)), 1.0)[0].rate > 0
    (decline,) = sends(made.step(ev.Received("route:01", Offer(2, 0, 3, 0.5, weight=most * 1.01)), 1.0), Decline)
    assert f"in (0, {most:g}]" in decline.why
    made = introduced(core(manifest=manifest))
    made.step(ev.Due(1), 1.0)
    effects = made.step(ev.Received("route:01", Answer(1, 0, weight=most * 1.01)), 1.0)
    assert not [effect for effect in effects if isinstance(effect, ev.ApplyAnswer)]
    made = introduced(core(manifest=manifest))
    made.step(ev.Due(1), 1.0)
    assert made.step(ev.Received("route:01", Answer(1, 0, weight=most)), 1.0)
    for weight in (most, most * 1.01):
        made = introduced(core(manifest=manifest, state="settling"))
        made.step(ev.Received("route:01", Gossip((member("a", 1, 1, state="settling", weight=weight),))), 1.0)
        made.step(ev.FinishExactly(), 1.0)
        made.step(ev.Tick(), 1.0)
        assert (len(made.finish._plan.members) == 2) == (weight == most)


@pytest.mark.parametrize("offer", [Offer(1, -1, 3, 0.5), Offer(1, 3, 3, 0.5), Offer(1, 0, MAX, 0.5),
                                   Offer(1, 0, 3, 0.5, acked=-1),
                                   Offer(1, 0, 3, 1.5), Offer(1, 0, 3, -0.1), Offer(1, 0, 3, 0.5, weight=0.0),
                                   Offer(1, 0, 3, 0.5, vector="v" * 1024),
                                   Offer(1, 0, 3, 0.5, codec="'\\" * 512)])  # fmt: skip
def test_offer_that_makes_no_sense_is_declined_readably(offer):
    (decline,) = sends(introduced(core()).step(ev.Received("route:01", offer), 1.0), Decline)
    assert (decline.exchange, decline.chunk) == (offer.exchange, offer.chunk)
    assert decode(encode(decline)) == decline


@pytest.mark.parametrize("credit", [-1, 0, 1, 2**62, MAX])
def test_credit_of_any_size_keeps_one_to_window_chunks_open(credit):
    made = introduced(core(chunks=100))
    made.step(ev.Received("route:02", hello(credit=credit)), 0.0)
    offers = made.step(ev.Due(1), 0.0)
    assert 1 <= len(offers) <= WINDOW
    answer = Answer(1, 0, credit=credit)
    made.step(ev.Received("route:01", answer), 0.0)
    offers += made.step(ev.AnswerApplied("route:01", answer), 0.0)
    assert 1 <= len(made.exchanges._outgoing[1]._open) <= WINDOW


def test_a_flood_of_members_is_bounded_and_whom_we_meet_always_finds_room():
    made = Membership(member("me"), silent_s=5, sweep_s=0.1)
    made.contact(Incarnation("friend", 1), 0.0)
    made.receive([member("friend")], 0.0)
    for batch in range(3):
        made.receive([member(f"{batch}-{i}", task="x" * 1024) for i in range(4096)], 0.0)
    assert len(made.others()) == MAX_UNMET + 1
    assert {each.agent for each in made.records(0.0)} == {"me", "friend"}, "nobody's inventions are passed on"
    for i in range(2 * MAX_MEMBERS):
        made.contact(Incarnation(f"met-{i}", 1), float(i))
        made.receive([member(f"met-{i}", state="left")], float(i))
    assert len(made._known) == MAX_MEMBERS
    made.contact(Incarnation("newcomer", 1), 9000.0)
    made.receive([member("newcomer")], 9000.0)
    assert made.neighbors_among() == ["friend", "me", "newcomer"]
    assert len(made.records(9000.0)) <= LIMITS.members


@given(members)
def test_a_record_takes_at_most_what_is_reckoned_for_it(record):
    one, two = (len(encode(Gossip((record,) * count))[0]) for count in (1, 2))
    assert two - one <= bytes_of(record)


def test_a_record_of_any_size_keeps_no_other_from_being_passed_on():
    """One that fits into no message beside others goes alone; one that no agent publishes isn't taken in at all."""
    made = introduced(core())
    long = member("long", alarm="€" * 1024, distrusts="x" * 1024)
    for each in (long, *(member(f"other-{i}") for i in range(8))):
        made.members.contact(Incarnation(each.agent, 1), 0.0)
        made.step(ev.Received("route:01", Gossip((each,))), 0.0)
    sent = [made.members.deltas(0.0) for _ in range(300)]
    assert {each.agent for records in sent for each in records} == {
        "me",
        "a",
        "long",
        *(f"other-{i}" for i in range(8)),
    }
    assert max(sum(map(bytes_of, records)) for records in sent) <= DELTA_BYTES + RECORD_BYTES
    huge = member("huge", alarm="€" * 1024, distrusts="x" * 1024, task="€" * 1024, masses="€" * 1024)
    effects = made.step(ev.Received("route:01", Gossip((huge,))), 1.0)
    assert made.members.get("huge") is None
    assert bytes_of(long) <= RECORD_BYTES < bytes_of(huge)
    assert any("takes 10" in each.why for each in effects if isinstance(each, ev.Malformed))


def test_a_report_of_long_ago_and_one_of_whom_we_never_met_say_nothing_of_where_the_others_are():
    made = introduced(introduced(introduced(core(), "route:01", "a"), "route:02", "b"), "route:03", "c")
    for second in range(4):
        made.pace.own(100 * second, float(second))
        made.pace.mixed("a", 50 * second, float(second))
    before = made.pace.ahead(3.0)
    made.step(ev.Received("route:02", Gossip((_silent("b", 1e308), *(_silent(f"x{i}", 0.0) for i in range(100))))), 3.0)
    assert made.pace.ahead(3.0) == before
    assert made.members.share > 0 and view_of(made, 3.0).me.agent == "me"


def _silent(agent, silent_s):
    return Member(Identity(agent, 1), Liveness(1, "training", silent_s), Report())


def test_records_of_many_long_members_are_sent_in_messages_of_bounded_size_and_all_in_turn():
    made = Membership(member("me"), silent_s=5, sweep_s=0.1)
    members = [member(f"{i:04}", MAX, MAX, task="é" * 500) for i in range(1500)]
    for each in members:
        made.contact(Incarnation(each.agent, each.incarnation), 0.0)
    made.receive(members, 0.0)
    pages = [encode(Gossip(page))[0] for page in made.pages(0.0)]
    assert max(map(len, pages)) <= PAGE_BYTES + 2000
    assert {each.agent for page in pages for each in decode([page]).members} == {"me", *(m.agent for m in members)}
    sent = set()
    for _ in range(1600):
        records = made.deltas(0.0)
        assert len(encode(Gossip(records))[0]) <= DELTA_BYTES + 2000
        sent |= {each.agent for each in records}
    assert len(sent) == 1501


def test_records_of_four_thousand_agents_take_no_second_and_few_sockets():
    made = introduced(core())
    crowd = Gossip(tuple(member(f"{i}", 1, 1, f"tcp://10.0.{i // 256}.{i % 256}:1") for i in range(4000)))
    start = time.process_time()
    dials = [e for e in made.step(ev.Received("route:01", crowd), 1.0) if isinstance(e, ev.Dial)]
    made.step(ev.Received("route:01", Gossip(tuple(member(f"{i}", 1, 2, state="left") for i in range(4000)))), 2.0)
    made.step(ev.Received("route:01", Gossip(tuple(member(f"{i}", 1, 2, state="left") for i in range(4000)))), 2.0)
    assert time.process_time() - start < 5, "not a bound for speed: the quadratic way takes a minute"
    assert len(dials) <= MAX_DIALED


def test_dialed_connections_are_bounded_and_the_silent_yield():
    made = core().handshake
    for i in range(2 * MAX_DIALED):
        made.dial(f"tcp://h{i}.example:1", 0.0)
    assert len(made._contacts) == MAX_DIALED
    effects = made.dial("tcp://late.example:1", DIALED_S)
    assert [type(effect) for effect in effects] == [ev.HangUp, ev.Dial]
    assert len(made._contacts) == MAX_DIALED
    assert made.dial(DIALED, 0.0) == [ev.Dial(DIALED)], "whom we mean to join always finds room"


def test_one_connection_is_one_agent_whatever_names_it_says():
    """Else it fills the topology with agents that nobody reaches, and takes each of the places of who is answered."""
    made = core()
    for number in range(2 * MAX_OPEN):
        introduced(made, "route:01", f"a{number}")
        made.step(ev.Received("route:01", Offer(1, 0, 3, 0.5)), 0.0)
    (refuse,) = sends(made.step(ev.Received("route:01", hello("b")), 0.0), Refuse)
    assert (refuse.name, refuse.expected, refuse.got) == ("name", "a0", "b")
    assert made.members.neighbors_among() == ["a0", "me"]
    assert len(made.exchanges._answering) == 1
    introduced(made, "route:02", "honest")
    (apply,) = made.step(ev.Received("route:02", Offer(1, 0, 3, 0.5)), 1.0)
    assert isinstance(apply, ev.ApplyOffer)


def test_routes_and_relays_are_bounded():
    made = core()
    for i in range(MAX_ROUTES + 50):
        made.step(ev.Received(f"route:{i:06x}", hello(f"a{i}")), float(i))
    assert len(made.handshake._contacts) <= MAX_ROUTES
    last = MAX_ROUTES + 49
    made.step(ev.Received(f"route:{last:06x}", Gossip((member(f"a{last}"),))), 5000.0)

    def passes_on(index, request):
        pull = Pull(request, 0, 1, agent=f"a{last}")
        return sends(made.step(ev.Received(f"route:{last - index:06x}", pull), 5000.0), Pull)

    assert all(passes_on(1, request) for request in range(MAX_RELAYS + 50))
    assert len(made._pulls._relays) == OF_ONE and passes_on(2, 7), "one connection leaves room to others"
    for index in range(3, MAX_RELAYS // OF_ONE + 3):
        for request in range(OF_ONE):
            passes_on(index, request)
    assert len(made._pulls._relays) == MAX_RELAYS
    assert passes_on(2, 7) and not passes_on(MAX_RELAYS, 7), "what is under way goes on"
    made._pulls.tick(5100.0)
    assert not made._pulls._relays


def exchanges(chunks):
    return Exchanges("me", ExchangeSettings(0.5, 1.0, chunks, "float32", first_s=1, floor_s=1))


class Answering:
    """Exchanges of one agent that others begin; `made` is what they are."""

    def __init__(self):
        self.made, self.numbers = exchanges(3), Counter()

    def offer(self, name, now, chunk=0, again=False):
        """An offer of this name's next exchange, or of the same `again`; what follows, applied at once."""
        peer = Incarnation(name, 1)
        self.numbers[name] += chunk == 0 and not again
        message = Offer(self.numbers[name], chunk, 3, 0.5, acked=chunk)
        effects = self.made.on_offer(peer, "route:01", message, now)
        for effect in effects:
            if isinstance(effect, ev.ApplyOffer):
                answer = Answer(message.exchange, chunk)
                self.made.on_applied(peer, ev.OfferApplied("route:01", message, answer), now)
        return effects

    def complete(self, name, now):
        """A whole exchange that this name begins, its Ack included."""
        for chunk in range(3):
            assert isinstance(self.offer(name, now, chunk)[0], ev.ApplyOffer)
        self.made.on_ack(Incarnation(name, 1), Ack(self.numbers[name]))

    def is_answered(self, name, now):
        return any(isinstance(effect, ev.ApplyOffer) for effect in self.offer(name, now))


def test_only_so_many_exchanges_are_answered_and_the_long_silent_yield():
    answering = Answering()
    for i in range(MAX_OPEN):
        assert answering.is_answered(f"a{i}", i / 100)
    (busy,) = sends(answering.offer("late", 1.0), Decline)
    assert "busy" in busy.why
    assert sends(answering.offer("late", YIELD_S, again=True), Decline), "an echo of what was declined"
    assert not answering.made.lost
    assert answering.is_answered("late", YIELD_S), "the first yielded"
    assert answering.made.lost == 1
    assert sends(answering.offer("a0", YIELD_S, again=True), Decline), "and is answered so, not applied twice"
    assert sends(answering.offer("a1", YIELD_S, again=True), Answer), "the others are served"
    for i in range(MAX_INITIATORS + 100):
        answering.offer(f"b{i}", 1e6 + i * IDLE_S)
        answering.made.forget(NOBODY)
    assert len(answering.made._incoming) <= MAX_INITIATORS


def test_who_completes_exchanges_with_us_finds_a_place_however_many_names_begin_one_and_leave_it_open():
    """Also where each of these names has completed one before."""
    answering = Answering()
    for i in range(MAX_OPEN):
        answering.complete(f"ghost-{i}", 0.0)
    for _ in range(2):
        answering.complete("friend", 0.0)
    for i in range(MAX_OPEN):
        assert answering.is_answered(f"ghost-{i}", 1.0)
    assert not answering.is_answered("stranger", 1 + YIELD_S)
    assert answering.is_answered("friend", 1 + YIELD_S)
    assert answering.is_answered("stranger", 1 + IDLE_S)


def test_peers_that_never_answer_under_ever_new_names_leave_a_bounded_number_of_exchanges_open():
    """Each holds what was offered, a window of chunks; and whom we begin with next finds a place."""
    made, now = exchanges(3), 0.0
    for i in range(5 * MAX_OPEN):
        made.begin(Incarnation(f"crashed-{i}", 1), "route:01", i, 8, now := now + YIELD_S)
        assert len(made._outgoing) <= MAX_OPEN
    for i in range(MAX_OPEN):
        made.begin(Incarnation(f"mute-{i}", 1), "route:01", i, 8, now := now + 0.01)
    (over,) = made.begin(Incarnation("late", 1), "route:01", 0, 8, now)
    assert isinstance(over, ev.RoundOver) and "are open" in over.why
    assert any(isinstance(each, ev.SendOffer) for each in made.begin(Incarnation("late", 1), "", 0, 8, now + YIELD_S))
    for i in range(2 * MAX_INITIATORS):
        made.begin(Incarnation(f"{i}", 1), "route:01", i, 8, now := now + YIELD_S)
        made.forget(Incarnation(f"{i}", 1))
    assert len(made._latest) <= MAX_INITIATORS


def test_more_chunks_than_the_credit_are_not_applied():
    made, peer = exchanges(1000), Incarnation("a", 1)
    applied = 0
    for chunk in range(1000):
        offer = Offer(1, chunk, 1000, 0.5)
        for effect in made.on_offer(peer, "route:01", offer, 0.0):
            applied += isinstance(effect, ev.ApplyOffer)
            made.on_applied(peer, ev.OfferApplied("route:01", offer, Answer(1, chunk)), 0.0)
    assert applied == WINDOW


def test_strangers_and_observers_exchange_nothing():
    made = introduced(core(), "route:03", "")
    assert made.step(ev.Received("route:03", Offer(1, 0, 3, 0.5)), 1.0) == []
    assert made.step(ev.Received("route:09", Offer(1, 0, 3, 0.5)), 1.0) == [ev.Send("route:09", Stranger())]
    made.step(ev.Received("route:03", Gossip((member("ghost"),))), 1.0)
    assert made.members.get("ghost") is None


def test_piece_of_another_agent_is_neither_kept_nor_relayed():
    network = MemoryNetwork(PARAMETERS)
    made = network.add_agent("me", [0.0] * PARAMETERS).core
    for connection, agent in [("route:01", "a"), ("route:02", "b"), ("route:03", "")]:
        made.step(ev.Received(connection, hello(agent)), 0.0)
    made.step(ev.Received("route:01", Gossip((member("a", 1, 1, step=5), member("b")))), 0.0)
    (pull,) = sends(made.step(ev.Adopt(), 0.0), Pull)
    assert made.step(ev.Received("route:02", Piece(pull.request, 0, PARAMETERS, b"0" * 12)), 0.0) == []
    assert isinstance(
        made.step(ev.Received("route:01", Piece(pull.request, 0, PARAMETERS, b"0" * 12)), 0.0)[0], ev.KeepPiece
    )
    (onward,) = made.step(ev.Received("route:03", Pull(7, 0, 1, "b")), 0.0)
    assert onward.connection == "route:02"
    assert made.step(ev.Received("route:03", Pull(7, 0, 1, "b")), 1.0) == [onward], "asked again: no second relay"
    piece = Piece(onward.message.request, 0, PARAMETERS, b"0" * 12)
    assert made.step(ev.Received("route:01", piece), 0.0) == []
    (back,) = made.step(ev.Received("route:02", piece), 0.0)
    assert (back.connection, back.message.request) == ("route:03", 7)


@pytest.mark.parametrize(
    "message",
    [Refuse("run", "a", "b"), Stranger(), Welcome(VERSION, "x", 1, "run", Manifest().hash), Welcome(9, "x", 1)],
)
def test_messages_that_only_the_called_may_send_change_nothing_from_a_caller(message):
    made = introduced(core())
    before = made.handshake.welcomed
    effects = made.step(ev.Received("route:01", message), 1.0)
    assert all(isinstance(effect, ev.Send) and isinstance(effect.message, Gossip) for effect in effects)
    assert made.handshake.identify("route:01")[:2] == ("a", 1)
    assert made.handshake.ours.run == "run" and made.handshake.welcomed is before


def test_hello_on_a_connection_that_we_opened_changes_nothing():
    made = core()
    made.step(ev.Tick(), 0.0)
    assert made.step(ev.Received(DIALED, hello()), 0.0) == []
    assert made.handshake.identify(DIALED) == NOBODY
