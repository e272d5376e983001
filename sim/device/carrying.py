"""What is taken from the device so that another run goes on, and how it begins there (`sim.ending`)."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.learner import Learner
from sim.checks import SimulationError
from sim.device.lanes import rows_of
from sim.device.population import Measured, Population, Static
from sim.device.training import codec_state, starting
from sim.ending import FURTHER, IN_FLIGHT, LEARNED, LOSSES, OPTIMIZER, Ending

MOST_SHARE = 0.25
"""Of the memory that this machine has free, what an ending may take."""


def taken(population: Population, slots: np.ndarray, agents: int, size: int) -> dict[str, np.ndarray] | None:
    """The arrays of an ending, of versions in these slots, the agents' own first; None if they take too much.

    size: of theta, which a history has anyway.
    """
    kept = population.opt_state, population.losses
    rows = jax.eval_shape(lambda: rows_of_all((population.theta, population.learned), slots))
    if sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((kept, rows))) > MOST_SHARE * _free_here():
        return None
    learned = rows_of_all(population.learned, slots)
    arrays = {IN_FLIGHT: rows_of(population.theta, slots[agents:]), LOSSES: population.losses}
    if population.theta.shape[1] > size:
        arrays[FURTHER] = rows_of(population.theta, slots[:agents])[:, size:]
    for kind, tree in ((OPTIMIZER, population.opt_state), (LEARNED, learned)):
        arrays |= {f"{kind}{k:04d}": _data(leaf) for k, leaf in enumerate(jax.tree.leaves(tree))}
    return {name: np.array(array) for name, array in jax.device_get(arrays).items()}  # JAX sorts them by name.


def rows_of_all(tree: Any, slots: np.ndarray) -> Any:
    """These rows of every array."""
    return jax.tree.map(lambda leaf: rows_of(leaf, slots), tree)


def begun(learner: Learner, theta: np.ndarray, ending: Ending, static: Static, put: Callable[[Any], Any]) -> Population:
    """The population that goes on from an ending; nothing is measured yet. theta (agents, P): the agents' models."""
    own = np.concatenate([theta, ending.arrays[FURTHER]], axis=1) if FURTHER in ending.arrays else theta
    everything = np.concatenate([own, ending.arrays[IN_FLIGHT].reshape(-1, learner.width)])
    first = jax.ShapeDtypeStruct(theta.shape, jnp.float32)
    expected = jax.eval_shape(partial(starting, learner), first) if static.local_steps else ()
    rows = jax.ShapeDtypeStruct(everything.shape, jnp.float32)
    learned = jax.eval_shape(partial(codec_state, learner, static), rows)
    return Population(
        put(everything),
        _filled(expected, ending.of(OPTIMIZER), put),
        put(ending.arrays[LOSSES]),
        Measured(None, None, {}, {}),
        _filled(learned, ending.of(LEARNED), put),
    )


def check_optimizer(learner: Learner, agents: int, local_steps: int, ending: Ending) -> None:
    """Raise SimulationError unless the learner's optimizer keeps what the ending holds of it."""
    theta = jax.ShapeDtypeStruct((agents, learner.size), jnp.float32)
    leaves = jax.tree.leaves(jax.eval_shape(lambda theta: starting(learner, theta), theta)) if local_steps else []
    found = list(ending.of(OPTIMIZER).values())
    ours = [(_shape(leaf), str(jax.eval_shape(_data, leaf).dtype)) for leaf in leaves]
    theirs = [(array.shape, str(array.dtype)) for array in found]
    if ours != theirs:
        raise SimulationError(
            f"a run goes on with the optimizer that it had: its state was {len(theirs)} arrays in the history to "
            f"resume, and is {len(ours)} here, or of other shapes"
        )


def _filled(expected: Any, arrays: dict[str, np.ndarray], put: Callable[[Any], Any]) -> Any:
    """A pytree of these shapes, with these leaves."""
    leaves, structure = jax.tree.flatten(expected)
    given = [_key(leaf, put(array)) for leaf, array in zip(leaves, arrays.values(), strict=True)]
    return jax.tree.unflatten(structure, given)


def _data(leaf: Any) -> Any:
    """An array as NumPy holds it: random keys as their numbers."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _key(leaf: Any, array: Any) -> Any:
    """An array as one like this leaf, or its shape: numbers of random keys as keys of its kind."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return array
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(jnp.empty(0, leaf.dtype)))


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(jax.eval_shape(_data, leaf).shape)


def _free_here() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return float("inf")
