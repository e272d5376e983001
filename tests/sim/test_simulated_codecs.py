"""Codecs and rules in the simulator: the same functions as in agents, so the same laws."""

import numpy as np
import pytest

from agents.mixing.codecs import CODECS, named
from agents.mixing.exchange import apply, difference
from sim import simulate
from sim.conditions import Conditions
from sim.ending import LEARNED
from sim.sources.exchange import Exchange
from sim.tape import ADOPT, TRAIN
from topology import ring

P = 4810
"""Of the digits' model."""


def started(agents, apart=0.01, seed=0):
    random = np.random.default_rng(seed)
    return (0.1 * random.normal(size=P) + apart * random.normal(size=(agents, P))).astype(np.float32)


def run(**changes):
    given = {"agents": 4, "rounds": 8, "progress": False, "topology": "ring", "seed": 3}
    return simulate("digits", **{**given, **changes})


def plain(codec, init, rounds, joins=None):
    """The same tape operation by operation, in NumPy: the agents' vectors at the end, and what the codec learned."""
    source = Exchange(ring(4), Conditions(4, seed=3, joins=joins), local_steps=0)
    (block,) = source.blocks(rounds, np.array([]), rounds)
    tape, versions, learned = block.tape, list(init), [codec.begin(row) for row in init]
    for e in range(len(tape)):
        assert tape.kind[e] != TRAIN
        cur, a, b = (int(read[e]) for read in (tape.cur, tape.a, tape.b))
        if tape.kind[e] == ADOPT:  # As an agent takes over a vector: what it learned of another is gone.
            versions.append(versions[b])
            learned.append(codec.begin(versions[b]))
            continue
        answered, d = difference(codec, versions[a], versions[b], learned[a])
        versions.append(apply(versions[cur], np.float32(tape.coefficient[e]), d))
        learned.append(codec.learn(learned[cur], answered, versions[-1], tape.coefficient[e] > 0))
    return tuple(np.array([each[v] for v in tape.leaving[:4]]) for each in (versions, learned))


@pytest.mark.parametrize(
    ("name", "rounding"),
    [
        ("float32", 1e-4),
        ("lattice:2", 0.2),
        ("lattice:4", 0.1),
        ("lattice:8", 0.01),
        ("bfloat16", 0.01),
        ("segments:1/3", 1e-4),
        ("lattice:8+segments:1/2+float32/3", 0.02),
    ],
)
def test_exchanges_on_the_device_are_those_of_numpy(name, rounding):
    """But for rounding: a last bit that differs draws another dither, and what is rounded differs by part of a step."""
    init = started(4, apart=0.0003)
    history = run(codec=name, local_steps=0, init=init, rounds=3)
    expected, _ = plain(named(name), init, 3.0)
    apart = np.abs(init - init.mean(0)).max()
    assert np.abs(history.theta - init).max() > 0.1 * apart
    error = np.abs(history.theta - expected)
    assert np.median(error) < rounding * apart and error.max() < 5 * rounding * apart
    distances = [np.linalg.norm(theta - theta.mean(0)) for theta in (history.theta, expected)]
    assert distances[0] == pytest.approx(distances[1], rel=0.1)


@pytest.mark.parametrize("name", [*CODECS, "lattice:4+segments:1/2", "lattice:4+float32/3", "lowrank:4+lattice:4/5"])
def test_with_training_off_agents_agree_and_the_mean_stays(name):
    history = run(codec=name, local_steps=0, init=started(4), rounds=240 if "lowrank" in name else 80)
    assert history.mean_drift.max() < 1e-5
    assert history.consensus_distance[-1] < 1e-4 * history.consensus_distance[0]


@pytest.mark.parametrize("name", ["float32", "lattice:2", "lattice:4", "lattice:4+segments:1/5"])
def test_bytes_are_those_of_the_codec(name):
    history = run(codec=name, local_steps=0, init=started(4))
    offer, answer = named(name).size(P)
    assert history.bytes[-1] == pytest.approx(history.exchanges[-1] * (offer + answer), rel=0.02)


@pytest.mark.parametrize("rule", ["parameters", "drift"])
def test_few_bits_train_as_all_do_and_the_same_seed_gives_the_same(rule):
    given = {"rounds": 40, "partition": "dirichlet:0.3", "rule": rule, "seed": 1}
    exact, few, again = (run(codec=codec, **given) for codec in ("float32", "lattice:4", "lattice:4"))
    assert few.theta.tobytes() == again.theta.tobytes()
    assert few.consensus_accuracy[-1] > exact.consensus_accuracy[-1] - 0.03
    assert few.bytes[-1] < exact.bytes[-1] / 7


def test_a_rule_changes_nothing_for_who_is_alone_and_something_for_who_is_not():
    alone = [run(agents=1, topology="complete", rounds=10, rule=rule).theta for rule in ("parameters", "drift")]
    np.testing.assert_allclose(*alone, atol=1e-6)
    together = [run(rule=rule, partition="dirichlet:0.3").theta for rule in ("parameters", "drift")]
    assert np.abs(together[0] - together[1]).max() > 1e-4


def test_agents_that_join_late_begin_with_what_they_take_over():
    history = run(codec="lattice:4", rule="drift", rounds=20, joins={3: 8.0}, partition="dirichlet:0.3")
    assert np.isfinite(history.theta).all() and history.consensus_accuracy[-1] > 0.5


@pytest.mark.parametrize("name", ["lattice:2", "lattice:8", "segments:1/5", "lattice:4+segments:1/2", "lowrank:2"])
def test_who_joins_late_takes_over_all_of_a_model_whatever_the_codec(name):
    """With alpha 1 exchanges move nothing. It begins with zeros, of which each coordinate must go."""
    init = started(4)
    init[3] = 0
    found = run(codec=name, alpha=1.0, joins={3: 2.0}, local_steps=0, init=init, rounds=4).theta
    np.testing.assert_array_equal(found[:3], init[:3])
    assert any(np.array_equal(found[3], donor) for donor in init[:3])


@pytest.mark.parametrize("name", ["lattice:8", "segments:1/3", "lattice:8+segments:1/2", "lattice:8+float32/3"])
def test_who_joins_late_learns_afresh_as_agents_do(name):
    """What a codec expects of the zeros with which it begins it forgets, and what it takes over is no exchange."""
    init, joins = started(4, apart=0.0003), {3: 1.0}
    init[3] = 0
    (learned,) = run(codec=name, local_steps=0, init=init, joins=joins, rounds=2).ending.of(LEARNED).values()
    _, expected = plain(named(name), init, 2.0, joins)
    np.testing.assert_allclose(learned, expected, rtol=0.05)
