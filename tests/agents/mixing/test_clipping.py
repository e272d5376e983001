"""To what radius an exchange is clipped: training sets it, or most of the peers, never one of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.clipping import BEYOND, FADES, FINISHING, FIRST, GROWS, MAX_PEERS, NEAR, Radii
from agents.mixing.exchange import clip
from agents.mixing.norms import EXACT, distance
from agents.mixing.replica import Reach, Replica, TooFar

THETA = np.array([3, 4], np.float32)
"""Of norm 5."""


def radii(*moved, factor=2.0, **shown):
    made = Radii(factor, 1)
    for each in moved:
        made.moved(0, each)
    for peer, far in shown.items():
        made.showed(peer, 0, far)
    return made


@pytest.mark.parametrize(
    ("made", "radius"),
    [
        (radii(), FIRST * 5),  # Nothing is known yet.
        (radii(1.0), 2.0),
        (radii(0.01), NEAR * 5),
        (radii(1.0, b=1e9), 2.0),  # One peer alone says nothing.
        (radii(1.0, b=1e9, c=3.0), 3.0),
        (radii(1.0, b=1e9, c=3.0, d=1e9), 1e9),  # Most are far: then that is how far they are.
        (radii(0.0), 0.0),  # Boundaries pass, and nothing is trained.
        (radii(0.0, b=0.0, c=0.0), 0.0),  # These two have agreed; who hasn't yet is as honest.
        (radii(1.0, factor=math.inf), 0.0),
    ],
)
def test_the_radius_follows_from_training_and_from_most_peers(made, radius):
    assert made.of(0, THETA).radius == pytest.approx(radius)


def test_a_chunk_is_refused_beyond_what_two_models_can_be_apart_and_only_where_there_is_training():
    assert radii(1.0).of(0, THETA).limit == pytest.approx(BEYOND * 5 + 2 * 2.0)
    assert radii().of(0, THETA).limit == BEYOND * 5
    assert radii(0.0).of(0, THETA).limit == radii(1.0, factor=math.inf).of(0, THETA).limit == 0


def test_a_chunk_that_training_happens_not_to_move_is_clipped_as_fast_as_the_others_move():
    """By the share of its norm; if it is zero, by the step of a coordinate. Only where nothing moves there is none."""
    made = Radii(2.0, 3)
    made.moved(0, 4.0)
    made.moved(1, 0.0)
    made.moved(2, 0.0)
    assert made.of(0, 10 * THETA) == Reach(8.0, BEYOND * 50 + 16.0)
    still = made.of(1, THETA)
    assert still.radius == pytest.approx(max(2.0 * 4.0 / 50 * 5, NEAR * 5)) and still.limit > 0
    zero = made.of(2, np.zeros(8, np.float32))
    assert zero.radius == pytest.approx(2.0 * 4.0 / math.sqrt(2) * math.sqrt(8)) and zero.limit == 2 * zero.radius
    assert radii(0.0).of(0, np.zeros(2, np.float32)) == Reach()


def test_of_zeros_coordinates_of_about_one_are_taken_before_the_first_boundary():
    made = radii()
    assert made.of(0, np.zeros(4, np.float32)) == Reach(FIRST * 2, BEYOND * 2) and made.is_guess(0)
    made.moved(0, 1.0)
    assert made.of(0, np.zeros(4, np.float32)).radius == 2.0 and not made.is_guess(0)
    assert radii().of(0, THETA) == Reach(FIRST * 5, BEYOND * 5)


@pytest.mark.parametrize("theta", [THETA, np.zeros(2, np.float32)])
def test_before_the_first_boundary_offers_in_a_row_throw_nobody_farther_each_time(theta):
    made, moved = radii(), theta.copy()
    first = made.of(0, moved)
    for _ in range(8):
        moved = moved + made.of(0, moved).radius / 2
        assert made.of(0, moved) == first


def test_the_finish_reaches_farther_and_of_two_agents_alone_up_to_the_limit():
    made = radii(1.0, b=3.0, c=3.0)
    assert made.of(0, THETA, finishing=True).radius == FINISHING * made.of(0, THETA).radius
    for alone in (radii(1.0), radii(1.0, b=1e9)):
        assert alone.of(0, THETA, finishing=True) == (alone.of(0, THETA).limit,) * 2


def test_the_movement_fades_and_grows_slowly_and_steps_that_are_none_or_not_finite_do_not_count():
    assert radii(8.0, 0.0, math.nan, math.inf).of(0, THETA).radius == 16
    assert radii(8.0, 1.0).of(0, THETA).radius == pytest.approx(16 * FADES)
    assert radii(8.0, 1e9).of(0, THETA).radius == pytest.approx(16 * GROWS)


def test_so_many_peers_are_remembered_the_last_ones():
    made = radii(1.0)
    for i in range(3 * MAX_PEERS):
        made.showed(f"{i}", 0, float(i))
    assert made.of(0, THETA).radius == pytest.approx(2.5 * MAX_PEERS - 1, abs=1)


@given(st.floats(0, 1e18), st.lists(st.just(0.0) | st.floats(1e-30, 1e18), max_size=3))
def test_what_is_clipped_is_as_long_as_the_least_radius(norm, radii):
    scale = clip(norm, *radii)
    least = min((radius for radius in radii if radius > 0), default=math.inf)
    assert 0 < scale <= 1
    assert scale * norm <= least * (1 + 1e-12)
    assert scale == 1 or scale * norm == pytest.approx(least)


def test_both_sides_move_by_the_same_clipped_difference():
    noise = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    mine, yours = (Replica(theta) for theta in noise)
    mean = noise.mean(0)
    done = yours.answer(0, mine.copy(0), 0.5, reaches=(Reach(0.5), Reach(0.25, 100.0)))
    assert done.scale == pytest.approx(0.25 / np.linalg.norm(done.difference))
    mine.apply(0, done.difference, 0.5, scale=done.scale, reach=Reach(0.5))
    np.testing.assert_allclose(mine.snapshot() - noise[0], -(yours.snapshot() - noise[1]), atol=1e-6)
    np.testing.assert_allclose((mine.snapshot() + yours.snapshot()) / 2, mean, atol=1e-6)
    assert np.linalg.norm(mine.snapshot() - noise[0]) == pytest.approx(0.125, rel=1e-4)


@pytest.mark.parametrize(("scale", "reach"), [(1.0, Reach(1.0)), (0.51, Reach(2.0)), (0.1, Reach(2.0, 3.0)),
                                              (0.0, Reach()), (1.5, Reach()), (-1.0, Reach())])  # fmt: skip
def test_an_answer_beyond_what_was_offered_changes_nothing(scale, reach):
    made = Replica(np.zeros(1, np.float32))
    with pytest.raises(TooFar):
        made.apply(0, np.full(1, 4, np.float32), 0.5, scale=scale, reach=reach)
    assert not made.snapshot().any() and not made.touched


def test_an_offer_beyond_the_limit_of_either_side_changes_nothing():
    made = Replica(np.zeros(1, np.float32))
    for reaches in ((Reach(1.0, 3.0), Reach()), (Reach(), Reach(1.0, 3.0))):
        with pytest.raises(TooFar, match="4 apart, where at most 3"):
            made.answer(0, np.full(1, 4, np.float32), 0.5, reaches=reaches)
    assert not made.snapshot().any() and not made.touched


@given(st.lists(st.integers(0, 20000), max_size=4), st.integers(0, 9))
def test_distance_of_pieces_is_that_of_the_whole(sizes, seed):
    noise = np.random.default_rng(seed)
    pieces = [noise.normal(size=size).astype(np.float32) for size in sizes]
    whole = noise.normal(size=sum(sizes) + 3).astype(np.float32)
    expected = np.linalg.norm(np.concatenate([*pieces, np.empty(0)]) - whole[: sum(sizes)])
    assert distance(pieces, whole) == pytest.approx(expected, rel=1e-5)


def test_distance_of_many_coordinates_is_estimated_closely():
    noise = np.random.default_rng(0)
    pieces = [noise.normal(size=size).astype(np.float32) for size in (EXACT, 10, 100_000, 7)]
    whole = np.zeros(sum(piece.size for piece in pieces), np.float32)
    assert distance(pieces, whole) == pytest.approx(np.linalg.norm(np.concatenate(pieces)), rel=0.02)


def test_replica_tells_how_far_training_moved_each_chunk_and_not_what_came_in(monkeypatch):
    monkeypatch.setattr("agents.mixing.layout.CHUNK", 2)
    told = []
    made = Replica(np.zeros(4, np.float32), moved=lambda chunk, far: told.append((chunk, far)))
    theta = np.array([3, 4, 0, 0], np.float32)
    made.boundary([theta], lambda: [np.empty(4, np.float32)])
    made.apply(0, np.full(2, 100, np.float32), 0.5)
    made.boundary([theta + 1], lambda: [np.empty(4, np.float32)])
    assert told == [(0, 5.0), (1, 0.0), (0, pytest.approx(2**0.5)), (1, pytest.approx(2**0.5))]


def test_who_follows_reads_from_its_own_part_how_fast_the_run_moves():
    """As a share of norms; before that as ever, of FIRST norms."""
    made = Radii(7.0, 2)
    theta = np.array([3.0, 4.0], np.float32)
    assert made.of(1, theta, trained=False) == Reach(FIRST * 5, BEYOND * 5)
    made.moved(0, 0.5)
    made.moved(1, 0.0)  # It doesn't train it.
    made.of(0, 2 * theta)
    assert made.of(1, theta, trained=False).radius == pytest.approx(7.0 * (0.5 / 10) * 5)
    assert made.of(0, 2 * theta, trained=True, by_peer=False) == Reach(), "nobody who follows moves it"


def test_who_follows_goes_as_far_as_the_owners_usually_are_and_from_one_alone_no_farther():
    made = Radii(7.0, 2)
    made.moved(1, 0.0)
    theta = np.array([3.0, 4.0], np.float32)
    made.showed("liar", 1, 1e6)
    assert made.of(1, theta, trained=False).radius == pytest.approx(NEAR * 5)
    made.showed("owner", 1, 2.0)
    assert made.of(1, theta, trained=False).radius == 2.0
    assert made.of(1, theta, trained=False).limit == BEYOND * 5 + 4.0
