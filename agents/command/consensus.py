"""`agent consensus`: the merged model of a running swarm, or of what a swarm has saved."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from agents import settings
from agents.command.flags import Join, Json, Securing, Timeout
from agents.command.judging import judge_of_swarm, judged_by
from agents.command.output import print_json, reserved
from agents.observe.assemble import Source, assemble
from agents.observe.card import check_out
from agents.observe.folders import FolderSource
from agents.observe.nested_folders import padded
from agents.observe.observer import Observer, observing
from agents.observe.streaming import EQUAL_S, SwarmSource
from agents.securing import credentials
from agents.values import SettingsError

log = logging.getLogger("gossamer")

LOOK_S = 0.05
ABSENT_S = 5.0
"""How long those who have finished wait with us for someone expected that was never seen."""


def consensus(
    *folders: Annotated[Path, Parameter(name="DIR", show_default=False)],
    securing: Securing = settings.Securing(),
    join: Join = (),
    saved: Annotated[tuple[Path, ...], Parameter(name="--from", show_default=False)] = (),
    out: Path = Path("consensus.safetensors"),
    task: str | None = None,
    data: str | None = None,
    expect: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    how: Literal["mean", "sum", "ensemble", "soup"] = "mean",
    evaluate: bool = True,
    compare: bool = True,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> int:
    """Average the vectors of all agents, write the merged model, and evaluate it.

    Parameters:
        folders: In place of --join: folders of runs or of single agents, whose checkpoints are assembled.
        saved: Such a folder, by flag, in place of --join as well; more than one may be given.
        out: The safetensors file to write; a card is written beside it as .json.
        task: The swarm's task. Needed if it is a file: none is loaded because a member names it, built-in tasks are.
        data: Where the task's data lies, if not where it looks by itself.
        expect: An agent that should be in, by name, and counts as missing otherwise; more than one may be given.
        how: Which model to write: the weighted mean; the sum of sub-models, of which each has its own part; the
            ensemble, all models, whose outputs are added up; or the soup, the mean of those that do well together.
        evaluate: Judge each agent and the merged model on the task's test data.
        compare: Judge the ensemble and the soup as well, which takes as long again.
        wait: Wait until every agent has finished training; Ctrl-C ends the wait.
    """
    folders = (*folders, *saved)
    if bool(folders) == bool(join):
        came = "both" if join else "neither"
        raise SettingsError(
            f"`agent consensus` takes --join ADDRESS of a running swarm or the folders of an ended one: got {came}"
        )
    if folders and wait:
        raise SettingsError("--wait is for a running swarm: leave it out, or give --join in place of folders")
    if folders and securing.given:
        raise SettingsError(f"--{min(securing.given)} is for a running swarm: leave it out where folders are assembled")
    check_out(out)

    judged = judged_by(task, data, evaluate)
    with reserved(as_json), ExitStack() as stack:
        source: Source
        if folders:
            source = FolderSource(folders, log.info)
            judge = judged(source.tasks, source.model, source.parameters, source.submodel, source.width)
            source = padded(source, judge)
        else:
            observer, welcome = stack.enter_context(observing(join, timeout, credentials(securing, join, agent=False)))
            judge, welcome = judge_of_swarm(observer, welcome, judged)
            if wait:
                _wait(observer, set(expect))
            source = stack.enter_context(SwarmSource(observer, welcome, expect, _made(out.parent)))
        card = assemble(source, judge, out, expect, log.info, how, compare)
    if as_json:
        print_json(card.plain())
    else:
        print(*card.lines(), f"written to {card.path}", sep="\n")
    return 0


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wait(observer: Observer, expected: set[str]) -> None:
    """Until nobody alive trains any more, all are equal, and the expected were seen; Ctrl-C ends the wait.

    They are met one by one, so that they stay for us. Someone expected but never seen is waited for a little.
    """
    finished_s = None
    with _interruptible() as interrupted:
        while not interrupted:
            alive = observer.alive()
            observer.watch(member.address for member in alive)
            seen = {member.agent for member in (*alive, *observer.gone())}
            if observer.all_finished():
                finished_s = finished_s or time.monotonic()
                waited_s = time.monotonic() - finished_s
                if (expected <= seen or waited_s > ABSENT_S) and (observer.all_equal() or waited_s > EQUAL_S):
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
