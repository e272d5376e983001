"""Agents judge their own models while they train: nothing else changes, the best is kept, the swarm stops as one."""

import json
import logging
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from agents.agent import Agent
from agents.checkpoint import load
from agents.evaluating import Evaluator
from agents.learning.errors import TaskError
from agents.learning.step import TrainState
from agents.peer import Peer
from agents.report import Report
from agents.settings import Gossiping, Learning, Placing
from agents.trainer import Progress
from agents.values import SettingsError
from sim import replay

TASK = """
import jax, jax.numpy as jnp, numpy as np
from agents import Task
x = np.random.default_rng(0).normal(size=(240, 3)).astype(np.float32)
data = {"x": x, "y": x @ np.array([1, -2, 3], np.float32)}
def loss(params, batch, key):
    return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)
def far(w):
    if w[2] > 2.5:
        raise ValueError("too far")
    return w[2]
def metrics(params, batch):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return {"far": jax.pure_callback(far, shape, params["w"])} if CALLS else {}
task = Task(lambda key: {"w": jnp.zeros(3)}, loss, metrics, data, data, batch_size=20, validation=VALIDATION)
"""


class Swarm:
    """Agents in one folder that all train the same task."""

    def __init__(self, folder: Path, calls: bool = False, validation: str = "None") -> None:
        self.folder = folder
        (folder / "task.py").write_text(TASK.replace("CALLS", str(calls)).replace("VALIDATION", validation))

    def agent(self, shard: str = "0/1", join: tuple[str, ...] = (), run_dir: str = "run", **learning) -> Agent:
        return Agent(
            Learning(
                task=str(self.folder / "task.py"), optimizer="sgd", learning_rate=0.05, **{"steps": 60} | learning
            ),
            Gossiping(every="5steps", linger=0, settle=5, topology="complete"),
            Placing(
                listen="tcp://127.0.0.1:0",
                run_dir=self.folder / run_dir / "agents" / f"agent-{shard[0]}",
                name=f"agent-{shard[0]}",
                run="together",
                shard=shard,
                join=join,
                wait_for=int(shard[-1]),
            ),
        )


@pytest.fixture
def swarm(tmp_path: Path) -> Swarm:
    return Swarm(tmp_path)


