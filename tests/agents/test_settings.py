"""Settings are checked at construction, and what is written of them, as TOML or as flags, reads back as it was."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from hypothesis import example, given
from hypothesis import strategies as st

from agents.command import flags
from agents.command.cli import app as agent_app
from agents.config import as_flags, from_toml, to_toml
from agents.fields import Settings, settings_of
from agents.settings import Gossiping, Launching, Learning, Placing
from agents.values import Budget, Condition, Every, SettingsError, Shard

NASTY = ["", " ", "null", "None", "-x", "--help", '"', "'''", "\\", "\n\r\t", "\x00\x7f\u2028", "[a]", "{}", "=", "é🙂"]
texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]))
positive = st.floats(0, exclude_min=True, allow_infinity=False)
at_least_0 = st.floats(0)
periods = st.builds(lambda steps: Every(steps=steps), st.integers(1)) | st.builds(
    lambda seconds: Every(seconds=seconds), positive
)
shards = st.integers(1, 10**30).flatmap(lambda n: st.builds(Shard, st.integers(0, n - 1), st.just(n)))
budgets = st.builds(Budget, positive, st.floats(0, 1, exclude_min=True, exclude_max=True))
conditions = st.builds(
    Condition,
    st.from_regex(r"[^\s<>=]+", fullmatch=True),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(allow_nan=False, allow_infinity=False),
)
addresses = st.builds("tcp://{}:{}".format, st.sampled_from(["a", "[::1]", "10.0.0.1"]), st.integers(0, 65535))
paths = texts.filter(lambda text: "\x00" not in text).map(Path)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


learnings = st.fixed_dictionaries(
    {
        "task": texts,
        "data": maybe(texts),
        "partition": st.sampled_from(["iid", "dirichlet:0.1", "labels:2", "sizes:1.5"]),
        "optimizer": maybe(texts),
        "learning_rate": maybe(positive),
        "batch_size": maybe(st.integers(1)),
        "steps": maybe(st.integers(0)),
        "epochs": maybe(positive),
        "seed": st.integers(1 - 2**63, 2**63 - 1),
        "evaluate_every": periods,
        "stop_when": maybe(conditions),
        "patience": maybe(st.integers(1)),
        "dp": maybe(budgets),
        "dp_clip": positive,
    }
).map(
    lambda given: Learning(
        **given
        | ({"epochs": None} if given["steps"] is not None else {})
        | ({"dp_clip": 1.0} if given.get("dp") is None else {})
    )
)
gossipings = st.builds(
    Gossiping,
    topology=st.sampled_from(["ring", "torus", "base:2", "erdos-renyi:0.1"]),
    alpha=st.floats(0, 1),
    every=periods,
    weigh=st.sampled_from(["equal", "samples", "speed"]),
    settle=at_least_0,
    linger=at_least_0,
    silent=st.floats(1, exclude_min=True, allow_infinity=False),
    mask=st.floats(0, allow_infinity=False),
)
placings = st.builds(
    Placing,
    listen=addresses,
    advertise=maybe(addresses),
    join=st.lists(addresses).map(tuple),
    shard=shards,
    name=maybe(texts),
    run=maybe(texts),
    wait_for=st.integers(1),
    stop_after=maybe(st.floats(0, exclude_min=True)),
    run_dir=maybe(paths),
    checkpoint_every=st.floats(0, exclude_min=True),
    evaluate=st.booleans(),
)
launchings = st.builds(Launching, agents=st.integers(1), run_dir=maybe(paths))


def parsed(arguments: list[str]) -> tuple[Settings, ...]:
    """The settings that a command made as `agent` is, with a `launch` beneath it, parses of these arguments."""
    app = App(default_parameter=agent_app.default_parameter)

    @app.default
    def run(
        learning: flags.Learning = Learning(),
        gossiping: flags.Gossiping = Gossiping(),
        placing: flags.Placing = Placing(),
    ) -> tuple[Settings, ...]:
        return learning, gossiping, placing

    @app.command
    def launch(learning: flags.Learning = Learning(), *, launching: flags.Launching) -> tuple[Settings, ...]:
        return learning, launching

    return app(arguments, exit_on_error=False, print_error=False, result_action="return_value")


@given(learnings, gossipings, placings)
def test_toml_reads_back_as_it_was(learning: Learning, gossiping: Gossiping, placing: Placing) -> None:
    text = to_toml(learning, gossiping, placing)
    assert from_toml(text, Learning, Gossiping, Placing) == (learning, gossiping, placing)


@given(learnings, launchings)
def test_a_file_reads_back_as_its_text(tmp_path_factory, learning: Learning, launching: Launching) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(to_toml(learning, launching), "utf-8", newline="")
    assert from_toml(path, Learning, Launching) == (learning, launching)


@given(learnings, gossipings, placings, launchings)
@example(Learning(task="x", seed=-1), Gossiping(settle=math.inf), Placing(name="null"), Launching(agents=3))
def test_flags_read_back_as_they_were(
    learning: Learning, gossiping: Gossiping, placing: Placing, launching: Launching
) -> None:
    for command, settings in ([], (learning, gossiping, placing)), (["launch"], (learning, launching)):
        assert parsed(command + as_flags(*settings)) == settings


def test_only_what_differs_from_its_default_is_a_flag() -> None:
    assert as_flags(Learning(task="x"), Gossiping(), Placing()) == ["--task=x"]
    placing = Placing(evaluate=False, stop_after=2, join=["tcp://a:1", "tcp://b:2"], shard="1/2")
    assert as_flags(placing) == ["--join=tcp://a:1", "--join=tcp://b:2", "--shard=1/2", "--for=2.0", "--no-evaluate"]


@given(learnings, launchings)
@example(Learning(task="x", seed=0, steps=None), Launching(agents=2, track=(), log="text"))
def test_what_was_given_is_a_flag_though_it_is_the_default(learning: Learning, launching: Launching) -> None:
    """Else a variable such as AGENT_SEED would stand in its place where the flags are read."""
    for group, back in zip(
        (learning, launching), parsed(["launch", *as_flags(learning, launching, given=True)]), strict=True
    ):
        assert back == group
        assert back.given >= {name for name in group.given if getattr(group, name) is not None}


@given(learnings, gossipings, placings)
def test_whole_flags_leave_nothing_to_take_over(learning: Learning, gossiping: Gossiping, placing: Placing) -> None:
    """A launcher's agents are given every setting, so that they need not ask the swarm."""
    settings = learning, gossiping, placing
    for group, back in zip(settings, parsed(as_flags(*settings, whole=True)), strict=True):
        assert back == group
        assert back.given >= {s.name for s in settings_of(type(group)) if getattr(group, s.name) not in (None, ())}


