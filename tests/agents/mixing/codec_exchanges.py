"""Exchanges of plain vectors in a codec, each message through its bytes: what every codec is held to."""

import numpy as np

from agents.mixing.codec_names import parse_codec
from agents.mixing.codecs import CODECS, named
from agents.mixing.exchange import answer, apply, rate

TESTED = {
    name: named(name)
    for name in (
        *CODECS,
        "segments:1/3",
        "bfloat16+segments:1/2",
        "lattice:4+segments:1/5",
        "lattice:2+float32/3",
        "lattice:3+segments:1/2+bfloat16/4",
        "lowrank:2",
        "lowrank:3+lattice:4/3",
    )
}
"""All plain codecs, and combinations of each kind: by name."""


def floats(codec):
    """Whether a message of it may hold any float32 at all."""
    return any(kind in codec.name.replace("bfloat", "") for kind in ("float32",)) or codec.name.startswith("segments")


def takes(codec):
    """How many times as many exchanges as float32 it needs, where it carries all of a chunk over so many."""
    parsed = parse_codec(codec.name)
    return 4 if parsed.usual.startswith("lowrank") else parsed.segments


def period(codec):
    """Over how many exchanges of one agent the average of their sizes is taken."""
    return parse_codec(codec.name).every


def wired(codec, code, size, kind="offer"):
    """A code as the other side unpacks it, from memory that can't be written to."""
    unpack = codec.unpack if kind == "offer" else codec.unpack_answer
    return unpack(memoryview(bytes(codec.pack(code))), size)


class Swarm:
    """Vectors theta (agents, n) that exchange pairwise; each learns by itself. weights (agents,)."""

    def __init__(self, codec, theta, weights=None):
        self.codec = codec
        self.theta = np.array(theta, np.float32)
        self.weights = np.ones(len(self.theta)) if weights is None else np.asarray(weights, float)
        self.states = [codec.begin(row) for row in self.theta]

    @property
    def size(self):
        """n, of one vector."""
        return self.theta.shape[1]

    @property
    def mean(self):
        """Weighted, in float64: (n,)."""
        return np.average(self.theta.astype(np.float64), axis=0, weights=self.weights)

    @property
    def distance(self):
        """The consensus distance over a vector's norm."""
        theta = self.theta.astype(np.float64)
        return np.linalg.norm(theta - theta.mean(0)) / max(np.linalg.norm(theta), 1e-30)

    def offer(self, i):
        """What i offers, as the initiator keeps it and as the other receives it."""
        offered = self.codec.offer(self.theta[i].copy(), self.states[i])
        return (offered if self.codec.needs_offer else None), wired(self.codec, offered, self.size)

    def answer(self, j, i, offered, alpha=0.5, scale=1.0):
        """j answers i's offer and moves: the answer as i receives it, and the difference that j knows."""
        answered, d = answer(self.codec, self.theta[j].copy(), offered)
        answered_i = wired(self.codec, answered, self.size, "answer")
        self._move(j, -scale * rate(alpha, self.weights[j], self.weights[i]), d, answered, began=False)
        return answered_i, d

    def close(self, i, j, kept, answered, alpha=0.5, scale=1.0):
        """i applies j's answer: the difference that i knows."""
        d = self.codec.difference(kept, answered, self.size)
        self._move(i, scale * rate(alpha, self.weights[i], self.weights[j]), d, answered, began=True)
        return d

    def exchange(self, i, j, alpha=0.5):
        """All of it at once: the difference, which both sides know."""
        kept, offered = self.offer(i)
        answered, theirs = self.answer(j, i, offered, alpha)
        ours = self.close(i, j, kept, answered, alpha)
        assert ours.dtype == theirs.dtype == np.float32 and ours.shape == (self.size,)
        assert ours.tobytes() == theirs.tobytes(), "the two sides know different differences"
        return ours

    def pairs(self, count, seed=0):
        """So many exchanges of random pairs."""
        random = np.random.default_rng(seed)
        for _ in range(count):
            self.exchange(*random.choice(len(self.theta), 2, replace=False))

    def _move(self, who, rate, d, answered, began):
        self.theta[who] = apply(self.theta[who], np.float32(rate), d)
        self.states[who] = self.codec.learn(self.states[who], answered, self.theta[who], began)
