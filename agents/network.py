"""The network thread: it drives the gossip core over a link and carries out what the core wants on the replica.

It owns every socket and answers offers at once, whatever training does. The training thread talks to it through
four calls that never touch a socket: `ask` and `wait` for exchanges, `tell` for progress, `view` for the swarm.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from agents.mixing.chunks import chunk_slice
from agents.mixing.codecs import CODECS
from agents.mixing.replica import Replica, finite, nothing
from agents.protocol.events import (
    Adopt,
    Answered,
    Close,
    Completed,
    Concede,
    Dial,
    Due,
    Effect,
    Event,
    Fatal,
    HangUp,
    Keep,
    Notice,
    Propose,
    Received,
    RoundOver,
    Send,
    Serve,
    Tick,
    Unusable,
)
from agents.protocol.gossip import GossipCore
from agents.recorder import ADOPT, ANSWER, CLOSE, KEEP, OFFER, SERVE, Life, Recorder
from topology.errors import GossamerError
from transport.link import Link, LinkError
from transport.messages import Member, Offer, Piece

log = logging.getLogger("gossamer")

FLUSH_S = 0.25
"""Between two writes of the flight recorder."""

LOSS_LIMIT = 1e30
"""What a loss that is not finite is reported as: only finite numbers travel."""


class SwarmError(GossamerError, RuntimeError):
    """The swarm doesn't take us, and says why."""


@dataclass(frozen=True)
class View:
    """The swarm as this agent sees it, at one moment.."""

    me: Member
    others: tuple[Member, ...] = ()
    gone: tuple[Member, ...] = ()
    welcomed: bool = False
    all_finished: bool = True
    observed: bool = False
    run: str = ""


@dataclass
class _Tally:
    exchanges: int = 0
    distance: float = 0.0
    last_s: float = math.nan
    squared: dict[tuple[str, bool], float] = field(default_factory=dict)


