"""Topologies by name: strict for an experiment, the nearest that exists for a live swarm."""

import subprocess
import sys

import pytest

import topology
from topology import Graph, Schedule, TopologyError, named, overlay

CONNECTED = [
    *["ring", "path", "star", "complete", "grid", "torus", "hypercube", "exponential"],
    *["regular:1", "regular:2", "regular:3", "regular:4", "regular:7"],
]
LOOSE = ["erdos-renyi:0.1", "small-world:4:0.1", "small-world:3:1"]
SCHEDULES = ["one-peer-exponential", "matching", "base:2", "base:4"]


@pytest.mark.parametrize("name", [*CONNECTED, *LOOSE, *SCHEDULES])
def test_overlay_refuses_no_size(name):
    for n in range(1, 201):
        found = overlay(name, n, seed=n)
        assert found.n == n
        if isinstance(found, Graph) and (name in CONNECTED or n <= 2):
            assert found.is_connected
        if n == 2:
            assert found.neighbors(0, 0).tolist() == [1] and found.neighbors(1, 0).tolist() == [0]
        if n == 1:
            assert found.neighbors(0, 0).size == 0


@pytest.mark.parametrize("name", [*CONNECTED, "erdos-renyi:0.1", "small-world:4:0.1"])
def test_overlay_is_the_named_one_where_that_exists(name):
    for n in range(3, 66):
        try:
            strict = named(name, n, seed=5)
        except TopologyError:
            continue
        if name != "regular:1":
            assert overlay(name, n, seed=5).indices.tolist() == strict.indices.tolist()


def test_overlay_takes_the_nearest_member():
    assert (overlay("torus", 7).degree == 2).all()
    assert len(overlay("grid", 7).edges) == 6
    assert overlay("regular:4", 4).degree.tolist() == [3] * 4
    assert overlay("regular:3", 5).degree.tolist() == [2] * 5
    assert overlay("hypercube", 3).neighbors(0).tolist() == [1, 2]
    assert (overlay("complete", 20_001).degree == 64).all()


def test_same_name_size_and_seed_give_the_same_topology():
    assert named("regular:4", 30, seed=1).indices.tolist() == named("regular:4", 30, seed=1).indices.tolist()
    assert named("regular:4", 30, seed=1).indices.tolist() != named("regular:4", 30, seed=2).indices.tolist()


@pytest.mark.parametrize("name", ["matching", "regular:4", "erdos-renyi:0.5", "small-world:4:0.1"])
def test_a_run_s_seed_may_be_negative(name):
    for make in (named, overlay):
        one, other = (getattr(made, "graphs", (made,))[-1] for made in (make(name, 12, -1), make(name, 12, 2**64 - 1)))
        assert one.edges.tolist() == other.edges.tolist()


def test_torus_and_grid_are_as_square_as_n_allows():
    assert named("torus", 12).indices.tolist() == topology.torus(3, 4).indices.tolist()
    assert named("grid", 36).indices.tolist() == topology.grid(6, 6).indices.tolist()


def test_names_give_what_they_say():
    assert isinstance(named("base:2", 6), Schedule) and len(named("base:2", 6)) == 4
    assert len(named("base:5", 5)) == 1
    assert len(named("one-peer-exponential", 16)) == 4
    assert named("exponential", 16).directed


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("tours", 9, "unknown topology 'tours': the known ones are ring, path, .*regular:4"),
        ("ring:3", 9, "unknown topology 'ring:3'"),
        ("regular", 9, "unknown topology 'regular'"),
        ("torus", 7, "a torus needs n = rows \\* cols, both 2 or more: use ring: got n=7"),
        ("grid", 7, "use path: got n=7"),
        ("hypercube", 12, "n = 2 \\*\\* dimension.*: got n=12"),
        ("regular:4", 4, "degree < n: got n=4, degree=4"),
        ("regular:x", 9, "a whole number belongs in place of 'x': got name='regular:x'"),
        ("base:1", 9, "b >= 2.*: got name='base:1'"),
        ("erdos-renyi:p", 9, "a number belongs in place of 'p'"),
        ("small-world:4:2", 9, "0 <= p <= 1: got p=2"),
        ("ring", 0, "ring needs a whole number n >= 1: got n=0"),
    ],
)
def test_bad_names_say_what_was_expected_and_what_came(name, n, message):
    with pytest.raises(TopologyError, match=message):
        named(name, n)


@pytest.mark.parametrize(
    "name", ["tours", "regular:x", "erdos-renyi:2", "small-world:4:x", "small-world:x:0.1", "base:1"]
)
@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_overlay_refuses_a_wrong_name_at_any_size(name, n):
    with pytest.raises(TopologyError):
        overlay(name, n)


def test_public_list_is_complete_and_sorted():
    assert topology.__all__ == sorted(topology.__all__)
    assert all(hasattr(topology, name) for name in topology.__all__)


def test_an_agent_that_needs_neighbors_alone_does_not_load_scipy():
    code = (
        "import sys; from topology import overlay, select;"
        "select(0, 'a', 1, overlay('regular:4', 20).neighbors(3)); overlay('base:2', 6).neighbors(0, 1);"
        "sys.exit('scipy' in sys.modules or 'networkx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
