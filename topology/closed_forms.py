"""Spectra known in closed form: rho, the second largest |eigenvalue|, under Metropolis-Hastings weights.

A grid has none: its border's weights differ from those inside. Use `rho(metropolis_hastings(grid(rows, cols)))`.
"""

from __future__ import annotations

import math

from topology.errors import need, need_whole


def torus_rho(rows: int, cols: int) -> float:
    """Largest |1 + d_r cos(2 pi a / rows) + d_c cos(2 pi b / cols)| / (1 + d_r + d_c) but for a = b = 0.

    d: a node's neighbors along an axis: 2, or 1 on a side of 2, or 0. For an m x m torus, (3 + 2 cos(2 pi / m)) / 5.
    """
    rows = need_whole("torus_rho", "rows", rows)
    cols = need_whole("torus_rho", "cols", cols)
    sides = [side for side in (rows, cols) if side > 1]
    degrees = [min(side - 1, 2) for side in sides]
    total = sum(degrees)
    slowest = [total + d * (math.cos(2 * math.pi / side) - 1) for d, side in zip(degrees, sides, strict=True)]
    lowest = sum(d * math.cos(2 * math.pi * (side // 2) / side) for d, side in zip(degrees, sides, strict=True))
    return max((abs(1 + value) / (1 + total) for value in [*slowest, lowest]), default=0.0) if sides else 0.0


def ring_rho(n: int) -> float:
    """(1 + 2 cos(2 pi / n)) / 3 for n >= 3."""
    n = need_whole("ring_rho", "n", n)
    return torus_rho(1, n)


def path_rho(n: int) -> float:
    """(1 + 2 cos(pi / n)) / 3 for n >= 3, as W = I - L / 3; below that the path is complete."""
    n = need_whole("path_rho", "n", n)
    return (1 + 2 * math.cos(math.pi / n)) / 3 if n > 2 else 0.0


def star_rho(n: int) -> float:
    """1 - 1 / n for n >= 3; below that the star is complete."""
    n = need_whole("star_rho", "n", n)
    return 1 - 1 / n if n > 2 else 0.0


def complete_rho(n: int) -> float:
    """0: one round makes all equal."""
    n = need_whole("complete_rho", "n", n)
    return 0.0


def hypercube_rho(dimension: int) -> float:
    """(dimension - 1) / (dimension + 1)."""
    dimension = need_whole("hypercube_rho", "dimension", dimension, 0)
    return (dimension - 1) / (dimension + 1) if dimension else 0.0


def exponential_rho(n: int) -> float:
    """1 - 2 / (1 + ceil(log2 n)) for even n (Ying et al. 2021, arXiv 2110.13363); TopologyError for odd n."""
    n = need_whole("exponential_rho", "n", n)
    need(n % 2 == 0, "exponential_rho is known for even n; for odd n compute rho(W)", n=n)
    return 1 - 2 / (1 + (n - 1).bit_length())
