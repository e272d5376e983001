"""A folder has one agent at a time, and each start of it a number greater than all before, whatever ends it when."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_damaged_checkpoints import Killed, failing_once, fault, killed

from agents import Peer
from agents.checkpoint import FILE as CHECKPOINT
from agents.checkpoint import Checkpoint, save
from agents.claim import (
    FILE,
    Claim,
    FolderInUse,
    NoIncarnation,
    claim_default,
    claimed,
    interrupted_in,
    last_start,
    wait_until_free,
)
from agents.values import SettingsError, Shard

WORDS = ("--task=digits",)


def started(path: Path, least: int = 0) -> int:
    claim = Claim(path)
    number = claim.begin("a", "r", WORDS, least)
    claim.release()
    return number


def test_each_start_has_the_next_number_and_the_names_of_the_one_before(tmp_path):
    assert [started(tmp_path / "a") for _ in range(3)] == [1, 2, 3]
    claim = Claim(tmp_path / "a")
    assert (claim.last.agent, claim.last.run, claim.last.words, claim.last.finished) == ("a", "r", WORDS, False)


@pytest.mark.parametrize("how", [killed, failing_once])
def test_a_number_that_was_published_never_comes_again_wherever_a_start_is_killed(tmp_path, monkeypatch, how):
    """One counts as published from the moment that `begin` returns it."""
    published = [started(tmp_path)]
    for at in itertools.count():
        with monkeypatch.context() as patched:
            claim = Claim(tmp_path)
            made = fault(patched, at, how)
            with contextlib.suppress(Killed, NoIncarnation):
                published.append(claim.begin("a", "r", WORDS))
        claim.close()
        published.append(started(tmp_path))
        if len(made) <= at:
            break
    assert at > 4 and published == sorted(set(published))


def test_a_start_that_cant_be_numbered_says_why(tmp_path, monkeypatch):
    claim = Claim(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(NoIncarnation, match=r"start.json can't be written .*No space left"):
        claim.begin("a", "r", WORDS)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"agent": "a"}', '{"words": 3}', "\xff"])
def test_a_damaged_number_is_followed_by_that_of_the_checkpoint(tmp_path, text, caplog):
    (tmp_path / FILE).write_text(text, "latin-1")
    assert started(tmp_path, least=41) == 42
    assert FILE in caplog.text


def test_a_damaged_start_is_told_once_however_often_it_is_read(tmp_path, caplog):
    """A dashboard reads those of all agents twice a second."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_text("{")
        assert [last_start(tmp_path / name) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 2


def test_a_folder_in_use_is_refused_also_to_another_process_and_free_once_its_holder_is_killed(tmp_path):
    code = (
        "import sys, time, pathlib\nfrom agents.claim import Claim\n"
        "claim = Claim(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    (tmp_path / "agent.json").write_text(json.dumps({"pid": 4711}))
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderInUse, match=r"in use by another running agent \(process 4711\)"):
            Claim(tmp_path)
        with pytest.raises(FolderInUse):
            wait_until_free(tmp_path, 0.1)
        holder.kill()
    wait_until_free(tmp_path, 10)
    with pytest.raises(FolderInUse):
        _ = Claim(tmp_path), Claim(tmp_path)


def test_a_child_that_outlives_its_agent_doesnt_keep_the_folder(tmp_path):
    """Such as a worker of a task's own pool."""
    code = (
        "import os, sys, pathlib, time\nfrom agents.claim import Claim\n"
        "claim = Claim(pathlib.Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n    print('forked', flush=True)\n    time.sleep(600)\n"
        "os.wait()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"forked\n"
        os.kill(holder.pid, 9)
        try:
            wait_until_free(tmp_path, 10)
        finally:
            os.killpg(holder.pid, 9)


def test_the_same_words_lead_to_the_same_folder_until_they_have_finished(tmp_path):
    base = tmp_path / "digits-here"
    first = claim_default(base, WORDS)
    first.begin("a", "r", WORDS)
    second = claim_default(base, WORDS)
    assert second.path == tmp_path / "digits-here-2", "the first is in use"
    for claim in (first, second):
        claim.release()
    again = claim_default(base, WORDS)
    assert (again.path, again.begin("a", "r", WORDS)) == (base, 2)
    again.finish()
    again.release()
    assert last_start(base).finished
    assert claim_default(base, WORDS).path == tmp_path / "digits-here-2", "the first has finished"


def test_other_words_and_other_folders_are_left_alone(tmp_path):
    base = tmp_path / "digits-here"
    other = claim_default(base, ("--task=digits", "--seed=3"))
    other.begin("a", "r", ("--task=digits", "--seed=3"))
    other.release()
    theirs = np.zeros(3, np.float32)
    save(tmp_path / "digits-here-2" / CHECKPOINT, Checkpoint(theirs, [], {}))
    assert claim_default(base, WORDS).path == tmp_path / "digits-here-3"


@pytest.mark.parametrize("given", [None, Path("mine")], ids=["by default", "--run-dir"])
def test_where_the_same_words_were_interrupted_is_known_before_the_swarm_names_the_task(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shard = Shard(1, 8)
    claim = claimed(given, "digits", shard, WORDS)
    claim.begin("a", "r", WORDS)
    for task in "", "digits":
        assert interrupted_in(given, task, shard, WORDS) is None, "it is in use"
    claim.release()
    for task in "", "digits":
        assert interrupted_in(given, task, shard, WORDS) == (claim.path, last_start(claim.path))
        assert interrupted_in(given, task, shard, ("--task=digits", "--seed=3")) is None
        assert interrupted_in(tmp_path / "fresh", task, shard, WORDS) is None
        assert given or interrupted_in(None, task, Shard(2, 8), WORDS) is None
    assert given or interrupted_in(None, "idx", shard, WORDS) is None
    assert not (tmp_path / "fresh").exists()
    claim = claimed(given, "digits", shard, WORDS)
    claim.finish()
    claim.release()
    assert interrupted_in(given, "", shard, WORDS) is None, "it has finished"


def test_an_agent_leaves_the_folder_of_a_launch_alone(tmp_path):
    """Its settings and its model, which the agent's own would replace. A folder of somebody's agents is no launch's."""
    (tmp_path / "agents").mkdir()
    claimed(tmp_path, "digits", Shard(0, 1), WORDS).release()
    (tmp_path / "config.toml").write_text("agents = 4\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SettingsError, match="is the folder of a launch"):
        claimed(tmp_path, "digits", Shard(0, 1), WORDS)
    assert sorted(tmp_path.rglob("*")) == before


def test_two_agents_that_were_given_one_name_have_different_numbers_in_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time_ns", itertools.count(5_000_000, 1000).__next__)
    first, second = Claim(tmp_path / "first"), Claim(tmp_path / "second")
    assert [claim.begin("a", "r", WORDS, shared=True) for claim in (first, second)] == [5000, 5001]
    first.release()
    assert Claim(tmp_path / "first").begin("a", "r", WORDS, shared=True) == 5001, "later starts ask no clock"
    assert Claim(tmp_path / "third").begin("a", "r", WORDS, least=7, shared=True) == 8, "nor does one from a checkpoint"


def test_a_folder_made_for_nothing_goes_again(tmp_path):
    claim_default(tmp_path / "runs" / "digits", WORDS).release()
    assert list(tmp_path.iterdir()) == []
    claim = Claim(tmp_path / "mine")
    (tmp_path / "mine" / "config.toml").touch()
    claim.release()
    assert (tmp_path / "mine" / "config.toml").exists()


def test_a_peer_without_a_folder_asks_no_clock_for_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 5)
    for name, number in ((None, 1), ("mine", 5)):
        with Peer({"w": np.zeros(2, np.float32)}, task="t", name=name) as peer:
            assert peer.members[0].incarnation == number
