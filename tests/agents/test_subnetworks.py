"""Independent subnetworks: the map from shapes, first weights and assembly, for every built-in model and others."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Task, load_task
from agents.learning.check import check_params
from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.learning.parameters import parameters
from agents.learning.tasks.models import classification, cnn, dense, dense_layers, mlp, of_any_width, regression, widths
from agents.mixing.narrow import NarrowError, Subnetworks, cuts
from agents.submodel import (
    block_count,
    check_private_training,
    check_shards,
    parse,
    part_of,
    same_part,
    subnetwork_count,
)
from agents.subnetworks import subnetwork, subnetworks, wider
from agents.values import SettingsError
from transport.messages import Report

COUNT = 4


def flat(params):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(params)])


def unflat(vector, like):
    leaves, start = [], 0
    for leaf in jax.tree.leaves(like):
        leaves.append(jnp.asarray(vector[start : start + leaf.size]).reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def shapes(init):
    return [(name, shape) for name, shape, _ in parameters(jax.eval_shape(init, jax.random.key(0)))]


MODELS = {
    "digits": (lambda share: mlp(64, *widths(share, 64), 10), (64,)),
    "npz of vectors": (lambda share: mlp(12, *widths(share, 128), 3), (12,)),
    "fashion-mnist": (lambda share: cnn(28, 28, 1, 10, share), (28, 28, 1)),
    "npz of images": (lambda share: cnn(9, 6, 3, 5, share), (9, 6, 3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_assembled_network_gives_the_weighted_mean_of_the_subnetworks_outputs(name):
    """So K times it, with equal weights, is their sum; blocks between two subnetworks are zero."""
    model, shape = MODELS[name]
    (full, apply), (narrow, narrow_apply) = model(1), model(1 / COUNT)
    map = Subnetworks(shapes(full), shapes(narrow), COUNT)
    rng = np.random.default_rng(0)
    thetas = rng.normal(size=(COUNT, map.narrow_size)).astype(np.float32) * 0.3
    weights = np.array([1, 2, 3, 4], np.float32)
    small, large = (jax.eval_shape(init, jax.random.key(0)) for init in (narrow, full))
    x = rng.normal(size=(6, *shape)).astype(np.float32)
    outputs = [narrow_apply(unflat(theta, small), x) for theta in thetas]
    expected = sum(w * each for w, each in zip(weights / weights.sum(), outputs, strict=True))
    assembled = map.assemble(thetas, weights)
    np.testing.assert_allclose(apply(unflat(assembled, large), x), expected, atol=2e-4, rtol=2e-4)
    np.testing.assert_array_equal(map.assemble(jnp.asarray(thetas), jnp.asarray(weights)), assembled)
    off_diagonal = map.size - len(np.unique([map.take(np.arange(map.size), k) for k in range(COUNT)]))
    assert (assembled == 0).sum() == off_diagonal


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 3))
def test_an_mlp_of_any_depth_is_the_mean_of_its_subnetworks(count, hidden, inputs, outputs):
    def model(share):
        sizes = [inputs, *widths(share, *(count * width for width in hidden)), outputs]
        names = [*(f"layer_{k}" for k in range(len(hidden))), "output"]
        init = dense_layers(dict(zip(names, pairwise(sizes), strict=True)))

        def apply(params, x):
            for name in names[:-1]:
                x = jax.nn.relu(dense(params[name], x))
            return dense(params["output"], x)

        return init, apply

    (full, apply), (narrow, narrow_apply) = model(1), model(1 / count)
    map = Subnetworks(shapes(full), shapes(narrow), count)
    rng = np.random.default_rng(1)
    thetas = rng.normal(size=(count, map.narrow_size)).astype(np.float32)
    small, large = (jax.eval_shape(init, jax.random.key(0)) for init in (narrow, full))
    x = rng.normal(size=(3, inputs)).astype(np.float32)
    expected = sum(narrow_apply(unflat(theta, small), x) for theta in thetas) / count
    found = apply(unflat(map.assemble(thetas, np.ones(count, np.float32)), large), x)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_parameters_that_all_hold_are_their_weighted_mean():
    map = Subnetworks([("a/bias", (3,)), ("a/weights", (4, 3))], [("a/bias", (3,)), ("a/weights", (2, 3))], 2)
    thetas = np.array([[1, 2, 3, *range(6)], [5, 6, 7, *range(6)]], np.float32)
    np.testing.assert_allclose(map.assemble(thetas, np.array([3, 1], np.float32))[:3], [2, 3, 4])


def test_other_conventions_of_layers_are_read_from_their_biases():
    """Weights as (outputs, inputs), heads as axes, layers without a bias, and ten of them in a row."""
    torch = [("1/b", (8,)), ("1/w", (8, 3)), ("2/b", (2,)), ("2/w", (2, 8))]
    small = [("1/b", (4,)), ("1/w", (4, 3)), ("2/b", (2,)), ("2/w", (2, 4))]
    assert [cut.gathers for cut in cuts(torch, small, 2)] == [False, False, False, True]
    heads = [("q/bias", (4, 5)), ("q/kernel", (7, 4, 5)), ("z/bias", (7,)), ("z/kernel", (4, 5, 7))]
    small = [("q/bias", (2, 5)), ("q/kernel", (7, 2, 5)), ("z/bias", (7,)), ("z/kernel", (2, 5, 7))]
    assert [cut.gathers for cut in cuts(heads, small, 2)] == [False, False, False, True]
    bare = [("1/w", (3, 8)), ("2/w", (8, 2))]
    assert [cut.gathers for cut in cuts(bare, [("1/w", (3, 4)), ("2/w", (4, 2))], 2)] == [False, True]
    deep = [(f"d_{k}/w", (4, 4)) for k in (0, 1, 10, 2)] + [("flat/w", (9 * 6, 1)), ("d_9/w", (4, 6))]
    less = [(f"d_{k}/w", (2, 2)) for k in (0, 1, 10, 2)] + [("flat/w", (9 * 3, 1)), ("d_9/w", (2, 3))]
    by_name = {cut.name: cut for cut in cuts(deep, less, 2)}
    assert by_name["flat/w"].groups == (6, 0)  # Of d_9, not of d_10, which stands before it and has 4, no factor.


@pytest.mark.parametrize(
    ("full", "narrow", "line"),
    [
        ([("w", (4, 6))], [("w", (4, 4))], "w is (4, 6) in the full model and (4, 4) in that of narrow(1/2)"),
        ([("w", (4, 6))], [("w", (4, 3, 1))], "w is (4, 6) in the full model and (4, 3, 1)"),
        ([("w", (4,)), ("b", (2,))], [("w", (2,))], "b (2,) is in the full model alone"),
        ([("w", (4,))], [("w", (2,)), ("b", (2,))], "b (2,) is in the narrow model alone"),
        ([("w", (4,))], [("w", (4,))], "narrow(1/2) returned the full model"),
    ],
)
def test_shapes_that_do_not_fit_are_named_in_one_line(full, narrow, line):
    with pytest.raises(NarrowError) as raised:
        Subnetworks(full, narrow, 2)
    assert str(raised.value).startswith(line) and "\n" not in str(raised.value)


def test_a_subnetwork_begins_as_its_part_of_the_full_model():
    task = load_task("digits")
    map = subnetworks(task, COUNT)[1]
    theta = flat(make_learner(task).init(7).params)
    for k in range(COUNT):
        small = flat(make_learner(subnetwork(task, COUNT, k)).init(7).params)
        expected = map.take(theta, k)
        expected[-160:] *= 2  # The weights to 10 outputs from 16 units, where 64 were drawn for.
        np.testing.assert_array_equal(small, expected)


def test_a_narrow_task_differs_from_its_task_in_its_model_alone():
    task = load_task("digits")
    narrow = subnetwork(task, COUNT, 1)
    assert narrow.train is task.train and narrow.batch_size == task.batch_size and narrow.name == task.name
    assert check_params(narrow)["hidden"]["weights"].shape == (64, 16)
    assert check_params(wider(task, 32))["hidden"]["weights"].shape == (64, 2048)
    assert check_params(subnetwork(wider(task, 32), COUNT, 0))["output"]["weights"].shape == (512, 10)


def test_widths_that_do_not_divide_are_named_and_nothing_compiles():
    with pytest.raises(TaskError, match=r"hidden widths must stay whole.*: got 64 times 1/5"):
        subnetworks(load_task("digits"), 5)
    init, apply = cnn(8, 8, 1, 2)
    loss, metrics = classification(apply)
    data = {"x": np.zeros((4, 8, 8, 1), np.float32), "y": np.zeros(4, np.int32)}
    with pytest.raises(TaskError, match="task mine has no narrow"):
        subnetworks(Task(init, loss, metrics, data, data, name="mine"), 2)
    images = of_any_width(lambda share: (cnn(8, 8, 1, 2, share)[0], loss, metrics), data, data)
    with pytest.raises(TaskError, match="got 16, 32, 64 times 1/3"):
        subnetworks(images, 3)
    with pytest.raises(TaskError, match=r"narrow\(0.5\) must return a Task: got int"):
        subnetworks(Task(init, loss, metrics, data, data, narrow=lambda share: 3), 2)
    with pytest.raises(TaskError, match=r"narrow\(0.5\) failed: .*test_subnetworks.py, line \d+: ZeroDivisionError"):
        subnetworks(Task(init, loss, metrics, data, data, narrow=lambda share: 1 // 0), 2)
    with pytest.raises(TaskError, match=r"Task\(narrow=\.\.\.\) must be a function: got 3"):
        Task(init, loss, metrics, data, data, narrow=3)


def test_values_assemble_to_the_mean_of_the_subnetworks_values():
    """Not to their sum, which would be K times too large."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    data = {"x": x, "y": np.ones((20, 1), np.float32)}

    def model(share):
        init, apply = mlp(3, *widths(share, 8), 1)
        return init, *regression(apply)

    task = of_any_width(model, data, data)
    narrow, map = subnetworks(task, 2)
    learner = make_learner(narrow)
    theta = np.asarray(learner.flatten(learner.init(0).params))
    copies = map.assemble(np.stack([theta, theta]), np.array([1, 3], np.float32))
    full = make_learner(task)
    found = full.evaluate(full.unflatten(copies), data)["loss"]
    assert found == pytest.approx(learner.evaluate(learner.unflatten(theta), data)["loss"], rel=1e-4)


