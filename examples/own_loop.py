"""Your own training loop in a swarm: plain JAX, no task file, no `agent run`. Start it on two machines:

    agent keygen --out swarm.secret                             # once; then copy swarm.secret to the other machine
    python examples/own_loop.py 0
    python examples/own_loop.py 1 tcp://192.168.1.10:5710

Each holds half of the data and fits a line; at the end both hold the same model, as good as one trained on everything.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from agents import Peer

index, join = int(sys.argv[1]), sys.argv[2:]

random = np.random.default_rng(0)
x = random.normal(size=(400, 3)).astype(np.float32)
y = x @ np.array([2.0, -1.0, 0.5], np.float32) + 3.0 + 0.1 * random.normal(size=400).astype(np.float32)
mine = slice(index, None, 2)  # every other sample stays here, and never leaves this machine
x, y = x[mine], y[mine]


@jax.jit
def step(params, xs, ys):
    def loss(params):
        return jnp.mean((xs @ params["weights"] + params["bias"] - ys) ** 2)

    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient), value


params = {"bias": jnp.zeros(()), "weights": jnp.zeros(3)}
listen = "tcp://0.0.0.0:0" if join else "tcp://0.0.0.0:5710"
with Peer(params, task="own-loop", listen=listen, join=join, every="10steps", secret="swarm.secret") as peer:
    peer.wait_for(2, timeout_s=60)
    for k in range(1000):
        rows = np.random.default_rng(k).integers(0, len(x), 16)
        params, loss = step(params, x[rows], y[rows])
        params = peer.boundary(params)
    params = peer.finish(params)
print({name: np.round(np.float64(value), 2).tolist() for name, value in params.items()}, f"loss {loss:.4f}")
