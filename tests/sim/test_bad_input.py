"""What can't be simulated is said in one line before anything is compiled."""

import numpy as np
import pytest

from sim import simulate, simulation
from sim.device import memory
from topology import from_edges, ring


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
        ({"codec": "int8"}, "codec is one of float32: got 'int8'"),
        ({"merge": "never"}, "merge is one of merge-update, update-merge"),
        ({"weigh": "gold"}, "weigh is one of samples, equal, age"),
        ({"weigh": "age"}, "weigh 'age' is for protocol 'push'"),
        ({"rounds": 0}, "rounds is a number above 0"),
        ({"local_steps": -1}, "local_steps is a whole number of at least 0"),
        ({"eval_every": 0}, "eval_every is a number of rounds above 0"),
        ({"protocol": "synchronous", "delay": 1}, "protocol 'synchronous' has no delay"),
        ({"protocol": "synchronous", "online": 0.5}, "protocol 'synchronous' has no online"),
        ({"init": np.zeros((3, 4810))}, r"init is \(agents, params\) finite numbers, \(4, 4810\) here"),
        ({"init": np.full((4, 4810), np.inf)}, r"init is \(agents, params\) finite numbers"),
        ({"delay": "soon"}, "delay is a number of rounds"),
        ({"partition": "dirichlet:-1"}, "a partition is 'iid', 'dirichlet:0.1'"),
        ({"optimizer": "prayer"}, "no optimizer is called 'prayer'"),
        ({"task": "nothing"}, "no task is called 'nothing'"),
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
