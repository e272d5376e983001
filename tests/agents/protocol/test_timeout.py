"""The estimate of Jacobson and Karels (RFC 6298, section 2), within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.protocol.timeout import MAX_S, TimeoutEstimate

FIRST_S, FLOOR_S = 3.0, 0.5


def after(times):
    made = TimeoutEstimate(FIRST_S, FLOOR_S)
    for took_s in times:
        made.add(took_s)
    return made.timeout_s


def test_before_any_answer_it_is_the_first():
    assert after([]) == FIRST_S


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_it_is_the_formula_within_its_bounds(times):
    mean, deviation = times[0], times[0] / 2
    for took_s in times[1:]:
        deviation = 3 / 4 * deviation + 1 / 4 * abs(mean - took_s)
        mean = 7 / 8 * mean + 1 / 8 * took_s
    assert after(times) == pytest.approx(min(MAX_S, max(FLOOR_S, mean + 4 * deviation)), rel=1e-9)


@given(st.floats(0.6, 9.9))
def test_answers_that_take_equally_long_are_waited_for_little_longer(took_s):
    assert after([took_s] * 100) == pytest.approx(took_s, rel=1e-3)
