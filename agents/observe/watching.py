"""Watches a running swarm: an observer, and what follows from what it sees."""

from collections.abc import Iterable

from agents.observe.observer import Observer
from transport.credentials import Credentials
from transport.messages import Welcome


class Watching:
    """observer: has met the swarm."""

    def __init__(self, join: Iterable[str], credentials: Credentials | None) -> None:
        self.observer = Observer(join, credentials)

    def meet(self, timeout_s: float) -> Welcome:
        """The welcome of the first agent that answers. Raises Unreachable."""
        return self.observer.meet(timeout_s)

    def look(self) -> None:
        """Ask everyone for records."""
        self.observer.refresh(0.4)

    def close(self) -> None:
        """Hang up."""
        self.observer.close()
