"""Rows of arrays by index, and a function of every lane of a wave: vmapped, chunked, shared out among devices."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from agents.mixing.blocks import OWN
from sim.device.population import Array, Static


def rows_of(array: Array, index: Array) -> Array:
    """array[index] without a check of bounds."""
    return array.at[index].get(mode="promise_in_bounds")


def put_rows(array: Array, index: Array, rows: Array) -> Array:
    """Rows written at index; those beyond the end are dropped. No two go to the same place."""
    return array.at[index].set(rows, mode="drop", unique_indices=True)


def each_lane(function: Any, lanes: Any, data: Any, static: Static) -> Any:
    """function(lane, data) of every lane: vmapped, at most `chunk` at a time, shared out among the devices."""
    count = len(jax.tree.leaves(lanes)[0])
    if static.mesh is not None:
        missing = -count % static.mesh.size
        whole = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1].repeat(missing, 0)]), lanes)
        over, everywhere = PartitionSpec("agents"), PartitionSpec()
        alone = partial(each_lane, function, static=static._replace(mesh=None))
        parts = jax.shard_map(alone, mesh=static.mesh, in_specs=(over, everywhere), out_specs=over, check_vma=False)(
            whole, data
        )
        replicated = NamedSharding(static.mesh, everywhere)
        return jax.tree.map(lambda leaf: lax.with_sharding_constraint(leaf, replicated)[:count], parts)

    def one(lane: Any) -> Any:
        return function(lane, data)

    if static.chunk == 1:
        return lax.map(one, lanes)  # Not vmapped: a convolution of many filters by many agents is slow on a CPU.
    if static.chunk >= count:
        return jax.vmap(one)(lanes)
    return lax.map(one, lanes, batch_size=static.chunk)


def by_coordinate(coefficient: Array, static: Static) -> Array:
    """A factor for each coordinate of each lane, from one for each lane (L,), or each lane and block (L, K).

    (L, 1) where all coordinates have the same, else (L, P); 0 where they are each agent's own.
    """
    if static.parts.blocks is None:
        return coefficient[:, None]
    factors = (
        coefficient if coefficient.ndim == 2 else jnp.repeat(coefficient[:, None], static.parts.blocks.count, axis=1)
    )

    def of(run: slice, block: int) -> Array:
        one = jnp.zeros_like(factors[:, :1]) if block == OWN else factors[:, block : block + 1]
        return jnp.broadcast_to(one, (len(factors), run.stop - run.start))

    return jnp.concatenate([of(run, block) for run, block in static.parts.blocks.runs], axis=1)
