"""Pytrees as float32 vectors and back: what float32 can't hold of wider leaves stays where it was."""

import numpy as np
import pytest

from agents.learning.errors import TaskError
from agents.learning.ravel import Ordered, Ravel

PLACES = np.array([3, 0, 2, 1])
LAYOUTS = {"in order": Ravel, "in another order": lambda params: Ordered(params, PLACES)}
FINE = 2.0**-40
"""Far below float32's resolution at 1, which is 2^-23."""


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request):
    return request.param


@pytest.mark.parametrize("dtype", ["float64", ">f8", "longdouble"])
def test_local_steps_below_the_resolution_of_float32_outlive_boundaries(layout, dtype):
    """Each boundary at which something comes in took them away: a hundred steps came to nothing."""
    params = {"a": np.ones(3, dtype), "b": np.ones((), dtype)}
    ravel = layout(params)
    for _ in range(100):
        params = {name: np.asarray(leaf + np.float64(FINE), dtype) for name, leaf in params.items()}
        params = ravel.restore([part + np.float32(2.0**-10) for part in ravel.parts(params)], params)
    for leaf in params.values():
        np.testing.assert_array_equal(leaf, 1 + 100 * 2.0**-10 + 100 * FINE)
    assert params["a"].dtype == dtype and params["b"].shape == ()


def test_a_leaf_of_float64_that_nothing_came_for_is_the_same_bit_for_bit(layout):
    params = {"a": np.array([1 / 3, 1e300, -1 / 7]), "b": np.array(np.pi)}
    with np.errstate(over="ignore"):  # What float32 can't hold at all.
        ravel = layout(params)
        restored = ravel.restore(ravel.parts(params), params)
    for name, leaf in params.items():
        np.testing.assert_array_equal(restored[name], leaf)


def test_values_from_elsewhere_are_taken_over_as_they_come(layout):
    """A joiner's own 1e6 + 0.02 would leave two hundredths on a model of thousandths; what it keeps to itself stays."""
    params = {"a": np.array([1e6 + 0.02, 1e300, 1 / 3]), "b": np.array(1 / 7)}
    with np.errstate(over="ignore"):
        ravel = layout(params)
        whole = np.concatenate(ravel.parts(params))
    whole[whole > 1] = 0.001
    adopted = ravel.restore(ravel.pieces(whole), params, moved=False)
    np.testing.assert_array_equal(adopted["a"], [np.float32(0.001), np.float32(0.001), 1 / 3])
    np.testing.assert_array_equal(adopted["b"], 1 / 7)


def test_a_slice_of_another_size_is_refused():
    with pytest.raises(TaskError, match="params must be those of the slice, 4 numbers: got 3"):
        Ordered({"a": np.zeros(3)}, PLACES)


def test_leaves_of_float32_are_read_and_made_without_a_copy():
    params = {"a": np.ones(3, np.float32), "b": np.ones(1, np.float32)}
    ravel = Ravel(params)
    assert all(map(np.shares_memory, ravel.parts(params), params.values()))
    pieces = ravel.fresh()
    assert all(map(np.shares_memory, pieces, ravel.restore(pieces, params).values()))
