"""How fast an agent trains, over so long that how its steps come in doesn't show. Sans-IO.

Steps are reported at boundaries, and training pauses: to evaluate, to save, to rest for others. So a speed is measured
from one report that says more than the one before to another, over half of what is known at least, up to a minute.
"""

SHORTEST_S, LONGEST_S = 4.0, 30.0
"""Between the two reports from which a speed follows, as far as what is known goes back: so long, and once again as
long, at least."""


class Course:
    """The steps of one agent: at two times from which its speed follows, and at last."""

    def __init__(self, step: int, now: float) -> None:
        self._began_s = self._seen_s = now
        self._before = self._between = self._last = step, now

    def saw(self, step: int, now: float) -> None:
        """It has taken so many steps in all; fewer than before where it has started again."""
        self._seen_s = now
        if step < self._last[0]:
            self._before = self._between = self._last = step, now
        elif step > self._last[0]:
            self._last = step, now
            if now - self._between[1] >= min(LONGEST_S, max(SHORTEST_S, (now - self._began_s) / 2)):
                self._before, self._between = self._between, self._last

    @property
    def speed(self) -> float | None:
        """In local steps a second; None before it was measured. Who stands still for longer than measured is slower."""
        (step, began_s), (last, ended_s) = self._before, self._last
        if self._seen_s - ended_s > ended_s - began_s:
            ended_s = self._seen_s
        return (last - step) / (ended_s - began_s) if ended_s - began_s >= SHORTEST_S else None
