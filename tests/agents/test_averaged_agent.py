"""An agent with rule ema ends with its average: once, not where it is interrupted, and a replay repeats it."""

from pathlib import Path

import numpy as np
import pytest
from line_task import LINE

from agents.agent import Agent
from agents.bookkeeping import Bookkeeping
from agents.checkpoint import FILE, load_theta
from agents.learning.data import batch_rows
from agents.settings import Gossiping, Learning, Placing
from sim.exact_replay import follow
from sim.recordings import recordings

STEPS, RATE, DECAY = 20, 0.1, 0.8


@pytest.fixture
def start(tmp_path: Path):
    (tmp_path / "task.py").write_text(LINE)

    def made(folder: str) -> Agent:
        return Agent(
            Learning(task=str(tmp_path / "task.py"), optimizer="sgd", learning_rate=RATE, steps=STEPS),
            Gossiping(rule=f"ema:{DECAY}", every="5steps", linger=0, settle=0),
            Placing(listen="tcp://127.0.0.1:0", run_dir=tmp_path / folder, name="one"),
        )

    return made


def averaged(data: dict[str, np.ndarray]) -> np.ndarray:
    """The weights after each step of plain SGD on this data, averaged as the rule says, in float64."""
    x, y, w, path = data["x"].astype(float), data["y"].astype(float), np.zeros(3), []
    for rows in batch_rows(0, 0, 0, STEPS, 20, len(x)):
        w = w - RATE * 2 * x[rows].T @ (x[rows] @ w - y[rows]) / 20
        path.append(w)
    weights = DECAY ** np.arange(STEPS)[::-1]
    return weights @ path / weights.sum()


def test_it_ends_with_the_average_of_its_steps_once_also_where_it_was_interrupted(start, tmp_path, monkeypatch) -> None:
    agent = start("whole")
    agent.run(lambda line: None)
    ended = load_theta(tmp_path / "whole" / FILE)
    np.testing.assert_allclose(ended, averaged(agent.prepared.data), atol=1e-5)
    start("whole").run(lambda line: None)
    assert load_theta(tmp_path / "whole" / FILE).tobytes() == ended.tobytes(), "it had ended, and is as it was"

    agent, after_steps = start("parts"), Bookkeeping.after_steps

    def interrupted(books, peer, state, progress):
        after_steps(books, peer, state, progress)
        if progress.step == STEPS // 2:
            agent.halt()

    with monkeypatch.context() as patched:
        patched.setattr(Bookkeeping, "after_steps", interrupted)
        assert agent.run(lambda line: None).steps == STEPS // 2
    start("parts").run(lambda line: None)
    assert load_theta(tmp_path / "parts" / FILE).tobytes() == ended.tobytes()

    replayed = follow(recordings(tmp_path / "parts"))
    assert replayed.notes == [] and replayed.theta[0].tobytes() == ended.tobytes()
