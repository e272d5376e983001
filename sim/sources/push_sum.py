"""Push-sum: an agent sends half of its mass along with its model, and models merge in proportion to their masses.

    turn: train, send half of one's mass along with the model; there: merge by mass      (Kempe et al. 2003)

theta is kept divided by its mass, so that a merge is a mix whose coefficient is a share of mass.
"""

import numpy as np
from numpy.typing import NDArray

from sim.conditions import Conditions
from sim.sources.asynchronous import Asynchronous
from sim.sources.grouping import levels, previous_of
from sim.sources.messages import READ, TAKE, Window
from sim.sources.source import Floats, Ints
from topology import Topology


class PushSum(Asynchronous):
    """One-way gossip that conserves the mass-weighted mean."""

    carried = (*Asynchronous.carried, "_mass", "_mass_in_flight")

    def __init__(
        self, topology: Topology, conditions: Conditions, *, local_steps: int = 1, message_bytes: int = 0
    ) -> None:
        super().__init__(topology, conditions, local_steps=local_steps, message_bytes=message_bytes)
        self._mass = np.ones(self.agents)
        self._mass_in_flight = np.empty(0)

    def mix(self, window: Window) -> None:
        """The receiver moves toward the model that came by that one's share of both masses."""
        taken, rows = window.of(TAKE)
        window.b[taken] = window.messages.read[rows]
        window.coefficient[taken] = self._mass_rates(window)[taken]

    def _mass_rates(self, window: Window) -> Floats:
        """The received mass over the sum, for every entry that takes a message in, (K,)."""
        entries, messages = window.entries, window.messages
        reader = np.full(len(messages.sender), -1)
        reading, rows = window.of(READ)
        reader[rows] = reading
        more = len(messages.sender) - len(self._mass_in_flight)
        flying = np.concatenate([self._mass_in_flight, np.zeros(more)])
        taken, rows = window.of(TAKE)
        sent = np.full(len(entries.time), -1)
        sent[taken] = reader[rows]
        coefficient = np.zeros(len(entries.time))
        mass = self._mass
        for entry in levels(np.stack([previous_of(entries.agent, self.agents), sent], axis=1)):
            agent, row = entries.agent[entry], entries.row[entry]
            sends, takes = entries.part[entry] == READ, entries.part[entry] == TAKE
            mass[agent[sends]] /= 2
            flying[row[sends]] = mass[agent[sends]]
            came = flying[row[takes]]
            mass[agent[takes]] += came
            coefficient[entry[takes]] = came / mass[agent[takes]]
        self._flying_then = flying
        return coefficient

    def carry(self, leaving: Ints, is_open: NDArray[np.bool_]) -> None:
        """The masses of the messages that are still under way."""
        self._mass_in_flight = self._flying_then[is_open]
