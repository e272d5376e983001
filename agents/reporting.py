"""What an agent's network thread publishes about training and traffic: progress, exchanges, bytes, a stall."""

import math
from collections.abc import Mapping
from typing import Any

from agents.finite import finite_loss
from agents.protocol.core import GossipCore
from agents.stall import Stall


class Reporting:
    """Publishes into the record of `core` what has changed since the last time."""

    def __init__(self, core: GossipCore) -> None:
        self._core = core
        self._stall = Stall()
        self._exchanges, self._distance, self._last_s = 0, 0.0, math.nan

    def completed(self, distance: float, now: float) -> None:
        """Another exchange is complete. distance: norm of its difference."""
        self._exchanges, self._distance, self._last_s = self._exchanges + 1, distance, now

    def publish(self, progress: Mapping[str, Any], bytes_sent: int, now: float) -> None:
        """progress: what the training thread has reached, by the names of a report's fields. bytes_sent: in all."""
        me = self._core.members.me
        report = me.report
        if (self._exchanges, bytes_sent) != (report.exchanges, report.bytes_sent):
            age_s = -1.0 if math.isnan(self._last_s) else now - self._last_s
            exchanged = {"exchanges": self._exchanges, "bytes_sent": bytes_sent, "distance": self._distance}
            self._core.publish(**exchanged, last_exchange_s=age_s)
        if progress.get("step", report.step) != report.step:
            self.publish_progress(progress, now)
        stalled_s = self._stall.age_s(me, progress.get("step", report.step), now)
        if stalled_s != report.stalled_s:
            self._core.publish(stalled_s=stalled_s)

    def publish_progress(self, progress: Mapping[str, Any], now: float) -> None:
        """How far training is, to others and to the core, by which it keeps pace with them."""
        self._core.progressed(finite_loss(progress), now)
