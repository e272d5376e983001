"""`agent run`: one agent on this machine."""

import json
import logging
import signal
from dataclasses import asdict

from agents.command.flags import Json
from agents.jsonable import jsonable
from agents.settings import Gossiping, Learning, Placing

log = logging.getLogger("gossamer")


def run(
    learning: Learning,
    gossiping: Gossiping = Gossiping(),  # noqa: B008 - frozen
    placing: Placing = Placing(),  # noqa: B008 - frozen
    *,
    as_json: Json = False,
) -> int:
    """Train here, gossip with the swarm, and leave when everyone has finished."""
    from agents.runtime import Agent

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
