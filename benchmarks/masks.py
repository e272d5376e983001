"""What --mask hides of an agent from its neighbor, and what it costs: digits, a ring of 8 agents.

Agents train and exchange by the formulas of live agents, in one process. The neighbor keeps all that it sees of one
agent over many exchanges: the agent's masked vector each time, and the differences that both applied since. What it
finds out is the best linear combination of these, of its own vectors and of its own training, with the coefficients
that fit the truth best, which no real neighbor knows: so no linear estimate is better.

best_estimate: of the vector, RMS error of a coordinate; own_vector: that of taking one's own for it. update, updates:
which part, in RMS, of what the agent learned locally since its last exchange, or in the last 12 rounds, stays unknown.
at_rest: after 24 more rounds in which nobody trains. agents_accuracy: before the exact finish, which isn't masked.

    python benchmarks/masks.py --json
"""

import json
from typing import Any, NamedTuple

import jax
import numpy as np
from command import parser_of

from agents.learning.data import batch_rows, labels_or_count, load_rows, shard_rows
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.mixing.codecs import FLOAT32
from agents.mixing.consensus import RunningConsensus
from agents.mixing.exchange import answer, rate
from agents.mixing.privacy import mask, shown

AGENTS, ROUNDS, STEPS, RESTS = 8, 40, 10, 24
VICTIM, NEIGHBOR = 0, 1
MEMORY = 12
"""How many exchanges back the neighbor looks."""


LEARNER = make_learner(load_task("digits"), total_steps=ROUNDS * STEPS)


class Seen(NamedTuple):
    """What the neighbor learned in one exchange. vector: the victim's, masked; moved: the victim's known part since."""

    vector: np.ndarray
    moved: np.ndarray


class Swarm:
    """Agents whose exchanges are masked at this scale."""

    def __init__(self, scale: float, seed: int) -> None:
        task, self.learner = load_task("digits"), LEARNER
        train = task.train_data
        rows = [shard_rows("iid", labels_or_count(train), AGENTS, agent, seed) for agent in range(AGENTS)]
        self._sizes = [len(each) for each in rows]
        self._data = [jax.device_put(load_rows(train, each)) for each in rows]
        self._states = [self.learner.init(seed) for _ in range(AGENTS)]
        self.theta = np.stack([np.asarray(self.learner.flatten(state.params)) for state in self._states])
        self._scale, self._seed, self._random = scale, seed, np.random.default_rng(seed)
        self._batch, self._step = task.batch_size, 0
        self.test = {name: np.asarray(field[:]) for name, field in task.test_data.items()}
        self.seen: list[Seen] = []
        self._before = [self.theta.copy()]
        self._learned: list[np.ndarray] = []

    def train(self) -> None:
        """STEPS local steps of each agent."""
        for agent in range(AGENTS):
            rows = batch_rows(self._seed, agent, self._step, STEPS, self._batch, self._sizes[agent])
            state = self.learner.replace(self._states[agent], self.theta[agent])
            state, _ = self.learner.train(
                state, self._data[agent], rows, np.int32(agent), np.int32(self._step), None, np.uint32(self._seed)
            )
            self._states[agent], self.theta[agent] = state, np.asarray(self.learner.flatten(state.params))
        self._step += STEPS
        self._learned = [*self._learned[1 - MEMORY :], self.theta - self._before[-1]]

    def exchange(self) -> None:
        """Each agent begins an exchange with one of its two neighbors, in random order."""
        for i in self._random.permutation(AGENTS):
            j = (i + self._random.choice([-1, 1])) % AGENTS
            offered = FLOAT32.offer(self._shown(i), ())
            _, d = answer(FLOAT32, self._shown(j), offered)
            step = np.float32(rate(0.5, 1.0, 1.0)) * d
            if {i, j} == {VICTIM, NEIGHBOR}:
                shown, moved = (offered, step) if i == VICTIM else (offered + d, -step)
                self.seen = [each._replace(moved=each.moved + moved) for each in self.seen[1 - MEMORY :]]
                self.seen.append(Seen(shown, np.array(moved)))
            self.theta[i] += step
            self.theta[j] -= step
        self._before = [*self._before[-MEMORY:], self.theta.copy()]

    def _shown(self, agent: int) -> np.ndarray:
        return shown(self.theta[agent].copy(), mask(self.theta.shape[1], self._scale))

    def estimated(self) -> float:
        """RMS over coordinates of the error of the neighbor's best estimate of the victim's vector."""
        return self._unknown(self.theta[VICTIM])

    def updates(self, rounds: int) -> float:
        """Which part of the victim's local training in the last rounds the neighbor can't estimate, in RMS."""
        learned = np.sum(self._learned[-rounds:], axis=0)
        return self._unknown(learned[VICTIM], learned[NEIGHBOR]) / rms(learned[VICTIM])

    def _unknown(self, truth: np.ndarray, *more: np.ndarray) -> float:
        own = [before[NEIGHBOR] for before in self._before]
        known = np.stack([*own, *more, *(each.vector + each.moved for each in self.seen)], axis=1, dtype=np.float64)
        best, *_ = np.linalg.lstsq(known, truth, rcond=None)
        return rms(known @ best - truth)

    def judged(self, theta: np.ndarray) -> float:
        """Test accuracy."""
        return float(self.learner.evaluate(self.learner.unflatten(theta), self.test)["accuracy"])


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def measure(scale: float, seed: int) -> dict[str, float]:
    """One run: while agents train (the mean over its second half), and after RESTS more exchanges without training."""
    swarm = Swarm(scale, seed)
    errors, apart, distances, updates = [], [], [], []
    for number in range(ROUNDS):
        swarm.train()
        swarm.exchange()
        if number >= ROUNDS // 2:
            errors.append(swarm.estimated())
            apart.append(rms(swarm.theta[VICTIM] - swarm.theta[NEIGHBOR]))
            distances.append(distance(swarm.theta))
            updates.append([swarm.updates(1), swarm.updates(MEMORY)])
    trained = [swarm.judged(theta) for theta in swarm.theta]
    merged = swarm.judged(swarm.theta.mean(axis=0))
    before = swarm.theta.mean(axis=0, dtype=np.float64)
    for _ in range(RESTS):
        swarm.exchange()
    return {
        "scale": scale,
        "own_vector": np.mean(apart),
        "best_estimate": np.mean(errors),
        "best_estimate_at_rest": swarm.estimated(),
        "update": np.mean([one for one, _ in updates]),
        "updates": np.mean([many for _, many in updates]),
        "distance": np.mean(distances),
        "agents_accuracy": np.mean(trained),
        "merged_accuracy": merged,
        "mean_moved": rms(swarm.theta.mean(axis=0, dtype=np.float64) - before),
    }


def distance(theta: np.ndarray) -> float:
    """The consensus distance."""
    running = RunningConsensus(theta.shape[1])
    for each in theta:
        running.add(each, 1.0)
    return running.distance


def main() -> None:
    """Measure, and print one line a scale or one JSON object."""
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3])
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for scale in options.scales:
        runs = [measure(scale, seed) for seed in range(options.repeats)]
        found.append({name: float(f"{np.mean([run[name] for run in runs]):.4g}") for name in runs[0]})
        if not options.json:
            print("  ".join(f"{name} {value:g}" for name, value in found[-1].items()), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
