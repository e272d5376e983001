"""A long series in bounded room."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agents.observe.thinned import Thinned


@given(st.integers(0, 500), st.integers(1, 40))
def test_what_is_kept_is_bounded_even_and_ends_with_the_last(count: int, most: int):
    series: Thinned[int] = Thinned(most)
    for number in range(count):
        series.add(number)
        assert series.last == number and len(series.items) <= most + 1
    kept = series.items
    assert series.count == count and kept[:1] == [0][:count]
    gaps = {later - one for one, later in pairwise(kept[:-1])}
    assert len(gaps) <= 1 and (count <= most) == (len(kept) == count)


@given(st.integers(0, 100), st.integers(0, 100))
def test_since_is_what_came_after(count: int, since: int):
    series: Thinned[int] = Thinned(1000)
    series.begin(range(count))
    assert series.since(since) == list(range(since, count))
