"""The mean of many samples, estimated by SGD and gossip: RelaySum (arXiv 2110.04175), appendix, figure 9.

Each agent takes a sample of N(0, 1) a step, x += (sample - x) / t, and mixes with its neighbors. The mean over n agents
is then the mean of all n T samples, of variance 1 / nT: the speed-up is linear in n (Lian et al. 2017, arXiv
1705.09056). Of the agents' own, T x(T) = sum_s W^(T-s+1) sample(s), and the mean variance is sum_k tr W^(2k) / (n T^2),
k from 1 to T.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from literature_row import NO, YES, Row, listed, spread

from agents import Task
from sim import sweep
from topology import metropolis_hastings, ring

NAME = "mean"
COORDINATES = 500
"""Independent estimates side by side, as one model."""


def errors(agents: int, rounds: int, seeds: Any, **how: Any) -> tuple[Any, Any]:
    """Mean squared errors of the mean over agents, and of the agents, over COORDINATES estimates: (seeds,) each."""

    def loss(params: Any, batch: Any, key: Any) -> Any:
        sample = jax.random.normal(key, (COORDINATES,), jnp.float32)
        return 0.5 * ((params["x"] - sample) ** 2).sum()

    rows = {"nothing": np.zeros((agents, 1), np.float32)}
    task = Task(
        lambda key: {"x": jnp.zeros(COORDINATES, jnp.float32)},
        loss,
        lambda params, batch: {"error": (params["x"] ** 2).mean()},
        train=rows,
        test=rows,
        batch_size=1,
        optimizer=optax.sgd(lambda step: 1 / (step + 1)),
        name="mean",
    )
    histories = sweep(task, seeds=seeds, agents=agents, rounds=rounds, eval_every=rounds, progress=False, **how)
    theta = np.array([history.theta for history in histories.values()], float)
    return (theta.mean(1) ** 2).mean(1), (theta**2).mean((1, 2))


def variance_of_one(agents: int, rounds: int) -> float:
    """Of an agent's own estimate on a ring."""
    squares = np.linalg.eigvalsh(metropolis_hastings(ring(agents)).toarray()) ** 2
    powers = squares[:, None] ** np.arange(1, rounds + 1)
    return float(powers.sum()) / (agents * rounds**2)


def rows(show: Callable[[str], None], seeds: Any = range(5), sizes: Any = (8, 32, 128)) -> list[Row]:
    """What docs/literature.md shows."""
    rounds, found = 400, []
    sure = 5 * np.sqrt(2 / (COORDINATES * len(seeds)))  # Five standard deviations of a mean of squares.
    for agents in sizes:
        merged, own = errors(agents, rounds, seeds, topology="ring", protocol="synchronous")
        exchanged, _ = errors(agents, rounds, seeds, topology="complete")
        merged, own, exchanged = (error * agents * rounds for error in (merged, own, exchanged))
        law = variance_of_one(agents, rounds) * agents * rounds
        cases = (
            ("mean of agents, synchronous, ring", "1 (figure 9's line 1/nT)", merged, 1.0, sure),
            ("one agent, synchronous, ring", f"{law:.3g} (closed form of its gossip)", own / law, 1.0, sure),
            ("mean of agents, zero-sum exchanges, complete", "1", exchanged, 1.0, sure + 0.02),
        )
        for case, reported, ratio, expected, within in cases:
            shown = ratio * law if case.startswith("one") else ratio
            found.append(
                Row(
                    reproduction=NAME,
                    case=f"error times nT, n = {agents}, T = {rounds}: {case}",
                    reported=reported,
                    ours=spread(shown, ".4g"),
                    seeds=f"{len(seeds)}, {COORDINATES} estimates each",
                    match=YES if abs(ratio.mean() - expected) < within else NO,
                    why=f"yes: within {100 * within:.0f}%, five standard deviations of chi^2",
                    values={"error times nT": listed(shown)},
                )
            )
        show(f"{agents} agents: {found[-3].ours}, {found[-2].ours} ({law:.3g}), {found[-1].ours}")
    return found
