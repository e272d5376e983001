"""`agent run`: one agent on this machine."""

import json
import logging
import signal
from dataclasses import asdict

from agents import settings
from agents.command.flags import Gossiping, Json, Learning, Placing
from agents.fields import SettingsError
from agents.jsonable import jsonable

log = logging.getLogger("gossamer")


def run(
    learning: Learning = settings.Learning(),
    gossiping: Gossiping = settings.Gossiping(),
    placing: Placing = settings.Placing(),
    *,
    as_json: Json = False,
) -> int:
    """Train here, gossip with the swarm, and leave when everyone has finished."""
    from agents.agent import Agent

    if not learning.task and not placing.join:
        raise SettingsError("--task is missing: name a task, or give --join to take over that of a swarm")
    agent = Agent(learning, gossiping, placing)
    interrupted: list[int] = []

    def on_signal(number: int, _: object) -> None:
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(number)
        log.info("stopping: saving a checkpoint and saying goodbye (again to stop at once)")
        agent.halt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    report = agent.run()
    if as_json:
        print(json.dumps(jsonable(asdict(report)), allow_nan=False), flush=True)
    return 130 if signal.SIGINT in interrupted else 0
