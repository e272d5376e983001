"""Differentially private training: per-example clipping, noise, Poisson sampling, and an account of the budget."""
