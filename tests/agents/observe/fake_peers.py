"""Peers over real sockets that greet well and then publish and send whatever a test wants of them."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from agents.mixing.layout import Layout
from transport.link import Link
from transport.messages import (
    VERSION,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Look,
    Member,
    Message,
    Piece,
    Plain,
    Pull,
    Report,
    Welcome,
)


def pieces_of(theta: np.ndarray) -> Callable[[Pull], Iterable[Piece]]:
    """How an honest agent answers a pull of its vector."""

    def answer(pull: Pull) -> Iterable[Piece]:
        for chunk in range(pull.first, pull.first + pull.count):
            yield Piece(pull.request, chunk, theta.size, theta[Layout.flat(theta.size).chunks[chunk]].tobytes())

    return answer


def mute(pull: Pull) -> Iterable[Piece]:
    """No piece, ever."""
    return ()


def unreachable(pull: Pull) -> Iterable[Piece]:
    """How an honest agent answers a pull of a vector that it can't ask for."""
    yield Piece(pull.request, 0, -1)


@dataclass
class FakePeer:
    """agent, parameters, model, settings: of its Welcome. members: of its Gossip.

    pieces: how it answers a pull of its own vector, onward: of another agent's. silent_s: after so long it
    begins to answer. looks: how it answers whoever watches.
    """

    agent: str = "honest"
    parameters: int = 4
    model: str = "model"
    settings: dict[str, Plain] = field(default_factory=dict)
    run: str = "run"
    members: Callable[["FakePeer"], Iterable[Member]] = lambda peer: (peer.me(),)
    pieces: Callable[[Pull], Iterable[Piece]] = mute
    onward: Callable[[Pull], Iterable[Piece]] = unreachable
    silent_s: float = 0.0
    looks: Callable[[Look], Iterable[Message]] = lambda look: ()
    pulls: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._link = Link("tcp://127.0.0.1:0")
        self.address = self._link.address
        self._heartbeat = 0
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def me(self, **changes: object) -> Member:
        """Its own record, with a new heartbeat."""
        self._heartbeat += 1
        state = str(changes.pop("state", "settling"))
        return Member(Identity(self.agent, 1, self.address), Liveness(self._heartbeat, state), Report(**changes))

    def close(self) -> None:
        """Hang up."""
        self._ended.set()
        self._thread.join()

    def _live(self) -> None:
        self._ended.wait(self.silent_s)
        while not self._ended.is_set():
            for connection, message in self._link.poll(0.01):
                for answer in self._answers(message):
                    self._link.send(connection, answer)
        self._link.close()

    def _answers(self, message: Message) -> Iterable[Message]:
        match message:
            case Hello():
                settings = {"model": self.model} | self.settings
                yield Welcome(VERSION, self.agent, 1, self.run, "", settings, {}, self.parameters, 8)
            case Gossip(reply=True):
                yield Gossip(tuple(self.members(self)))
            case Look():
                yield from self.looks(message)
            case Pull():
                self.pulls += 1
                ours = message.agent in ("", self.agent)
                yield from self.pieces(message) if ours else self.onward(message)
