"""Looks at a running swarm for the dashboard: as whoever watches it, for whom no agent stays."""

from collections.abc import Sequence

from agents.dashboard.models import Asked, Pulling
from agents.dashboard.story import Scene
from agents.observe.snapshot import snapshot
from agents.observe.watching import Watching
from agents.protocol.membership import FINISHED
from transport.credentials import Credentials


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
        self._pulling = Pulling(join, credentials, asked) if asked is not None else None
        if self._pulling is not None:
            self._pulling.start()

    def look(self) -> Scene:
        """The swarm as it is now."""
        self._watch.look()
        observer = self._watch.observer
        alive, gone = observer.alive(), observer.gone()
        ended = observer.all_finished() and any(member.state in FINISHED for member in (*alive, *gone))
        models = self._pulling.models if self._pulling is not None else None
        seen = snapshot(self._watch, self._welcome)
        return Scene(seen, self._welcome.settings, ended, lost=not alive and not ended, models=models)

    def close(self) -> None:
        """Hang up."""
        if self._pulling is not None:
            self._pulling.stop()
        self._watch.close()
