"""Looks how far away the agents of a swarm are: whether each can be called from here, round trip and bandwidth."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from agents.mixing.layout import Layout
from agents.observe.errors import NoVector, Unreachable
from agents.observe.machine import PROBLEM, WARNING, WELL, Finding
from agents.observe.observer import observing
from agents.observe.texts import visible
from transport.credentials import Credentials
from transport.link import Link, LinkError
from transport.messages import VERSION, Address, AgentId, Gossip, Hello, Member, Refuse, Welcome

ROUND_TRIPS = 5
ANSWER_S = 2.0

MEASURED = 16
"""Chunks of a peer's vector, at most, by which bandwidth is measured: 16 MiB."""


@contextmanager
def connected(address: str, credentials: Credentials | None, timeout_s: float) -> Iterator[tuple[Link, float, Welcome]]:
    """A link to one agent, the seconds until it welcomed us, and its welcome. Raises Unreachable."""
    link = Link(None, credentials=credentials)
    try:
        began_s = time.monotonic()
        try:
            connection = link.dial(address)
        except LinkError as error:
            raise Unreachable(str(error)) from None
        asked_s = 0.0
        while time.monotonic() < began_s + timeout_s:
            if time.monotonic() - asked_s > 0.5:
                asked_s = time.monotonic()
                link.send(connection, Hello(VERSION, AgentId(""), 0, address=Address(connection)))
            for _, message in link.poll(0.05):
                if isinstance(message, Welcome):
                    yield link, time.monotonic() - began_s, message
                    return
                if isinstance(message, Refuse):
                    raise Unreachable(f"it refuses us: our {message.name} is {message.got}, theirs {message.expected}")
        raise Unreachable(link.refusal(connection) or f"no answer within {timeout_s:g} s")
    finally:
        link.close()


class Reached(NamedTuple):
    """How far away an agent is. round_trip_s: the median, None if it answers no messages after the handshake.

    bandwidth: bytes a second from it to us, None where that is unknown; why: for what reason.
    """

    round_trip_s: float | None
    bandwidth: float | None
    why: str = ""


def reached(member: Member, address: str, credentials: Credentials | None, timeout_s: float) -> Reached:
    """The round trip to an agent at this address, and the bandwidth by a part of its vector. Raises Unreachable."""
    with connected(address, credentials, timeout_s) as (link, _, welcome):
        trips = [trip for _ in range(ROUND_TRIPS) if (trip := _round_trip(link, address)) is not None]
    return Reached(median(trips) if trips else None, *_bandwidth(member, address, welcome, credentials, timeout_s))


def peer(member: Member, address: str, credentials: Credentials | None, timeout_s: float) -> Finding:
    """How far away a peer is, as a finding. address: at which it can be called, "" if it publishes none."""
    name = visible(f"peer {member.agent}", 60)
    if not address:
        return Finding(name, WELL, "it publishes no address: others reach it by connections that it opens")
    try:
        trip_s, bandwidth, why = reached(member, address, credentials, timeout_s)
    except Unreachable as error:
        advice = "let its port through the firewalls between; until then messages take the way through others"
        return Finding(name, PROBLEM, f"{address} can't be reached from here: {error}", advice)
    far = "no answer to messages after the handshake" if trip_s is None else f"round trip {trip_s * 1e3:.1f} ms"
    rate = why if bandwidth is None else f"{bandwidth / 1e6:.1f} MB/s"
    state = WARNING if trip_s is None else WELL
    return Finding(name, state, f"{far}, {rate}", "look at its log" if trip_s is None else "")


def _round_trip(link: Link, address: str) -> float | None:
    """Seconds until it answered a small message; None if it didn't within ANSWER_S."""
    began_s = time.monotonic()
    connection = link.dial(address)
    link.send(connection, Gossip((), reply=True))
    while time.monotonic() < began_s + ANSWER_S:
        if any(isinstance(message, Gossip) for _, message in link.poll(0.05)):
            return time.monotonic() - began_s
    return None


def _bandwidth(
    member: Member, address: str, welcome: Welcome, credentials: Credentials | None, timeout_s: float
) -> tuple[float | None, str]:
    """Bytes a second from this agent to us, by all of its vector but the end, so that it isn't taken; or why not."""
    chunks: Sequence[slice] = Layout.flat(welcome.parameters).chunks
    part = chunks[: min(MEASURED, len(chunks) - 1)]
    if not part:
        return None, "a model too small to measure bandwidth by"
    try:
        with observing([address], timeout_s, credentials) as (observer, _):
            began_s = time.monotonic()
            observer.pull(member, welcome.parameters, part)
            seconds = time.monotonic() - began_s
    except NoVector as error:
        return None, f"bandwidth unknown: {error}"
    return 4.0 * sum(span.stop - span.start for span in part) / seconds, ""
