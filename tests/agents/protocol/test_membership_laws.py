"""Who is alive: the freshest word wins, whatever the order and the way by which it came."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol.membership import Membership
from transport.messages import Member

SILENT_S, SWEEP_S = 5.0, 0.1


@st.composite
def words(draw):
    """What agents may have said: one word for each (agent, incarnation, heartbeat), with or without its address."""
    agent, life, beat = draw(st.sampled_from("ab")), draw(st.integers(1, 2)), draw(st.integers(0, 4))
    address = draw(st.sampled_from(["", f"tcp://{agent}{life}.example:1"]))
    state = draw(st.just("left") if beat == 4 else st.just("training"))
    return Member(agent, life, beat, address, state, step=beat)


def hears(*rumors):
    made = Membership(Member("me", 1), silent_s=SILENT_S, sweep_s=SWEEP_S)
    for rumor in rumors:
        made.hear(rumor, 0.0)
    return made


def known(made):
    return {m.agent: (m, made.is_alive(m.agent)) for m in made.rumor(0.0)[1:]}


rumors = st.lists(words(), max_size=5)


@given(rumors, rumors, rumors)
def test_hearing_is_commutative_associative_and_idempotent(a, b, c):
    once = known(hears(a, b, c))
    assert all(known(hears(*order)) == once for order in permutations([a, b, c]))
    assert known(hears(a + b + c)) == once
    assert known(hears(a, b, c, b, a)) == once
    told = hears(a, b).rumor(0.0)[1:]
    assert known(hears(told, c)) == once, "a rumor of rumors is as good"


@given(rumors)
def test_greatest_incarnation_and_heartbeat_wins(said):
    made = hears(said)
    for agent in {member.agent for member in said}:
        best = max((m.incarnation, m.heartbeat) for m in said if m.agent == agent)
        assert (made.get(agent).incarnation, made.get(agent).heartbeat) == best


def test_a_word_passed_on_is_as_old_as_it_is():
    """Who hears of a dead agent for the first time doesn't take it for alive, by however many others it came."""
    made = hears([Member("a", 1, 1), Member("b", 1, 1)])
    assert (made.silent_s("a", 3.0), made.silent_s("me", 3.0)) == (3.0, 0.0)
    near = Membership(Member("near", 1), silent_s=SILENT_S, sweep_s=SWEEP_S)
    near.hear(made.rumor(3.0), 100.0)
    far = Membership(Member("far", 1), silent_s=SILENT_S, sweep_s=SWEEP_S)
    assert far.hear(near.rumor(101.0), 1000.0)[0] == ["near", "me", "a", "b"]
    assert (far.silent_s("me", 1000.0), far.silent_s("a", 1000.0)) == (1.0, 4.0)
    late = Membership(Member("late", 1), silent_s=SILENT_S, sweep_s=SWEEP_S)
    assert late.hear(far.rumor(1002.0), 0.0) == (["far", "near", "me"], [])
    assert [member.agent for member in late.gone()] == ["a", "b"]
    assert late.hear([Member("a", 1, 2)], 0.5) == (["a"], []), "its next word brings it back"


def test_the_same_word_again_is_no_sign_of_life():
    made = hears()
    for tenth in range(60):
        made.hear([Member("a", 1, 1)], tenth / 10)
        made.sweep(tenth / 10)
    assert not made.is_alive("a") and made.silent_s("a", 8.0) == 8.0


def test_silent_member_goes_and_comes_back_with_its_next_word():
    made = hears([Member("a", 1, 1)])
    gone = []
    for tenth in range(60):
        gone += made.sweep(tenth / 10)
    assert gone == ["a"]
    assert not made.is_alive("a") and made.ids() == ["me"]
    assert made.hear([Member("a", 1, 1)], 6.0) == ([], []), "an old word is no sign of life"
    assert made.hear([Member("a", 1, 2)], 6.0) == (["a"], [])
    assert made.is_alive("a")


def test_left_is_immediate_and_final_for_that_life():
    made = hears([Member("a", 1, 1)])
    assert made.hear([Member("a", 1, 2, state="left")], 0.1) == ([], ["a"])
    assert made.ids() == ["me"]
    assert made.hear([Member("a", 1, 1)], 0.2) == ([], [])
    assert made.hear([Member("a", 2, 0)], 0.3) == (["a"], []), "a new life is another matter"
    assert made.hear([Member("b", 1, 9, state="left")], 0.4) == ([], []), "one who left before we knew it"
    assert made.all_finished() is False


@pytest.mark.parametrize("stall_s", [6.0, 60.0])
def test_stall_of_ours_is_forgiven_and_no_longer_than_it_was(stall_s):
    made = hears([Member("a", 1, 1), Member("b", 1, 1)])
    made.sweep(0.0)
    made.hear([Member("b", 1, 2)], stall_s)  # It had waited in our queue.
    assert made.sweep(stall_s) == []
    gone = {}
    for tenth in range(1, 60):
        for agent in made.sweep(stall_s + tenth / 10):
            gone[agent] = tenth / 10
    assert set(gone) == {"a", "b"}
    assert SILENT_S - 0.3 <= gone["a"] <= SILENT_S + 0.2
    assert gone["b"] <= SILENT_S + 0.2, "heard after the stall: its silence counts from then"


def test_nobody_speaks_for_us():
    made = hears([Member("me", 9, 9, "tcp://evil.example:1", "left"), Member("", 9)])
    assert made.me == Member("me", 1)
    assert made.rumor(0.0) == (made.me,)


def test_silence_must_be_longer_than_two_sweeps():
    with pytest.raises(ValueError, match=r"got 0\.2 and sweep_s 0\.1"):
        Membership(Member("me", 1), silent_s=0.2, sweep_s=0.1)
