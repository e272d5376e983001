"""Every rule does what its docstring states, in any order of local steps and exchanges, and keeps its laws."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_rules import MOMENTUM, RATE, PlainAgent

from agents.learning.rule_names import ACCELERATED, VALUES
from agents.learning.rules import drift, named, noloco, prox, tracking
from agents.mixing.codecs import FLOAT32
from agents.mixing.exchange import apply, difference, rate

AGENTS, SIZE = 4, 5
RANDOM = np.random.default_rng(7)
CENTERS = RANDOM.normal(size=(AGENTS, SIZE)).astype(np.float32)
CURVATURES = RANDOM.uniform(0.5, 2, size=(AGENTS, SIZE)).astype(np.float32)
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.5])
NUMBERS = {"momentum": None, "quasi": 0.8, "drift": 0.1, "noloco": 0.4, "prox": 0.5, "tracking": 0.6}
NUMBERS["ema"] = 0.7
TEXTS = [name if number is None else f"{name}:{number}" for name, number in NUMBERS.items()]
TOGETHER = ["drift:0.1+prox:0.5", "quasi:0.8+noloco:0.4+ema:0.7", "momentum+drift:0.1+tracking:0.6"]

step = st.integers(0, AGENTS - 1)
pair = st.tuples(step, step).filter(lambda both: both[0] != both[1])
schedules = st.lists(st.one_of(step, step, pair), min_size=5, max_size=60)
"""What happens, one after the other: an agent takes a local step, or two exchange."""


def test_every_part_of_a_rule_has_its_laws():
    assert {*NUMBERS, ACCELERATED} == VALUES.keys()  # What moves the params has them in test_accelerated.py.


@cache
def compiled(text, curvature=1.0):
    """A rule around SGD with momentum: (start, a local step, what follows from exchanges, further vectors, an end)."""
    rule = named(text) if isinstance(text, str) else text
    transform = rule.around(optax.with_extra_args_support(optax.sgd(RATE, momentum=MOMENTUM)))

    @jax.jit
    def local(theta, state, center, curvatures):
        gradient = {"w": curvature * curvatures * (theta - center)}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(gradient, state, {"w": theta})
        return theta + updates["w"], state

    @jax.jit
    def follow(state, before, after):
        if rule.exchanged is None:
            return state
        before, after = ([{"w": vector} for vector in vectors] for vectors in (before, after))
        return rule.exchanged(state, *(tuple(each) if rule.beside else each[0] for each in (before, after)))[0]

    def further(state):
        return [vector["w"] for vector in rule.beside(state)] if rule.beside else []

    def end(state, theta):
        return rule.final(state, {"w": theta}) if rule.final else (state, {"w": theta})

    return jax.jit(lambda: transform.init({"w": jnp.zeros(SIZE)})), local, follow, further, end


class Swarm:
    """Agents with a rule, moved by the product's own functions."""

    def __init__(self, text, curvature=1.0):
        start, self.local, self.follow, self.further, self.final = compiled(text, curvature)
        self.theta = np.zeros((AGENTS, SIZE), np.float32)
        self.states = [start() for _ in range(AGENTS)]

    def does(self, event):
        """One event; how far it moved each agent that exchanged, by its number."""
        if isinstance(event, int):
            moved = self.local(self.theta[event], self.states[event], CENTERS[event], CURVATURES[event])
            self.theta[event], self.states[event] = np.asarray(moved[0]), moved[1]
            return {}
        i, j = event
        before = {k: self.shared(k) for k in event}
        _, d = difference(FLOAT32, before[i], before[j])
        after = {i: apply(before[i], np.float32(rate(0.5, WEIGHTS[i], WEIGHTS[j])), d)}
        after[j] = apply(before[j], -np.float32(rate(0.5, WEIGHTS[j], WEIGHTS[i])), d)
        for k in event:
            self.states[k] = self.follow(self.states[k], before[k], after[k])
            self.theta[k] = after[k][0]
        return {k: after[k] - before[k] for k in event}

    def end(self):
        """All have taken their last step."""
        for k in range(AGENTS):
            self.states[k], theta = self.final(self.states[k], self.theta[k])
            self.theta[k] = theta["w"]

    def shared(self, k):
        """What agent k exchanges, (V, P)."""
        return np.stack([self.theta[k], *map(np.asarray, self.further(self.states[k]))])

    def total(self, of):
        """sum_i w_i of_i, in float64."""
        return sum(weight * np.asarray(of(k), float) for k, weight in enumerate(WEIGHTS))


@pytest.mark.parametrize("text", [*TEXTS, *TOGETHER])
@settings(deadline=None, max_examples=15)
@given(schedule=schedules)
def test_a_rule_is_what_its_docstring_states(text, schedule):
    numbers = {part.split(":")[0]: float(part.split(":")[1]) if ":" in part else None for part in text.split("+")}
    swarm = Swarm(text)
    plain = [PlainAgent(*map(np.float64, each), numbers) for each in zip(CENTERS, CURVATURES, strict=True)]
    for event in schedule:
        moved = swarm.does(event)
        if isinstance(event, int):
            plain[event].step()
            continue
        i, j = event
        d = plain[j].shared - plain[i].shared
        for k, by in ((i, rate(0.5, WEIGHTS[i], WEIGHTS[j]) * d), (j, -rate(0.5, WEIGHTS[j], WEIGHTS[i]) * d)):
            plain[k].exchanged(by if moved[k].any() else 0 * by)
    for _ in range(2):  # Without a step in between the second time changes nothing.
        swarm.end()
        for agent in plain:
            agent.end()
    np.testing.assert_allclose(swarm.theta, [agent.theta for agent in plain], atol=2e-4)


