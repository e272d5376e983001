"""What can't be simulated is refused in one line before anything is compiled."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from agents import Task
from agents.learning.rule_names import GRAMMAR
from sim import simulate, simulation, sweep
from sim.checks import SimulationError
from sim.device import memory
from topology import Schedule, from_edges, ring

UNEVEN = np.array([[0.5, 0.4, 0.0, 0.1], [0.4, 0.5, 0.1, 0.0], [0.0, 0.1, 0.5, 0.4], [0.1, 0.0, 0.4, 0.5]])
"""A ring of four of whom two pairs mix more, doubly stochastic."""


@pytest.fixture(autouse=True)
def nothing_compiles(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("compiled before it was checked")

    monkeypatch.setattr(simulation, "tape_program", refuse)
    monkeypatch.setattr(simulation, "rounds_program", refuse)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"topology": from_edges(4, [(0, 1), (2, 3)])}, "must be connected"),
        ({"alpha": 1.5}, r"alpha is how much of itself an agent keeps, in \[0, 1\]: got 1.5"),
        ({"alpha": float("nan")}, r"in \[0, 1\]: got nan"),
        ({"agents": 2000}, "1437 samples make 1 to 1437 shards|1438 samples make 1 to 1438 shards"),
        ({"agents": 0}, "agents is a whole number of at least 1: got 0"),
        ({"agents": 4.0}, "agents is a whole number"),
        ({"agents": 12, "topology": "hypercube"}, r"hypercube needs n = 2 \*\* dimension"),
        ({"topology": ring(5)}, "got 5 nodes and agents=4"),
        ({"topology": "moebius"}, "unknown topology 'moebius'"),
        ({"protocol": "telepathy"}, "protocol is one of exchange, push, push-sum, synchronous: got 'telepathy'"),
        (
            {"codec": "int8"},
            "codec is one of float32, bfloat16, lattice:2 to lattice:8, segments:1/N, .*: got 'int8'",
        ),
        ({"rule": "drift", "codec": "lowrank:4+lattice:4/5"}, "rule drift learns from whole differences"),
        ({"codec": "lowrank:4+segments:1/5"}, "codec is one of .*lowrank:R.*: got 'lowrank:4.segments:1/5'"),
        ({"rule": "push"}, re.escape(f"rule is {GRAMMAR}, joined by + and each once: got 'push'")),
        (
            {"codec": "lattice:4", "protocol": "push"},
            "codec 'lattice:4' is for protocol 'exchange', in which both sides "
            "know the same difference: got protocol 'push'",
        ),
        (
            {"codec": "lattice:4", "protocol": "synchronous"},
            "codec 'lattice:4' is for protocol 'exchange', in which "
            "both sides know the same difference: got protocol "
            "'synchronous'",
        ),
        ({"merge": "never"}, "merge is one of merge-update, update-merge"),
        ({"weigh": "gold"}, "weigh is one of samples, equal, age"),
        ({"weigh": "age"}, "weigh 'age' is for protocol 'push'"),
        ({"rounds": 0}, "rounds is a number above 0"),
        ({"local_steps": -1}, "local_steps is a whole number of at least 0"),
        ({"eval_every": 0}, "eval_every is a number of rounds above 0"),
        ({"protocol": "synchronous", "delay": 1}, "protocol 'synchronous' has no delay"),
        ({"protocol": "synchronous", "online": 0.5}, "protocol 'synchronous' has no online"),
        ({"protocol": "synchronous", "split": (1, 2, [0, 1, 0, 1])}, "protocol 'synchronous' has no split"),
        ({"protocol": "synchronous", "rounds": 2.5}, "'synchronous' rounds is in whole rounds, .*: got 2.5"),
        ({"protocol": "synchronous", "eval_every": 0.5}, "'synchronous' eval_every is in whole rounds, .*: got 0.5"),
        (
            {"protocol": "synchronous", "snapshots": [0, 1.25, 1.5]},
            "'synchronous' snapshots is in whole rounds, .*: got 1.25",
        ),
        ({"init": np.zeros((3, 4810))}, r"init is \(agents, params\) finite numbers, \(4, 4810\) here"),
        ({"init": np.full((4, 4810), np.inf)}, r"init is \(agents, params\) finite numbers"),
        ({"delay": "soon"}, "delay is a number of rounds"),
        ({"partition": "dirichlet:-1"}, "a partition is 'iid', 'dirichlet:0.1'"),
        ({"optimizer": "prayer"}, "no optimizer is called 'prayer'"),
        ({"task": "nothing"}, "no task is called 'nothing'"),
        ({"seed": [0, 1]}, r"seed is a whole number; for several seeds use sweep\(seeds=...\): got \[0, 1\]"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"seed": True}, "seed is a whole number"),
        ({"alpha": "half"}, r"in \[0, 1\]: got 'half'"),
        ({"alpha": np.ones(3)}, r"in \[0, 1\]: got float64 values of shape \(3,\)"),
        ({"rounds": "many"}, "rounds is a number above 0: got 'many'"),
        ({"drop": "some"}, r"drop is a share in \[0, 1\): got 'some'"),
        ({"picked": 0}, "picked is a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate is a number above 0: got 0"),
        ({"optimizer": object}, r"optimizer is the name of one.* belongs into Task\(optimizer=...\)"),
        ({"partition": [[0, 1], [2, 3]]}, "partition 'given' must have one list of rows for each of 4 agents: got 2"),
        ({"partition": np.zeros(1000, int)}, r"partition 'given' must have an owner for each of \d+ rows: got 1000"),
        ({"delay": "1.5"}, "delay is a number of rounds"),
        ({"delay": ("a", "b")}, "delay is a number of rounds"),
        ({"speeds": "fast"}, "speeds are turns a round .*: got 'fast'"),
        ({"joins": [1, 2]}, r"joins is \{agent: round\}.*: got \[1, 2\]"),
        ({"joins": {"a": 1}}, r"joins is \{agent: round\}.*: got 'a': 1"),
        ({"joins": {1: "late"}}, r"joins is \{agent: round\}.*: got 1: 'late'"),
        ({"split": 3}, r"split is \(from, until, groups\).*: got 3"),
        ({"split": ("a", 2, [0, 0, 1, 1])}, r"split is \(from, until, groups\).*: got 'a'"),
        (
            {"split": (1, 2, [[0], [1, 2, 3]])},
            r"split is \(from, until, groups\), .*: got \(1, 2, \[\[0\], \[1, 2, 3\]\]\)",
        ),
        ({"init": "zeros"}, r"init is \(agents, params\) finite numbers, .*: got 'zeros'"),
        ({"init": [[1, 2], [3]]}, r"init is \(agents, params\) finite numbers"),
        ({"topology": [[0, 1], [1, 2]]}, "a topology is a name .*: got list"),
        ({"topology": np.ones((4, 4))}, "doubly stochastic"),
        ({"topology": 7}, "a topology is a name"),
        *(
            ({"topology": UNEVEN, "protocol": protocol}, rf"'{protocol}' each neighbor .* the row's mean is 0.25;")
            for protocol in ("exchange", "push", "push-sum")
        ),
        ({"virtual": True, "topology": ring(4)}, "virtual agents need a topology by name, such as 'ring'"),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_one_line(wrong, what):
    settings = {"task": "digits", "agents": 4, "topology": "ring", "rounds": 3, "progress": False} | wrong
    with pytest.raises(ValueError, match=what) as caught:
        simulate(settings.pop("task"), **settings)
    assert "\n" not in str(caught.value)


def test_a_model_too_large_for_memory_says_how_large_and_what_to_set(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e6)
    with pytest.raises(
        ValueError, match=r"20 models of 4,810 parameters take about .* GB .* set agents to \d+ or fewer"
    ):
        simulate("digits", agents=20, rounds=3, progress=False)


@pytest.mark.parametrize("run", [simulate, sweep])
def test_more_agents_than_any_memory_holds_are_refused_before_anything_is_made_for_each(run):
    with pytest.raises(SimulationError, match=r"1,000,000,000,000 models of 4,810 parameters take about .* or fewer"):
        run("digits", agents=10**12, progress=False)


@pytest.mark.parametrize("run", [simulate, sweep])
def test_more_evaluations_than_any_memory_holds_are_refused_with_how_many_fit(run):
    with pytest.raises(SimulationError, match=r"2,000,000,000,000 evaluations of .* set eval_every to .* or more"):
        run("digits", agents=3, rounds=2, eval_every=1e-12, progress=False)


def test_agents_with_tiny_models_are_refused_for_what_they_take_beside_them(monkeypatch):
    """A model of 11 parameters takes 132 bytes, and its agent several hundred."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 3e6)
    rows = {"x": np.zeros((9000, 10), np.float32), "y": np.zeros(9000, np.float32)}

    def squares(params, batch, *_):
        return ((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2).mean()

    tiny = Task(
        lambda key: {"w": jnp.zeros(10), "b": jnp.zeros(())}, squares, lambda *given: {"e": squares(*given)}, rows, rows
    )
    with pytest.raises(SimulationError, match=r"9,000 models of 11 parameters take .* set agents to [\d,]+ or fewer"):
        simulate(tiny, agents=9000, progress=False)


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
def test_a_schedule_whose_columns_do_not_sum_to_1_never_gets_into_a_run(protocol):
    star = from_edges(4, [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (3, 1)], directed=True)
    with pytest.raises(ValueError, match="doubly stochastic"):
        weights = (np.full(star.indices.shape, 0.25),)
        simulate("digits", agents=4, rounds=2, protocol=protocol, topology=Schedule(4, (star,), weights))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"seeds": 5}, r"seeds are whole numbers, such as range\(5\): got 5"),
        ({"seeds": ["a"]}, "seeds are whole numbers"),
        ({"seed": 3}, r"sweep takes seeds, such as seeds=\[0, 1, 2\]: got seed=3"),
        ({"alpha": [0.5, 1.5]}, r"in \[0, 1\]: got 1.5"),
        ({"topology": ["ring", "moebius"]}, "unknown topology 'moebius'"),
        (
            {"topology": [np.eye(4)]},
            r"so these must be hashable: got topology float64 .*\(4, 4\)",
        ),
        ({"joins": [{1: 2.0}, None]}, r"so these must be hashable: got joins \{1: 2.0\}; run simulate for each"),
    ],
    ids=str,
)
def test_a_sweep_is_refused_before_its_first_run(wrong, what):
    with pytest.raises(ValueError, match=what):
        sweep("digits", **({"agents": 4, "rounds": 3, "progress": False} | wrong))
