"""Asks a swarm to end: every agent saves and leaves."""

import os
import time
from pathlib import Path

from agents.observe.observer import Observer
from topology.errors import GossamerError
from transport.messages import AgentId, Member, Stop

LEAVE_S = 20.0
"""How long agents may take to complete their exchanges, to save and to leave."""


class StillThere(GossamerError, RuntimeError):
    """Agents go on though they were asked to stop. One line: who, and what to do."""

    code = "G306"


def stop(observer: Observer, timeout_s: float = LEAVE_S) -> list[Member]:
    """Ask everyone that is alive to save and to leave, until all have: who was asked. Raises StillThere.

    An agent passes the request on to its peers. It has left when its state is "left", or when its process, which was
    seen on this machine, has ended: those that pass on its record leave as well.
    """
    deadline_s = time.monotonic() + timeout_s
    asked: dict[AgentId, Member] = {}
    here: set[AgentId] = set()
    while True:
        for member in observer.alive():
            if member.agent not in asked and exists(member.report.pid):
                here.add(member.agent)
            asked[member.agent] = member
        left = {member.agent for member in observer.gone() if member.state == "left"}
        left |= {agent for agent in here if not exists(asked[agent].report.pid)}
        there = [member for agent, member in sorted(asked.items()) if agent not in left]
        if not there:
            return list(asked.values())
        if time.monotonic() > deadline_s:
            names = ", ".join(f"{member.agent} (process {member.report.pid})" for member in there)
            raise StillThere(
                f"{len(there)} of {len(asked)} are not known to have left after {timeout_s:g} s: {names:.500}; who "
                "listens on more than 127.0.0.1 takes no such request: send it SIGTERM where it runs"
            )
        observer.send_all(Stop())
        observer.refresh(0.5)
        time.sleep(0.05)


def exists(pid: int) -> bool:
    """Whether a process of this id runs; one that has ended and that nobody has waited for doesn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return ") Z" not in stat.read_text(errors="replace")
    except OSError:
        return not stat.parent.parent.exists()  # No /proc on this system; or the process ended meanwhile.
