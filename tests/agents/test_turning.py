"""Agents that go to the next subnetwork while they train, over sockets: when they go and when not, what they save."""

import json
import logging
import threading
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Peer, Rule, load_run, load_task
from agents.checkpoint import FILE, load_header
from agents.learning.learner import make_learner
from agents.observe.assemble import assemble
from agents.observe.evaluation import Judge
from agents.observe.folders import FolderSource
from agents.prepare import prepare
from agents.settings import Gossiping, Learning
from agents.turning import Turning
from agents.values import SettingsError, Shard
from sim import replay
from tests.e2e.live_agents import wait_until
from tests.trained import trained

COUNT = 2


@contextmanager
def swarm(shards, finished=()):
    """Peers with these shards of 8, each at the number of its subnetwork, that have trained; those have finished."""
    with ExitStack() as stack:
        peers, ends = [], []
        interrupt = threading.Event()
        for shard in shards:
            params = {"w": np.full(5, shard % COUNT, np.float32)}
            report = {"shard": f"{shard}/8", "part": shard % COUNT, "step": 1}
            join = [peers[0].address] if peers else []
            how = {"task": "t", "topology": "complete", "name": f"peer-{shard}", "interrupt": interrupt}
            peers.append(stack.enter_context(Peer(params, submodel=f"width:{COUNT}", join=join, report=report, **how)))
            peers[-1].meet(params, resumed=True)
            peers[-1].publish("training")
        training = len(shards) - len(finished)
        for peer, shard in zip(peers, shards, strict=True):
            if shard in finished:
                ends.append(threading.Thread(target=peer.gossip, args=({"w": np.full(5, shard % COUNT, np.float32)},)))
                ends[-1].start()
        for peer in peers:
            wait_until(
                lambda peer=peer: [m.state for m in peer.members].count("training") == training,
                "all know of all how far they are",
            )
        try:
            yield peers
        finally:
            interrupt.set()
            for end in ends:
                end.join()


def with_(value):
    return {"w": np.full(5, value, np.float32)}


def test_who_turns_has_the_vector_of_one_who_trains_that_subnetwork_and_is_known_for_it():
    with swarm([0, 1, 2]) as (zero, one, mover):
        theta = mover.turn(with_(7.0), 1)
        assert mover.part == 1 and theta["w"].tolist() == [1.0] * 5
        wait_until(lambda: {m.agent: m.report.part for m in zero.members}["peer-2"] == 1, "others know it")
        back = mover.turn(theta, 0)
        assert mover.part == 0 and back["w"].tolist() == [0.0] * 5
        assert one.part == 1


@pytest.mark.parametrize(
    ("shards", "finished", "part"),
    [
        ([0, 2], (), 1),  # Nobody trains it.
        ([1, 2], (), 1),  # Its own would lose the agent that never leaves it.
        ([1, 4, 2], (), 1),  # As would it where another is there that may leave at the same time.
        ([0, 1, 2], (), 0),  # It is there already.
        ([0, 1, 3, 2], (0, 1), 1),  # Half have finished: they would have to wait.
    ],
)
def test_who_cannot_go_or_would_leave_its_own_without_an_agent_stays_as_it_is(shards, finished, part):
    with swarm(shards, finished) as peers:
        if finished:
            wait_until(lambda: peers[-1].waited_s > 0, "it knows that half have finished")
        assert peers[-1].turn(with_(7.0), part)["w"].tolist() == [7.0] * 5
        me = peers[-1].view().me
        assert peers[-1].part == me.report.part == 0 and me.state == "training"


def test_where_no_vector_comes_it_goes_on_with_its_own_in_its_own_subnetwork(monkeypatch):
    monkeypatch.setattr("agents.peer.TURN_S", 0.0)
    with swarm([0, 1, 2]) as (zero, _, mover):
        monkeypatch.setattr(mover._network, "adopted", lambda timeout_s: False)
        assert mover.turn(with_(7.0), 1)["w"].tolist() == [7.0] * 5
        assert mover.part == 0
        wait_until(lambda: [m.state for m in zero.members] == ["training"] * 3, "it trains on")
        assert {m.agent: m.report.part for m in zero.members}["peer-2"] == 0


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 60))
def test_turns_end_at_the_multiples_of_their_length(step, steps, every):
    ends = Turning(every, "width:2", Shard(3, 4)).ends(step, steps)
    assert ends == [at for at in range(step + 1, steps) if at % every == 0] + [steps]
    assert Turning(0, "width:2", Shard(3, 4)).ends(step, steps) == [steps]


