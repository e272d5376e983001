"""How far an optimizer goes for a gradient of one, found by giving it a parameter of its own with that gradient.

So a rule's part in a step can be in the units of a gradient, whatever the optimizer and its schedule are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

HORIZON = 1000
"""How many first local steps `longest` looks at."""


def start(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    """The optimizer's state for that parameter, a float32 scalar."""
    return optimizer.init(jnp.zeros((), jnp.float32))


def step(optimizer: optax.GradientTransformationExtraArgs, state: Any) -> tuple[jax.Array, Any]:
    """The next update of that parameter, float32 and with its sign, and the state after it."""
    one = jnp.ones((), jnp.float32)
    update, state = optimizer.update(one, state, jnp.zeros((), jnp.float32), value=one, grad=one)
    return update.astype(jnp.float32), state


def longest(optimizer: optax.GradientTransformationExtraArgs) -> jax.Array:
    """The largest step, of the first HORIZON, that the optimizer takes for a gradient of one."""

    def further(k: Any, found: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        update, state = step(optimizer, found[1])
        return jnp.maximum(found[0], jnp.abs(update)), state

    with jax.numpy_dtype_promotion("standard"):  # As a step is taken.
        first = jnp.zeros((), jnp.float32), start(optimizer)
        found: jax.Array = lax.fori_loop(0, HORIZON, further, first)[0]
    return found


def works(optimizer: optax.GradientTransformationExtraArgs) -> bool:
    """Whether the optimizer can be applied to a single number.

    One that is made for a certain pytree, or searches along a line, can't, and may raise anything then.
    """
    try:
        jax.eval_shape(lambda: longest(optimizer))
    except Exception:
        return False
    return True
