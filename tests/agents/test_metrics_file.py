"""metrics.jsonl of an agent that a crash ended in the middle of a line: what its next start writes is whole."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from agents.command.supervise import Process
from agents.store import Folder

TORN = ['{"time": 1.0, "step": 1', '{"time": 1.0, "step": 10, "loss": 0.25}', "\0" * 30]
"""What a crash leaves at the end: half a line, a line without its end, what a file system never wrote."""


@pytest.mark.parametrize("torn", TORN)
def test_the_first_line_after_a_crash_is_a_line_of_its_own(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 5}\n' + torn)
    folder = Folder(tmp_path, {})
    folder.open()
    folder.measure({"step": 20}, always=True)
    folder.close()
    lines = file.read_text().split("\n")
    assert lines[:2] == ['{"step": 5}', torn]
    assert (json.loads(lines[2])["step"], lines[3:]) == (20, [""])


@pytest.mark.parametrize(
    ("text", "step"), [("", 0), ('{"step": 5}\n', 5), ('{"step": 5}\n{"st', 5), ('{"step": 5}\n{"st{"step": 7}\n', 5)]
)
def test_the_last_measure_is_of_the_last_line_that_is_whole(tmp_path: Path, text: str, step: int) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    process = Process("agent-0", tmp_path, cast(Any, None))
    assert process.last_measure().get("step", 0) == step


def test_a_file_that_has_its_end_gets_no_empty_line(tmp_path: Path) -> None:
    for step in range(3):
        folder = Folder(tmp_path, {})
        folder.open()
        folder.measure({"step": step}, always=True)
        folder.close()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1, 2]
