"""Masks: noise on what an agent shows of its vector in an exchange, which leaves the mean where it was (DESIGN 1.2).

    i -> j   offer    o = theta_i + m_i
    j -> i   answer   d = (theta_j + m_j) - o              both apply this same d, noise included

So w_i theta_i + w_j theta_j stays what it was, and each side sees the other's vector only through its mask.
"""

import os
from typing import Any

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float32]]


def mask(size: int, scale: float) -> Vector | None:
    """N(0, scale^2) in each of so many coordinates; None for a scale of 0. scale: in the units of theta."""
    return normal(size) * np.float32(scale) if scale > 0 else None


def shown(theta: Vector, mask: Vector | None) -> Vector:
    """What others see of theta (n,): a masked copy, or theta itself if there is no mask."""
    return theta if mask is None else theta + mask


def normal(size: int) -> Vector:
    """Standard normal numbers (size,) from the system's generator, by Box and Muller; none is kept.

    A generator of our own could be found out by who sees many masks and knows nearly what they hide.
    """
    pairs = -(-size // 2)
    bits = np.frombuffer(os.urandom(8 * pairs), np.uint32).reshape(2, pairs)
    uniform = (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)  # in (0, 1]
    radius = np.sqrt(-2 * np.log(uniform[0]))
    angle = uniform[1] * np.float32(2 * np.pi)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
