"""Datasets by rows. The readers of files, whose arrays these are, have tests of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from agents.learning.data import labels_or_count, load_rows, samples


def test_rows_of_any_array_like() -> None:
    class Minimal:
        shape, dtype = (4, 2), np.dtype(np.float32)

        def __getitem__(self, rows):
            return np.arange(8, dtype=np.float32).reshape(4, 2)[rows]

    assert samples({"x": Minimal()}) == 4
    rows = load_rows({"x": Minimal(), "y": np.arange(4)}, np.array([1, 3]))
    assert rows["x"].tolist() == [[2, 3], [6, 7]] and rows["y"].tolist() == [1, 3]
    assert labels_or_count({"x": Minimal()}) == 4
    assert labels_or_count({"x": Minimal(), "y": np.ones(4)}) == 4
    assert labels_or_count({"x": Minimal(), "y": np.arange(4)}).tolist() == [0, 1, 2, 3]


def test_the_data_room_does_not_load_jax() -> None:
    code = "import sys, agents.learning.data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[4], check=False).returncode == 0
