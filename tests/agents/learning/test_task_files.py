"""Processes that a task file starts anew, by whatever method, find the functions that it hands to them."""

import importlib
import pickle
from pathlib import Path

import pytest

from agents.learning.loading import load_task
from agents.learning.task_files import module_name

AT_THE_TOP = """
import multiprocessing

def square(number):
    return number * number

with multiprocessing.get_context("METHOD").Pool(1) as pool:
    squares = pool.map(square, range(4))
"""

IN_A_FUNCTION = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def square(number):
    return number * number

def squared():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("METHOD")) as pool:
        return list(pool.map(square, range(4)))
"""

TASK = """
def task():
    import numpy as np
    from agents import Task
    rows = {"x": np.array(SQUARES, np.float32)[:, None]}

    def loss(params, batch):
        return ((batch["x"] - params["w"]) ** 2).mean()

    def metrics(params, batch):
        return {"loss": loss(params, batch)}

    return Task(init=lambda key: {"w": np.zeros(1, np.float32)}, loss=loss, metrics=metrics, train=rows, test=rows)
"""


@pytest.mark.parametrize(("text", "squares"), [(AT_THE_TOP, "squares"), (IN_A_FUNCTION, "squared()")])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_task_may_start_processes_anew(tmp_path: Path, text: str, squares: str, method: str) -> None:
    """They imported a module by a name that only the first process knew, died, and were replaced without end."""
    (tmp_path / "mine.py").write_text(text.replace("METHOD", method) + TASK.replace("SQUARES", squares))
    assert load_task(tmp_path / "mine.py").train["x"].ravel().tolist() == [0, 1, 4, 9]


def test_what_a_task_file_defines_can_be_pickled(tmp_path: Path) -> None:
    """Whatever the file is called: a name that Python has already, spaces, none at all that could be imported."""
    path = tmp_path / "json 2.py"
    path.write_text("class Row:\n    pass\n" + TASK.replace("SQUARES", "[1]"))
    load_task(path)
    row = importlib.import_module(module_name(path)).Row
    assert pickle.loads(pickle.dumps(row)) is row
