"""How log lines look: text, with the time where nothing else adds it, or JSON, one object a line.

Text on a terminal is the message alone, without what only audits need. In a file each record begins with the local
time; in systemd's journal, which has times of its own, with its priority, as sd-daemon(3) describes.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from agents.jsonable import jsonable

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
TIME = "%Y-%m-%dT%H:%M:%S%z"
FAILED = "failed"
"""The event of the error that ends a command."""


class Json(logging.Formatter):
    """One object a line: time, level, agent (if known), event, message, and what else is known of the event."""

    def __init__(self) -> None:
        super().__init__(datefmt=TIME)
        self.agent = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {"time": self.formatTime(record, TIME), "level": record.levelname.lower()}
        line |= {"agent": self.agent} if self.agent else {}
        line |= {"event": getattr(record, "event", "log"), "message": record.getMessage()}
        line |= {"traceback": self.formatException(record.exc_info)} if record.exc_info else {}
        return json.dumps(jsonable(line | getattr(record, "facts", {})))


class Journal(logging.Formatter):
    """Each line after its priority, which the journal takes off."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        text = super().format(record)
        return "\n".join(f"<{PRIORITIES.get(record.levelno, 6)}>{line}" for line in text.splitlines())


def configure(form: str | None) -> None:
    """What is logged to stderr looks so from now on. form: text or json; None: the messages alone."""
    formatter: logging.Formatter
    alone = form is None or (form == "text" and sys.stderr.isatty())
    if form == "json":
        formatter = Json()
    elif is_journal():
        formatter = Journal()
    else:
        formatter = logging.Formatter(None if alone else "%(asctime)s %(message)s", TIME)
    logging.captureWarnings(form == "json")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)
    logging.getLogger("gossamer.audit").setLevel(logging.WARNING if alone else logging.NOTSET)


def asked(arguments: Sequence[str]) -> str | None:
    """ "json" if a command line asks for it: so that errors in that line look so too. None if not."""
    given = [after for word, after in pairwise(arguments) if word == "--log"]
    given += [word.removeprefix("--log=") for word in arguments if word.startswith("--log=")]
    return "json" if (given or [os.environ.get("AGENT_LOG", "")])[-1] == "json" else None


def named(agent: str) -> None:
    """Whose log it is."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Json):
            handler.formatter.agent = agent


def fail(text: str, code: str, error: BaseException | None = None) -> None:
    """The error that ends a command, with its number, as the last line on stderr. error: a bug, with its traceback.

    Where stderr takes nothing, as on a full disk, the exit status alone says that there was one.
    """
    handlers = [each for each in logging.getLogger().handlers if isinstance(each.formatter, Json)]
    facts = {"code": code} if code else {}
    if handlers:
        logging.getLogger("gossamer").error("%s", text, exc_info=error, extra={"event": FAILED, "facts": facts})
        return
    priority = f"<{PRIORITIES[logging.ERROR]}>" if is_journal() else ""
    with suppress(OSError):
        if error is not None:
            traceback.print_exception(error)
        print(f"{priority}agent: {text}{f' [{code}]' if code else ''}", file=sys.stderr, flush=True)


def failure(log: str) -> str | None:
    """The error that a command's log ends with, in either form; None if there is none."""
    found = None
    for line in log.splitlines():
        if line.startswith("agent: "):
            found = line.removeprefix("agent: ")
        elif line.startswith("{"):
            try:
                plain = json.loads(line)
            except ValueError:
                continue
            if isinstance(plain, dict) and plain.get("event") == FAILED:
                found = f"{plain.get('message')} [{plain['code']}]" if plain.get("code") else str(plain.get("message"))
    return found


def is_journal() -> bool:
    """Whether stderr is a stream of systemd's journal, as systemd.exec(5) says under $JOURNAL_STREAM."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
