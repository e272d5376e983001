"""An agent judges its own model on held-out data: while it trains, whenever that is due, and at the end.

What is judged is published and can be restored before: a metric that fails costs a line in the log. Nothing is drawn
from the randomness of training, and no step of it changes: where evaluations fall between two chunks of steps, they
are taken at the boundary that follows.
"""

import logging
import math
import time
from typing import Any

import numpy as np

from agents.bookkeeping import Bookkeeping
from agents.goal import Scores, is_majority, voted
from agents.learning.errors import TaskError, cause
from agents.learning.step import TrainState
from agents.peer import Peer
from agents.prepare import Prepared
from agents.schedule import Schedule, schedule_of
from agents.trainer import Progress
from agents.values import Every
from agents.view import View

log = logging.getLogger("gossamer")


class Evaluator:
    """Judges an agent's model while it trains, keeps the best one, and finds when the swarm stops.

    books: what is written. every: how often; None for never. saved: the facts of the checkpoint that is gone on from.
    """

    def __init__(self, prepared: Prepared, books: Bookkeeping, every: Every | None, saved: dict[str, Any]) -> None:
        self._prepared, self._books = prepared, books
        self._schedule: Schedule | None = None if every is None else schedule_of(every, time.monotonic())
        self._step: int = saved.get("step", 0)
        self._scores = None if prepared.goal is None else Scores.resumed(prepared.goal, saved)
        books.scores = saved.get("evaluation", {}) if self._scores is None else self._scores.facts()
        self._began = self._failed = False
        self._seen: View | None = None
        self.stopped = ""
        """Why the swarm stops, in words; "" as long as it doesn't."""

    def after_steps(self, peer: Peer, state: TrainState, progress: Progress) -> None:
        """Called at each boundary: everything that is written, and an evaluation if one is due."""
        self._books.after_steps(peer, state, progress)
        before, self._step = self._step, progress.step
        if self._schedule is not None and self._schedule.due(before, progress.step, time.monotonic()):
            self._evaluate(peer, state, progress)

    def agreed(self, peer: Peer) -> bool:
        """Whether the swarm stops: more than half of those that take part vote for it."""
        view = peer.view()
        if view is not self._seen and not self.stopped:
            self._seen = view
            votes, members = voted(view.others, self._scores is not None and self._scores.votes)
            if is_majority(votes, members):
                self.stopped = f"{votes} of {members} agents vote to stop: ending at step {peer.step}"
        return bool(self.stopped)

    def at_end(self, state: TrainState) -> tuple[dict[str, float], TaskError | None]:
        """Metrics on the test data, or what the task's own functions failed with: no reason to leave at once."""
        try:
            return evaluated(self._prepared, state, self._prepared.task.test_data), None
        except TaskError as error:
            return {}, error

    def _evaluate(self, peer: Peer, state: TrainState, progress: Progress) -> None:
        if not self._began:
            self._began = True
            self._books.save(peer, state)  # Before the task's own functions run on it.
        name, data = self._prepared.task.held_out
        try:
            metrics = evaluated(self._prepared, state, data)
        except TaskError as error:
            if not self._failed:
                self._failed = True
                log.warning("step %d: %s; training goes on, without its evaluation", progress.step, error)
            return
        log.info("step %d: %s", progress.step, shown(name, metrics))
        self._books.measure(progress, peer.view(), measured(name, metrics))
        self._take(peer, state, metrics)

    def _take(self, peer: Peer, state: TrainState, metrics: dict[str, float]) -> None:
        """The scores with these; the best model is kept."""
        if self._scores is None:
            return
        before, goal = self._scores, self._scores.goal
        self._scores = before.after(metrics.get(goal.metric, math.nan))
        self._books.scores = self._scores.facts()
        peer.report(**self._scores.record())
        if self._scores.best != before.best:
            self._books.save_best(peer, state)
        if self._scores.votes and not before.votes:
            self._seen = None  # What stopped nobody before may do so with our vote.
            log.info("%s is %.4g: voting to stop", goal.metric, self._scores.last)


def evaluated(prepared: Prepared, state: TrainState, data: Any) -> dict[str, float]:
    """Metrics of a model on this data. Raises TaskError, which names what the task's own functions failed with."""
    rows = {name: np.asarray(field[:]) for name, field in data.items()}
    try:
        return dict(prepared.learner.evaluate(state.params, rows))
    except Exception as error:
        raise TaskError(f"the metrics of task {prepared.task.name} failed: {cause(error)}") from error


def measured(data: str, metrics: dict[str, float]) -> dict[str, float]:
    """As a line of metrics holds them: "test_accuracy" of the accuracy on test data."""
    return {f"{data}_{name}": value for name, value in metrics.items()}


def shown(data: str, metrics: dict[str, float]) -> str:
    """For people: each metric with its value, after the name of the data."""
    return ", ".join(f"{data} {name} {value:.4g}" for name, value in metrics.items())
