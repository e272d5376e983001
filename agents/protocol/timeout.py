"""How long to wait for an answer: the estimate of TCP, mean plus four deviations (Jacobson and Karels, RFC 6298)."""

MAX_S = 10.0
"""The longest that training waits for an answer, however slow the answers before it were."""


class TimeoutEstimate:
    """Estimates a timeout from the answer times measured so far.

    first_s: the timeout before any answer has been timed. floor_s: the least afterwards; MAX_S the most.
    """

    def __init__(self, first_s: float, floor_s: float) -> None:
        self._first_s = first_s
        self._floor_s = floor_s
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def add(self, took_s: float) -> None:
        """One answer took this long."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = took_s, took_s / 2
        else:
            self._deviation_s += (abs(took_s - self._mean_s) - self._deviation_s) / 4
            self._mean_s += (took_s - self._mean_s) / 8

    @property
    def timeout_s(self) -> float:
        """How long to wait for the next."""
        if self._mean_s is None:
            return self._first_s
        return min(MAX_S, max(self._floor_s, self._mean_s + 4 * self._deviation_s))
