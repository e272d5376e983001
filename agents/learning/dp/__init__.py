"""Differentially private training: clipping, noise, Poisson sampling, and the account of what they cost."""
