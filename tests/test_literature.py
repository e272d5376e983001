"""Results of the literature at a small size: the laws of benchmarks/literature.py hold in the simulator."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parents[1]
sys.path.append(str(HERE / "benchmarks"))

import literature_mean  # noqa: E402
import literature_quadratics  # noqa: E402
import literature_spam  # noqa: E402
import literature_tokens  # noqa: E402


def test_the_mean_of_agents_has_the_variance_of_all_samples_and_one_agent_that_of_its_gossip(monkeypatch):
    """1 / nT, and sum_k tr W^2k / (n T^2): within five standard deviations of a mean of squares."""
    agents, rounds, seeds = 8, 50, range(4)
    monkeypatch.setattr(literature_mean, "COORDINATES", 400)
    merged, own = literature_mean.errors(agents, rounds, seeds, topology="ring", protocol="synchronous")
    sure = 5 * np.sqrt(2 / (400 * len(seeds)))
    assert merged.mean() * agents * rounds == pytest.approx(1, abs=sure)
    assert own.mean() / literature_mean.variance_of_one(agents, rounds) == pytest.approx(1, abs=sure)


def test_gossip_has_a_floor_that_grows_with_heterogeneity_and_corrections_have_none():
    """Of gossip's linear system the fixed point is known; D2, drift:1, comes to the optimum itself."""
    rate, zetas = 0.2, literature_quadratics.ZETAS
    _, gossip = literature_quadratics.errors("gossip", [rate], [0, 1], 150, points=2)
    floors = np.array([[floor_of_gossip(zeta2, seed, rate) for seed in (0, 1)] for zeta2 in zetas])
    assert gossip[-1, 1:, 0, :, 0] == pytest.approx(floors[1:], rel=1e-3) and (gossip[-1, 0] < 1e-10).all()
    assert (floors[2] > 1e-3).all()
    _, corrected = literature_quadratics.errors("drift:1", [0.5], [0, 1], 150, points=2)
    assert (corrected[-1] < 1e-5).all()


def test_relay_is_a_plain_loop_of_relaysgd():
    """Vogels et al. 2021, algorithm 1: sums that are passed on, with counts; the start for who is not heard of yet."""
    rate, rounds, (A, b, mean, optimum) = 1.0, 60, literature_quadratics.problem(10.0, 0)
    n = len(A)
    x, sums, counts = np.zeros(b.shape), {}, {}
    near = [[j for j in (i - 1, i + 1) if 0 <= j < n] for i in range(n)]
    for _ in range(rounds):
        x = x - rate * np.einsum("nji,nj->ni", A, np.einsum("nij,nj->ni", A, x) - b)
        edges = [(i, j) for i in range(n) for j in near[i]]
        before = {(i, j): [k for k in near[i] if k != j and (k, i) in sums] for i, j in edges}
        passed = {(i, j): x[i] + sum(sums[k, i] for k in before[i, j]) for i, j in edges}
        counts = {(i, j): 1 + sum(counts[k, i] for k in before[i, j]) for i, j in edges}
        sums = passed
        x = np.array([x[i] + sum(sums[k, i] for k in near[i]) for i in range(n)]) / n
    off = x.mean(0) - optimum
    _, found = literature_quadratics.errors("relay", [rate], [0], rounds, points=2)
    assert found[-1, 2, 0, 0, 0] == pytest.approx(off @ mean @ off, rel=1e-2)


def floor_of_gossip(zeta2: float, seed: int, rate: float) -> float:
    """The error of the mean of x = W (x - rate (H x - A^T b)), solved."""
    A, b, mean, optimum = literature_quadratics.problem(zeta2, seed)
    n, d = b.shape
    near = np.roll(np.eye(n), 1, axis=0)
    W = (np.eye(n) + near + near.T) / 3
    H = np.einsum("nij,nik->njk", A, A)
    step = np.einsum("ij,jkl->ikjl", W, np.eye(d) - rate * H).reshape(n * d, n * d)
    x = np.linalg.solve(np.eye(n * d) - step, (rate * W @ np.einsum("nij,ni->nj", A, b)).ravel())
    off = x.reshape(n, d).mean(0) - optimum
    return float(off @ mean @ off)


@pytest.mark.skipif(not literature_spam.PATH.exists(), reason=literature_spam.MISSING)
def test_spambase_is_read_whole():
    x, y = literature_spam.spam()
    assert x.shape == (4601, 57) and (y == 1).sum() == 1813 and x.min() == 0 and (x.max(0) == 1).all()


def test_tokens_take_models_farther_with_no_more_messages():
    """One proactive message a turn; of tokens no more than were saved."""
    from agents import Task

    rows = {"x": np.zeros((20, 1), np.float32)}
    task = Task(
        lambda key: {"age": np.zeros((), np.float32)},
        lambda params, batch, key: -params["age"],  # Each step of length one adds one: the age of a model.
        lambda params, batch: {"age": params["age"]},
        rows,
        rows,
        batch_size=1,
        optimizer="sgd",
        learning_rate=1.0,
    )
    rounds, agents, ages, sent = 30, 20, [], []
    for tokens in (None, (1, 10), (5, 10)):
        history, messages = literature_tokens.run(task, tokens, 3, rounds, agents=agents)
        ages.append(history.of_agents("age")[-1].mean())
        sent.append(messages)
    assert sent[0] == rounds * agents and max(sent[1:]) <= sent[0] and min(sent[1:]) > sent[0] / 2
    assert 0.7 * rounds < ages[0] < 1.5 * rounds and ages[1] > 2 * ages[0] and ages[2] > 4 * ages[0]


@pytest.mark.parametrize("name", ["literature", "learning", "neighbors"])
def test_the_page_s_tables_are_those_of_what_was_kept(monkeypatch, name):
    monkeypatch.syspath_prepend(HERE / "docs")
    spec = importlib.util.spec_from_file_location(f"{name}_page", HERE / "docs" / f"{name}.py")
    writes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writes)
    made = writes.tables(json.loads((HERE / "docs" / f"{name}.json").read_text()))
    page = (HERE / "docs" / f"{name}.md").read_text()
    assert importlib.import_module("pages").updated(page, name, made) == page
    assert made and all(text in page and text.count("\n|") > 2 for text in made.values())


def test_every_reproduction_has_its_table():
    kept = json.loads((HERE / "docs" / "literature.json").read_text())
    page = (HERE / "docs" / "literature.md").read_text()
    assert all(f"<!-- {row['reproduction']}: " in page for row in kept)
