"""The protocol of live agents: an agent trains, offers to a neighbor, which answers and applies; both move alike.

    turn: train, offer to a neighbor; there: answer and apply; back here: apply       (DESIGN 1.2)

As live agents do, one that has begun an exchange trains on only once the answer is there, and of two that offer to each
other at the same time the one with the larger number declines. An exchange whose responder waits for an answer itself
is damped on both sides.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agents.mixing.exchange import OVERLAP, rate
from sim.conditions import SECOND_DELAY, Conditions
from sim.sources.asynchronous import Asynchronous
from sim.sources.messages import READ, RETURN, TAKE, TURN_TRAIN, Messages, Window
from sim.sources.source import Block, Floats, Ints
from sim.turns import Turns, held_by
from topology import Topology


class Exchange(Asynchronous):
    """Zero-sum exchanges between neighbors. weights (agents,), or (agents, K) by block; None: equal ones.

    nested: whether blocks are levels of a nested model, which are exchanged by those alone who both hold them.
    turns: when agents go to other subnetworks, None for never; the weights are those of the agents.
    """

    completes_at = RETURN
    once = True
    carried = (*Asynchronous.carried, "_last")

    def __init__(
        self,
        topology: Topology,
        conditions: Conditions,
        *,
        alpha: float = 0.5,
        weights: Floats | None = None,
        local_steps: int = 1,
        message_bytes: int = 0,
        nested: bool = False,
        turns: Turns | None = None,
    ) -> None:
        super().__init__(topology, conditions, local_steps=local_steps, message_bytes=message_bytes)
        self.alpha, self.nested, self.turns = alpha, nested, turns
        self.weights = np.ones(self.agents) if weights is None else weights
        self.factors = self.weights.shape[1:]
        self.waits = conditions.delay != 0
        self.reads_at = TURN_TRAIN if local_steps else READ
        self._last = np.full((3, self.agents), -np.inf)
        """Of each agent's last message: when it was sent, when its answer is back, and the number of its receiver."""

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """As of any asynchronous source; where a turn ends a block does."""
        if self.turns is None:
            yield from super().blocks(rounds, moments, window)
            return
        for begin, end in self.turns.until(self._now, rounds):
            some = moments[(moments >= begin) & ((moments < end) | (end >= rounds))]
            for block in super().blocks(end, some, window):
                yield block._replace(tape=self.turns.passed_on(block.tape))

    def returns(self, agent: Ints, turn: Ints, arrives: Floats) -> Floats:
        """When the answers are back: the initiator takes them in once it is online."""
        way_back = self.conditions.delays(agent, turn, self.message_bytes, SECOND_DELAY)
        return self.conditions.next_online(agent, arrives + way_back)

    def declined(self, messages: Messages) -> NDArray[np.bool_]:
        """Offers that cross one from a peer with a smaller number, both on their way; sets the damping of all."""
        declined = np.zeros(len(messages.sender), bool)
        if not self.waits:
            return declined
        self._damp(messages)
        goes_on = messages.sender < messages.receiver
        low, high = (of(messages.sender, messages.receiver) for of in (np.minimum, np.maximum))
        order = np.lexsort((np.where(goes_on, messages.sent, messages.arrives), high, low))
        ranked = np.where(goes_on[order], np.arange(len(order)), -1)
        latest = np.maximum.accumulate(ranked)  # Of those that go on, the last one sent before a declined one arrives.
        queries = np.flatnonzero((ranked < 0) & (latest >= 0))
        one, other = order[queries], order[latest[queries]]
        same = (low[one] == low[other]) & (high[one] == high[other])
        declined[one] = same & (messages.sent[one] < messages.arrives[other])
        return declined

    def _damp(self, messages: Messages) -> None:
        """Decide the damping of those that aren't taken in yet; whoever is declined has waited as well."""
        messages.damping[(messages.before < 0) & waiting(messages, *self._last)] = OVERLAP
        order = np.argsort(messages.sent, kind="stable")  # Of several of one agent the last one is written last.
        last = messages.where(order)
        self._last[:, last.sender] = last.sent, last.returns, last.receiver

    def mix(self, window: Window) -> None:
        """The responder moves by -rate * (before - offered) when it takes the offer, the initiator by +rate later."""
        messages, a, b, coefficient = window.messages, window.a, window.b, window.coefficient
        initiator, responder = (
            self._weights_of(messages.sender, messages),
            self._weights_of(messages.receiver, messages),
        )
        taken, rows = window.of(TAKE)
        damping = messages.damping.reshape(-1, *(1 for _ in self.factors))
        a[taken] = messages.read[rows]
        both = (initiator > 0) & (responder > 0) if self.nested else np.ones_like(initiator, bool)
        coefficient[taken] = -rate(self.alpha, responder[rows], initiator[rows], damping[rows]) * both[rows]
        back, rows = window.of(RETURN)
        a[back], b[back] = messages.read[rows], messages.before[rows]
        coefficient[back] = rate(self.alpha, initiator[rows], responder[rows], damping[rows]) * both[rows]

    def _weights_of(self, model: Ints, messages: Messages) -> Floats:
        """Of whoever holds each model, (M,), when the message is sent."""
        agent = model if self.turns is None else held_by(model, self.turns.at(messages.sent), self.turns.parts)
        weights: Floats = self.weights[agent]
        return weights

    def carry(self, leaving: Ints, is_open: NDArray[np.bool_]) -> None:
        """Nothing: weights are the agents', not the versions' or the messages'."""


def waiting(messages: Messages, sent_before: Floats, returns_before: Floats, receivers: Floats) -> NDArray[np.bool_]:
    """Which messages arrive while their receiver waits for the answer of a third agent: (K,).

    sent_before, returns_before, receivers (agents,): of each agent's last message before these, when it was sent, when
    its answer is back, and whom it was sent to.
    """
    sender = np.append(np.arange(len(sent_before)), messages.sender)
    receiver = np.append(receivers, messages.receiver)
    sent, returns = np.append(sent_before, messages.sent), np.append(returns_before, messages.returns)
    agent, time = np.append(sender, messages.receiver), np.append(sent, messages.arrives)
    order = np.lexsort((time, agent))
    latest = np.maximum.accumulate(np.where(order < len(sender), np.arange(len(order)), -1))
    own = np.empty(len(order), np.int64)  # The message that each one's agent, or another one, had sent last then.
    own[order] = np.where(latest >= 0, order[latest], 0)
    own, arrives = own[len(sender) :], messages.arrives
    a_third: NDArray[np.bool_] = (sender[own] == messages.receiver) & (receiver[own] != messages.sender)
    a_third &= (sent[own] <= arrives) & (arrives < returns[own])
    return a_third
