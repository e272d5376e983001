"""The ways in which the models of agents make one, beside their mean; and how far apart agents are, layer by layer.

The ensemble adds up what all models give out; the greedy soup is the mean of those that do well together (Wortsman et
al., arXiv 2203.05482).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agents.mixing.layout import Layout
from agents.observe.card import Consensus
from agents.submodel import WHOLE
from agents.tensors import Parameters
from agents.values import SettingsError

if TYPE_CHECKING:
    from agents.observe.evaluation import Judge

Vector = np.ndarray[Any, np.dtype[np.float32]]
Again = Callable[[str], Vector | None]
"""An agent's vector once more, (p,); None where it could not be kept."""

MEAN, SUM, ENSEMBLE, SOUP = "mean", "sum", "ensemble", "soup"
WAYS = (MEAN, SUM, ENSEMBLE, SOUP)


class Soup(NamedTuple):
    """theta: the mean of the models of these agents. accuracy: of it."""

    theta: Vector
    agents: list[str]
    accuracy: float


def layers(
    agents: Mapping[str, float], again: Again, mean: Callable[[str], Vector], parameters: Parameters
) -> dict[str, float]:
    """For each parameter by name, sqrt(mean_i ||theta_i - mean||^2) over its coordinates.

    agents: their weights. mean: the consensus of what an agent holds. parameters: names and shapes of it. The squares
    of all add up to the square of the distance.
    """
    spans = Layout(parameters).spans()
    squares, weight = dict.fromkeys(spans, 0.0), 0.0
    for agent, each in agents.items():
        theta = again(agent)
        if theta is None:
            continue
        apart = theta - mean(agent)
        weight += each
        for name, span in spans.items():
            squares[name] += each * float(np.dot(apart[span], apart[span]))
    return {name: math.sqrt(square / weight) for name, square in squares.items()} if weight else {}


def ensemble(agents: Sequence[str], again: Again, judge: "Judge", capacities: Mapping[str, float]) -> float | None:
    """The accuracy of the sum of what all models give out; None where the task has no predict or no classes."""
    total: np.ndarray[Any, Any] | None = None
    for agent in agents:
        theta = again(agent)
        given = None if theta is None else judge.outputs(theta, capacities[agent])
        if given is None:
            return None
        total = given if total is None else total + given
    return None if total is None else judge.accuracy(total)


def soup(agents: Mapping[str, float], again: Again, judge: "Judge") -> Soup | None:
    """The greedy soup: the best model, and each next one that does no harm to the mean so far; None as for `ensemble`.

    agents: their weights. What does no harm is decided on every other sample of the test data, so that the other half
    has no part in the choice; the accuracy is of all.
    """
    half, scores = slice(0, None, 2), dict[str, float]()
    for agent in agents:
        theta = again(agent)
        score = None if theta is None else _score(judge, theta, half)
        if score is None:
            return None
        scores[agent] = score
    chosen, mean, best, weight = list[str](), np.zeros(0, np.float32), -1.0, 0.0
    for agent in sorted(scores, key=lambda agent: (-scores[agent], agent)):
        theta = again(agent)
        if theta is None:
            return None
        share = agents[agent] / (weight + agents[agent])
        tried = mean + np.float32(share) * (theta - mean) if chosen else theta
        score = _score(judge, tried, half)
        if score is not None and score >= best:
            chosen, mean, best, weight = [*chosen, agent], tried, score, weight + agents[agent]
    accuracy = _score(judge, mean, slice(None)) if chosen else None
    return None if accuracy is None else Soup(mean, chosen, accuracy)


def compared(
    card: Consensus,
    agents: Mapping[str, float],
    again: Again,
    judge: "Judge",
    capacities: Mapping[str, float],
    how: str = MEAN,
) -> Vector:
    """Judge the ensemble and the soup, into the card: the soup's vector, (p,).

    how: which model was asked for. Raises SettingsError if it is the soup and there is none; the card is then still
    that of another.
    """
    card.ensemble_accuracy = ensemble(list(agents), again, judge, capacities)
    found = soup(agents, again, judge) if card.submodel == WHOLE else None
    if found is not None:
        card.soup, card.soup_accuracy = found.agents, found.accuracy
        card.how = SOUP if how == SOUP else card.how
        return found.theta
    if how == SOUP:
        raise SettingsError("--how soup needs a task of classes, with predict and labels y: the file holds the mean")
    return np.zeros(0, np.float32)


def _score(judge: "Judge", theta: Vector, rows: slice) -> float | None:
    outputs = judge.outputs(theta)
    return None if outputs is None else judge.accuracy(outputs, rows)


def check_way(how: str, submodel: str, own: object, judge: "Judge | None") -> None:
    """Raises SettingsError where the models of agents don't make one in this way. own: whether each keeps some."""
    if how == SUM and submodel == WHOLE:
        raise SettingsError(
            "--how sum adds up sub-models of which each has its own part; these agents all hold the whole model: take "
            "--how mean"
        )
    if how in (ENSEMBLE, SOUP) and (submodel != WHOLE or own):
        raise SettingsError(f"--how {how} is for agents that all hold and share the whole model: take --how mean")
    if how in (ENSEMBLE, SOUP) and (judge is None or not judge.evaluates):
        raise SettingsError(f"--how {how} is made by what models do on the task's test data: give --task, and evaluate")


def stacked(agents: Iterable[str], again: Again, parameters: Parameters) -> tuple[Vector, Parameters]:
    """The models of all agents in one file: each parameter with an axis of agents in front, and names and shapes."""
    thetas = [theta for agent in agents if (theta := again(agent)) is not None]
    spans = Layout(parameters).spans()
    theta = np.concatenate([each[span] for span in spans.values() for each in thetas])
    return theta, [(name, (len(thetas), *shape)) for name, shape in parameters]
