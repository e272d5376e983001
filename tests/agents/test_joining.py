"""A joiner takes over what the swarm shares; what contradicts it is refused with the field and both values."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agents.joining import SHARED, incomplete, shared, suggestions, take_over
from agents.manifest import Manifest
from agents.settings import Gossiping, Learning, Placing
from agents.values import SettingsError, Shard

FOUNDER = (
    Learning(task="digits", partition="dirichlet:0.1", seed=7, learning_rate=0.2, steps=50),
    Gossiping(
        topology="complete",
        alpha=0.3,
        weigh="equal",
        every="3steps",
        codec="lattice:4",
        rule="drift",
        private=("b/*,a",),
    ),
    Shard(0, 8),
)
THEIRS = shared(*FOUNDER)
SUGGESTED = suggestions(*FOUNDER[:2], steps=50)
OTHER = {
    "task": "npz",
    "partition": "iid",
    "seed": 8,
    "topology": "ring",
    "alpha": 0.4,
    "weigh": "samples",
    "finish": "gossip",
    "rule": "parameters",
    "width": 2.0,
    "submodel": "layers:4",
    "turns": 20,
    "private": ("head/*",),
}


def joined(learning=None, gossiping=None, **placing):
    given = {"join": ("tcp://a:1",), "shard": "1/8", **placing}
    mine = Learning(**(learning or {})), Gossiping(**(gossiping or {})), Placing(**given)
    return take_over(mine, "the-run", THEIRS, SUGGESTED)


def test_joiner_that_is_given_nothing_gets_the_same_manifest():
    learning, gossiping, placing = joined()
    assert Manifest(shared(learning, gossiping, placing.shard)).hash == Manifest(THEIRS).hash
    assert (learning.learning_rate, learning.steps, str(gossiping.every)) == (0.2, 50, "3steps")
    assert placing.run == "the-run"
    assert not incomplete(learning, gossiping, placing)


@pytest.mark.parametrize("name", SHARED)
def test_contradiction_is_refused_with_the_field_and_both_values(name):
    group = {"learning": {name: OTHER[name]}} if SHARED[name] is Learning else {"gossiping": {name: OTHER[name]}}
    with pytest.raises(SettingsError) as refusal:
        joined(**group)
    other = ",".join(OTHER[name]) if isinstance(OTHER[name], tuple) else str(OTHER[name])
    for part in (f"--{name}", other, str(THEIRS[name])):
        assert part in str(refusal.value)


def test_a_codec_is_taken_over_unless_another_is_given_or_it_is_of_a_later_version():
    assert joined()[1].codec == "lattice:4"
    assert joined(gossiping={"codec": "bfloat16", "rule": "drift"})[1].codec == "bfloat16"
    later = SUGGESTED | {"codec": "wavelet:3"}
    mine = Learning(), Gossiping(), Placing(join=("tcp://a:1",), shard="1/8")
    assert take_over(mine, "the-run", THEIRS, later)[1].codec == "float32"


def test_when_the_swarm_stops_is_taken_over_unless_it_is_given():
    stops = {"evaluate_every": "20steps", "stop_when": "loss<0.1", "patience": 3}
    theirs = suggestions(Learning(task="digits", **stops), Gossiping(), steps=50)
    mine = Learning(), Gossiping(), Placing(join=("tcp://a:1",), shard="1/8")
    learning = take_over(mine, "the-run", THEIRS, theirs)[0]
    assert {name: str(getattr(learning, name)) for name in stops} == stops | {"patience": "3"}
    own = Learning(evaluate_every="5steps", stop_when="accuracy>0.5"), *mine[1:]
    assert str(take_over(own, "the-run", THEIRS, theirs)[0].stop_when) == "accuracy>0.5"


def test_how_neighbors_are_chosen_is_taken_over_unless_it_is_given_or_of_a_later_version():
    mine = Learning(), Gossiping(), Placing(join=("tcp://a:1",), shard="1/8")
    for theirs, ours in (("roundrobin", "roundrobin"), ("nearest", "uniform")):
        suggested = SUGGESTED | {"choose": theirs}
        assert take_over(mine, "the-run", THEIRS, suggested)[1].choose == ours
    own = Learning(), Gossiping(choose="uniform"), mine[2]
    assert take_over(own, "the-run", THEIRS, SUGGESTED | {"choose": "fastest"})[1].choose == "uniform"


@pytest.mark.parametrize("name", SHARED)
def test_same_value_is_let_in(name):
    value = getattr(FOUNDER[0] if SHARED[name] is Learning else FOUNDER[1], name)
    joined(**{"learning" if SHARED[name] is Learning else "gossiping": {name: value}})


@pytest.mark.parametrize(
    ("placing", "parts"),
    [
        ({"shard": "3/4"}, ["--shard 3/4", "4 here", "8 in the swarm"]),
        ({"run": "mine"}, ["--run", "mine", "the-run"]),
    ],
)
def test_another_cut_and_another_run_are_refused(placing, parts):
    with pytest.raises(SettingsError) as refusal:
        joined(**placing)
    assert all(part in str(refusal.value) for part in parts)


def test_a_shard_must_be_given_where_there_are_several():
    with pytest.raises(SettingsError, match="give one of them, such as --shard 1/8"):
        take_over((Learning(), Gossiping(), Placing(join=("tcp://a:1",))), "r", THEIRS, SUGGESTED)


@pytest.mark.parametrize("task", ["mine.py", "/etc/evil.py", "", "os", "digits.py"])
def test_no_task_file_is_loaded_at_a_peers_word(task):
    with pytest.raises(SettingsError, match="no built-in one: give --task"):
        take_over(
            (Learning(), Gossiping(), Placing(join=("tcp://a:1",), shard="1/8")), "r", {**THEIRS, "task": task}, {}
        )


def test_a_task_file_is_compared_by_its_name():
    theirs = shared(Learning(task="/home/a/mine.py"), Gossiping(), Shard(0, 2))
    learning, _, _ = take_over(
        (Learning(task="work/mine.py"), Gossiping(), Placing(join=("tcp://a:1",), shard="1/2")), "r", theirs, {}
    )
    assert learning.task == "work/mine.py"


def test_epochs_stand_in_place_of_suggested_steps():
    learning, _, _ = joined(learning={"epochs": 3.0})
    assert (learning.epochs, learning.steps) == (3.0, None)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_learning_rate_is_not_taken_over_for_an_optimizer_that_is_given(optimizer):
    """It was chosen for another, and even where it is the same the joiner's own choice is whole."""
    learning, _, _ = joined(learning={"optimizer": optimizer})
    assert (learning.optimizer, learning.learning_rate) == (optimizer, Learning().learning_rate)
    learning, _, _ = joined(learning={"optimizer": optimizer, "learning_rate": 0.3})
    assert (learning.optimizer, learning.learning_rate) == (optimizer, 0.3)
    learning, _, _ = joined(learning={"learning_rate": 0.3})
    assert (learning.optimizer, learning.learning_rate) == (FOUNDER[0].optimizer, 0.3)


@hypothesis_settings(suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from([*SHARED, "shards"]),
        st.one_of(st.text(), st.integers(-(2**63), 2**63), st.floats(), st.booleans()),
    )
)
def test_whatever_a_swarm_says_is_taken_over_or_refused(theirs):
    try:
        take_over(
            (Learning(), Gossiping(), Placing(join=("tcp://a:1",), shard="1/8")), "r", {**THEIRS, **theirs}, SUGGESTED
        )
    except SettingsError:
        return


def test_a_rule_without_its_gain_contradicts_another_rule_alone():
    assert joined(gossiping={"rule": "drift"})[1].rule == THEIRS["rule"]
    for theirs in ("parameters", "mine@0123456789ab"):
        mine = Learning(), Gossiping(rule="drift"), Placing(join=("tcp://a:1",), shard="1/8")
        with pytest.raises(SettingsError, match=f"--rule: rule is drift here and {theirs}"):
            take_over(mine, "the-run", THEIRS | {"rule": theirs}, SUGGESTED)
