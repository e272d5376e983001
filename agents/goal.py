"""What evaluations of an agent's own model have shown so far, and whether it votes to stop.

An agent votes to stop once its best score fulfills --stop-when, or once --patience evaluations in a row were no better
than its best. It never takes its vote back, so all agents count the same votes in the end, whatever arrives when. The
swarm stops when more than half of those that take part have voted: a liar has one vote, as anybody has.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agents.finite import LOSS_LIMIT
from agents.protocol.membership import ABSENT
from agents.settings import Learning
from agents.values import Condition, SettingsError
from transport.messages import Member

BY_DEFAULT = {"accuracy": True, "loss": False}
"""Metric by which models are compared where --stop-when names none, the first that a task has: larger is better?"""


@dataclass(frozen=True)
class Goal:
    """By which metric an agent's models are compared, and when it votes to stop.

    larger: whether larger scores are better. within: so many evaluations a better one must come; None for any number.
    """

    metric: str
    larger: bool
    condition: Condition | None = None
    within: int | None = None

    def better(self, score: float, best: float | None) -> bool:
        """Whether a score is better than the best so far, None if there was none; what is not finite never is."""
        return math.isfinite(score) and (best is None or (score > best if self.larger else score < best))


def goal_of(learning: Learning, task: str, metrics: Collection[str]) -> Goal | None:
    """What these settings ask for; None where nothing is evaluated while training.

    metrics: the names of the task's. Raises SettingsError if it doesn't have the one of --stop-when.
    """
    if learning.evaluate_every is None:
        return None
    condition, within = learning.stop_when, learning.patience
    if condition is None:
        metric = next(name for name in BY_DEFAULT if name in metrics)
        return Goal(metric, BY_DEFAULT[metric], None, within)
    if condition.metric not in metrics:
        raise SettingsError(
            f"--stop-when {condition}: task {task} has no metric {condition.metric!r}: it has {', '.join(metrics)}"
        )
    return Goal(condition.metric, condition.larger, condition, within)


@dataclass(frozen=True)
class Scores:
    """An agent's scores in the metric of its goal.

    last: of the last evaluation, None before the first. best: of all, None before there is a finite one. worse:
    evaluations since the best one. votes: whether the agent votes to stop.
    """

    goal: Goal
    last: float | None = None
    best: float | None = None
    worse: int = 0
    votes: bool = False

    def after(self, score: float) -> "Scores":
        """With one evaluation more."""
        goal = self.goal
        if goal.better(score, self.best):
            votes = self.votes or (goal.condition is not None and goal.condition.holds(score))
            return replace(self, last=score, best=score, worse=0, votes=votes)
        worse = self.worse + 1
        return replace(self, last=score, worse=worse, votes=self.votes or (goal.within or math.inf) <= worse)

    def record(self) -> dict[str, Any]:
        """As fields of a member's record (`transport.messages.Report`): of a score that isn't finite, LOSS_LIMIT.

        Before the first evaluation there is no metric in it, which says that there is no score.
        """
        if self.last is None:
            return {"votes": self.votes}
        best = LOSS_LIMIT if self.best is None else self.best
        return {"metric": self.goal.metric, "score": _finite(self.last), "best": best, "votes": self.votes}

    def facts(self) -> dict[str, Any]:
        """For a checkpoint, as JSON holds them; `resumed` reads them."""
        last = None if self.last is None else _finite(self.last)
        return {"goal": _text(self.goal), "last": last, "best": self.best, "worse": self.worse, "votes": self.votes}

    @classmethod
    def resumed(cls, goal: Goal, saved: Mapping[str, Any]) -> "Scores":
        """As they were saved, unless that was by another metric. saved: the facts of a checkpoint.

        By the same metric the best stays the best; whether the agent votes follows from the goal that it has now.
        """
        facts = saved.get("evaluation", {})
        if facts.get("goal", "").split(" ")[:2] != _text(goal).split(" ")[:2]:
            return cls(goal)
        found = cls(goal, facts.get("last"), facts["best"], facts["worse"], facts["votes"])
        if facts["goal"] == _text(goal):
            return found
        fulfilled = found.best is not None and goal.condition is not None and goal.condition.holds(found.best)
        return replace(found, votes=fulfilled or (goal.within or math.inf) <= found.worse)


def voted(others: Iterable[Member], mine: bool) -> tuple[int, int]:
    """How many agents vote to stop, and how many take part: those that hold a vector.

    mine: whether we do, who may have decided since our record was published.
    """
    there = [member for member in others if member.state not in ABSENT]
    return mine + sum(member.report.votes for member in there), 1 + len(there)


def is_majority(votes: int, members: int) -> bool:
    """Whether the swarm stops: more than half want it."""
    return 2 * votes > members


def _text(goal: Goal) -> str:
    return f"{goal.metric} {'max' if goal.larger else 'min'} {goal.condition} {goal.within}"


def _finite(score: float) -> float:
    """What travels: only finite numbers do (`agents.finite`)."""
    return score if math.isfinite(score) else LOSS_LIMIT
