"""The rule "drift": what neighbors pull is learned, moves no mean, and leaves training without exchanges as it is."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.checkpoint import FILE, Checkpoint, load, save
from agents.learning import leaves
from agents.learning.dp.mechanism import Draw, Mechanism
from agents.learning.learner import make_learner
from agents.learning.optimizers import make_optimizer
from agents.learning.rules import drift, probe
from agents.learning.task import Task
from agents.mixing.codecs import CODECS
from agents.mixing.exchange import apply, difference, rate
from sim import simulate

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ np.array([1, -2, 3], np.float32)}
ROWS = np.arange(40, dtype=np.int32).reshape(5, 8)

LABELS = {"w": "trained", "b": "kept"}
OPTIMIZERS = {
    "momentum": None,
    "sgd": "sgd",
    "adam": "adam",
    "adamw": "adamw",
    "schedule": optax.sgd(optax.linear_schedule(0.1, 0.01, 20)),
    "MultiSteps": optax.MultiSteps(optax.sgd(0.1), 3),
    "masked": optax.chain(optax.masked(optax.add_decayed_weights(0.01), {"w": True, "b": False}), optax.sgd(0.1)),
    "multi_transform": optax.multi_transform({"trained": optax.adam(0.01), "kept": optax.set_to_zero()}, LABELS),
    "lbfgs": optax.lbfgs(),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
    "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=2)),
}


def tiny(optimizer) -> Task:
    def loss(params, batch, key):
        return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)

    own = {} if optimizer is None else {"optimizer": optimizer}
    init = {"w": 0.1 * jnp.ones(3), "b": jnp.zeros(())}
    return Task(lambda key: init, loss, lambda params, batch: {}, DATA, DATA, batch_size=8, **own)


@cache
def learner_of(optimizer, rule):
    """For 20 steps of the tiny task; compiled once for all tests."""
    return make_learner(tiny(optimizer), total_steps=20, rule=rule)


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def optimizer(request):
    return request.param


def trained(learner, state, step=0):
    state = jax.tree.map(jnp.array, state)  # Which is consumed.
    return learner.train(state, jax.device_put(DATA), ROWS, np.int32(0), np.int32(step))[0]


def moved(params, by):
    return jax.tree.map(lambda leaf: leaf + jnp.float32(by), params)


def test_where_nothing_is_exchanged_updates_are_the_optimizers_bit_for_bit(optimizer):
    """As they are computed one operation at a time."""
    own = make_optimizer(tiny(optimizer), total_steps=20)
    around = drift(0.25).around(own)

    def loss(params):
        return jnp.mean((X @ params["w"] + params["b"] - DATA["y"]) ** 2)

    params = {"w": 0.1 * jnp.ones(3), "b": jnp.zeros(())}
    alone, with_rule = own.init(params), around.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(3):
            value, gradient = jax.value_and_grad(loss)(params)
            more = {"value": value, "grad": gradient, "value_fn": loss}
            expected, alone = own.update(gradient, alone, params, **more)
            updates, with_rule = around.update(gradient, with_rule, params, **more)
            assert leaves_of(updates) == leaves_of(jax.tree.map(lambda leaf: leaf + 0.0, expected))
            params = optax.apply_updates(params, updates)
            with_rule, params = drift(0.25).exchanged(with_rule, params, params)


def test_where_nothing_is_exchanged_a_compiled_run_is_that_of_parameters_to_rounding(optimizer):
    """XLA adds what it can in one instruction, and the rule's sum has one more term; a line search ends elsewhere."""
    ends = []
    for rule in ("parameters", "drift:0.25"):
        learner = learner_of(optimizer, rule)
        state = learner.init(0)
        for step in range(0, 20, 5):
            state = trained(learner, state, step)
            state = learner.exchanged(state, state.params)
        ends.append(np.asarray(learner.flatten(state.params)))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-3 if optimizer is OPTIMIZERS["lbfgs"] else 2e-6)


