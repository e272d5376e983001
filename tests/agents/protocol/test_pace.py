"""Agents keep pace with their peers, and no single one of those holds them up."""

import random

from agents.protocol.pace import LOOK_S, MAX_PEERS, WINDOW_S, Pace
from agents.schedule import StepSchedule


def paced(own=100, now=0.0, **steps):
    """An agent that has taken `own` steps, and what others have."""
    pace = Pace()
    pace.own(own, now)
    for peer, step in steps.items():
        pace.saw(peer, step, now)
    return pace


def test_an_agent_rests_for_the_peer_it_mixed_with_as_far_as_another_is_behind_too():
    pace = paced(a=70, b=60, c=100)
    pace.mixed("b", 60, 0.0)
    assert pace.ahead(0.0) == 30
    pace.mixed("a", 70, 0.0)
    assert pace.ahead(0.0) == 30
    pace.mixed("c", 100, 0.0)
    assert pace.ahead(0.0) == 0, "it is not behind"


def test_one_peer_that_says_that_it_is_behind_is_not_waited_for():
    """Be it a liar, or twenty times slower: over many rounds training rests for under 5% of the time."""
    noise, pace, rested_s, now = random.Random(0), Pace(), 0.0, 0.0
    for round in range(1000):
        pace.own(round, now)
        for peer in "abcdef":
            pace.saw(peer, round + noise.randint(-3, 3), now - noise.random())
        pace.clear()
        pace.mixed("slow", round - 150, now)
        now += 1.0
        rested_s += StepSchedule(1).rest_s(pace.ahead(now), 1.0)
    assert rested_s < 0.05 * now


def test_two_that_hardly_advance_are_not_waited_for_but_one_that_comes_back_and_catches_up_is():
    """One twenty times slower and one that claims to stand still: neither catches up, whoever rests."""
    pace = Pace()
    for second in range(int(4 * LOOK_S)):
        pace.own(20 * second, float(second))
        for peer in "abcde":
            pace.saw(peer, 20 * second, float(second))
        pace.saw("back", 20 * second - 100, float(second))
        pace.saw("slow", second, float(second))
        pace.mixed("liar", 0, float(second))
    assert pace.ahead(second) == 0
    pace.mixed("slow", second, float(second))
    assert pace.ahead(second) == 0
    pace.saw("a", 20 * second - 50, float(second))
    pace.mixed("back", 20 * second - 100, float(second))
    assert pace.ahead(second) == 50


def test_what_was_said_a_while_ago_is_taken_for_farther():
    pace = paced(a=90, b=90)
    for second in range(int(WINDOW_S) + 1):
        pace.own(100 + 10 * second, float(second))
    pace.mixed("a", 110, WINDOW_S)
    assert pace.ahead(WINDOW_S) == 10, "b was 10 behind when we had 100"


def test_an_older_record_changes_nothing():
    pace = paced(a=100)
    pace.saw("a", 10, -1.0)
    assert pace._others["a"] == (100, 0.0)


def test_a_single_peer_is_not_waited_for_nor_anybody_before_an_exchange_nor_who_has_gone():
    assert paced(a=70).ahead(0.0) == paced(a=70, b=60).ahead(0.0) == 0
    pace = paced(a=70, b=60)
    pace.mixed("a", 70, 0.0)
    assert pace.ahead(0.0) == 30
    pace.forget({"a"})
    assert pace.ahead(0.0) == 0
    pace = paced(a=70, b=60)
    pace.mixed("a", 70, 0.0)
    pace.clear()
    assert pace.ahead(0.0) == 0


def test_of_many_the_slowest_seventh_is_left_out_and_memory_is_bounded():
    pace = paced(**{f"a{i}": 100 for i in range(19)}, x=10, y=20)
    pace.mixed("x", 10, 0.0)
    assert pace.ahead(0.0) == 0
    pace = paced(**{f"a{i}": 100 for i in range(18)}, x=10, y=20, z=30, w=40)
    pace.mixed("x", 10, 0.0)
    assert pace.ahead(0.0) == 60
    for i in range(MAX_PEERS + 10):
        pace.saw(f"b{i}", 0, 0.0)
    assert len(pace._others) == MAX_PEERS


def test_a_rest_is_as_long_as_the_way_to_catch_up_and_bounded():
    schedule = StepSchedule(10)
    assert [schedule.rest_s(ahead, 0.1) for ahead in (0, 20, 25, 30, 210, 1000, 2000)] == [0, 0, 0.5, 1.0, 2.0, 2.0, 0]
