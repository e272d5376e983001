"""Scopes are sets of coordinates, and chunks tile them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agents.mixing.layout
from agents.mixing.layout import CHUNK, THETA, Layout, Scope


@st.composite
def scopes(draw, largest=60):
    """Ranges that may touch, as those of parameters side by side do."""
    edges = sorted(draw(st.sets(st.integers(0, largest), max_size=12)))
    pairs = list(pairwise(edges))
    return Scope(tuple(pair for pair in pairs if draw(st.booleans())))


def coordinates(scope):
    return {at for start, stop in scope.ranges for at in range(start, stop)}


@given(scopes(), scopes(), scopes())
def test_intersection_is_commutative_associative_and_idempotent(a, b, c):
    """Bit for bit, borders of ranges included: two agents compute the chunks of an exchange each for itself."""
    assert a & b == b & a
    assert (a & b) & c == a & (b & c)
    assert a & a == a
    assert (a & b) & b == a & b


@given(scopes(), scopes())
def test_intersection_is_what_both_hold(a, b):
    both = a & b
    assert coordinates(both) == coordinates(a) & coordinates(b)
    assert both.size == len(coordinates(both)) <= min(a.size, b.size)
    assert a & Scope.full(60) == a
    assert (a & Scope(())).size == 0


@given(scopes(), st.integers(1, 9))
def test_chunks_tile_the_scope_in_order_and_cross_no_border(scope, largest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents.mixing.layout, "CHUNK", largest)
        chunks = scope.chunks()
    assert [at for chunk in chunks for at in range(chunk.start, chunk.stop)] == sorted(coordinates(scope))
    assert all(0 < chunk.stop - chunk.start <= largest for chunk in chunks)
    assert all(any(start <= chunk.start and chunk.stop <= stop for start, stop in scope.ranges) for chunk in chunks)


@given(st.integers(1, 4 * CHUNK))
def test_chunks_tile_the_vector(parameters):
    chunks = Layout.flat(parameters).chunks
    assert chunks[0].start == 0 and chunks[-1].stop == parameters
    assert all(one.stop == other.start for one, other in pairwise(chunks))
    assert all(0 < chunk.stop - chunk.start <= CHUNK for chunk in chunks)
    assert len(chunks) == -(-parameters // CHUNK)


@pytest.mark.parametrize("ranges", [((3, 3),), ((5, 3),), ((-1, 2),), ((0, 4), (3, 6)), ((4, 6), (0, 2))])
def test_a_scope_that_is_none_is_refused_showing_it(ranges):
    with pytest.raises(ValueError, match="sorted, disjoint ranges") as caught:
        Scope(ranges)
    assert str(ranges) in str(caught.value)


shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=6)


@given(shapes)
def test_spans_lie_side_by_side_in_the_order_of_theta(sizes):
    layout = Layout([(f"layer-{i}", shape) for i, shape in enumerate(sizes)])
    spans = layout.spans()
    assert list(spans) == [f"layer-{i}" for i in range(len(sizes))]
    assert [at for span in spans.values() for at in range(span.start, span.stop)] == list(range(layout.size))
    for span, shape in zip(spans.values(), sizes, strict=True):
        size = 1
        for length in shape:
            size *= length
        assert span.stop - span.start == size
    assert layout.scope == Scope.full(layout.size)


def test_flat_layout_is_one_parameter_called_as_the_vector():
    layout = Layout.flat(7)
    assert layout.parameters == ((THETA, (7,)),)
    assert layout.spans() == {THETA: slice(0, 7)}
    assert layout.vectors == (THETA,)
    assert Layout.flat(0).chunks == ()


def test_layout_cuts_what_is_held_alone():
    scope = Scope(((1, 3), (5, 6)))
    assert Layout([("a", (4,)), ("b", (2,))], scope).chunks == (slice(1, 3), slice(5, 6))


def test_chunks_of_several_vectors_lie_one_after_the_other_and_cross_no_border(monkeypatch):
    monkeypatch.setattr("agents.mixing.layout.CHUNK", 4)
    layout = Layout.flat(6, ("theta", "beside"))
    assert layout.theta_chunks == (slice(0, 4), slice(4, 6))
    assert layout.chunks == (slice(0, 4), slice(4, 6), slice(6, 10), slice(10, 12)) and layout.size == 6
