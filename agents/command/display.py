"""What `agent launch` shows while agents train: a table that is redrawn on a terminal, elsewhere lines."""

import logging
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Set
from contextlib import ExitStack
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live

from agents.command.tables import members_table, metric_of, shown_loss
from agents.finite import LOSS_LIMIT, is_finite
from agents.observe.records import stalled_for_s
from transport.messages import AgentId, Member

log = logging.getLogger("gossamer")

LINE_S, LINE_SHARE = 2.0, 0.05
"""Seconds between two lines where there is no terminal, at least, and as a share of the time so far."""

SAME_S = 60.0
"""Seconds before a line is printed again though nothing has changed, at least."""


class Display:
    """Shows the progress of all agents while they train; a context manager.

    agents: how many were started. file: standard error; a closed terminal gets nothing more. as_json: lines go to the
    log, which writes them as JSON.
    """

    def __init__(self, file: TextIO, agents: int, as_json: bool = False) -> None:
        self._agents, self._as_json = agents, as_json
        self._live_wanted = redraws(file) and not as_json
        self._console = Console(file=file, soft_wrap=True, highlight=False, force_terminal=self._live_wanted)
        self._live: Live | None = None
        self._closing = ExitStack()
        self._began_s = self._line_s = time.monotonic()
        self._summary = ""

    def __enter__(self) -> "Display":
        if self._live_wanted:
            live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live = self._closing.enter_context(live)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live = None
        try:
            self._closing.close()
        except OSError:
            self._gone()

    def line(self, text: str) -> None:
        """Print a line that stays above the table."""
        if self._as_json:
            log.info("%s", text)
            return
        try:
            self._console.print(text, markup=False)
        except OSError:
            self._gone()

    def update(self, members: Collection[Member], alive: Set[str], silent_s: Mapping[AgentId, float]) -> None:
        """members: as last seen. alive: those that answer and whose process runs. silent_s: the ages of records."""
        now = time.monotonic()
        try:
            if self._live is not None:
                members = sorted(members, key=lambda member: member.agent)
                living = [member for member in members if member.agent in alive]
                gone = [member for member in members if member.agent not in alive]
                table = members_table(f"{len(living)} of {self._agents} agents", living, gone, silent_s)
                self._live.update(table, refresh=True)
            elif now - self._line_s > max(LINE_S, LINE_SHARE * (now - self._began_s)):
                text = summary(members, alive, silent_s)
                if text != self._summary or now - self._line_s > SAME_S:
                    self._line_s, self._summary = now, text
                    self.line(text)
        except OSError:
            self._gone()

    def _gone(self) -> None:
        """Nobody reads any more; the swarm must not end for that."""
        self._live = None
        self._console.quiet = True


def redraws(file: TextIO) -> bool:
    """Whether a table may be redrawn in place: a terminal, and not one that a notebook pretends to be for `!agent`."""
    return file.isatty() and os.environ.get("TERM") != "dumb" and "JPY_PARENT_PID" not in os.environ


def summary(members: Collection[Member], alive: Set[str], silent_s: Mapping[AgentId, float] | None = None) -> str:
    """One line: how many are in which state, and how far those have come that are alive."""
    silent_s = silent_s or {}
    living = [member for member in members if member.agent in alive]
    stalled = {member.agent for member in living if stalled_for_s(member, silent_s.get(member.agent, 0.0))}
    states = Counter("stalled" if member.agent in stalled else member.state for member in living)
    states.update("left" if member.state == "left" else "gone" for member in members if member.agent not in alive)
    text = ", ".join(f"{count} {state}" for state, count in states.items()) or "starting"
    trained = [member.report for member in living if member.report.step]
    if trained:
        steps = [report.step for report in trained]
        losses = [report.loss for report in trained if not report.delta]  # Who trains privately publishes none.
        loss = f"loss {_mean(losses)}, " if losses else ""
        scores = [report.score for report in trained if report.metric]
        score = f"{metric_of(living)} {_mean(scores)}, " if scores else ""
        exchanges = sum(report.exchanges for report in trained)
        text += f": step {min(steps)} to {max(steps)} of {trained[0].steps}, {loss}{score}{exchanges} exchanges"
    return text


def _mean(published: Collection[float]) -> str:
    """Of losses or scores, at least one; "not finite" where one of them isn't."""
    return shown_loss(sum(published) / len(published) if all(map(is_finite, published)) else LOSS_LIMIT)
