"""Whatever describes a topology is accepted, and all else refused with what to pass."""

import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_matrix, csr_array

from topology import (
    Graph,
    Schedule,
    TopologyError,
    as_topology,
    base_graph,
    check_doubly_stochastic,
    exponential,
    from_edges,
    metropolis_hastings,
    named,
    one_peer_exponential,
    random_regular,
    ring,
    torus,
)


def test_names_are_made_for_the_agents_and_the_seed() -> None:
    assert as_topology("regular:4", 30, seed=3).indices.tolist() == named("regular:4", 30, 3).indices.tolist()
    assert len(as_topology("base:2", 6)) == 4
    assert as_topology("torus", np.int64(12)).n == 12


@pytest.mark.parametrize("topology", [torus(3, 4), exponential(12), base_graph(12), one_peer_exponential(12)])
def test_graphs_and_schedules_are_taken_as_they_are(topology) -> None:
    assert as_topology(topology, 12) is topology


@pytest.mark.parametrize(
    "foreign",
    [
        nx.cycle_graph(6),
        nx.relabel_nodes(nx.path_graph(6), dict(enumerate("fedcba"))),
        nx.DiGraph([(i, (i + 1) % 6) for i in range(6)]),
    ],
)
def test_graphs_of_networkx_are_converted(foreign) -> None:
    made = as_topology(foreign, 6)
    number = {node: i for i, node in enumerate(foreign)}
    assert isinstance(made, Graph) and made.directed == foreign.is_directed()
    kind = tuple if made.directed else frozenset
    edges = {kind((number[a], number[b])) for a, b in foreign.edges}
    assert {kind(edge) for edge in made.edges.tolist()} == edges


@settings(max_examples=50)
@given(
    st.sampled_from([np.asarray, csr_array, coo_array, csc_matrix]),
    st.sampled_from(["ring", "complete", "exponential", "star"]),
    st.integers(1, 12),
    st.sampled_from([np.float64, np.float32]),
)
def test_a_mixing_matrix_becomes_a_schedule_of_itself(kind, name, n, dtype) -> None:
    W = metropolis_hastings(named(name, n), dense=True).astype(dtype)
    made = as_topology(kind(W), n)
    assert isinstance(made, Schedule) and len(made) == 1
    np.testing.assert_allclose(made[0].toarray(), W, atol=1e-7)
    check_doubly_stochastic(made[0])
    assert made.graphs[0].directed == bool((W != W.T).any())


def test_own_weights_of_a_matrix_are_kept() -> None:
    W = np.array([[0.2, 0.8, 0.0], [0.0, 0.1, 0.9], [0.8, 0.1, 0.1]])
    np.testing.assert_allclose(as_topology(W, 3)[0].toarray(), W, atol=1e-15)
    repeated = coo_array((np.full(4, 0.5), ([0, 1, 0, 1], [1, 0, 0, 1])), shape=(2, 2))
    assert as_topology(repeated, 2)[0].toarray().tolist() == [[0.5, 0.5], [0.5, 0.5]]
    swap = np.array([[0, 1], [1, 0]])
    assert as_topology(swap, 2)[0].toarray().tolist() == swap.tolist()


