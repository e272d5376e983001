"""What a sweep is over: lists of values, and settings whose one value is a list."""

import numpy as np
import pytest

from sim import sweep
from topology import ring

SETTINGS = {"agents": 2, "rounds": 1, "eval_every": 1, "seeds": [0], "progress": False}


@pytest.mark.parametrize(
    ("setting", "keys"),
    [
        ({"speeds": [1.0, 2.0]}, [()]),
        ({"speeds": [[1.0, 2.0], np.array([2.0, 1.0])]}, [((1.0, 2.0),), ((2.0, 1.0),)]),
        ({"capacity": [1.0, 0.5], "submodel": "nested"}, [()]),
        ({"capacity": [[1.0, 0.5], (1.0, 1.0)], "submodel": "nested"}, [((1.0, 0.5),), ((1.0, 1.0),)]),
        ({"private": ["output/bias", "hidden/*"]}, [()]),
        ({"private": [["output/*"], ()]}, [(("output/*",),), ((),)]),
        ({"snapshots": [0, 1]}, [()]),
        ({"snapshots": [[0, 1], [1]]}, [((0, 1),), ((1,),)]),
        ({"delay": [0, 0.5]}, [(0,), (0.5,)]),
        ({"delay": [[0, 0.5], "bandwidth:1e6"]}, [((0, 0.5),), ("bandwidth:1e6",)]),
        ({"alpha": [np.float32(0.5)], "drop": [0, 0.1]}, [(0.5, 0), (0.5, 0.1)]),
        ({"split": [None, (0, 1, [0, 1])]}, [(None,), ((0, 1, (0, 1)),)]),
    ],
    ids=str,
)
def test_a_list_is_several_values_unless_one_is_a_list(setting, keys):
    assert list(sweep("digits", **SETTINGS, **setting)) == [(*key, 0) for key in keys]


def test_runs_of_topologies_are_found_by_these():
    graph = ring(2)
    assert list(sweep("digits", **SETTINGS, topology=[graph, "complete"])) == [(graph, 0), ("complete", 0)]
