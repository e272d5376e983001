"""What each peer did to us, counted, and what follows from it: quarantine, and a bound on its rate. Sans-IO.

    far       an exchange whose difference was clipped to less than a third
    rejected  a payload that could not be applied, which counts as far
    limited   an offer that came before its time: a peer is answered no more often than we begin exchanges ourselves,
              or answer the others

A peer of whose last exchanges many were far, while it came no nearer, is in quarantine: it is offered nothing, and its
offers are declined. Who was cut off for long and comes back is far as well, but nearer with each exchange. Quarantine
ends by itself, each time after twice as long. Exchanges under way are completed: both sides apply the same as ever.

What others find counts as well: of a peer that several distrust, one far exchange with us is enough, and none is begun
where no training follows. A lie of theirs alone cuts off nobody.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median_low

from agents.protocol.events import Effect, Notice
from agents.protocol.finish_plan import tag
from transport.messages import BETWEEN_ALARMS, AgentId, Member

FAR = 1 / 3
"""An exchange is far if less than this share of its difference was applied."""

LAST, MANY, AGAIN = 8, 4, 2
"""So many of the last exchanges are looked at; so many far ones are too many, and so many of who was in quarantine."""

NEARER = 0.97
"""Of its distance at the first of these, which a peer must have come within by the last."""

QUARANTINE_S, LONGEST_S = 120.0, 3600.0
"""The first quarantine, and the longest.

An honest peer loses little by it, as its model comes to us through others; a liar moves us each time that it comes out.
"""

ACCUSERS = 2
"""So many agents must distrust a member before others act on it: a single liar cuts off nobody."""

BURST = 8
"""By so many exchanges a peer may be ahead of those that we begin, or of the others."""

FORGET = 256
"""Counts of exchanges are halved when one reaches this: a peer's past rate fades."""

ALARM_S = 300.0
"""For so long after it last happened, something is an alarm."""

MAX_ALARMS, MAX_PEERS = 4, 4096


@dataclass
class Account:
    """What one peer did. why: it last came to an alarm, at alarm_s. until_s: its quarantine ends.

    distrusted: it was in quarantine, and nothing that wasn't far was exchanged with it since.
    """

    accepted: int = 0
    clipped: int = 0
    rejected: int = 0
    limited: int = 0
    late: int = 0
    answered: float = 0.0
    quarantines: int = 0
    distrusted: bool = False
    until_s: float = -math.inf
    why: str = ""
    alarm_s: float = -math.inf
    _last: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=LAST))

    def judge(self, distance: float, far: bool, accused: bool) -> bool:
        """Take in one exchange; whether too many were far without coming nearer. accused: others distrust it."""
        self._last.append((distance, far))
        self.distrusted &= far
        distances = [distance for distance, far in self._last if far]
        many = 1 if accused else AGAIN if self.quarantines else MANY
        if len(distances) < many or not far or distances[-1] < NEARER * distances[0]:
            return False
        self._last.clear()
        self.distrusted = True
        return True


def accused(by: Iterable[Member], me: AgentId) -> frozenset[str]:
    """Tags of the agents that several of these members distrust; what an agent reports of itself doesn't count.

    Nor does what one reports that distrusts us, me: of that we know better.
    """
    ours = tag(me)
    accusers = (each for each in by if each.report.distrusts and ours not in each.report.distrusts.split())
    counts = Counter(name for each in accusers for name in {*each.report.distrusts.split()} - {tag(each.agent)})
    return frozenset(name for name, count in counts.items() if count >= ACCUSERS)


