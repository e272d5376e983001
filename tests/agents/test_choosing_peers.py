"""How peers choose their neighbors, over sockets: each by itself, and the mean of all stays where it was."""

from contextlib import ExitStack

import numpy as np
import pytest

from agents import Peer
from agents.values import SettingsError
from tests.agents.test_peer import together

HOW = {"task": "test", "every": "1steps", "topology": "complete"}


def swarm(stack, choices):
    """A peer for each choice, that all have met, and what each starts from."""
    starts = [{"w": theta} for theta in np.random.default_rng(0).normal(size=(len(choices), 50)).astype(np.float32)]
    peers = []
    for number, (choose, start) in enumerate(zip(choices, starts, strict=True)):
        join = [peers[0].address] if peers else []
        peers.append(stack.enter_context(Peer(start, name=f"agent-{number}", choose=choose, join=join, **HOW)))
    for peer, start in zip(peers, starts, strict=True):
        peer.meet(start)
    assert all(together(*(lambda peer=peer: peer.wait_for(len(peers), 60) for peer in peers)))
    return peers, starts


def test_a_peer_walks_through_its_neighbors_and_measures_each():
    with ExitStack() as stack:
        (first, *_), (params, *_) = swarm(stack, ["roundrobin", "uniform", "uniform", "uniform"])
        assert first._network.wait_until(lambda view: all(map(first._network._core._route, names(view))), 60)
        for _ in range(9):
            params = first.boundary(params)
        first._wait_for_exchange()
        took = {agent: list(times) for agent, times in first._network._core.times._took.items()}
    assert {agent: len(times) for agent, times in took.items()} == {f"agent-{i}": 3 for i in (1, 2, 3)}
    assert all(0 < each < 60 for times in took.values() for each in times)


def names(view):
    return [member.agent for member in view.others]


def test_each_chooses_by_itself_and_all_end_with_the_mean():
    def loop(peer, params):
        for _ in range(20):
            params = peer.boundary(params)
        return peer.finish(params)

    with ExitStack() as stack:
        peers, starts = swarm(stack, ["uniform", "roundrobin", "fastest"])
        assert len({peer.manifest.hash for peer in peers}) == 1
        ends = together(*(lambda p=peer, x=start: loop(p, x) for peer, start in zip(peers, starts, strict=True)))
    mean = np.mean([start["w"] for start in starts], axis=0)
    np.testing.assert_allclose([end["w"] for end in ends], [mean] * 3, atol=1e-5)


def test_a_choice_that_cant_be_is_refused_before_anything_is_bound():
    with pytest.raises(SettingsError, match="choose is uniform, roundrobin or fastest: got choose='best'"):
        Peer({"w": np.zeros(2)}, task="test", choose="best")
    with pytest.raises(SettingsError, match="base:2 says whom an agent meets in each round"):
        Peer({"w": np.zeros(2)}, task="test", choose="fastest", topology="base:2")
