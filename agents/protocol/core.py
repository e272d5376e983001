"""The gossip core: who exchanges with whom, and when. Sans-IO: `step(event, now) -> effects`.

It reads no clock, opens no socket, starts no thread and never sees a vector. `driver` carries out what it wants: over
ZeroMQ in real time for live agents, over a network without I/O under a virtual clock for the simulator and for tests.

    Due          choose a neighbor in the topology laid over the living members, sorted by name, and offer
    Offer        apply and answer at once                   (session.IncomingSession: never twice)
    Answer       apply, offer on                            (session.OutgoingSession: never twice)
    Tick         send Hello, spread records, offer again what stays unanswered, release training where that is too long
    Adopt, Pull  a whole vector, for late joiners and for the consensus
    Drain        begin nothing more, decline what is new, complete what is open

Nothing that a peer sends raises. What makes no sense here is declined or ignored.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents.mixing.codec_names import AUTO, KINDS
from agents.protocol.adoption import Adoption
from agents.protocol.choosing import Choosing
from agents.protocol.codecs import Codecs
from agents.protocol.events import (
    Adopt,
    AnswerApplied,
    Drain,
    Due,
    Effect,
    Event,
    Expelled,
    FinishExactly,
    GiveUpFinish,
    Malformed,
    Notice,
    OfferApplied,
    Received,
    RoundOver,
    Send,
    Sketched,
    StopAdopting,
    Tick,
    TookOver,
    Unusable,
)
from agents.protocol.exchanges import ANOTHER, DRAINING, FINISHING, NO_VECTOR, Exchanges
from agents.protocol.finish import NOT_YET, Finish
from agents.protocol.finish_plan import tag
from agents.protocol.handshake import Handshake
from agents.protocol.incarnation import Incarnation, is_of_another_start
from agents.protocol.ledger import accused
from agents.protocol.links import Counts
from agents.protocol.membership import Membership
from agents.protocol.names import Names
from agents.protocol.ownership import Ownership
from agents.protocol.pace import STALE_S, Pace
from agents.protocol.passing import Passing
from agents.protocol.probing import Probing
from agents.protocol.pull import Pulls
from agents.protocol.reach import Reach
from agents.protocol.session import WINDOW
from agents.protocol.settings import CoreSettings
from agents.protocol.signing import Screening, Signing
from agents.protocol.sketches import Sketches
from agents.protocol.takers import Takers
from agents.protocol.times import Times
from agents.protocol.weighing import Weighing
from agents.submodel import vector_of
from topology import overlay
from topology.choices import UNIFORM
from transport.addresses import is_address, is_loopback, key_of
from transport.messages import (
    BETWEEN_ALARMS,
    VERSION,
    Ack,
    Address,
    AgentId,
    Alive,
    Answer,
    ConnectionId,
    Decline,
    Gossip,
    Hello,
    Look,
    Member,
    Message,
    Offer,
    Piece,
    Probe,
    Pull,
    Refuse,
    Sketch,
    Stranger,
    Suspect,
    Unknown,
    Welcome,
)

MAX_ALARM = 300
"""Characters of alarms in our record."""

LOOKED_AT = 64
"""Members that are scanned in each tick; of N times as many all are scanned in every Nth tick."""


class GossipCore:
    """The protocol of one agent, without I/O. me: its record, whose weight is that of each of its exchanges."""

    def __init__(self, settings: CoreSettings, me: Member, signing: Signing | None = None) -> None:
        self.settings = settings
        key = signing.key if signing is not None else ""
        vouch = signing.vouch if signing is not None else ""
        me = replace(me, identity=replace(me.identity, key=key, vouch=vouch))
        ours = Hello(VERSION, me.agent, me.incarnation, settings.run, codecs=" ".join(KINDS))
        join = tuple(map(Address, settings.join))
        self.members = Membership(me, silent_s=settings.silent_s, sweep_s=settings.tick_s, submodel=settings.submodel)
        self.handshake = Handshake(ours, settings.manifest, settings.parameters, join, WINDOW, key, settings.dialed)
        self.codecs = Codecs(settings.codec)
        of_exchanges = settings.of_exchanges(me.report.weight)
        most = of_exchanges.max_weight
        self._weighing = Weighing(me.report.weight, self.members.is_alive) if settings.by_speed else None
        self.ownership = Ownership(settings.blocks, me, self.members.get, settings.nested, most)
        self.times = Times()
        self.choosing = Choosing(settings.choose, settings.seed, me.agent, self.times)
        self.exchanges = Exchanges(
            me.agent, of_exchanges, me.incarnation, self.codecs, self.ownership, self.times.completed
        )
        self.takers = Takers(self.members, settings.served)
        self._pulls = Pulls(me.agent, settings.served, settings.parameters)
        self._random = random.Random(f"{settings.seed}/{me.agent}")
        self._passing = Passing(self.members, self.handshake, self._address, settings.ping_s, signing)
        self._probing = Probing(
            self.members, settings.ping_s, self._route, self._dial, self._passing.some, self._random
        )
        self._screening = Screening(self.members, signing, lambda: self.handshake.ours.run)
        self._names = Names(self.members, self.handshake, self._probing, settings.ping_s, self._screening)
        self.reach = Reach(self.members, self.exchanges, self._route)
        self.finish = Finish(
            self.members, self.exchanges, self._route, self.handshake.credit, self.announce, self.ownership,
            self.reach, self._passing.at_once,
        )  # fmt: skip
        self._adoption = Adoption(
            self.members, self._pulls, self._route, self._random, self._donated, self.finish.counts
        )
        self.pace = Pace()
        self.sketches = Sketches(self.members, self._route, lambda: self.handshake.ours.run, signing)
        self.counts = Counts(self.exchanges.number)
        self.skipped = 0
        """Boundaries that began no exchange, as the one before was still under way."""
        self.draining = False
        self._looks_s = 0.0
        self._remembered = settings.remembered
        self._hold()
        self._admit()

    def step(self, event: Event, now: float) -> list[Effect]:
        """What follows from this event. now: seconds on any clock that only goes forward."""
        effects = self._step(event, now)
        self.counts.after(event, effects, self.members.me.report.step, now)
        return effects

    def _step(self, event: Event, now: float) -> list[Effect]:
        match event:
            case Received(connection, message):
                self.handshake.received(connection, now)
                return self._receive(connection, message, now)
            case Tick():
                return self._tick(now)
            case Due(round):
                return self._begin(round, now)
            case OfferApplied(connection):
                effects = self.exchanges.on_applied(self.handshake.identify(connection), event, now)
                return effects + self.finish.after(effects, now)
            case AnswerApplied(connection):
                effects = self.exchanges.on_answer_applied(self.handshake.identify(connection), event, now)
                return effects + self.finish.after(effects, now)
            case Unusable(connection):
                return self.exchanges.on_unusable(self.handshake.identify(connection), event, now)
            case Adopt(instead_of, finished):  # An answer that comes late would move what was taken over.
                ended = self.exchanges.forget_others((), "it takes over what others finished with") if finished else []
                return ended + self._adoption.begin(now, instead_of, finished)
            case StopAdopting():
                return self._adoption.stop()
            case FinishExactly(without_others):
                self.exchanges.ledger.trained = True
                return self.finish.begin(without_others)
            case Drain():
                self.draining = True
                self.finish.stop()
                return self._admit()
            case TookOver(digest):
                return self.finish.take_over(digest)
            case GiveUpFinish():
                return self.finish.stop()
            case Expelled(keys):
                return self._expel(keys)
            case Sketched():
                self.sketches.make(event, now)
                return []

    def publish(self, **changes: Any) -> None:
        """Change our record, by the names of its fields; others receive it with the next gossip or exchange."""
        self.members.publish(**changes)
        report = self.members.me.report
        self.exchanges.step, self.exchanges.weight = report.step, report.weight
        self._hold()
        self._admit()

    def progressed(self, progress: Mapping[str, Any], now: float) -> None:
        """Publish how far training is; keep pace with others by it, and weigh by it where agents weigh by speed."""
        self.publish(**progress)
        me = self.members.me
        self.pace.own(me.report.step, now)
        if self._weighing is not None and me.state == "training":
            weight = self._weighing.weight(self.pace.speed, self.pace.speeds, now)
            if weight != me.report.weight:
                self.publish(weight=weight)

    def skip(self, now: float) -> None:
        """Training reached a boundary where an exchange was due, and its last one is still under way."""
        self.skipped += 1
        self.codecs.begins(now)

    @property
    def expected_s(self) -> float:
        """How long the exchange that we began last should take, from its begin; 0 if nothing is known."""
        return self.times.expected_s(self.exchanges.latest_peer)

    def announce(self, **changes: Any) -> list[Effect]:
        """Change our record, and send it to all connections (`Passing.ours`).

        Where that changes our subnetwork, what is still open is lost: it is of the one before.
        """
        before = self.exchanges.vector
        self.publish(**changes)
        ended = sorted(self.exchanges.occupied) if self.exchanges.vector != before else ()
        return [effect for peer in ended for effect in self.exchanges.forget(peer, ANOTHER)] + self._passing.ours()

    def _hold(self) -> None:
        """Exchange and serve the vector of the subnetwork that our record names, and no other."""
        self.exchanges.vector = vector_of(self.members.me.report.part)
        self._pulls.holds(self.exchanges.vector)

    def _admit(self) -> list[Effect]:
        """While we hold no vector of the swarm, or drain, nothing is exchanged with us either way."""
        joining = self.members.me.state == "joining"
        self.exchanges.refusal = NO_VECTOR if joining else DRAINING if self.draining else ""
        return []

    # What comes in.

    def _receive(self, connection: ConnectionId, message: Message, now: float) -> list[Effect]:
        match message:
            case Hello():
                return self._on_hello(connection, message, now)
            case Welcome():
                first = not self.handshake.welcomed
                claimed = self._claimed(connection, message, now)
                if claimed is not None:
                    return claimed
                effects = self.handshake.on_welcome(connection, message, now) + self._introduced(connection, message)
                peer = self.handshake.peer(connection)
                if peer is None or self._screening.is_impostor(peer):
                    return effects
                effects += self._contact(peer, now)
                records = self._passing.some(connection, now)
                return [*effects, Send(connection, Gossip(records, reply=first))]
            case Refuse():
                return self.handshake.on_refuse(connection, message)
            case Stranger():
                return self.handshake.on_stranger(connection, now)
            case Unknown(name):
                if name == Sketch.__name__:
                    self.sketches.unknown(self.handshake.identify(connection))
                return []
        peer = self.handshake.peer(connection)
        if peer is None:
            return [Send(connection, Stranger())]
        if self._screening.is_impostor(peer):
            return []
        if isinstance(message, Gossip | Probe | Alive) and is_of_another_start(peer, message.members):
            return self.handshake.on_stranger(connection, now)
        effects = self._contact(peer, now) if peer.agent else []
        match message:
            case Gossip(members, reply, suspects):
                effects += self._learn(peer, connection, members, suspects, now)
                return effects + self._passing.all(connection, now) if reply else effects
            case Pull():
                return effects + self._on_pull(connection, message, now)
            case Piece():
                return effects + self._pulls.on_piece(peer.agent, connection, message, now)
            case Look():
                links = self.counts.links(self.exchanges.number, now)
                return effects + self.sketches.look(connection, message, links, now)
        if not peer.agent:
            return []  # An observer has nothing to mix.
        match message:
            case Probe() | Alive():
                if isinstance(message, Alive):
                    self._names.on_alive(peer, message)
                effects += self._learn(peer, connection, message.members, message.suspects, now)
                return effects + self._probing.on_message(peer.agent, connection, message, now)
            case Offer():
                self._keep_pace(peer.agent, message.step, now)
                return effects + self._on_offer(peer, connection, message, now)
            case Answer():
                self._keep_pace(peer.agent, message.step, now)
                return effects + self.exchanges.on_answer(peer, connection, message, now)
            case Decline():
                return effects + self.exchanges.on_decline(peer, connection, message)
            case Ack():
                self.exchanges.on_ack(peer, message)
            case Sketch():
                self.sketches.receive(peer, message, now)
        return effects

    def _keep_pace(self, agent: AgentId, step: int, now: float) -> None:
        """Something is exchanged with this agent; nobody rests for one that has finished, however few steps it took."""
        member = self.members.get(agent)
        if member is not None and member.state == "training":
            self.pace.mixed(agent, step, now)

    def _contact(self, peer: Incarnation, now: float) -> list[Effect]:
        """This agent has just sent us something, whatever it is: it is there."""
        self._probing.answered(peer.agent)
        if self.members.contact_age_s(peer.agent, now) > 2 * self.settings.ping_s:  # As after an outage.
            self.exchanges.resume(peer.agent)
        return self._is_back(peer.agent) if self.members.contact(peer, now) else []

    def _on_hello(self, connection: ConnectionId, hello: Hello, now: float) -> list[Effect]:
        """Welcome an agent, unless its key may not take part or another that still answers has its name."""
        if hello.agent and not self._screening.may_join(key_of(connection)):
            refuse = Refuse("role", "an agent's", "an observer's")
            text = f"refused {hello.agent} ({connection}): its key is an observer's"
            return [Send(connection, refuse), Notice(text, "refused", connection, hello.agent)]
        claimed = self._names.claim(connection, hello, now) if hello.agent else None
        if claimed is not None:
            return claimed
        before = self.handshake.peer(connection)
        effects = self.handshake.on_hello(connection, hello, now) + self._introduced(connection, hello)
        peer = self.handshake.peer(connection)
        if peer is not None and peer != before:
            who = peer.agent or "an observer"
            effects.append(Notice(f"{who} connected ({connection})", "connected", connection, peer.agent))
        return effects + self._contact(peer, now) if peer is not None and peer.agent else effects

    def _claimed(self, connection: ConnectionId, welcome: Welcome, now: float) -> list[Effect] | None:
        """What follows where whoever we called has the name of another that may be alive; None if nobody has it."""
        peer = Incarnation(welcome.agent, welcome.incarnation, key_of(connection))
        if not self.handshake.asks(connection) or self._screening.is_impostor(peer):
            return None
        claimed = self._names.claim(connection, welcome, now)
        if claimed is None or not any(isinstance(each, Send) and isinstance(each.message, Refuse) for each in claimed):
            return claimed
        return claimed + self.handshake.refuse(connection)

    def _on_offer(self, peer: Incarnation, connection: ConnectionId, offer: Offer, now: float) -> list[Effect]:
        """An agent that holds no vector of the swarm has nothing to offer; what an earlier start offered is void."""
        if offer.by not in (0, peer.number) or offer.to not in (0, self.members.me.incarnation):
            return []
        member = self.members.get(peer.agent)
        joining = member is not None and member.incarnation == peer.number and member.state == "joining"
        if offer.finish:
            at_rates = self.finish.rates(peer, offer)
            refusal = NOT_YET if at_rates is None else ""
            chunks = None if at_rates is None else self.finish.chunks
            return self.exchanges.on_offer(peer, connection, offer, now, refusal, at_rates, chunks)
        other = member is not None and not self.members.holds_ours(member)
        refusal = NO_VECTOR if joining else ANOTHER if other else FINISHING if self.finish.begun else ""
        return self.exchanges.on_offer(peer, connection, offer, now, refusal)

    def _on_pull(self, connection: ConnectionId, pull: Pull, now: float) -> list[Effect]:
        """Serve our vector, or pass the request on. Before we have adopted one there is none of ours to serve."""
        ours = pull.agent in ("", self.members.me.agent)
        if ours and self.members.me.state == "joining":
            return [Send(connection, Piece(pull.request, 0, -1))]
        if ours:
            self.takers.on_pull(connection, self.handshake.identify(connection).agent, pull)
        return self._pulls.on_pull(connection, pull, self._route(pull.agent), now)

    def _learn(
        self,
        peer: Incarnation,
        connection: ConnectionId,
        members: tuple[Member, ...],
        suspects: tuple[Suspect, ...],
        now: float,
    ) -> list[Effect]:
        """Take in records of members, and what follows: connections to new neighbors, incarnations that are over."""
        if not peer.agent:
            return []
        gone = tuple(Suspect(m.agent, m.incarnation) for m in members if m.liveness.gone)
        members, wrong = self._screening.screen(members)
        effects: list[Effect] = [Malformed(connection, wrong)] if wrong else []
        before = {member.agent: self.members.get(member.agent) for member in members}
        came, left = self.members.receive(members, now, peer)
        for member in members:
            age_s = max(0.0, member.liveness.silent_s)
            if member.state == "training" and age_s <= STALE_S and self.members.is_met(member.agent):
                self.pace.saw(member.agent, member.report.step, now - age_s)
        for agent in came:
            effects += self._is_back(agent, is_new=before[agent] is None)
        for agent in left:
            effects.append(Notice(f"{agent} has left", "left", agent=agent))
        for agent, old in before.items():
            new = self.members.get(agent)
            if old and new and new is not old and (Incarnation.of(new) != Incarnation.of(old) or new.state == "left"):
                effects += self._over(Incarnation.of(old))
        return effects + self._probing.on_suspects(peer.agent, (*suspects, *gone), now)

    def _is_back(self, agent: AgentId, is_new: bool = False) -> list[Effect]:
        self.exchanges.resume(agent)
        which = "here" if is_new else "back"
        return [Notice(f"{agent} is {which}", which, agent=agent)]

    def _introduced(self, connection: ConnectionId, message: Hello | Welcome) -> list[Effect]:
        """If the handshake succeeded: learn our own address, and that an earlier incarnation of the agent is over."""
        peer = self.handshake.identify(connection)
        if peer[:2] != (message.agent, message.incarnation):
            return []
        if isinstance(message, Hello):
            self._learn_address(message.address)
        notices = self.codecs.introduced(message.agent, message.codecs)
        known = self.members.get(message.agent)
        if known is None or Incarnation.of(known) == peer:
            return notices
        if self._screening.is_impostor(peer):
            return [Notice(f"{connection} is left out: it calls itself {peer.agent}, which is the name of another key")]
        return notices + self._over(Incarnation.of(known))

    def _learn_address(self, address: Address) -> None:
        """A peer reached us at this address: if we know none of ours that others can use, now we do."""
        if self.settings.listening and not self.members.me.address and is_address(address) and not is_loopback(address):
            self.members.publish(address=address)

    def _expel(self, keys: tuple[str, ...]) -> list[Effect]:
        """Abort what is open with them, and know them no longer."""
        peers, effects = self.handshake.expel(keys)
        known = [member for member in (*self.members.others(), *self.members.gone()) if member.identity.key in keys]
        for member in known:
            self.members.forget(member.agent)
            effects.append(Notice(f"{member.agent} is out: its key is no longer trusted to take part"))
        for peer in {*peers, *map(Incarnation.of, known)}:
            effects += self._over(peer)
        return effects

    def _over(self, peer: Incarnation) -> list[Effect]:
        self.handshake.forget(peer)
        self.times.forget(peer.agent)
        self.pace.over(peer.agent)
        self.sketches.forget(peer)
        return self.exchanges.forget(peer)

    # What time brings.

    def _tick(self, now: float) -> list[Effect]:
        effects = [each for address in self._remembered for each in self.handshake.dial(Address(address), now)]
        self._remembered = ()
        effects += self.handshake.tick(now)
        effects += self.exchanges.tick(self.handshake.route, now)
        effects += self._pulls.tick(now)
        effects += self.takers.tick()
        for agent in self.members.sweep(now):
            text = f"{agent} is silent: it counts as gone until something fresh comes from it"
            effects.append(Notice(text, "silent", agent=agent))
            effects += self.exchanges.release(agent)
            if (member := self.members.get(agent)) is not None:
                self.handshake.lost(Incarnation.of(member), now)
                effects += self._interrupted(Incarnation.of(member))
        self.exchanges.excuse(self.members.stall_s, now)
        if now >= self._looks_s:
            self._looks_s = now + self.look_s
            self._look_at_all(now)
        return (
            effects
            + self._passing.tick(now)
            + self._probing.tick(now)
            + self._adoption.tick(now)
            + self.finish.tick(now)
            + self.sketches.tick(now, 4.0 if self._passing.busy else 1.0)
        )

    def _look_at_all(self, now: float) -> None:
        """What scans all members: less often, the more there are, so that it costs an agent the same."""
        met = self.members.unsorted()
        self._report_findings(met, now)
        self.pace.forget({member.identity.agent for member in met if member.liveness.state == "training"})
        self.reach.look(now)
        self.finish.look(self.members.present() if self.members.apart else met, now)

    def _interrupted(self, peer: Incarnation) -> list[Effect]:
        chunks = sum(len(each.chunks) for each in self.exchanges.open_with(peer))
        text = f"{peer.agent} is silent with open chunks ({chunks}): unless it comes back, one side alone may have them"
        return [Notice(text, "interrupted", agent=peer.agent)] if chunks else []

    def _report_findings(self, met: list[Member], now: float) -> None:
        """Publish what the ledger finds of our peers, what was lost with them, and our codec, when that changes.

        Let the ledger know what others publish.
        """
        ledger, report = self.exchanges.ledger, self.members.me.report
        alarm, distrusts = BETWEEN_ALARMS.join(ledger.alarms(now))[:MAX_ALARM], " ".join(map(tag, ledger.distrusted))
        if (alarm, distrusts, self.lost) != (report.alarm, report.distrusts, report.lost):
            self.members.publish(alarm=alarm, distrusts=distrusts, lost=self.lost)
        if self.settings.codec == AUTO and self.codecs.now != report.codec:
            self.members.publish(codec=self.codecs.now)
        ledger.accused = accused([self.members.me, *met], self.members.me.agent)

    @property
    def look_s(self) -> float:
        """The least time between two scans of all members; 0: they are scanned in every tick."""
        return self.settings.tick_s * (self.members.count // LOOKED_AT)

    @property
    def lost(self) -> int:
        """Chunks that one side alone may have applied: lost with who is over, and open with who is gone for now."""
        gone = [peer for peer in self.exchanges.occupied if not self._is_there(peer)]
        return self.exchanges.lost + sum(len(each.chunks) for peer in gone for each in self.exchanges.open_with(peer))

    def _is_there(self, peer: Incarnation) -> bool:
        member = self.members.get(peer.agent)
        if member is None:
            return self.handshake.route(peer) is not None
        return Incarnation.of(member) == peer and self.members.is_alive(peer.agent)

    # Exchanges.

    def neighbors(self, round: int, now: float = 0.0) -> list[AgentId]:
        """With whom we may begin an exchange in this round, of those that are alive, hold a vector, not in quarantine.

        Where agents train blocks of the model, every other round is among the trainers of our block: one that follows
        a block carries nothing from one of its trainers to another, so these must exchange with each other. Of a nested
        model it is among those who hold all that we hold.
        """
        agents, me = self.members.neighbors_among(), self.members.me.agent
        quarantined = self.exchanges.ledger.quarantined(agents, now) - {me}  # Whatever others find of us.
        agents = [agent for agent in agents if agent not in quarantined]
        if self.ownership.count > 1:
            round, within_block = divmod(round, 2)
            agents = self.ownership.same_block(agents) if within_block else agents
        graph = overlay(self.settings.topology, len(agents), self.settings.seed)
        return [agents[index] for index in graph.begins_with(agents.index(me), round)]

    def _turn(self, round: int) -> int:
        """The number of this round among those with the same graph."""
        return round // 2 if self.settings.choose != UNIFORM and self.ownership.count > 1 else round

    def _begin(self, round: int, now: float) -> list[Effect]:
        refusal = self.exchanges.refusal or (FINISHING if self.finish.begun else "")
        if refusal:
            return [RoundOver(round, why=refusal)]
        effects: list[Effect] = []
        busy = {peer.agent for peer in self.exchanges.open_peers | self.exchanges.answering(now)}
        connections: dict[AgentId, ConnectionId] = {}
        neighbors = self.neighbors(round, now)
        for agent in neighbors:
            connection = self._route(agent)
            if connection is None:
                effects += self._dial(agent, now)
            elif agent not in busy:
                connections[agent] = connection
        if not connections:
            return [*effects, RoundOver(round, why="no neighbor is free now")]
        connection = connections[self.choosing.of(self._turn(round), neighbors, connections)]
        peer, credit = self.handshake.identify(connection), self.handshake.credit(connection)
        return effects + self.exchanges.begin(peer, connection, round, credit, now)

    def _donated(self, member: Member) -> int | None:
        """How many of our chunks this member holds, from the first on."""
        return self.ownership.exchanged(Incarnation.of(member), self.settings.served)

    def _route(self, agent: AgentId) -> ConnectionId | None:
        member = self.members.get(agent)
        return self.handshake.route(Incarnation.of(member)) if member else None

    def _dial(self, agent: AgentId, now: float) -> list[Effect]:
        return self.handshake.dial(self._address(agent), now)

    def _address(self, agent: AgentId) -> Address:
        member = self.members.get(agent)
        return member.address if member else Address("")
