"""Ctrl-C: what a command does that has no handling of its own."""

import os
import signal
import sys
import time
from types import ModuleType

import pytest

from agents.command import entry, interruption
from agents.command.interruption import insisting


class Importing(ModuleType):
    """As a module that is interrupted while it is imported."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_command_imports_ends_it_quietly(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "agents.command.cli", Importing("agents.command.cli"))
    monkeypatch.setattr(sys, "argv", ["agent", "run"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")


class Swallows:
    """As a frame of pyzmq's: a signal that comes in its destructor raises there, where Python ignores it."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # By now it was raised.


def test_an_interrupt_that_is_lost_in_a_destructor_comes_again(monkeypatch):
    monkeypatch.setattr(interruption, "AGAIN_S", 0.05)
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)  # Pytest's may take longer, and lose the next one.
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyboardInterrupt), insisting():
        swallows = Swallows()
        del swallows  # Raises nothing here.
        time.sleep(30)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_ended_the_command_comes_once(monkeypatch):
    monkeypatch.setattr(interruption, "AGAIN_S", 0.05)
    with pytest.raises(KeyboardInterrupt), insisting():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    time.sleep(0.1)  # Nothing is raised here.


def test_what_handles_ctrl_c_otherwise_still_does():
    came = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with insisting():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]
