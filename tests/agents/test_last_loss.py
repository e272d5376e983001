"""The loss of the last local step is an agent's also after it starts again and takes none."""

import json
import math
from pathlib import Path

import pytest
from line_task import LINE

from agents.agent import Agent
from agents.checkpoint import FILE, load_header
from agents.facts import first_record, last_loss
from agents.finite import LOSS_LIMIT
from agents.report import Report
from agents.settings import Gossiping, Learning, Placing
from agents.values import Shard

STEPS = 20


def run(folder: Path, **learning) -> Report:
    (folder / "task.py").write_text(LINE)
    settings = {"task": str(folder / "task.py"), "optimizer": "sgd", "learning_rate": 0.1, "steps": STEPS} | learning
    placing = Placing(listen="tcp://127.0.0.1:0", run_dir=folder / "run", name="one")
    return Agent(Learning(**settings), Gossiping(every="5steps", linger=0, settle=0), placing).run(lambda line: None)


def measured(folder: Path) -> dict:
    return json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])


def test_an_agent_that_had_taken_all_its_steps_reports_their_last_loss_each_time_it_starts(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.loss == measured(tmp_path)["loss"] > 0
    for _ in range(2):
        again = run(tmp_path)
        assert (again.steps, again.loss, measured(tmp_path)["loss"]) == (STEPS, first.loss, first.loss)
    facts = load_header(tmp_path / "run" / FILE).facts
    assert first_record(facts, Shard(0, 1), STEPS)["loss"] == first.loss, "which is published at once"


def test_a_loss_that_was_not_finite_is_none_after_a_restart_either(tmp_path: Path) -> None:
    for _ in range(2):
        assert not math.isfinite(run(tmp_path, learning_rate=1e30).loss)
        assert measured(tmp_path)["loss"] is None
    facts = load_header(tmp_path / "run" / FILE).facts
    assert math.isnan(last_loss(facts)) and first_record(facts, Shard(0, 1), STEPS)["loss"] == LOSS_LIMIT


def test_a_checkpoint_of_private_training_holds_no_loss(tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    assert run(tmp_path, dp="4,1e-4").loss > 0
    assert "loss" not in load_header(tmp_path / "run" / FILE).facts
