"""`agent consensus`: the merged model of a running swarm."""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agents.command.flags import Join, Json, Timeout
from agents.observer import Observer, observing
from agents.protocol.membership import FINISHED

log = logging.getLogger("gossamer")

LOOK_S = 0.05
ABSENT_S = 5.0
"""How long those who have finished wait with us for someone expected that was never seen."""


def consensus(
    *,
    join: Join,
    out: Path = Path("consensus.safetensors"),
    task: str | None = None,
    data: str | None = None,
    expect: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    evaluate: bool = True,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> int:
    """Stream every agent's vector, average, evaluate, and write the merged model.

    Parameters:
        out: The safetensors file to write; a card is written beside it as .json.
        task: The swarm's task. Needed if it is a file: none is loaded because a member names it, built-in tasks are.
        data: Where the task's data lies, if not where it looks by itself.
        expect: An agent that should be in, by name, and counts as missing otherwise; more than one may be given.
        evaluate: Judge each agent and the merged model on the task's test data.
        wait: Wait until every agent has finished training; Ctrl-C ends the wait.
    """
    with observing(join, timeout) as (observer, welcome):
        from agents.assemble import Judge, assemble, judge_by_name
        from agents.learning.task import load_task

        judge = None
        if evaluate and task is not None:
            judge = Judge(load_task(task, data))
        elif evaluate:
            judge = judge_by_name((member.task for member in observer.alive()), data, welcome, log.info)
        observer.watch(member.address for member in observer.alive())
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
    """Until nobody alive trains any more and the expected were seen; Ctrl-C ends the wait.

    They are met one by one, so that they stay for us. Someone expected but never seen is waited for a little.
    """
    finished_s = None
    with _interruptible() as interrupted:
        while not interrupted:
            alive = observer.alive()
            observer.watch(member.address for member in alive)
            seen = {member.agent for member in (*alive, *observer.gone())}
            if all(member.state in FINISHED for member in alive):
                finished_s = finished_s or time.monotonic()
                if expected <= seen or time.monotonic() - finished_s > ABSENT_S:
                    return
            else:
                finished_s = None
            observer.refresh()
            time.sleep(LOOK_S)
    log.info("not waiting any longer: assembling what there is")


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Ctrl-C fills the list instead of raising."""
    interrupted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
