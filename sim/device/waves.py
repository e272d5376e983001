"""The compiled program that runs a tape's waves: gather rows, mix or train them, scatter them back.

theta (slots, P) holds every version that is still read, `learned` what the codec knew there; opt_state and losses hold
a row for each agent. Each step scatters into the same, donated buffers.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.learning.learner import Learner
from agents.mixing.codecs import FLOAT32
from agents.mixing.exchange import apply, difference
from sim.device.coding import codec_for
from sim.device.evaluation import evaluator, keep
from sim.device.lanes import by_coordinate, put_rows, rows_of
from sim.device.population import Array, Inputs, Population, Static
from sim.device.training import trainer
from sim.scheduling import Waves


class DeviceWaves(NamedTuple):
    """`Waves` as the device reads them, with the slots of a step's snapshot beside the step."""

    mix_cur: Array
    mix_a: Array
    mix_b: Array
    mix_out: Array
    mix_coefficient: Array
    mix_adopts: Array
    train_cur: Array
    train_out: Array
    train_agent: Array
    train_step: Array
    snapshot: Array
    snapshots: Array


def for_device(waves: Waves, steps: int, rows: np.ndarray, first: int) -> tuple[DeviceWaves, np.ndarray]:
    """A tape's waves and batches, with room for so many steps. first: number of the tape's first snapshot."""
    beside = np.zeros((len(waves.snapshot), waves.snapshots.shape[1]), np.int32)
    taken = waves.snapshot >= 0
    beside[taken] = waves.snapshots[waves.snapshot[taken]]
    waves = waves._replace(snapshot=np.where(taken, waves.snapshot + first, -1), snapshots=beside)
    padding = steps - len(taken)

    def padded(column: np.ndarray) -> np.ndarray:
        return np.pad(column, [(0, padding)] + [(0, 0)] * (column.ndim - 1))

    return DeviceWaves(*(padded(getattr(waves, name)) for name in DeviceWaves._fields)), padded(rows)


@lru_cache(maxsize=8)
def tape_program(learner: Learner, static: Static) -> Any:
    """run(population, waves, rows, steps, inputs) -> population, jitted.

    rows: int32 (steps, train, local_steps, batch_size).
    """
    train_all, evaluate = trainer(learner, static), evaluator(learner, static)
    codec = codec_for(static.codec, learner)
    spans = [slice(v * learner.size, (v + 1) * learner.size) for v in range(len(learner.rule.vectors))]

    @partial(jax.jit, donate_argnums=0)
    def run(population: Population, waves: DeviceWaves, rows: Array, steps: Array, inputs: Inputs) -> Population:
        def one_step(s: Array, population: Population) -> Population:
            now = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, s, keepdims=False), waves)
            theta, learned = population.theta, population.learned
            for q in range(now.mix_cur.shape[0]):
                cur, a, b = (rows_of(theta, read[q]) for read in (now.mix_cur, now.mix_a, now.mix_b))
                offering, own = (_rows(learned, read[q]) for read in (now.mix_a, now.mix_cur))
                coefficient, adopts = now.mix_coefficient[q], now.mix_adopts[q]
                began = coefficient > 0 if coefficient.ndim == 1 else (coefficient > 0).any(axis=1)
                factor, shown = by_coordinate(coefficient, static), static.parts.shown
                outs, kept = [], []
                for v, (offered, mine) in enumerate(zip(offering, own, strict=True)):
                    cur_v, a_v, b_v = (rows[:, spans[v]] for rows in (cur, a, b))
                    answered, d = difference(codec, shown(a_v), shown(b_v), offered)
                    if static.adopts:
                        d = jnp.where(adopts[:, None], difference(FLOAT32, shown(a_v), shown(b_v))[1], d)
                    outs.append(apply(cur_v, factor, d))
                    kept.append(codec.learn(mine, answered, shown(outs[-1]), began))
                    if static.adopts:
                        kept[-1] = _where(adopts, codec.begin(shown(outs[-1])), kept[-1])
                theta = put_rows(theta, now.mix_out[q], outs[0] if len(outs) == 1 else jnp.concatenate(outs, axis=1))
                learned = _put(learned, now.mix_out[q], tuple(kept))
            population = population._replace(theta=theta, learned=learned)
            if static.local_steps:
                opt_state = _rows(population.opt_state, now.train_agent)
                batch = lax.dynamic_index_in_dim(rows, s, keepdims=False)
                before = rows_of(theta, now.train_cur)
                new = train_all(before, opt_state, batch, now.train_agent, now.train_step, inputs)
                who = jnp.where(now.train_out < theta.shape[0], now.train_agent, now.train_out)
                population = population._replace(
                    theta=put_rows(theta, now.train_out, new[0]),
                    learned=_put(learned, now.train_out, _rows(learned, now.train_cur)),
                    opt_state=_put(population.opt_state, who, new[1]),
                    losses=put_rows(population.losses, who, new[2]),
                )
            measured = lax.cond(
                now.snapshot >= 0,
                lambda population: evaluate(population, now.snapshot, now.snapshots, inputs),
                lambda population: population.measured,
                population,
            )
            kept = keep(population, now.snapshot, now.snapshots, inputs)
            return population._replace(measured=measured, kept=kept)

        return lax.fori_loop(0, steps, one_step, population)

    return run


def _rows(tree: Any, index: Array) -> Any:
    return jax.tree.map(lambda leaf: rows_of(leaf, index), tree)


def _put(tree: Any, index: Array, rows: Any) -> Any:
    return jax.tree.map(lambda leaf, row: put_rows(leaf, index, row), tree, rows)


def _where(lanes: Array, those: Any, others: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.where(lanes[:, None], one, other), those, others)
