"""What a task measures is in its histories, and what its functions raise reaches its author as it is."""

import traceback
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learning.check import check
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from sim import History, simulate, sweep

SETTINGS = {"agents": 4, "rounds": 4, "eval_every": 2, "picked": 2, "progress": False}


def task_with(metrics):
    digits = load_task("digits")
    return Task(digits.init, digits.loss, metrics, digits.train, digits.test, batch_size=16, name="mine")


def measured(params, batch):
    size = sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params))
    return {"accuracy": jnp.tanh(size), "size": size, "rows": jnp.mean(batch["x"])}


def test_every_metric_is_in_the_history_its_frame_its_repr_and_its_file(tmp_path):
    history = simulate(task_with(measured), **SETTINGS)
    assert list(history.metrics) == list(history.consensus_metrics) == ["rows", "size"]
    assert history.metrics["size"].shape == history.accuracy.shape
    evaluated = ~np.isnan(history.metrics["size"])
    assert (evaluated.sum(axis=1) == 2).all() and (evaluated == ~np.isnan(history.accuracy)).all()
    last = np.flatnonzero(evaluated[-1])
    np.testing.assert_allclose(history.metrics["size"][-1, last], np.abs(history.theta[last]).sum(1), rtol=1e-4)
    np.testing.assert_array_equal(history.of_consensus("size"), history.consensus_metrics["size"])
    assert "size" in repr(history) and "rows" in history._repr_html_()
    assert {"size_mean", "size_min", "size_max", "size_consensus"} <= set(history.to_frame().columns)
    history.save(tmp_path / "history")
    after = History.load(tmp_path / "history")
    for name in ("metrics", "consensus_metrics"):
        before, loaded = getattr(history, name), getattr(after, name)
        assert before.keys() == loaded.keys()
        for metric in before:
            np.testing.assert_array_equal(before[metric], loaded[metric])
    with pytest.raises(ValueError, match="has the metrics accuracy, loss, rows, size: got 'recall'"):
        after.of_agents("recall")


def test_a_task_without_accuracy_still_has_a_result_line():
    text = repr(simulate(task_with(lambda params, batch: {"perplexity": jnp.exp(batch["x"].mean())}), **SETTINGS))
    assert "accuracy" not in text and "loss" in text and "perplexity" in text


def test_perplexity_is_the_exponential_of_a_mean_over_all_samples():
    """Not the mean of each slice's exponential."""

    def both(params, batch):
        mean = jnp.mean(10 * batch["x"].reshape(len(batch["y"]), -1)[:, 20])
        return {"mean": mean, "perplexity": jnp.exp(mean)}

    test = {name: np.repeat(rows[:], 3, axis=0) for name, rows in load_task("digits").test_data.items()}
    history = simulate(replace(task_with(both), test=test), **SETTINGS)
    np.testing.assert_allclose(history.metrics["perplexity"], np.exp(history.metrics["mean"]), rtol=1e-4)
    consensus = history.consensus_metrics
    np.testing.assert_allclose(consensus["perplexity"], np.exp(consensus["mean"]), rtol=1e-4)


@pytest.mark.parametrize("count", [100, 300, 700])
def test_a_metric_that_is_no_mean_is_of_the_batches_of_agents(count):
    def of_a_batch(params, batch):
        return {"rows": jnp.float32(len(batch["y"])), "root": jnp.sqrt(jnp.mean(batch["x"] ** 2))}

    test = {name: np.resize(rows[:], (count, *rows.shape[1:])) for name, rows in load_task("digits").test_data.items()}
    task = replace(task_with(of_a_batch), test=test)
    history, learner = simulate(task, **(SETTINGS | {"picked": 4})), make_learner(task)
    agents = learner.evaluate(learner.unflatten(history.theta[0]), task.test_data)
    for name in ("rows", "root", "loss"):
        np.testing.assert_allclose(history.of_agents(name)[-1, 0], agents[name], rtol=1e-5)


class Unhappy(Exception):
    """An error of a user's own."""


def task_that_fails_in_evaluation():
    """Its metric passes the check, and raises when it is traced after that."""
    left = 100

    def metric(params, batch):
        nonlocal left
        left -= 1
        if left < 0:
            raise Unhappy("more rows than I can take")  # here
        return {"accuracy": jnp.mean(batch["x"])}

    task = task_with(metric)
    check(task)
    left = 100 - left  # as often as the check traces it, once more
    return task


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
@pytest.mark.parametrize("run", [simulate, lambda *task, **settings: sweep(*task, seeds=[0, 1], **settings)])
def test_what_a_metric_raises_is_the_author_s_own_exception_with_its_file_and_line(run, protocol):
    """Only evaluation meets it: what the check meets is refused before anything starts."""
    with pytest.raises(Unhappy, match="more rows than I can take") as caught:
        run(task_that_fails_in_evaluation(), protocol=protocol, **SETTINGS)
    shown = "".join(traceback.format_exception(caught.value))
    assert "test_own_metrics.py" in shown and "# here" in shown
    assert shown.rstrip().splitlines()[-1].endswith("Unhappy: more rows than I can take")
    assert "internal frames" not in shown