def test_the_setting_names_kind_and_parts_or_is_refused():
    assert parse("none") is None and parse("width:4") == ("width", 4) and parse("layers:2") == ("layers", 2)
    for text in ("width", "width:1", "width:0", "width:9999", "depth:2", "width:-2", "", "width:2.5", "layers:41"):
        with pytest.raises(SettingsError, match="--submodel is none, or width:K"):
            parse(text)
    for kind in ("width", "layers"):
        check_shards(f"{kind}:4", 4)
        with pytest.raises(SettingsError, match=f"{kind}:4 has 4 parts and the data 3 shards"):
            check_shards(f"{kind}:4", 3)


def test_width_divides_what_agents_hold_and_layers_what_they_train():
    counts = [(subnetwork_count(text), block_count(text)) for text in ("none", "width:4", "layers:3")]
    assert counts == [(1, 1), (4, 1), (1, 3)]
    zero, one, two = (Report(shard=f"{index}/4") for index in range(3))
    assert same_part("layers:2", zero, one) and same_part("none", zero, one)
    assert same_part("width:2", zero, two) and not same_part("width:2", zero, one)


def test_private_training_of_a_block_is_refused():
    check_private_training("layers:2", None)
    check_private_training("width:2", "3,1e-5")
    with pytest.raises(SettingsError, match=r"--dp .* --submodel layers:2 .* leave one of the two out"):
        check_private_training("layers:2", "3,1e-5")


def test_a_record_tells_which_part_its_agent_trains():
    assert [part_of("width:4", f"{index}/8") for index in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert part_of("none", "5/8") == part_of("none", "") == 0
    assert part_of("width:4", "") is part_of("width:4", "9/8") is part_of("width:oops", "0/8") is None
