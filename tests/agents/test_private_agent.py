"""An agent with --dp: it stops when its budget is spent, goes on with its account, and publishes no loss."""

import json
from pathlib import Path

import numpy as np
import pytest
from line_task import LINE

from agents.agent import Agent
from agents.checkpoint import load_header
from agents.learning.dp.accountant import Account
from agents.privacy_ledger import FILE
from agents.report import Report
from agents.settings import Gossiping, Learning, Placing
from agents.values import SettingsError
from sim import replay
from sim.recordings import ReplayError

pytest.importorskip("dp_accounting")

SAMPLES, DELTA = 100, 1e-4


@pytest.fixture
def agent(tmp_path: Path):
    (tmp_path / "task.py").write_text(LINE)

    def made(**learning) -> Agent:
        return Agent(
            Learning(**{"task": str(tmp_path / "task.py"), "optimizer": "sgd", "steps": 40, "dp": "4,1e-4"} | learning),
            Gossiping(every="5steps", linger=0, settle=0),
            Placing(listen="tcp://127.0.0.1:0", run_dir=tmp_path / "run", shard="0/2"),
        )

    return made


def test_training_ends_with_the_budget_and_a_restart_continues_the_account(agent, tmp_path):
    """Of 40 steps the first start books 30 and is killed; the next one takes what is left."""
    private = agent()
    noise, q = private.prepared.mechanism.noise_multiplier, 0.2
    private._ledger.book(30)
    private._claim.release()
    private.link.close()
    lines: list[str] = []
    private = agent()
    report: Report = private.run(lines.append)
    assert report.steps == 10 and report.delta == DELTA
    assert 3.9 < report.epsilon_spent <= 4.0 * (1 + 1e-6)
    assert report.epsilon_spent == pytest.approx(Account(DELTA, noise, q).epsilon(40))
    assert any("epsilon 4 of 4 at delta 0.0001" in line for line in lines)
    facts = load_header(tmp_path / "run" / "checkpoint.safetensors").facts
    assert facts["privacy"]["epsilon_spent"] == report.epsilon_spent
    card = json.loads((tmp_path / "run" / "consensus.json").read_text())
    assert card["privacy"] == {report.agent: {"epsilon_spent": report.epsilon_spent, "delta": DELTA}}
    assert sum(each["steps"] for each in json.loads((tmp_path / "run" / FILE).read_text())["spent"]) == 40
    with pytest.raises(ReplayError, match="was trained with --dp, which draws from no seed and is recorded nowhere"):
        replay(tmp_path / "run")


def test_the_loss_stays_here_and_training_learns(agent, tmp_path):
    private = agent(dp="50,1e-3", learning_rate=0.1, steps=100, dp_clip=5.0)
    seen = []
    publish, private._peer = private._peer, lambda *args: seen.append(publish(*args)) or seen[0]
    given: list[dict] = []
    private._feeds.put = given.append
    report = private.run(lambda line: None)
    assert given and all(line["loss"] is None for line in given), "no tracker is given it either"
    me = seen[0].view().me.report
    assert me.loss == 0 and me.delta == 1e-3 and me.epsilon == pytest.approx(report.epsilon_spent)
    measured = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert measured[-1]["loss"] > 0 and report.metrics["loss"] < 1
    assert not (tmp_path / "run" / "tape.bin").exists()
    assert np.isfinite(report.loss)


def test_a_delta_that_would_allow_to_give_a_sample_away_is_refused(agent):
    with pytest.raises(SettingsError, match=r"--dp 4.0,0.01: delta must be well below one in the shard's 100 samples"):
        agent(dp="4,0.01")
