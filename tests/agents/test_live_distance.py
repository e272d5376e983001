"""The consensus distance that a running swarm estimates of itself, against that of its vectors."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from agents import Peer, sketching
from agents.mixing.consensus import consensus_distance
from agents.mixing.replica import Replica
from agents.observe.snapshot import snapshot
from agents.observe.watching import watching

AGENTS, SIZE = 16, 5_000


def swarm(stack: list[Peer], agents: int, **settings: object) -> list[Peer]:
    for number in range(agents):
        start = {"w": np.random.default_rng(number).standard_normal(SIZE).astype(np.float32)}
        join = [stack[0].address] if stack else []
        given = {"task": "test", "every": "1steps", "topology": "ring", "join": join, "keep_pace": False, **settings}
        stack.append(Peer(start, name=f"peer-{number:02}", **given))  # type: ignore[arg-type]
        stack[-1].meet(start)
    return stack


def exact(peers: list[Peer]) -> float:
    thetas = np.stack([peer._replica.snapshot() for peer in peers]).astype(np.float64)
    return float(consensus_distance(thetas))


def eventually(what: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def peers():
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


def test_every_agent_of_a_ring_of_sixteen_knows_the_distance_within_fifteen_percent(peers):
    """Of the first vectors, and from outside, through one agent."""
    swarm(peers, AGENTS)
    true = exact(peers)
    eventually(lambda: all(peer.consensus_distance is not None for peer in peers))
    eventually(lambda: all(len(peer.view().sketches) == AGENTS for peer in peers))
    eventually(lambda: all(abs((peer.consensus_distance or 0.0) / true - 1) < 0.15 for peer in peers))
    with watching([peers[3].address], 15, None) as (watch, welcome):
        eventually(lambda: watch.look() or snapshot(watch, welcome).compared == AGENTS)
        seen = snapshot(watch, welcome)
    assert seen.consensus_distance == pytest.approx(true, rel=0.15)
    for each in seen.agents:
        assert each.to_mean == pytest.approx(true, rel=0.25)  # All started equally far from the mean.


def copied_for_sketches(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[int, np.ndarray]]:
    """By step and agent the very vectors of which sketches are made: exchanges may change them a moment later."""
    vectors: dict[int, dict[int, np.ndarray]] = {}
    last = threading.local()
    snapshot_of, reached = Replica.snapshot, sketching.Sketching.reached

    def remembered(replica: Replica) -> np.ndarray:
        last.copy = snapshot_of(replica)
        return last.copy

    def noted(self: sketching.Sketching, step: int) -> None:
        last.copy = None
        reached(self, step)
        if last.copy is not None:
            vectors.setdefault(step, {})[id(self)] = last.copy

    monkeypatch.setattr(Replica, "snapshot", remembered)
    monkeypatch.setattr(sketching.Sketching, "reached", noted)
    return vectors


def test_agents_that_train_are_compared_at_one_step(peers, monkeypatch):
    """All drift together, by more in a few steps than they are apart: what is of different steps would show."""
    monkeypatch.setattr(sketching, "PERIOD_S", 0.1)
    monkeypatch.setattr(sketching, "PAUSE_S", 600.0)  # However busy the machine is, nobody counts as standing still.
    swarm(peers, 3, overlap=False)
    drift = np.full(SIZE, 0.5, np.float32)
    vectors = copied_for_sketches(monkeypatch)
    done = threading.Event()

    def train(peer: Peer) -> None:
        params = {"w": np.zeros(SIZE, np.float32)}
        noise = np.random.default_rng(int(peer.name[-2:]))
        while True:
            own = 0.05 * noise.standard_normal(SIZE).astype(np.float32)
            params = peer.boundary({"w": np.asarray(params["w"]) + drift + own})
            if done.is_set():
                return

    threads = [threading.Thread(target=train, args=(peer,)) for peer in peers]
    found: dict[int, float] = {}
    with watching([peers[0].address], 15, None) as (watch, welcome):
        for thread in threads:
            thread.start()
        while len(found) < 4:
            watch.look()
            seen = snapshot(watch, welcome)
            found = dict(seen.course) if seen.compared == len(peers) else {}
        done.set()
        for thread in threads:
            thread.join()
    for step, distance in found.items():
        thetas = np.stack(list(vectors[step].values())).astype(np.float64)
        assert len(thetas) == len(peers)
        assert distance == pytest.approx(float(consensus_distance(thetas)), rel=0.25)
