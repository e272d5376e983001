"""Blocks tile what is exchanged, are as even as cuts between layers allow, and are the same text for all."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.blocks import OWN, Blocks, ScopeError, blocks_of, layers, named_in, patterns
from agents.mixing.layout import Layout

MODEL = Layout([("a/b", (10,)), ("a/w", (10, 20)), ("b/b", (3,)), ("b/w", (3, 10)), ("c/w", (200,))])

models = st.lists(st.integers(1, 60), min_size=1, max_size=7).map(
    lambda sizes: Layout([(f"{k}/{part}", (size,)) for k, size in enumerate(sizes) for part in "ab"])
)


@given(models, st.integers(1, 7), st.sets(st.integers(0, 6)))
def test_blocks_tile_the_scope_and_a_layer_is_never_split(layout, count, own):
    names = [name for name, _ in layout.parameters]
    private = [f"{k}/*" for k in own if 2 * k < len(names)]
    there = len(names) // 2 - len(private)
    if not 1 <= count <= there:
        return
    blocks = blocks_of(layout, private, count)
    assert [run.start for run, _ in blocks.runs] == [0, *(run.stop for run, _ in blocks.runs[:-1])]
    assert blocks.runs[-1][0].stop == layout.size and blocks.count == count
    which = dict(zip(names, blocks.of_spans(layout.spans().values()), strict=True))
    for k in range(len(names) // 2):
        assert which[f"{k}/a"] == which[f"{k}/b"], "a layer is one block's"
    assert {name for name, block in which.items() if block == OWN} == {
        name for name in names if f"{name[0]}/*" in private
    }
    shared = [block for block in which.values() if block != OWN]
    assert shared == sorted(shared) and set(shared) == set(range(count)), "blocks follow each other"
    for chunk, block in zip(blocks.scope.chunks(), blocks.of_chunks, strict=True):
        assert any(run.start <= chunk.start and chunk.stop <= run.stop and block == b for run, b in blocks.runs)
    assert Blocks.of_settings(blocks.settings, layout.size) == blocks


@given(models, st.integers(1, 7))
def test_no_cut_between_layers_is_more_even(layout, count):
    sizes = [2 * shape[0] for _, shape in layout.parameters[::2]]
    if count > len(sizes):
        return
    found = [scope.size for scope in blocks_of(layout, (), count).scopes]
    best = min(
        sum(sum(sizes[a:b]) ** 2 for a, b in pairwise([0, *cut, len(sizes)]))
        for cut in combinations(range(1, len(sizes)), count - 1)
    )
    assert sum(size**2 for size in found) == best and sum(found) == layout.size


def test_what_is_private_is_in_no_chunk():
    blocks = blocks_of(MODEL, ["*/b"])
    assert blocks.runs == ((slice(0, 10), OWN), (slice(10, 210), 0), (slice(210, 213), OWN), (slice(213, 443), 0))
    assert blocks.scope.chunks() == (slice(10, 210), slice(213, 443)) and blocks.of_chunks == (0, 0)
    assert named_in(blocks, OWN, MODEL.parameters) == "a/b, b/b"
    assert named_in(blocks, OWN, None) == "coordinates 0 to 9, coordinates 210 to 212"


def test_the_whole_takes_no_place_in_a_manifest():
    blocks = blocks_of(MODEL)
    assert blocks == Blocks.whole(443) and blocks.settings == {} and Blocks.of_settings({}, 443) == blocks


def test_a_layer_is_where_names_begin_to_differ():
    assert layers(["params/a/w", "params/a/b", "params/b/w"]) == ["params/a", "params/a", "params/b"]
    assert layers(["w1", "b1"]) == ["w1", "b1"] and layers(["a/w"]) == ["a/w"]
    assert layers(["x", "x/y"]) == ["x", "x"]


def test_patterns_are_given_one_by_one_or_with_commas_in_any_order():
    assert patterns("b, a") == patterns(["a", "b,a"]) == ("a", "b") and patterns(()) == patterns("") == ()


@pytest.mark.parametrize(
    ("private", "count", "words"),
    [
        (["head*"], 1, ["--private head* matches no parameter", "a/b, a/w, b/b, b/w, c/w"]),
        (["*"], 1, ["--private * matches all parameters", "a/b, a/w, b/b, b/w, c/w"]),
        ([], 4, ["4 blocks", "layers are 3, a, b, c", "at most layers:3"]),
        (["a/*"], 3, ["3 blocks", "layers are 2, b, c"]),
    ],
)
def test_what_cant_be_shared_out_is_refused_in_one_line(private, count, words):
    with pytest.raises(ScopeError) as refusal:
        blocks_of(MODEL, private, count)
    assert all(word in str(refusal.value) for word in words) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["x", "5-3", "0-9;5-12", "0-444", "0-9,,", "0-" + "9" * 400, "-1-4", ";"])
def test_a_text_that_is_no_blocks_is_refused(text):
    """It may come from whoever answers an observer."""
    with pytest.raises(ScopeError):
        Blocks.parse(text, 443)


def test_a_model_of_very_many_layers_is_not_searched_for_cuts_that_nobody_asks_for():
    """Comparing each pair of 40,000 layers would take minutes."""
    names = [(f"layer{k}", (2,)) for k in range(40_000)]
    assert blocks_of(Layout(names)).is_whole
