"""`agent run`: one agent on this machine."""

import logging
import signal
import sys
from dataclasses import asdict, replace

from agents import settings
from agents.command.flags import Gossiping, Json, Learning, Placing, Resume
from agents.command.interruption import handling
from agents.command.output import print_json, reserved
from agents.fields import SettingsError

log = logging.getLogger("gossamer")


def run(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    placing: Placing = settings.Placing(),
    *,
    resume: Resume = None,
    as_json: Json = False,
) -> int:
    """Train here, gossip with the swarm, and leave when everyone has finished."""
    from agents.agent import Agent

    if not learning.task and not placing.join:
        raise SettingsError("--task is missing: name a task, or give --join to take over that of a swarm")
    if resume is not None:
        if placing.run_dir is not None:
            raise SettingsError(f"--resume {resume} goes on in that folder: leave --run-dir {placing.run_dir} out")
        placing = replace(placing, run_dir=resume)
    if not sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    agent: Agent | None = None
    interrupted: list[int] = []

    def on_signal(number: int, _: object) -> None:
        interrupted.append(number)
        if agent is None or len(interrupted) > 1:
            raise KeyboardInterrupt
        log.info("stopping: saving a checkpoint and leaving (again to stop at once)")
        agent.halt()

    with reserved(as_json), handling(on_signal):
        try:
            agent = Agent(learning, gossiping, placing)
        except KeyboardInterrupt:  # Nothing has begun.
            return _status(interrupted)
        report = agent.run()
    if as_json:
        print_json(asdict(report))
    return _status(interrupted)


def _status(interrupted: list[int]) -> int:
    return 130 if signal.SIGINT in interrupted else 0
