"""How far agents are apart in each parameter, as a running swarm shows whoever watches; no model is pulled."""

from contextlib import ExitStack

import numpy as np
import pytest

from agents import Peer
from agents.observe.snapshot import snapshot
from agents.observe.watching import watching

SHAPES = {"embedding": (300, 100), "hidden": (100, 50), "output": (50,)}
APART = 0.25


def test_a_layer_that_is_set_apart_stands_out_by_as_much():
    """Three whose models stay as they are, as alpha is 1; in one layer any two are as far from each other."""
    start = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    noise = APART * np.random.default_rng(0).standard_normal((3, *SHAPES["hidden"])).astype(np.float32)
    models = [start | {"hidden": start["hidden"] + noise[number]} for number in range(3)]
    expected = np.sqrt(np.mean([np.sum((noise[i] - noise[j]) ** 2) for i, j in ((0, 1), (1, 2), (2, 0))]))
    with ExitStack() as stack:
        peers: list[Peer] = []
        for number in range(3):
            join = [peers[0].address] if peers else []
            alike = {"task": "test", "every": "1steps", "alpha": 1.0, "overlap": False, "keep_pace": False}
            peer = Peer(models[number], name=f"peer-{number}", join=join, **alike)
            peers.append(stack.enter_context(peer))
            peer.meet(models[number])
        watch, welcome = stack.enter_context(watching([peers[0].address], 30, None))
        for _ in range(300):
            for peer, model in zip(peers, models, strict=True):
                peer.boundary(model)
            if min(len(peer._vectors.layers()) for peer in peers) == len(SHAPES):
                break
        for _ in range(100):
            watch.look()
            seen = snapshot(watch, welcome)
            if all(each.layers for each in seen.agents):
                break
    assert list(seen.layers) == list(SHAPES)
    assert seen.layers["hidden"] == pytest.approx(expected, rel=0.25)  # Of some 70 of its 5000 coordinates.
    assert seen.layers["embedding"] == seen.layers["output"] == 0.0
    assert all(each.layers["hidden"] == pytest.approx(expected, rel=0.35) for each in seen.agents)
