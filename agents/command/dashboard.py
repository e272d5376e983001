"""`agent dashboard`: a page that shows a running swarm, or what the agents of a run have written."""

import errno
import logging
import math
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agents import settings
from agents.command.flags import Join, Securing, Timeout
from agents.securing import credentials
from agents.values import SettingsError
from topology.errors import GossamerError
from transport.addresses import AddressError, split

if TYPE_CHECKING:
    from agents.dashboard.serving import Source
    from agents.dashboard.story import Story

Asks = tuple[float, str | None, str | None]
"""How often models are pulled, in seconds, and by which task and data they are judged."""

LISTEN = "AGENT_LISTEN"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger("gossamer")


class DashboardError(GossamerError, RuntimeError):
    """The page can't be served. One line: what is missing or in use, and what to do."""

    code = "G313"


def dashboard(
    folder: Path | None = None,
    /,
    securing: Securing = settings.Securing(),
    *,
    join: Join = (),
    listen: Annotated[str, Parameter(name="--listen")] = "127.0.0.1:8765",
    models: float = 0.0,
    task: str | None = None,
    data: str | None = None,
    timeout: Timeout = 5.0,
) -> int:
    """Serve a page that shows a swarm while it trains, until Ctrl-C; it takes part in nothing.

    Parameters:
        folder: The folder of a run, to be shown in place of a swarm: one that runs, or one that has ended.
        listen: Where the page is served, HOST:PORT; port 0 for any free one. Whoever reaches it sees the swarm.
        models: Pull all models each so many seconds, to show their layers, their scores, and that of all merged.
        task: With --models, the swarm's task. Needed if it is a file: none is loaded because a member names it.
        data: With --models, where the task's data lies, if not where it looks by itself.
    """
    if (folder is None) == (not join):
        raise SettingsError("`agent dashboard` shows a swarm (--join ADDRESS) or the folder of a run: give one of them")
    if not 0 <= models < math.inf:
        raise SettingsError(f"--models is a number of seconds, 0 for never: got {models}")
    if folder is not None and models:
        raise SettingsError("--models pulls them from a running swarm: leave it out where a folder is shown")
    if folder is not None and securing.given:
        raise SettingsError(f"--{min(securing.given)} is for a running swarm: leave it out where a folder is shown")
    if not models and (task is not None or data is not None):
        raise SettingsError("--task and --data say by what models are judged: give --models SECONDS too")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # Matrices are small: more threads would wait for each other.
    try:
        from agents.dashboard.serving import serve
    except ModuleNotFoundError as error:
        if (error.name or "agents").partition(".")[0] in ("agents", "topology", "transport"):
            raise
        raise DashboardError(
            f"the dashboard needs {error.name}, which isn't installed: pip install 'gossamer[dashboard]'"
        ) from None
    host, listening = _bound(listen)
    with listening:
        source, story = _source(folder, join, securing, timeout, (models, task, data))
        try:
            shown = f"[{host}]" if ":" in host else host
            port = listening.getsockname()[1]
            log.info("the dashboard of %s is at http://%s:%d (Ctrl-C ends it)", story.where, shown, port)
            if host not in LOOPBACK:
                log.warning("--listen %s: whoever reaches this machine can see the swarm", listen)
            serve(source, story, listening, host)
        finally:
            source.close()
    return 0


def _source(
    folder: Path | None, join: tuple[str, ...], securing: Securing, timeout: float, asks: Asks
) -> "tuple[Source, Story]":
    """What is looked at, and its story so far. Raises Unreachable, NoRunError."""
    from agents.dashboard.live import Live
    from agents.dashboard.models import Asked
    from agents.dashboard.past import Past
    from agents.dashboard.story import Story

    if folder is not None:
        past = Past(folder)
        story = Story(past.title, past.where)
        past.begin(story)
        return past, story
    live = Live(join, credentials(securing, join, agent=False), timeout, Asked(*asks) if asks[0] else None)
    return live, Story(live.title, live.where)


def _bound(listen: str) -> tuple[str, socket.socket]:
    """The host, and a socket that listens there. Raises SettingsError, DashboardError."""
    try:
        host, port = split(f"tcp://{listen}")
    except AddressError:
        of_agents = (
            " of AGENT_LISTEN, which is for agents too: give --listen" if os.environ.get(LISTEN) == listen else ""
        )
        raise SettingsError(f"--listen is HOST:PORT, such as 127.0.0.1:8765: got {listen!r}{of_agents}") from None
    try:
        return host, socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be bound ({error.strerror})"
        raise DashboardError(f"--listen {listen} {why}: give another port, or 0 for any that is free") from None
