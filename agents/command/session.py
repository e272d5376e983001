"""A command that looks at a swarm once does so in a session of its own, apart from agents of the same terminal.

Linux shares processors out by session (autogroup, sched(7)): beside eight agents that were started in one terminal and
take whatever processors there are, `agent top --once` there would get a ninth, and answer in four seconds, not in one.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from agents.command.interruption import SIGNALS

AUTOGROUP = Path("/proc/self/autogroup")
"""A file that exists where the kernel shares processors out by session."""


def looks_once(arguments: Sequence[str]) -> bool:
    """Whether this command line looks at a swarm once, and ends."""
    return arguments[:1] == ["status"] or (arguments[:1] == ["top"] and "--once" in arguments)


def in_own_session() -> None:
    """Go on in a child that has a session of its own; this process passes signals on to it, and exits as it does.

    Does nothing where it would change nothing. To be called before there are threads.
    """
    if not AUTOGROUP.exists():
        return
    child = os.fork()
    if child == 0:
        os.setsid()
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        if -status in SIGNALS:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
