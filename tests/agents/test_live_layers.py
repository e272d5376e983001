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
    """Three on a ring whose models stay as they are, as alpha is 1: 0, 1 and 2 times APART, in one layer alone."""
    start = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    models = [start | {"hidden": start["hidden"] + np.float32(APART * number)} for number in range(3)]
    size = np.prod(SHAPES["hidden"])
    expected = APART * np.sqrt(size * (1 + 1 + 4) / 3)  # Of the three links, each found on both of its sides.
    with ExitStack() as stack:
        peers: list[Peer] = []
        for number in range(3):
            join = [peers[0].address] if peers else []
            peer = Peer(start, task="test", name=f"peer-{number}", join=join, every="1steps", alpha=1.0, overlap=False,
                        choose="roundrobin", keep_pace=False)  # fmt: skip
            peers.append(stack.enter_context(peer))
            peer.meet(start)
        watch, welcome = stack.enter_context(watching([peers[0].address], 30, None))
        for _ in range(300):
            for peer, model in zip(peers, models, strict=True):
                peer.boundary(model)
            if min(len(peer._vectors.layers()) for peer in peers) == len(SHAPES):
                break
        for _ in range(40):
            for peer, model in zip(peers, models, strict=True):
                peer.boundary(model)
        for _ in range(100):
            watch.look()
            seen = snapshot(watch, welcome)
            if all(each.layers for each in seen.agents):
                break
    assert list(seen.layers) == list(SHAPES)
    assert seen.layers["hidden"] == pytest.approx(expected, rel=0.25)
    assert seen.layers["embedding"] == seen.layers["output"] == 0.0
    assert seen.agents[2].layers["hidden"] > seen.agents[1].layers["hidden"], "the one in the middle is the nearest"
