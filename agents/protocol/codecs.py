"""In which codec an agent begins its exchanges, with whom. Sans-IO.

Agents publish in the handshake which codecs they have. Where a peer lacks ours, exchanges that we begin with it
are in what both have, which is logged once. Each agent begins its exchanges in its own codec: the offer names it.

With "auto" it is chosen by measurement. Training waits for an exchange only where that takes longer than the local
steps between two, so:

    took      from the first offer of an exchange to the last answer, the median of the last WINDOW
    apart     from a boundary where an exchange is due to the next, the median of the last WINDOW
    down      where took > TIGHT * apart: the link is what limits training; to the next codec of fewer bytes
    up        where took would be below LOOSE * apart with the bytes of the one before, if bytes were all that it takes
    back      where fewer bytes hardly made an exchange shorter: latency is what limits it, and a better codec is free
    again     fewer bytes may be tried AGAIN exchanges after a step back, after the next one twice as many, and so on;
              once they have helped, after AGAIN as at first. So what a link was once doesn't decide for the rest of a
              run, and where fewer bytes never help they are tried ever more rarely
"""

from collections import OrderedDict, deque
from statistics import median

from agents.mixing.codec_names import AUTO, KINDS, LADDER, agreed, choices
from agents.protocol.events import Effect, Notice
from transport.messages import AgentId

WINDOW = 8
"""Exchanges over which a median is taken, before a codec is chosen for the first time, and again after each change."""

TIGHT, LOOSE = 0.9, 0.45
"""Of the time between two exchanges. So far from each other that a choice isn't undone by the next median."""

HARDLY = 0.8
"""An exchange in fewer bytes that still takes so much of what it took is one that latency holds up."""

AGAIN = 64 * WINDOW
"""Exchanges for which codecs that hardly helped are not tried, at first."""

BITS = {"float32": 32.0, "lattice:8": 8.2, "lattice:4": 4.2}
"""Of a coordinate, in each codec to choose from."""

MOST_PEERS, MOST_CHARACTERS = 4096, 256
"""Of which we remember what they have, and how much of it."""


class Codecs:
    """The codecs of one agent's exchanges. setting: its own, or "auto"."""

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.now = choices(setting)[0]
        """The codec in which exchanges begin, with a peer that has it."""
        self._theirs: OrderedDict[AgentId, str] = OrderedDict()
        self._took: deque[float] = deque(maxlen=WINDOW)
        self._apart: deque[float] = deque(maxlen=WINDOW)
        self._began_s: float | None = None
        self._before = 0.0
        """Seconds that an exchange took in the codec before this one, if that has more bytes; else 0."""
        self._lowest = len(LADDER) - 1
        """The last of the ladder that helps, as far as we know, until `_again` exchanges are done; then any may."""
        self._done = self._again = 0
        self._wait = AGAIN
        self._logged = False

    def introduced(self, peer: AgentId, kinds: str) -> list[Effect]:
        """A peer has published which codecs it has. kinds: with spaces between, "" from an earlier version."""
        kinds = kinds[:MOST_CHARACTERS]
        if not peer or self._theirs.get(peer) == kinds:
            return []
        self._theirs[peer] = kinds
        if len(self._theirs) > MOST_PEERS:
            self._theirs.popitem(last=False)
        found = self.of(peer)
        if found == self.now:
            return []
        return [Notice(f"{peer} has no codec {self.now}: what we begin with it is in {found}", "codec", agent=peer)]

    def of(self, peer: AgentId) -> str:
        """The codec of an exchange that we begin with this peer."""
        return agreed(self.now, self._theirs.get(peer, " ".join(KINDS)), self.setting)

    def begins(self, now: float) -> None:
        """An exchange is begun, or skipped as the one before is still under way."""
        if self._began_s is not None:
            self._apart.append(now - self._began_s)
        self._began_s = now

    def completed(self, codec: str, took_s: float) -> list[Effect]:
        """An exchange in this codec is complete, which training began: a notice where another is chosen."""
        if self.setting != AUTO or codec != self.now:
            return []
        self._done += 1
        self._took.append(took_s)
        if len(self._took) < WINDOW or len(self._apart) < WINDOW:
            return []
        took, apart, before = median(self._took), median(self._apart), self.now
        self._choose(took, apart)
        if self._logged and self.now == before:
            return []
        self._logged = True
        why = f"exchanges in {before} take {took:.3g} s, {apart:.3g} s apart"
        return [Notice(f"codec auto: {why}: {'stays' if self.now == before else 'from now on'} {self.now}", "codec")]

    def _choose(self, took: float, apart: float) -> None:
        rung = LADDER.index(self.now)
        if self._before and took > HARDLY * self._before:
            self._lowest, self._again = rung - 1, self._done + self._wait
            self._wait *= 2
            self._go(rung - 1)
            return
        if self._before:
            self._wait = AGAIN
        lowest = self._lowest if self._done < self._again else len(LADDER) - 1
        if took > TIGHT * apart and rung < lowest:
            self._go(rung + 1, took)
        elif rung and took * BITS[LADDER[rung - 1]] / BITS[self.now] < LOOSE * apart:
            self._go(rung - 1)
        else:
            self._before = 0.0

    def _go(self, rung: int, took: float = 0.0) -> None:
        self.now, self._before = LADDER[rung], took
        self._took.clear()
        self._apart.clear()
