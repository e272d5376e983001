"""Real agents behind proxies that go wrong in the middle of an exchange: the mean stays, and exchanges go on."""

import itertools
from contextlib import ExitStack

import numpy as np
import pytest
from live_swarm import LiveSwarm

from agents.mixing.consensus import consensus_distance
from agents.mixing.layout import Layout

PARAMETERS = 300_000
"""Two chunks, of which the first is a megabyte."""

TIMEOUT_S = 30.0


def started(stack, keys=None):
    """Two agents, each behind a proxy. keys: where to write whose are trusted."""
    thetas = np.random.default_rng(0).normal(size=(2, PARAMETERS)).astype(np.float32)
    return LiveSwarm(stack, thetas, [1, 3], proxied=True, keys=keys, silent_s=1.2, first_s=0.3, floor_s=0.2)


@pytest.fixture
def swarm():
    with ExitStack() as stack:
        yield started(stack)


@pytest.fixture
def keyed(tmp_path):
    with ExitStack() as stack:
        yield started(stack, tmp_path / "trusted")


def fault(kind, direction):
    """In the middle of the next chunk that goes this way."""
    if kind == "truncate":
        direction.truncate(after=400_000)
    elif kind == "corrupt the framing":
        direction.corrupt()
    else:
        direction.bytes_per_s = 8e6  # So that there is a middle.


def first_exchange(swarm, up):
    """What goes through the proxy that is used, one way, once they have exchanged."""
    swarm.ask(1)
    assert swarm.wait(1, TIMEOUT_S) and swarm.wait_until_idle(TIMEOUT_S)
    proxy = max(swarm.proxies, key=lambda proxy: proxy.up.passed)  # Two connections stand, and one of them is used.
    return proxy, proxy.up if up else proxy.down


def go_on(swarm, before, apart):
    """What was interrupted is resumed, more exchanges follow, and the mean is where it was."""
    assert swarm.wait(2, TIMEOUT_S) and swarm.wait_until_idle(TIMEOUT_S)
    exchanged = swarm.exchanges
    for round in itertools.count(3):
        swarm.ask(round)
        assert swarm.wait(round, TIMEOUT_S) and swarm.wait_until_idle(TIMEOUT_S)
        if swarm.exchanges >= exchanged + 5:
            break
    assert np.linalg.norm(swarm.mean - before) < 1e-6 * np.linalg.norm(before)
    assert consensus_distance(swarm.thetas) < 1e-2 * apart


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("kind", ["truncate", "corrupt the framing", "reset"])
def test_the_mean_stays_and_exchanges_go_on(swarm, kind, up):
    before, apart = swarm.mean, consensus_distance(swarm.thetas)
    proxy, direction = first_exchange(swarm, up)
    passed = direction.passed
    fault(kind, direction)
    swarm.ask(2)
    if kind == "reset":
        while direction.passed < passed + 400_000:
            assert not swarm.networks[0].wait(3, 0.01), "the exchange is under way"
        proxy.reset()
        proxy.heal()
    go_on(swarm, before, apart)


def test_with_keys_an_altered_byte_of_a_model_ends_the_connection_and_changes_nothing(keyed):
    """CURVE authenticates every byte; without keys TCP's checksum alone stands between two models."""
    before, apart = keyed.mean, consensus_distance(keyed.thetas)
    _, direction = first_exchange(keyed, up=False)
    direction.corrupt(after=400_000)
    keyed.ask(2)
    go_on(keyed, before, apart)


@pytest.mark.parametrize("crashed", [0, 1], ids=["the initiator", "the responder"])
def test_who_is_left_counts_what_a_crash_in_mid_exchange_leaves_on_one_side(swarm, caplog, crashed):
    """The responder has applied a chunk, whose answer is on its way when one of the two ends without a message."""
    caplog.set_level("INFO", "gossamer")
    initiator, responder = swarm.networks
    spans = Layout.flat(PARAMETERS).chunks
    for proxy in swarm.proxies:
        proxy.up.bytes_per_s = proxy.down.bytes_per_s = 2e6  # Half a second for a chunk.
    before, theirs = swarm.mean, swarm.replicas[1].read(0).copy()
    initiator.ask(1)
    while np.array_equal(swarm.replicas[1].read(0), theirs):
        initiator.wait(1, 0.01)
    swarm.crash(crashed)
    left = (responder, initiator)[crashed]
    assert left.wait_until(lambda view: view.me.report.lost > 0, TIMEOUT_S)
    truly = [span for span in spans if np.abs(swarm.mean - before)[span].max() > 1e-3]
    assert truly, "one side alone has applied the first chunk"
    assert len(truly) <= left.view().me.report.lost <= len(spans)
    assert left.view().me.report.lost == len(spans) or not crashed, "both were offered, and none was answered"
    (line,) = [record for record in caplog.records if getattr(record, "event", "") == "interrupted"]
    assert f"agent-{crashed} is silent with open chunks" in line.getMessage()
