"""A command that looks once: in a session of its own, from which signals and exit codes come through."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.command.session import AUTOGROUP, looks_once

pytestmark = pytest.mark.skipif(not AUTOGROUP.exists(), reason="processors aren't shared out by session here")


@contextmanager
def looking(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command whose swarm never answers, and the process that looks for it."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        words = [sys.executable, "-m", "agents.command.entry", *arguments, "--join", address, "--timeout", "60"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            nobody.settimeout(60)
            nobody.accept()[0].close()  # By now it looks.
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield process, int(child)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("arguments", [["status"], ["top", "--once"]], ids=" ".join)
def test_it_has_a_session_of_its_own(arguments):
    with looking(*arguments) as (process, child):
        assert os.getsid(child) == child != os.getsid(process.pid)
        os.kill(child, signal.SIGINT)
        assert process.wait(30) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both(number):
    with looking("status") as (process, child):
        process.send_signal(number)
        assert process.wait(30) in (130, -number)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_child_that_is_killed_is_no_success():
    with looking("status") as (process, child):
        os.kill(child, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL


def test_what_it_prints_and_its_exit_code_come_through():
    words = [sys.executable, "-m", "agents.command.entry", "status", "--timeout"]
    done = subprocess.run([*words, "soon"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--timeout" in done.stderr


@pytest.mark.parametrize(
    ("line", "once"),
    [("status", True), ("top --once --json", True), ("top --json", False), ("run --once", False), ("", False)],
)
def test_what_looks_once(line, once):
    assert looks_once(line.split()) is once
