"""How fast an agent trains, measured over up to a minute so that pauses and long steps don't change it. Sans-IO.

Steps are reported at boundaries, and training pauses: to evaluate, to save, to rest for others. So a speed is the steps
between two reports over the time between them, and only reports of more steps than before count. They lie at least half
as far apart as what is known of the agent goes back.
"""

SHORTEST_S, LONGEST_S = 4.0, 30.0
"""Least time between the two reports: half of what is known, within these bounds."""


class SpeedEstimate:
    """The speed of one agent, from the number of steps that it had taken at two times."""

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
    def step(self) -> int:
        """How many steps it has taken, as far as is known."""
        return self._last[0]

    @property
    def speed(self) -> float | None:
        """In local steps a second; None before it was measured. Who stands still for longer than measured is slower."""
        (step, began_s), (last, ended_s) = self._before, self._last
        if self._seen_s - ended_s > ended_s - began_s:
            ended_s = self._seen_s
        return (last - step) / (ended_s - began_s) if ended_s - began_s >= SHORTEST_S else None
