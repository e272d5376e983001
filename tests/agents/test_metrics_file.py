"""metrics.jsonl of an agent that a crash ended in the middle of a line: what its next start writes is whole."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from agents.claim import Claim, FolderInUse, last_start
from agents.command.supervise import Process
from agents.recorder import TRAIN, Recorder
from agents.settings import Learning
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


@pytest.mark.parametrize("gone", ["removed", "moved"])
def test_an_agent_whose_folder_goes_begins_it_anew_with_its_settings_and_says_so(
    tmp_path: Path, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It wrote its metrics into a file that was no longer there, without a word, and nobody could resume from there."""
    path = tmp_path / "run"
    claim = Claim(path)
    claim.begin("a", "run", ["--task", "digits"])
    folder = Folder(path, {"agent": "a"}, renew=claim.renew)
    folder.write_config(Learning(task="digits", seed=7))
    folder.open()
    recorder = Recorder(path / "tape.bin")
    recorder.begin({})
    folder.measure({"step": 1}, always=True)
    recorder.flush()
    before = {each.name: each.read_bytes() for each in path.iterdir() if each.name not in ("metrics.jsonl", "tape.bin")}
    shutil.rmtree(path) if gone == "removed" else path.rename(tmp_path / "elsewhere")
    folder.measure({"step": 2}, always=True)
    folder.measure({"step": 3}, always=True)
    recorder.note(TRAIN)
    recorder.flush()
    recorder.close()
    assert [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()] == [2, 3]
    assert {name: (path / name).read_bytes() for name in before} == before and not (path / "tape.bin").exists()
    assert sum("metrics.jsonl was removed or moved away" in line for line in caplog.messages) == 1
    assert sum("tape.bin ends here: " in line for line in caplog.messages) == 1
    with pytest.raises(FolderInUse):
        Claim(path)
    folder.close()
    claim.close()


def test_an_agent_whose_folder_another_has_taken_meanwhile_leaves_it_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run"
    claim = Claim(path)
    claim.begin("a", "run", [])
    folder = Folder(path, {"agent": "a"}, renew=claim.renew)
    folder.open()
    shutil.rmtree(path)
    another = Claim(path)
    another.begin("b", "run", [])
    folder.measure({"step": 1}, always=True)
    claim.finish()
    assert sorted(each.name for each in path.iterdir()) == [".lock", "start.json"]
    assert last_start(path) == another.last and "is in use by another running agent" in caplog.text
    folder.close()
    another.close()


def test_a_file_that_has_its_end_gets_no_empty_line(tmp_path: Path) -> None:
    for step in range(3):
        folder = Folder(tmp_path, {})
        folder.open()
        folder.measure({"step": step}, always=True)
        folder.close()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0, 1, 2]
