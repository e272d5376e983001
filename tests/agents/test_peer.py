"""A swarm for any training loop, over real sockets: `agents.Peer`."""

import logging
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from agents import Peer
from agents.learning.errors import TaskError
from agents.mixing.blocks import Blocks, ScopeError
from agents.network import PeerClosed, SwarmError
from agents.observe.observer import observing
from agents.requests import StopRequests
from agents.values import SettingsError
from topology.errors import GossamerError
from transport.keys import new_key, write_key
from transport.link import Link
from transport.messages import VERSION, Address, AgentId, ConnectionId, Gossip, Hello, Message, Refuse, Stop, Welcome

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"
Start = Callable[..., Peer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes peers of one swarm, each joining through the first; closes them at the end."""
    with ExitStack() as stack:
        peers: list[Peer] = []

        def made(params: Any, **settings: Any) -> Peer:
            given = {"task": "test", "every": "1steps", "topology": "complete", "name": f"peer-{len(peers)}"}
            join = [peers[0].address] if peers else []
            peers.append(Peer(params, **{**given, "join": join, **settings}))
            stack.callback(peers[-1].close)
            return peers[-1]

        yield made


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls made at the same time, each in a thread of its own."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a peer waits for ever"
    return results


def vector(params: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(params)])


def test_peers_agree_on_the_weighted_mean_and_it_is_conserved(start: Start) -> None:
    random = np.random.default_rng(0)
    starts = [{"w": random.normal(size=(3, 4)).astype(np.float32), "b": random.normal(size=5).astype(np.float32)}
              for _ in range(3)]  # fmt: skip
    weights = [1.0, 2.0, 5.0]
    peers = [start(params, weight=weight) for params, weight in zip(starts, weights, strict=True)]
    for peer, params in zip(peers[1:], starts[1:], strict=True):
        peer.meet(params)

    def loop(peer: Peer, params: Any) -> Any:
        assert peer.wait_for(3, 60)
        for _ in range(30):
            params = peer.boundary(params)
        return peer.finish(params)

    ends = together(*(lambda p=peer, x=params: loop(p, x) for peer, params in zip(peers, starts, strict=True)))
    mean = np.average([vector(params) for params in starts], axis=0, weights=weights)
    np.testing.assert_allclose(np.average([vector(end) for end in ends], axis=0, weights=weights), mean, atol=1e-6)
    for end in ends:
        np.testing.assert_allclose(vector(end), mean, atol=1e-3)


def test_peers_behind_nat_finish_with_the_mean_of_all_though_they_reach_one_peer_alone(start: Start) -> None:
    starts = [{"w": np.random.default_rng(k).normal(size=7).astype(np.float32)} for k in range(5)]
    peers = [start(params, **({"listen": None} if k else {})) for k, params in enumerate(starts)]
    for peer, params in zip(peers[1:], starts[1:], strict=True):
        peer.meet(params)

    known = [peer._network.wait_until(lambda view: len(view.others) == 4, 60) for peer in peers]
    assert all(known), "whom only others reach is a member too"
    ends = together(*(lambda p=peer, x=params: p.finish(x) for peer, params in zip(peers, starts, strict=True)))
    for peer, end in zip(peers, ends, strict=True):
        np.testing.assert_allclose(vector(end), np.mean([vector(params) for params in starts], axis=0), atol=1e-6)
        assert peer.view().exact == tuple(sorted(peer.name for peer in peers))


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "without a step"])
def test_a_peer_that_was_gone_while_the_others_finished_takes_over_their_model(start: Start, trained: bool) -> None:
    """As one whose machine was restarted in that minute, and that comes back while they are still there."""
    starts = [{"w": np.random.default_rng(k).normal(size=7).astype(np.float32)} for k in range(4)]
    peers = [start(params) for params in starts[:3]]
    for peer, params in zip(peers[1:], starts[1:], strict=False):
        peer.meet(params)
    assert all(peer._network.wait_until(lambda view: len(view.others) == 2, 60) for peer in peers)

    def loop(peer: Peer, params: Any) -> Any:
        return peer.finish(peer.boundary(params) if trained else params)

    ends = together(*(lambda p=peer, x=params: loop(p, x) for peer, params in zip(peers, starts, strict=False)))
    back = start(starts[3])
    assert back.meet(starts[3], resumed=True) is starts[3]
    assert back._network.wait_until(lambda view: len(view.others) == 3, 60)
    (end,) = together(lambda: back.finish(starts[3]))
    np.testing.assert_allclose(vector(end), vector(ends[0]), atol=1e-6)
    assert back.view().exact == tuple(sorted(peer.name for peer in peers))


@pytest.mark.parametrize(
    "make",
    [np.asarray, jnp.asarray, lambda x: np.asarray(x, np.float64), lambda x: jnp.asarray(x, jnp.bfloat16),
     lambda x: np.asarray(x, ml_dtypes.bfloat16), np.asfortranarray],
    ids=["numpy", "jax", "float64", "jax bfloat16", "numpy bfloat16", "Fortran order"],
)  # fmt: skip
def test_params_come_back_as_the_same_pytree_of_the_same_kinds(start: Start, make: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    mine, theirs = ({"a": (make(x + k), [make(x[0] - k)])} for k in (0, 2))
    a, b = start(mine), start(theirs)
    theirs = b.meet(theirs)
    mixed = mine
    while mixed is mine:  # Until something came.
        mine_next, theirs = together(lambda: a.boundary(mine), lambda t=theirs: b.boundary(t))
        mixed = mine_next
    assert jax.tree.structure(mixed) == jax.tree.structure(mine)
    for before, after in zip(jax.tree.leaves(mine), jax.tree.leaves(mixed), strict=True):
        assert isinstance(after, jax.Array) == isinstance(before, jax.Array)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)


def test_boundary_without_an_exchange_due_returns_the_very_same_params(start: Start) -> None:
    params = {"w": np.zeros(4, np.float32)}
    peer = start(params, every="10steps")
    assert all(peer.boundary(params) is params for _ in range(25)), "alone, nothing ever comes"


def test_parameters_have_the_same_names_whatever_is_exchanged_beside_them(start: Start) -> None:
    """Patterns of --private were matched with 0/head/w as soon as the momentum was exchanged too."""
    model = {"head": {"w": np.zeros(3, np.float32)}, "body": {"w": np.zeros(4, np.float32)}}
    alone = start(model, private="head/*")
    beside = start((model, model), private="head/*", vectors=("theta", "momentum"), join=[])
    assert [span.stop - span.start for span in beside._layout.chunks] == [4, 4]
    assert beside.manifest.settings == alone.manifest.settings


def test_a_boundary_without_overlap_takes_in_the_exchange_that_it_began(start: Start) -> None:
    """Else it comes at the next one, when training has gone on from what was before."""
    mine, theirs = {"w": np.zeros(4, np.float32)}, {"w": np.ones(4, np.float32)}
    a, b = start(mine, overlap=False), start(theirs)
    theirs = b.meet(theirs)
    assert a.wait_for(2, 60)
    np.testing.assert_array_equal(a.boundary(mine)["w"], 0.5)
    np.testing.assert_array_equal(b.take_in(theirs)["w"], 0.5)


def test_peer_answers_while_its_loop_is_elsewhere(start: Start) -> None:
    mine, theirs = {"w": np.zeros(4, np.float32)}, {"w": np.ones(4, np.float32)}
    a, b = start(mine), start(theirs)
    theirs = b.meet(theirs)
    assert a.wait_for(2, 60)
    while vector(theirs)[0] == 1.0:
        theirs = b.boundary(theirs)
    assert 0 < vector(theirs)[0] < 1
    theirs = b.drain(theirs)
    mine = a.take_in(mine)
    np.testing.assert_allclose(vector(mine) + vector(theirs), 1.0, atol=1e-6)


def test_late_joiner_takes_over_the_swarms_model_and_costs_it_nothing(start: Start) -> None:
    """A joiner that had not adopted yet was mixed in: a fifth of the swarm's training was lost."""
    ones, threes, nothing = ({"w": np.full(1000, value, np.float32)} for value in (1, 3, -100))
    a, b = start(ones), start(threes)
    threes = b.meet(threes)
    ones, threes = together(lambda: a.boundary(ones), lambda: b.boundary(threes))
    late = start(nothing)
    stop = threading.Event()

    def trains(peer: Peer, params: Any) -> Any:
        while not stop.is_set():
            params = peer.boundary(params)
        return peer.drain(params)

    def joins() -> Any:
        params = late.meet(nothing)
        assert vector(params).min() >= 1, "the swarm's model, not its own"
        for _ in range(30):
            params = late.boundary(params)
        stop.set()
        return late.drain(params)

    ends = together(lambda: trains(a, ones), lambda: trains(b, threes), joins)
    for end in ends:
        assert vector(end).min() >= 1 - 1e-5, "nothing of the untrained vector is anywhere"
        assert vector(end).max() <= 3 + 1e-5


def test_private_parameters_never_leave_their_peer(start: Start) -> None:
    """Not in an exchange, not to a late joiner, not to an observer; the others end as the mean of all."""
    private = {"private": ["head*"]}
    mine, theirs, new = (
        {"body": np.full(600, value, np.float32), "head": np.full(50, value, np.float32), "tail": np.ones(3) * value}
        for value in (1.0, 3.0, -100.0)
    )
    a, b = start(mine, **private), start(theirs, **private)
    theirs = b.meet(theirs)
    mine, theirs = together(lambda: a.boundary(mine), lambda: b.boundary(theirs))
    late = start(new, **private)
    new = late.meet(new)
    assert new["head"].tolist() == [-100.0] * 50, "its own is not taken from others"
    assert new["body"].min() >= 1 and new["body"].max() <= 3 and new["tail"].min() >= 1
    mine["head"] += 1.0  # It is trained.
    ends = together(lambda: a.gossip(mine), lambda: b.gossip(theirs), lambda: late.gossip(new))
    for end, head in zip(ends, (2.0, 3.0, -100.0), strict=True):
        assert end["head"].tolist() == [head] * 50
        np.testing.assert_allclose(end["body"], ends[0]["body"], rtol=1e-6)
        np.testing.assert_allclose(end["tail"], ends[0]["tail"], rtol=1e-6)
    with observing([a.address], 10) as (observer, welcome):
        assert (welcome.parameters, welcome.settings["private"]) == (653, "head*")
        blocks = Blocks.of_settings(welcome.settings, welcome.parameters)
        observer.reach()
        pulled = observer.pull(observer.alive()[0], 653, blocks.scope.chunks())
        assert pulled[600:650].tolist() == [0.0] * 50 and pulled[:600].min() >= 1


@pytest.mark.parametrize(
    ("private", "words"), [("nope", "matches no parameter: the parameters are b, w"), ("*", "matches all parameters")]
)
def test_patterns_that_leave_nothing_or_mean_nothing_are_refused(private: str, words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        Peer({"w": np.zeros(3), "b": np.zeros(3)}, task="test", private=private)


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("alpha", 0.3, 0.5),
        ("topology", "ring", "complete"),
        ("seed", 1, 0),
        ("task", "x", "test"),
        ("finish", "gossip", "exact"),
        ("submodel", "width:2", "none"),
    ],
)
def test_another_setting_is_refused_with_both_values(start: Start, name: str, ours: Any, theirs: Any) -> None:
    params = {"w": np.zeros(3, np.float32)}
    start(params)
    other = start(params, **{name: ours})
    with pytest.raises(SwarmError, match=f"{name} is {ours} here and {theirs} there"):
        other.meet(params)


