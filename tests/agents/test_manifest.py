"""What all agents of a run share: equal hashes where nothing differs, and the field and both values where it does."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agents.manifest import Contradiction, Manifest

plain = (
    st.text(max_size=20)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
settings = st.dictionaries(st.text(min_size=1, max_size=8), plain, max_size=6)


def same(one, other):
    """Whether two settings are the same: 1 is 1.0, but true is no number and "1" is a text."""
    kinds = [bool if type(v) is bool else str if type(v) is str else float for v in (one, other)]
    return kinds[0] is kinds[1] and one == other


@given(settings, st.randoms(use_true_random=False))
def test_hash_is_independent_of_order_and_suggestions(values, random):
    names = list(values)
    random.shuffle(names)
    shuffled = Manifest({name: values[name] for name in names}, {"learning_rate": 0.1})
    assert shuffled.hash == Manifest(values).hash
    assert Manifest(values).contradiction(shuffled.settings) is None
    assert len(shuffled.hash) == 32


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_the_same_with_and_without_a_point(value):
    assert Manifest({"a": value}).hash == Manifest({"a": float(value)}).hash
    assert Manifest({"a": value}).contradiction({"a": float(value)}) is None


@given(settings, st.data())
def test_any_setting_that_differs_changes_the_hash_and_is_named_with_both_values(values, data):
    assume(values)
    name = data.draw(st.sampled_from(sorted(values)))
    other = data.draw(plain)
    assume(not same(values[name], other))
    theirs = {**values, name: other}
    assert Manifest(values).hash != Manifest(theirs).hash
    assert Manifest(values).contradiction(theirs) == Contradiction(name, values[name], other)
    text = str(Manifest({name: 7}).contradiction({name: "seven"}))
    assert text == f"{name} is 7 here and seven there"


@given(settings, st.text(min_size=9, max_size=9), plain)
def test_a_setting_that_one_side_lacks_is_a_contradiction(values, name, value):
    more = {**values, name: value}
    assert Manifest(values).hash != Manifest(more).hash
    assert Manifest(values).contradiction(more) == Contradiction(name, None, value)
    assert Manifest(more).contradiction(values) == Contradiction(name, value, None)
    assert "not set there" in str(Manifest(more).contradiction(values))


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (False, 0.0), ("1", 1), (2**62, 2**62 + 1), (0.1, math.nextafter(0.1, 1)), ("", False)],
)
def test_what_looks_alike_differs(one, other):
    assert Manifest({"a": one}).hash != Manifest({"a": other}).hash
    assert Manifest({"a": one}).contradiction({"a": other}) == Contradiction("a", one, other)


def test_contradiction_is_short_whatever_the_values():
    assert len(str(Contradiction("a", "x" * 1024, "y" * 1024))) < 200
