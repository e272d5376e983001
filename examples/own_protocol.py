"""A gossip protocol of your own in the simulator: each round all train, then a random half of the edges average.

python examples/own_protocol.py
"""

import numpy as np

from sim import TapeWriter, simulate


class RandomEdges:
    def __init__(self, topology, conditions, *, alpha, local_steps):  # or any of weights, message_bytes, merge
        self.agents, self.edges, self.seed = conditions.agents, topology.edges, conditions.seed
        self.rate, self.local_steps = 1 - alpha, local_steps

    def blocks(self, rounds, moments, window):
        events = TapeWriter(self.agents, moments)
        for r in range(int(rounds)):
            for agent in range(self.agents):
                events.train(r + 0.25, agent, step=r * self.local_steps)
            random = np.random.default_rng([self.seed, r])
            for i, j in self.edges[random.random(len(self.edges)) < 0.5]:
                events.exchange(r + 0.5, i, j, self.rate)
            yield events.block(until=r + 1)


if __name__ == "__main__":
    print(simulate("digits", agents=8, topology="ring", rounds=30, protocol=RandomEdges, partition="dirichlet:0.1"))
