"""The compiled program of synchronous gossip: in each round all agents train, then all mix, Theta <- W Theta."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from agents.learning.learner import Learner
from agents.mixing.codecs import FLOAT32
from agents.mixing.exchange import apply, difference
from sim.device.evaluation import evaluator, keep
from sim.device.lanes import rows_of
from sim.device.population import Array, Inputs, Population, Static
from sim.device.training import trainer
from sim.sources.synchronous import Neighborhoods


@lru_cache(maxsize=8)
def rounds_program(learner: Learner, static: Static) -> Any:
    """run(population, mixing, rows, first, rounds, snapshot, inputs) -> population, jitted.

    theta (agents, P). mixing: as `mix` takes it. rows int32 (R, agents, local_steps, batch_size). first: number of the
    first round. snapshot (R,): which is taken after each round, -1 for none.
    """
    train_all, evaluate = trainer(learner, static), evaluator(learner, static)

    @partial(jax.jit, donate_argnums=0)
    def run(
        population: Population, mixing: Any, rows: Array, first: Array, rounds: Array, snapshot: Array, inputs: Inputs
    ) -> Population:
        agents = jnp.arange(population.theta.shape[0])

        def one_round(r: Array, population: Population) -> Population:
            if static.local_steps:
                batch = lax.dynamic_index_in_dim(rows, r, keepdims=False)
                step = jnp.full(agents.shape, (first + r) * static.local_steps)
                theta, opt_state, losses = train_all(
                    population.theta, population.opt_state, batch, agents, step, inputs
                )
                population = population._replace(theta=theta, opt_state=opt_state, losses=losses)
            theta, mixed = population.theta, mix(mixing, population.theta, first + r)
            if static.parts.keeps:
                each = jnp.tile(static.parts.exchanged, len(learner.rule.vectors))
                mixed = jnp.where(each, mixed, theta)
            population = population._replace(theta=mixed)
            measured = lax.cond(
                snapshot[r] >= 0,
                lambda population: evaluate(population, snapshot[r], agents, inputs),
                lambda population: population.measured,
                population,
            )
            return population._replace(measured=measured, kept=keep(population, snapshot[r], agents, inputs))

        return lax.fori_loop(0, rounds, one_round, population)

    return run


def mix(mixing: Any, theta: Array, round: Array) -> Array:
    """W Theta for the matrix of this round, of each group: theta (agents, P)."""
    if not isinstance(mixing, Neighborhoods):
        W = lax.dynamic_index_in_dim(mixing, round % mixing.shape[0], keepdims=False)
        groups = theta.reshape(*W.shape[:2], -1)
        return jnp.matmul(W, groups, precision=lax.Precision.HIGHEST).reshape(theta.shape)
    r = round % mixing.weights.shape[0]
    neighbors, weights = (lax.dynamic_index_in_dim(part, r, keepdims=False) for part in mixing)
    mixed = theta
    for k in range(weights.shape[1]):
        mixed = apply(mixed, weights[:, k, None], difference(FLOAT32, theta, rows_of(theta, neighbors[:, k]))[1])
    return mixed
