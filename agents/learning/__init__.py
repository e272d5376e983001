"""Training: a task, its data, and the learner made of them. JAX, optax and NumPy; of ours `topology.errors` alone."""
