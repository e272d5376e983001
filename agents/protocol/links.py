"""What one agent knows of its exchanges with each neighbor, and of its own pace, for whoever watches. Sans-IO."""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.protocol.events import Completed, Effect, Event, Lost, Received, Tick, Unusable
from transport.messages import AgentId, Decline, Links, Plain

RECENT = 32
"""Exchanges with one neighbor by which their rate is known."""

MAX_LINKS = 64
"""Neighbors of whom this is known, those of the last exchanges: as many as a message takes."""

LAYERS_S = 0.25
"""Between two looks at layers, however many ask: of a large model it takes some milliseconds."""

PACE_S = 1.0
"""Between two looks at how far training is; its pace is that of the last few."""


@dataclass(frozen=True)
class Host:
    """What the host alone knows, who sees vectors and sockets.

    layers: returns how far we are from our neighbors in each parameter; refused: which connections were refused lately
    and why, in words, by age in seconds. bytes_by_codec: what our exchanges have sent, to be read at any time.
    """

    layers: Callable[[], Mapping[str, float]] = dict
    refused: Callable[[], Mapping[str, float]] = dict
    bytes_by_codec: Mapping[str, int] = field(default_factory=dict)


class Counts:
    """Follows what goes into the core and comes out of it. number: of the last exchange of an earlier incarnation."""

    def __init__(self, number: int) -> None:
        self._first = number
        self._times: OrderedDict[AgentId, deque[float]] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._steps: deque[tuple[float, int]] = deque(maxlen=6)
        self.waited_s = 0.0
        """For how long training has waited for the network, in all; its own to set."""
        self._waited: deque[tuple[float, float]] = deque(maxlen=6)
        self.host = Host()
        """The host's own to set."""
        self._layers, self._layers_s = dict[str, Plain](), -math.inf

    def after(self, event: Event, effects: Sequence[Effect], step: int, now: float) -> None:
        """What followed from an event. step: how far training is."""
        for effect in effects:
            if isinstance(effect, Completed):
                self._counts["completed" if effect.initiated else "answered"] += 1
                times = self._times.setdefault(effect.peer, deque(maxlen=RECENT))
                times.append(now)
                self._times.move_to_end(effect.peer)
                if len(self._times) > MAX_LINKS:
                    self._times.popitem(last=False)
            elif isinstance(effect, Lost) and effect.initiated:
                self._counts["failed"] += 1
        match event:
            case Received(_, Decline()):
                self._counts["declined"] += 1
            case Unusable():
                self._counts["failed"] += 1
            case Tick() if not self._steps or now - self._steps[-1][0] >= PACE_S:
                self._steps.append((now, step))
                self._waited.append((now, self.waited_s))

    def links(self, number: int, now: float) -> Links:
        """Ages and rates of exchanges by peer, and counts of all. number: of the last exchange that we began."""
        ages: dict[str, Plain] = {agent: round(now - times[-1], 3) for agent, times in self._times.items()}
        rates: dict[str, Plain] = {agent: _rate(times, now) for agent, times in self._times.items()}
        names = ("completed", "answered", "declined", "failed")
        counts: dict[str, Plain] = {"started": number - self._first, **{name: self._counts[name] for name in names}}
        counts["steps_s"] = round(_slope(self._steps), 3)
        counts["waited"] = round(min(1.0, max(0.0, _slope(self._waited))), 4)
        if now - self._layers_s >= LAYERS_S:
            self._layers_s = now
            self._layers = {name: float(f"{far:.5g}") for name, far in self.host.layers().items()}
        refused: dict[str, Plain] = {what: round(age_s, 3) for what, age_s in self.host.refused().items()}
        return Links(ages, rates, counts, self._layers, dict(self.host.bytes_by_codec), refused)


def _rate(times: deque[float], now: float) -> float:
    """Events a second, from the last few: 0 of one alone."""
    return round((len(times) - 1) / (now - times[0]), 3) if now > times[0] else 0.0


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much the second number grew in a unit of the first, from the first point to the last."""
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return 0.0
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
