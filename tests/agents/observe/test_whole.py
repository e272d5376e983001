"""The consensus of agents that trained subnetworks, from what they saved: one model, or an error that says why."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from agents import Task, load_task
from agents.checkpoint import FILE, Checkpoint, save
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.learning.tasks.models import Model, classification, dense, dense_layers, of_any_width, widths
from agents.mixing.narrow import NarrowError
from agents.observe.evaluation import Judge
from agents.subnetworks import subnetworks, wider

SHARDS, COUNT = 6, 3
WIDTH = 1.5

pytestmark = pytest.mark.usefixtures("in_a_folder")


@pytest.fixture(scope="module")
def digits():
    """The full task, that of a subnetwork, the map, and a vector for each shard."""
    task = wider(load_task("digits"), WIDTH)
    narrow, map = subnetworks(task, COUNT)
    thetas = np.random.default_rng(0).normal(size=(SHARDS, map.narrow_size)).astype(np.float32)
    return task, make_learner(narrow), map, thetas


def saved(digits, index, folder="run", **facts):
    _, learner, _, thetas = digits
    known = {"agent": f"agent-{index}", "step": 9, "weight": 1.0 + index, "run": "run", "task": "digits"}
    known |= {"model": learner.spec_hash, "shard": f"{index}/{SHARDS}", "submodel": f"width:{COUNT}", "width": WIDTH}
    parameters = [(name, shape) for name, shape, _ in learner.spec]
    at = Path(folder) / "agents" / f"agent-{index}" / FILE
    at.parent.mkdir(parents=True)
    save(at, Checkpoint(thetas[index], [], known | facts, parameters))


def test_folders_of_all_subnetworks_give_the_full_model_by_name(digits, capsys):
    task, _, map, thetas = digits
    for index in range(SHARDS):
        saved(digits, index)
    assert run_command(["consensus", "run", "--json"]) == 0, capsys.readouterr().err
    card = json.loads(capsys.readouterr().out)
    weights = 1.0 + np.arange(SHARDS)
    means = [np.average(thetas[k::COUNT], axis=0, weights=weights[k::COUNT]) for k in range(COUNT)]
    expected = map.assemble(np.stack(means), np.array([weights[k::COUNT].sum() for k in range(COUNT)]))
    full = make_learner(task)
    arrays = load_file("consensus.safetensors")
    assert {name: arrays[name].shape for name, _, _ in full.spec} == {name: shape for name, shape, _ in full.spec}
    found = np.concatenate([arrays[name].ravel() for name, _, _ in full.spec])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert card["subnetworks"] == {f"agent-{index}": index % COUNT for index in range(SHARDS)}
    assert (card["model"], card["parameters"], card["submodel"]) == (full.spec_hash, full.size, "width:3")
    judged = full.evaluate(full.unflatten(expected), task.test_data)
    assert card["accuracy"] == pytest.approx(judged["accuracy"], abs=1e-4) and len(card["metrics_of"]) == SHARDS
    squares = [
        w * ((theta - means[k % COUNT]) ** 2).sum() for k, (theta, w) in enumerate(zip(thetas, weights, strict=True))
    ]
    assert card["distance"] == pytest.approx(np.sqrt(sum(squares) / weights.sum()), rel=1e-4)
    assert run_command(["consensus", "run", "--no-evaluate"]) == 0
    assert "subnetwork 1 of width:3: agent-1, agent-4\n" in capsys.readouterr().out
    np.testing.assert_array_equal(load_file("consensus.safetensors")["hidden/weights"], arrays["hidden/weights"])


def test_a_subnetwork_that_nobody_holds_is_named_with_its_shards(digits, capsys):
    for index in (0, 1, 3, 4):
        saved(digits, index)
    assert run_command(["consensus", "run"]) != 0
    line = capsys.readouterr().err
    assert "the model can't be assembled without the agents of subnetwork 2 of 3 (shards 2/6, 5/6)" in line
    saved(digits, 5, shard="")
    assert run_command(["consensus", "run"]) != 0
    assert "its shard '' is of no subnetwork" in capsys.readouterr().err


def test_without_the_task_or_of_two_kinds_of_runs_it_is_refused_in_one_line(digits, capsys):
    saved(digits, 0, task="mine.py")
    assert run_command(["consensus", "run"]) != 0
    assert "these agents train subnetworks (width:3)" in capsys.readouterr().err
    saved(digits, 1, submodel="width:2")
    assert run_command(["consensus", "run", "--task", "digits"]) != 0
    assert "--submodel width:2 --width 1.5" in capsys.readouterr().err


def fused() -> Task:
    """Half of the first layer's outputs gate the other half: no block of its units is a subnetwork's."""

    def model(share: float) -> Model:
        (hidden,) = widths(share, 8)
        init = dense_layers({"hidden": (64, 2 * hidden), "output": (hidden, 10)})

        def apply(params, x):
            both = dense(params["hidden"], x)
            return dense(params["output"], both[:, :hidden] * jax.nn.sigmoid(both[:, hidden:]))

        return init, *classification(apply)

    digits = load_task("digits")
    return of_any_width(model, digits.train, digits.test, name="fused")


def test_a_map_that_does_not_fit_the_model_is_found_before_it_is_used():
    with pytest.raises(
        NarrowError, match="2 equal subnetworks of task fused must make up a model that computes the same"
    ):
        Judge(fused(), "width:2")
    judge = Judge(load_task("digits"), "width:2")
    assert judge.map is not None and judge.model != judge.learner.spec_hash
