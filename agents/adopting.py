"""Takes over the vector of another agent, of the same subnetwork or of another one. Called by the network thread."""

from agents.protocol.driver import Driver
from agents.protocol.events import Adopt, StopAdopting
from agents.vectors import ReplicaVectors

IDLE_S = 1.0
"""How long open exchanges may take to be completed before we go to another subnetwork."""


class Adopting:
    """vectors: keeps what comes; its `adopted` is called once all is here."""

    def __init__(self, driver: Driver, vectors: ReplicaVectors) -> None:
        self._driver, self._vectors = driver, vectors
        self._part: int | None = None
        self._since_s = 0.0

    def begin(self, now: float, part: int | None = None) -> None:
        """Want the vector of whoever trains what we do. part: go to this subnetwork before.

        Then nothing new is exchanged any longer, and what is open has IDLE_S to be completed.
        """
        self._part, self._since_s = part, now
        if part is None:
            self._adopt()
        else:
            self._driver.publish(state="joining")
            self.tick(now)

    def tick(self, now: float) -> None:
        """Go, once nothing is open with anybody."""
        idle = self._driver.core.exchanges.idle
        if self._part is not None and (idle or now - self._since_s >= IDLE_S):
            self._driver.publish(part=self._part)
            self._part = None
            self._adopt()

    def stop(self) -> None:
        """Want no vector any longer."""
        self._part = None
        self._driver.handle(StopAdopting())
        self._vectors.stop_adopting()

    def _adopt(self) -> None:
        self._vectors.adopt()
        self._driver.handle(Adopt())
