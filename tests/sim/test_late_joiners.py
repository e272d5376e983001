"""What a simulated agent takes over when it comes late is no exchange, and theta alone; before, it counts nowhere."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import Rule, load_task
from agents.learning.learner import make_learner
from sim import simulate, sweep
from sim.ending import OPTIMIZER

LATE, AGENTS = 3, 4


class Counting(NamedTuple):
    """inner: the optimizer's state. steps: how many were taken, as a vector. farthest: that exchanges moved one."""

    inner: Any
    steps: Any
    farthest: jax.Array


def around(optimizer):
    def init(params):
        return Counting(optimizer.init(params), jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))

    def update(gradient, state, params=None, **more):
        updates, inner = optimizer.update(gradient, state.inner, params)
        return updates, state._replace(inner=inner, steps=jax.tree.map(lambda leaf: leaf + 1, state.steps))

    return optax.GradientTransformationExtraArgs(init, update)


def exchanged(state, before, after):
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    farthest = jnp.max(jnp.stack([jnp.max(jnp.abs(b - a)) for b, a in pairs]))
    params = after[0] if isinstance(after, tuple) else after
    return state._replace(farthest=jnp.maximum(state.farthest, farthest)), params


ALONE = Rule("alone", ("theta",), around, exchanged)
BESIDE = Rule("beside", ("theta", "steps"), around, exchanged, lambda state: (state.steps,))


@pytest.mark.parametrize("rule", [ALONE, BESIDE], ids=lambda rule: rule.name)
def test_a_rule_learns_nothing_of_what_a_late_joiner_takes_over(rule):
    """With alpha 1 exchanges move nothing, so all that could be learned of is that."""
    settings = {"agents": AGENTS, "rounds": 8, "alpha": 1.0, "rule": rule, "optimizer": "sgd", "progress": False}
    history = simulate("digits", joins={LATE: 4.0}, **settings)
    (farthest,) = (leaf for leaf in history.ending.of(OPTIMIZER).values() if leaf.shape == (AGENTS,))
    assert not np.any(farthest)
    assert np.abs(history.theta[LATE] - simulate("digits", **settings).theta[LATE]).max() > 1e-3


QUICK = {"agents": AGENTS, "weigh": "equal", "snapshots": True, "progress": False}
DIGITS = make_learner(load_task("digits"))


@pytest.mark.parametrize("private", ["", "output/*"])
def test_who_has_not_come_yet_is_in_no_consensus(private):
    """It joins as the run ends, so it is there at no moment; private parameters are each agent's own."""
    joins = {LATE: 6.0}
    history = simulate("digits", rounds=6, joins=joins, private=private, partition="labels:3", eval_every=2, **QUICK)
    own = np.arange(DIGITS.size) >= 64 * 65 if private else np.zeros(DIGITS.size, bool)
    for moment, models in enumerate(history.snapshots):
        there = models[:LATE]
        mean = there.mean(0)
        moved = np.where(own, 0, mean - history.snapshots[0][0])
        apart = np.where(own, 0, there - mean)
        assert history.mean_drift[moment] == pytest.approx(np.linalg.norm(moved), abs=1e-5)
        assert history.consensus_distance[moment] == pytest.approx(np.sqrt((apart**2).sum(1).mean()), abs=1e-4)
        whole = [DIGITS.unflatten(jax.device_put(np.where(own, theta, mean))) for theta in there]
        losses = [DIGITS.evaluate(params, load_task("digits").test_data)["loss"] for params in whole]
        assert history.consensus_loss[moment] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("run", [simulate, lambda *task, **given: sweep(*task, seeds=[1, 0], **given)[(0,)]])
def test_agents_count_from_when_they_come(run):
    joins = {2: 1.5, LATE: 3.0}
    history = run("digits", rounds=5, joins=joins, local_steps=0, eval_every=1, **QUICK)
    for moment, models in enumerate(history.snapshots):
        there = models[[joins.get(agent, -1) < moment for agent in range(AGENTS)]]
        apart = np.linalg.norm(there - there.mean(0), axis=1)
        assert history.consensus_distance[moment] == pytest.approx(np.sqrt(np.mean(apart**2)), rel=1e-4, abs=1e-4)
    assert history.mean_drift[0] == 0 and history.mean_drift[1] < 1e-5


@pytest.mark.parametrize("submodel", ["width:2", "layers:2"])
def test_a_part_that_nobody_is_there_for_stands_as_it_began(submodel):
    history = simulate("digits", rounds=6, joins={1: 2.5, 3: 4.0}, submodel=submodel, eval_every=1, **QUICK)
    assert history.consensus_distance[0] == history.mean_drift[0] == 0
    for name in ("consensus_loss", "consensus_distance", "mean_drift"):
        assert np.isfinite(getattr(history, name)).all()
    assert history.consensus_loss[-1] < history.consensus_loss[0]
