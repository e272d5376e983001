"""Who is alive: the freshest record wins, whatever the order and the way by which it came; records carry their age."""

import math
from dataclasses import replace
from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather, living

from agents.protocol.incarnation import Incarnation
from agents.protocol.known import CONFIRMATIONS
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


def meets(*batches, now=0.0, me="me"):
    """As `receives`, where each agent of whom there is a record has sent something itself."""
    made = Membership(record(me), silent_s=SILENT_S, sweep_s=SWEEP_S)
    for batch in batches:
        for each in batch:
            made.contact(Incarnation(each.agent, each.incarnation), now)
            made.receive([each], now)
    return made


def sweeps(made, from_s, to_s):
    """Who goes when, in sweeps every SWEEP_S."""
    first, last = round(from_s / SWEEP_S), round(to_s / SWEEP_S)
    return {agent: n * SWEEP_S for n in range(first, last + 1) for agent in made.sweep(n * SWEEP_S)}


def known(made):
    return {m.agent: (m, made.is_alive(m.agent)) for m in (*made.others(), *made.gone())}


batches = st.lists(published(), max_size=5)


@given(batches, batches, batches)
def test_receiving_is_commutative_associative_and_idempotent(a, b, c):
    once = known(receives(a, b, c))
    assert all(known(receives(*order)) == once for order in permutations([a, b, c]))
    assert known(receives(a + b + c)) == once
    assert known(receives(a, b, c, b, a)) == once
    passed_on = [*receives(a, b).others(), *receives(a, b).gone()]
    assert known(receives(passed_on, c)) == once, "records that others pass on are as good"


@given(batches)
def test_greatest_incarnation_and_heartbeat_wins(records):
    made = receives(records)
    for agent in {member.agent for member in records}:
        best = max((m.incarnation, m.liveness.heartbeat) for m in records if m.agent == agent)
        assert (made.get(agent).incarnation, made.get(agent).liveness.heartbeat) == best


def test_suspected_member_goes_and_comes_back_with_its_next_record():
    made = meets([record("a", 1, 1)])
    assert sweeps(made, 0, 20) == {}, "nobody goes that no probe of ours has failed for"
    assert made.suspect("a", 20.0)
    assert not made.suspect("a", 20.1), "no news"
    assert sweeps(made, 20, 30) == {"a": 20 + SILENT_S}
    assert not made.is_alive("a") and made.others() == [] and made.neighbors_among() == ["me"]
    assert [member.agent for member in made.gone()] == ["a"]
    assert made.receive([record("a", 1, 1)], 31.0) == ([], []), "an old record does not bring it back"
    assert made.receive([record("a", 1, 2, silent_s=7)], 31.0) == ([], []), "nor one from before it went"
    assert made.receive([record("a", 1, 3)], 31.0) == (["a"], [])
    assert made.is_alive("a")


def test_a_suspicion_ends_with_anything_later_that_shows_it_alive():
    for sign in (
        lambda made, at: made.contact(Incarnation("a", 1), at),
        lambda made, at: made.receive([record("a", 1, 2)], at),
        lambda made, at: made.vouched("a", at),
    ):
        made = meets([record("a", 1, 1)])
        made.suspect("a", 10.0)
        sign(made, 12.0)
        assert not made.suspects() and sweeps(made, 10, 30) == {}
    made = meets([record("a", 1, 1)])
    made.suspect("a", 10.0)
    made.receive([record("a", 1, 2, silent_s=3.0)], 12.0)
    assert sweeps(made, 10, 30) == {"a": 10 + SILENT_S}, "published before the suspicion began"


@pytest.mark.parametrize("others", range(6))
def test_the_more_suspect_it_the_shorter_it_lasts_and_none_without_a_probe_of_ours(others):
    """Lifeguard, section IV.B: from the longest to the shortest time by log(confirmations + 1)."""
    made = meets([record(name) for name in "abcdefg"])
    for name in "bcdefg"[:others]:
        made.suspect("a", 20.0, by=name)
    assert sweeps(made, 20, 60) == {}, "others alone remove nobody"
    made.contact(Incarnation("a", 1), 60.0)
    made.suspect("a", 70.0)
    for name in "bcdefg"[:others]:
        made.suspect("a", 70.0, by=name)
        made.suspect("a", 70.0, by=name)
    share = math.log(min(others, CONFIRMATIONS) + 1) / math.log(CONFIRMATIONS + 1)
    expected = 70 + SILENT_S * (1 - share * 2 / 3)
    assert sweeps(made, 70, 90)["a"] == pytest.approx(expected, abs=SWEEP_S)