class Network:
    """Runs `core` over `link` in a thread of its own; `replica` is where it meets training."""

    def __init__(self, core: GossipCore, replica: Replica, link: Link, recorder: Recorder | None = None) -> None:
        self._core = core
        self._recorder = recorder
        self._offered: dict[tuple[int, int], Any] = {}
        self._replica = replica
        self._link = link
        self._inbox: deque[Callable[[float], list[Effect]]] = deque()
        self._changed = threading.Condition()
        self._over = 0
        self.peer_step: int | None = None
        self._adopting: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._adopted = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = False
        self._flushed_s = 0.0
        self._tally = _Tally()
        self._view = View(core.members.me)
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    # The training thread's side.

    def start(self, round: int = 0) -> None:
        """Begin to greet, listen and answer. round: the last exchange that was begun in an earlier life."""
        self._over = round
        self._thread.start()

    def ask(self, round: int) -> None:
        """Begin exchange number `round`; rounds are counted from 1, one at a time.

        Once it is over, `peer_step` says how far the last peer had trained that we mixed with since; None for none.
        """
        self.peer_step = None
        self._post(lambda now: self._core.step(Due(round), now))

    def wait(self, round: int, timeout_s: float | None = None) -> bool:
        """Until that exchange is over: complete, declined or given up. False if timeout_s ran out first."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._over >= round or self._failure is not None, timeout_s)
        self.check()
        return done

    def wait_until(self, condition: Callable[[View], bool], timeout_s: float) -> bool:
        """Until the swarm looks like this; False if timeout_s ran out first."""
        with self._changed:
            done = self._changed.wait_for(lambda: condition(self._view) or self._failure is not None, timeout_s)
        self.check()
        return done

    def tell(self, **changes: Any) -> None:
        """Change what this agent says of itself; a change of state is said to everyone at once."""
        if "loss" in changes and not math.isfinite(changes["loss"]):
            changes["loss"] = LOSS_LIMIT
        if "state" in changes:
            self._post(lambda now: self._core.announce(now, **changes))
        else:
            self._inbox.append(lambda now: self._core.report(**changes) or [])

    def adopt(self) -> None:
        """Take over the vector of an agent that is already training; `adopted` says when that is done."""
        self._adopting = np.empty(self._replica.parameters, np.float32)
        self._post(lambda now: self._core.step(Adopt(), now))

    def adopted(self, timeout_s: float) -> bool:
        """Whether the whole vector is here, waiting at most timeout_s."""
        done = self._adopted.wait(timeout_s)
        self.check()
        return done

    def view(self) -> View:
        """The swarm as it looks now."""
        self.check()
        return self._view

    def check(self) -> None:
        """Raise here what went wrong over there."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Say goodbye and close every socket."""
        self.tell(state="left")
        self._post(self._stop)
        self._thread.join()

    def _post(self, call: Callable[[float], list[Effect]]) -> None:
        self._inbox.append(call)
        self._link.wake()

    # The network thread's side.

    def _stop(self, now: float) -> list[Effect]:
        self._stopping = True
        return []

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # Whatever it is belongs to the training thread, which is told at once.
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            self._adopted.set()
        finally:
            self._link.close()

    def _loop(self) -> None:
        tick_s = self._core.settings.tick_s
        next_tick = time.monotonic()
        while not self._stopping:
            for door, message in self._link.poll(next_tick - time.monotonic()):
                self._do(self._core.step(Received(door, message), time.monotonic()))
            while self._inbox:
                self._do(self._inbox.popleft()(time.monotonic()))
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + tick_s
                self._report(now)
                self._do(self._core.step(Tick(), now))
                self._look(now)
                if self._recorder and now - self._flushed_s > FLUSH_S:
                    self._flushed_s = now
                    self._recorder.flush()

    def _report(self, now: float) -> None:
        tally, me = self._tally, self._core.members.me
        sent = self._link.statistics().bytes_sent
        if (tally.exchanges, sent) != (me.exchanges, me.bytes_sent):
            age_s = -1.0 if math.isnan(tally.last_s) else now - tally.last_s
            self._core.members.say(
                exchanges=tally.exchanges, bytes_sent=sent, distance=tally.distance, last_exchange_s=age_s
            )

    def _look(self, now: float) -> None:
        members, greeting = self._core.members, self._core.greeting
        view = View(
            members.me,
            tuple(members.others()),
            tuple(members.gone()),
            greeting.welcomed,
            members.all_finished(),
            greeting.observed(now),
            greeting.ours.run,
        )
        with self._changed:
            self._view = view
            self._changed.notify_all()

    def _do(self, effects: list[Effect]) -> None:
        todo = deque(effects)
        while todo:
            event = self._carry_out(todo.popleft())
            if event is not None:
                todo.extend(self._core.step(event, time.monotonic()))

    def _carry_out(self, effect: Effect) -> Event | None:
        match effect:
            case Propose(door, offer):
                self._link.send(door, offer, CODECS[offer.codec].encode(self._to_offer(door, offer)))
            case Concede():
                return self._concede(effect)
            case Close():
                return self._close(effect)
            case Send(door, message):
                self._link.send(door, message)
            case RoundOver(round, _, why):
                if why:
                    log.debug("round %d: %s", round, why)
                with self._changed:
                    self._over = max(self._over, round)
                    self._changed.notify_all()
            case Completed(peer, initiated):
                self._tally.exchanges += 1
                self._tally.last_s = time.monotonic()
                self._tally.distance = math.sqrt(self._tally.squared.pop((peer, initiated), 0.0))
            case Serve(door, pull, chunk):
                served = self._replica.read(chunk)
                if self._recorder and self._life(door)[0]:
                    served = self._replica.copy(chunk, self._note(SERVE, door, chunk, pull.request))
                self._link.send(door, Piece(pull.request, chunk, self._replica.parameters, served.data))
            case Keep():
                return self._keep(effect)
            case Dial(address):
                try:
                    self._link.dial(address)
                except LinkError as error:
                    log.warning("%s", error)
            case HangUp(door):
                self._link.hang_up(door)
            case Notice(text):
                log.info("%s", text)
            case Fatal(text):
                raise SwarmError(text)
        return None

    def _life(self, door: str) -> Life:
        contact = self._core.greeting.contact(door)
        return (contact.agent or "", contact.incarnation) if contact else ("", 0)

    def _note(
        self, op: int, door: str, chunk: int, number: int, alpha: float = 0.0, share: float = 0.0
    ) -> Callable[[], None]:
        """What a replica calls once it has done this."""
        if self._recorder is None:
            return nothing
        return partial(self._recorder.note, op, chunk, self._life(door), number, alpha, share)

    def _to_offer(self, door: str, offer: Offer) -> Any:
        """The chunk of an offer: of a recorded one a copy, and the same if it is repeated, to be known to the bit."""
        if self._recorder is None:
            return self._replica.read(offer.chunk)
        key = offer.exchange, offer.chunk
        if key not in self._offered:
            for exchange, chunk in [old for old in self._offered if not self._core.exchanges.is_open(old[0])]:
                del self._offered[exchange, chunk]
            note = self._note(OFFER, door, offer.chunk, offer.exchange)
            self._offered[key] = self._replica.copy(offer.chunk, note)
        return self._offered[key]

    def _concede(self, effect: Concede) -> Event:
        door, offer = effect.door, effect.offer
        try:
            offered = CODECS[offer.codec].decode(offer.payload, self._replica.size(offer.chunk))
            out = offered if offered.flags.writeable else None  # The offer's memory carries the answer back.
            note = self._note(ANSWER, door, offer.chunk, offer.exchange, offer.alpha, effect.share)
            d, squared = self._replica.answer(offer.chunk, offered, offer.alpha, effect.share, out, note)
        except ValueError as error:
            self._link.blame(door, str(error))
            return Unusable(door, offer.exchange, str(error))
        payload = CODECS[offer.codec].encode(d)
        self._link.send(door, effect.answer, payload)
        self._measure(door, False, squared)
        self.peer_step = offer.step
        return Answered(door, offer, payload)

    def _close(self, effect: Close) -> Event | None:
        answer = effect.answer
        try:
            d = CODECS["float32"].decode(answer.payload, self._replica.size(answer.chunk))
            note = self._note(CLOSE, effect.door, answer.chunk, answer.exchange, effect.alpha, effect.share)
            squared = self._replica.close(answer.chunk, d, effect.alpha, effect.share, note)
        except ValueError as error:
            self._link.blame(effect.door, str(error))
            return Unusable(effect.door, answer.exchange, str(error))
        self._measure(effect.door, True, squared)
        self.peer_step = answer.step
        return None

    def _measure(self, door: str, initiated: bool, squared: float) -> None:
        peer = self._life(door)[0]
        self._tally.squared[peer, initiated] = self._tally.squared.get((peer, initiated), 0.0) + squared

    def _keep(self, effect: Keep) -> Event | None:
        if self._adopting is None:
            return None
        span = chunk_slice(effect.chunk, self._replica.parameters)
        try:
            self._adopting[span] = finite(CODECS["float32"].decode(effect.payload, span.stop - span.start))
        except ValueError as error:
            self._link.blame(effect.door, str(error))
            return Adopt()
        self._note(KEEP, effect.door, effect.chunk, effect.request)()
        if effect.last:
            self._replica.adopt(self._adopting, self._note(ADOPT, effect.door, 0, effect.request))
            self._adopting = None
            self._adopted.set()
        return None
