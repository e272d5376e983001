"""The network thread: runs the gossip core over ZeroMQ in real time, whatever training does meanwhile.

It owns every socket. The training thread posts to an inbox, waits on a condition, or reads the last view of the swarm.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from agents.adopting import Adopting
from agents.dialing import DialingLink
from agents.enrolling import enrolled
from agents.finite import finite_loss
from agents.journal import Journal
from agents.protocol.core import GossipCore
from agents.protocol.driver import Driver
from agents.protocol.events import (
    Completed,
    Due,
    Event,
    Expelled,
    Fatal,
    Lost,
    Notice,
    Received,
    RoundOver,
    Signal,
    Tick,
)
from agents.protocol.links import Host
from agents.recorder import Recorder
from agents.reporting import Reporting
from agents.vectors import ReplicaVectors
from agents.view import View, view_of
from topology.errors import GossamerError
from transport.link import Link
from transport.messages import ConnectionId, Enroll, Stop

log = logging.getLogger("gossamer")

FLUSH_S = 0.25
"""Between two writes of the flight recorder."""


class SwarmError(GossamerError, RuntimeError):
    """The swarm refuses us. One line: what differs, both values, what to do."""

    code = "G302"


class PeerClosed(GossamerError, RuntimeError):
    """A peer that has finished or was closed is asked to take part again."""

    code = "G304"


class Network:
    """Runs `core` over `link` in a thread of its own. stop: whether a Stop on this connection is passed on."""

    def __init__(
        self,
        core: GossipCore,
        vectors: ReplicaVectors,
        link: Link,
        recorder: Recorder | None = None,
        stop: Callable[[ConnectionId], bool] = lambda connection: False,
    ) -> None:
        self._core, self._vectors, self._link, self._recorder, self._on_stop = core, vectors, link, recorder, stop
        dialing = DialingLink(link)
        self._driver = Driver(core, dialing, vectors, time.monotonic, self._on_signal, link.count_malformed)
        self._inbox: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._over = 0
        self._ahead, self._expected_s, self._usual_s = 0, 0.0, 0.0
        self._adopted, self._adopting = False, Adopting(self._driver, vectors)
        self._failure: BaseException | None = None
        self._journal = Journal()
        self.progress: dict[str, Any] = {}
        """What the training thread has reached: published with the next record. Replaced by it, never changed."""
        self.waited_s = 0.0
        """For how long training has waited for others, in all."""
        self._view = view_of(core, time.monotonic())
        self._stopping = self._ended = False
        self._flushed_s = 0.0
        self._reporting = Reporting(core)
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        vectors.adopted = self._has_adopted
        core.counts.host = Host(vectors.layers, link.refused.recent, dialing.by_codec)

    # The training thread's side.

    def start(self, round: int = 0) -> None:
        """Begin to meet peers and to answer. round: the last exchange that was begun by an earlier incarnation."""
        self._over = round
        self._thread.start()

    def ask(self, round: int) -> None:
        """Begin exchange number `round`; rounds are counted from 1, one at a time. `progress` is published with it."""
        with self._changed:
            self._ahead, self._expected_s = 0, self._usual_s

        def begin() -> None:
            self._core.pace.clear()
            self._reporting.publish_progress(self.progress, time.monotonic())
            self._driver.handle(Due(round))
            with self._changed:
                self._expected_s = self._usual_s = self._core.expected_s

        self._post(begin)

    def skip(self) -> None:
        """A boundary begins no exchange, as the last one is still under way."""
        self._post(lambda: self._core.skip(time.monotonic()))

    @property
    def expected_s(self) -> float:
        """How long the exchange that was asked for last should take, from its begin; 0 if nothing is known."""
        with self._changed:
            return self._expected_s

    def wait(self, round: int, timeout_s: float | None = None) -> bool:
        """Until that exchange is over: complete, declined or given up. False if timeout_s ran out first."""
        return self._wait(lambda: self._over >= round, timeout_s)

    @property
    def ahead(self) -> int:
        """Local steps that we are ahead of the peers (`pace`); 0 if nothing was exchanged since it was asked for."""
        with self._changed:
            return self._ahead

    def wait_until(self, condition: Callable[[View], bool], timeout_s: float) -> bool:
        """Until the swarm looks like this; False if timeout_s ran out first."""
        return self._wait(lambda: condition(self._view), timeout_s)

    def publish(self, **changes: Any) -> None:
        """Change this agent's record; a change of state, address or subnetwork is announced to all connections."""
        self._post(lambda: self._driver.publish(**finite_loss(changes)))

    def adopt(self, part: int | None = None, finished: str = "") -> None:
        """Take over the vector of an agent that trains already; `adopted` waits for it. As `Adopting.begin`."""
        with self._changed:
            self._adopted = False
        self._post(lambda: self._adopting.begin(time.monotonic(), part, finished))

    def adopted(self, timeout_s: float) -> bool:
        """Whether the whole vector is here, waiting at most timeout_s."""
        return self._wait(lambda: self._adopted, timeout_s)

    def stop_adopting(self) -> None:
        """Want no vector any longer: when this returns, it has come or never will."""
        stopped = False

        def stop() -> None:
            nonlocal stopped
            self._adopting.stop()
            with self._changed:
                stopped = True
                self._changed.notify_all()

        self._post(stop)
        self._wait(lambda: stopped, None)

    def handle(self, event: Event) -> None:
        """Let the core know of something that the training thread decides, such as Drain or FinishExactly."""
        self._post(lambda: self._driver.handle(event))

    def view(self) -> View:
        """The swarm as it looks now."""
        self.check()
        with self._changed:
            return self._view

    def check(self) -> None:
        """Raise in the training thread what the network thread failed with."""
        if self._failure is not None:
            raise self._failure

    @property
    def runs(self) -> bool:
        """Whether the thread is at work."""
        return self._thread.is_alive() and self._failure is None

    def stop(self) -> None:
        """Publish that we leave, and close every socket. Does nothing the second time, or if never started."""
        if not self._thread.ident:
            self._link.close()
            return
        if self._thread.is_alive():
            self._enqueue(lambda: self._driver.publish(state="left"))
            self._enqueue(self._stop)
        self._thread.join()

    def _post(self, call: Callable[[], None]) -> None:
        """Have the network thread do it. Raises what it failed with, or PeerClosed."""
        self.check()
        if self._ended:
            raise _closed()
        self._enqueue(call)

    def _enqueue(self, call: Callable[[], None]) -> None:
        self._inbox.append(call)
        self._link.wake()

    def _wait(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Until this is so; False if timeout_s ran out first. Raises what the thread failed with, or PeerClosed."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._failure is not None or self._ended, timeout_s)
            done = condition()
        self.check()
        if self._ended and not done:
            raise _closed()
        return done

    # The network thread's side.

    def _stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # Whatever it is belongs to the training thread, which is woken at once.
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            self._link.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _loop(self) -> None:
        tick_s = self._core.settings.tick_s
        next_tick = next_view = time.monotonic()
        while not self._stopping:
            for connection, message in self._link.poll(next_tick - time.monotonic()):
                if isinstance(message, Stop):
                    for peer in self._core.handshake.connections() if self._on_stop(connection) else ():
                        self._link.send(peer, Stop())
                elif isinstance(message, Enroll):
                    self._link.send(connection, enrolled(self._link.credentials, connection, message))
                else:
                    self._driver.handle(Received(connection, message))
            if removed := self._link.removed_keys():
                self._driver.handle(Expelled(tuple(removed)))
            while self._inbox:
                self._inbox.popleft()()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + tick_s
                self._core.counts.waited_s = self.waited_s
                self._reporting.publish(self.progress, self._link.statistics().bytes_sent, now)
                self._driver.handle(Tick())
                self._adopting.tick(now)
                next_view = self._refresh_view(now) if now >= next_view else next_view
                if self._recorder and now - self._flushed_s > FLUSH_S:
                    self._flushed_s = now
                    self._recorder.flush()

    def _refresh_view(self, now: float) -> float:
        """When to do it again: a view of a large swarm takes long to make."""
        view = view_of(self._core, now)
        with self._changed:
            self._view = view
            self._changed.notify_all()
        return now + self._core.look_s

    def _on_signal(self, signal: Signal) -> None:
        match signal:
            case RoundOver(round, _, why):
                if why:
                    log.debug("round %d: %s", round, why)
                with self._changed:
                    self._over = max(self._over, round)
                    self._ahead = self._core.pace.ahead(time.monotonic())
                    self._changed.notify_all()
            case Completed(_, _, distance):
                self._reporting.completed(distance, time.monotonic())
                with self._changed:
                    self._ahead = self._core.pace.ahead(time.monotonic())
            case Lost():
                self._journal.lost(signal, self._core.members.share)
            case Notice():
                text = self._journal.notice(signal, self._link.origin)
                if (what := text.removeprefix("refused ")) != text:  # Of this event are also those that refuse us.
                    self._link.refused.note(what)
            case Fatal(text):
                raise SwarmError(text)

    def _has_adopted(self) -> None:
        with self._changed:
            self._adopted = True
            self._changed.notify_all()


def _closed() -> PeerClosed:
    return PeerClosed("this peer was closed: to take part again, start a new one")
