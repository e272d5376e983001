"""The exact finish: when everyone has trained, one pass of exchanges after which all hold the weighted mean. Sans-IO.

All finished members lay one period of the Base-2 graph (Takezawa et al. 2023, arXiv 2305.11420; `topology.base_graph`)
over their sorted list: at most one partner a round, all equal after the last, for any number of members. Where some
can't exchange with each other, as two behind NAT, it goes through others (`agents.protocol.finish_rounds`). Each
publishes with whom it can't, and a digest of the list that it sees; the pass begins where all digests are equal. Rounds
need no common clock: an agent goes on when its exchange of the round is complete, and declines what belongs to a round
that it isn't at.

Exchanges are those of training, zero-sum and never applied twice, at the rates that a round's mixing matrix W demands
of vectors that weigh: with weights w' = W w after the round, r_i = W_ij w_j / w'_i, so that sum_i w'_i theta_i after it
is sum_i w_i theta_i before. Where agents train blocks of the model, a vector weighs in each block apart, and who
trains none of it begins with nothing there (`ownership`); where they hold nested slices, each level has rounds of its
own. If a member goes that has not finished the pass, or whose last partner has not, the others report it and begin
another over who is left.

Nobody is waited for without end: as soon as half of the members have trained, the time runs that the others are given
(`Finish.waited_s`). When it is over they stop where they are, and whoever doesn't even do that is left out; so is who
keeps the others from completing a pass (`blocking`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from agents.protocol.blocking import SILENT_S, Blockers
from agents.protocol.events import Completed, Effect, Notice
from agents.protocol.exchanges import Exchanges
from agents.protocol.finish_plan import Handed, Meeting, Passes, Plan, but, in_time, published, reached, tag
from agents.protocol.incarnation import Incarnation
from agents.protocol.ledger import ACCUSERS
from agents.protocol.limits import MAX_FINISHING
from agents.protocol.membership import FINISHED, Membership
from agents.protocol.ownership import Ownership
from agents.protocol.reach import Reach
from transport.messages import AgentId, ConnectionId, Member, Offer

RETRY_S = 0.05
"""After a partner was not yet at our round, or could not be reached."""

NOT_YET = "it is not at this round of the finish"
"""Why an offer of the pass is declined: it comes again."""

INEXACT = "~"
"""Behind the digest of a finished pass in which something was clipped."""

TRAINED = "settling"
"""The state of a member that takes part."""


class Finish:
    """members: who is there. route, credit: of a ready connection. announce: publishes changes of our record.

    ownership: who trains what. reach: with whom we can exchange. pass_on: sends records to all connections.
    """

    def __init__(
        self,
        members: Membership,
        exchanges: Exchanges,
        route: Callable[[AgentId], ConnectionId | None],
        credit: Callable[[ConnectionId], int],
        announce: Callable[..., list[Effect]],
        ownership: Ownership,
        reach: Reach,
        pass_on: Callable[[tuple[Member, ...]], list[Effect]],
    ) -> None:
        self._pass_on, self._passed_on = pass_on, 0
        self._members, self._exchanges, self._reach = members, exchanges, reach
        self._route, self._credit, self._announce, self._ownership = route, credit, announce, ownership
        self._wanted = self._given_up = False
        self._plan: Plan | None = None
        self._passes = Passes()
        self._handed: Handed | None = None
        self._round = self._exchange = 0
        self._retry_s = -math.inf
        self._accepted: Incarnation | None = None
        self._without_others = self._inexact = self._all_weigh_own = False
        self._half_s = math.inf
        self._taken: tuple[AgentId, ...] = ()
        self._blockers, self._is_distrusted = Blockers(members, exchanges), exchanges.ledger.is_accused

    @property
    def begun(self) -> bool:
        """Whether we exchange for the finish alone."""
        return self._plan is not None

    @property
    def complete(self) -> bool:
        """Whether all that are still there hold the mean of all."""
        plan = self._plan
        done = plan is not None and self._done(plan) and all(self._is_done(agent, plan) for agent, *_ in plan.members)
        return done or bool(self._taken)

    @property
    def equal(self) -> tuple[AgentId, ...]:
        """Who holds the mean of all, if the pass is complete and nothing of it was clipped; else nobody."""
        if self._taken:
            return self._taken
        names = tuple(agent for agent, *_ in self._plan.members) if self._plan and self.complete else ()
        return names if all(map(self._is_exact, names)) else ()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.complete or self._given_up

    @property
    def weighs(self) -> tuple[float, ...]:
        """What our vector weighs by now in each block, to be saved with it; () where it weighs its own.

        Where one pass makes all equal that weigh their own, it doesn't matter which of them weighs how much.
        """
        plan, me = self._plan, self._members.me
        if self._taken or (plan is not None and self._all_weigh_own and self._done(plan)):
            return ()
        weighs = self._ownership.masses(me) if plan is None else self._weighs(plan)
        return () if weighs == self._ownership.own(me) else weighs

    @property
    def missed(self) -> str:
        """The digest of the list over which all others, two at least, have finished without us; "" if they haven't.

        One alone that publishes it could be a liar. A slice of a nested model is nobody else's to give.
        """
        return self._over_without_us if self._wanted else ""

    @property
    def left_behind(self) -> bool:
        """Whether we train still, and all others have finished without us, though we took part: nobody waits for us."""
        took_part = self._members.me.state == "training" and self._members.me.report.exchanges > 0
        return took_part and self._members.all_finished() and bool(self._over_without_us)

    @property
    def _over_without_us(self) -> str:
        if self._ownership.nested:
            return ""
        others = [member for member in self._members.met() if self.counts(member)]
        finished = {member.report.finished for member in others}
        ours = {"", self._plan.digest if self._plan else ""}
        if (
            len(others) < ACCUSERS
            or len(finished) != 1
            or finished <= ours
            or any(each.endswith(INEXACT) for each in finished)
        ):
            return ""
        return finished.pop()

    def take_over(self, digest: str) -> list[Effect]:
        """We hold now what those hold that have finished over the list of this digest: our part in it is over."""
        self._taken = tuple(m.agent for m in self._members.met() if m.report.finished == digest)
        self._wanted = False
        text = f"{', '.join(self._taken)} had finished without us: their model is ours now"
        carried = {"mass": 0.0, "masses": ""}
        return [Notice(text, "finish"), *self._announce(finish=digest, finished=digest, **carried)]

    def counts(self, member: Member) -> bool:
        """Whether this other member takes part."""
        trained = (
            member.state == TRAINED and self._members.holds_ours(member) and self._exchanges.takes(member.report.weight)
        )
        return trained and member.agent not in self._blockers.excluded and not self._is_distrusted(member.agent)

    def begin(self, without_others: bool = False) -> list[Effect]:
        """Start the exact finish once every member has trained; without_others: without those that have not."""
        self._wanted, self._without_others = True, self._without_others or without_others
        return []

    def stop(self) -> list[Effect]:
        """Begin no further round: what is open is completed. Our record says what our vector weighs by now."""
        plan, wanted = self._plan, self._wanted
        self._wanted, self._given_up = False, True
        if plan is None or not wanted or self._done(plan):
            return []
        return self._announce(**self._ownership.carried(self._weighs(plan)))

    def waited_s(self, now: float) -> float:
        """For how long at least half of the members have trained no more; 0 while more than half train."""
        return max(0.0, now - self._half_s)

    def still_s(self, now: float) -> float:
        """For how long nothing of the pass has progressed; infinity before there is one."""
        return math.inf if self._plan is None else self._blockers.still_s(self._partner, now)

    def look(self, met: Sequence[Member], now: float) -> None:
        """See whether half of the members, these others and ourselves, have trained."""
        trained = sum(member.liveness.state in FINISHED for member in (self._members.me, *met))
        self._half_s = min(self._half_s, now) if 2 * trained >= 1 + len(met) else math.inf

    def tick(self, now: float) -> list[Effect]:
        """Agree on the list; begin the exchange that this round wants of us."""
        if not self._wanted or self._members.me.state != TRAINED:
            return []
        effects = self._pass_on_done()
        if self.complete:
            return effects
        effects += self._publish_apart(now) + self._look(now) + self._replan(now)
        plan = self._plan
        if plan is None or self._done(plan) or not self._agreed(plan):
            return effects
        return effects + self._go_on(plan, now)

    def after(self, effects: list[Effect], now: float) -> list[Effect]:
        """What follows if one of these effects completes an exchange of the pass."""
        plan, meeting = self._plan, self._meeting
        if plan is None or meeting is None:
            return []
        for effect in effects:
            if not isinstance(effect, Completed) or effect.peer != meeting.partner.agent:
                continue
            expected = self._exchange != 0 if effect.initiated else self._accepted == meeting.partner
            if expected and effect.initiated == meeting.initiates:
                return self._clipped(effect) + self._advance(plan, now) + self._go_on(plan, now)
        return []

    def rates(self, peer: Incarnation, offer: Offer) -> tuple[float, ...] | None:
        """At which rate an offer of the pass is applied in each block; None if it isn't for us now."""
        plan, meeting = self._plan, self._meeting
        if plan is None or meeting is None or not self._agreed(plan):
            return None
        if meeting.initiates or meeting.partner != peer or offer.finish != self._tag(plan):
            return None
        self._accepted = peer
        self._passes.exchanges(plan)
        return meeting.rates

    @property
    def chunks(self) -> range | None:
        """Which chunks this round exchanges, None for all: those of the levels that it is about, of a nested model."""
        meeting = self._meeting
        return None if meeting is None or meeting.blocks is None else self._ownership.span(*meeting.blocks)

    # How it is done.

    def _replan(self, now: float) -> list[Effect]:
        """Another plan, if those who take part are no longer those of this one."""
        members, plan = self._members, self._plan
        if not self._is_idle() or (plan is None and not (members.all_finished() or self._without_others)):
            return []  # What is open with somebody who is there is completed first: a vector weighs one thing.
        me = members.me
        if plan is not None:
            me = replace(me, report=replace(me.report, **self._ownership.carried(self._weighs(plan))))
        counted = [m for m in members.present() if self.counts(m)]
        there = reached(me, counted)
        if plan is not None:
            there = in_time(plan, there, MAX_FINISHING) if self._agreed(plan) else there
            names = {me.agent, *(m.agent for m in there)}
            left = [agent for agent, *_ in plan.members if agent not in names]
            kept = [] if self._is_broken(plan, there) else [agent for agent in left if self._is_done(agent, plan)]
            there += [m for agent in kept if (m := members.get(agent)) is not None]
            lost = [agent for agent in left if agent not in kept and agent not in self._blockers.excluded]
        if 1 + len(there) > MAX_FINISHING:
            self._wanted, self._given_up = False, True
            text = f"{1 + len(there)} members are more than {MAX_FINISHING}: they finish by gossip, not exactly"
            return [Notice(text, "finish")]
        fresh = self._passes.plan(me, there, self._ownership.masses, self._ownership.nested)
        if plan is not None and but(me.agent, fresh) == but(me.agent, plan):
            return []
        texts = list[str]()
        if plan is not None and lost:
            texts.append(f"{', '.join(lost)} went before the finish was complete: it is begun again without")
        if left_out := [m.agent for m in members.met() if m.state == TRAINED and self._is_distrusted(m.agent)]:
            texts.append(f"the finish leaves out {', '.join(left_out)}: too far from what others hold")
        if beyond := sorted({m.agent for m in counted} - {agent for agent, *_ in fresh.members}):
            texts.append(f"the finish is without {', '.join(beyond)}: nobody here can exchange with them")
        texts += [f"the finish is not exact: {why}" for why in fresh.inexact]
        self._blockers.replanned(plan, fresh, now)
        self._plan, self._round, self._exchange, self._accepted = fresh, 0, 0, None
        self._inexact = bool(fresh.inexact)
        self._all_weigh_own = all(self._ownership.masses(m) == self._ownership.own(m) for m in (me, *there))
        carried = {"mass": me.report.mass, "masses": me.report.masses}
        notices = [Notice(text, "finish") for text in texts]
        return [*notices, *self._announce(finish=self._passes.text(fresh.digest), **carried), *self._skip(fresh)]

    def _look(self, now: float) -> list[Effect]:
        """See who keeps us from completing the pass; before there is one, who holds up an exchange of training."""
        plan = self._plan
        if plan is None:
            silent = [
                peer for peer in self._exchanges.occupied if now - self._exchanges.moved_s(peer.agent) >= SILENT_S
            ]
            return [each for peer in sorted(silent) for each in self._exchanges.forget(peer, "nothing came for long")]
        done = [agent for agent, *_ in plan.members if self._is_done(agent, plan)]
        effects = self._blockers.look(plan, self._round, self._partner, self._agreed(plan), done, now)
        accuses = self._blockers.record
        return effects + (self._announce(without=accuses) if accuses != self._members.me.report.without else [])

    def _publish_apart(self, now: float) -> list[Effect]:
        """Publish with whom we can't exchange, if that has changed: others then see which way the finish takes."""
        plan, effects = self._plan, list[Effect]()
        if plan is not None:
            partner = self._partner if self._agreed(plan) else None
            effects = self._reach.cut_off(plan, partner, self.still_s(now), now)
        apart = "" if self._reach.large else " ".join(sorted(map(tag, self._members.apart)))
        return effects + (self._announce(apart=apart) if apart != self._members.me.report.apart else [])

    def _pass_on_done(self) -> list[Effect]:
        """Who is done, to those that can't exchange with them and may have nobody but us to know it from."""
        plan = self._plan
        if plan is None or not plan.apart:
            return []
        known = (self._members.get(agent) for agent, *_ in plan.members if self._is_done(agent, plan))
        done = tuple(member for member in known if member is not None and member is not self._members.me)
        before, self._passed_on = self._passed_on, len(done)
        return self._pass_on(done) if len(done) > before else []

    @property
    def _meeting(self) -> Meeting | None:
        """Whom we meet in this round; None if we are done, as rounds in which we meet nobody are skipped."""
        return None if self._plan is None or self._done(self._plan) else self._plan.meetings[self._round]

    @property
    def _partner(self) -> AgentId | None:
        return None if self._meeting is None else self._meeting.partner.agent

    def _is_broken(self, plan: Plan, there: list[Member]) -> bool:
        """Whether one of those that are there can't complete this pass, though nobody went before completing it.

        That is where a partner has completed its part of their exchange and went before the other had: we are the
        other, or whoever is publishes another list by now. there: ourselves and the others that take part.
        """
        partners = [meeting.partner.agent for meeting in plan.meetings[self._round :] if meeting is not None]
        others = any(published(m)[0] != plan.digest and not self._is_done(m.agent, plan) for m in there)
        return others or not all(map(self._members.is_alive, partners))

    def _weighs(self, plan: Plan) -> tuple[float, ...]:
        """What our vector weighs at our round of this plan.

        What it weighed before it was handed over, as long as who has that is gone with it.
        """
        if self._handed is None:
            return plan.weights[self._round]
        return self._handed.had if self._is_lost(self._handed) else self._handed.kept

    def _is_lost(self, handed: Handed) -> bool:
        """Whether who took over what our vector weighed has gone with it, without a word.

        Who leaves has saved it. Where somebody that is there has finished that pass, ours is in the mean that it holds.
        """
        if any(m.report.finished.rstrip(INEXACT) == handed.digest for m in self._members.present()):
            return False
        taker = self._members.get(handed.taker.agent)
        if taker is None or Incarnation.of(taker) != handed.taker:
            return taker is None or self._ownership.masses(taker) == self._ownership.own(taker)
        return taker.state != "left" and not self._members.is_alive(taker.agent)

    def _go_on(self, plan: Plan, now: float) -> list[Effect]:
        """Begin our exchange of this round, unless it is open, or the partner's to begin."""
        meeting = self._meeting if self._wanted else None
        if meeting is None or not meeting.initiates or self._exchanges.is_open(self._exchange) or now < self._retry_s:
            return []
        connection = self._route(meeting.partner.agent)
        self._retry_s = now + RETRY_S
        if connection is None:
            return []
        credit, of_pass = self._credit(connection), (meeting.rates, self._tag(plan), self.chunks)
        effects = self._exchanges.begin(meeting.partner, connection, 0, credit, now, *of_pass)
        self._exchange = self._exchanges.number
        self._passes.exchanges(plan)
        return effects

    def _advance(self, plan: Plan, now: float) -> list[Effect]:
        self._round += 1
        handed = plan.handed(self._round)
        self._handed = handed and (self._handed or handed)
        self._exchange, self._accepted, self._retry_s = 0, None, -math.inf
        self._blockers.advanced(now)
        weighs = {} if self._wanted else self._ownership.carried(self._weighs(plan))
        return self._skip(plan) + (self._announce(**weighs) if weighs else [])

    def _skip(self, plan: Plan) -> list[Effect]:
        """Past the rounds in which we meet nobody; published once we are through, and moved by nobody else then."""
        while not self._done(plan) and plan.meetings[self._round] is None:
            self._round += 1
        if not self._done(plan):
            return []
        over = self._exchanges.forget_others({agent for agent, *_ in plan.members}, "the finish goes on without it")
        return over + self._announce(finished=plan.digest + INEXACT * self._inexact)

    def _clipped(self, effect: Completed) -> list[Effect]:
        """A difference of the pass that was clipped leaves those who took part near the mean, not equal."""
        if effect.scale == 1:
            return []
        self._inexact = True
        return [
            Notice(f"{effect.peer} is {effect.distance:.3g} from us, too far to finish exactly: we end near the mean")
        ]

    def _done(self, plan: Plan) -> bool:
        return self._round >= len(plan.meetings)

    def _agreed(self, plan: Plan) -> bool:
        """Whether every other member has published this list."""
        others = (self._members.get(agent) for agent, *_ in plan.members if agent != self._members.me.agent)
        return all(other is not None and published(other)[0] == plan.digest for other in others)

    def _is_done(self, agent: AgentId, plan: Plan) -> bool:
        member = self._members.me if agent == self._members.me.agent else self._members.get(agent)
        return member is not None and member.report.finished.rstrip(INEXACT) == plan.digest

    def _is_exact(self, agent: AgentId) -> bool:
        member = self._members.me if agent == self._members.me.agent else self._members.get(agent)
        return member is not None and not member.report.finished.endswith(INEXACT)

    def _is_idle(self) -> bool:
        """Whether no exchange of training is open with anybody who is there."""
        return not any(self._members.is_alive(peer.agent) for peer in self._exchanges.occupied)

    def _tag(self, plan: Plan) -> str:
        return f"{plan.digest}/{self._round}"
