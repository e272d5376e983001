"""Nested slices in agents: real peers over sockets, first weights, and what is refused before anything starts."""

import threading
from contextlib import ExitStack
from dataclasses import replace

import jax
import numpy as np
import pytest

from agents import Peer, load_task
from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.mixing.consensus import consensus_distance
from agents.mixing.distances import Made, estimated
from agents.mixing.narrow import NarrowError
from agents.mixing.sketch import plan_of, sketch_of
from agents.prepare import prepare
from agents.settings import Gossiping, Learning
from agents.submodel import check_somebody_holds_all, parse
from agents.subnetworks import nested, slice_of
from agents.values import Capacity, SettingsError, Shard

DIGITS = load_task("digits")
FULL = make_learner(DIGITS)


def test_peers_of_unlike_capacity_end_with_the_mean_of_each_coordinates_holders():
    map, _ = nested(DIGITS)
    capacities, weights, ends = (1.0, 0.5, 1.0), (1.0, 5.0, 2.0), {}
    with ExitStack() as stack:
        peers, thetas = [], []
        for index, (capacity, weight) in enumerate(zip(capacities, weights, strict=True)):
            task, slice = slice_of(DIGITS, capacity)
            learner = make_learner(task)
            theta = np.random.default_rng(index).normal(size=learner.size).astype(np.float32)
            params = jax.tree.map(np.asarray, learner.unflatten(theta))
            join = [peers[0].address] if peers else []
            how = {"task": "digits", "join": join, "weight": weight, "name": f"peer-{index}", "clip": np.inf}
            peers.append(stack.enter_context(Peer(params, submodel="nested", slice=slice, topology="complete", **how)))
            thetas.append((params, learner, map.held(map.blocks.of_agent(0, capacity))))
        for peer in peers[1:]:
            peer.meet(thetas[1][0])
        assert all(peer.wait_for(3, 20.0) for peer in peers)

        def finish(index):
            ends[index] = peers[index].finish(thetas[index][0])

        threads = [threading.Thread(target=finish, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert all(len(peer.view().exact) == 3 for peer in peers)
    total, weighed = np.zeros(map.size), np.zeros(map.size)
    for (params, learner, held), weight in zip(thetas, weights, strict=True):
        total[held] += weight * np.asarray(learner.flatten(params))
        weighed[held] += weight
    for index, (_, learner, held) in enumerate(thetas):
        np.testing.assert_allclose(np.asarray(learner.flatten(ends[index])), (total / weighed)[held], atol=1e-5)


def test_distances_are_those_of_the_slice_that_all_hold():
    """What an agent doesn't hold is no part of a disagreement: else equal agents would be far apart."""
    map, _ = nested(DIGITS)
    least = map.held(0).size
    thetas = np.random.default_rng(0).normal(size=(3, map.size)).astype(np.float32)  # In the order that all share.

    def found(of: np.ndarray) -> float:
        made = {}
        for index, capacity in enumerate((1.0, 0.5, 0.25)):
            task, slice = slice_of(DIGITS, capacity)
            params = make_learner(task).unflatten(slice.own(of[index, : slice.places.size]))
            with Peer(jax.tree.map(np.asarray, params), task="digits", submodel="nested", slice=slice) as peer:
                sketching = peer._sketching
                plan = plan_of(0, sketching._replica.parameters)
                made[str(index)] = [Made(0, True, sketch_of(plan, sketching._pieces(None)))]
        return estimated(made, dict.fromkeys(made, 1.0)).distance

    assert found(np.stack([thetas[0]] * 3)) == 0.0
    assert found(thetas) == pytest.approx(float(consensus_distance(thetas[:, :least].astype(np.float64))), rel=0.15)


def test_a_slice_begins_as_its_part_of_the_full_models_first_weights_and_computes_what_that_does():
    map, _ = nested(DIGITS)
    task, slice = slice_of(DIGITS, 0.25)
    learner, held = make_learner(task), map.held(map.blocks.of_agent(0, 0.25))
    whole, own = np.asarray(FULL.flatten(FULL.init(3).params)), np.asarray(learner.flatten(learner.init(3).params))
    assert own.tolist() == whole[held].tolist() and slice.model == FULL.spec_hash and learner.size == slice.scope.size
    zeros = np.zeros_like(whole)
    zeros[held] = own
    test = {name: np.asarray(rows[:64]) for name, rows in DIGITS.test_data.items()}
    small, padded = learner.evaluate(learner.unflatten(own), test), FULL.evaluate(FULL.unflatten(zeros), test)
    assert small == pytest.approx(padded, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"capacity": 0.5}, "--capacity below 1 needs --submodel nested"),
        ({"submodel": "nested", "capacity": Capacity((1.0, 0.5))}, "one share, or one for each of 1 agents"),
        ({"submodel": "nested", "private": ("output/*",)}, "--private and --submodel nested exclude each other"),
        ({"submodel": "nested", "codec": "lowrank:4"}, "--codec lowrank:4 is of whole matrices"),
        ({"submodel": "nested", "rule": "momentum"}, "rules that exchange the parameters alone"),
    ],
    ids=str,
)
def test_what_nested_slices_do_not_go_with_is_refused(given, words):
    with pytest.raises(SettingsError, match=words):
        prepare(Learning(task="digits"), Shard(0, 2), Gossiping(**given))


@pytest.mark.parametrize("text", ["0.3", "2", "", "x", "1,,1", "nan", "0"])
def test_what_is_no_capacity_is_refused(text):
    with pytest.raises(SettingsError, match="capacity"):
        Capacity.parse(text)


def test_capacities_are_read_as_written_and_one_agent_holds_all():
    assert str(Capacity.parse("1,0.5,.25")) == "1,0.5,0.25" and Gossiping(capacity=0.5).capacity.shares == (0.5,)
    assert Capacity((0.5,)).of(3) == (0.5, 0.5, 0.5) and parse("nested").parts == 1
    with pytest.raises(SettingsError, match="must hold the whole model"):
        check_somebody_holds_all((0.5, 0.25))


def test_a_narrow_that_does_not_fit_is_refused_with_the_parameter_or_the_reason():
    wrong = replace(DIGITS, narrow=lambda share: replace(DIGITS.narrow(0.25), narrow=None))
    with pytest.raises(NarrowError, match=r"hidden/bias is \(64,\) in the full model and \(16,\)"):
        slice_of(wrong, 0.5)
    with pytest.raises(TaskError, match="no narrow"):
        slice_of(replace(DIGITS, narrow=None), 0.5)
    odd = DIGITS.narrow(3 / 32)  # 6 units: a half, but no quarter.
    assert nested(odd)[0].blocks.count == 2
    with pytest.raises(TaskError, match=r"capacity 0\.25: hidden widths must stay whole"):
        slice_of(odd, 0.25)


def test_a_peer_needs_the_slice_with_the_submodel():
    with pytest.raises(SettingsError, match="submodel nested and a slice belong together"):
        Peer({"w": np.ones(3, np.float32)}, task="t", submodel="nested")
