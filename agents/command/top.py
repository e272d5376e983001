"""`agent top`: the live swarm on a terminal, or as JSON for programs (docs/watching.md)."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agents import settings
from agents.command.flags import OUTPUT, Join, Json, Securing, Timeout
from agents.command.output import print_json
from agents.observe.reaching import addresses
from agents.observe.seen import Snapshot
from agents.observe.snapshot import snapshot
from agents.observe.watching import Watching, watching
from agents.securing import credentials
from agents.values import SettingsError
from topology.errors import GossamerError
from transport.messages import Welcome

EVERY_S = 1.0
"""Between two looks at the swarm."""

Once = Annotated[bool, Parameter(name="--once", negative="", help="Look once, print, and exit.", group=OUTPUT)]


class NoScreen(GossamerError, RuntimeError):
    """What draws the live view isn't installed."""

    code = "G502"


def top(
    folder: Path | None = None,
    /,
    securing: Securing = settings.Securing(),
    *,
    join: Join = (),
    timeout: Timeout = 5.0,
    once: Once = False,
    as_json: Json = False,
) -> int:
    """Agents, how far apart they are, links and alarms, drawn anew each second; q ends it.

    With --json a line each second, with --once one view or one line.

    Parameters:
        folder: The folder of a run on this machine, as `agent launch` prints it, in place of --join ADDRESS.
    """
    at = addresses(folder, join, "agent top")
    show = None if once or as_json else _screen()
    with watching(at, timeout, credentials(securing, at, agent=False)) as (watch, welcome):
        if show is not None:
            return show(watch, welcome)
        while True:
            seen = snapshot(watch, welcome)
            if as_json:
                print_json(asdict(seen))
            else:
                _print(seen)
            if once or not any(each.alive for each in seen.agents):
                return 0
            time.sleep(EVERY_S)
            watch.look()


def _print(seen: Snapshot) -> None:
    from agents.command.fitted import printing  # Late, as are its tables: JSON needs none.
    from agents.command.top_tables import view

    console = printing()
    console.print(view(seen, console.width))


def _screen() -> Callable[[Watching, Welcome], int]:
    """What draws the live view. Raises SettingsError without a terminal, NoScreen without textual."""
    if not sys.stdout.isatty():
        raise SettingsError(
            "agent top draws on a terminal, and standard output is none: give --once for one view, or --json for a "
            "line each second"
        )
    try:
        from agents.command.top_screen import show
    except ImportError as error:
        if error.name is None or not error.name.startswith("textual"):
            raise
        raise NoScreen(
            "the live view needs textual: pip install 'gossamer[top]', or give --once for one view, or --json"
        ) from None
    return show
