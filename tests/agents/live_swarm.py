"""Agents without a learner, each with a network thread and sockets of its own: only exchanges move what they hold."""

from contextlib import ExitStack

import numpy as np
from proxy import Proxy

from agents.mixing.codecs import FLOAT32
from agents.mixing.replica import Replica
from agents.network import Network
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.vectors import ReplicaVectors
from transport.addresses import advertised, split
from transport.credentials import Credentials
from transport.keys import new_key
from transport.link import Link
from transport.messages import Identity, Liveness, Member, Report
from transport.signing import signer
from transport.trust import Trust, Trusted, add

MEET_S = 30.0


class LiveSwarm:
    """Each joins through the first; all are stopped with `stack`. proxied: each is reached through its own proxy.

    keys: where to write the list of the keys that they trust; None for plaintext.
    """

    def __init__(
        self, stack: ExitStack, thetas, weights, alpha=0.5, topology="complete", proxied=False, keys=None, **settings
    ) -> None:
        self.weights = [float(weight) for weight in weights]
        self.networks: list[Network] = []
        self.replicas: list[Replica] = []
        self.proxies: list[Proxy] = []
        own = [new_key() for _ in thetas]
        for key in own if keys else ():
            add(keys, Trusted(key.public))
        for index, theta in enumerate(thetas):
            credentials = Credentials(own[index], Trust(keys)) if keys else None
            link = Link("tcp://127.0.0.1:0", credentials=credentials)
            address = link.address
            if proxied:
                self.proxies.append(stack.enter_context(Proxy(split(address))))
                address = advertised(address, (), self.proxies[-1].url)
            join = (self.networks[0].view().me.address,) if self.networks else ()
            self.replicas.append(Replica(theta))
            chunks = self.replicas[-1].chunks
            of_core = CoreSettings("conservation", topology, 0, alpha, theta.size, chunks, join=join, **settings)
            me = Member(
                Identity(f"agent-{index}", 1, address), Liveness(state="training"), Report(weight=self.weights[index])
            )
            core = GossipCore(of_core, me, signer(link.credentials, of_core.manifest.hash))
            vectors = ReplicaVectors(self.replicas[-1], FLOAT32, core.exchanges.is_open)
            self.networks.append(Network(core, vectors, link))
            self.networks[-1].start()
            stack.callback(self.networks[-1].stop)
        for network in self.networks:
            assert network.wait_until(lambda view: len(view.others) == len(thetas) - 1, MEET_S)

    def crash(self, index: int) -> None:
        """End an agent as SIGKILL does: it publishes nothing. Its replica stays as it was."""
        network = self.networks[index]
        network._enqueue(network._stop)
        network._thread.join()

    @property
    def thetas(self) -> np.ndarray:
        """Where they stand, (agents, P) float64."""
        vectors = [[replica.read(chunk) for chunk in range(replica.chunks)] for replica in self.replicas]
        return np.stack([np.concatenate(vector) for vector in vectors]).astype(np.float64)

    @property
    def mean(self) -> np.ndarray:
        """Weighted, (P,) float64: what exchanges conserve, where none is open."""
        return np.average(self.thetas, axis=0, weights=self.weights)

    @property
    def exchanges(self) -> int:
        """That were completed. Offers that cross are mixed once, so some rounds are another's exchange."""
        return sum(network.view().me.report.exchanges for network in self.networks) // 2  # Counted on both sides.

    def ask(self, round: int) -> None:
        """Each begins an exchange."""
        for network in self.networks:
            network.ask(round)

    def wait(self, round: int, timeout_s: float) -> bool:
        """Until these exchanges are over for those who began them."""
        return all(network.wait(round, timeout_s) for network in self.networks)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Until no exchange is open."""
        return all(network.wait_until(lambda view: view.idle, timeout_s) for network in self.networks)
