"""Partitions, rules and protocols of a user's own in the simulator: used as given, and checked before they run."""

import runpy
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import AsGiven, Rule, load_task
from agents.learning.data import labels_or_count, owners
from sim import Block, History, TapeWriter, simulate, simulation, sweep
from sim.device import memory
from sim.sources.exchange import Exchange
from sim.tape import TapeError

ROOT = Path(__file__).parents[2]
SETTINGS = {"agents": 4, "rounds": 4, "eval_every": 2, "picked": 2, "optimizer": "sgd", "progress": False}
ROWS = len(load_task("digits").train_data["y"])


@pytest.fixture
def nothing_compiles(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("compiled before it was checked")

    monkeypatch.setattr(simulation, "tape_program", refuse)
    monkeypatch.setattr(simulation, "rounds_program", refuse)


def iid(labels_or_count, agents, seed):
    return owners("iid", labels_or_count, agents, seed)


def iid_lists(labels_or_count, agents, seed):
    owner = iid(labels_or_count, agents, seed)
    return [np.flatnonzero(owner == agent)[::-1] for agent in range(agents)]


def test_whatever_says_who_holds_what_gives_the_same_run():
    labels = labels_or_count(load_task("digits").train_data)
    expected = simulate("digits", partition="iid", **SETTINGS)
    for partition in (iid, iid_lists, iid(labels, 4, 0), iid_lists(labels, 4, 0), AsGiven(iid)):
        found = simulate("digits", partition=partition, **SETTINGS)
        assert found.theta.tobytes() == expected.theta.tobytes()
    assert simulate("digits", partition=iid, **SETTINGS).facts["partition"] == "iid"
    assert simulate("digits", partition=iid_lists(labels, 4, 0), **SETTINGS).facts["partition"] == "given"


def test_rows_may_be_left_out_or_shared_on_purpose():
    lists = [range(30), range(20, 50), [0, 5], range(100, 130)]
    history = simulate("digits", partition=AsGiven(lists), local_steps=2, **SETTINGS)
    assert np.isfinite(history.theta).all()
    whole = AsGiven(lambda labels, agents, seed: lists)
    assert simulate("digits", partition=whole, local_steps=2, **SETTINGS).theta.tobytes() == history.theta.tobytes()


def test_a_sweep_takes_index_lists_as_one_partition_and_functions_as_several():
    lists = iid_lists(labels_or_count(load_task("digits").train_data), 4, 0)
    assert list(sweep("digits", seeds=[0], partition=lists, **SETTINGS)) == [(0,)]
    found = sweep("digits", seeds=[0, 1], partition=["iid", iid], **SETTINGS)
    assert list(found) == [("iid", 0), ("iid", 1), (iid, 0), (iid, 1)]
    assert found["iid", 1].theta.tobytes() == found[iid, 1].theta.tobytes()


OWNER = np.arange(ROWS) % 4


def refused(what, **setting):
    """The run is refused in one line that matches `what`."""
    with pytest.raises(ValueError, match=what) as caught:
        simulate("digits", **setting, **SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("partition", "what"),
    [
        (np.where(OWNER == 3, 2, OWNER), "gives 1 of 4 agents no row, agent 3: each needs one at least"),
        (AsGiven(np.where(OWNER == 3, 2, OWNER)), "gives 1 of 4 agents no row"),
        (np.where(np.arange(ROWS) < 2, -1, OWNER), rf"leaves out 2 of {ROWS} rows, rows 0, 1; if that is meant, wrap"),
        ([*iid_lists(ROWS, 4, 0)[:3], [0]], r"leaves out \d+ of"),
        ([range(ROWS), [7], [8], [9]], rf"gives 3 of {ROWS} rows to several agents, such as row 7 to agents 0, 1; if"),
        (OWNER[:-1], f"an owner for each of {ROWS} rows: got {ROWS - 1}"),
        (OWNER + 1, r"owners are agents, 0 to 3, or -1 for nobody: got 4 for row 3, and \d+ such in all"),
        ([[0], [1]], "one list of rows for each of 4 agents: got 2"),
        ([[0], [1], [2], [ROWS]], f"rows go from 0 to {ROWS - 1}: got {ROWS} for agent 3, and 1 such in all"),
        ([[0, 0], [1], [2], [3]], "no agent may have a row twice: got row 0 again for agent 0"),
        ([[0.5], [1], [2], [3]], r"must be one list of row indices .*: got for agent 0 \[0.5\]"),
        (OWNER / 2, r"must be one list .*: got float64 values of shape"),
        (7, "must be one list of row indices an agent, .*or a text.*: got int 7"),
        (lambda labels, agents, seed: "iid", "must be one list .*: got str 'iid'"),
        (AsGiven("iid"), "AsGiven is for a partition of one's own"),
        ([[[0, 1], [2]], [1], [2], [3]], r"must be one list .*: got for agent 0 \[\[0, 1\], \[2\]\]"),
        ([2**70] * ROWS, "must be one list .*: got object values of shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("nothing_compiles")
def test_a_partition_that_does_not_fit_is_refused_with_the_counts(partition, what):
    refused(what, partition=partition)


def plain_rule(exchanged=None, around=lambda optimizer: optimizer, vectors=("theta",), name="mine", beside=None):
    return Rule(name, vectors, around, exchanged, beside)


def test_a_rule_of_one_s_own_is_followed():
    plain = simulate("digits", **SETTINGS)
    assert simulate("digits", rule=plain_rule(), **SETTINGS).theta.tobytes() == plain.theta.tobytes()
    still = simulate("digits", rule=plain_rule(around=lambda optimizer: optax.set_to_zero()), **SETTINGS)
    assert np.ptp(still.theta, axis=0).max() == 0 and still.facts["rule"] == "mine"
    kept = simulate("digits", rule=plain_rule(lambda state, before, after: (state, after)), **SETTINGS)
    np.testing.assert_allclose(kept.theta, plain.theta, atol=1e-6)
    sweep("digits", seeds=[0], rule=["drift", plain_rule()], **SETTINGS)


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("mine", r"rule is parameters, or one or more of .*, joined by \+ and each once: got 'mine'"),
        (7, "rule is a name, such as 'drift', or an agents.Rule of one's own: got 7"),
        (
            plain_rule(vectors=("pull", "theta")),
            r"vectors=.* must be names of vectors, each once, 'theta' first",
        ),
        (plain_rule(vectors=("theta", "pull")), r"beside=..., exchanged=.* must be given where vectors has more than"),
        (
            plain_rule(lambda s, before, after: (s, after[0]), vectors=("theta", "pull"), beside=lambda s: (s,)),
            "beside.state. of rule 'mine' must return a tuple of 1 pytrees",
        ),
        (plain_rule(around=None), r"Rule\(around=...\) must be a function: got None"),
        (plain_rule(around=lambda optimizer: None), "around.optimizer. of rule 'mine' must return an optax"),
        (plain_rule(around=lambda optimizer: 1 / 0), "around.optimizer. of rule 'mine' failed: .*ZeroDivisionError"),
        (plain_rule(lambda state, before, after: after), "of rule 'mine' must return .state, params. of the structure"),
        (plain_rule(lambda state, before: after), "of rule 'mine' failed: .*TypeError"),  # noqa: F821
        (plain_rule()._replace(final=7), r"Rule\(final=...\) must be a function: got 7"),
        (plain_rule()._replace(final=lambda state, params: params), "final.state, params. of rule 'mine' must return"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("nothing_compiles")
def test_a_rule_that_can_not_be_followed_is_refused(rule, what):
    refused(what, rule=rule)


class Pairs:
    """Agents 2k and 2k + 1 exchange after each round."""

    def __init__(self, topology, conditions, *, alpha, local_steps=1, nothing=None):
        self.agents, self.rate, self.steps, self.done = conditions.agents, 1 - alpha, local_steps, 0
        self.after = None

    def blocks(self, rounds, moments, window):
        self.events = events = TapeWriter(self.agents, moments, self.after)
        while self.done < rounds:
            for agent in range(self.agents):
                events.train(self.done + 0.25, agent, self.done * self.steps)
            for i in range(0, self.agents, 2):
                events.exchange(self.done + 0.5, i, i + 1, self.rate)
            self.done += 1
            yield events.block(self.done)

    def state(self):
        return {"done": np.array(self.done), **self.events.state()}

    def restore(self, state):
        self.done, self.after = int(state["done"]), state


class Sends:
    """Agent 0 sends its model to all others, which take it in two rounds later, in another block."""

    def __init__(self, topology, conditions):
        self.agents = conditions.agents

    def blocks(self, rounds, moments, window):
        events = TapeWriter(self.agents, moments)
        events.train(0.5, 0, 0)
        model = events.model(0)
        events.train(1.0, 0, 1)
        yield events.block(2.0, in_flight=[model])
        for agent in range(1, self.agents):
            events.mix(2.5, agent, events.carried[model], 0.5, peer=0)
            events.mix(2.5, agent, events.carried[model], 1.0, messages=0)  # It computes with what has come.
        yield events.block(rounds)


def test_a_protocol_of_one_s_own_runs_and_is_counted():
    history = simulate("digits", protocol=Pairs, **SETTINGS)
    np.testing.assert_allclose(history.theta[0], history.theta[1], atol=1e-8)
    assert history.exchanges.tolist() == [0, 4, 8] and history.facts["protocol"] == "Pairs"
    assert history.bytes.tolist() == (8 * history.exchanges * history.theta.shape[1]).tolist()
    made = simulate("digits", protocol=lambda topology, conditions, **all: Exchange(topology, conditions), **SETTINGS)
    equal = simulate("digits", weigh="equal", **SETTINGS)
    assert made.theta.tobytes() == equal.theta.tobytes()
    found = sweep("digits", seeds=[0, 1], protocol=[Pairs, "push"], **SETTINGS)
    np.testing.assert_allclose(found[Pairs, 0].theta, history.theta, atol=1e-5)


def test_a_model_is_in_flight_between_two_blocks():
    history = simulate("digits", protocol=Sends, snapshots=[2, 4], **SETTINGS)
    sent, end = history.snapshots
    assert (sent[1] != sent[0]).any() and (end[1] == end[2]).all() and (end[0] == sent[0]).all()
    assert history.exchanges.tolist() == [0, 0, 3] and (end[1] != end[0]).any()
    assert history.bytes.tolist() == [0, 0, 3 * 4 * history.theta.shape[1]]


def wrong_block(change):
    class Wrong(Pairs):
        def blocks(self, rounds, moments, window):
            for block in super().blocks(rounds, moments, window):
                yield change(block)

    return Wrong


def tape_with(**columns):
    return lambda block: block._replace(tape=replace(block.tape, **columns))


class Told:
    """Whatever it was told to give for its blocks."""

    def __init__(self, told, agents=4):
        self.told, self.agents = told, agents

    def blocks(self, rounds, moments, window):
        return self.told


def test_a_block_s_arrays_may_be_lists():
    def listed(block):
        columns = {name: getattr(block.tape, name).tolist() for name in ("kind", "agent", "cur", "time", "leaving")}
        return tape_with(**columns)(block)._replace(exchanges=block.exchanges.tolist())

    history, expected = (simulate("digits", protocol=made, **SETTINGS) for made in (wrong_block(listed), Pairs))
    assert history.theta.tobytes() == expected.theta.tobytes() and history.exchanges.dtype.kind == "i"


def test_a_source_may_change_the_moments_that_it_is_given():
    class Changes(Pairs):
        def blocks(self, rounds, moments, window):
            for block in super().blocks(rounds, moments, window):
                yield block._replace(rounds=block.rounds.copy())
                moments[:] = -1

    assert simulate("digits", protocol=Changes, **SETTINGS | {"rounds": 1}).rounds.tolist() == [0, 1]


@pytest.mark.parametrize("state", [None, {"a": "text"}, {"a": [[1], [1, 2]]}, {1: [2]}], ids=str)
def test_where_a_source_stands_is_told_in_arrays_by_name(state):
    class Stands(Pairs):
        def state(self):
            return state

    with pytest.raises(ValueError, match=r"state\(\) of protocol Stands returns {name: array}: got "):
        simulate("digits", protocol=Stands, **SETTINGS)


@pytest.mark.parametrize(
    ("protocol", "what"),
    [
        (7, "a protocol of one's own is a class or a function .*: got 7"),
        (dict, "a protocol of one's own is a class or a function"),
        (lambda topology: None, "takes 1 arguments by position"),
        (lambda topology, conditions, *, beta: None, "asks for 'beta': it may ask for alpha, weights, local_steps"),
        (lambda topology, conditions: "nothing", "<lambda> made 'nothing'"),
        (lambda topology, conditions: Pairs(topology, type("", (), {"agents": 3}), alpha=0), "as the run, 4: .* is 3"),
        (wrong_block(lambda block: block.tape), "block 0 of protocol Wrong can't be run: it is a Block of a Tape"),
        (wrong_block(tape_with(cur=np.full(8, 99))), "event 0 reads version 99, which is not written before it"),
        (wrong_block(tape_with(agents=3)), "its tape is of the run's 4 agents: got 3"),
        (wrong_block(tape_with(entering=99)), "it begins with the 4 versions that the last one leaves: got 99"),
        (wrong_block(tape_with(kind=np.full(8, 5))), "its events are of kind TRAIN or MIX"),
        (wrong_block(tape_with(agent=np.full(8, 4))), "its events have agents 0 to 3 and steps from 0 on"),
        (wrong_block(tape_with(coefficient=np.full(8, np.nan))), "coefficients are finite"),
        (wrong_block(tape_with(cur=np.full(8, 0.0))), "`cur` has int32 values, one for each of 8 events: got float64"),
        (
            wrong_block(tape_with(step=np.full(8, 2**40))),
            "`step` has int32 values, one for each of 8 events: got int64",
        ),
        (
            wrong_block(tape_with(agent=np.zeros(7, int))),
            r"`agent` has int32 values, .*: got int64 values of shape \(7,",
        ),
        (
            wrong_block(tape_with(coefficient=None)),
            "`coefficient` has float32 values, one for each of 8 events: got None",
        ),
        (wrong_block(tape_with(leaving=np.arange(4.0))), "`leaving` has int32 values: got float64"),
        (wrong_block(tape_with(time=np.arange(8)[::-1])), "its events are in the order of time"),
        (
            wrong_block(lambda block: block._replace(until="late")),
            "blocks come in the order of time: .* ends at 'late'",
        ),
        (
            wrong_block(lambda block: block._replace(exchanges=["no"])),
            r"its exchanges .*, finite numbers: got \['no'\]",
        ),
        (lambda topology, conditions: Told(None), "protocol <lambda> must yield blocks: its blocks.* gave None"),
        (lambda topology, conditions: Told([], agents=4.0), "as the run, 4: .* is 4.0"),
        (wrong_block(lambda block: block._replace(exchanges=[])), "its exchanges are one for each of 1 snapshots"),
        (wrong_block(lambda block: Block(*block[:2], block.rounds + 1, *block[3:])), "at the moments asked for"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("nothing_compiles")
def test_a_protocol_that_can_not_run_is_refused(protocol, what):
    refused(what, protocol=protocol)


def test_a_protocol_that_ends_early_is_refused():
    class Short(Pairs):
        def blocks(self, rounds, moments, window):
            yield next(super().blocks(rounds, moments, window))

    with pytest.raises(TapeError, match="Short must yield blocks until round 4 with all 3 snapshots: got 1 of them"):
        simulate("digits", protocol=Short, **SETTINGS)


def test_a_source_yields_one_run():
    with pytest.raises(ValueError, match="an EventSource yields the blocks of one run"):
        sweep("digits", protocol=Pairs(None, type("", (), {"agents": 4}), alpha=0.5), **SETTINGS)
    source = Pairs(None, type("", (), {"agents": 4}), alpha=0.5)
    assert simulate("digits", protocol=source, **SETTINGS).exchanges[-1] == 8


# Theta over time.


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
def test_models_over_time_are_those_of_shorter_runs(protocol):
    settings = SETTINGS | {"protocol": protocol}
    history = simulate("digits", snapshots=True, **settings)
    assert history.snapshots.shape == (3, *history.theta.shape) and history.snapshots.dtype == np.float32
    np.testing.assert_array_equal(history.snapshot_rounds, history.rounds)
    np.testing.assert_array_equal(history.snapshots[-1], history.theta)
    np.testing.assert_array_equal(history.snapshots[1], simulate("digits", **(settings | {"rounds": 2})).theta)
    some = simulate("digits", snapshots=[3, 0], **settings)
    assert some.rounds.tolist() == [0, 2, 3, 4] and some.snapshot_rounds.tolist() == [0, 3]
    np.testing.assert_array_equal(some.snapshots[0], history.snapshots[0])
    assert simulate("digits", **settings).snapshots.shape == (0, 0, 0)


def test_models_over_time_of_several_seeds_and_in_files(tmp_path):
    found = sweep("digits", seeds=[0, 1], snapshots=[4], **SETTINGS)
    for seed in (0, 1):
        np.testing.assert_array_equal(found[(seed,)].snapshots[0], found[(seed,)].theta)
    found[(1,)].save(tmp_path / "history")
    np.testing.assert_array_equal(History.load(tmp_path / "history").snapshots, found[(1,)].snapshots)


@pytest.mark.parametrize("snapshots", [[5], [-1], [], "all", 3, [[1]], [float("nan")]], ids=str)
@pytest.mark.usefixtures("nothing_compiles")
def test_snapshots_are_rounds_of_the_run(snapshots):
    with pytest.raises(ValueError, match="snapshots is True, or rounds from 0 to 4: got"):
        simulate("digits", snapshots=snapshots, **SETTINGS)


@pytest.mark.usefixtures("nothing_compiles")
def test_snapshots_that_do_not_fit_are_refused_with_how_many_do(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 5e5)
    with pytest.raises(ValueError, match=r"3 snapshots of 4 models of 4,810 .* GB are free: keep \d+ or fewer, by ro"):
        simulate("digits", snapshots=True, **SETTINGS)


# The examples, and what a task file brings.


def test_the_example_of_a_protocol_runs():
    own = runpy.run_path(str(ROOT / "examples" / "own_protocol.py"))["RandomEdges"]
    history = simulate("digits", protocol=own, **SETTINGS)
    assert 0 < history.exchanges[-1] < 16 and history.facts["protocol"] == "RandomEdges"


def test_the_example_of_a_partition_and_a_rule_is_taken_from_its_file():
    path = ROOT / "examples" / "own_partition.py"
    history = simulate(path, **SETTINGS)
    assert history.facts["partition"] == "partition" and history.facts["rule"] == "calm"
    given = simulate(path, partition="iid", rule="parameters", **SETTINGS)
    assert given.theta.tobytes() == simulate("digits", **SETTINGS).theta.tobytes()


@pytest.mark.parametrize("name", ["own_partition.py", "own_protocol.py"])
def test_an_example_is_short(name):
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 30


def test_a_state_of_random_keys_is_one():
    """optax's noise keeps one."""
    task = load_task("digits")
    noisy = replace(task, optimizer=optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(3)), optax.sgd(0.1)))
    settings = SETTINGS | {"optimizer": None}
    first = simulate(noisy, **(settings | {"rounds": 2}))
    more = simulate(noisy, resume=first, **(settings | {"rounds": 2}))
    np.testing.assert_array_equal(more.theta, simulate(noisy, **settings).theta)
    assert jnp.isfinite(more.theta).all()
