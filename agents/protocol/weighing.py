"""What an agent weighs with `--weigh speed`: its shard's samples, of which a slow agent has a share alone (DESIGN 1.2).

An agent that hardly moves holds the mean back by its weight in it (docs/theory.md 33). The share is a power of two, and
changes where the agent's speed has clearly left it: each change moves the weighted mean, by what is changed times the
agent's distance from it, so there are few.
"""

import math
from collections.abc import Iterable
from statistics import median

from agents.protocol.pace import LOOK_S, Pace

BY_SPEED = "speed"
"""The value of `--weigh`."""

LEAST = 1 / 64
"""Of an agent's full weight, however slow it is."""

CLEARLY = 0.75
"""In powers of two: so far from its share an agent's speed must be before that changes."""


def share(speed: float, speeds: Iterable[float], now: float | None = None) -> float:
    """How much of its full weight an agent of this speed has: 1 from the median of all on, less below it.

    speed: its own, speeds: of all, its own among them; in any unit, >= 0. now: the share that it has, which stays
    unless its speed is clearly another; None for none. A power of two in [LEAST, 1].
    """
    middle = median(speeds)
    if middle <= 0:
        return 1.0 if now is None else now
    exact = math.log2(min(1.0, max(LEAST, speed / middle)))
    if now is not None and abs(exact - math.log2(now)) <= CLEARLY:
        return now
    return float(2.0 ** round(exact))


class Weighing:
    """What our model weighs by how fast we train. full: what it weighs at the median speed of all, or above it."""

    def __init__(self, full: float) -> None:
        self._full, self._share, self._looked_s = full, 1.0, -math.inf

    def weight(self, pace: Pace, now: float) -> float:
        """Ours from now on, by the speeds of ours and the others' that are known."""
        if pace.speed is not None and pace.speeds and now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._share = share(pace.speed, [pace.speed, *pace.speeds], self._share)
        return self._full * self._share
