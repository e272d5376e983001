"""Masked exchanges: neither side shows its vector as it is, both apply the same difference, and the mean stays."""

from dataclasses import replace

import numpy as np
import pytest

from agents.mixing.codecs import FLOAT32
from agents.mixing.replica import Replica
from agents.protocol.incarnation import Incarnation
from agents.vectors import ReplicaVectors
from tests.agents.mixing.coarse_codec import RELATIVE
from transport.messages import Answer, Offer, Pull

A, B = Incarnation("a", 1), Incarnation("b", 1)
SIZE, SCALE = 20_000, 0.05


def vectors(seed: int, codec=FLOAT32, agreed: bool = False, mask: float = SCALE) -> ReplicaVectors:
    theta = np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)
    return ReplicaVectors(Replica(theta), codec, lambda exchange: exchange == 1, None, None, mask, lambda: agreed)


def theta_of(side: ReplicaVectors) -> np.ndarray:
    return side.replica.snapshot().astype(np.float64)


def sent(message):
    return replace(message, payload=bytes(message.payload))


def floats(message) -> np.ndarray:
    return np.frombuffer(bytes(message.payload), "<f4").astype(np.float64)


@pytest.mark.parametrize("codec", [FLOAT32, RELATIVE], ids=lambda codec: codec.name)
@pytest.mark.parametrize("masks", [(SCALE, SCALE), (SCALE, 0.0), (0.0, SCALE)])
def test_the_mean_stays_whoever_masks(codec, masks):
    mine, theirs = (vectors(seed, codec, mask=mask) for seed, mask in enumerate(masks))
    before, apart = theta_of(mine) + theta_of(theirs), theta_of(theirs) - theta_of(mine)
    for _ in range(2):
        offer = sent(mine.offer(B, Offer(1, 0, 1, 0.5, codec=mine._codec.name)))
        answer, _ = theirs.apply_offer(A, offer, Answer(1, 0, codec=codec.name), 0.5)
        mine.apply_answer(B, sent(answer), 0.5)
        assert np.abs(theta_of(mine) + theta_of(theirs) - before).max() < 1e-5
    noise = np.sqrt(sum(mask**2 for mask in masks))
    assert 0.5 * noise < np.std(theta_of(theirs) - theta_of(mine)) < 2 * noise + 0.01 * np.std(apart)


def test_each_side_sees_the_other_through_noise_of_the_scale():
    mine, theirs = vectors(0), vectors(1)
    ours, other = theta_of(mine), theta_of(theirs)
    offer = sent(mine.offer(B, Offer(1, 0, 1, 0.5, codec=mine._codec.name)))
    answer, _ = theirs.apply_offer(A, sent(offer), Answer(1, 0), 0.5)
    masks = floats(offer) - ours, floats(answer) + floats(offer) - other
    assert [np.std(mask) for mask in masks] == pytest.approx([SCALE, SCALE], rel=0.03)
    assert abs(np.corrcoef(*masks)[0, 1]) < 0.04


def test_a_repeated_offer_is_masked_as_before_and_the_next_is_not():
    """Else a peer that never answers could average over many masks."""
    mine = vectors(0)
    first, again = (floats(mine.offer(B, Offer(1, 0, 1, 0.5))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.std(floats(mine.offer(B, Offer(2, 0, 1, 0.5))) - first) == pytest.approx(SCALE * np.sqrt(2), rel=0.03)


def test_the_exact_finish_is_not_masked():
    mine, theirs = vectors(0), vectors(1)
    middle = (theta_of(mine) + theta_of(theirs)) / 2
    offer = sent(mine.offer(B, Offer(1, 0, 1, 0.5, finish="0:x")))
    answer, _ = theirs.apply_offer(A, offer, Answer(1, 0), 0.5)
    mine.apply_answer(B, sent(answer), 0.5)
    for side in (mine, theirs):
        np.testing.assert_allclose(theta_of(side), middle, atol=1e-6)


@pytest.mark.parametrize("agreed", [False, True])
def test_a_whole_vector_is_masked_until_it_is_everyones(agreed):
    mine = vectors(0, agreed=agreed)
    piece = mine.piece(B, Pull(1, 0, 1), 0)
    noise = np.std(floats(piece) - theta_of(mine))
    assert noise == pytest.approx(0.0 if agreed else SCALE, rel=0.03)
