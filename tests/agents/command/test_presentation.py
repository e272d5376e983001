"""What the commands show and print, and what they make of signals and exceptions."""

import io
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from agents.command import cli, display, status
from agents.command.causes import cause
from agents.command.display import Display, summary
from agents.command.interruption import DOUBLED_S, Interruption, interruptible
from agents.command.output import print_json, reserved
from agents.command.supervise import exists
from agents.command.tables import members_table, votes_lines
from agents.finite import LOSS_LIMIT, finite_loss
from transport.messages import Identity, Liveness, Member, Report


def member(name: str, state: str = "training", step: int = 10) -> Member:
    return Member(Identity(name, 1, ""), Liveness(state=state), Report(step=step, steps=100, loss=0.5, exchanges=2))


class Closed(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_agent_whose_process_has_ended_is_not_counted_as_training() -> None:
    line = summary([member("a", step=10), member("b", step=99)], {"a"})
    assert line == "1 training, 1 gone: step 10 to 10 of 100, loss 0.5000, 2 exchanges"


def test_an_agent_whose_training_stands_still_is_shown_as_stalled_with_its_age() -> None:
    hung = replace(member("b"), report=Report(step=10, steps=100, loss=0.5, stalled_s=20.0))
    left = replace(hung, liveness=Liveness(state="left"))
    assert summary([member("a"), hung], {"a", "b"}).startswith("1 training, 1 stalled: ")
    shown = io.StringIO()
    Console(file=shown, width=120).print(members_table("", [member("a"), hung], [], {"b": 3.0}))
    assert "stalled for 23 s" in shown.getvalue()
    assert [status.describe(each, True, 3.0)["stalled_s"] for each in (member("a"), hung, left)] == [0.0, 23.0, 0.0]


def test_a_loss_that_is_not_finite_is_called_so() -> None:
    diverged = replace(member("b"), report=Report(step=10, **finite_loss({"loss": math.nan})))
    assert ", loss not finite, 2 exchanges" in summary([member("a"), diverged], {"a", "b"})
    shown = io.StringIO()
    Console(file=shown, width=120).print(members_table("", [member("a"), diverged]))
    assert "not finite" in shown.getvalue() and "0.5000" in shown.getvalue()
    assert status.describe(diverged, True, 0.0)["loss"] is None


def test_what_a_member_weighs_stands_in_the_json() -> None:
    """With --weigh speed it changes."""
    weighing = [replace(member("a"), report=Report(weight=weight)) for weight in (12.5, math.inf)]
    assert [status.describe(each, True, 0.0)["weight"] for each in weighing] == [12.5, None]


def test_what_is_not_known_yet_is_null() -> None:
    fresh = Member(Identity("a", 1, ""), Liveness(state="ready"), Report(steps=100))
    plain = status.describe(fresh, True, 0.0)
    assert plain["loss"] is None and plain["distance"] is None and plain["last_exchange_s"] is None
    plain = status.describe(member("a"), True, 0.0)
    assert (plain["loss"], plain["distance"]) == (0.5, 0.0)


def test_scores_and_votes_are_shown_where_models_are_judged_while_they_train() -> None:
    judged = [
        replace(member(name), report=Report(step=10, steps=100, metric="accuracy", score=score, best=0.9, votes=votes))
        for name, score, votes in (("a", 0.5, True), ("b", 0.75, False))
    ]
    assert ", accuracy 0.6250, 0 exchanges" in summary(judged, {"a", "b"})
    shown = io.StringIO()
    console = Console(file=shown, width=80)
    console.print(members_table("", [*judged, member("hospital-1")]), *votes_lines(judged), sep="\n")
    lines = shown.getvalue().splitlines()
    assert "accuracy" in lines[0] and "0.7500" in lines[2] and lines[-1] == "1 of 2 agents vote to stop"
    assert "…" not in shown.getvalue(), "a terminal of 80 columns shows all of it"
    plain = [status.describe(each, True, 0.0) for each in (*judged, member("c"))]
    assert [(each["metric"], each["score"], each["best"], each["votes"]) for each in plain] == [
        ("accuracy", 0.5, 0.9, True),
        ("accuracy", 0.75, 0.9, False),
        (None, None, None, False),
    ]


def test_scores_that_are_not_finite_are_said_to_be_and_are_no_part_of_a_mean() -> None:
    never = replace(member("a"), report=Report(step=10, metric="accuracy", score=LOSS_LIMIT, best=LOSS_LIMIT))
    well = replace(member("b"), report=Report(step=10, metric="accuracy", score=0.5, best=0.9))
    assert ", accuracy not finite, 0 exchanges" in summary([never, well], {"a", "b"})
    plain = status.describe(never, True, 0.0)
    assert (plain["metric"], plain["score"], plain["best"]) == ("accuracy", None, None)


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_into_a_pipe_go_lines_without_cursor_movements(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    file, now = io.StringIO(), [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with Display(file, 2) as shown:
        for _ in range(36_000):  # an hour, looked at ten times a second
            now[0] += 0.1
            shown.update([member("a")], {"a"}, {})
    assert "\x1b" not in file.getvalue()
    assert 10 < file.getvalue().count("\n") < 200


def test_into_a_pipe_no_line_goes_twice_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = io.StringIO(), [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with Display(file, 2) as shown:
        for _ in range(55):
            now[0] += 1.0
            shown.update([], set(), {})
        shown.update([member("a")], {"a"}, {})
        now[0] += 3.0
        shown.update([member("a")], {"a"}, {})
    assert file.getvalue().splitlines() == ["starting", summary([member("a")], {"a"})]


def test_in_a_notebook_nothing_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert display.redraws(Terminal())
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not display.redraws(Terminal())


def test_a_terminal_shows_a_table_with_the_dead_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    file = Terminal()
    with Display(file, 2) as shown:
        shown.update([member("b"), member("a")], {"a"}, {})
    assert "1 of 2 agents" in file.getvalue()
    assert file.getvalue().index("a  ") < file.getvalue().index("b  ")


def test_a_closed_terminal_ends_nothing() -> None:
    with Display(Closed(), 2) as shown:
        shown.line("hello")
        shown.update([member("a")], {"a"}, {})
        shown.line("again")


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": None, "e": "NaN", "f": (1, True)})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"a": None, "b": [None, 1.5, {"c": None}], "d": None, "e": "NaN", "f": [1, True]}


def test_stdout_is_reserved_for_json(capfd: pytest.CaptureFixture[str]) -> None:
    with reserved():
        print("from Python", flush=True)
        os.write(1, b"from C\n")
    print("{}", flush=True)
    out, err = capfd.readouterr()
    assert out == "{}\n" and "from Python" in err and "from C" in err


def test_a_doubled_signal_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("agents.command.interruption.time.monotonic", lambda: now[0])
    with interruptible() as interruption:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert interruption.requests == 1
        interruption.check(allowed=1)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
        now[0] += DOUBLED_S + 0.1
        signal.raise_signal(signal.SIGHUP)
        assert interruption.requests == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            assert isinstance(signal.getsignal(signal.SIGINT), Interruption)
            signal.raise_signal(signal.SIGHUP)
            assert interruption.requests == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_cause_is_the_users_innermost_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import json\n\ndef f():\n    return json.loads('{')\n")
    namespace: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    with pytest.raises(ValueError) as caught:
        namespace["f"]()
    assert cause(caught.value).startswith(f"{path}, line 4: JSONDecodeError: Expecting")


def test_the_cause_of_a_callbacks_failure_is_read_from_its_text() -> None:
    text = 'INTERNAL: error:\nTraceback (most recent call last):\n  File "/x/mine.py", line 7, in f\nKeyError: 3'
    assert cause(RuntimeError(text)) == "/x/mine.py, line 7: KeyError: 3"
    assert cause(RuntimeError()) == "RuntimeError"


def test_a_bug_prints_its_traceback_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops\nsecond line")

    monkeypatch.setattr("agents.agent.Agent", broken)
    assert cli.run_command(["run", "--task", "digits"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    last = err.splitlines()[-1]
    assert last.startswith("agent: ") and last.endswith("ZeroDivisionError: oops")


def test_a_pipe_that_breaks_while_json_is_printed_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("agents.agent.Agent", broken)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert cli.run_command(["run", "--task", "digits"]) == 141
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_a_reader_that_stops_early_gets_no_message(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "agents.command.cli", *arguments.split()]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ended.returncode != 0 and ended.stderr == ""


def test_a_process_that_has_ended_does_not_exist() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert exists(os.getpid())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not waited for: a zombie
    assert not exists(process.pid)
    process.wait()
    assert not exists(process.pid)


FORKS = """
import os, signal, time
from agents.command.interruption import handling

with handling(lambda *_: None):
    for _ in range(50):
        pid = os.fork()
        if not pid:
            while True:
                signal.pause()
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
"""


def test_a_child_that_a_task_forks_ends_by_a_signal_that_comes_as_it_starts() -> None:
    """A pool's worker took the agent's handler over, and what came before Python had started it was lost."""
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)
