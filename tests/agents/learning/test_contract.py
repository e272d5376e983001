"""Every built-in task and every example keeps the same contract."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from files import bright_images, write_mnist
from jax.flatten_util import ravel_pytree

from agents.learning.check import check
from agents.learning.data import batch_rows, load_rows, samples
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.step import TrainState
from agents.learning.task import Task
from agents.learning.tasks import BUILT_IN

EXAMPLES = sorted(
    path for path in (Path(__file__).parents[3] / "examples").glob("*.py") if "\ntask = " in path.read_text()
)
STEPS, CHUNK = 200, 10


class Case(NamedTuple):
    task: Task
    learner: Learner
    data: dict[str, jax.Array]

    def trained(self, steps: int) -> tuple[TrainState, np.ndarray]:
        """The state after some steps, and their losses."""
        state, losses = self.learner.init(0), []
        for step in range(0, steps, CHUNK):
            rows = batch_rows(0, 3, step, CHUNK, self.task.batch_size, samples(self.data))
            state, chunk = self.learner.train(state, self.data, rows, 3, step)
            losses.append(chunk)
        return state, np.concatenate(losses)


def make_task(name: str, folder: Path) -> Task:
    x, y = bright_images(400)
    match name:
        case "idx":
            return load_task("idx", write_mnist(folder))
        case "npz images":
            np.savez(folder / "colors.npz", x=np.stack([x, x, x], axis=-1), y=y)
            return load_task("npz", folder / "colors.npz")
        case "npz labels":
            np.savez_compressed(folder / "labels.npz", x=x.reshape(400, -1) / 255, y=y)
            return load_task("npz", folder / "labels.npz")
        case "npz values":
            np.savez(folder / "values.npz", x=x.reshape(400, -1) / 255, y=np.stack([y / 3, y / 2], axis=1))
            return load_task("npz", folder / "values.npz")
    return load_task(name)


@pytest.fixture(
    scope="module",
    params=["digits", "idx", "npz images", "npz labels", "npz values", *map(str, EXAMPLES)],
    ids=lambda name: Path(name).name,
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    task = make_task(request.param, tmp_path_factory.mktemp("data"))
    return Case(task, make_learner(task, total_steps=STEPS), jax.device_put(load_rows(task.train_data, slice(None))))


def test_all_built_in_tasks_are_here() -> None:
    assert {module.rpartition(".")[2] for module in BUILT_IN.values()} == {"digits", "idx", "npz"}
    assert len(EXAMPLES) == 4


def test_loss_falls_and_the_model_learns(case: Case) -> None:
    state, losses = case.trained(STEPS)
    assert losses[-CHUNK:].mean() < 0.5 * losses[:CHUNK].mean()
    results = case.learner.evaluate(state.params, load_rows(case.task.test_data, slice(None)))
    assert results["loss"] < 0.5 * losses[0]
    assert results.get("accuracy", 1.0) > 0.9


def test_the_same_seed_gives_the_same_run(case: Case) -> None:
    (one, losses), (other, losses_again) = case.trained(30), case.trained(30)
    np.testing.assert_array_equal(losses, losses_again)
    np.testing.assert_array_equal(case.learner.flatten(one.params), case.learner.flatten(other.params))
    assert not np.array_equal(case.learner.flatten(one.params), case.learner.flatten(case.learner.init(1).params))


def test_training_compiles_once(case: Case) -> None:
    case.trained(30)
    assert case.learner.train._cache_size() == 1


def test_check_knows_the_params_without_computing_them(case: Case) -> None:
    params = case.learner.init(0).params
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), check(case.task)) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )


def test_theta_is_the_raveled_params_and_back(case: Case) -> None:
    params = case.learner.init(0).params
    theta = case.learner.flatten(params)
    np.testing.assert_array_equal(theta, ravel_pytree(params)[0])
    assert theta.shape == (case.learner.size,) and theta.dtype == np.float32
    jax.tree.map(np.testing.assert_array_equal, case.learner.unflatten(theta), params)


def test_spec_names_every_parameter_in_the_order_of_theta(case: Case) -> None:
    params, spec = case.learner.init(0).params, case.learner.spec
    assert [parameter.shape for parameter in spec] == [leaf.shape for leaf in jax.tree.leaves(params)]
    assert len({parameter.name for parameter in spec}) == len(spec)
    assert all(parameter.name and parameter.dtype == "float32" for parameter in spec)
    assert make_learner(case.task).spec_hash == case.learner.spec_hash


def test_replace_replaces_theta_and_keeps_the_optimizers_state(case: Case) -> None:
    learner = case.learner
    theta = np.linspace(-1, 1, learner.size, dtype=np.float32)
    state, _ = case.trained(CHUNK)
    kept = jax.tree.map(np.array, state.opt_state)
    replaced = learner.replace(state, theta)
    np.testing.assert_array_equal(learner.flatten(replaced.params), theta)
    jax.tree.map(np.testing.assert_array_equal, replaced.opt_state, kept)