class Ledger:
    """The accounts of all peers, by name."""

    def __init__(self) -> None:
        self.accounts: dict[AgentId, Account] = {}
        """Of those that did anything yet."""
        self.trained = False
        """Whether no training follows that could mend what a peer does: who ever was in quarantine then stays there."""
        self.accused: frozenset[str] = frozenset()
        """Tags of those that several agents distrust."""
        self._begun = 0.0

    def of(self, peer: AgentId) -> Account:
        """The account of this peer."""
        if peer not in self.accounts:
            if len(self.accounts) >= MAX_PEERS:
                del self.accounts[next(iter(self.accounts))]
            self.accounts[peer] = Account()
        return self.accounts[peer]

    def begins(self) -> None:
        """We begin an exchange."""
        self._begun += 1
        self._fade(self._begun)

    def answers(self, peer: AgentId) -> None:
        """An exchange that this peer begins is answered."""
        account = self.of(peer)
        account.answered += 1
        self._fade(account.answered)

    def completed(self, peer: AgentId, distance: float, scale: float, now: float) -> list[Effect]:
        """An exchange with this peer is over. distance: of the two models; scale: the least that was applied of it."""
        account = self.of(peer)
        account.accepted += 1
        account.clipped += scale < 1
        if not account.judge(distance, scale < FAR, self.is_accused(peer)):
            return []
        return self._quarantine(
            peer, f"is far from us (by {distance:.3g}, clipped to {scale:.2%}) and came no nearer", now
        )

    def rejects(self, peer: AgentId, why: str, now: float) -> list[Effect]:
        """Something that this peer sent could not be applied."""
        account = self.of(peer)
        account.rejected += 1
        why = why[:100].replace(BETWEEN_ALARMS, ", ")
        self._alarm(account, f"sent what can't be applied ({account.rejected} times): {why}", now)
        if not account.judge(math.inf, True, self.is_accused(peer)):
            return []
        return self._quarantine(peer, account.why, now)

    def raise_alarm(self, peer: AgentId, why: str, now: float) -> None:
        """Something that this peer does or leaves undone is for an operator to look at."""
        self._alarm(self.of(peer), why, now)

    def is_late(self, peer: AgentId) -> None:
        """Training has stopped waiting for this peer."""
        self.of(peer).late += 1

    def objection(self, peer: AgentId, now: float) -> str:
        """Why this peer may begin no exchange with us now; "" if it may."""
        account = self.of(peer)
        if now < account.until_s:
            return f"it holds us in quarantine for {account.until_s - now:.0f} s: this agent {account.why}"
        if self.trained and self._is_suspect(peer):
            return "it was in quarantine, and we train no more"
        others = [each.answered for name, each in self.accounts.items() if name != peer]
        usual = max(self._begun, median_low(others) if others else math.inf)
        if account.answered < BURST + usual:
            return ""
        account.limited += 1
        self._alarm(account, f"offers more often than it may: {account.limited} offers were declined", now)
        return "it answers nobody more often than it begins exchanges, or answers others"

    def quarantined(self, peers: Iterable[AgentId], now: float) -> set[AgentId]:
        """Those of these peers that are in quarantine."""
        return {peer for peer in peers if self._is_quarantined(peer, now)}

    @property
    def distrusted(self) -> tuple[AgentId, ...]:
        """Peers that have come out of no quarantine yet, the last ones where there are many."""
        found = [peer for peer, account in self.accounts.items() if account.distrusted]
        return tuple(found[-MAX_ALARMS:])

    def alarms(self, now: float) -> tuple[str, ...]:
        """What an operator should look at, in words, the latest first."""
        recent = [(each.alarm_s, peer) for peer, each in self.accounts.items() if now - each.alarm_s < ALARM_S]
        return tuple(f"{peer} {self.accounts[peer].why}" for _, peer in sorted(recent, reverse=True)[:MAX_ALARMS])

    def _is_quarantined(self, peer: AgentId, now: float) -> bool:
        account = self.accounts.get(peer)
        return (account is not None and now < account.until_s) or (self.trained and self._is_suspect(peer))

    def _is_suspect(self, peer: AgentId) -> bool:
        """Whether it was in quarantine, here or with several others."""
        account = self.accounts.get(peer)
        return (account is not None and account.quarantines > 0) or self.is_accused(peer)

    def is_accused(self, peer: AgentId) -> bool:
        """Whether several agents distrust it."""
        return bool(self.accused) and tag(peer) in self.accused

    def _quarantine(self, peer: AgentId, why: str, now: float) -> list[Effect]:
        account = self.of(peer)
        lasts_s = min(LONGEST_S, QUARANTINE_S * 2**account.quarantines)
        account.quarantines += 1
        account.until_s = now + lasts_s
        self._alarm(account, why, now)
        return [Notice(f"{peer} {why}: nothing is exchanged with it for {lasts_s:.0f} s")]

    def _alarm(self, account: Account, why: str, now: float) -> None:
        account.why, account.alarm_s = why, now

    def _fade(self, count: float) -> None:
        if count < FORGET:
            return
        self._begun /= 2
        for account in self.accounts.values():
            account.answered /= 2
