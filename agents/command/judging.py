"""The judge of a running swarm's model: made while its agents see that somebody is here, who waits for them."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from agents.observe.observer import Observer
from agents.observe.streaming import shared_out_by
from agents.submodel import needs_task
from transport.messages import Welcome

if TYPE_CHECKING:
    from agents.observe.evaluation import Judge

log = logging.getLogger("gossamer")

LOOK_S = 0.05

Judged = Callable[[Iterable[str], str, int, str, float], "Judge | None"]
"""(names of tasks, hash of the model, parameters, submodel, width) -> the judge, None if there is none to be had."""


def judged_by(task: str | None, data: str | None, evaluate: bool = True) -> Judged:
    """How the judge is made. task, data: as our user gave them. evaluate: whether there is anything to judge."""

    def judged(names: Iterable[str], model: str, parameters: int, submodel: str, width: float) -> "Judge | None":
        if not evaluate and not needs_task(submodel):
            return None
        from agents.observe.evaluation import judge_of, judging  # JAX takes a second, in which agents may leave.

        made = partial(judging, width=width, submodel=submodel, evaluates=evaluate)
        return judge_of(task, data, names, model, parameters, log.info, made)

    return judged


def judge_of_swarm(observer: Observer, welcome: Welcome, judged: Judged) -> "tuple[Judge | None, Welcome]":
    """The judge, and the welcome of an agent whose model it judges. Raises MismatchError if no agent has it."""
    observer.reach()
    tasks, how = {member.report.task for member in observer.alive()}, shared_out_by(welcome)
    judge = _while_watching(observer, partial(judged, tasks, welcome.model, welcome.parameters, *how))
    if judge is not None:
        observer.reach()
        hash = judge.model
        same = (each for each in observer.welcomes() if (each.model, shared_out_by(each)) == (hash, how))
        welcome = next(same, welcome)
        judge.check(welcome.model, welcome.parameters)
    return judge, welcome


def _while_watching(observer: Observer, work: "Callable[[], Judge | None]") -> "Judge | None":
    """What the work gives. It may take long; meanwhile the agents see that we are here, and stay."""
    done: Future[Judge | None] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # Raised where it is waited for.
            done.set_exception(error)

    Thread(target=run, name="judge", daemon=True).start()
    while not done.done():
        observer.refresh()
        wait_for([done], LOOK_S)
    return done.result()