def test_who_sent_us_something_just_now_is_suspected_by_nobodys_word():
    made = meets([record("a"), record("b")], now=10.0)
    assert not made.suspect("a", 10.4, by="b")
    assert made.suspect("a", 10.0 + SILENT_S, by="b")


def test_left_is_immediate_and_final_for_that_incarnation():
    made = receives([record("a", 1, 1)])
    assert made.receive([record("a", 1, 2, state="left")], 0.1) == ([], ["a"])
    assert made.others() == []
    assert made.receive([record("a", 1, 1)], 0.2) == ([], [])
    assert made.receive([record("a", 2, 0)], 0.3) == (["a"], []), "a new incarnation is another matter"
    assert made.receive([record("b", 1, 9, state="left")], 0.4) == ([], []), "one who left before we knew it"
    made.contact(Incarnation("a", 2), 0.4)
    assert made.all_finished() is False
    made.receive([record("a", 2, 1, state="settling")], 0.5, Incarnation("a", 2))
    assert made.all_finished() is True


# Rumor informs, contact counts.


def test_nobody_counts_before_it_answered_us_itself():
    made = receives([record("ghost", state="training")])
    assert made.is_alive("ghost") and not made.is_met("ghost")
    assert made.neighbors_among() == ["me"] and made.met() == [] and made.all_finished()
    assert made.records(0.0) == made.deltas(0.0) == (made.me,), "nor is it passed on"
    made.contact(Incarnation("ghost", 1), 1.0)
    assert made.neighbors_among() == ["ghost", "me"] and not made.all_finished()
    assert [each.agent for each in made.records(1.0)] == [each.agent for each in made.deltas(1.0)] == ["me", "ghost"]


@pytest.mark.parametrize("forged", [
    record("a", 1, 2, state="left"), record("a", 2**62, 0), record("a", 2**62, 9, state="left"), record("a", 0, 2**62),
    record("a", 1, 2**62),
])  # fmt: skip
def test_what_others_pass_on_about_an_agent_in_contact_ends_nothing(forged):
    made = meets([record("a", 1, 1)])
    assert made.receive([forged], 1.0, Incarnation("liar", 1)) == ([], [])
    assert made.is_alive("a") and (made.get("a").incarnation, made.get("a").liveness.heartbeat) == (1, 1)
    assert made.receive([record("a", 1, 2, step=7)], 2.0, Incarnation("a", 1)) == ([], [])
    assert made.get("a").report.step == 7, "its own record is taken in"


@pytest.mark.parametrize("state", ["joining", "settling", "left"])
def test_what_state_an_agent_in_contact_is_in_it_sends_itself(state):
    """Else one liar takes it out of the topology, or has it waited for as if it had finished."""
    made = Membership(record("me"), silent_s=SILENT_S, sweep_s=SWEEP_S)
    made.contact(Incarnation("a", 1), 0.0)
    made.receive([record("a", 1, 1)], 0.0, Incarnation("a", 1))
    for beat in range(2, 50):
        made.receive([record("a", 1, beat, state=state)], 0.1, Incarnation("liar", 1))
        assert made.neighbors_among() == ["a", "me"] and not made.all_finished()
    made.receive([record("a", 1, 50, step=7)], 0.1, Incarnation("other", 1))
    assert made.get("a").report.step == 7, "how far it is others may say"
    made.receive([record("a", 1, 2, state="settling")], 0.1, Incarnation("a", 1))
    assert made.all_finished()


def test_its_own_record_precedes_what_others_passed_on_with_a_greater_heartbeat():
    made = meets([record("a", 1, 1)])
    made.receive([record("a", 1, 900, step=9)], 1.0, Incarnation("liar", 1))
    made.receive([record("a", 1, 2, step=2)], 2.0, Incarnation("a", 1))
    assert made.get("a").report.step == 2
    made.receive([record("a", 1, 1, step=1)], 2.0, Incarnation("a", 1))
    assert made.get("a").report.step == 2, "of its own records the latest counts"


def test_an_agent_whose_clock_went_back_is_taken_in_when_it_comes_itself():
    made = meets([record("a", 900, 1)])
    made.suspect("a", 1.0)
    sweeps(made, 1, 20)
    assert made.receive([record("a", 7, 1)], 20.0, Incarnation("b", 1)) == ([], [])
    made.contact(Incarnation("a", 7), 20.0)
    assert made.receive([record("a", 7, 1)], 20.0, Incarnation("a", 7)) == (["a"], [])
    assert made.get("a").incarnation == 7 and made.neighbors_among() == ["a", "me"]


