"""How far an optimizer goes for a gradient of one, found by giving it a parameter of its own with that gradient.

So a rule's part in a step can be in the units of a gradient, whatever the optimizer and its schedule are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

FIRST, MOST = 1000, 100_000
"""How many local steps `longest` looks at, at least and at most."""

NOTABLY = 1.01
"""How many times as long as the first ones a later step must be to count: more than what rounding makes of a constant
rate, so what is found of that doesn't depend on how long a run is."""


def start(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    """The optimizer's state for that parameter, a float32 scalar."""
    return optimizer.init(jnp.zeros((), jnp.float32))


def step(optimizer: optax.GradientTransformationExtraArgs, state: Any) -> tuple[jax.Array, Any]:
    """The next update of that parameter, float32 and with its sign, and the state after it."""
    one = jnp.ones((), jnp.float32)
    update, state = optimizer.update(one, state, jnp.zeros((), jnp.float32), value=one, grad=one)
    return update.astype(jnp.float32), state


def longest(optimizer: optax.GradientTransformationExtraArgs, steps: int | None = None) -> jax.Array:
    """The largest step that the optimizer takes for a gradient of one: a float32 scalar, 0 or more.

    steps: of the run. It is looked for among so many, though FIRST at least and MOST at most.
    """

    def further(k: Any, found: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        update, state = step(optimizer, found[1])
        return jnp.maximum(found[0], jnp.abs(update)), state

    with jax.numpy_dtype_promotion("standard"):  # As a step is taken.
        first = lax.fori_loop(0, FIRST, further, (jnp.zeros((), jnp.float32), start(optimizer)))
        later = lax.fori_loop(FIRST, min(max(steps or 0, FIRST), MOST), further, first)
    return jnp.where(later[0] > NOTABLY * first[0], later[0], first[0])


def works(optimizer: optax.GradientTransformationExtraArgs) -> bool:
    """Whether the optimizer can be applied to a single number.

    One that is made for a certain pytree, or searches along a line, can't, and may raise anything then.
    """
    try:
        jax.eval_shape(lambda: longest(optimizer))
    except Exception:
        return False
    return True
