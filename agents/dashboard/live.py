"""Looks at a running swarm for the dashboard, and stops asking where that would keep its agents from leaving."""

import time
from collections.abc import Sequence

from agents.dashboard.models import Asked, Pulling
from agents.dashboard.story import Scene
from agents.observe.snapshot import snapshot
from agents.observe.watching import Watching
from transport.credentials import Credentials

END_S, ASK_S = 4.0, 15.0
"""Agents that have finished stay for whoever asks them: so long we watch them finish, and then ask this seldom."""


class Live:
    """Meets a swarm at these addresses. asked: how often its models are pulled, None for never. Raises Unreachable."""

    def __init__(
        self, join: Sequence[str], credentials: Credentials | None, timeout_s: float, asked: Asked | None = None
    ) -> None:
        self._watch = Watching(join, credentials)
        try:
            self._welcome = self._watch.meet(timeout_s)
        except BaseException:
            self._watch.close()
            raise
        self.title, self.where = self._welcome.run, ", ".join(join)
        self._last: Scene | None = None
        self._finished_s: float | None = None
        self._asked_s = 0.0
        self._pulling = Pulling(join, credentials, asked) if asked is not None else None
        if self._pulling is not None:
            self._pulling.start()

    def look(self) -> Scene:
        """The swarm as it is now."""
        now = time.monotonic()
        if self._last is not None and self._is_over(now) and now - self._asked_s < ASK_S:
            return self._last
        self._asked_s = now
        self._watch.look()
        observer = self._watch.observer
        seen = snapshot(self._watch, self._welcome)
        known = [*observer.alive(), *observer.gone()]
        ended = bool(known) and all(member.state in ("settling", "left") for member in known)
        if not ended:
            self._finished_s = None
        elif self._finished_s is None:
            self._finished_s = now
        models = self._pulling.models if self._pulling is not None else None
        lost = not observer.alive() and not ended
        self._last = Scene(seen, self._welcome.settings, ended, lost, models)
        return self._last

    def close(self) -> None:
        """Hang up."""
        if self._pulling is not None:
            self._pulling.stop()
        self._watch.close()

    def _is_over(self, now: float) -> bool:
        """Whether all have finished, and have become equal where they do."""
        return self._finished_s is not None and (now - self._finished_s > END_S)
