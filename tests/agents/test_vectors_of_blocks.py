"""Agents that train a block of layers each and exchange a vector beside theta: both follow their owners alike."""

import math

import jax
import numpy as np
import pytest

from agents import Peer

SHAPES = {"hidden": (3,), "output": (2, 2)}
SETTINGS = {"task": "x", "every": "1steps", "submodel": "layers:2", "vectors": ("theta", "direction")}


def drawn(seed: int, block: str):
    """Theta, and a further vector that is zero in the block that the agent doesn't train."""
    random = np.random.default_rng(seed)
    theta, further = (
        {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in "12"
    )
    return theta, {name: values * np.float32(name == block) for name, values in further.items()}


@pytest.mark.parametrize("clip", [7.0, math.inf])
def test_in_both_vectors_an_owner_stays_and_who_follows_takes_its_block_over(clip) -> None:
    """Of theta no more at a time than it is clipped to."""
    ours, theirs = drawn(0, "hidden"), drawn(1, "output")
    first = Peer(ours, name="one", report={"shard": "0/2"}, clip=clip, **SETTINGS)
    with first, Peer(theirs, name="two", join=first.address, report={"shard": "1/2"}, clip=clip, **SETTINGS) as second:
        second.meet(theirs)
        mixed = ours
        while not first.view().me.report.exchanges:
            mixed = first.boundary(mixed)
        mixed, followed = first.take_in(mixed), second.take_in(theirs)
    for mine, other, one, two in zip(mixed, followed, ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine["hidden"], one["hidden"])
        jax.tree.map(np.testing.assert_array_equal, other["output"], two["output"])
        if one is not ours[0] or math.isinf(clip):
            np.testing.assert_allclose(mine["output"], two["output"], atol=1e-6)
            np.testing.assert_allclose(other["hidden"], one["hidden"], atol=1e-6)
