"""Benchmarks whose JSON others read run as written: the fields are there, and bytes are those of the codec."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agents.mixing.codecs import named

HERE = Path(__file__).parents[1] / "benchmarks"
DIGITS = 4810


@pytest.mark.parametrize("case", ["drift/lattice:3/2", "parameters/float32/1"])
def test_learning_prints_what_each_case_reached_and_sent(case: str) -> None:
    words = ["--json", "--task", "digits", "--agents", "4", "--steps", "20", "--seeds", "2"]
    words += ["--partitions", "dirichlet:1", "--cases", case]
    run = subprocess.run(
        [sys.executable, HERE / "learning.py", *words], capture_output=True, text=True, check=True, timeout=300
    )
    (found,) = json.loads(run.stdout)
    rule, codec, every = case.split("/")
    fixed = ["rule", "codec", "every", "partition", "bytes_ratio", "merged_mean", "merged_std", "centralized_mean"]
    assert set(fixed) <= set(found) and (found["rule"], found["codec"], found["every"]) == (rule, codec, int(every))
    assert found["bytes_ratio"] == pytest.approx(sum(named(codec).size(DIGITS)) / (2 * 4 * DIGITS) / int(every))
    assert 0.1 < found["merged_mean"] <= 1 and 0.1 < found["centralized_mean"] <= 1 and found["merged_std"] >= 0


def test_choosing_keeps_what_the_page_of_neighbors_shows(tmp_path: Path) -> None:
    """A result of the same setting takes the place of the one before."""
    kept = tmp_path / "neighbors.json"
    words = ["--seeds", "2", "--topologies", "base:2:4", "ring:4", "--links", "ring:4:10", "--keep", kept]
    for _ in range(2):
        subprocess.run([sys.executable, HERE / "choosing.py", *words], capture_output=True, check=True, timeout=300)
    found = json.loads(kept.read_text())
    assert [(each["part"], each["topology"], each["choose"]) for each in found] == [
        ("exchanges", "base:2:4", ""),
        ("exchanges", "ring:4", "uniform"),
        ("exchanges", "ring:4", "roundrobin"),
        *(("time", "ring:4", choose) for choose in ("uniform", "roundrobin", "fastest")),
    ]
    assert all(0 < each["mean"] < 100 and each["seeds"] == 2 for each in found)


def test_the_tables_of_neighbors_are_those_of_the_file_that_was_measured() -> None:
    docs = HERE.parent / "docs"
    page = subprocess.run([sys.executable, docs / "neighbors.py"], capture_output=True, text=True, check=True).stdout
    assert page == (docs / "neighbors.md").read_text()
