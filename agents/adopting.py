"""Takes over the vector of another agent, of the same subnetwork or of another one. Called by the network thread."""

from agents.protocol.driver import Driver
from agents.protocol.events import Adopt, StopAdopting
from agents.vectors import ReplicaVectors

IDLE_S = 1.0
"""The longest wait for open exchanges before the subnetwork changes; those still open then are counted as lost."""


class Adopting:
    """The download of another agent's vector, in place of ours. vectors: calls its `adopted` once all has come."""

    def __init__(self, driver: Driver, vectors: ReplicaVectors) -> None:
        self._driver, self._vectors = driver, vectors
        self._part: int | None = None
        self._finished = ""
        self._since_s = 0.0

    def begin(self, now: float, part: int | None = None, finished: str = "") -> None:
        """Start to download the vector of a member that trains our subnetwork. part: change to this subnetwork first.

        finished: the digest of the list over which that member must have finished exactly, "" if that doesn't matter.

        Open exchanges then have IDLE_S to complete, and no new ones begin.
        """
        self._part, self._since_s, self._finished = part, now, finished
        if part is None:
            self._adopt()
        else:
            self._driver.publish(state="joining")
            self.tick(now)

    def tick(self, now: float) -> None:
        """Change the subnetwork once no exchange is open, or IDLE_S has passed."""
        idle = self._driver.core.exchanges.idle
        if self._part is not None and (idle or now - self._since_s >= IDLE_S):
            part, self._part = self._part, None
            self._driver.publish(part=part)
            self._adopt(part)

    def stop(self) -> None:
        """End the download."""
        self._part = None
        self._driver.handle(StopAdopting())
        self._vectors.stop_adopting()

    def _adopt(self, part: int | None = None) -> None:
        self._vectors.adopt(part)
        self._driver.handle(Adopt(finished=self._finished))
