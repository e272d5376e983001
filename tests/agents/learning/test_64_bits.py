"""Tasks where 64-bit JAX is switched on already, as in a user's notebook."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from agents.learning.data import batch_rows, load_rows, samples
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task

assert jax.config.jax_enable_x64 == (sys.argv[1] == "64")
def mine():  # without a dtype anywhere
    def loss(params, batch, key): return jnp.mean((batch["x"] @ params["w"] - jnp.ones(1)) ** 2)
    data = {"x": np.linspace(0, 1, 80).reshape(40, 2)}
    return Task(lambda key: {"w": jnp.zeros(2)}, loss, lambda p, b: {}, data, data, optimizer=optax.adam(0.1))
tasks = {"digits": load_task("digits"), "npz": load_task("npz", sys.argv[2]), "mine": mine()}
no_tasks = {"own_loop.py", "own_protocol.py"}
files = [path for path in sorted(Path("examples").glob("*.py")) if path.name not in no_tasks]
tasks |= {path.name: load_task(path) for path in files}
for name, task in tasks.items():
    learner = make_learner(task, total_steps=40)
    data, losses, state = jax.device_put(load_rows(task.train_data, slice(None))), [], learner.init(0)
    first = float(abs(learner.flatten(state.params)).sum())
    for step in range(0, 40, 10):
        rows = batch_rows(0, 0, step, 10, task.batch_size, samples(data))
        state, chunk = learner.train(state, data, rows, 0, step)
        losses.append(chunk)
    assert learner.train._cache_size() == 1, name
    assert chunk.dtype == learner.flatten(state.params).dtype == np.float32, name
    results = learner.evaluate(state.params, load_rows(task.test_data, slice(None)))
    print(name, first, float(losses[0][0]), float(losses[-1][-1]), results["loss"])
"""


def trained(bits: str, folder: Path) -> dict[str, list[float]]:
    environment = {**os.environ, "JAX_ENABLE_X64": str(int(bits == "64"))}
    command = [sys.executable, "-W", "error", "-c", CODE, bits, str(folder / "a.npz")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: [float(number) for number in numbers] for name, *numbers in lines}


def test_every_task_starts_and_trains_as_with_32_bits(tmp_path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=random.random((60, 12, 12)), y=np.arange(60) % 4)
    double, single = trained("64", tmp_path), trained("32", tmp_path)
    assert len(double) == 7 and double.keys() == single.keys()
    for name in double:
        assert double[name][0] == single[name][0], "the same params from the same seed"
        assert double[name][2] < double[name][1]
        if name != "flax_mlp.py":  # whose dropout draws in 64 bits
            np.testing.assert_allclose(double[name], single[name], rtol=1e-2)
