"""Rules as their docstrings state them, in plain NumPy: one agent after the other, a number of steps at a time.

Each agent has a quadratic loss, sum(curvature * (theta - center)^2) / 2, and SGD with momentum 0.9.
"""

from dataclasses import dataclass, field

import numpy as np

RATE, MOMENTUM = 0.05, 0.9


@dataclass
class PlainAgent:
    """One agent; all in float64. numbers: of each part of its rule."""

    center: np.ndarray
    curvature: np.ndarray
    numbers: dict[str, float]
    theta: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.theta = np.zeros_like(self.center)
        self.m, self.m_then, self.moved = self.theta.copy(), self.theta.copy(), self.theta.copy()
        self.h, self.v, self.R, self.anchor, self.c, self.y = (self.theta.copy() for _ in range(6))
        self.taken, self.since, self.tracked, self.ended = 0, 0, 0, False
        self.path: list[np.ndarray] = []

    def step(self) -> None:
        """A local step."""
        g = self.curvature * (self.theta - self.center)
        if "tracking" in self.numbers:
            g = g + self.c
            self.tracked += 1
            self.y = self.y + (g - self.y) / self.tracked
        if "prox" in self.numbers:
            g = g + self.numbers["prox"] * (self.theta - self.anchor)
        self.m = MOMENTUM * self.m + g
        self.taken, self.since = self.taken + 1, self.since + 1
        update = -RATE * self.m
        self.moved = self.moved + update
        if "drift" in self.numbers:
            update = update + RATE * lengths(self.taken) * self.h
        push = np.zeros_like(update)
        if self.ended:
            push = self.numbers["noloco"] * self.v
            self.v, self.R, self.ended = push + self.R, np.zeros_like(self.R), False
        self.R = self.R + update
        self.theta = self.theta + update + push
        self.path.append(self.theta)

    @property
    def shared(self) -> np.ndarray:
        """What is exchanged, (V, P)."""
        beside = {"momentum": self.m, "tracking": self.y}
        return np.stack([self.theta, *(beside[name] for name in ("momentum", "tracking") if name in self.numbers)])

    def exchanged(self, differences: np.ndarray) -> None:
        """Exchanges have moved what is shared by this much, (V, P)."""
        difference, *further = differences
        self.theta = self.theta + difference
        if "momentum" in self.numbers:
            self.m = self.m + further[0]
        if "tracking" in self.numbers:
            self.c = self.c + self.numbers["tracking"] * further[-1]
            self.tracked *= not differences.any()
        if not difference.any():
            return
        if "drift" in self.numbers:
            self.h = self.h + self.numbers["drift"] * difference / (RATE * lengths(1000))
        if "noloco" in self.numbers:
            self.R, self.ended = self.R + difference, True
        self.moved = self.moved + difference
        if "quasi" in self.numbers and self.since:
            d = -self.moved / (RATE * self.since)
            self.m = self.m_then = self.numbers["quasi"] * self.m_then + (1 - self.numbers["quasi"]) * d
            self.since, self.moved = 0, np.zeros_like(d)
        self.anchor = self.theta

    def end(self) -> None:
        """The last step was taken."""
        if "ema" in self.numbers and self.path:
            weights = self.numbers["ema"] ** np.arange(len(self.path))[::-1]
            self.theta, self.path = np.average(self.path, axis=0, weights=weights), []


def lengths(steps: int) -> float:
    """How far momentum has carried an agent, in rates, whose gradient was one at each of so many steps."""
    return (1 - MOMENTUM**steps) / (1 - MOMENTUM)
