"""Mean, ensemble, soup and sum of saved models, against references written slowly; and how far apart layers are."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from agents import load_consensus, load_task
from agents.checkpoint import FILE, Checkpoint, save
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.observe.evaluation import Judge
from agents.tensors import opened

AGENTS, WEIGHTS = 4, (1.0, 2.0, 3.0, 4.0)


@pytest.fixture(scope="module")
def digits():
    """The task, its learner, and a model for each agent: one trained a little, disturbed more and more."""
    task = load_task("digits")
    learner = make_learner(task)
    state = learner.init(0)
    rows = np.random.default_rng(0).integers(0, 1437, (64, 32)).astype(np.int32)
    state, _ = learner.train(state, jax.device_put(task.train_data), rows, np.int32(0), np.int32(0))
    theta = np.asarray(learner.flatten(state.params))
    noise = np.random.default_rng(1).normal(size=(AGENTS, theta.size))
    return task, learner, [(theta + 0.05 * k * noise[k]).astype(np.float32) for k in range(AGENTS)]


@pytest.fixture(autouse=True)
def run(digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a run in which all agents have saved their models."""
    monkeypatch.chdir(tmp_path)
    _, learner, thetas = digits
    for k, (theta, weight) in enumerate(zip(thetas, WEIGHTS, strict=True)):
        facts = {"agent": f"agent-{k}", "step": 64, "weight": weight, "run": "run", "task": "digits", "shard": f"{k}/4"}
        at = Path("run", "agents", f"agent-{k}", FILE)
        at.parent.mkdir(parents=True)
        parameters = [(name, shape) for name, shape, _ in learner.spec]
        save(at, Checkpoint(theta, [], facts | {"model": learner.spec_hash}, parameters))


def card_of(capsys, *words: str) -> dict:
    assert run_command(["consensus", "run", "--json", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def outputs(digits, theta):
    task, learner, _ = digits
    return np.asarray(task.predict(learner.unflatten(theta), {"x": task.test_data["x"]}))


def accuracy(digits, given, rows=slice(None)):
    return np.mean(given.argmax(axis=1)[rows] == digits[0].test_data["y"][rows])


def greedy(digits):
    """The soup by its definition, its means written out."""
    half, models = slice(0, None, 2), dict(enumerate(digits[2]))
    scores = {k: accuracy(digits, outputs(digits, theta), half) for k, theta in models.items()}
    chosen, best = [], -1.0
    for k in sorted(models, key=lambda k: (-scores[k], k)):
        mean = np.average([models[j] for j in [*chosen, k]], axis=0, weights=[WEIGHTS[j] for j in [*chosen, k]])
        score = accuracy(digits, outputs(digits, mean.astype(np.float32)), half)
        if score >= best:
            chosen, best = [*chosen, k], score
    theta = np.average([models[j] for j in chosen], axis=0, weights=[WEIGHTS[j] for j in chosen])
    return chosen, theta.astype(np.float32)


def test_all_ways_are_judged_beside_one_another(digits, capsys):
    card = card_of(capsys)
    mean = np.average(digits[2], axis=0, weights=WEIGHTS).astype(np.float32)
    assert card["merged_accuracy"] == card["accuracy"] == pytest.approx(accuracy(digits, outputs(digits, mean)))
    together = sum(outputs(digits, theta) for theta in digits[2])
    assert card["ensemble_accuracy"] == pytest.approx(accuracy(digits, together))
    chosen, theta = greedy(digits)
    assert card["soup"] == [f"agent-{k}" for k in chosen]
    assert card["soup_accuracy"] == pytest.approx(accuracy(digits, outputs(digits, theta)))
    assert len({card[f"{kind}_accuracy"] for kind in ("merged", "ensemble", "soup", "mean", "best")}) > 2, "they differ"
    assert run_command(["consensus", "run"]) == 0
    text = capsys.readouterr().out
    assert f"ensemble {card['ensemble_accuracy']:.4f}, soup of {len(chosen)} agent" in text


def test_an_agent_that_is_missing_takes_its_share_of_the_data_with_it(capsys):
    assert card_of(capsys)["missing_data"] == 0
    Path("run", "agents", "agent-2", FILE).unlink()
    assert run_command(["consensus", "--from", "run", "--json", "--no-evaluate"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["missing"] == ["agent-2"] and card["missing_data"] == 0.25
    assert run_command(["consensus", "--from", "run", "--no-evaluate"]) == 0
    assert "3 agents, missing: agent-2 (25% of the shards);" in capsys.readouterr().out


def test_how_far_apart_layers_are_adds_up_to_the_distance(digits, capsys):
    card = card_of(capsys, "--no-evaluate")
    assert set(card["layers"]) == {name for name, _, _ in digits[1].spec}
    assert math.fsum(each**2 for each in card["layers"].values()) == pytest.approx(card["distance"] ** 2, rel=1e-4)
    assert card["ensemble_accuracy"] is None and card["soup_accuracy"] is None


@pytest.mark.parametrize("how", ["mean", "ensemble", "soup"])
def test_each_way_is_written_and_read_back(digits, capsys, how):
    card = card_of(capsys, "--how", how, "--no-compare")
    assert card["how"] == how and (card["ensemble_accuracy"] is None) == (how == "mean")
    assert card["parameters"] == digits[1].size * (AGENTS if how == "ensemble" else 1)
    params, task = load_consensus("consensus.safetensors")
    predicted = np.asarray(task.predict(params, {"x": task.test_data["x"]}))
    expected = card["accuracy"] if how == "mean" else card[f"{how}_accuracy"]
    assert accuracy(digits, predicted) == pytest.approx(expected)


def test_a_way_that_there_is_not_is_refused_before_anything_is_read(capsys):
    for words, expected in {
        ("--how", "sum"): "--how sum adds up sub-models",
        ("--how", "soup", "--no-evaluate"): "made by what models do on the task's test data",
    }.items():
        assert run_command(["consensus", "run", *words]) == 2
        assert expected in capsys.readouterr().err
    assert not Path("consensus.safetensors").exists()


def test_a_soup_that_cannot_be_made_leaves_a_file_that_says_it_holds_the_mean(digits, capsys, monkeypatch):
    monkeypatch.setattr(Judge, "outputs", lambda *_: None)  # As of a task without predict.
    assert run_command(["consensus", "run", "--how", "soup"]) == 2
    assert "--how soup needs a task of classes, with predict and labels y: the file holds the mean" in (
        capsys.readouterr().err
    )
    card = json.loads(Path("consensus.json").read_bytes())
    with opened(Path("consensus.safetensors")) as model:
        kept = json.loads(model.metadata["gossamer"])
    assert (card["how"], kept["how"], card["soup"]) == ("mean", "mean", [])
    params, _ = load_consensus("consensus.safetensors")
    mean = np.average(digits[2], axis=0, weights=WEIGHTS)
    np.testing.assert_allclose(ravel_pytree(params)[0], mean, atol=1e-5)
