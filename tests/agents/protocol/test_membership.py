"""Who is alive: the freshest record wins, whatever the order and the way by which it came; records carry their age."""

from dataclasses import replace
from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather, living

from agents.protocol.membership import ABSENT, Membership
from transport.messages import Identity, Liveness, Member, Report

SILENT_S, SWEEP_S = 5.0, 0.1
STATES = ["joining", "ready", "training", "settling", "left"]


def record(agent, incarnation=1, heartbeat=0, address="", state="training", silent_s=0.0, **report):
    return Member(Identity(agent, incarnation, address), Liveness(heartbeat, state, silent_s), Report(**report))


@st.composite
def published(draw):
    """What agents may have published: one record for each (agent, incarnation, heartbeat), with or without address."""
    agent, incarnation = draw(st.sampled_from("ab")), draw(st.integers(1, 2))
    beat = draw(st.integers(0, 4))
    address = draw(st.sampled_from(["", f"tcp://{agent}{incarnation}.example:1"]))
    state = draw(st.just("left") if beat == 4 else st.just("training"))
    return record(agent, incarnation, beat, address, state, step=beat)


def receives(*batches, now=0.0, me="me"):
    made = Membership(record(me), silent_s=SILENT_S, sweep_s=SWEEP_S)
    for batch in batches:
        made.receive(batch, now)
    return made


def known(made):
    return {m.agent: (m, made.is_alive(m.agent)) for m in made.records(0.0)[1:]}


batches = st.lists(published(), max_size=5)


@given(batches, batches, batches)
def test_receiving_is_commutative_associative_and_idempotent(a, b, c):
    once = known(receives(a, b, c))
    assert all(known(receives(*order)) == once for order in permutations([a, b, c]))
    assert known(receives(a + b + c)) == once
    assert known(receives(a, b, c, b, a)) == once
    passed_on = receives(a, b).records(0.0)[1:]
    assert known(receives(passed_on, c)) == once, "records that others pass on are as good"


@given(batches)
def test_greatest_incarnation_and_heartbeat_wins(records):
    made = receives(records)
    for agent in {member.agent for member in records}:
        best = max((m.incarnation, m.liveness.heartbeat) for m in records if m.agent == agent)
        assert (made.get(agent).incarnation, made.get(agent).liveness.heartbeat) == best


def test_silent_member_goes_and_comes_back_with_its_next_record():
    made = receives([record("a", 1, 1)])
    gone = []
    for tenth in range(60):
        gone += made.sweep(tenth / 10)
    assert gone == ["a"]
    assert not made.is_alive("a") and made.others() == [] and made.neighbors_among() == ["me"]
    assert [member.agent for member in made.gone()] == ["a"]
    assert made.receive([record("a", 1, 1)], 6.0) == ([], []), "an old record does not bring it back"
    assert made.receive([record("a", 1, 2)], 6.0) == (["a"], [])
    assert made.is_alive("a")


def test_left_is_immediate_and_final_for_that_incarnation():
    made = receives([record("a", 1, 1)])
    assert made.receive([record("a", 1, 2, state="left")], 0.1) == ([], ["a"])
    assert made.others() == []
    assert made.receive([record("a", 1, 1)], 0.2) == ([], [])
    assert made.receive([record("a", 2, 0)], 0.3) == (["a"], []), "a new incarnation is another matter"
    assert made.receive([record("b", 1, 9, state="left")], 0.4) == ([], []), "one who left before we knew it"
    assert made.all_finished() is False
    made.receive([record("a", 2, 1, state="settling")], 0.5)
    assert made.all_finished() is True


@pytest.mark.parametrize("stall_s", [6.0, 60.0])
def test_stall_of_ours_is_forgiven_and_no_longer_than_it_was(stall_s):
    made = receives([record("a", 1, 1), record("b", 1, 1)])
    made.sweep(0.0)
    made.receive([record("b", 1, 2)], stall_s)  # It had waited in our queue.
    assert made.sweep(stall_s) == []
    gone = {}
    for tenth in range(1, 60):
        for agent in made.sweep(stall_s + tenth / 10):
            gone[agent] = tenth / 10
    assert set(gone) == {"a", "b"}
    assert SILENT_S - 0.3 <= gone["a"] <= SILENT_S + 0.2
    assert gone["b"] <= SILENT_S + 0.2, "received after the stall: its silence counts from then"


def test_nobody_publishes_for_us():
    made = receives([record("me", 9, 9, "tcp://evil.example:1", "left"), record("", 9)])
    assert made.me == record("me")
    assert made.records(0.0) == (made.me,)


def test_silence_must_be_longer_than_two_sweeps():
    with pytest.raises(ValueError, match=r"got 0\.2 and sweep_s 0\.1"):
        Membership(record("me"), silent_s=0.2, sweep_s=0.1)


