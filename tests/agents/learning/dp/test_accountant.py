"""The account of private steps is dp-accounting's, adds up over steps, and is what noise is calibrated by."""

import sys

import pytest

from agents.learning.dp.accountant import Account, PrivacyError, Spending, noise_for

dp_accounting = pytest.importorskip("dp_accounting")
from dp_accounting import pld, rdp  # noqa: E402 - an extra

CASES = [(0.7, 0.01, 1000, 1e-5), (1.1, 0.2, 60, 1e-4), (3.0, 1.0, 20, 1e-6), (0.9, 32 / 360, 100, 1e-4)]


def composed(accountant, *spendings: Spending):
    for noise, probability, steps in spendings:
        step = dp_accounting.PoissonSampledDpEvent(probability, dp_accounting.GaussianDpEvent(noise))
        accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
    return accountant


@pytest.mark.parametrize(("noise", "probability", "steps", "delta"), CASES)
def test_epsilon_is_that_of_dp_accounting(noise, probability, steps, delta):
    account = Account(delta, noise, probability)
    expected = composed(rdp.RdpAccountant(), Spending(noise, probability, steps)).get_epsilon(delta)
    assert account.epsilon(steps) == pytest.approx(expected, rel=1e-12)
    assert account.epsilon(0) == 0


def test_epsilon_of_steps_with_other_noise_before():
    past = [Spending(2.0, 0.1, 300), Spending(1.5, 0.05, 20)]
    expected = composed(rdp.RdpAccountant(), *past, Spending(1.0, 0.1, 7)).get_epsilon(1e-5)
    assert Account(1e-5, 1.0, 0.1, past).epsilon(7) == pytest.approx(expected, rel=1e-12)


def test_the_tightest_known_account_is_below_ours():
    """By numerical composition of privacy losses, which gives a bound from both sides."""
    spending = Spending(0.9, 32 / 360, 100)
    tight = composed(pld.PLDAccountant(), spending).get_epsilon(1e-4)
    assert 0.8 * Account(1e-4, *spending[:2]).epsilon(100) < tight < Account(1e-4, *spending[:2]).epsilon(100)


@pytest.mark.parametrize("epsilon", [0.3, 4.0])
def test_noise_is_enough_and_hardly_more(epsilon):
    noise = noise_for(epsilon, 1e-5, 0.1, 200)
    assert 0.999 * epsilon < Account(1e-5, noise, 0.1).epsilon(200) <= epsilon
    assert Account(1e-5, 0.999 * noise, 0.1).epsilon(200) > epsilon


def test_what_is_affordable_is_the_most_that_fits():
    account = Account(1e-5, 1.0, 0.1, [Spending(1.0, 0.1, 50)])
    steps = account.affordable(8.0, 10**6)
    assert steps > 0 and account.epsilon(steps) <= 8.0 < account.epsilon(steps + 1)
    assert account.affordable(8.0, 3) == 3
    assert account.affordable(0.1, 10**6) == 0


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(PrivacyError, match="--dp 1e-12,1e-12 is too little for 1000000000 steps"):
        noise_for(1e-12, 1e-12, 1.0, 10**9)


def test_without_dp_accounting_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(PrivacyError, match=r"install gossamer\[privacy\]"):
        noise_for(1.0, 1e-5, 0.1, 10)
