"""For how long training waits, at a boundary, for the exchange that it began at an earlier one.

An exchange has the local steps of one period to be over. One that takes longer is late: training goes on without it,
takes in what came, and begins no other until it is over; so what doesn't fit is skipped, and never queued. How long it
should take is known from the last ones with that peer. A boundary waits at most

    ONCE_S                                    where the exchange should be over by now, once
    SHORT_S, or SHARE of the local steps      where nothing is known yet, once
    SHARE of the local steps                  else

An exchange that should take less than SHORT_S should be over however short a period is: so small models on a quick link
exchange at each boundary, as they are asked to.
"""

SHARE = 0.01
"""Of the time that the local steps since the last boundary took."""

SHORT_S = 0.1
"""What exchanges take on one machine or on one site, with models of up to some MB, also where others load it."""

ONCE_S = 0.5
"""The longest that training waits for an exchange that should be over by now."""


class Lateness:
    """Of the exchanges that one agent's training begins."""

    def __init__(self) -> None:
        self._late = -1

    def limit_s(self, round: int, expected_s: float, period_s: float) -> float:
        """How long this boundary may wait for the exchange of that round.

        expected_s: what it should take in all, 0 if nothing is known. period_s: what the local steps since the last
        boundary took.
        """
        little_s = SHARE * period_s
        if round == self._late or expected_s > max(SHORT_S, period_s + little_s):
            return little_s
        return max(ONCE_S if expected_s else SHORT_S, little_s)

    def skipped(self, round: int) -> None:
        """A boundary goes on though the exchange of that round is still under way."""
        self._late = round
