"""Batches: laws for any sizes and seeds, for one agent and for many at once."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.learning.data import Batches, batch_rows

SEEDS = st.integers(0, 2**32)


def digest(rows: np.ndarray) -> str:
    return sha256(rows.astype(np.int64).tobytes()).hexdigest()[:16]


@given(SEEDS, st.integers(0, 50), st.integers(0, 40), st.integers(0, 15), st.integers(1, 40), st.integers(1, 60))
def test_any_range_of_steps_gives_the_same_batches(seed, agent, step, count, batch_size, samples) -> None:
    whole = batch_rows(seed, agent, 0, step + count, batch_size, samples)
    part = batch_rows(seed, agent, step, count, batch_size, samples)
    assert part.shape == (count, batch_size) and part.dtype == np.int32
    np.testing.assert_array_equal(part, whole[step:])


@given(SEEDS, st.integers(0, 50), st.integers(1, 40), st.integers(1, 60))
def test_every_sample_comes_once_an_epoch(seed, agent, batch_size, samples) -> None:
    stream = batch_rows(seed, agent, 0, 3 * samples, batch_size, samples).reshape(-1)
    for epoch in stream.reshape(-1, samples):
        assert sorted(epoch) == list(range(samples))


def test_agents_and_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [batch_rows(seed, agent, epoch, 1, 50, 50) for seed in (0, 1) for agent in (0, 1) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 8


@pytest.mark.parametrize(
    ("arguments", "recorded"),
    [
        ((0, 0, 0, 7, 32, 180), "4177dab3add16e9b"),
        ((5, 2, 1000, 10, 32, 180), "df3bf829ac11cf7e"),
        ((2**40 + 3, 3, 17, 10, 8, 5), "a102bf314acc308f"),
        ((1, 63, 123_456, 3, 16, 15_000), "a1c97ec8d82f169c"),
        ((-7, 2, 0, 4, 4, 1), "38723a2e5e8a17aa"),
    ],
)
def test_the_batches_of_version_0_1_stay_what_they_are(arguments, recorded) -> None:
    """Agents of different versions share them: a change here splits swarms, and no recorded run replays."""
    assert digest(batch_rows(*arguments)) == recorded


def test_the_batches_of_many_agents_stay_what_they_are_in_version_0_1() -> None:
    assert batch_rows(1, 2, 3, 1, 6, 5).tolist() == [[3, 2, 3, 2, 0, 1]]
    many = Batches(np.arange(6) * 3 + 1, np.array([5, 9, 40, 1, 9, 17]), 4)
    rows = many.rows(np.array([0, 5, 2, 2, 3, 4]), np.array([0, 7, 100, 3, 1, 9]), 6)
    assert digest(rows) == "0d9c8891c9c20446"
    numbered = Batches(np.array([4, 4]), np.array([9, 40]), 4, np.array([7, 1]))
    assert digest(numbered.rows(np.array([0, 1]), np.array([3, 8]), 6)) == "3bb6b87ffe10ac9a"


@given(st.data(), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 20))
def test_many_agents_at_once_have_the_batches_of_each_alone(data, sizes, batch_size) -> None:
    """Through several calls, of which each keeps what it made for the next."""
    seeds, numbers = np.arange(len(sizes)) % 2 + 7, np.arange(len(sizes)) * 5
    many = Batches(seeds, np.array(sizes), batch_size, numbers)
    for _ in range(data.draw(st.integers(1, 4))):
        lanes = data.draw(st.lists(st.tuples(st.integers(0, len(sizes) - 1), st.integers(0, 300)), max_size=8))
        agents, steps = np.array(lanes, np.int64).reshape(-1, 2).T
        count = data.draw(st.integers(1, 5))
        rows = many.rows(agents, steps, count)
        assert rows.shape == (len(lanes), count, batch_size) and rows.dtype == np.int32
        for lane, (agent, step) in enumerate(lanes):
            alone = batch_rows(int(seeds[agent]), int(numbers[agent]), step, count, batch_size, sizes[agent])
            np.testing.assert_array_equal(rows[lane], alone)


def test_batches_may_be_changed_by_whom_they_are_given_to() -> None:
    batch_rows(3, 1, 0, 2, 4, 9)[:] = 0
    assert batch_rows(3, 1, 0, 2, 4, 9).any()


def test_no_steps_make_no_batches() -> None:
    assert batch_rows(0, 0, 256, 0, 4, 9).shape == batch_rows(0, 0, 5, 0, 4, 9).shape == (0, 4)
