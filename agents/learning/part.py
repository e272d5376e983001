"""Which leaves of the params an agent trains, or which coordinates of them, where each trains a part of the model."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.learning.task import Params


class Part(NamedTuple):
    """The agent of shard s trains the leaves of block s mod `parts`, and those of no block. The others are frozen.

    blocks: of each leaf in order, -1 for none. shard: of the one agent that is compiled for, which then computes no
    gradient of what it freezes; None if it is known only where the program runs, as of many simulated agents at once.
    """

    blocks: tuple[int, ...]
    parts: int
    shard: int | None = None

    def trained(self, shard: Any) -> list[Any]:
        """Whether the agent of this shard trains each leaf: bool, or a boolean scalar where the shard is traced."""
        own = (shard if self.shard is None else self.shard) % self.parts
        return [True if block < 0 else block == own for block in self.blocks]

    def frozen(self, params: Params, shard: Any) -> Params:
        """The same params, through whose frozen leaves no gradient comes."""
        return self._where(params, jax.tree.map(lax.stop_gradient, params), shard)

    def kept(self, after: Params, before: Params, shard: Any) -> Params:
        """The params after a step, with those from before it where they are frozen."""
        return self._where(after, before, shard)

    def _where(self, trained: Params, frozen: Params, shard: Any) -> Params:
        def chosen(flag: Any, ours: Any, theirs: Any) -> Any:
            if isinstance(flag, bool):
                return ours if flag else theirs
            return jnp.where(flag, ours, theirs)

        flags = jax.tree.unflatten(jax.tree.structure(trained), self.trained(shard))
        return jax.tree.map(chosen, flags, trained, frozen)


class Levels(NamedTuple):
    """The simulated agent of number i trains the coordinates up to its level, and those beyond stay what they are, 0.

    needed: from which level on each coordinate is held, an array of each leaf's shape. own: the level of each agent.
    The same interface as `Part`.
    """

    needed: tuple[np.ndarray[Any, np.dtype[np.int8]], ...]
    own: tuple[int, ...]

    def frozen(self, params: Params, shard: Any) -> Params:
        """The same params, through whose coordinates beyond the agent's level no gradient comes."""
        return self.kept(params, jax.tree.map(lax.stop_gradient, params), shard)

    def kept(self, after: Params, before: Params, shard: Any) -> Params:
        """The params after a step, with those from before it beyond the agent's level."""
        own, tree = jnp.asarray(self.own, jnp.int8)[shard], jax.tree.structure(after)
        held = jax.tree.unflatten(tree, [jnp.asarray(needed) <= own for needed in self.needed])
        return jax.tree.map(jnp.where, held, after, before)
