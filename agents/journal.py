"""What happens to an agent, as lines in its log at a bounded rate: who connects, who is refused, who takes its vector.

Each record has an `event`, its kind in one word, and `facts`, for a log that programs read. Those that answer for data
read in "gossamer.audit" who had to do with this agent's model: connected, pulled, written.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from agents.protocol.events import Notice
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

    def notice(self, notice: Notice, origin: Callable[[ConnectionId], str]) -> None:
        """One of the protocol's notices. origin: the address at the other end of the connection that it names."""
        text, facts = notice.text, {"peer": str(notice.agent)} if notice.agent else {}
        if notice.connection is not None:
            address = facts["address"] = origin(notice.connection)
            text = text.replace(notice.connection, address)
        self.note(notice.event, text, **facts)