def test_what_exchanges_bring_is_remembered_and_followed(optimizer):
    """h is the gain times what came over the longest step, and each step goes length times h."""
    learner = learner_of(optimizer, "drift:0.25")
    state = trained(learner, learner.init(0))
    longest = float(state.opt_state.longest)
    assert longest > 0
    after = learner.exchanged(state, moved(state.params, 0.5))
    for pull, was in zip(jax.tree.leaves(after.opt_state.pull), jax.tree.leaves(state.opt_state.pull), strict=True):
        np.testing.assert_allclose(pull - was, 0.25 * 0.5 / longest, rtol=1e-5)
    again = learner.exchanged(after, after.params)
    assert leaves_of(again) == leaves_of(after), "nothing came, nothing is learned"
    ends = [trained(learner, start, 5) for start in (after, after._replace(opt_state=without_pull(after.opt_state)))]
    assert float(ends[0].params["w"].sum()) > float(ends[1].params["w"].sum())


@pytest.mark.parametrize(("steps", "longest"), [(500, 0.05), (3000, 0.15), (5000, 0.2), (20_000, 0.2)])
def test_the_longest_step_is_found_however_long_a_warm_up_lasts(steps, longest):
    """Of a run shorter than the thousand steps that are always looked at, it is that of these."""
    warm_up = optax.sgd(optax.linear_schedule(0.0, 0.2, 4000))
    state = make_learner(tiny(warm_up), total_steps=steps, rule="drift:0.25+prox:0.1").init(0).opt_state
    np.testing.assert_allclose(state.inner.longest, longest, rtol=0.02)  # Within prox, which is around it.


def test_of_a_run_of_any_length_a_bounded_number_of_steps_is_looked_at():
    rising = optax.with_extra_args_support(optax.sgd(optax.linear_schedule(0.0, 1.0, 2 * probe.MOST)))
    np.testing.assert_allclose(probe.longest(rising, 10**12), 0.5, rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "lion", "nadam", "rmsprop", "adagrad"])
def test_of_a_constant_rate_the_longest_step_has_the_same_bits_however_long_a_run_is(name):
    optimizer = make_optimizer(tiny(name))
    assert len({float(probe.longest(optimizer, steps)) for steps in (None, 20, 1000, 20_000)}) == 1


def leaves_of(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def without_pull(state):
    return state._replace(pull=jax.tree.map(jnp.zeros_like, state.pull))


def test_an_optimizer_that_scales_with_its_rate_leaves_the_pull_in_units_of_a_gradient():
    """The same exchanges, a hundredth of the rate: h is a hundred times as large, and rate times h the same."""
    pulls = []
    for learning_rate in (0.1, 0.001):
        transform = drift(0.25).around(optax.with_extra_args_support(optax.sgd(learning_rate)))
        params, gradient = {"w": jnp.zeros(3)}, {"w": jnp.ones(3) / learning_rate}
        state = transform.init(params)
        for _ in range(4):
            alone, state = transform.update(gradient, state, params)
        state, _ = drift(0.25).exchanged(state, params, {"w": jnp.ones(3)})
        updates, _ = transform.update(gradient, state, params)
        pulls.append(np.asarray(updates["w"] - alone["w"]))
    np.testing.assert_allclose(pulls[0], 0.25, rtol=1e-5)
    np.testing.assert_allclose(pulls[1], pulls[0], rtol=1e-4)


@pytest.mark.parametrize("codec", ["float32", "lattice:3"])
def test_exchanges_leave_the_weighted_sum_of_pulls_however_many_steps_each_has_taken(codec):
    codec, weights = CODECS[codec], np.array([1.0, 2.0, 5.0, 0.5])
    rule, noise = drift(0.25), np.random.default_rng(1)
    transform = rule.around(optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9)))
    thetas = (noise.normal(size=300) + 0.003 * noise.normal(size=(4, 300))).astype(np.float32)
    kept = [codec.begin(theta) for theta in thetas]
    states = [transform.init(theta) for theta in thetas]
    for _ in range(10):
        for k, steps in enumerate((1, 3, 0, 2)):
            for _ in range(steps):
                _, states[k] = transform.update(thetas[k], states[k], thetas[k])
        thetas += (0.003 * noise.normal(size=thetas.shape)).astype(np.float32)
        before = thetas.copy()
        for i, j in ((0, 1), (2, 3), (1, 2), (3, 0)):
            answered, d = difference(codec, thetas[i], thetas[j], kept[i])
            thetas[i] = apply(thetas[i], np.float32(rate(0.5, weights[i], weights[j])), d)
            thetas[j] = apply(thetas[j], -np.float32(rate(0.5, weights[j], weights[i])), d)
            for k in (i, j):
                kept[k] = codec.learn(kept[k], answered, thetas[k], k == i)
        states = [rule.exchanged(*each)[0] for each in zip(states, before, thetas, strict=True)]
        total = sum(weight * np.asarray(state.pull, float) for weight, state in zip(weights, states, strict=True))
        assert np.abs(states[0].pull).max() > 1e-3 and np.abs(total).max() < 1e-4


