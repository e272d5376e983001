"""What `agents.launch` hands to the command: whole paths, and names that can be shown, whatever the task is called."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import Task, launch, load_task
from agents.command import launched
from tests.agents.line_task import LINE


@pytest.fixture
def started(monkeypatch, tmp_path) -> list[list[str]]:
    """The arguments of each command that would have been started."""
    found: list[list[str]] = []

    def start(arguments: list[str], **how: Any) -> SimpleNamespace:
        found.append(arguments)
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    monkeypatch.setattr(launched.subprocess, "Popen", start)
    monkeypatch.chdir(tmp_path)
    return found


def test_a_launch_is_found_from_any_folder(started, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(LINE)
    (tmp_path / "digits").write_text("no task file")
    mine, digits = launch("mine.py", 2, run_dir="run"), launch("digits", 2, run_dir="other")
    monkeypatch.chdir("/")
    assert mine.run_dir == tmp_path / "run" and mine._given == str(tmp_path / "mine.py") and digits._given == "digits"
    assert any(str(tmp_path / "run") in argument for argument in started[0])
    mine.stop(), digits.stop()


@pytest.mark.parametrize(
    ("name", "stem"),
    [("", "task"), ("-x", "x"), ("a/b", "a-b"), ("../../x", "x"), ("a\nb", "a-b"), ("v1.2 wide", "v1.2-wide")],
)
def test_a_task_of_any_name_gets_a_folder_of_its_own_among_the_runs(started, tmp_path, name, stem) -> None:
    digits = load_task("digits")
    swarm = launch(Task(digits.init, digits.loss, digits.metrics, digits.train, digits.test, name=name), 2)
    assert swarm.run_dir.parent == tmp_path / "runs" and swarm.run_dir.name.startswith(f"{stem}-2")
    assert Path(started[0][started[0].index("--task") + 1]).parent == tmp_path / "runs"
    swarm.stop()
