"""How far agents are apart, and where they stand to each other, from their sketches (docs/theory.md 32).

Agents train on while sketches travel, so two of different steps would differ by what training did in between. Each
agent therefore keeps the last few of every other, made at steps that all pass, and compares those of one step.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Course = list[tuple[int, float]]
"""(step, consensus distance), step by step."""


class Made(NamedTuple):
    """A sketch and the step at which it was made. values: (BUCKETS,). still: its agent has taken no step lately."""

    step: int
    still: bool
    values: Any


def at_one_step(made: Mapping[str, Sequence[Made]]) -> dict[str, Made]:
    """Of each agent's sketches, oldest first, the one closest to the step that all have reached and most have kept.

    An agent that stands still is as it is at any step: its last one counts. One that is so far behind that no other has
    kept a sketch of its step doesn't hold up the choice.
    """
    last = {agent: each[-1] for agent, each in made.items() if each}
    moving = {agent: made[agent] for agent, newest in last.items() if not newest.still}
    if not moving:
        return last
    kept = median_low(each[0].step for each in moving.values())
    reached = min(each[-1].step for each in moving.values() if each[-1].step >= kept)
    held = Counter(one.step for each in moving.values() for one in each if one.step <= reached)
    step = max(held, key=lambda step: (held[step], step))
    near = {agent: min(each, key=lambda one: (abs(one.step - step), -one.step)) for agent, each in moving.items()}
    return last | near


class Estimate(NamedTuple):
    """How far agents are from agreeing. distance: the consensus distance; to_mean: how far each is from the mean.

    agents: in the order of `sketches`, (agents, BUCKETS), those that were compared.
    """

    agents: tuple[str, ...]
    sketches: Array
    to_mean: dict[str, float]
    distance: float


def estimated(
    made: Mapping[str, Sequence[Made]], weights: Mapping[str, float], parts: Mapping[str, Any] | None = None
) -> Estimate | None:
    """The estimate that follows from the sketches of these agents' models; None of fewer than two.

    made: by agent, the last few, oldest first. weights: > 0, by agent. parts: which subnetwork each trains, where they
    train several: only those of the same are compared, each with the mean of its own.
    """
    return _estimate(at_one_step({agent: made[agent] for agent in made if agent in weights}), weights, parts)


def course(
    made: Mapping[str, Sequence[Made]], weights: Mapping[str, float], parts: Mapping[str, Any] | None = None
) -> Course:
    """The consensus distance at each step of which all that train have kept a sketch; arguments as of `estimated`."""
    last = {agent: each[-1] for agent, each in made.items() if each and agent in weights}
    kept = [{one.step: (agent, one) for one in made[agent]} for agent, newest in last.items() if not newest.still]
    found = []
    for step in sorted(set.intersection(*map(set, kept))) if kept else ():
        estimate = _estimate(last | dict(each[step] for each in kept), weights, parts)
        if estimate is not None:
            found.append((step, estimate.distance))
    return found


def _estimate(
    chosen: Mapping[str, Made], weights: Mapping[str, float], parts: Mapping[str, Any] | None
) -> Estimate | None:
    if len(chosen) < 2:
        return None
    agents = tuple(sorted(chosen))
    sketches = np.stack([np.asarray(chosen[agent].values, np.float64) for agent in agents])
    weighs = np.array([weights[agent] for agent in agents])
    far = np.zeros(len(agents))
    of_part = [(parts or {}).get(agent) for agent in agents]
    for part in set(of_part):
        at = [index for index, other in enumerate(of_part) if other == part]
        far[at] = to_mean(sketches[at], weighs[at])
    return Estimate(agents, sketches, dict(zip(agents, far.tolist(), strict=True)), consensus(far, weighs))


def pairwise(sketches: Array) -> Array:
    """The distance of each two: (agents, BUCKETS) -> (agents, agents)."""
    return np.stack([np.linalg.norm(sketches - each, axis=1) for each in sketches])


def to_mean(sketches: Array, weights: Array) -> Array:
    """How far each is from the weighted mean of all, (agents,). weights: (agents,), > 0."""
    return np.asarray(np.linalg.norm(sketches - weights @ sketches / weights.sum(), axis=1), np.float64)


def consensus(to_mean: Array, weights: Array) -> float:
    """The consensus distance sqrt(mean_i ||theta_i - mean||^2), from the distances to the mean, (agents,)."""
    return float(np.sqrt(weights @ to_mean**2 / weights.sum()))


def mapped(distances: Array) -> Array:
    """Points in a plane whose distances come closest to these: (agents, agents) -> (agents, 2), classical scaling.

    The mean is at 0, the first axis is the longest, and of each axis the largest coordinate is positive.
    """
    centered = distances**2
    centered = centered - centered.mean(axis=0) - centered.mean(axis=1)[:, None] + centered.mean()
    values, vectors = np.linalg.eigh(-centered / 2)
    points = np.zeros((len(distances), 2))
    for axis, which in enumerate(np.argsort(values)[::-1][:2]):
        line = vectors[:, which] * np.sqrt(max(0.0, values[which]))
        points[:, axis] = line * (1 if line[np.argmax(np.abs(line))] >= 0 else -1)
    return points
