"""How far an agent is from its neighbors in each parameter, against the differences of which it is estimated."""

import numpy as np
import pytest

from agents.mixing import disagreement
from agents.mixing.codecs import named
from agents.mixing.disagreement import MOST_CHARACTERS, MOST_NAMED, OTHERS, Disagreement
from agents.mixing.exchange import difference
from agents.mixing.layout import CHUNK, Layout, Scope

SIZES = {"embedding": 300_000, "bias": 20, "output": 40_000}
APART = {"embedding": 0.01, "bias": 2.0, "output": 0.3}


def layout(sizes, **settings):
    return Layout([(name, (size,)) for name, size in sizes.items()], **settings)


def apart(scales, seed=0):
    random = np.random.default_rng(seed)
    drawn = [random.standard_normal(size) * scales[name] for name, size in SIZES.items()]
    return np.concatenate(drawn).astype(np.float32)


def norms(of, d):
    return {name: float(np.linalg.norm(d[span])) for name, span in of.spans().items()}


def test_each_parameter_of_several_chunks_is_known_within_a_tenth():
    of = layout(SIZES)
    found = Disagreement(of)
    d = apart(APART)
    for chunk, span in enumerate(of.chunks):
        found.found(chunk, d[span], "float32")
    assert found.layers() == pytest.approx(norms(of, d), rel=0.1)


def test_what_is_seen_again_and_again_follows_the_differences():
    """All looked at, as each comes so late: the root mean square of the first few, then exponentially forgotten."""
    clock = iter(np.arange(1, 1000) * disagreement.OLD_S)
    found = Disagreement(layout({"w": 8}), lambda: next(clock))
    for value in (1.0, 3.0):
        found.found(0, np.full(8, value, np.float32), "float32")
    assert found.layers() == {"w": pytest.approx(np.sqrt(8 * (1 + 9) / 2))}
    for _ in range(20 * disagreement.RECENT):
        found.found(0, np.full(8, 2.0, np.float32), "float32")
    assert found.layers() == {"w": pytest.approx(2.0 * np.sqrt(8), rel=1e-3)}


def test_of_differences_that_follow_fast_few_are_looked_at():
    found, looks = Disagreement(layout({"w": CHUNK}), lambda: 0.0), 0
    for number in range(4 * disagreement.EVERY):
        before = found.layers()
        found.found(0, np.full(CHUNK, float(number + 1), np.float32), "float32")
        looks += found.layers() != before
    assert looks == 4


@pytest.mark.parametrize("codec", ["lattice:8", "segments:1/5", "lattice:8+segments:1/3"])
def test_a_codec_that_carries_a_part_at_a_time_finds_the_same(codec):
    of = layout({"a": 1000, "b": 3000})
    theta_i, theta_j = np.zeros(4000, np.float32), np.repeat([0.5, 2.0], [1000, 3000]).astype(np.float32)
    clock = iter(np.arange(1, 1000) * disagreement.OLD_S)
    found, coded = Disagreement(of, lambda: next(clock)), named(codec).on(of.matrices(of.chunks[0]))
    state = coded.begin(theta_i)
    for _ in range(60):
        answered, d = difference(coded, theta_i, theta_j, state)
        state = coded.learn(state, answered, theta_i, True)
        found.found(0, d, codec)
    assert found.layers() == pytest.approx(norms(of, theta_j), rel=0.1)


def test_the_largest_have_figures_of_their_own_and_all_others_one():
    sizes = {f"layer{number}": 10 + number for number in range(MOST_NAMED + 9)} | {"x" * (MOST_CHARACTERS + 1): 500}
    of = layout(sizes)
    found = Disagreement(of)
    found.found(0, np.ones(of.size, np.float32), "float32")
    layers = found.layers()
    assert list(layers) == [*(f"layer{number}" for number in range(9, MOST_NAMED + 9)), OTHERS]
    assert layers["layer20"] == pytest.approx(np.sqrt(30))
    assert layers[OTHERS] == pytest.approx(np.sqrt(sum(range(10, 19)) + 500))


def test_parameters_that_are_called_alike_have_a_figure_each_though_one_fills_whole_chunks():
    of = Layout([("a/b", (CHUNK,)), ("a/b", (4,))])
    found = Disagreement(of)
    for chunk, value in enumerate((1.0, 2.0)):
        found.found(chunk, np.full(of.chunks[chunk].stop - of.chunks[chunk].start, value, np.float32), "float32")
    assert found.layers() == {"a/b": pytest.approx(np.sqrt(CHUNK)), "a/b#1": pytest.approx(4.0)}


def test_what_is_not_exchanged_and_vectors_beside_theta_have_no_figure():
    of = layout({"own": 6, "shared": 4}, scope=Scope(((6, 10),)), vectors=("theta", "momentum"))
    found = Disagreement(of)
    for chunk in range(len(of.chunks)):
        found.found(chunk, np.full(4, 10.0**chunk, np.float32), "float32")
    assert found.layers() == {"shared": pytest.approx(2.0)}
