"""The privacy budget of an agent's folder: what private steps have cost, whatever becomes of the process.

privacy.json holds the steps that may have been taken: a few more are booked there before they are, so that an agent
that is killed has never given away more than is written. What was booked and not taken is lost then.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.claim import LastStart
from agents.durable import write_text
from agents.learning.dp.accountant import Account, PrivacyError, Spending
from agents.learning.dp.mechanism import Mechanism
from agents.prepare import Prepared
from agents.settings import Learning
from agents.values import Budget

log = logging.getLogger("gossamer")

FILE = "privacy.json"

AHEAD = 100
"""Steps are booked at least a hundredth of a run ahead, so that there are about so many writes."""

NO_START = LastStart()

SLACK = 1e-9
"""Of epsilon: a sum that is taken in another order may differ by its rounding."""


class PrivacyLedger:
    """What has been spent of a budget, and what is still affordable.

    folder: the agent's. steps: of the whole run. saved: what a checkpoint knows to be spent, where the file was lost.
    Raises PrivacyError if the file can't be read.
    """

    def __init__(
        self, folder: Path, budget: Budget, mechanism: Mechanism, steps: int, saved: Iterable[Any] = ()
    ) -> None:
        self._path, self._budget, self._mechanism = folder / FILE, budget, mechanism
        written, kept = _read(self._path), [Spending(*each) for each in saved]
        self._past = max(written, kept, key=lambda spent: sum(each.steps for each in spent))
        self._account = Account(budget.delta, mechanism.noise_multiplier, mechanism.probability, self._past)
        self._ahead = max(1, steps // AHEAD)
        self._taken = self._booked = 0

    @property
    def delta(self) -> float:
        """Of the budget."""
        return self._budget.delta

    @property
    def epsilon_spent(self) -> float:
        """By all steps taken so far, at the budget's delta."""
        return self._account.epsilon(self._taken)

    def affordable(self, most: int) -> int:
        """How many more steps the budget allows, at most `most`."""
        allowed = self._account.affordable(self._budget.epsilon * (1 + SLACK), self._taken + most)
        return max(0, allowed - self._taken)

    def book(self, steps: int) -> bool:
        """Whether so many more steps may be taken: once they are on the disk."""
        if self._taken + steps > self._booked:
            return self._write(self._taken + max(steps, self._ahead))
        return True

    def spend(self, steps: int) -> None:
        """So many booked steps are being taken."""
        if self._taken + steps > self._booked:
            raise PrivacyError(f"{steps} steps were to be taken of {self._booked - self._taken} that are booked")
        self._taken += steps

    def close(self) -> None:
        """No more steps: give back what was booked and not taken."""
        if self._booked > self._taken:
            self._write(self._taken)

    def record(self) -> dict[str, float]:
        """For the agent's record."""
        return {"epsilon": self.epsilon_spent, "delta": self.delta}

    def facts(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"epsilon_spent": self.epsilon_spent, "delta": self.delta, "spent": self._spent(self._booked)}

    def __str__(self) -> str:
        return f"epsilon {self.epsilon_spent:.4g} of {self._budget.epsilon:g} at delta {self.delta:g}"

    def _spent(self, steps: int) -> list[Spending]:
        """With so many steps of this start."""
        now = Spending(self._mechanism.noise_multiplier, self._mechanism.probability, steps)
        *before, last = self._past or [now._replace(steps=0)]
        if last[:2] == now[:2]:
            return [*before, now._replace(steps=last.steps + steps)]
        return [*before, last, now]

    def _write(self, booked: int) -> bool:
        spent = [each._asdict() for each in self._spent(booked)]
        facts = {"delta": self.delta, "epsilon_spent": self._account.epsilon(booked), "spent": spent}
        try:
            write_text(self._path, json.dumps(facts, indent=2) + "\n")
        except OSError as error:
            log.warning("%s can't be written (%s): no private step is taken that isn't booked there", self._path, error)
            return False
        self._booked = booked
        return True


def ledger_of(
    learning: Learning, prepared: Prepared, folder: Path, saved: Mapping[str, Any], last: LastStart = NO_START
) -> PrivacyLedger | None:
    """The ledger of an agent's folder, None without --dp. saved: the facts of the checkpoint that it resumes from.

    last: the start before this one, of which there may be no checkpoint.
    Raises PrivacyError where a part of the training would be private and another not: neither would be true of it.
    """
    if learning.dp is None or prepared.mechanism is None:
        if "privacy" in saved or (folder / FILE).exists():
            raise PrivacyError(f"{folder} was trained with --dp: give it again, or another --run-dir")
        return None
    started = last.incarnation > 0 and "--dp" not in last.words and not (folder / FILE).exists()
    if started or (saved.get("step") and "privacy" not in saved):
        raise PrivacyError(f"{folder} was trained without --dp, and no noise takes that back: give another --run-dir")
    spent = saved.get("privacy", {}).get("spent", ())
    return PrivacyLedger(folder, learning.dp, prepared.mechanism, prepared.steps, spent)


def _read(path: Path) -> list[Spending]:
    if not path.exists():
        return []
    try:
        return [Spending(**each) for each in json.loads(path.read_text("utf-8"))["spent"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PrivacyError(
            f"{path} must hold what was spent of the privacy budget, and can't be read ({error}): restore it, or start "
            "anew in another --run-dir, whose epsilon adds to what this one has spent"
        ) from None
