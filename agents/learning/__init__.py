"""What is said: the task, its data, and the learner that trains it. JAX, optax and NumPy; nothing else of ours."""
