"""Which connections were refused lately and why, in words, for an operator who doesn't read each agent's log."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

RECENT_S = 600.0
"""After so long without another, a refusal is no longer shown."""

MOST_KINDS, MOST_CHARACTERS = 8, 240
"""Reasons that are remembered, those of the last refusals, and how much of each: who connects may choose its words."""


@dataclass
class Refusal:
    """count: how often, since the first. host: of the last, "" where it isn't known. last_s: when that was."""

    count: int = 0
    host: str = ""
    last_s: float = 0.0


class Refused:
    """Counts refusals by reason; any thread may call. now: reads a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._by_reason: OrderedDict[str, Refusal] = OrderedDict()

    def note(self, why: str, host: str = "") -> None:
        """A connection was refused. why: in words, to be read after "refused"."""
        why = why[:MOST_CHARACTERS]
        with self._lock:
            found = self._by_reason.setdefault(why, Refusal())
            now = self._now()
            found.count = 1 if now - found.last_s > RECENT_S else found.count + 1
            found.host, found.last_s = host, now
            self._by_reason.move_to_end(why)
            if len(self._by_reason) > MOST_KINDS:
                self._by_reason.popitem(last=False)

    def recent(self) -> dict[str, float]:
        """What was refused, why, how often, and from where the last came, in words: how many seconds ago that was."""
        with self._lock:
            now = self._now()
            found = [(why, each, now - each.last_s) for why, each in self._by_reason.items()]
        return {_text(why, each): age_s for why, each, age_s in found if age_s <= RECENT_S}


def _text(why: str, refusal: Refusal) -> str:
    often = f", {refusal.count} times" if refusal.count > 1 else ""
    host = f"{', the last' if often else ''} from {refusal.host}" if refusal.host else ""
    return f"{why} ({(often + host).removeprefix(', ').strip()})" if often or host else why