def test_training_is_cut_at_the_turns_and_no_further_than_it_was_to_go():
    learner, log = SimpleNamespace(params_of=lambda mixed: mixed, shared=lambda state: state.params), []

    class State(SimpleNamespace):
        def _replace(self, params):
            return State(params=params)

    class Mover:
        step, part, waited_s = 0, 1, 0.0

        def turn(self, params, part):
            log.append((self.step, part))
            self.part = part
            return f"of {part}"

    for last, turned in [(9, [(3, 0), (6, 1)]), (5, [(3, 0)]), (6, [(3, 0), (6, 1)])]:
        peer, state = Mover(), State(params="first")
        log.clear()

        def run(state, *, steps, peer=peer, last=last):
            peer.step = min(steps, last)
            return state

        state = Turning(3, "width:2", Shard(3, 4)).train(state, peer, 9, run, learner)
        assert log == turned and state.params == f"of {turned[-1][1]}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"turns": -1}, "--turns"),
        ({"turns": 10}, "--turns is for --submodel width:K with more agents than subnetworks"),
        ({"turns": 10, "submodel": "layers:2"}, "got --turns 10 with --submodel layers:2 and 4 shards"),
        ({"turns": 10, "submodel": "width:4"}, "got --turns 10 with --submodel width:4 and 4 shards"),
        ({"turns": 10, "submodel": "width:2", "private": ("output/*",)}, "--turns and --private exclude each other"),
        ({"turns": 10, "submodel": "width:2", "rule": "drift"}, "what others keep belongs to the subnetwork"),
        ({"turns": 10, "submodel": "width:2", "rule": "ema"}, "got rule 'ema'"),
    ],
)
def test_what_turns_do_not_go_with_is_refused_before_anything_starts(given, words):
    with pytest.raises(SettingsError, match=words):
        prepare(Learning(task="digits", steps=3), Shard(3, 4), Gossiping(**given))


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder of five agents, three of which moved on while they trained; and what was logged of that."""
    folder, lines = tmp_path_factory.mktemp("turns") / "run", []
    how = {"task": "digits", "optimizer": "sgd", "learning_rate": 0.2, "steps": 100, "every": "2steps"}
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log, level = logging.getLogger("gossamer"), logging.getLogger("gossamer").level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        trained(folder, 5, topology="complete", submodel=f"width:{COUNT}", turns=10, **how)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return folder, lines


def held(folder):
    return {path.name: load_header(path / FILE).facts["part"] for path in sorted((folder / "agents").iterdir())}


def test_agents_end_with_the_mean_of_those_who_train_the_same_and_their_files_name_it(ended):
    folder, _ = ended
    parts = held(folder)
    assert parts["agent-0"] == 0 and parts["agent-1"] == 1
    cards = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("agents/*/consensus.json")}
    for name, part in parts.items():
        alike = sorted(other for other, theirs in parts.items() if theirs == part)
        assert cards[name]["agents"] == alike and cards[name]["subnetworks"] == dict.fromkeys(alike, part)


def test_agents_go_on_while_they_train(ended):
    _, lines = ended
    assert {line.partition(": ")[2] for line in lines} >= {"now trains subnetwork 0", "now trains subnetwork 1"}


def test_such_a_run_is_replayed_bit_for_bit_with_what_agents_held_at_the_end(ended):
    folder, _ = ended
    run, history = load_run(folder), replay(folder, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == run.theta.tobytes()
    card = assemble(FolderSource([folder], print), Judge(load_task("digits"), f"width:{COUNT}"), None)
    assert history.consensus_accuracy[-1] == pytest.approx(card.accuracy, abs=0.003)


def test_the_model_is_assembled_by_what_agents_held_at_the_end(ended):
    folder, _ = ended
    card = assemble(FolderSource([folder], print), Judge(load_task("digits"), f"width:{COUNT}"), None)
    assert card.subnetworks == held(folder)
    assert card.distance < 1e-5 and card.metrics["accuracy"] > 0.8


def test_a_late_joiner_and_a_resumed_agent_begin_with_the_subnetwork_of_their_shard_and_of_their_checkpoint():
    turning = Turning(10, "width:2", Shard(3, 5))
    assert turning.first({}) == {"part": 1} and turning.first({"part": 0}) == {"part": 0}
    assert Turning(0, "width:2", Shard(3, 5)).first({"part": 0}) == {}


def test_a_rule_of_ones_own_that_only_changes_the_optimizer_goes_with_turns():
    own = Rule("mine", ("theta",), lambda optimizer: optimizer)
    learner = make_learner(load_task("digits"), rule=own)
    assert learner.rule.exchanged is None and learner.rule.final is None
