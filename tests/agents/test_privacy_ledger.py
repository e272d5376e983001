"""The privacy budget of a folder: booked before it is spent, kept over restarts, and never exceeded."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents import privacy_ledger as ledgers
from agents.claim import LastStart
from agents.learning.dp.accountant import Account, PrivacyError
from agents.learning.dp.mechanism import Mechanism
from agents.privacy_ledger import FILE, PrivacyLedger, ledger_of
from agents.settings import Learning
from agents.values import Budget

pytest.importorskip("dp_accounting")

BUDGET = Budget(4.0, 1e-5)
MECHANISM = Mechanism(samples=300, batch_size=30, clip=1.0, noise_multiplier=1.2)
STEPS = 400


def opened(folder: Path, mechanism: Mechanism = MECHANISM, **more) -> PrivacyLedger:
    return PrivacyLedger(folder, BUDGET, mechanism, STEPS, **more)


def written(folder: Path) -> int:
    return sum(each["steps"] for each in json.loads((folder / FILE).read_text())["spent"])


def test_what_is_spent_is_written_before_and_given_back_if_it_isn_t(tmp_path):
    ledger = opened(tmp_path)
    assert ledger.epsilon_spent == 0 and not (tmp_path / FILE).exists()
    for taken in range(0, 30, 3):
        assert ledger.book(3) and written(tmp_path) >= taken + 3
        ledger.spend(3)
        assert ledger.epsilon_spent == pytest.approx(Account(1e-5, 1.2, 0.1).epsilon(taken + 3))
    ledger.book(3)
    assert written(tmp_path) > 30
    ledger.close()
    assert written(tmp_path) == 30


def test_nothing_is_spent_that_isn_t_booked(tmp_path, monkeypatch):
    ledger = opened(tmp_path)
    with pytest.raises(PrivacyError, match="1 steps were to be taken of 0 that are booked"):
        ledger.spend(1)

    def full(path, text):
        raise OSError("no space left")

    monkeypatch.setattr(ledgers, "write_text", full)
    assert not ledger.book(1) and ledger.epsilon_spent == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_restart_continues_the_account(tmp_path, killed):
    """A killed agent's account holds what it may have taken, and what it has taken at least."""
    first = opened(tmp_path)
    whole = first.affordable(10**6)
    first.book(20)
    first.spend(20)
    if not killed:
        first.close()
    again = opened(tmp_path)
    least = Account(1e-5, 1.2, 0.1).epsilon(20)
    assert (again.epsilon_spent >= least - 1e-9 and killed) or again.epsilon_spent == pytest.approx(least)
    left = again.affordable(10**6)
    assert left == whole - written(tmp_path) and whole - left >= 20
    assert again.book(left)
    again.spend(left)
    assert again.epsilon_spent <= BUDGET.epsilon * (1 + 1e-6) and again.affordable(10**6) == 0
    again.close()
    assert written(tmp_path) == whole and opened(tmp_path).affordable(5) == 0


def test_steps_of_other_noise_and_batches_are_accounted_as_they_were(tmp_path):
    louder, account = Mechanism(300, 60, 1.0, 3.0), Account(1e-5, 3.0, 0.2)
    for mechanism in (MECHANISM, louder):
        ledger = opened(tmp_path, mechanism)
        ledger.book(25)
        ledger.spend(25)
        ledger.close()
    spent = json.loads((tmp_path / FILE).read_text())["spent"]
    assert [(each["noise_multiplier"], each["steps"]) for each in spent] == [(1.2, 25), (3.0, 25)]
    assert max(account.epsilon(25), Account(1e-5, 1.2, 0.1).epsilon(25)) < opened(tmp_path).epsilon_spent


def test_a_checkpoint_knows_what_was_spent_if_the_file_is_lost(tmp_path):
    ledger = opened(tmp_path)
    ledger.book(50)
    ledger.spend(50)
    saved = json.loads(json.dumps(ledger.facts()))
    (tmp_path / FILE).unlink()
    assert opened(tmp_path, saved=saved["spent"]).epsilon_spent >= ledger.epsilon_spent == saved["epsilon_spent"]


def test_a_folder_is_private_from_its_first_step_to_its_last_or_never(tmp_path):
    open_model, private = Learning(), Learning(dp=BUDGET)
    prepared = SimpleNamespace(mechanism=MECHANISM, steps=STEPS)
    assert ledger_of(open_model, prepared, tmp_path, {"step": 5}) is None
    with pytest.raises(PrivacyError, match="was trained without --dp, and no noise takes that back"):
        ledger_of(private, prepared, tmp_path, {"step": 5})
    with pytest.raises(PrivacyError, match="was trained without --dp, and no noise takes that back"):
        ledger_of(
            private, prepared, tmp_path, {}, LastStart("a", "run", 1, ("--task", "digits"))
        )  # Killed before it saved.
    assert ledger_of(private, prepared, tmp_path, {}, LastStart("a", "run", 1, ("--dp", "3,1e-4"))) is not None
    ledger = ledger_of(private, prepared, tmp_path, {})
    saved = {"step": 5, "privacy": ledger.facts()}
    with pytest.raises(PrivacyError, match="was trained with --dp: give it again, or another --run-dir"):
        ledger_of(open_model, prepared, tmp_path, saved)
    assert ledger_of(private, prepared, tmp_path, saved) is not None
    ledger.book(1)
    with pytest.raises(PrivacyError, match="was trained with --dp"):
        ledger_of(open_model, prepared, tmp_path, {})


def test_a_file_that_can_t_be_read_is_refused(tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(PrivacyError, match=r"privacy.json must hold what was spent .* another --run-dir"):
        opened(tmp_path)