@pytest.mark.parametrize(("rule", "of"), [("drift:0.1", "pull"), ("tracking:0.6", "correction")])
@settings(deadline=None, max_examples=25)
@given(schedule=schedules)
def test_what_drift_and_tracking_learn_of_exchanges_sums_to_zero(rule, of, schedule):
    swarm = Swarm(rule)
    for event in schedule:
        swarm.does(event)
    assert np.abs(swarm.total(lambda k: getattr(swarm.states[k], of)["w"])).max() < 1e-5


@settings(deadline=None, max_examples=25)
@given(schedule=schedules)
def test_the_sum_of_momenta_moves_by_training_alone(schedule):
    swarm = Swarm("momentum")

    def total():
        return swarm.total(lambda k: np.asarray(swarm.further(swarm.states[k])[0]))

    for event in schedule:
        before = total()
        swarm.does(event)
        if not isinstance(event, int):
            np.testing.assert_allclose(total(), before, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(schedule=schedules)
def test_what_noloco_keeps_and_theta_move_by_training_alone(schedule):
    """The loss is constant here, so nothing moves the sum."""
    swarm = Swarm("noloco:0.4", curvature=0.0)
    swarm.theta = np.random.default_rng(0).normal(size=swarm.theta.shape).astype(np.float32)

    def total():
        return swarm.total(
            lambda k: swarm.theta[k] + 0.4 / 0.6 * (swarm.states[k].velocity["w"] + swarm.states[k].moved["w"])
        )

    first = total()
    for event in schedule:
        swarm.does(event)
        np.testing.assert_allclose(total(), first, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(rounds=st.lists(st.lists(pair, max_size=4), min_size=1, max_size=12))
def test_the_mean_of_averages_is_the_average_of_the_mean_where_all_step_together(rounds):
    """However they exchange after each step."""
    swarm, path = Swarm("ema:0.7"), []
    for pairs in rounds:
        for k in range(AGENTS):
            swarm.does(k)
        path.append(swarm.total(lambda k: swarm.theta[k]))
        for event in pairs:
            swarm.does(event)
    swarm.end()
    weights = 0.7 ** np.arange(len(path))[::-1]
    np.testing.assert_allclose(
        swarm.total(lambda k: swarm.theta[k]), np.average(path, axis=0, weights=weights), atol=1e-4
    )


@pytest.mark.parametrize("rule", [drift(0.0), noloco(0.0), prox(0.0), tracking(0.0)], ids=lambda rule: rule.name)
@settings(deadline=None, max_examples=8)
@given(schedule=schedules)
def test_with_a_number_of_zero_a_rule_is_parameters_bit_for_bit(rule, schedule):
    """One operation at a time: compiled, XLA adds what it can in one instruction, and a rule's sum has another term."""
    swarm, plain = Swarm(rule), Swarm("parameters")
    with jax.disable_jit():
        for event in schedule:
            swarm.does(event)
            plain.does(event)
    assert (swarm.theta + 0.0).tobytes() == (plain.theta + 0.0).tobytes()


@pytest.mark.parametrize("text", TEXTS)
def test_exchanges_that_brought_nothing_change_nothing(text):
    swarm = Swarm(text)
    for event in (0, 1, (0, 1), 0):
        swarm.does(event)
    again = swarm.follow(swarm.states[0], swarm.shared(0), swarm.shared(0))
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(swarm.states[0]), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_quasi_of_one_agent_with_all_equal_neighbors_keeps_to_the_length_that_momentum_has():
    """Under a constant gradient of one, m is 1 / (1 - momentum), with the rule as without."""
    transform = named("quasi:0.9").around(optax.with_extra_args_support(optax.sgd(RATE, momentum=MOMENTUM)))
    theta, state = {"w": jnp.zeros(SIZE)}, transform.init({"w": jnp.zeros(SIZE)})
    for _ in range(600):
        updates, state = transform.update({"w": jnp.ones(SIZE)}, state, theta)
        state, _ = named("quasi:0.9").exchanged(state, theta, jax.tree.map(lambda leaf: leaf + 1e-9, theta))
    np.testing.assert_allclose(updates["w"], -RATE / (1 - MOMENTUM), rtol=2e-2)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1), optax.lbfgs()], ids=["sgd", "adam", "lbfgs"])
def test_quasi_is_refused_where_there_is_no_momentum_of_its_kind(optimizer):
    with pytest.raises(ValueError, match="rule quasi sets the optimizer's momentum, and needs one"):
        named("quasi").around(optax.with_extra_args_support(optimizer))


@pytest.mark.parametrize("numbers", [{"drift": 0.25}, {"tracking": 0.5}], ids=lambda numbers: next(iter(numbers)))
def test_in_plain_loops_too_agents_come_to_rest_at_the_optimum_of_all(numbers):
    """All take a step, then all exchange in pairs, in turn."""
    ends = {}
    for given_numbers in ({}, numbers):
        plain = [PlainAgent(center, np.ones(SIZE), given_numbers) for center in np.float64(CENTERS)]
        for round in range(3000):
            for agent in plain:
                agent.step()
            order = np.random.default_rng(round).permutation(AGENTS)
            for i, j in zip(order[::2], order[1::2], strict=True):
                d = (plain[j].shared - plain[i].shared) / 2
                plain[i].exchanged(d)
                plain[j].exchanged(-d)
        ends[bool(given_numbers)] = np.abs([agent.theta - CENTERS.mean(0) for agent in plain]).max()
    assert ends[True] < 1e-6 < 0.05 < ends[False]