def test_publishing_changes_what_is_named_and_is_a_heartbeat():
    made = receives()
    made.publish(step=7, state="settling", address="tcp://me.example:1")
    assert made.me == record("me", 1, 1, "tcp://me.example:1", "settling", step=7)
    made.publish()
    assert made.me == record("me", 1, 2, "tcp://me.example:1", "settling", step=7)
    with pytest.raises(TypeError, match="weight can change: got mood, agent"):
        made.publish(step=8, mood="good", agent="you")
    assert made.me.report.step == 7


@pytest.mark.parametrize("state", STATES)
def test_only_who_is_alive_and_holds_a_vector_is_a_neighbor(state):
    made = receives([record("a", state=state), record("b")])
    assert made.neighbors_among() == ["b", "me"] if state in ABSENT else ["a", "b", "me"]
    assert made.is_alive("a") == (state != "left")
    made.sweep(0.0)
    for tenth in range(1, 60):
        made.sweep(tenth / 10)
    assert made.neighbors_among() == ["me"]


# A record carries its age.


def test_record_of_a_dead_agent_does_not_make_it_look_alive_to_a_newcomer():
    """`old` knew `dead` for a while; 40 s after its last record a newcomer receives that record for the first time."""
    old = receives([record("dead", 1, 9)], now=100.0, me="old")
    for tenth in range(401):
        old.sweep(100.0 + tenth / 10)
    newcomer = receives()
    came, _ = newcomer.receive(old.records(140.0), 1000.0)  # Clocks differ: only ages travel.
    assert came == ["old"], "only who passed it on"
    assert not newcomer.is_alive("dead")
    assert [member.agent for member in newcomer.gone()] == ["dead"]
    assert newcomer.silent_s("dead", 1000.0) == pytest.approx(40.0)
    third = receives(newcomer.records(1003.0), now=7.0, me="third")
    assert third.silent_s("dead", 7.0) == pytest.approx(43.0), "ages add up over those who pass it on"
    assert not third.is_alive("dead")
    assert third.silent_s("nobody", 7.0) == third.silent_s("third", 7.0) == 0


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 0.5)), min_size=1, max_size=6),
    st.floats(0, 1e6, allow_subnormal=False),
)
def test_age_is_the_time_for_which_a_record_was_held_on_its_way(hops, epoch):
    """Each hop holds it for a while and has a clock of its own; the age at the end is the sum of the holding times."""
    passed_on = record("a", 1, 3)
    for held_s, offset_s in hops:
        now = epoch * (1 + offset_s)
        made = receives([passed_on], now=now)
        passed_on = made.records(now + held_s)[1]
    assert passed_on.liveness.silent_s == pytest.approx(sum(held_s for held_s, _ in hops), abs=1e-6)
    assert replace(passed_on, liveness=replace(passed_on.liveness, silent_s=0.0)) == record("a", 1, 3)


@given(st.floats(-1e300, 0))
def test_a_record_from_the_future_is_as_old_as_a_new_one(silent_s):
    made = receives([record("a", 1, 1, silent_s=silent_s)], now=9.0)
    assert made.silent_s("a", 9.0) == 0
    assert made.records(9.0)[1].liveness.silent_s == 0


@given(st.floats(SILENT_S + 0.2, 1e300))
def test_a_fresher_record_of_any_age_kills_nobody_before_the_sweep(silent_s):
    """Who is alive falls silent in `sweep` alone, where those that wait for it are returned."""
    made = receives([record("a", 1, 1)])
    made.sweep(0.0)
    assert made.receive([record("a", 1, 2, silent_s=silent_s)], 0.1) == ([], [])
    assert made.is_alive("a")
    assert made.sweep(0.2) == ["a"]


@pytest.mark.parametrize("seed", range(3))
def test_ages_never_make_a_live_agent_look_dead(seed):
    """On a line, where records reach all but the next agent over up to four hops, nobody is ever taken for dead."""
    network = MemoryNetwork(1, seed, silent_s=5.0)
    names = [f"agent-{i}" for i in range(5)]
    for name in names:
        network.add_agent(name, [0.0])
    network.meet()
    beside = {frozenset(pair) for pair in pairwise(names)}
    network.weather = Weather(cut=frozenset(map(frozenset, combinations(names, 2))) - beside)
    for _ in range(30):
        network.run(1.0)
        assert all(living(agent) == names for agent in network.agents.values())


def test_dead_agent_is_gone_for_a_newcomer_of_its_swarm():
    """40 s after its end a newcomer counts it among the missing, with its true silence, and never as alive."""
    network = MemoryNetwork(1)
    for name in ("a", "b", "dead"):
        network.add_agent(name, [0.0])
    network.meet()
    network.isolate("dead")
    network.run(40.0)
    late = network.add_agent("late", [0.0])
    seen = []
    assert network.run(
        20.0, lambda: seen.append(late.core.members.is_alive("dead")) or living(late) == ["a", "b", "late"]
    )
    network.run(10.0, lambda: seen.append(late.core.members.is_alive("dead")))
    assert not any(seen)
    assert [member.agent for member in late.core.members.gone()] == ["dead"]
    assert 45 < late.core.members.silent_s("dead", network.now) < 55
