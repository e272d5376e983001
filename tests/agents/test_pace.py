"""What a peer says of its own steps costs training a bounded rest."""

from hypothesis import given
from hypothesis import strategies as st

from agents.pace import FIRST_PERIODS, SHARE, RestBudget

PERIOD_S = 0.1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=200))
def test_no_peer_costs_more_than_its_share_of_the_time_trained(wanted):
    """Whatever rest each boundary wants: one period of training, then what of it there is."""
    made, now, rested = RestBudget(), 0.0, {"a": 0.0, "b": 0.0}
    trained = 0.0
    for peer, rest_s in wanted:
        now, trained = now + PERIOD_S, trained + PERIOD_S
        granted_s = made.grant(peer, rest_s, now, PERIOD_S)
        assert 0 <= granted_s <= rest_s
        rested[peer] += granted_s
        now += granted_s
        for each in rested.values():
            assert each <= FIRST_PERIODS * PERIOD_S + SHARE * trained + 1e-9


def test_machines_that_differ_at_first_have_their_rest():
    made = RestBudget()
    assert made.grant("a", 20 * PERIOD_S, PERIOD_S, PERIOD_S) == 20 * PERIOD_S
    assert made.grant("b", 20 * PERIOD_S, 25 * PERIOD_S, PERIOD_S) == 20 * PERIOD_S