def test_a_checkpoint_keeps_it_bit_for_bit(optimizer, tmp_path):
    learner = learner_of(optimizer, "drift:0.25")
    state = trained(learner, learner.init(0))
    state = learner.exchanged(state, moved(state.params, 0.5))
    theta = np.asarray(learner.flatten(state.params))
    save(tmp_path / FILE, Checkpoint(theta, leaves.to_arrays(state.opt_state), {"agent": "a", "step": 5}))
    found = load(tmp_path / FILE)
    fresh = learner.init(1)
    back = fresh._replace(opt_state=leaves.from_arrays(fresh.opt_state, list(found.optimizer)))
    back = learner.replace(back, found.theta)
    assert leaves_of(back) == leaves_of(state)
    assert leaves_of(trained(learner, back, 5)) == leaves_of(trained(learner, state, 5))


def test_a_checkpoint_of_another_rule_is_refused():
    ours, other = (make_learner(tiny("adam"), rule=rule).init(0).opt_state for rule in ("drift", "parameters"))
    with pytest.raises(leaves.StateError, match="another optimizer"):
        leaves.from_arrays(ours, leaves.to_arrays(other))


def test_an_optimizer_that_takes_some_further_arguments_and_no_others_is_given_these():
    def update(updates, state, params=None, *, value):
        return jax.tree.map(lambda leaf: -0.1 * leaf / (1 + value), updates), state

    taking = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    learner = make_learner(tiny(taking), rule="drift")
    assert np.isfinite(np.asarray(learner.flatten(trained(learner, learner.init(0)).params))).all()


def test_it_works_in_private_learning():
    learner = make_learner(tiny("adam"), mechanism=Mechanism(64, 8, 1.0, 0.5), rule="drift")
    draw = Draw(ROWS[:2], np.array([8, 8], np.int32), np.array([[0, 1], [0, 2]], np.uint32))
    state, _ = learner.train(learner.init(0), jax.device_put(DATA), draw, np.int32(2))
    after = learner.exchanged(state, moved(state.params, 0.5))
    assert all(float(jnp.abs(pull).max()) > 0 for pull in jax.tree.leaves(after.opt_state.pull))


@pytest.mark.parametrize(("rule", "local_steps"), [("drift", 1), ("tracking", 1), ("tracking", 5)])
def test_agents_of_all_speeds_come_to_rest_at_the_optimum_of_all(rule, local_steps):
    """Quadratics that differ by agent: parameters alone end beside it and apart, the rule at it and together."""
    centers = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    data = {"x": centers.repeat(8, 0), "y": np.arange(8).repeat(8)}

    def loss(params, batch, key=None):
        return 0.5 * jnp.mean(jnp.sum((params["w"][None] - batch["x"]) ** 2, -1))

    task = Task(
        lambda key: {"w": jnp.zeros(5)}, loss, lambda params, batch: {"loss": loss(params, batch)}, data, data,
        batch_size=4, optimizer=optax.sgd(0.05, momentum=0.9),
    )  # fmt: skip
    apart = {}
    for name in ("parameters", rule):
        history = simulate(
            task, agents=8, topology="complete", rounds=300, partition="labels:1", rule=name, weigh="equal",
            speeds=[1, 1, 1, 1, 0.5, 0.5, 2, 2], eval_every=300, progress=False,
            local_steps=local_steps,
        )  # fmt: skip
        apart[name] = np.abs(history.theta - centers.mean(0)).max()
    assert apart[rule] < 1e-3 < 0.1 < apart["parameters"]


