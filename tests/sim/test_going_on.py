"""A run that goes on from a history equals one run of as many rounds; what isn't the same run is refused."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from test_own_parts import Pairs, plain_rule

from agents import load_task
from sim import History, simulate, simulation, sweep
from sim.device import carrying
from topology import ring, torus

SETTINGS = {"agents": 6, "eval_every": 3, "picked": 4, "optimizer": "adam", "progress": False}

CURVES = ("rounds", "consensus_distance", "accuracy", "loss", "consensus_accuracy", "mean_drift", "bytes", "exchanges")


def assert_goes_on(more, whole):
    """The second part is the whole run's, bit for bit."""
    np.testing.assert_array_equal(more.theta, whole.theta)
    for name in CURVES:
        np.testing.assert_array_equal(getattr(more, name), getattr(whole, name)[-len(more.rounds) :])


@pytest.mark.parametrize(
    "settings",
    [
        {"protocol": "synchronous", "topology": "base:2"},
        {"clock": "poisson", "topology": "base:2", "online": 0.7, "speeds": [1, 2, 1, 1, 0.5, 1], "local_steps": 2},
        {"delay": (0, 1.5), "drop": 0.2, "joins": {2: 4.0, 3: 7.5}, "split": (4, 7, [0, 1] * 3)},
        {"delay": 0.8, "rule": "drift+ema:0.9"},
        {"delay": 0.8, "rule": "prox+drift+noloco+tracking", "codec": "lattice:4"},
        {"protocol": "push", "weigh": "age", "delay": 1.3},
        {"protocol": "push-sum", "delay": 1.3},
        {"protocol": Pairs},
        {"local_steps": 0},
        {"submodel": "width:2", "width": 2, "delay": 0.8, "rule": "drift"},
        {"submodel": "width:2", "protocol": "synchronous"},
        {"submodel": "width:2", "turns": 3},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_two_halves_are_the_whole(settings):
    """Also with messages in flight where it was cut."""
    ranks, dtypes = ("allow", "standard") if "codec" in settings else ("raise", "strict")
    with jax.numpy_rank_promotion(ranks), jax.numpy_dtype_promotion(dtypes):
        whole = simulate("digits", rounds=12, **SETTINGS, **settings)
        first = simulate("digits", rounds=6, **SETTINGS, **settings)
        for _ in range(2):  # A history can be gone on from more than once.
            more = simulate("digits", rounds=6, resume=first, **SETTINGS, **settings)
            assert more.rounds.tolist() == [6, 9, 12] and more.facts["resumed"] == 6
            assert_goes_on(more, whole)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_of_an_optimizer_go_on_whatever_their_kind(kind):
    """All agents at once: what a key other than threefry draws depends on the keys that it is vmapped with."""

    def noise(updates, key, params=None):
        key, used = jax.random.split(key)
        return jax.tree.map(lambda leaf: leaf + jax.random.normal(used, leaf.shape) / 100, updates), key

    noisy = optax.GradientTransformation(lambda params: jax.random.key(0, impl=kind), noise)
    task = replace(load_task("digits"), optimizer=optax.chain(noisy, optax.sgd(0.1)))
    settings = SETTINGS | {"optimizer": None, "rounds": 3, "protocol": "synchronous"}
    more = simulate(task, resume=simulate(task, **settings), **settings)
    assert_goes_on(more, simulate(task, **(settings | {"rounds": 6})))


def test_it_goes_on_from_a_file_and_from_what_went_on(tmp_path):
    settings = SETTINGS | {"delay": 0.7, "rounds": 3}
    history = simulate("digits", **settings)
    for _ in range(3):
        history.save(tmp_path / "history")
        history = simulate("digits", resume=History.load(tmp_path / "history"), **settings)
    assert history.rounds.tolist() == [9, 12]
    assert_goes_on(history, simulate("digits", **(settings | {"rounds": 12})))


def test_evaluation_may_be_other_when_it_goes_on():
    first = simulate("digits", rounds=2, **SETTINGS)
    more = simulate("digits", rounds=4, resume=first, snapshots=[2, 5], **(SETTINGS | {"eval_every": 2, "picked": 1}))
    assert more.rounds.tolist() == [2, 4, 5, 6] and more.snapshot_rounds.tolist() == [2, 5]
    np.testing.assert_array_equal(more.snapshots[0], first.theta)


FIRST = {"rounds": 1, "delay": 0.5}


@pytest.fixture(scope="module")
def history():
    return simulate("digits", **SETTINGS, **FIRST)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"alpha": 0.3}, "alpha was 0.5 in the history to resume, and is 0.3 here"),
        ({"delay": 0}, "delay was 0.5 in the history to resume, and is 0 here"),
        ({"submodel": "width:2"}, "submodel was 'none' in the history to resume, and is 'width:2' here"),
        ({"width": 2}, "width was 1.0 in the history to resume, and is 2 here"),
        ({"seed": 1}, "seed was 0 in the history to resume, and is 1 here"),
        ({"agents": 5}, "agents was 6 in the history to resume, and is 5 here"),
        ({"optimizer": "sgd"}, "optimizer was 'adam' in the history to resume, and is 'sgd' here"),
        ({"speeds": [1] * 5 + [2]}, r"speeds was 1.0 .* and is '\(.*2.0\)' here"),
        ({"protocol": Pairs}, "protocol was 'exchange' .* and is 'Pairs' here"),
        ({"topology": torus(2, 3)}, "topology was 'Graph@.*' .* and is 'Graph@.*' here"),
        ({"partition": "sizes:1"}, "partition was 'iid@.*' .* and is 'sizes:1@.*' here"),
        ({"rule": plain_rule()}, "rule was 'parameters@.*' .* and is 'mine@.*' here"),
        ({"task": replace(load_task("digits"), batch_size=8)}, "batch_size was 32 .* and is 8 here"),
        ({"task": replace(load_task("digits"), name="mine")}, "task was 'digits' .* and is 'mine' here"),
        ({"init": np.zeros(4810)}, "resume brings the models to go on from: leave init out"),
        ({"resume": "the last"}, "resume is a history that simulate returned .*: got 'the last'"),
        ({"snapshots": [0]}, "snapshots is True, or rounds from 1 to 2: got"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_is_refused_with_the_field_and_both_values(history, other, what, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("compiled before it was checked")

    monkeypatch.setattr(simulation, "tape_program", refuse)
    settings = {"task": "digits", "resume": history} | SETTINGS | FIRST | other
    with pytest.raises(ValueError, match=what) as caught:
        simulate(settings.pop("task"), **settings)
    assert "\n" not in str(caught.value)


def test_the_same_by_another_name_is_the_same(history):
    other = {"topology": ring(6), "partition": "iid", "rule": "parameters", "speeds": [1.0] * 6}
    with pytest.raises(ValueError, match=r"speeds was 1\.0"):
        simulate("digits", resume=history, **(SETTINGS | FIRST | other))
    del other["speeds"]
    assert simulate("digits", resume=history, **(SETTINGS | FIRST | other)).rounds[-1] == 2


class Forgetful(Pairs):
    state = restore = property(lambda self: (_ for _ in ()).throw(AttributeError()))


def test_what_keeps_nothing_can_not_be_gone_on_from(monkeypatch):
    settings = SETTINGS | {"rounds": 1}
    histories = [
        sweep("digits", seeds=[0], **settings)[(0,)],
        simulate("digits", virtual=True, **settings),
        simulate("digits", protocol=Forgetful, **settings),
    ]
    monkeypatch.setattr(carrying, "MOST_SHARE", 0)
    histories.append(simulate("digits", **settings))
    for history in histories:
        assert history.ending is None
        with pytest.raises(ValueError, match="resume is a history that simulate returned"):
            simulate("digits", resume=history, **settings)


def test_a_sweep_begins_its_runs(history):
    with pytest.raises(ValueError, match=r"to go on from one use simulate\(resume=...\)"):
        sweep("digits", resume=history, **SETTINGS, **FIRST)
