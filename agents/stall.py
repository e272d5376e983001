"""For how long an agent's training has made no step, though its network answers: a hung loader, a stopped device."""

from transport.messages import Member

STALLED_S = 10.0
"""Without a step, before training counts as stalled; longer where steps have taken longer."""

LONGEST = 4.0
"""Times the longest pause between two steps so far, before training counts as stalled."""


class Stall:
    """What is published of a training loop that stands still: nothing at first, then its age each time that doubles."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._since_s = 0.0
        self._longest_s = 0.0

    def age_s(self, published: Member, step: int, now: float) -> float:
        """Seconds without a step, to publish in place of what `published` says: 0 while steps are taken.

        step: how many were taken. Only an agent in state training stalls, and only after its first step, before which
        programs are compiled.
        """
        training = published.state == "training"
        if step != self._step or not training:
            if training and self._step:
                self._longest_s = max(self._longest_s, now - self._since_s)
            self._step, self._since_s = step, now
            return 0.0
        age_s = now - self._since_s
        if not step or age_s < max(STALLED_S, LONGEST * self._longest_s, 2.0 * published.report.stalled_s):
            return published.report.stalled_s
        return age_s
