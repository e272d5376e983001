"""Where a running swarm is reached: at the addresses that were given, or those of a folder's agents that are there."""

import json
import os

import pytest

from agents.observe.reaching import addresses
from agents.values import SettingsError

ONE, OTHER = "tcp://127.0.0.1:5710", "tcp://127.0.0.1:5711"
NOBODY = 2**22 + 1
"""A number that no process has: Linux gives none above 2^22."""


def agent(folder, address, pid):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.json").write_text(json.dumps({"agent": folder.name, "address": address, "pid": pid}))


def test_of_a_folders_agents_those_whose_processes_are_there(tmp_path):
    agent(tmp_path / "agents" / "agent-0", ONE, os.getpid())
    agent(tmp_path / "agents" / "agent-1", OTHER, NOBODY)
    (tmp_path / "agents" / "agent-2").mkdir()
    (tmp_path / "agents" / "agent-2" / "agent.json").write_text('{"agent": ')
    assert addresses(tmp_path, (), "agent top") == (ONE,)
    assert addresses(tmp_path / "agents" / "agent-0", (), "agent top") == (ONE,), "of a single agent's folder too"
    assert addresses(None, (OTHER,), "agent top") == (OTHER,)


def test_neither_or_both_are_refused(tmp_path):
    for folder, join in ((None, ()), (tmp_path, (ONE,))):
        with pytest.raises(SettingsError, match=r"give the address of one of its agents \(--join ADDRESS\), or the"):
            addresses(folder, join, "agent top")


def test_where_nobody_runs_the_error_gives_the_reason(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder"):
        addresses(tmp_path / "none", (), "agent top")
    with pytest.raises(SettingsError, match=r"no agent of .* runs on this machine now"):
        addresses(tmp_path, (), "agent top")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SettingsError, match="has ended: `agent dashboard"):
        addresses(tmp_path, (), "agent top")
