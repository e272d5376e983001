"""How far an agent runs ahead of its peers, who rests for them (DESIGN 1.6). Sans-IO.

An agent rests where the peer it just mixed with is behind, as far as others are behind as well: what one peer reports
of itself, true or not, delays nobody. The slowest of every seven others is left out, so a swarm of up to seven others
isn't slowed by any one, and a single peer isn't waited for. A report of a while ago is taken for as much farther as we
came since then: a record is on its way for a second, in which others don't stand still.

Nor is anybody waited for who advances less than a quarter as fast as the others do in the median: a site that is twenty
times slower doesn't catch up, whoever rests, and a liar that claims to stand still doesn't either. So both together
hold up nobody. The median, not our own speed: that is less while we rest.
"""

from collections.abc import Mapping
from statistics import median

from agents.protocol.speed import SpeedEstimate
from transport.messages import AgentId

LEFT_OUT = 1 / 7
"""The share of others, at least one, whose lag doesn't count."""

WINDOW_S = 2.0
"""Over which our own speed is measured."""

SLOW, LOOK_S = 1 / 4, 4.0
"""Of the median of the others' speeds: who is slower isn't waited for; over which theirs are measured."""

STALE_S = 60.0
"""An older report of an agent says nothing about where it is by now."""

MAX_PEERS = 4096


class Pace:
    """Steps of our own and of the others, and when they were so."""

    def __init__(self) -> None:
        self._others: dict[AgentId, tuple[int, float]] = {}
        self._before: dict[AgentId, tuple[int, float]] = {}
        self._speeds: dict[AgentId, float] = {}
        self._last: AgentId | None = None
        self._estimates: dict[AgentId, SpeedEstimate] = {}
        self._estimate: SpeedEstimate | None = None
        self._step, self._speed = 0, 0.0
        self._since: tuple[int, float] | None = None

    def own(self, step: int, now: float) -> None:
        """We have taken so many steps."""
        self._step = step
        self._estimate = self._estimate or SpeedEstimate(step, now)
        self._estimate.saw(step, now)
        if self._since is None:
            self._since = step, now
        elif now - self._since[1] >= WINDOW_S:
            self._speed = max(0.0, (step - self._since[0]) / (now - self._since[1]))
            self._since = step, now

    @property
    def speed(self) -> float | None:
        """Ours over a while, in local steps a second; None before it was measured."""
        return self._estimate.speed if self._estimate is not None else None

    @property
    def speeds(self) -> Mapping[AgentId, float]:
        """Of the others that train, over a while, as far as they were measured, in local steps a second."""
        return {peer: speed for peer, estimate in self._estimates.items() if (speed := estimate.speed) is not None}

    def saw(self, peer: AgentId, step: int, at_s: float) -> None:
        """Another agent had taken so many steps at that time."""
        known = self._others.get(peer)
        if known is not None and known[1] > at_s:
            return
        if known is None and len(self._others) >= MAX_PEERS:
            oldest = next(iter(self._others))
            del self._others[oldest], self._estimates[oldest]
        self._others[peer] = step, at_s
        estimate = self._estimates.setdefault(peer, SpeedEstimate(step, at_s))
        if step >= estimate.step:  # Fewer were overtaken on another connection, as of who is fast many reports are.
            estimate.saw(step, at_s)
        before, then_s = self._before.setdefault(peer, (step, at_s))
        if at_s - then_s >= LOOK_S:
            self._speeds[peer] = max(0.0, (step - before) / (at_s - then_s))
            self._before[peer] = step, at_s

    def mixed(self, peer: AgentId, step: int, now: float) -> None:
        """Something was exchanged with this peer, that had taken so many steps."""
        self.saw(peer, step, now)
        self._last = peer

    def over(self, peer: AgentId) -> None:
        """This start of another agent is over: its next one may have taken fewer steps."""
        if peer in self._others:
            del self._others[peer], self._estimates[peer]
        self._before.pop(peer, None)
        self._speeds.pop(peer, None)

    def clear(self) -> None:
        """An exchange is begun: what was exchanged before it is no reason to rest any longer."""
        self._last = None

    def forget(self, present: set[AgentId]) -> None:
        """Nobody else trains: whoever has gone or has finished is waited for no longer."""
        if present >= self._others.keys() | self._before.keys() | self._speeds.keys():
            return
        self._others = {peer: seen for peer, seen in self._others.items() if peer in present}
        self._before = {peer: seen for peer, seen in self._before.items() if peer in present}
        self._speeds = {peer: speed for peer, speed in self._speeds.items() if peer in present}
        self._estimates = {peer: estimate for peer, estimate in self._estimates.items() if peer in present}

    def ahead(self, now: float) -> int:
        """Local steps that we are ahead of the peer that we last mixed with, and of others as well; 0 if of none."""
        slow = SLOW * median(self._speeds.values()) if self._speeds else 0.0
        counted = [peer for peer in self._others if self._speeds.get(peer, slow) >= slow]
        if self._last not in counted:
            return 0
        lags = sorted((self._lag(peer, now) for peer in counted), reverse=True)
        left_out = max(1, int(len(lags) * LEFT_OUT))
        if len(lags) <= left_out:
            return 0
        return max(0, int(min(self._lag(self._last, now), lags[left_out])))

    def _lag(self, peer: AgentId | None, now: float) -> float:
        step, at_s = self._others[peer] if peer is not None else (self._step, now)
        return self._step - step - self._speed * max(0.0, now - at_s)
