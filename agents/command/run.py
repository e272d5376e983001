"""`agent run`: one agent on this machine."""

import logging
import signal
import time
from dataclasses import asdict, replace

from agents import settings
from agents.command import logs
from agents.command.flags import Gossiping, Json, Learning, Placing, Resume, Securing
from agents.command.interruption import DOUBLED_S, handling
from agents.command.output import print_json, reserved
from agents.values import SettingsError

log = logging.getLogger("gossamer")


def run(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    placing: Placing = settings.Placing(),
    securing: Securing = settings.Securing(),
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
    logs.configure(placing.log)
    agent: Agent | None = None
    interrupted: list[int] = []
    asked_s = time.monotonic()

    def on_signal(number: int, _: object) -> None:
        nonlocal asked_s
        before_s, asked_s = asked_s, time.monotonic()
        interrupted.append(number)
        if agent is None or not agent.live:
            raise KeyboardInterrupt
        if len(interrupted) == 1:
            log.info("stopping: saving a checkpoint and leaving (Ctrl-C again to stop at once)")
            agent.halt()
        elif number == signal.SIGINT and asked_s - before_s > DOUBLED_S:
            raise KeyboardInterrupt  # Any other signal that comes again, as a supervisor's may, is the same request.

    with reserved(as_json), handling(on_signal):
        try:
            agent = Agent(learning, gossiping, placing, securing)
            logs.named(agent.name)
            report = agent.run()
        except KeyboardInterrupt:
            if agent is not None and agent.live:
                raise
            return _status(interrupted)  # Nothing has begun.
    if as_json:
        print_json(asdict(report))
    return _status(interrupted)


def _status(interrupted: list[int]) -> int:
    return 130 if signal.SIGINT in interrupted else 0
