"""JAX in its strictest mood: an implicit promotion of dtypes or ranks fails. No test asserts on time."""

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("whatever the machine does meanwhile", deadline=None)
hypothesis.settings.load_profile("whatever the machine does meanwhile")
