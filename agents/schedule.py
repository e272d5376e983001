"""When an agent publishes its vector and begins an exchange: every so many local steps, or every so many seconds."""

import math
from typing import Protocol

from agents.values import Every

PACE_PERIODS, STUCK_PERIODS = 2, 200
"""How many periods an agent runs ahead of the others before it rests, and before it takes them for stuck."""

REST_S = 2.0
"""At most, at one boundary, or as long as a period takes: who was ahead by more rests at the next one again."""


class Schedule(Protocol):
    """When the exchanges of a run are due.

    waits: whether a boundary may wait for the exchange that the one before it began (`agents.lateness`).
    steps_at_most: what `steps_ahead` never exceeds.
    """

    waits: bool
    steps_at_most: float

    def steps_ahead(self, step: int, step_s: float) -> int:
        """How many local steps to take in one go, at least 1.

        step: those taken; step_s: seconds of one, 0 if unknown.
        """

    def due(self, before: int, step: int, now: float) -> bool:
        """Whether a boundary is due after the steps from `before` to `step`.

        now: seconds on a clock that goes forward.
        """

    def period_s(self, step_s: float) -> float:
        """Seconds between two exchanges."""

    def rest_s(self, ahead: int, step_s: float) -> float:
        """How long to let peers catch up of whom we were so many local steps ahead when we mixed."""


class StepSchedule:
    """Every `steps` local steps. Where exchanges fit, at most one period ahead of the last one's answer."""

    waits = True

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.steps_at_most: float = steps

    def steps_ahead(self, step: int, step_s: float) -> int:
        """To the next boundary."""
        return self.steps - step % self.steps

    def due(self, before: int, step: int, now: float) -> bool:
        """When a multiple of `steps` was reached."""
        return step // self.steps > before // self.steps

    def period_s(self, step_s: float) -> float:
        """As long as the steps take."""
        return self.steps * step_s

    def rest_s(self, ahead: int, step_s: float) -> float:
        """As long as peers that are far behind will need to catch up.

        Agents that ran ahead would finish early and leave the model to those that are late, whose data it would then
        drift toward. All must take their steps before the swarm has finished, so this costs no time. Peers very far
        behind are new or stuck, and aren't waited for.
        """
        periods = ahead / self.steps
        if not PACE_PERIODS < periods < STUCK_PERIODS:
            return 0.0
        period_s = self.period_s(step_s)
        return min((periods - PACE_PERIODS) * period_s, max(REST_S, period_s))


class TimeSchedule:
    """Every `seconds`; never waits for an answer. now: when the first period begins."""

    waits = False
    steps_at_most: float = math.inf

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self._due_s = now + seconds

    def steps_ahead(self, step: int, step_s: float) -> int:
        """About half a period's."""
        return max(1, int(self.seconds / 2 / step_s)) if step_s else 1

    def due(self, before: int, step: int, now: float) -> bool:
        """When the period is over; the next one begins where it should have, or now if that is past."""
        if now < self._due_s:
            return False
        self._due_s = max(self._due_s + self.seconds, now)
        return True

    def period_s(self, step_s: float) -> float:
        """The period itself."""
        return self.seconds

    def rest_s(self, ahead: int, step_s: float) -> float:
        """None: speeds may differ."""
        return 0.0


def schedule_of(every: Every, now: float) -> Schedule:
    """The schedule that `--every` names."""
    return StepSchedule(every.steps) if every.steps else TimeSchedule(every.seconds, now)
