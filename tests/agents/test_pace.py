"""For whom training rests: the middle of those that are met, never for one of them alone."""

import pytest

from agents.fields import Every
from agents.pace import RECENT, Pace
from agents.schedule import REST_S, schedule_of

ALIVE = {f"peer-{i}" for i in range(100)}


def pace(*leads):
    made = Pace()
    for number, lead in enumerate(leads):
        made.met(f"peer-{number}", lead)
    return made


@pytest.mark.parametrize("others", [(0,), (3, -2), (-1, 1, 0, 2), (-5, 2, 5, 1, -1, 3)])
def test_one_that_is_far_behind_or_says_so_moves_the_middle_by_no_more_than_a_rank(others):
    nearest = sorted([0, *others])
    for lie in (10**12, -(10**12)):
        assert pace(*others, lie).lead(ALIVE) in nearest
    assert pace(10**12).lead(ALIVE) == 0, "nobody rests for the only other"


def test_where_most_are_behind_they_are_waited_for_and_have_caught_up_after_a_rest():
    ahead = pace(40, 50, 60, -10)
    assert ahead.lead(ALIVE) == 40
    ahead.rested(25)
    assert ahead.lead(ALIVE) == 15
    ahead.met("peer-0", 30)
    assert ahead.lead(ALIVE) == 25, "what an exchange shows takes the place of what was reckoned"


def test_who_is_gone_counts_no_longer_and_those_met_last_count():
    ahead = pace(40, 50)
    assert ahead.lead(ALIVE) == 40 and ahead.lead({"peer-1"}) == 0
    for number in range(10, 10 + RECENT):
        ahead.met(f"peer-{number}", 7)
    assert ahead.lead(ALIVE) == 7


@pytest.mark.parametrize(
    ("lead", "rest_s"), [(0, 0), (20, 0), (30, 0.1), (50, 0.3), (1000, REST_S), (5000, 0), (-99, 0)]
)
def test_a_rest_is_as_long_as_the_others_need_and_bounded(lead, rest_s):
    assert schedule_of(Every(steps=10), 0.0).rest_s(lead, 0.01) == pytest.approx(rest_s)


def test_a_period_longer_than_the_bound_may_be_rested_whole():
    assert schedule_of(Every(steps=10), 0.0).rest_s(1000, 1.0) == 10.0
    assert schedule_of(Every(seconds=1.0), 0.0).rest_s(1000, 1.0) == 0
