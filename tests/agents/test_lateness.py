"""Training goes on where an exchange takes longer than a period: it is skipped, counted, and never queued."""

import math
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxy import Proxy

from agents import Peer
from agents.lateness import ONCE_S, SHARE, SHORT_S, Lateness
from tests.agents.test_peer import together
from transport.addresses import split

HOW = {"task": "test", "every": "1steps", "topology": "complete", "finish": "gossip", "clip": math.inf}
seconds = st.floats(1e-6, 1e3)


@given(st.lists(st.tuples(seconds, seconds), min_size=1))
def test_what_doesnt_fit_is_waited_for_a_small_share_of_the_time(exchanges):
    """Whatever an exchange should take, and once it is late whatever comes."""
    late = Lateness()
    for round, (expected_s, period_s) in enumerate(exchanges):
        limit_s = late.limit_s(round, expected_s, period_s)
        if expected_s > max(SHORT_S, (1 + SHARE) * period_s):
            assert limit_s == SHARE * period_s
        else:
            assert limit_s == max(ONCE_S, SHARE * period_s)
        late.skipped(round)
        assert late.limit_s(round, expected_s, period_s) == SHARE * period_s
        assert late.limit_s(round + 1, 0.0, period_s) == max(SHORT_S, SHARE * period_s), "nothing is known"


def pair(stack, size):
    """Two peers that have met; b reaches a through a proxy, and a reaches b by the same connection."""
    starts = [{"w": theta} for theta in np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)]
    a = stack.enter_context(Peer(starts[0], name="a", **HOW))
    proxy = stack.enter_context(Proxy(split(a.address)))
    b = stack.enter_context(Peer(starts[1], name="b", listen=None, join=[proxy.url], **HOW))
    b.meet(starts[1])
    assert all(together(lambda: a.wait_for(2, 60), lambda: b.wait_for(2, 60)))
    return a, b, proxy, starts


def open_exchanges(peer):
    return len(peer._network._core.exchanges._outgoing)


def drained(peers, params):
    """The mean of what both hold once all that is open is completed."""
    ends = together(*(lambda p=peer, x=one: p.drain(x, 60) for peer, one in zip(peers, params, strict=True)))
    return np.mean([end["w"] for end in ends], axis=0)


def test_over_a_slow_link_training_goes_on_and_no_exchange_is_queued():
    """Two megabytes each way at 8 MB/s: longer than any period of a loop that does nothing else."""
    with ExitStack() as stack:
        a, b, proxy, starts = pair(stack, 1 << 19)
        proxy.up.bytes_per_s = proxy.down.bytes_per_s = 8e6
        params, boundaries, most = starts[0], 0, 0
        while a.view().skipped < 50 or a.view().me.report.exchanges < 3:
            params = a.boundary(params)
            boundaries += 1
            most = max(most, open_exchanges(a))
        assert most == 1
        assert a._network.wait_until(lambda view: view.skipped == boundaries - a.round, 60)
        assert 3 <= a.round < boundaries / 2
        proxy.heal()
        np.testing.assert_allclose(
            drained((a, b), (params, starts[1])), np.mean([start["w"] for start in starts], axis=0), atol=1e-5
        )


def test_an_exchange_that_stands_still_holds_up_nobody():
    """Training takes its steps while it is open; once the network is back it is completed."""
    with ExitStack() as stack:
        a, b, proxy, starts = pair(stack, 1 << 19)
        proxy.up.bytes_per_s = proxy.down.bytes_per_s = 8e6
        params = starts[0]
        while a.view().me.report.exchanges < 1:
            params = a.boundary(params)
        while not open_exchanges(a):
            params = a.boundary(params)
        proxy.cut()
        before, rounds = a.step, a.round
        for _ in range(20):
            params = a.boundary(params)
        assert a.step == before + 20 and a.round == rounds and open_exchanges(a) == 1
        proxy.heal()
        np.testing.assert_allclose(
            drained((a, b), (params, starts[1])), np.mean([start["w"] for start in starts], axis=0), atol=1e-5
        )
        assert not open_exchanges(a)


def test_where_exchanges_fit_each_boundary_has_its_own(monkeypatch):
    """However loaded the machine is: here any exchange counts as short."""
    monkeypatch.setattr("agents.lateness.SHORT_S", 60.0)
    monkeypatch.setattr("agents.lateness.ONCE_S", 60.0)
    with ExitStack() as stack:
        a, _, _, (params, _) = pair(stack, 10)
        for _ in range(30):
            params = a.boundary(params)
        assert a.round == 30 and a.view().skipped == 0


@pytest.mark.parametrize("every", ["1steps", "0.001s"])
def test_skipped_boundaries_are_counted_whatever_the_period_is(every, monkeypatch):
    with ExitStack() as stack:
        peer = stack.enter_context(Peer({"w": np.zeros(3)}, **HOW | {"every": every}))
        monkeypatch.setattr(peer._network, "wait", lambda round, timeout_s=None: False)
        monkeypatch.setattr("agents.lateness.ONCE_S", 0.0)
        while peer.view().skipped < 5:
            peer.boundary({"w": np.zeros(3)})
        assert peer.round == 0
