"""JAX in its strictest mood: an implicit promotion of dtypes or ranks fails."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