@pytest.mark.parametrize("stall_s", [6.0, 60.0])
def test_stall_of_ours_is_forgiven_and_no_longer_than_it_was(stall_s):
    made = meets([record("a", 1, 1)])
    made.sweep(0.0)
    made.suspect("a", 0.0)
    assert made.sweep(stall_s) == []
    gone = sweeps(made, stall_s + SWEEP_S, stall_s + 10)
    assert gone["a"] == pytest.approx(stall_s + SILENT_S, abs=3 * SWEEP_S)


# Each message carries a bounded number of records.


def test_what_changed_goes_out_first_and_everything_in_turn():
    made = meets([record(f"{i:03}") for i in range(300)])
    for _ in range(2000):
        made.deltas(0.0)
    made.receive([record("299", state="settling", heartbeat=5)], 0.0, Incarnation("299", 1))
    assert made.deltas(0.0)[1].agent == "299"
    sent = [{each.agent for each in made.deltas(0.0)} for _ in range(60)]
    assert set().union(*sent) == {"me", *(f"{i:03}" for i in range(300))}
    assert sum("299" in each for each in sent) < 40, "not for ever"


def test_a_small_swarm_is_in_every_message():
    made = meets([record(f"agent-{i}") for i in range(7)])
    assert all(len(made.deltas(0.0)) == 8 for _ in range(50))


def test_nobody_publishes_for_us():
    made = receives([record("me", 9, 9, "tcp://evil.example:1", "left"), record("", 9)])
    assert made.me == record("me")
    assert made.records(0.0) == (made.me,)


def test_our_share_of_the_weight_is_that_among_all_that_are_alive():
    made = meets(
        [
            record("a", weight=2.0),
            record("b", weight=5.0),
            record("c", state="left", weight=100.0),
            record("d", weight=-8.0),
        ]
    )
    assert made.share == 1 / 8 and receives().share == 1


def test_silence_must_be_longer_than_two_sweeps():
    with pytest.raises(ValueError, match=r"got 0\.2 and sweep_s 0\.1"):
        Membership(record("me"), silent_s=0.2, sweep_s=0.1)


def test_publishing_changes_what_is_named_and_is_a_heartbeat():
    made = receives()
    made.publish(step=7, state="settling", address="tcp://me.example:1")
    assert made.me == record("me", 1, 1, "tcp://me.example:1", "settling", step=7)
    made.publish()
    assert made.me == record("me", 1, 2, "tcp://me.example:1", "settling", step=7)
    with pytest.raises(TypeError, match="got mood, agent"):
        made.publish(step=8, mood="good", agent="you")
    assert made.me.report.step == 7


@pytest.mark.parametrize("state", STATES)
def test_only_who_is_alive_and_holds_a_vector_is_a_neighbor(state):
    made = meets([record("a", state=state), record("b")])
    assert made.neighbors_among() == (["b", "me"] if state in ABSENT else ["a", "b", "me"])
    assert made.is_alive("a") == (state != "left")
    for name in "ab":
        made.suspect(name, 0.0)
    sweeps(made, 0, 10)
    assert made.neighbors_among() == ["me"]


# A record carries its age.


def test_record_of_a_dead_agent_does_not_make_it_look_alive_to_a_newcomer():
    """`old` knew `dead` for a while; 40 s after its last record a newcomer hears of it for the first time."""
    old = meets([record("dead", 1, 9)], now=100.0, me="old")
    old.suspect("dead", 101.0)
    sweeps(old, 101, 120)
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
    st.floats(1e3, 1e6),
)
def test_age_is_the_time_for_which_a_record_was_held_on_its_way(hops, epoch):
    """Each hop holds it for a while and has a clock of its own; the age at the end is the sum of the holding times."""
    passed_on = record("a", 1, 3)
    for held_s, offset_s in hops:
        now = epoch * (1 + offset_s)
        made = meets([record("a", 1, 1)], now=now - 1000.0)
        made.receive([passed_on], now)
        passed_on = made.records(now + held_s)[1]
    assert passed_on.liveness.silent_s == pytest.approx(sum(held_s for held_s, _ in hops), abs=1e-6)
    assert replace(passed_on, liveness=replace(passed_on.liveness, silent_s=0.0)) == record("a", 1, 3)


@given(st.floats(-1e300, 0))
def test_a_record_from_the_future_is_as_old_as_a_new_one(silent_s):
    made = meets([record("a", 1, 1, silent_s=silent_s)], now=9.0)
    assert made.silent_s("a", 9.0) == 0
    assert made.records(9.0)[1].liveness.silent_s == 0


@pytest.mark.parametrize("seed", range(3))
def test_ages_never_make_a_live_agent_look_dead(seed):
    """On a line, where all but the next know of each other through others alone, over four hops, nobody ever goes."""
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
