"""What becomes of a launch's processes when one of them is killed, or when it is asked to stop."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from live_agents import Running, Start, last_step, naming, wait_until

from agents import load_run

SHORT = ("--linger", 1, "--settle", 10)
ENDLESS = ("--steps", 1_000_000)
NO_LAUNCHER_S = 20.0
"""Agents without a launcher have ten seconds to save, and then some on a loaded machine."""


def launched(start: Start, run_dir: Path, n: int, *more: object) -> Running:
    return start("launch", "-n", n, "--task", "digits", "--json", "--run-dir", run_dir, *SHORT, *more)


def trains(command: Running, run_dir: Path, n: int) -> None:
    for index in range(n):
        command.wait_for(lambda i=index: last_step(run_dir / "agents" / f"agent-{i}") > 50, "it trains")


def the_process(folder: Path, word: str) -> int:
    """The one process that names the folder or works in it, and has this word on its command line."""
    found = [pid for pid in naming(folder) if word in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")]
    return found[0] if len(found) == 1 else 0


MOMENTS = {
    "it has a folder": lambda run_dir: run_dir.exists(),
    "its fork server runs": lambda run_dir: the_process(run_dir.parent, "multiprocessing.forkserver"),
    "the first agent starts": lambda run_dir: (run_dir / "agents" / "agent-0" / "log").exists(),
    "the others start": lambda run_dir: (run_dir / "agents" / "agent-1" / "log").exists(),
    "all train": lambda run_dir: all(last_step(run_dir / "agents" / f"agent-{i}") > 50 for i in range(2)),
}


def test_agents_share_a_session_of_their_own_and_each_leads_a_group(start: Start, tmp_path: Path) -> None:
    command = launched(start, tmp_path / "run", 2, *ENDLESS)
    trains(command, tmp_path / "run", 2)
    found = naming(tmp_path / "run")
    agents = [pid for pid in found if Path(f"/proc/{pid}/cmdline").read_text().startswith("agent run ")]
    assert len(agents) == 2
    assert [os.getpgid(pid) for pid in agents] == agents
    (session,) = {os.getsid(pid) for pid in agents}
    assert session != os.getsid(command.process.pid)


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_process_outlives_a_killed_launcher(start: Start, tmp_path: Path, moment: str) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, *ENDLESS)
    command.wait_for(lambda: MOMENTS[moment](run_dir), moment)
    command.process.kill()
    command.process.wait()
    began_s = time.monotonic()
    wait_until(lambda: not naming(tmp_path), "all have ended")
    assert time.monotonic() - began_s < NO_LAUNCHER_S
    if moment == "all train":
        assert all(50 < step < 1_000_000 for step in load_run(run_dir).steps)
        assert "the launcher has ended: stopping" in (run_dir / "agents" / "agent-0" / "log").read_text()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("it has a folder", signal.SIGINT),
        ("the first agent starts", signal.SIGINT),
        ("the first agent starts", signal.SIGTERM),
        ("the others start", signal.SIGINT),
        ("the others start", signal.SIGHUP),
    ],
)
def test_no_process_outlives_a_launch_stopped_while_it_starts(
    start: Start, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, *ENDLESS)
    command.wait_for(lambda: MOMENTS[moment](run_dir), moment)
    for _ in range(2):  # As a terminal and whoever runs us in it both do.
        command.process.send_signal(number)
    command.process.wait(NO_LAUNCHER_S)
    assert "Traceback" not in command.stderr
    wait_until(lambda: not naming(tmp_path), "all have ended")


@pytest.mark.parametrize(
    ("n", "number"), [(1, signal.SIGINT), (2, signal.SIGINT), (2, signal.SIGTERM), (2, signal.SIGHUP)]
)
def test_a_stopped_launch_assembles_whatever_the_signal_and_however_many(
    start: Start, tmp_path: Path, n: int, number: signal.Signals
) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, n, *ENDLESS)
    trains(command, run_dir, n)
    for _ in range(2):
        command.process.send_signal(number)
    report = json.loads(command.end(130))
    assert report["consensus"]["agents"] == [f"agent-{index}" for index in range(n)]
    wait_until(lambda: not naming(tmp_path), "all have ended")


def test_a_second_request_to_stop_ends_it_at_once(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, *ENDLESS)
    trains(command, run_dir, 2)
    os.kill(wait_until(lambda: the_process(tmp_path, "consensus"), "it assembles"), signal.SIGSTOP)
    command.interrupt()
    command.wait_for_text("stopping: assembling what there is")
    time.sleep(0.6)  # what comes sooner is the same request, and there is nothing to wait for
    command.interrupt()
    assert command.end(130) == ""
    assert f"`agent consensus {run_dir}` assembles what agents have saved" in command.stderr
    wait_until(lambda: not naming(tmp_path), "all have ended")


def test_a_killed_assembly_is_started_again(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, "--steps", 3000)
    trains(command, run_dir, 2)
    os.kill(command.wait_for(lambda: the_process(tmp_path, "consensus"), "it assembles"), signal.SIGKILL)
    report = json.loads(command.end())
    assert report["consensus"]["agents"] == ["agent-0", "agent-1"]
    assert "`agent consensus` was ended by SIGKILL: starting it again" in command.stderr


def test_a_launch_survives_its_fork_server(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, "--steps", 3000)
    trains(command, run_dir, 2)
    os.kill(the_process(tmp_path, "multiprocessing.forkserver"), signal.SIGKILL)
    report = json.loads(command.end())
    assert report["consensus"]["agents"] == ["agent-0", "agent-1"]
    assert [agent["steps"] for agent in report["agents"]] == [3000, 3000]
    assert "the fork server, which started the agents, was killed" in command.stderr
    assert "others go on" not in command.stderr
    wait_until(lambda: not naming(tmp_path), "all have ended")


def test_no_agent_is_left_without_fork_server_and_launcher(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = launched(start, run_dir, 2, *ENDLESS)
    trains(command, run_dir, 2)
    os.kill(the_process(tmp_path, "multiprocessing.forkserver"), signal.SIGKILL)
    command.process.kill()
    command.process.wait()
    wait_until(lambda: not naming(tmp_path), "all have ended")
    assert all(step > 50 for step in load_run(run_dir).steps)
