"""Faults at every byte and every call of a checkpoint's write: an agent always resumes, and never from half of one."""

import itertools
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import load_run
from agents.checkpoint import FILE, Checkpoint, CheckpointError, checkpoints_in, load, load_theta, newest, save
from agents.durable import generations
from agents.observe.folders import FolderSource
from agents.store import Folder

PARAMETERS = [("w", (2, 3)), ("b", (4,))]
CALLS = "mkdir", "chmod", "open", "fsync", "link", "replace", "unlink", "rmdir"
"""What a write asks of the system, besides the bytes that safetensors writes."""


class Killed(BaseException):
    """The process has ended here: nothing after it is carried out."""


def stand(step: int) -> Checkpoint:
    facts = {"agent": "a", "step": step, "model": "m", "seed": 0, "shard": "0/1", "run": "r", "weight": 1.0}
    return Checkpoint(np.full(10, step, np.float32), [np.int32(step)], facts, PARAMETERS)


def resumed(folder: Path) -> int:
    """The step at which the next start goes on; everything in the checkpoint must be of it. 0: from the beginning."""
    found = Folder(folder, {}, keep=3).resume(model="m", seed=0)
    if found is None:
        return 0
    step = found.facts["step"]
    assert found.theta.tolist() == [step] * 10 and found.optimizer[0] == step
    return int(step)


def fault(monkeypatch, at: int, how, names=CALLS) -> list[str]:
    """From the call of this number on, `how` is called instead. Returns the calls so far, which grow."""
    made: list[str] = []

    def watched(name, real):
        def call(*arguments, **keywords):
            made.append(name)
            if len(made) > at:
                how(len(made) - at)
            return real(*arguments, **keywords)

        return call

    for name in names:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    return made


def killed(_: int):
    raise Killed


def failing_once(number: int):
    if number == 1:
        raise OSError(5, "Input/output error")


def until_untouched(tmp_path, monkeypatch, how, keep):
    """A folder and what befell the save of step 4 in it, for a fault at the first call, the second, and so on."""
    for at in itertools.count():
        folder = tmp_path / str(at)
        for step in (1, 2, 3):
            save(folder / FILE, stand(step), keep)
        with monkeypatch.context() as patched:
            made = fault(patched, at, how)
            try:
                save(folder / FILE, stand(4), keep)
                ended = "saved"
            except (Killed, OSError) as error:
                ended = type(error).__name__
        yield folder, ended
        if len(made) <= at:
            assert at > 5
            return


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("how", [killed, failing_once])
def test_a_fault_at_any_call_leaves_the_old_or_the_new_and_nothing_else(tmp_path, monkeypatch, how, keep):
    for folder, ended in until_untouched(tmp_path, monkeypatch, how, keep):
        assert load_run(folder).steps.tolist() in ([[4]] if ended == "saved" else [[3], [4]])
        assert resumed(folder) in ((4,) if ended == "saved" else (3, 4))
        assert not list(folder.glob(".*"))
        assert all(load(path) for path in generations(folder / FILE))
        assert len(generations(folder / FILE)) >= min(keep, 2), "no fault costs more than the oldest"
        save(folder / FILE, stand(5), keep)
        steps = [int(load_theta(path)[0]) for path in generations(folder / FILE)]
        assert steps[0] == 5 and steps == sorted(set(steps), reverse=True) and len(steps) <= keep


def test_a_disk_without_links_keeps_as_many(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    for how in (killed, failing_once):
        for folder, _ in until_untouched(tmp_path / how.__name__, monkeypatch, how, 3):
            assert resumed(folder) in (3, 4)
            save(folder / FILE, stand(5), 3)
            assert resumed(folder) == 5 and len(generations(folder / FILE)) in (2, 3)


def test_a_checkpoint_torn_at_any_byte_is_passed_over_with_its_name(tmp_path, caplog):
    for step in (1, 2):
        save(tmp_path / FILE, stand(step), 3)
    whole = (tmp_path / FILE).read_bytes()
    for kept in range(len(whole)):
        caplog.clear()
        (tmp_path / FILE).write_bytes(whole[:kept])
        found = newest(tmp_path / FILE)
        assert found is not None and load(found).facts["step"] == 1, kept
        [warning] = caplog.messages
        assert str(tmp_path / FILE) in warning and "passed over" in warning


def test_a_disk_that_fills_up_at_any_byte_leaves_the_one_before(tmp_path):
    folder = Folder(tmp_path, {}, keep=3)
    assert folder.save(stand(1))
    size = (tmp_path / FILE).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(0, size, 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            saved = folder.save(stand(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not saved and load(tmp_path / FILE).facts["step"] == 1
        assert [path.name for path in generations(tmp_path / FILE)] == [FILE]
    assert folder.save(stand(2)) and resumed(tmp_path) == 2


@given(st.data())
@settings(max_examples=150)
def test_an_altered_byte_changes_nothing_or_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("altered") / FILE
    save(path, stand(3))
    bytes_ = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes_)
    try:
        found = load(path)
    except CheckpointError:
        assert newest(path) is None
    else:
        assert (found.theta.tolist(), found.optimizer[0], found.facts) == ([3.0] * 10, 3, stand(3).facts)


def test_a_damaged_one_is_kept_aside_and_training_goes_on_from_the_one_before(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path / FILE, stand(step), 3)
    torn = (tmp_path / FILE).read_bytes()[:-1]
    (tmp_path / FILE).write_bytes(torn)
    assert resumed(tmp_path) == 2
    assert (tmp_path / (FILE + ".damaged")).read_bytes() == torn
    save(tmp_path / FILE, stand(4), 3)
    assert [load(path).facts["step"] for path in generations(tmp_path / FILE)] == [4, 2, 1]


def test_where_none_is_whole_training_begins_anew_and_a_consensus_names_the_agent(tmp_path, caplog):
    for agent, step in (("a", 1), ("b", 2)):
        save(tmp_path / "agents" / agent / FILE, stand(step), 3)
    own = tmp_path / "agents" / "a"
    (own / FILE).write_bytes(b"torn")
    assert [path.parent.name for path in checkpoints_in(tmp_path)] == ["b"]
    assert FolderSource([tmp_path], lambda line: None).known() >= {"a"}
    assert resumed(own) == 0 and str(own / FILE) in caplog.text


def test_the_consensus_takes_the_newest_whole_one_of_each_agent(tmp_path):
    for step in (1, 2):
        save(tmp_path / "agents" / "a" / FILE, stand(step), 3)
    source = FolderSource([tmp_path], lambda line: None)
    assert [each.step for each in source.contributions(lambda line: None)] == [2]
    (tmp_path / "agents" / "a" / FILE).write_bytes(b"torn")
    source = FolderSource([tmp_path], lambda line: None)
    assert [each.step for each in source.contributions(lambda line: None)] == [1]


def test_fewer_are_kept_from_the_next_save_on(tmp_path):
    for step in range(5):
        save(tmp_path / FILE, stand(step), 4)
    assert [path.name for path in generations(tmp_path / FILE)] == [
        FILE, "checkpoint.1.safetensors", "checkpoint.2.safetensors", "checkpoint.3.safetensors"
    ]  # fmt: skip
    save(tmp_path / FILE, stand(5), 2)
    assert [load(path).facts["step"] for path in generations(tmp_path / FILE)] == [5, 4]