def lines(agent: Agent) -> list[dict]:
    return [json.loads(line) for line in (agent.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_evaluations_change_nothing_of_training_and_the_best_model_is_kept(swarm: Swarm) -> None:
    thetas = {}
    for name, every in (("with", "20steps"), ("without", None)):
        agent = swarm.agent(run_dir=name, evaluate_every=every)
        agent.run(lambda line: None)
        thetas[name] = load(agent.run_dir / "checkpoint.safetensors").theta
        judged = [line for line in lines(agent)[:-1] if "test_loss" in line]
        assert [line["step"] for line in judged] == ([20, 40, 60] if every else [])
        best = agent.run_dir / "best.safetensors"
        assert best.exists() == bool(every)
        if every:
            facts = load(best).facts
            assert facts["evaluation"]["best"] == min(line["test_loss"] for line in judged)
            assert facts["step"] == min(judged, key=lambda line: line["test_loss"])["step"]
    assert thetas["with"].tobytes() == thetas["without"].tobytes()


def test_a_metric_that_fails_costs_a_line_once_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails at each evaluation from the second on, and at the end, where it is an error as ever."""
    agent = Swarm(tmp_path, calls=True).agent(evaluate_every="5steps")
    with pytest.raises(TaskError, match=r"the metrics of task .* failed: .*too far"):
        agent.run(lambda line: None)
    failed = [record for record in caplog.records if "training goes on, without its evaluation" in record.message]
    assert len(failed) == 1 and failed[0].levelno == logging.WARNING
    judged = [line["step"] for line in lines(agent) if "test_far" in line]
    assert 5 in judged and 60 not in judged
    assert load(agent.run_dir / "checkpoint.safetensors").facts["step"] == 60


def test_models_are_judged_by_validation_data_where_a_task_has_any(tmp_path: Path) -> None:
    agent = Swarm(tmp_path, validation='{"x": x[:7], "y": 0 * data["y"][:7]}').agent(evaluate_every="30steps")
    agent.run(lambda line: None)
    first, *_, last = [line for line in lines(agent) if {"validation_loss", "test_loss"} & line.keys()]
    assert "test_loss" not in first and first["validation_loss"] > 1
    assert "validation_loss" not in last and last["test_loss"] < 1


def test_three_agents_stop_together_by_two_votes_end_equal_and_are_replayed_exactly(swarm: Swarm) -> None:
    """The third evaluates nothing. Long before their steps are over they end as at the end of these."""
    stops = {"evaluate_every": "10steps", "stop_when": "loss<0.01", "steps": 10**6}
    agents, reports, said = [swarm.agent("0/3", **stops)], {}, {}

    def run(agent: Agent) -> None:
        reports[agent.name] = agent.run(said.setdefault(agent.name, []).append)

    threads = [Thread(target=run, args=(agents[0],))]
    threads[0].start()
    for shard, mine in (("1/3", stops), ("2/3", {"steps": 10**6, "evaluate_every": "999999steps"})):
        agents.append(swarm.agent(shard, join=(agents[0].address,), **mine))
        threads.append(Thread(target=run, args=(agents[-1],)))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), said
    assert isinstance(reports["agent-2"], Report) and all(report.steps < 10**5 for report in reports.values())
    assert all(any("of 3 agents vote to stop" in line for line in each) for each in said.values())
    thetas = np.stack([load(agent.run_dir / "checkpoint.safetensors").theta for agent in agents])
    assert np.abs(thetas - thetas[0]).max() < 1e-5
    assert load(agents[0].run_dir / "best.safetensors").facts["evaluation"]["votes"] is True
    replayed = replay(swarm.folder / "run", exact=True, progress=False)
    assert replayed.theta.tobytes() == thetas.tobytes()


def run_until(agent: Agent, step: int | None, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Of a run that is told to stop at the boundary after this step, once it has evaluated; None: never."""
    after_steps = Evaluator.after_steps

    def then(judge: Evaluator, peer: Peer, state: TrainState, progress: Progress) -> None:
        after_steps(judge, peer, state, progress)
        if progress.step == step:
            agent.halt()

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "after_steps", then)
        return agent.run(lambda line: None)


@pytest.mark.parametrize("halted_at", [(), (15,), (15, 25), (30,)])
def test_an_agent_alone_ends_at_the_boundary_after_its_vote_halted_before_or_not(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, halted_at: tuple[int, ...]
) -> None:
    for at in (*halted_at, None):
        agent = swarm.agent(evaluate_every="10steps", stop_when="loss<0.1", steps=10**5)
        report = run_until(agent, at, monkeypatch)
    judged = {line["step"]: line["test_loss"] for line in lines(agent) if "test_loss" in line}
    assert report.steps == min(step for step, loss in judged.items() if loss < 0.1) == 30


def test_a_metric_that_the_task_lacks_is_one_line_before_anything_compiles(swarm: Swarm) -> None:
    with pytest.raises(
        SettingsError, match=r"^--stop-when accuracy>0.9: task .* has no metric 'accuracy': it has loss$"
    ):
        swarm.agent(evaluate_every="5steps", stop_when="accuracy>0.9")
    assert not list((swarm.folder / "run").rglob("agent-0")), "nothing is left of it"


def test_an_agent_that_goes_on_knows_its_best_score(swarm: Swarm) -> None:
    first = swarm.agent(evaluate_every="20steps", steps=40)
    first.run(lambda line: None)
    second = swarm.agent(evaluate_every="20steps", steps=60)
    second.run(lambda line: None)
    judged = [line["test_loss"] for line in lines(second) if "test_loss" in line]
    assert load(second.run_dir / "checkpoint.safetensors").facts["evaluation"]["best"] == min(judged)


def test_the_best_model_stays_where_an_agent_goes_on_with_another_goal_or_without_evaluations(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([0.5, 0.25, 1.0, 1.0, 0.75, 0.5, 1.0])  # And at each end.
    monkeypatch.setattr("agents.evaluating.evaluated", lambda *_: {"loss": next(given)})
    for steps, more in (
        (20, {"evaluate_every": "10steps", "patience": 5}),
        (30, {}),
        (50, {"evaluate_every": "10steps", "patience": 9}),
    ):
        agent = swarm.agent(steps=steps, **more)
        agent.run(lambda line: None)
    assert load(agent.run_dir / "best.safetensors").facts["step"] == 20
    assert load(agent.run_dir / "checkpoint.safetensors").facts["evaluation"]["best"] == 0.25
