"""`agent consensus`: the merged model of a running swarm."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agents.command.flags import Join, Json, Timeout
from agents.observer import Observer, observing
from agents.protocol.membership import FINISHED

log = logging.getLogger("gossamer")


def consensus(
    *,
    join: Join,
    out: Path = Path("consensus.safetensors"),
    task: str | None = None,
    data: str | None = None,
    expect: Annotated[tuple[str, ...], Parameter(help="Agents that should be in, by name.")] = (),
    evaluate: bool = True,
    wait: bool = False,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> int:
    """Stream every agent's vector, average, evaluate, and write the merged model.

    Parameters
    ----------
    out: The safetensors file to write; a card is written beside it as .json.
    task: The swarm's task, if it is not called here as it is called there.
    data: Where the task's data lies.
    evaluate: Judge each agent and the merged model on the task's test data.
    wait: Wait until every agent has finished training.
    """
    with observing(join, timeout) as (observer, welcome):
        from agents.assemble import Judge, assemble
        from agents.learning.task import load_task

        names = {member.task for member in observer.alive() if member.task}
        chosen = task or next(iter(sorted(names)), None)
        judge = Judge(load_task(chosen, data)) if evaluate and chosen else None
        if wait:
            _wait(observer, set(expect))
        card = assemble(observer, welcome, judge, out, expect, log.info)
    if as_json:
        print(json.dumps(asdict(card)), flush=True)
        return 0
    missing = f", missing: {', '.join(card.missing)}" if card.missing else ""
    print(f"{len(card.agents)} agents{missing}; consensus distance {card.distance:.4g}")
    if card.accuracy is not None:
        print(
            f"accuracy: mean of agents {card.mean_accuracy:.4f}, best agent {card.best_accuracy:.4f}, "
            f"merged {card.accuracy:.4f}"
        )
    print(f"written to {card.path}")
    return 0


def _wait(observer: Observer, expected: set[str]) -> None:
    """Until all expected agents were seen and everyone alive trains no more; Ctrl-C ends the wait."""
    try:
        while True:
            alive = observer.alive()
            seen = {member.agent for member in (*alive, *observer.gone())}
            if expected <= seen and alive and all(member.state in FINISHED for member in alive):
                return
            observer.refresh()
            time.sleep(0.05)
    except KeyboardInterrupt:
        log.info("not waiting any longer: assembling what there is")
