"""The consensus model: every agent's vector, streamed one at a time, averaged, judged and written.

Needs memory for two models, whatever the number of agents: the mean so far and the vector that just came.
Reported are the mean of the agents, the best agent and the merged model: one final average often beats every
single agent (arXiv 2507.06542).
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.checkpoint import write_safetensors
from agents.learning.learner import Learner, make_learner
from agents.learning.task import Task, TaskError, load_task
from agents.learning.tasks import BUILT_IN
from agents.mixing.consensus import RunningConsensus
from agents.observer import Observer
from topology.errors import GossamerError
from transport.messages import Welcome

Metrics = dict[str, float]


class NoAgentError(GossamerError, RuntimeError):
    """Nobody's vector could be had."""


class MismatchError(GossamerError, ValueError):
    """The swarm trains another model than the task we were given."""


@dataclass
class Consensus:
    """The card that goes with the merged model. distance: sqrt(mean_i ||theta_i - mean||^2) of those who are in."""

    run: str
    task: str
    agents: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    distance: float = 0.0
    accuracy: float | None = None
    loss: float | None = None
    mean_accuracy: float | None = None
    best_accuracy: float | None = None
    metrics: Metrics = field(default_factory=dict)
    metrics_of: dict[str, Metrics] = field(default_factory=dict)
    parameters: int = 0
    path: str = ""
    assembled: str = ""


def assemble(
    observer: Observer,
    welcome: Welcome,
    judge: "Judge | None",
    out: Path,
    expect: Iterable[str] = (),
    say: Callable[[str], None] = print,
) -> Consensus:
    """Stream, average, evaluate and write. judge None: nothing is evaluated. expect: who should be in, by name.

    out: the safetensors file; its card is written beside it as .json. Raises MismatchError, or NoAgentError if
    nobody's vector could be had.
    """
    if judge is not None:
        judge.check(welcome)
    present = observer.alive()
    wanted = {member.agent: member for member in (*observer.gone(), *present)}
    merged = RunningConsensus(welcome.parameters)
    card = Consensus(welcome.run, wanted[welcome.agent].task if welcome.agent in wanted else "")
    card.parameters = welcome.parameters
    for member in present:
        theta = observer.pull(member, welcome.parameters)
        if theta is None or not np.isfinite(theta).all() or not member.weight > 0:
            why = (
                "its vector did not come"
                if theta is None
                else f"NaN in its vector, or its weight {member.weight} isn't > 0"
            )
            say(f"{member.agent} is missing: {why}")
            continue
        merged.add(theta, member.weight)
        card.agents.append(member.agent)
        card.steps[member.agent] = member.step
        if judge is not None:
            card.metrics_of[member.agent] = judge(theta)
            say(f"{member.agent}: {_line(card.metrics_of[member.agent])}")
    known = {agent for agent, member in wanted.items() if member.state != "left"}
    card.missing = sorted((known | set(expect)) - set(card.agents))
    if not card.agents:
        raise NoAgentError("no agent's vector could be had: there is no consensus to write")
    card.distance = merged.distance
    if judge is not None:
        card.metrics = judge(merged.mean)
        _summarize(card)
    card.path, card.assembled = str(out), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    _write(out, merged.mean, judge.learner if judge else None, card)
    return card


class Judge:
    """Metrics of a vector on the task's test data; compiled when it is made."""

    def __init__(self, task: Task) -> None:
        self.learner: Learner = make_learner(task)
        self._task = task.name
        self._data = jax.device_put({name: np.asarray(value[:]) for name, value in task.test_data.items()})
        self(np.zeros(self.learner.size, np.float32))

    def check(self, welcome: Welcome) -> None:
        """Raises MismatchError if the swarm's model is another."""
        if self.learner.spec_hash != welcome.model:
            raise MismatchError(
                f"the swarm's model has {welcome.parameters} parameters (hash {welcome.model[:8]}), that of task "
                f"{self._task} {self.learner.size} ({self.learner.spec_hash[:8]}): give --task as the swarm has it"
            )

    def __call__(self, theta: np.ndarray[Any, np.dtype[np.float32]]) -> Metrics:
        return self.learner.evaluate(self.learner.unflatten(theta), self._data)


def judge_by_name(names: Iterable[str], data: str | None, welcome: Welcome, say: Callable[[str], None]) -> Judge | None:
    """The judge of the first built-in task of these names whose model the swarm has; None, and a line why, if none is.

    names: what members say they train. A member may say anything, so its word chooses among our own tasks and nothing
    else: no file that it names is opened. data: the path of the data, ours to say as well.
    """
    named = sorted(set(names) - {""})
    built_in = [name for name in named if name in BUILT_IN]
    if not named:
        say("no member says what the swarm trains: pass --task as the swarm has it to evaluate")
    elif not built_in:
        file = Path(named[0]).name[:80]
        say(f"the swarm's task {file!r} is a file: pass --task {file} to evaluate")
    for name in built_in:
        try:
            judge = Judge(load_task(name, data))
            judge.check(welcome)
            return judge
        except (TaskError, MismatchError) as error:
            say(f"not evaluated as task {name}: {error}")
    return None


def _summarize(card: Consensus) -> None:
    card.loss = card.metrics.get("loss")
    card.accuracy = card.metrics.get("accuracy")
    accuracies = [metrics["accuracy"] for metrics in card.metrics_of.values() if "accuracy" in metrics]
    if accuracies:
        card.mean_accuracy = float(np.mean(accuracies))
        card.best_accuracy = max(accuracies)


def _line(metrics: Metrics) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _write(out: Path, theta: np.ndarray[Any, np.dtype[np.float32]], learner: Learner | None, card: Consensus) -> None:
    """The parameters by name where the task says how they are called, as one vector elsewhere."""
    arrays, start = {}, 0
    for parameter in learner.spec if learner else ():
        size = int(np.prod(parameter.shape))
        arrays[parameter.name] = theta[start : start + size].reshape(parameter.shape)
        start += size
    facts = asdict(card)
    order = [list(parameter) for parameter in learner.spec] if learner else []
    write_safetensors(out, arrays or {"theta": theta}, {"gossamer": json.dumps(facts), "parameters": json.dumps(order)})
    out.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
