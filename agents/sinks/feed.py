"""Feeds sinks, each from a bounded queue in a thread of its own: one that is slow, fails or hangs holds up nobody."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from agents.sinks.measures import flat
from agents.sinks.sink import Point, Sink

log = logging.getLogger("gossamer")

MOST_POINTS = 1000
"""That wait for one sink. Of five a second those are more than three minutes; what comes when they are full is lost."""

CLOSE_S = 10.0
"""How long all sinks together may take at the end."""

HALTED_S = 3.0
"""As long, where an agent is asked to end at once."""


class Feed:
    """Hands points to the sink that `open` returns. name: for people. most: how many points wait for it."""

    def __init__(self, name: str, open: Callable[[], Sink], most: int = MOST_POINTS) -> None:
        self.name = name
        self._open, self._most = open, most
        self._points: deque[Point] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failed = ""
        self._given = self._written = 0
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)

    def start(self) -> None:
        """Open the sink, in its thread."""
        self._thread.start()

    def put(self, point: Point) -> None:
        """Hand over a point, at once and whatever the sink does; where too many wait for it already, it is dropped."""
        with self._changed:
            self._given += 1
            if len(self._points) < self._most:
                self._points.append(point)
            self._changed.notify()

    @property
    def dropped(self) -> int:
        """How many points the sink has not taken, those included that wait for it."""
        with self._changed:
            return self._given - self._written

    def end(self) -> None:
        """No more points will come: the sink takes what waits for it, and closes. Returns at once."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Wait until the sink has taken what waits for it and is closed, for so long; log how many points it lacks."""
        self.end()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            why = f": {self._failed}" if self._failed else ", as it is too slow" if self.dropped else ""
            if self.dropped:
                log.warning("%s has not taken %d of %d points%s", self.name, self.dropped, self._given, why)
            elif self._thread.is_alive():
                log.warning("%s has taken all points, but doesn't close: leaving it", self.name)

    def _run(self) -> None:
        try:
            sink = self._open()
            while (point := self._next()) is not None:
                self._write(sink, point)
            sink.close()
        except BaseException as error:  # Of a library, which may even ask the process to exit.
            self._fail(error)

    def _write(self, sink: Sink, point: Point) -> None:
        try:
            sink.write(point)
        except Exception as error:
            self._fail(error)
            return
        with self._changed:
            self._written += 1

    def _next(self) -> Point | None:
        with self._changed:
            self._changed.wait_for(lambda: self._points or self._closing)
            return self._points.popleft() if self._points else None

    def _fail(self, error: BaseException) -> None:
        """Said once, and again at the end with the number of points."""
        first, self._failed = not self._failed, f"{type(error).__name__}: {error}".splitlines()[0][:200]
        if first:
            log.warning("%s: %s; training goes on", self.name, self._failed)


class Feeds:
    """All sinks of an agent. served: ends what is open from the beginning. line: what an operator should read of it."""

    def __init__(self, feeds: Iterable[Feed] = (), served: Callable[[], None] = lambda: None, line: str = "") -> None:
        self._feeds, self._served, self.line = tuple(feeds), served, line

    def start(self) -> None:
        """Open all, each in its thread."""
        for feed in self._feeds:
            feed.start()

    def put(self, line: Mapping[str, Any]) -> None:
        """Hand over a line of metrics; a value that is no finite number is left out."""
        if self._feeds:
            keyed = {name: _finite(values) for name, values in line.items() if isinstance(values, Mapping)}
            point = Point(time.time(), int(line["step"]), _finite(flat(line)), keyed)
            for feed in self._feeds:
                feed.put(point)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Close all, in so many seconds together; whoever hangs is left, with a line. Does nothing the second time."""
        deadline_s = time.monotonic() + timeout_s
        feeds, self._feeds = self._feeds, ()
        for feed in feeds:
            feed.end()  # All of them first: one that hangs takes no time from the others.
        for feed in feeds:
            feed.close(max(0.0, deadline_s - time.monotonic()))
        self._served()


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float) and isfinite(value)}
