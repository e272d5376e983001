"""The live screen of `agent top`, by textual: drawn anew with each look at the swarm, in a thread of its own."""

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Sparkline, Static

from agents.command.interruption import Interruption, interruptible
from agents.command.top_tables import (
    agent_row,
    alarm_lines,
    columns,
    distance_line,
    headline,
    layers_table,
    links_table,
)
from agents.observe.seen import Snapshot
from agents.observe.snapshot import snapshot
from agents.observe.watching import Watching
from transport.messages import Welcome

EVERY_S = 1.0
"""Between two looks at the swarm."""

DRAW_S = 0.1
"""How often what was seen is looked for."""

COURSE = 240
"""Looks whose consensus distance is drawn."""

HELD = 100
"""Lines of the log that are held while the screen is there, the last ones."""


class TopScreen(App[None]):
    """Shows what `look` finds of a swarm, until q or Ctrl-C. error: what a look has raised, which ends it too.

    interruption: counts signals that ask it to end.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Static { height: auto; }
    Sparkline { height: 2; margin: 0 0 1 0; }
    DataTable { height: auto; max-height: 60%; background: $background; }
    #below { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, look: Callable[[], Snapshot], interruption: Interruption | None = None) -> None:
        super().__init__()
        self._interruption = interruption or Interruption()
        self.error: BaseException | None = None
        self._look = look
        self._seen: Snapshot | None = None
        self._fresh: Snapshot | None = None
        self._course: deque[float] = deque(maxlen=COURSE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watching", daemon=True)

    def compose(self) -> ComposeResult:
        """From top to bottom: run, distance and its course, agents; alarms, layers and links scroll below."""
        yield Static(id="headline")
        yield Static(id="distance")
        yield Sparkline(id="course")
        table: DataTable[Text] = DataTable(id="agents", cursor_type="none", cell_padding=1)
        yield table
        with VerticalScroll(id="below"):
            yield Static(id="alarms")
            yield Static(id="layers")
            yield Static(id="links")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._thread.start()
        self.set_interval(DRAW_S, self._take)

    def on_resize(self) -> None:
        """Other columns may fit now."""
        if self._seen is not None:
            self._draw(self._seen)

    def show(self, seen: Snapshot) -> None:
        """Draw what was just seen."""
        self._seen = seen
        if seen.consensus_distance is not None:
            self._course.append(seen.consensus_distance)
        self._draw(seen)

    def end(self) -> None:
        """Look no more; the last look is waited for."""
        self._over.set()
        if self._thread.ident:
            self._thread.join()

    def _draw(self, seen: Snapshot) -> None:
        width = self.size.width
        self.query_one("#headline", Static).update(headline(seen))
        self.query_one("#distance", Static).update(distance_line(seen, (), width))
        self.query_one("#course", Sparkline).data = list(self._course)
        table = self.query_one("#agents", DataTable)
        scrolled = table.scroll_offset
        table.clear(columns=True)
        names = columns(seen, width)
        table.add_columns(*names)
        for each in seen.agents:
            table.add_row(*agent_row(each, names))
        table.scroll_to(y=scrolled.y, animate=False)
        self.query_one("#alarms", Static).update(Group(*alarm_lines(seen.alarms)))
        self.query_one("#layers", Static).update(layers_table(seen, width) if seen.layers else "")
        self.query_one("#links", Static).update(links_table(seen, width) if seen.links else "")

    def _take(self) -> None:
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self.show(fresh)
        if self.error is not None or self._interruption.requests:
            self.exit()

    def _watch(self) -> None:
        """The other thread: it leaves what it sees where the screen's own looks for it."""
        try:
            while not self._over.is_set():
                self._fresh = self._look()
                self._over.wait(EVERY_S)
        except BaseException as error:  # The main thread raises it once the terminal is as it was.
            self.error = error


def show(watch: Watching, welcome: Welcome) -> int:
    """The live screen, until the user ends it."""

    def look() -> Snapshot:
        watch.look()
        return snapshot(watch, welcome)

    with interruptible() as interruption, drawing():
        screen = TopScreen(look, interruption)
        try:
            screen.run()
        finally:
            screen.end()
    if screen.error is not None:
        raise screen.error
    interruption.check()
    return 0


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, standard error is the terminal of standard output, on which textual draws, wherever it led.

    What is logged meanwhile would stand in the middle of the screen: it follows at the end, where standard error leads.
    """
    root, held = logging.getLogger(), Held()
    handlers, kept = list(root.handlers), os.dup(2)
    sys.stderr.flush()
    root.handlers[:] = [held]
    os.dup2(1, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        root.handlers[:] = handlers
        for record in held.records:
            root.handle(record)


class Held(logging.Handler):
    """Holds the last records of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=HELD)

    def emit(self, record: logging.LogRecord) -> None:
        """Hold it."""
        self.records.append(record)
