"""Guarantee 9: who looks at a swarm trusts nothing that it is told."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from fake_peers import pieces_of
from safetensors.numpy import load_file

from agents.command.cli import run_command

THETA = np.arange(4, dtype=np.float32)
MARK = "import pathlib\npathlib.Path('loaded').touch()\nraise SystemExit\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "gossamer")


@pytest.mark.parametrize("name", ["evil.py", "./evil.py", "{here}/evil.py"])
def test_a_file_named_by_a_member_is_never_loaded(peer, tmp_path, capsys, caplog, name):
    Path("evil.py").write_text(MARK)
    named = name.format(here=tmp_path)
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task=named),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert not Path("loaded").exists()
    card = json.loads(capsys.readouterr().out)
    assert (card["agents"], card["accuracy"]) == (["honest"], None)
    assert "the swarm's task 'evil.py' is a file: pass --task evil.py to evaluate" in caplog.messages
    np.testing.assert_array_equal(load_file("consensus.safetensors")["theta"], THETA)


def test_a_built_in_task_of_another_model_is_said_and_the_model_still_written(peer, capsys, caplog):
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task="digits"),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {}
    assert any("not evaluated as task digits" in line and "4 parameters" in line for line in caplog.messages)
    assert Path("consensus.safetensors").is_file()


def test_a_task_that_needs_data_is_not_given_any_by_a_member(peer, capsys, caplog):
    one = peer(pieces=pieces_of(THETA), members=lambda self: (self.me(task="npz"),))
    assert run_command(["consensus", "--join", one.address, "--json"]) == 0
    assert any("pass --data PATH" in line for line in caplog.messages)


def test_a_task_on_the_command_line_that_the_swarm_does_not_train_is_refused(peer, capsys):
    one = peer(pieces=pieces_of(THETA))
    assert run_command(["consensus", "--join", one.address, "--task", "digits"]) == 2
    assert "give --task as the swarm has it" in capsys.readouterr().err
