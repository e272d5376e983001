"""How log lines look: as text in files and in systemd's journal, as JSON; and how many there may be."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.command import cli, logs
from agents.journal import BURST, Journal
from agents.protocol.events import Lost, Notice
from agents.protocol.incarnation import Incarnation
from transport.messages import AgentId, ConnectionId

LOG = logging.getLogger("gossamer")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[io.TextIOBase]:
    """Standard error, as a file that the log goes to; what was written is read with `lines`."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("AGENT_LOG", raising=False)
    root = logging.getLogger()
    before = {handler: handler.formatter for handler in root.handlers}
    with open(tmp_path / "err", "w+", buffering=1) as file:
        handler = logging.StreamHandler(file)
        root.addHandler(handler)
        monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=file))  # pytest sets that of `sys` for each phase.
        LOG.setLevel(logging.INFO)
        yield file
        logs.configure(None)
        LOG.setLevel(logging.INFO)
        root.removeHandler(handler)
    for handler, formatter in before.items():
        handler.setFormatter(formatter)


def lines(file: io.TextIOBase) -> list[str]:
    file.seek(0)
    return file.read().splitlines()


def test_in_a_file_a_record_has_the_local_time(written: io.TextIOBase) -> None:
    logs.configure("text")
    LOG.info("one is here")
    Journal().note("connected", "one connected")
    first, second = lines(written)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} one is here", first)
    assert second.endswith(" one connected")


def test_on_a_terminal_what_only_audits_need_is_left_out(
    written: io.TextIOBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=Terminal(written)))
    logs.configure("text")
    LOG.info("one is here")
    Journal().note("connected", "one connected")
    assert lines(written) == ["one is here"]


class Terminal:
    """Says that it is one."""

    def __init__(self, file: io.TextIOBase) -> None:
        self.write, self.flush, self.fileno = file.write, file.flush, file.fileno

    def isatty(self) -> bool:
        return True


def test_in_the_journal_each_line_has_its_priority_and_no_time(
    written: io.TextIOBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(written.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    logs.configure("text")
    LOG.warning("on the next machine:\n    agent run")
    logs.fail("no", "G101")
    assert lines(written) == ["<4>on the next machine:", "<4>    agent run", "<3>agent: no [G101]"]


def test_json_is_one_object_a_line(written: io.TextIOBase) -> None:
    logs.configure("json")
    logs.named("site-a")
    LOG.warning("two\nlines")
    Journal().notice(Notice("b connected (route:01)", "connected", ConnectionId("route:01"), AgentId("b")), origin)
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as error:
        logs.fail("x.py, line 3: oops", "", error)
    first, second, third = map(json.loads, lines(written))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", first.pop("time"))
    assert first == {"level": "warning", "agent": "site-a", "event": "log", "message": "two\nlines"}
    del second["time"]
    assert second == {
        **{"level": "info", "agent": "site-a", "event": "connected", "message": "b connected (10.0.0.7)"},
        **{"peer": "b", "address": "10.0.0.7"},
    }
    assert (third["level"], third["event"]) == ("error", "failed") and "ZeroDivisionError" in third["traceback"]


def test_what_a_crash_has_cost_is_a_line_with_the_chunks_and_the_mean(written: io.TextIOBase) -> None:
    logs.configure("json")
    peer = Incarnation(AgentId("b"), 3)
    Journal().lost(Lost(peer, 17, (4, 5), initiated=True), 0.25)
    Journal().lost(Lost(peer, 9, (0,), initiated=False, moved=0.5), 0.25)
    ours, theirs = map(json.loads, lines(written))
    about = {"event": "lost", "peer": "b", "incarnation": 3}
    assert ours.items() >= (about | {"exchange": 17, "chunks": 2}).items() and "moved" not in ours
    assert theirs.items() >= (about | {"exchange": 9, "chunks": 1, "moved": 0.125}).items()
    assert ours["message"] == "b (incarnation 3) is over: it alone may have applied 2 of the chunks of our exchange"
    assert theirs["message"].endswith(
        "we alone may have applied 1 of the chunks of its exchange, which moves the mean by 0.125 at most"
    )


def origin(connection: ConnectionId) -> str:
    return {"route:01": "10.0.0.7"}[connection]


@pytest.mark.parametrize("words", [["--log", "json"], ["--log=json"]])
def test_an_error_of_the_command_line_is_json_too(written: io.TextIOBase, words: list[str]) -> None:
    assert cli.run_command(["run", *words, "--task", "digits", "--alpha", "2"]) == 2
    (line,) = map(json.loads, lines(written))
    assert (line["event"], line["code"]) == ("failed", "G101") and "alpha" in line["message"]


@pytest.mark.parametrize(
    ("asked", "level"), [("", logging.INFO), ("debug", logging.DEBUG), ("Warning", logging.WARNING)]
)
def test_how_much_is_logged_is_a_variable_and_empty_it_is_none(written, monkeypatch, asked: str, level: int) -> None:
    monkeypatch.setenv("AGENT_LOG_LEVEL", asked)
    assert cli.run_command(["explain", "G101"]) == 0
    assert logging.getLogger("gossamer").level == level


def test_a_level_that_is_none_is_one_line_that_names_the_variable(written: io.TextIOBase, monkeypatch) -> None:
    monkeypatch.setenv("AGENT_LOG_LEVEL", "chatty")
    assert cli.run_command(["explain", "G101"]) == 2
    (line,) = lines(written)
    assert line == ("agent: AGENT_LOG_LEVEL is debug, info, warning or error: got 'chatty'; unset it for info [G101]")


def test_another_form_is_refused_with_where_the_level_is_set(written: io.TextIOBase) -> None:
    assert cli.run_command(["run", "--task", "digits", "--log", "debug"]) == 2
    assert "--log is text or json: got 'debug'" in lines(written)[-1] and "AGENT_LOG_LEVEL" in lines(written)[-1]


def test_the_error_that_a_log_ends_with_is_found_in_both_forms(written: io.TextIOBase) -> None:
    logs.configure("json")
    LOG.info("before")
    logs.fail("the port is in use", "G301")
    assert logs.failure("\n".join(["{}", "{no json", *lines(written)])) == "the port is in use [G301]"
    assert logs.failure("one\nagent: the port is in use [G301]\n") == "the port is in use [G301]"
    assert logs.failure("one is here\n[1]") is None


def test_what_many_do_is_told_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A stranger that is refused a thousand times a second must fill no disk."""
    now = [0.0]
    journal = Journal(lambda: now[0])
    with caplog.at_level(logging.INFO, "gossamer"):
        for _ in range(5000):
            now[0] += 0.001
            journal.note("refused", "refused x")
        journal.note("here", "y is here")
        now[0] += 10
        journal.note("refused", "refused z")
    texts = [record.getMessage() for record in caplog.records]
    assert BURST <= texts.count("refused x") <= BURST + 10
    assert texts[-2] == "y is here"
    told = sum(int(number) for text in texts for number in re.findall(r"and (\d+) such lines", text))
    assert sum("refused" in text for text in texts) + told == 5001


def test_an_error_that_a_full_disk_takes_no_line_of_is_an_exit_status_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was 1, of a bug, as the line itself failed."""
    monkeypatch.delenv("AGENT_LOG", raising=False)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=full))
        assert cli.run_command(["consensus"]) == cli.FAULT
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
