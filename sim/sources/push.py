"""One-way gossip learning: an agent sends its model to a neighbor, which merges it and trains.

turn: send to a neighbor; there: merge and train       (Ormandi et al. 2013, Hegedus et al. 2021)
"""

import numpy as np
from numpy.typing import NDArray

from agents.mixing.exchange import rate
from sim.conditions import Conditions
from sim.sources.asynchronous import Asynchronous
from sim.sources.grouping import levels
from sim.sources.messages import JOIN, TAKE, TAKEN_TRAIN, Window
from sim.sources.source import Floats, Ints
from topology import Topology

MERGES = ("merge-update", "update-merge")


class Push(Asynchronous):
    """Models are pushed and merged at the receiver alone, so the mean is not conserved.

    merge: the order in which a receiver merges and trains. by_age: merge in proportion to the models' ages, in local
    steps, rather than by alpha.
    """

    trains_at_turn = False
    carried = (*Asynchronous.carried, "_age")

    def __init__(
        self,
        topology: Topology,
        conditions: Conditions,
        *,
        alpha: float = 0.5,
        merge: str = "merge-update",
        by_age: bool = False,
        local_steps: int = 1,
        message_bytes: int = 0,
    ) -> None:
        super().__init__(topology, conditions, local_steps=local_steps, message_bytes=message_bytes)
        self.alpha, self.by_age = alpha, by_age
        self._age = np.zeros(self.agents, np.int64)  # of the entering versions
        if local_steps:
            self.taken_parts = (TAKE, TAKEN_TRAIN) if merge == "merge-update" else (TAKEN_TRAIN, TAKE)

    def mix(self, window: Window) -> None:
        """The receiver moves toward the model that came; an exchange's rate for equal weights, on one side only."""
        taken, rows = window.of(TAKE)
        window.b[taken] = window.messages.read[rows]
        window.coefficient[taken] = self._age_rates(window)[taken] if self.by_age else rate(self.alpha, 1.0, 1.0)

    def _age_rates(self, window: Window) -> Floats:
        """The received model's age over both ages: how much of it is merged (Ormandi et al. 2013)."""
        entries, version, cur, b = window.entries, window.version, window.cur, window.b
        age = np.concatenate([self._age, np.zeros(int((version >= 0).sum()), np.int64)])
        written = np.flatnonzero(version >= 0)
        coefficient = np.full(len(cur), 0.5)
        for event in levels(np.stack([cur, b], axis=1)[written] - self.entering):
            entry = written[event]
            own, other = age[cur[entry]], age[b[entry]]
            part = entries.part[entry]
            coefficient[entry] = np.where(own + other > 0, other / np.maximum(own + other, 1), 0.5)
            merged = np.where(part == JOIN, other, np.maximum(own, other))  # Who joins takes over the age as well.
            age[version[entry]] = np.where((part == TAKE) | (part == JOIN), merged, own + self.local_steps)
        self._ages_then = age
        return coefficient

    def carry(self, leaving: Ints, is_open: NDArray[np.bool_]) -> None:
        """The ages of the versions that leave."""
        if self.by_age:
            self._age = self._ages_then[leaving]
