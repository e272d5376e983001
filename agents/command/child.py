"""The process of one launched `agent` command: a process group and a log of its own, and an end with its launcher."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

log = logging.getLogger("gossamer")

GRACE_S = 10.0
"""How long an agent without a launcher has to save its checkpoint and to leave; then its process group is killed."""


def live(arguments: Sequence[str], log_path: str, lifeline: Connection) -> None:
    """Run one command line to its end, and exit with its status.

    lifeline: the read end of a pipe that nobody writes to, and whose write end the launcher alone holds. It ends when
    the launcher does, however that came about; the kernel's death signal would follow the fork
    server instead.
    """
    threading.Thread(target=_end_with_launcher, args=(lifeline,), name="lifeline", daemon=True).start()
    from setproctitle import setproctitle

    from agents.command.cli import run_command
    from agents.command.sources import LEVEL, PREFIX

    # In a process that a fork server made, that server is the default for its children too. It imports the modules of
    # what they run by name, and a task file has none: a pool of workers would never start.
    multiprocessing.set_start_method(None, force=True)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C reaches the launcher alone.
    with open(log_path, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    setproctitle(" ".join(["agent", *arguments]))
    for name in [name for name in os.environ if name.startswith(PREFIX) and name != LEVEL]:
        del os.environ[name]  # It was the launcher's; our settings stand in the arguments.
    sys.exit(run_command(list(arguments)))


def _end_with_launcher(lifeline: Connection) -> None:
    """Wait until the launcher has ended; then ask this process to stop, and kill it if it doesn't."""
    lifeline.poll(None)
    log.warning("the launcher has ended: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    kill_group(os.getpid())


def kill_group(pid: int) -> None:
    """Kill a process and, where it leads a process group, all that it has started."""
    try:
        if hasattr(os, "getpgid") and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    except ProcessLookupError:
        return  # It ended meanwhile.
