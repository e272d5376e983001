"""What a sweep is over: lists of values, and settings whose one value is a list."""

import numpy as np
import pytest

from agents import load_task
from agents.learning.task import TaskError
from sim import simulate, sweep
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


TASK_WITH_DATA = """
from dataclasses import replace
import numpy as np
from agents import load_task

def task(data):
    digits = load_task("digits")
    return replace(digits, train={name: np.asarray(rows)[: int(data.name)] for name, rows in digits.train_data.items()})
"""


def test_each_run_has_the_data_of_its_key(tmp_path):
    """They all had the task's usual data, under the names of others."""
    (tmp_path / "mine.py").write_text(TASK_WITH_DATA)
    found = sweep(tmp_path / "mine.py", data=["40", "400"], **SETTINGS)
    for data in ("40", "400"):
        alone = simulate(tmp_path / "mine.py", data=data, agents=2, rounds=1, eval_every=1, progress=False)
        np.testing.assert_allclose(found[data, 0].theta, alone.theta, atol=1e-6)
    assert np.abs(found["40", 0].theta - found["400", 0].theta).max() > 1e-4


def test_data_goes_with_no_task_that_carries_its_own():
    for data in ("there", ["here", "there"]):
        with pytest.raises(TaskError, match=r"a Task carries its own data: got data '.*here' as well"):
            sweep(load_task("digits"), data=data, **SETTINGS)


@pytest.mark.parametrize("task", [7, None, ["digits"]], ids=str)
def test_what_is_no_task_is_refused(task):
    with pytest.raises(TaskError, match=r"a task is a name, one of digits, .*: got "):
        simulate(task, agents=2, rounds=1)
