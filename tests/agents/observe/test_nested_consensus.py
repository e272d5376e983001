"""The consensus of agents that hold nested slices, from what they saved: one model, or an error that says why."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import load_file

from agents import load_task
from agents.checkpoint import FILE, Checkpoint, save
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.mixing.blocks import nested_blocks
from agents.observe.assemble import assemble
from agents.observe.card import MismatchError
from agents.observe.evaluation import Judge
from agents.subnetworks import nested

CAPACITIES = (1.0, 0.5, 0.25, 0.5)

pytestmark = pytest.mark.usefixtures("in_a_folder")


@pytest.fixture(scope="module")
def digits():
    """The slices of digits, the learner of each, and the hash of the whole."""
    map, tasks = nested(load_task("digits"))
    learners = [make_learner(task) for task in tasks[:3]]
    return map, dict(zip((1.0, 0.5, 0.25), learners, strict=True)), learners[0].spec_hash


def saved(digits, index, own, **facts):
    map, learners, hash = digits
    learner = learners[own]
    theta = np.random.default_rng(index).normal(size=learner.size).astype(np.float32)
    known = {"agent": f"agent-{index}", "step": 9, "weight": 1.0 + index, "run": "run", "task": "digits"}
    known |= {"model": learner.spec_hash, "shard": f"{index}/4", "submodel": "nested", "width": 1.0}
    known |= {"capacity": own, "of_model": hash, "of_size": map.size}
    at = Path("run") / "agents" / f"agent-{index}" / FILE
    at.parent.mkdir(parents=True)
    save(at, Checkpoint(theta, [], known | facts, [(name, shape) for name, shape, _ in learner.spec]))
    return map.whole(map.padded(theta, map.blocks.of_agent(0, own)))


def test_folders_of_slices_give_the_full_model_by_name(digits, capsys):
    map, learners, hash = digits
    thetas = np.stack([saved(digits, index, capacity) for index, capacity in enumerate(CAPACITIES)])
    assert run_command(["consensus", "run", "--json"]) == 0, capsys.readouterr().err
    card = json.loads(capsys.readouterr().out)
    held = np.array([np.isin(np.arange(map.size), map.held(map.blocks.of_agent(0, each))) for each in CAPACITIES])
    weights = held * (1.0 + np.arange(4))[:, None]
    arrays, full = load_file("consensus.safetensors"), learners[1.0]
    found = np.concatenate([arrays[name].ravel() for name, _, _ in full.spec])
    np.testing.assert_allclose(found, (weights * thetas).sum(0) / weights.sum(0), atol=1e-6)
    assert card["capacities"] == {f"agent-{index}": capacity for index, capacity in enumerate(CAPACITIES)}
    assert (card["model"], card["parameters"], card["submodel"]) == (hash, full.size, "nested")
    judged = full.evaluate(full.unflatten(found), load_task("digits").test_data)
    assert card["accuracy"] == pytest.approx(judged["accuracy"], abs=1e-4) and len(card["metrics_of"]) == 4


def test_what_nobody_holds_is_named_and_what_is_no_slice_is_left_out(digits, capsys, caplog):
    for index, capacity in ((1, 0.5), (2, 0.25)):
        saved(digits, index, capacity)
    saved(digits, 3, 0.5, capacity=0.25)
    assert run_command(["consensus", "run", "--no-evaluate"]) != 0
    error = capsys.readouterr().err
    assert "holds all of hidden/bias, hidden/weights, output/weights: of their units the first 1/2 are there" in error
    assert "2410 parameters are no slice of capacity 0.25" in caplog.text


def test_without_the_task_it_is_refused_in_one_line(digits, capsys):
    saved(digits, 0, 1.0, task="mine.py")
    assert run_command(["consensus", "run"]) != 0
    assert "these agents train slices (nested)" in capsys.readouterr().err


def test_a_swarm_whose_slices_are_not_those_of_the_task_is_refused(digits, tmp_path):
    """Its members may publish any levels."""
    map, _, hash = digits
    lie = nested_blocks([10, map.size])
    source = Mock(submodel="nested", blocks=lie, model=hash, parameters=map.size, task="digits")
    judge = Judge(load_task("digits"), "nested", evaluates=False)
    with pytest.raises(MismatchError, match="the swarm's slices are 0-10;10-4810, those of task digits 0-310;"):
        assemble(source, judge, tmp_path / "out.safetensors")
