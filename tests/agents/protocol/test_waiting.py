"""Guarantee 6: training's wait for others is bounded, whatever they do."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork

from agents.protocol import events as ev
from agents.protocol.waiting import FIRST, SLOWER, Waiting
from transport.messages import Answer

FIRST_S, FLOOR_S = 0.6, 0.3


class Delaying(MemoryNetwork):
    """Each answer of "slow" comes `delay_s` after the one before it."""

    delay_s = 0.25
    last_s = 0.0

    def _weather(self, sender, receiver, message):
        delays = list(super()._weather(sender, receiver, message))
        if sender.name == "slow" and isinstance(message, Answer):
            self.last_s = max(self.now, self.last_s) + self.delay_s
            return [self.last_s - self.now]
        return delays


def waited_s(network, rounds, train_s=0.1):
    """How long training at "a" waited in all: each round takes train_s, and then until the one before it is over."""
    a, total = network.agents["a"], 0.0

    def over():
        return sum(isinstance(signal, ev.RoundOver) for signal in a.signals)

    for round in range(1, rounds + 1):
        network.due("a", round)
        network.run(train_s)
        began = network.now
        assert network.run(600.0, lambda round=round: over() >= round)
        total += network.now - began
    return total


def network_of(kind, names, chunks):
    network = kind(3 * chunks)  # Three parameters a chunk, see conftest.
    for name in names:
        network.add_agent(name, np.zeros(3 * chunks))
    network.meet()
    return network


@cache
def quick_s():
    """The same with peers that answer at once."""
    return waited_s(network_of(MemoryNetwork, ("a", "b", "c"), 20), 300)


@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.29])
def test_a_peer_that_answers_every_chunk_just_in_time_costs_little_and_is_mixed_with_nonetheless(delay_s):
    network = network_of(Delaying, ("a", "b", "slow"), 20)
    network.delay_s = delay_s
    assert waited_s(network, 300) - quick_s() < 0.05 * 300 * 0.1 + FIRST * FIRST_S
    done = [signal for signal in network.agents["a"].signals if isinstance(signal, ev.Completed) and signal.initiated]
    assert {signal.peer for signal in done} == {"b", "slow"}


def test_a_peer_that_is_in_time_again_is_waited_for_again():
    made = Waiting(FIRST_S, FLOOR_S)
    made.completed("b", 0.1)
    made.late("slow")
    assert not made.waits_for("slow") and made.waits_for("b")
    made.completed("slow", 100.0)
    assert not made.waits_for("slow"), "that took too long"
    made.completed("slow", 0.1)
    assert made.waits_for("slow")
    made.late("slow")
    made.completed("slow", 0.1)
    assert not made.waits_for("slow"), "two in time are owed after the second offense"
    made.completed("slow", 0.1)
    assert made.waits_for("slow")


@given(st.lists(st.booleans(), max_size=3000))
def test_offenses_are_at_most_the_logarithm_of_what_was_in_time(in_time):
    """However a peer alternates between being late and in time."""
    made, late, timely = Waiting(FIRST_S, FLOOR_S), 0, 0
    made.completed("quick", 0.1)
    for each in in_time:
        if each:
            made.completed("slow", 0.1)
            timely += 1
        elif made.waits_for("slow"):
            made.late("slow")
            late += 1
    assert late <= 1 + math.log2(timely + 1)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.001, 1e4), min_size=1))
def test_the_limit_follows_the_quickest_peer(took):
    made = Waiting(FIRST_S, FLOOR_S)
    assert made.limit_s == FIRST * FIRST_S
    for peer, took_s in took.items():
        made.completed(peer, took_s)
    assert made.limit_s == max(FLOOR_S, SLOWER * min(took.values()))