def test_another_rule_is_refused_with_both_values(start: Start) -> None:
    params = {"w": np.zeros(3, np.float32)}
    start(params, shared={"rule": "parameters"})
    with pytest.raises(SwarmError, match="rule is drift here and parameters there"):
        start(params, shared={"rule": "drift"}).meet(params)


def test_other_private_parameters_are_refused_with_both_values(start: Start) -> None:
    params = {"w": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}
    start(params, private="w")
    other = start(params, private="b")
    with pytest.raises(SwarmError, match="private is b here and w there"):
        other.meet(params)


def test_another_model_is_refused(start: Start) -> None:
    start({"w": np.zeros(3, np.float32)})
    params = {"w": np.zeros(4, np.float32)}
    with pytest.raises(SwarmError, match="model is"):
        start(params).meet(params)


@pytest.mark.parametrize(
    ("params", "settings", "error", "word"),
    [
        ({"n": np.zeros(3, np.int32)}, {}, TaskError, "'n' is an array of int32"),
        ({"n": object()}, {}, TaskError, "NumPy or JAX"),
        ({"w": np.zeros(3, np.float32)}, {"name": "a\nb"}, SettingsError, "printable"),
        ({"n": 1.0}, {}, TaskError, "'n' is float"),
        ({}, {}, TaskError, "without arrays"),
        ({"w": np.zeros((0, 3), np.float32)}, {}, TaskError, "arrays of size 0 alone"),
        ({"w": np.zeros(3, np.float32)}, {"every": "often"}, SettingsError, '--every: expected "10steps"'),
        ({"w": np.zeros(3, np.float32)}, {"clip": "far"}, SettingsError, "--clip: expected a factor"),
        ({"w": np.zeros(3, np.float32)}, {"alpha": 2.0}, SettingsError, "alpha"),
        ({"w": np.zeros(3, np.float32)}, {"weight": 0.0}, SettingsError, "weight"),
        *(
            ({"w": np.zeros(3, np.float32)}, settings, SettingsError, word)
            for settings, word in [
                ({"every": 0}, "10steps.* got '0'"),
                ({"every": None}, "10steps.* got 'None'"),
                ({"alpha": "x"}, r"in \[0, 1\]: got alpha='x'"),
                ({"seed": 1.5}, "whole number of 64 bits: got 1.5"),
                ({"weight": math.nan}, "weight must be above 0 and at most .*: got nan"),
                ({"weight": "heavy"}, "weight must be above 0 and at most .*: got 'heavy'"),
                ({"weight": 1e300}, "weight must be above 0 and at most .*: got 1e.300"),
                ({"mask": "x"}, "scale of the noise.* got 'x'"),
                ({"clip": None}, "factor above 0.* got 'None'"),
                ({"silent_s": "x"}, "--silent must exceed 1 seconds.* got x"),
                ({"network": []}, r"--network is local, lan, wan: got \[\]"),
                ({"join": None}, "--join is a text, or several in a list: got None"),
                ({"join": [5710]}, r"--join is a text, or several in a list: got \[5710\]"),
                ({"remembered": 5}, "remembered is a text, or several in a list: got 5"),
                ({"private": [5]}, r"--private is a text, or several in a list: got \[5\]"),
                ({"listen": 5710}, "--listen: an address is tcp://HOST:PORT.* got '5710'"),
                ({"name": 5}, "--name must consist of printable characters: got 5"),
                ({"run": "a\nb"}, "--run must consist of printable"),
                ({"task": None}, "--task must consist of printable characters: got None"),
                ({"topology": None}, "--topology is a name, such as ring: got NoneType"),
                ({"submodel": 5}, "--submodel is none, .* got 5"),
                ({"slice": 0.5}, "a slice belong together.* with slice 0.5"),
            ]
        ),
        ({"w": np.zeros(3, np.float32)}, {"topology": "donut"}, SettingsError, "donut"),
        *(
            (params, {"vectors": ("theta", "m")}, TaskError, "must be a tuple of 2 pytrees of the same shapes: got")
            for params in [{"w": np.zeros(3)}, ({"w": np.zeros(3)},), ({"w": np.zeros(3)}, {"w": np.zeros(4)})]
        ),
        ({"w": np.zeros(3)}, {"vectors": ("m",)}, TaskError, r"Peer\(vectors=...\) must be names .* 'theta' first"),
        ({"w": np.zeros(3, np.float32)}, {"codec": "morse"}, GossamerError, "float32"),
        ({"w": np.zeros(3, np.float32)}, {"listen": "nowhere"}, GossamerError, "nowhere"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    params: Any, settings: dict[str, Any], error: type[Exception], word: str
) -> None:
    before = threading.active_count()
    with pytest.raises(error, match=word) as caught:
        Peer(params, **{"task": "test", **settings})
    assert "\n" not in str(caught.value)
    assert threading.active_count() == before


def test_another_pytree_at_a_boundary_is_refused(start: Start) -> None:
    peer = start({"w": np.zeros(3, np.float32)})
    with pytest.raises(TaskError, match="same pytree"):
        peer.boundary({"v": np.zeros(3, np.float32)})
    with pytest.raises(TaskError, match=r"must keep its shape \(3,\): got \(4,\)"):
        peer.boundary({"w": np.zeros(4, np.float32)})


def test_closing_twice_and_leaving_by_an_exception_is_clean() -> None:
    class OwnError(Exception):
        pass

    before = threading.active_count()
    with pytest.raises(OwnError), Peer({"w": np.zeros(3, np.float32)}, task="test") as peer:
        raise OwnError
    peer.close()
    assert threading.active_count() == before


def test_a_peer_that_was_closed_or_has_finished_says_so_and_never_hangs(start: Start) -> None:
    params = {"w": np.zeros(3, np.float32)}
    closed, finished = start(params), start(params, join=())
    closed.close()
    for call in (closed.boundary, closed.gossip, closed.drain, closed.finish):
        with pytest.raises(PeerClosed):
            call(params)
    assert finished.finish(params) is params
    for call in (finished.boundary, finished.gossip, finished.finish):
        with pytest.raises(PeerClosed, match="has finished"):
            call(params)


def test_a_joiner_that_meets_nobody_keeps_its_params_and_its_state() -> None:
    """It published "settling" and "training", and its untrained vector was mixed into the swarm's."""
    params = {"w": np.ones(3, np.float32)}
    with Peer(params, task="test", join=["tcp://127.0.0.1:1"], every="1steps") as peer:
        assert not peer.ready
        peer.publish("training")
        for _ in range(3):
            assert peer.boundary(params) is params
        assert not peer.wait_for(1, 0.0)
        assert peer.finish(params, timeout_s=0.3) is params
        assert peer.members[0].state == "joining"
        assert peer.round == 0, "nothing was tried"


def test_a_peer_that_is_told_to_join_itself_alone_founds_the_swarm() -> None:
    """All machines may be given the same address; the one that has it waited for its own welcome for ever."""
    params = {"w": np.ones(3, np.float32)}
    address = f"tcp://127.0.0.1:{free_port()}"
    with Peer(params, task="test", listen=address, join=[address]) as peer:
        assert peer.ready and peer.run.startswith("test-")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_joiner_stops_waiting_for_a_model_whose_holders_have_gone(start: Start) -> None:
    """Nobody is left to send it: it goes on with its own params instead of waiting for ever."""
    params = {"w": np.ones(3, np.float32)}
    first, second = start(params), start(params)
    second.meet(params)
    first.boundary(params)
    late = start(params, join=[second.address])
    assert late._network.wait_until(lambda view: any(m.agent == "peer-0" and m.report.step for m in view.others), 60)
    late._network.adopt = lambda: first.close()  # It goes at that moment, before it is asked.
    np.testing.assert_array_equal(late.meet(params)["w"], params["w"])
    assert late.ready


def test_steps_are_published_whether_or_not_an_exchange_is_due(start: Start) -> None:
    """A swarm that exchanges every 10 s looked untrained for so long, and who joined mixed its own params in."""
    params = {"w": np.zeros(3, np.float32)}
    a = start(params, every="3600s")
    a.boundary(params, steps=np.int64(7))
    b = start(params, every="3600s")
    assert b._network.wait_until(lambda view: any(member.report.step == 7 for member in view.others), 60)


def test_numbers_may_be_numpy_s_or_jax_s(start: Start) -> None:
    params = {"w": np.zeros(3, np.float32)}
    a = start(params, alpha=np.float32(0.5), seed=np.int64(3), weight=np.float64(2))
    b = start(params, seed=3, alpha=0.5)
    b.meet(params)
    for loss in (np.float32(0.5), jnp.float32(0.5), jnp.full((1,), 0.5)[0]):
        a.boundary(params, loss=loss)
    assert b._network.wait_until(lambda view: any(member.report.loss == 0.5 for member in view.others), 60)


@pytest.mark.parametrize("make", [jnp.asarray, np.asarray], ids=["jax", "numpy"])
def test_differences_below_the_resolution_of_16_bits_are_kept(start: Start, make: Any) -> None:
    """Each exchange moves 2^-12, and half a unit in the last place of 1.0 is 2^-8: all of it was rounded away."""
    peer = start({"w": make(np.ones(2, ml_dtypes.bfloat16))})
    params = {"w": make(np.ones(2, ml_dtypes.bfloat16))}
    for _ in range(64):
        peer._replica.apply(0, np.full(2, 2.0**-12, np.float32), 1.0)
        params = peer.take_in(params)
    np.testing.assert_array_equal(vector(params), 1 + 2.0**-6)


def test_local_steps_below_the_resolution_of_32_bits_are_kept(start: Start) -> None:
    """Each boundary at which something came in took them away."""
    params: Any = {"w": np.ones(2)}
    peer = start(params)
    for _ in range(64):
        peer._replica.apply(0, np.full(2, 2.0**-10, np.float32), 1.0)
        params = peer.take_in({"w": params["w"] + 2.0**-40})
    np.testing.assert_array_equal(params["w"], 1 + 2.0**-4 + 2.0**-34)


def test_a_joiner_with_64_bits_takes_over_the_swarms_values_and_adds_nothing(start: Start) -> None:
    theirs, own = {"w": np.full(3, 0.001)}, {"w": np.full(3, 1e6 + 0.02)}
    a = start(theirs)
    a.boundary(theirs)
    np.testing.assert_array_equal(start(own).meet(own)["w"], np.float32(0.001))


def test_an_error_on_the_way_back_to_training_loses_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a full device, or Ctrl-C: what came is in the next boundary's sum."""
    params = {"w": np.zeros(3, np.float32)}
    peer = start(params)
    peer._replica.apply(0, np.ones(3, np.float32), 0.5)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(peer._ravel, "restore", Mock(side_effect=MemoryError))
        peer.boundary(params)
    np.testing.assert_array_equal(peer.boundary(params)["w"], 0.5)


def test_members_are_the_living_itself_included(start: Start) -> None:
    params = {"w": np.zeros(3, np.float32)}
    a, b = start(params), start(params)
    b.meet(params)
    assert a.wait_for(2, 60)
    assert [member.agent for member in a.members] == ["peer-0", "peer-1"]
    b.close()
    assert a._network.wait_until(lambda view: not view.others, 60)
    assert [member.agent for member in a.members] == ["peer-0"]


def test_example_of_an_own_loop_learns_from_data_it_never_sees(tmp_path: Path) -> None:
    write_key(tmp_path / "swarm.secret", new_key())
    first, second = (
        subprocess.Popen(
            [sys.executable, EXAMPLE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        for words in (["0"], ["1", "tcp://127.0.0.1:5710"])
    )
    models = []
    for each in (first, second):
        out, errors = each.communicate(timeout=120)
        assert each.returncode == 0, errors
        models.append(out.split(" loss ")[0])
    assert models[0] == models[1], "both hold the same model at the end"
    assert "'bias': 3.0" in models[0]


def asked_to_stop(link: Link, connection: ConnectionId) -> Message | None:
    """What comes back to a request, None for nothing: what it brought comes before the members that we ask for next."""
    link.send(connection, Stop())
    link.send(connection, Gossip((), reply=True))
    while True:
        for _, message in link.poll(1.0):
            if isinstance(message, Refuse):
                return message
            if isinstance(message, Gossip) and message.members:
                return None


def observed(link: Link, address: str) -> ConnectionId:
    connection = link.dial(address)
    while True:
        link.send(connection, Hello(VERSION, AgentId(""), 0, address=Address(address)))
        if any(isinstance(message, Welcome) for _, message in link.poll(0.1)):
            return connection


@pytest.mark.parametrize(("listen", "taken"), [("tcp://127.0.0.1:0", True), ("tcp://0.0.0.0:0", False)])
def test_a_request_to_stop_is_taken_where_only_this_machine_can_make_it(start: Start, listen: str, taken: bool) -> None:
    peer = start({"w": np.zeros(3, np.float32)}, listen=listen, insecure=True)
    port = peer.address.rpartition(":")[2]
    link = Link(None)
    try:
        answer = asked_to_stop(link, observed(link, f"tcp://127.0.0.1:{port}"))
    finally:
        link.close()
    assert peer.asked_to_stop is taken
    assert answer is None if taken else isinstance(answer, Refuse)


def test_a_request_to_stop_reaches_all_peers_on_the_machine(start: Start) -> None:
    """The first is asked on its own connection, and passes it on, also to who listens nowhere."""
    peers = [start({"w": np.zeros(3, np.float32)}, listen=listen) for listen in ("tcp://127.0.0.1:0", None, None)]
    assert all(peer._network.wait_until(lambda view: len(view.others) == 2, 30) for peer in peers)
    link = Link(None)
    try:
        asked_to_stop(link, observed(link, peers[0].address))
        while not all(peer.asked_to_stop for peer in peers):
            link.poll(0.05)
    finally:
        link.close()


def test_a_request_to_stop_isnt_taken_from_another_machine_that_we_have_called() -> None:
    link, stopped = Mock(address="tcp://127.0.0.1:5710"), Mock()
    requests = StopRequests(link, stopped)
    assert not requests(ConnectionId("tcp://192.0.2.7:5710"))
    stopped.assert_not_called()
    assert [requests(ConnectionId("tcp://127.0.0.1:5711")) for _ in range(2)] == [True, False]
    stopped.assert_called_once()


def test_the_log_has_who_connected_and_who_took_the_vector(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gossamer")
    params = {"w": np.ones(3, np.float32)}
    first, second = start(params), start(params)
    second.meet(params)
    with observing([first.address], 60) as (observer, welcome):
        (member,) = (member for member in observer.alive() if member.agent == first.name)
        observer.pull(member, welcome.parameters)
        assert first._network.wait_until(lambda view: "pulled" in events(caplog), 60)
    told = {(record.event, record.facts.get("peer"), record.facts["address"]) for record in audited(caplog)}
    assert told >= {("connected", second.name, "127.0.0.1"), ("connected", None, "127.0.0.1")}
    assert ("pulled", None, "127.0.0.1") in told


def audited(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "gossamer.audit"]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in audited(caplog)]


def test_leaving_coming_back_and_joining_late_leave_the_weighted_mean_where_it_was(start: Start) -> None:
    """With training off: who left comes back with what it held; who is late starts from what a member holds."""
    vectors = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    weights, mean = [1.0, 2.0, 5.0], np.average(vectors, axis=0, weights=[1.0, 2.0, 5.0])
    peers = [
        start({"w": vector}, weight=weight, clip=math.inf) for vector, weight in zip(vectors, weights, strict=True)
    ]
    held: list[Any] = [{"w": vector} for vector in vectors]
    for peer, params in zip(peers[1:], held[1:], strict=True):
        peer.meet(params)

    def exchange(index: int, boundaries: int) -> None:
        for _ in range(boundaries):
            held[index] = peers[index].boundary(held[index])

    together(*(lambda i=i: (peers[i].wait_for(3, 60), exchange(i, 5)) for i in range(3)))
    held[2] = peers[2].drain(held[2])  # In the middle of what the others begin.
    together(*(lambda i=i: exchange(i, 5) for i in range(2)))
    peers[2].close()
    came_back = start(held[2], weight=weights[2], name="peer-2", incarnation=time.time_ns() + 1, clip=math.inf)
    assert came_back.meet(held[2], resumed=True) is held[2]
    peers[2] = came_back
    late = start({"w": np.zeros(1000, np.float32)}, weight=3.0, clip=math.inf)
    adopted = late.meet({"w": np.zeros(1000, np.float32)})
    peers.append(late)
    held.append(adopted)
    total = mean * 8 + 3 * vector(adopted)
    together(*(lambda i=i: exchange(i, 10) for i in range(4)))
    ends = together(*(lambda i=i: peers[i].finish(held[i]) for i in range(4)))
    for end in ends:
        np.testing.assert_allclose(vector(end), total / 11, atol=1e-6)


def test_a_swarm_that_trains_has_begun_and_is_not_waited_for(start: Start) -> None:
    """One that restarts while others are cut off would wait for them, and train nothing meanwhile."""
    params = {"w": np.zeros(3, np.float32)}
    first, second = start(params), start(params)
    second.meet(params)
    assert not second.wait_for(3, 0.1)
    first.publish("training")
    assert second.wait_for(3, 60)


def test_nobody_rests_for_a_slower_peer_once_half_have_finished(start: Start) -> None:
    """They wait for it: a slow one that rests for one still slower would end later still."""
    params = {"w": np.zeros(3, np.float32)}
    first, second = start(params), start(params)
    second.meet(params)
    first.publish("settling")
    assert second._network.wait_until(lambda view: view.waited_s > 0, 60)
    together(lambda: second._rest(1e6))