def test_settings_know_what_they_were_given() -> None:
    assert Learning(task="x", seed=0).given == {"task", "seed"}
    assert Gossiping().given == set()


def test_no_two_settings_have_the_same_key() -> None:
    keys = [setting.key for kind in (Learning, Gossiping, Placing) for setting in settings_of(kind)]
    assert len(keys) == len(set(keys)) and "for" in keys


@given(periods)
def test_a_period_is_its_text(period: Every) -> None:
    assert Every.parse(str(period)) == period
    assert (period.steps > 0) != (period.seconds > 0)


@pytest.mark.parametrize("arguments", [{}, {"steps": 1, "seconds": 1.0}, {"steps": -1}, {"seconds": math.inf}])
def test_a_period_is_steps_or_seconds(arguments: dict) -> None:
    with pytest.raises(SettingsError, match="steps or of seconds, more than none: got Every"):
        Every(**arguments)


@given(shards)
def test_a_shard_is_its_text(shard: Shard) -> None:
    assert Shard.parse(str(shard)) == shard


@pytest.mark.parametrize(("index", "shards"), [(8, 8), (-1, 2), (0, 0)])
def test_a_shard_is_one_of_its_shards(index: int, shards: int) -> None:
    with pytest.raises(SettingsError, match="INDEX/SHARDS, counted from 0"):
        Shard(index, shards)


@given(conditions)
def test_a_condition_is_its_text(condition: Condition) -> None:
    assert Condition.parse(str(condition)) == condition
    assert not condition.holds(math.nan)


def test_values_are_brought_into_their_types() -> None:
    learning = Learning(task="x", steps=np.int64(3), learning_rate=np.float32(0.5), seed=2.0)
    assert [type(value) for value in (learning.steps, learning.learning_rate, learning.seed)] == [int, float, int]
    placing = Placing(run_dir="here", join=["tcp://a:1"], shard="1/2", stop_after=3)
    assert placing == Placing(run_dir=Path("here"), join=("tcp://a:1",), shard=Shard(1, 2), stop_after=3.0)
    assert replace(Gossiping(), every="3steps").every == Every(steps=3)


