"""Refusals as an operator reads them: by reason, however many try, and for a while."""

import pytest

from transport.refused import MOST_CHARACTERS, MOST_KINDS, RECENT_S, Refused


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def refused(clock):
    return Refused(lambda: clock[0])


def test_whoever_knocks_again_and_again_is_one_refusal_with_a_count(refused, clock):
    refused.note("plaintext", "10.0.0.5")
    assert refused.recent() == {"plaintext (from 10.0.0.5)": 0.0}
    clock[0] += 5
    refused.note("plaintext", "10.0.0.6")
    refused.note("another key")
    clock[0] += 2
    assert refused.recent() == {"plaintext (2 times, the last from 10.0.0.6)": 2.0, "another key": 2.0}


def test_what_was_long_ago_is_shown_no_more_and_counts_anew(refused, clock):
    refused.note("plaintext")
    refused.note("plaintext")
    clock[0] += RECENT_S + 1
    assert refused.recent() == {}
    refused.note("plaintext")
    assert refused.recent() == {"plaintext": 0.0}


def test_reasons_that_somebody_makes_up_are_few_and_short(refused):
    for number in range(10 * MOST_KINDS):
        refused.note(f"{number} {'x' * 10_000}")
    found = list(refused.recent())
    assert [text.split()[0] for text in found] == [str(number) for number in range(9 * MOST_KINDS, 10 * MOST_KINDS)]
    assert max(map(len, found)) == MOST_CHARACTERS
