"""Bounds of what agents publish of their models, for who checks it and computes nothing: no NumPy comes with them."""

MAX_WEIGHT = 2.0**53
"""Of one agent: no shard holds more samples, and sums of weights stay finite."""

MOST_NAMED = 63
"""Parameters with a figure of their own, the largest; all others have one together."""

MOST_CHARACTERS = 96
"""Of a name: a parameter with a longer one, or one that can't be printed, is among the others."""
