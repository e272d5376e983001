"""What a task file brings of its own, a partition and a rule, is used and becomes part of the manifest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import Rule, load_task
from agents.joining import incomplete, shared, take_over
from agents.learning.data import DataError, deal, labels_or_count
from agents.learning.errors import TaskError
from agents.learning.rules import UnknownRule, drift, rule_hash
from agents.manifest import Manifest
from agents.prepare import prepare
from agents.settings import Gossiping, Learning, Placing
from agents.values import SettingsError, Shard
from sim import simulate

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_partition.py"
SHARD = Shard(1, 4)

TASK = """
from agents import AsGiven, Rule, load_task

task = load_task("digits")
"""
MINE = """
def mine(labels, agents, seed):
    return [range(agent, len(labels), agents) for agent in range(agents)]

partition = mine
"""


def written(folder: Path, *parts: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text("".join([TASK, *parts]))
    return str(path)


def manifest_of(task: str, **settings: str) -> Manifest:
    """As `Agent` makes it, apart from the model's hash."""
    learning = Learning(task=task, **{name: value for name, value in settings.items() if name == "partition"})
    gossiping = Gossiping(**{name: value for name, value in settings.items() if name == "rule"})
    prepared = prepare(learning, SHARD, gossiping)
    return Manifest(shared(learning, gossiping, SHARD) | dict(prepared.own))


def test_agents_take_the_partition_and_the_rule_of_their_task_file():
    task = load_task(EXAMPLE)
    prepared = prepare(Learning(task=str(EXAMPLE)), SHARD)
    expected = deal(task.partition, labels_or_count(task.train_data), 4, 0).of(1)
    np.testing.assert_array_equal(prepared.data["y"], np.asarray(task.train_data["y"])[expected])
    assert prepared.learner.rule.name == "calm" and prepared.samples == len(expected)
    name, digest = prepared.own["partition"].split("@")
    assert name == "partition" and len(digest) == 12 and prepared.own["rule"] == f"calm@{rule_hash(task.rule)}"


def test_what_is_given_precedes_what_the_file_says(tmp_path):
    task = written(tmp_path, MINE, "rule = Rule('mine', ('theta',), lambda optimizer: optimizer)\n")
    prepared = prepare(Learning(task=task, partition="iid"), SHARD, Gossiping(rule="drift"))
    plain = prepare(Learning(task="digits"), SHARD, Gossiping(rule="drift"))
    assert prepared.own == {} and prepared.learner.rule.name == "drift"
    np.testing.assert_array_equal(prepared.data["y"], plain.data["y"])


def test_a_file_s_rule_that_does_not_go_with_the_codec_is_refused_as_a_given_one_is(tmp_path):
    task = written(tmp_path, "rule = 'drift'\n")
    with pytest.raises(UnknownRule, match="drift learns from whole differences"):
        prepare(Learning(task=task), SHARD, Gossiping(codec="lowrank:4"))
    with pytest.raises(UnknownRule, match="drift learns from whole differences"):
        simulate(task, agents=2, rounds=1, codec="lowrank:4", progress=False)


def test_files_that_deal_otherwise_contradict_each_other_by_name_and_hash(tmp_path):
    one = manifest_of(written(tmp_path / "one", MINE))
    same = manifest_of(written(tmp_path / "two", "import math\n", MINE.replace("range(agent, len", "range( agent,len")))
    assert one.hash == same.hash
    for other in (MINE.replace("range(agent,", "range(agents - 1 - agent,"), MINE.replace("mine", "ours"), ""):
        found = one.contradiction(manifest_of(written(tmp_path / "three", other)).settings)
        assert found.name == "partition" and found.ours.startswith("mine@") and "mine@" in str(found)
        assert found.theirs == "iid" or "@" in found.theirs


RULE = """
def exchanged(state, before, after):
    return state, after

rule = Rule("mine", ("theta",), lambda optimizer: optimizer, exchanged)
"""


