"""What the models of a running swarm show: pulled now and then, in a thread and on connections of its own.

Whoever pulls costs the agents the bytes of their models, so the next time is the later, the longer the last one took;
agents that have finished are let alone, as they wait for whoever assembles their consensus.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from agents.dashboard.story import MAX_BYTES, Models
from agents.observe.errors import NoVector
from agents.observe.layers import by_layer
from agents.observe.observer import Observer, observing
from agents.observe.records import weighs
from agents.observe.streaming import chunks_of_whole, shared_out_by
from agents.tensors import Vector
from topology.errors import GossamerError
from transport.credentials import Credentials
from transport.messages import Member, Welcome

if TYPE_CHECKING:
    from agents.observe.evaluation import Judge

log = logging.getLogger("gossamer")

SHARE = 0.05
"""Of the time, for pulling and judging: on one machine both take from the agents."""

LOOK_S = 1.0


class Asked(NamedTuple):
    """How often our user wants models, in seconds, and by which task and data they are judged."""

    every_s: float
    task: str | None = None
    data: str | None = None


class Pulling(threading.Thread):
    """Pulls and judges until `stop`."""

    def __init__(self, join: Sequence[str], credentials: Credentials | None, asked: Asked) -> None:
        super().__init__(name="pulling", daemon=True)
        self._join, self._credentials, self._asked = join, credentials, asked
        self._over = threading.Event()
        self._made: tuple[float, Models] | None = None

    @property
    def models(self) -> Models | None:
        """The last ones; None before there were any."""
        if self._made is None:
            return None
        made_s, models = self._made
        return replace(models, age_s=time.monotonic() - made_s)

    def run(self) -> None:
        """Until `stop`, or until it fails, which costs the page these pictures alone."""
        try:
            with observing(self._join, LOOK_S * 30, self._credentials) as (observer, welcome):
                self._pull(observer, welcome)
        except GossamerError as error:
            log.warning("the models aren't shown: %s", error)
        except Exception:
            log.warning("the models aren't shown any more", exc_info=True)

    def stop(self) -> None:
        """Pull no more."""
        self._over.set()

    def _pull(self, observer: Observer, welcome: Welcome) -> None:
        if not (chunks := chunks_of_whole(welcome)):
            log.info("agents hold parts of the model, or keep some to themselves: their models aren't shown")
            return
        judge = self._judge(observer, welcome)
        while judge is not None and not self._over.is_set():
            observer.refresh()  # While the last ones were judged, records have grown old.
            observer.reach()
            if observer.alive() and observer.all_finished():
                return
            trained = training(observer)
            if 4 * welcome.parameters * len(trained) > MAX_BYTES:
                log.info("all models together are more than %d MB: they aren't shown", MAX_BYTES >> 20)
                return
            began_s = time.monotonic()
            vectors = {member.agent: self._vector(observer, welcome, member, chunks) for member in trained}
            models = {str(agent): theta for agent, theta in vectors.items() if theta is not None}
            if len(models) > 1:
                self._made = time.monotonic(), judged(trained, models, judge)
            took_s = time.monotonic() - began_s
            self._over.wait(max(self._asked.every_s, took_s / SHARE))

    def _judge(self, observer: Observer, welcome: Welcome) -> "Judge | None":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # The accelerator is the agents'.
        from agents.observe.evaluation import judge_of, judging

        observer.reach()
        submodel, width = shared_out_by(welcome)
        while not (names := {member.report.task for member in observer.alive()} - {""}):
            observer.refresh()
            if self._over.wait(LOOK_S):
                return None
        made = partial(judging, width=width, submodel=submodel, evaluates=True)
        task, data = self._asked.task, self._asked.data
        return judge_of(task, data, names, welcome.model, welcome.parameters, log.info, made)

    def _vector(self, observer: Observer, welcome: Welcome, member: Member, chunks: Sequence[slice]) -> Vector | None:
        try:
            return None if self._over.is_set() else observer.pull(member, welcome.parameters, chunks)
        except NoVector as error:
            log.debug("%s: %s", member.agent, error)
            return None


def training(observer: Observer) -> list[Member]:
    """Those whose models may be pulled, and weighed against each other: nobody, once all have finished."""
    there = [m for m in observer.alive() if m.state == "training" and m.report.step]
    return [] if observer.all_finished() else [*filter(weighs, there)]


def judged(members: Sequence[Member], models: dict[str, Vector], judge: "Judge") -> Models:
    """What these models, by agent, show."""
    weights = {str(member.agent): member.report.weight for member in members}
    steps = [member.report.step for member in members if member.agent in models]
    parameters = [(each.name, each.shape) for each in judge.held]
    mean, layers = by_layer(models, weights, parameters)
    each = {agent: judge.of_agent(theta) for agent, theta in models.items()}
    return Models(round(sum(steps) / len(steps)), 0.0, tuple(models), layers, judge(mean), each)
