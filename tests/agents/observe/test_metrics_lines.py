"""The swarm's distance is read off the ends of its agents' metrics, whatever else is in them."""

import json
from pathlib import Path

import pytest

from agents.observe.metrics_lines import TAIL, last_distance


def line(distance: float | None) -> str:
    counts = {"exchanges": 1, "skipped": 0, "bytes_sent": 8, "lost": 0, "members": 3}
    return json.dumps({"time": 1.0, "step": 1, "loss": 0.5, "distance": 9.0, "consensus_distance": distance, **counts})


def written(folder: Path, texts: list[str]) -> list[Path]:
    files = [folder / str(number) for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return files


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["", "{}\n", line(1.0)], None),
        ([f"{line(1.0)}\n{line(None)}\n"], None),
        ([f"{line(1.0)}\n{line(2.0)}\n", f"{line(5.0)}\n{line(7.0)[:30]}", f"{line(3.0)}\n"], 3.0),
        (["x" * TAIL + f"\n{line(4.0)}\n"], 4.0),
        (["x" * 2 * TAIL], None),
    ],
)
def test_the_median_of_the_last_whole_lines(tmp_path: Path, texts: list[str], expected: float | None) -> None:
    assert last_distance([*written(tmp_path, texts), tmp_path / "missing"]) == expected