def test_rules_that_read_otherwise_contradict_each_other(tmp_path):
    one = manifest_of(written(tmp_path / "one", RULE))
    assert one.hash == manifest_of(written(tmp_path / "two", "\n\n", RULE)).hash
    for other in (RULE.replace("after\n", "before\n"), RULE.replace('"mine"', '"ours"'), ""):
        found = one.contradiction(manifest_of(written(tmp_path / "three", other)).settings)
        assert found.name == "rule" and str(found.ours).startswith("mine@")
    assert manifest_of("digits", rule="drift").settings["rule"] == "drift:0.05"
    assert rule_hash(drift(0.1)) != rule_hash(drift(0.2))


def joined(theirs: Manifest, **given: str):
    learning = Learning(**{name: value for name, value in given.items() if name != "rule"})
    gossiping = Gossiping(**{name: value for name, value in given.items() if name == "rule"})
    placing = Placing(join=("tcp://a:1",), shard="1/4")
    return take_over((learning, gossiping, placing), "the-run", theirs.settings, {})


def test_a_joiner_uses_its_own_copy_of_the_file(tmp_path):
    task = written(tmp_path, MINE, RULE)
    swarm = manifest_of(task)
    learning, gossiping, _ = joined(swarm, task=task)
    assert learning.partition is gossiping.rule is None
    prepared = prepare(learning, SHARD, gossiping)
    assert swarm.contradiction(shared(learning, gossiping, SHARD) | dict(prepared.own)) is None
    for name, value in (("partition", "iid"), ("rule", "drift")):
        with pytest.raises(SettingsError, match=f"--{name}: {name} is {value} here and {'mine@'}"):
            joined(swarm, task=task, **{name: value})


def test_a_joiner_takes_over_what_the_swarm_was_given_though_its_file_says_otherwise(tmp_path):
    task = written(tmp_path, MINE, RULE)
    learning, gossiping, _ = joined(manifest_of(task, partition="sizes:1", rule="drift"), task=task)
    assert (learning.partition, gossiping.rule) == ("sizes:1", "drift:0.05")
    learning, gossiping, _ = joined(manifest_of("digits"), task="digits")
    assert (learning.partition, gossiping.rule) == ("iid", "parameters")


def test_what_a_task_may_say_need_not_be_given():
    """A launch gives all settings that there are, so its agents ask nobody."""
    learning = Learning(task="digits", seed=0, width=1.0)
    whole = {"submodel": "none", "turns": 0, "private": ()}
    gossiping = Gossiping(topology="ring", alpha=0.5, codec="float32", weigh="samples", finish="exact", **whole)
    placing = Placing(shard="0/4", run="the-run")
    assert not incomplete(learning, gossiping, placing)


@pytest.mark.parametrize(
    ("parts", "error", "what"),
    [
        ("partition = 'dirichlet'\n", DataError, "a partition is 'iid'"),
        ("partition = 3\n", DataError, "partition 'given' must be one list of row indices an agent.*got int 3"),
        ("partition = AsGiven('iid')\n", DataError, "AsGiven is for a partition of one's own"),
        (
            "rule = 'mine'\n",
            ValueError,
            r"rule is parameters, or one .* joined by \+ .*: got 'mine'",
        ),
        ("rule = 3\n", TaskError, r"a rule is a Rule\(name, vectors, around, exchanged\): got int 3"),
        ("rule = Rule('mine', ('theta',), 3)\n", TaskError, r"Rule\(around=...\) must be a function: got 3"),
    ],
)
def test_what_a_file_brings_is_checked_when_it_is_loaded(tmp_path, parts, error, what):
    with pytest.raises(error, match=what) as caught:
        load_task(written(tmp_path, parts))
    assert "\n" not in str(caught.value)


def test_a_partition_that_leaves_rows_out_trains_that_much_less():
    task = load_task("digits")
    assert replace(task, partition=lambda labels, agents, seed: [[0]] * agents).partition is not None
    with pytest.raises(DataError, match="leaves out"):
        deal(lambda labels, agents, seed: [[k] for k in range(agents)], 9, 4, 0)
    with pytest.raises(TaskError, match="a rule is a Rule"):
        replace(task, rule=lambda: Rule)
