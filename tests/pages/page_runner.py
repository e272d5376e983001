"""Runs what a page of the documentation shows, in the order and the folder in which a reader would type it.

Blocks of `sh` are run one after the other. Those of one section with titles are the terminals of several machines: they
run at the same time, each begun once the one before it can be reached. Blocks of `python` are one program, up to the
next of another language; one with a title is a file of that name. All machines are this one: their address is
127.0.0.1, and their port a free one.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
HOST, PORT = "192.168.1.10", "5710"
"""What pages show as the first machine's."""

ONCE = "once, in the clone"
"""The title of what makes the environment in which tests run already."""

LIMIT_S = 240.0


@dataclass(frozen=True)
class Block:
    """One block of a page. line: of the page, where its text begins; section: how many headings stand before it."""

    language: str
    title: str
    text: str
    line: int
    section: int

    @property
    def kind(self) -> tuple[str, int]:
        """Blocks that follow each other and have the same kind are run together."""
        if self.language == "python":
            return ("file", self.line) if self.title else ("program", 0)
        return ("terminals", self.section) if self.title else ("commands", self.line)


@dataclass
class Terminal:
    """A program that runs. place: in the page, for people."""

    place: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def printed(self) -> str:
        """All of its output so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


def blocks(page: str) -> list[Block]:
    """The blocks of a page that a reader would type or save."""
    found = []
    for match in FENCE.finditer(page):
        before = page[: match.start(3)]
        section = len(re.findall(r"^## ", before, re.MULTILINE))
        found.append(Block(match[1], match[2] or "", match[3], before.count("\n") + 1, section))
    return [block for block in found if block.language in ("sh", "python") and block.title != ONCE]


def run_page(page: Path, folder: Path) -> None:
    """Run all of it in an empty folder. Raises AssertionError with the page's line and what its program has printed."""
    (folder / "examples").symlink_to(ROOT / "examples")
    port = free_port()
    for (kind, _), together in groupby(blocks(page.read_text()), lambda block: block.kind):
        run(page.name, kind, list(together), folder, port)


def run(page: str, kind: str, some: list[Block], folder: Path, port: int) -> None:
    """Run blocks of one kind that follow each other."""
    first = some[0]
    if kind == "file":
        (folder / first.title).write_text(here(first.text, port))
        return
    titles = dict.fromkeys(block.title for block in some)
    running: list[Terminal] = []
    try:
        for title in titles:
            text = here("".join(block.text for block in some if block.title == title), port)
            shell = [sys.executable, "-c", text] if kind == "program" else ["bash", "-euc", text]
            if running:
                until_reached(running, port)
            running.append(started(f"{page}, line {first.line} {title}", shell, folder))
        deadline_s = time.monotonic() + LIMIT_S
        for each in running:
            each.process.wait(max(0.0, deadline_s - time.monotonic()))
        ill = [each for each in running if each.process.returncode]
        assert not ill, "\n".join(
            f"{each.place} exited with {each.process.returncode}:\n{each.printed()}" for each in ill
        )
    except subprocess.TimeoutExpired:
        raise AssertionError("\n".join(f"{each.place} went on:\n{each.printed()}" for each in running)) from None
    finally:
        for each in running:
            if each.process.poll() is None:
                os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()
            each.output.close()


def started(place: str, command: list[str], folder: Path) -> Terminal:
    """A program that begins to run, in a session of its own."""
    output = TemporaryFile()  # noqa: SIM115
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Terminal(place, process, output)


def until_reached(running: list[Terminal], port: int) -> None:
    """Return once somebody listens on the port, or the last one has ended."""
    last = running[-1]
    deadline_s = time.monotonic() + LIMIT_S
    while last.process.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline_s, f"{last.place} doesn't listen:\n{last.printed()}"
        time.sleep(0.1)


def here(text: str, port: int) -> str:
    """A page's text with the address of this machine."""
    return text.replace(HOST, "127.0.0.1").replace(PORT, str(port))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
