"""One plain JAX script that imports, compiles and trains on the pooled digits: the floor for whole_job.py.

The same model, optimizer, number of steps and split as four agents of the task digits, with a four times larger
batch, written as anyone would without us. Prints the accuracy on the test split.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BATCH, EPOCHS = 128, 20

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split((x / 16).astype("float32"), y, test_size=0.2, random_state=0)
steps = -(-EPOCHS * len(x_train) // BATCH)
optimizer = optax.sgd(optax.cosine_decay_schedule(0.1, steps), momentum=0.9)


def init(key):
    """Glorot-uniform weights of an MLP 64-64-10."""
    k1, k2 = jax.random.split(key)
    glorot = jax.nn.initializers.glorot_uniform()
    return {"w1": glorot(k1, (64, 64)), "b1": jnp.zeros(64), "w2": glorot(k2, (64, 10)), "b2": jnp.zeros(10)}


def logits(params, x):
    """x: (batch, 64) to (batch, 10)."""
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def loss(params, x, y):
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()


@jax.jit
def step(params, state, x, y):
    """One step of the optimizer."""
    updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
    return optax.apply_updates(params, updates), state


params = jax.jit(init)(jax.random.key(0))
state = optimizer.init(params)
random = np.random.default_rng(0)
order = np.concatenate([random.permutation(len(x_train)) for _ in range(EPOCHS + 1)])
for start in range(0, steps * BATCH, BATCH):
    rows = order[start : start + BATCH]
    params, state = step(params, state, x_train[rows], y_train[rows])
print(f"{float((logits(params, x_test).argmax(-1) == y_test).mean()):.4f}")
