"""Prometheus: the last line of metrics, served on a port of the agent's own machine for whoever scrapes it."""

import threading
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.sinks.measures import FIELDS, JUDGED, judged
from agents.sinks.sink import Point, SinkError

PREFIX = "gossamer_"
LABELS = ("run", "agent")


class Prometheus(Collector):
    """Serves the last point at host:port, bound at once; port 0 is any free one. Raises SinkError if it is in use."""

    def __init__(self, host: str, port: int, run: str, agent: str) -> None:
        self._labels = (run, agent)
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}
        self._keyed: dict[str, Mapping[str, float]] = {}
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            raise SinkError(
                f"--prometheus {host}:{port} can't be served ({error}): give a free port, or port 0 for any"
            ) from None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}/metrics"
        self._open = True

    def write(self, point: Point) -> None:
        """What is served from now on; those of the last evaluation stay until the next one."""
        with self._lock:
            evaluated = {name: value for name, value in self._values.items() if judged(name) is not None}
            self._values, self._keyed = evaluated | dict(point.values), dict(point.keyed)

    def close(self) -> None:
        """Serve no longer. Does nothing the second time."""
        with self._lock:
            was_open, self._open = self._open, False
        if not was_open:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[Metric]:
        """What a scrape is answered: every field by its name and unit, evaluations by metric."""
        with self._lock:
            values, keyed = dict(self._values), self._keyed
        for name, measure in FIELDS.items():
            kind = CounterMetricFamily if measure.counts else GaugeMetricFamily
            labels = (*LABELS, measure.key) if measure.key else LABELS
            family = kind(PREFIX + name, f"{measure.unit}: {measure.help}", labels=labels)
            if name in values and not measure.key:
                family.add_metric(self._labels, values[name])
            for key, value in keyed.get(name, {}).items():
                family.add_metric((*self._labels, key), value)
            if family.samples:
                yield family
        for prefix, measure in JUDGED.items():
            data = prefix.rstrip("_")
            family = GaugeMetricFamily(PREFIX + data, measure.help, labels=(*LABELS, "metric"))
            for name, value in values.items():
                if (which := judged(name)) is not None and which[0] == data:
                    family.add_metric((*self._labels, which[1]), value)
            if family.samples:
                yield family