def lonely() -> nx.Graph:
    graph = nx.Graph([("a", "b")])
    graph.add_node("c")
    return graph


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([(0, 1), (1, 2)], r"networkx graph.*: got list .*; of edges make from_edges\(3, edges\)"),
        (np.array([[0, 1], [1, 2], [2, 0]]), r"got an array \(3, 2\); of edges make from_edges\(3, edges\)"),
        (((0, 1), (1, 2)), "got tuple"),
        (3, "a topology is a name .*: got int 3"),
        (None, "got NoneType None"),
        (ring, "got function"),
        ("moebius", "unknown topology 'moebius'"),
        (ring(5), "got 5 nodes and agents=3"),
        (nx.path_graph(4), "got 4 nodes and agents=3"),
        (np.full((4, 4), 0.25), "got 4 nodes and agents=3"),
        (from_edges(3, [(0, 1)]), "must be connected.*falls apart, 1 of 3 nodes have no edge: 2; add edges"),
        (lonely(), "1 of 3 nodes have no edge: 'c'; add edges"),
        (nx.DiGraph([(0, 1), (1, 2)]), "falls apart, into 3 parts, the smallest of node "),
        (np.array([[1.5, -0.5, 0], [-0.5, 1.5, 0], [0, 0, 1]]), r"no negative entry: got least=-0.5, place=\(0, 1\)"),
        (csr_array([[1.5, 0, -0.5], [0, 1, 0], [-0.5, 0, 1.5]]), r"no negative entry: got least=-0.5, place=\(0, 2\)"),
        (np.array([[1, 0, 0], [0, 1, np.nan], [0, 0, 1]]), r"is finite: got bad=1, place=\(1, 2\)"),
        (nx.empty_graph(3), "must be connected"),
        (np.eye(3), "must be connected"),
        (np.ones((3, 3)), r"got 3 in row 0; of a graph make a mixing matrix by metropolis_hastings\(graph\)"),
        (np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0.5, 0.5, 0]]), "got 1.5 in column 0; of a graph"),
        (np.eye(3).astype(complex), "real numbers: got complex128"),
        (np.ones(3), r"square: got shape=\(3,\)"),
        (nx.MultiGraph([(0, 1), (0, 1), (1, 2)]), "each edge once"),
        (np.float64(3), "a topology is a name .*: got float64"),
        (np.full((3, 3, 3), 1 / 3), r"square: got shape=\(3, 3, 3\)"),
        (
            Graph(3, np.array([0, 2, 3, 4]), np.array([2, 1, 0, 0])),
            r"each row of a graph ascend, each once: got row=\[0",
        ),
        (Graph(3, np.array([0, 1, 2, 3]), np.array([1, 2, 0])), "each edge as two arcs, or it is Graph.*directed=True"),
        (Graph(3, np.array([0, 1, 2, 3]), np.array([1, 0, 2])), r"no loops: got node=\[2\]"),
        (Graph(3, np.array([0, 1, 2, 3]), np.array([1, 0, 3])), r"nodes are 0 .. 2: got node=\[3\]"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),  # no address in a name: all workers must agree on it
)
def test_all_else_is_refused_in_one_line_that_says_what_to_pass(value, message) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        as_topology(value, 3)
    assert "\n" not in str(caught.value)


def test_rows_of_a_scipy_matrix_are_a_graph_and_stay_writable() -> None:
    rows = csr_array(np.ones((3, 3), np.int8) - np.eye(3, dtype=np.int8))
    graph = as_topology(Graph(3, rows.indptr, rows.indices), 3)
    assert graph.indptr.dtype == np.int64 and graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    rows.indices[0] = rows.indices[0]
    circle = Graph(3, np.array([0, 1, 2, 3]), np.array([1, 2, 0]), directed=True)
    assert as_topology(circle, 3).neighbors(2).tolist() == [0]


def test_a_matrix_of_jax_is_a_matrix() -> None:
    assert as_topology(jnp.full((2, 2), 0.5), 2)[0].toarray().tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("graphs", "weights", "message"),
    [
        ("ring", (np.full(6, 0.1),), r"Schedule\(graphs=...\) is a tuple, one for each round: got 'ring'"),
        ((nx.cycle_graph(3),), (np.full(6, 0.1),), r"are Graphs, such as from_networkx\(graph\): got Graph"),
        ((ring(3),), 0.5, r"Schedule\(weights=...\) is a tuple, one for each round: got 0.5"),
        ((ring(3),), ("half",), "weights of a Schedule are numbers"),
        ((ring(3),), (np.full(6, 0.6),), "in round 0 the neighbors in row 0 sum to 1.2, above 1"),
        ((from_edges(3, [(0, 1), (1, 2)], directed=True),), (np.full(2, 0.5),), "in round 0 column 0 sums to 0.5"),
    ],
    ids=["one name", "a foreign graph", "one weight", "a word", "too much", "one way"],
)
def test_a_schedule_by_hand_is_refused_in_one_line(graphs, weights, message) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        Schedule(3, graphs, weights)
    assert "\n" not in str(caught.value)


def test_a_schedule_connects_over_all_its_rounds() -> None:
    pairs = [from_edges(4, [(0, 1), (2, 3)]), from_edges(4, [(1, 2), (3, 0)])]
    halves = [np.full(4, 0.5)] * 2
    assert as_topology(Schedule(4, pairs, halves), 4).n == 4
    with pytest.raises(TopologyError, match="must be connected"):
        as_topology(Schedule(4, pairs[:1], halves[:1]), 4)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int16, lambda whole: np.array(whole)])
def test_integers_of_numpy_count_as_whole_numbers(kind) -> None:
    assert as_topology(ring(kind(20)), kind(20)).neighbors(kind(19), kind(250)).tolist() == [0, 18]
    assert type(ring(kind(20)).n) is type(from_edges(kind(3), [(0, 1)]).n) is int
    assert exponential(kind(200)).degree.tolist() == [8] * 200
    assert torus(kind(20), kind(20)).n == 400
    assert random_regular(kind(100), kind(4), seed=kind(2)).indices.size == 400
    assert (
        base_graph(kind(6), kind(1)).neighbors(kind(0), kind(255)).tolist() == base_graph(6).neighbors(0, 255).tolist()
    )
    assert named("base:2", kind(6))[kind(3)].shape == (6, 6)