@pytest.mark.parametrize(
    "how",
    [
        {"agents": 24, "codec": "lattice:2", "rounds": 100},
        {"agents": 16, "codec": "lattice:3", "online": 0.5, "session": 20, "rounds": 200},
    ],
    ids=["ring", "away"],
)
def test_errors_of_coarse_codecs_stay_bounded_where_agents_agree_slowly(how):
    """Without a limit on what the pull does the distance is 800 after as many rounds, and grows on."""
    history = simulate(
        "digits", topology="ring", local_steps=2, partition="dirichlet:0.1", learning_rate=0.05, rule="drift:0.25",
        eval_every=how["rounds"], progress=False, **how,
    )  # fmt: skip
    assert history.consensus_distance[-1] < 20
    assert history.consensus_accuracy[-1] > 0.75


def test_the_pull_is_no_stronger_than_the_agents_own_gradients_have_been_and_h_itself_has_no_limit():
    """Parameter by parameter: the limit of one doesn't depend on another."""
    transform = drift(0.25).around(optax.with_extra_args_support(optax.sgd(0.1)))
    params = {"w": jnp.zeros(2), "b": jnp.zeros(())}
    gradients = [{"w": jnp.array([0.3, 0.4]), "b": jnp.array(2.0)}, {"w": jnp.array([0.0, 0.0]), "b": jnp.array(2.0)}]
    state = transform.init(params)
    for gradient in gradients:
        _, state = transform.update(gradient, state, params)
    state, _ = drift(0.25).exchanged(state, params, {"w": jnp.array([30.0, 40.0]), "b": jnp.array(0.4)})
    np.testing.assert_allclose(state.pull["w"], [75, 100], rtol=1e-5)
    still = jax.tree.map(jnp.zeros_like, params)
    updates, after = transform.update(still, state, params)
    seen, weights = 0.5**2 * 0.99**2, 0.01 * (0.99**2 + 0.99 + 1)
    most = 1.5 * np.sqrt(0.01 * seen / weights)
    np.testing.assert_allclose(updates["w"], 0.1 * most * np.array([0.6, 0.8]), rtol=1e-4)
    np.testing.assert_allclose(updates["b"], 0.1 * 1.0, rtol=1e-4)
    assert leaves_of(after.pull) == leaves_of(state.pull)


@pytest.mark.parametrize(("gain", "least", "most"), [(0.0, 0.0, 0.2), (0.25, 2.0, 20.0)], ids=["parameters", "drift"])
def test_what_a_liar_does_at_each_exchange_adds_up_with_drift_alone(gain, least, most):
    """Why drift is not the default (docs/learning.md): one of eight always pulls by 0.05; how far the others' mean is
    from their optimum, 0, after 400 steps of rate 0.05."""
    rule, random = drift(gain), np.random.default_rng(0)
    transform = rule.around(optax.with_extra_args_support(optax.sgd(0.05)))
    centers = random.normal(size=7).astype(np.float32)
    centers -= centers.mean()

    @jax.jit
    def local(theta, state):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(theta - centers, state, theta)
        return theta + updates, state

    theta = jnp.zeros(7)
    state = transform.init(theta)
    follow = jax.jit(rule.exchanged)
    for _ in range(400):
        theta, state = local(theta, state)
        liar, *others = random.permutation(7)
        moved = np.zeros(7, np.float32)
        moved[liar] = 0.05
        for i, j in zip(others[::2], others[1::2], strict=True):
            moved[i], moved[j] = (theta[j] - theta[i]) / 2, (theta[i] - theta[j]) / 2
        after = theta + moved
        state, theta = follow(state, theta, after)
    assert least <= float(theta.mean()) < most
