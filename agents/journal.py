"""What happens to an agent, as lines in its log at a bounded rate: who connects, who is refused, who takes its vector.

Each record has an `event`, its kind in one word, and `facts`, for a log that programs read. Those that answer for data
read in "gossamer.audit" who had to do with this agent's model: connected, pulled, written.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from agents.protocol.events import Lost, Notice
from transport.messages import ConnectionId

AUDITED = {"connected", "pulled", "written"}
"""Events that are logged as "gossamer.audit"; others as "gossamer"."""

BURST, PER_S = 100.0, 1.0
"""Lines of one event: so many at once, so many a second afterwards. How many were left out stands in the next one."""


class Journal:
    """Logs events. now: reads a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}
        self._omitted: defaultdict[str, int] = defaultdict(int)

    def note(self, event: str, text: str, **facts: Any) -> None:
        """One line, unless there were too many of this event lately. event: one of few words, never a peer's."""
        now = self._now()
        left, since_s = self._left.get(event, (BURST, now))
        left = min(BURST, left + PER_S * (now - since_s))
        self._left[event] = (left - (left >= 1), now)
        if left < 1:
            self._omitted[event] += 1
            return
        omitted = self._omitted.pop(event, 0)
        if omitted:
            text, facts = f"{text} (and {omitted} such lines left out before)", facts | {"omitted": omitted}
        log = logging.getLogger("gossamer.audit" if event in AUDITED else "gossamer")
        log.info("%s", text, extra={"event": event, "facts": facts})

    def lost(self, lost: Lost, share: float) -> None:
        """Chunks that one side alone may have applied. share: of our weight in that of all."""
        peer, count, moved = lost.peer, len(lost.chunks), share * lost.moved
        who = f"{peer.agent} (incarnation {peer.number})"
        text = f"{who} is over: it alone may have applied {count} of the chunks of our exchange"
        if not lost.initiated:
            text = f"{who} is over: we alone may have applied {count} of the chunks of its exchange"
            text += f", which moves the mean by {moved:.3g} at most" if moved else ""
        facts = {"peer": str(peer.agent), "incarnation": peer.number, "exchange": lost.exchange, "chunks": count}
        self.note("lost", text, **facts, **({"moved": moved} if moved else {}))

    def notice(self, notice: Notice, origin: Callable[[ConnectionId], str]) -> str:
        """One of the protocol's notices; its text. origin: the address at the other end of the connection it names."""
        text, facts = notice.text, {"peer": str(notice.agent)} if notice.agent else {}
        if notice.connection is not None:
            address = facts["address"] = origin(notice.connection)
            text = text.replace(notice.connection, address)
        self.note(notice.event, text, **facts)
        return text
