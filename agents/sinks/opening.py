"""Opens what an agent's metrics go to: whatever is missing or in the way shows before training, in one line."""

from collections.abc import Sequence

from agents.sinks.feed import Feed, Feeds
from agents.sinks.names import need, opener, place
from agents.sinks.sink import About


def feeds_of(trackers: Sequence[str], prometheus: str | None, about: About) -> Feeds:
    """The feeds of these trackers, and of Prometheus where it has an address. Raises SinkError.

    prometheus: PORT, on this machine alone, or HOST:PORT; None serves nothing. It is bound at once.
    """
    feeds = [Feed(name, opener(name, about)) for name in dict.fromkeys(trackers)]
    if prometheus is None:
        return Feeds(feeds)
    need("--prometheus", "prometheus_client", "prometheus-client")
    from agents.sinks.prometheus import Prometheus  # Where it is needed: the package may not be there.

    served = Prometheus(*place(prometheus), about.run, about.agent)
    return Feeds([*feeds, Feed("prometheus", lambda: served)], served.close, f"metrics for Prometheus: {served.url}")
