"""One connection of the handshake: who is at its other end, as far as that is known, and when to try again."""

import math
from dataclasses import dataclass

from agents.protocol.incarnation import Incarnation

RETRY_S = 0.02
"""After the first Hello, before it is sent again; twice as long each time."""

REFUSED_S = 60.0
"""After so long an address where we were refused may be dialed again: the agent there may have been corrected."""


@dataclass
class Contact:
    """One connection. peer None: not known yet; agent "": an observer. hello_s: when to send Hello next.

    dialed_s: when we opened it. reached: the address by which who opened it reached us, as its Hello has it.
    """

    dialed: bool
    peer: Incarnation | None = None
    ready: bool = False
    refused: bool = False
    credit: int = 1
    received_s: float = 0.0
    hello_s: float = 0.0
    retry_s: float = RETRY_S
    remind_s: float = 0.0
    dialed_s: float = 0.0
    reached: str = ""

    @property
    def due_s(self) -> float:
        """When to send Hello again, or to forget that we were refused; infinity where there is nothing to do."""
        if self.refused:
            return self.received_s + REFUSED_S
        return self.hello_s if self.dialed and not self.ready else math.inf