BAD = {
    "text for a number": (lambda: Gossiping(alpha="x"), "--alpha: expected a number: got 'x'"),
    "nothing for a number": (lambda: Gossiping(alpha=None), "--alpha: expected a number: got None"),
    "true for a number": (lambda: Learning(task="x", seed=True), "--seed: expected a whole number: got True"),
    "half a step": (lambda: Learning(task="x", steps=1.5), "--steps: expected a whole number: got 1.5"),
    "one number of two": (lambda: Learning(dp="3"), "--dp: expected EPSILON,DELTA \\(3,1e-5, say\\): got '3'"),
    "no budget": (lambda: Learning(dp="0,1e-5"), "--dp: expected EPSILON,DELTA \\(3,1e-5, say\\), both positive"),
    "a norm of nothing": (lambda: Learning(dp_clip=2), "--dp-clip 2 is the norm of private training: give --dp"),
    "a norm of none": (lambda: Learning(dp_clip=0), "--dp-clip must be positive and finite: got 0.0"),
    "an endless mask": (lambda: Gossiping(mask=math.inf), "--mask is the scale of the noise.* got inf"),
    "a mask below none": (lambda: Gossiping(mask=-1), "--mask is the scale of the noise.* got -1"),
    "endless steps": (lambda: Learning(task="x", steps=math.inf), "--steps: expected a whole number: got inf"),
    "endless epochs": (lambda: Learning(task="x", epochs=math.inf), "--epochs must be positive and finite: got inf"),
    "a number for text": (lambda: Learning(task=3), "--task: expected text: got 3"),
    "one address": (lambda: Placing(join="tcp://a:1"), "--join: expected a list of texts: got 'tcp://a:1'"),
    "text for a switch": (lambda: Placing(evaluate="no"), "--evaluate: expected true or false: got 'no'"),
    "a flag of another name": (lambda: Placing(stop_after=0), "--for must be positive: got 0"),
    "no relation": (lambda: Learning(stop_when="accuracy"), "--stop-when: expected METRIC>NUMBER.*: got 'accuracy'"),
    "no bound": (lambda: Learning(stop_when="accuracy>high"), "--stop-when: expected METRIC>.*: got 'accuracy>high'"),
    "two relations": (lambda: Learning(stop_when="a==1"), "--stop-when: expected METRIC>NUMBER.*: got 'a==1'"),
    "endless bound": (lambda: Learning(stop_when="a<inf"), "--stop-when: expected METRIC>NUMBER.*: got 'a<inf'"),
    "no evaluations": (
        lambda: Learning(stop_when="a<1"),
        "--stop-when a<1.0 goes by the scores of evaluations: give --evaluate-every too, such as 200steps",
    ),
    "nothing to wait for": (lambda: Learning(patience=3), "--patience 3 goes by .* give --evaluate-every too"),
    "no evaluation at all": (lambda: Learning(evaluate_every="5steps", patience=0), "--patience must be at least 1"),
    "period": (lambda: Gossiping(every="often"), '--every: expected "10steps" or "0.5s", more than none: got'),
    "partition": (lambda: Learning(task="x", partition="odd"), "--partition: a partition is 'iid'"),
    "topology": (lambda: Gossiping(topology="moebius"), "--topology: .*'moebius'"),
    "alpha": (lambda: Gossiping(alpha=1.2), r"--alpha is .* in \[0, 1\]: got alpha=1.2"),
    "unknown key": (lambda: from_toml("alhpa = 1", Gossiping), "no setting 'alhpa'; did you mean alpha"),
    "stranger": (
        lambda: from_toml("qqq = 1", Gossiping),
        "no setting 'qqq'; it may have alpha, capacity, choose, clip",
    ),
    "choice": (
        lambda: Gossiping(choose="random"),
        "--choose: choose is uniform, roundrobin or fastest: got choose='random'",
    ),
    "choice in a schedule": (
        lambda: Gossiping(choose="roundrobin", topology="base:2"),
        "--choose: base:2 says whom an agent meets in each round: leave choose at uniform: got choose='roundrobin'",
    ),
    "of another class": (lambda: from_toml("task = 'x'", Gossiping), "no setting 'task'"),
    "missing": (lambda: from_toml("alpha = 1", Gossiping, Launching), "agents is missing and has no default: add"),
    "wrong type in TOML": (lambda: from_toml("alpha = 'x'", Gossiping), "--alpha: expected a number: got 'x'"),
    "no TOML": (lambda: from_toml("alpha = ", Gossiping), "the settings: expected TOML, .*: Invalid value"),
    "no file": (lambda: from_toml(Path("gone.toml"), Gossiping), "there is no file gone.toml"),
}


@pytest.mark.parametrize(("wrong", "message"), BAD.values(), ids=BAD)
def test_what_cant_be_used_is_refused_by_name(wrong, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        wrong()
    assert not re.search(r"\n", str(refused.value))
