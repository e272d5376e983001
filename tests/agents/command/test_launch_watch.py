"""What a launch makes of agents that end before it has seen a record of theirs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.command.launch import Watch
from agents.command.supervise import NICEST, LaunchError, Process
from agents.settings import Learning

THREADS = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""

BEFORE = {"time": 1.0, "step": 10, "loss": 0.5}


class Display:
    """Keeps its lines. then: what happens when the progress is shown."""

    def __init__(self, then=lambda: None):
        self.lines, self._then = [], then

    def line(self, text):
        self.lines.append(text)

    def update(self, *_):
        self._then()


@pytest.fixture
def processes(tmp_path):
    """Two agents that run, and go on from an earlier launch; nobody can reach them."""
    made = []
    for name in ("agent-0", "agent-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").touch()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(BEFORE) + "\n")
        made.append(Process(name, tmp_path / name, SimpleNamespace(exitcode=None, pid=None)))
    return made


def watch(processes, display, tmp_path):
    swarm = SimpleNamespace(processes=processes, addresses=[], run_dir=tmp_path)
    interruption = SimpleNamespace(requests=0, check=lambda allowed=0: None)
    return Watch(swarm, display, interruption, Learning(task="digits"))


@pytest.mark.parametrize(("code", "how"), [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL")])
def test_who_has_trained_or_was_asked_to_stop_leaves_the_others(processes, tmp_path, code, how):
    def then():
        processes[1].handle.exitcode = 1

    display = Display(then)
    watched = watch(processes, display, tmp_path)
    for process in processes[code == 0 :]:
        with (process.folder / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps(BEFORE | {"step": 20}) + "\n")
    processes[0].handle.exitcode = code
    with pytest.raises(LaunchError, match=r"^no agent is left: .*`agent launch --resume .*` goes on"):
        watched.until_assembled()
    assert any(line.startswith(f"agent-0 {how}: the others go on") for line in display.lines)


@pytest.mark.parametrize("code", [2, -9])
def test_who_could_not_start_ends_the_launch_whatever_it_did_in_an_earlier_one(processes, tmp_path, code):
    watched = watch(processes, Display(), tmp_path)
    processes[1].handle.exitcode = code
    with pytest.raises(LaunchError, match=r"^agent-1 .*; see .*log"):
        watched.until_assembled()


def test_what_is_asked_of_an_agent_whose_folder_is_gone_is_answered_by_what_is_known(processes, tmp_path):
    """As where somebody has removed it: the launch went on without the others."""
    process = processes[0]
    (process.folder / "agent.json").write_text('{"address": "tcp://127.0.0.1:5710"}')
    assert process.address == "tcp://127.0.0.1:5710"
    shutil.rmtree(process.folder)
    process.handle.exitcode = -9
    assert process.address == "tcp://127.0.0.1:5710"
    assert process.last_measure() == {}
    assert process.cause() == f"agent-0 was ended by SIGKILL; see {process.folder / 'log'}"


def test_a_log_that_a_full_disk_left_empty_is_no_cause(processes, monkeypatch):
    process = processes[0]
    process.handle.exitcode = 2
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    assert (
        process.cause()
        == f"agent-0 ended with exit code 2, and no space is left on the disk of {process.folder} for its log"
    )
    (process.folder / "log").write_text("agent: why [G408]\n")
    assert process.cause() == "why [G408]"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="a system that doesn't show its threads")
def test_all_threads_of_an_agent_come_behind_what_assembles_its_model(tmp_path):
    """Two dozen that train on kept two processors from it for half a minute after Ctrl-C."""
    child = subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout.readline() == b"ready\n"
        Process("agent-0", tmp_path, SimpleNamespace(exitcode=None, pid=child.pid)).lower_priority()
        threads = [int(each.name) for each in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) == 2 and {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {NICEST}
    finally:
        child.kill()
        child.communicate()
    Process(
        "agent-0", tmp_path, SimpleNamespace(exitcode=None, pid=child.pid)
    ).lower_priority()  # It has gone: no error.
