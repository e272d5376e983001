"""The settings of a simulation are defined in one place, shown by `simulate`, and of Python's own kinds afterwards."""

import inspect
import typing
from dataclasses import MISSING, fields

import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import sim
from sim import simulate
from sim.settings import SimulationSettings
from topology import Graph, Schedule, metropolis_hastings, ring


def test_simulate_takes_what_the_settings_hold_with_the_same_defaults():
    shown = inspect.signature(simulate).parameters
    held = {item.name: inspect.Parameter.empty if item.default is MISSING else item.default
            for item in fields(SimulationSettings)}  # fmt: skip
    assert {name: parameter.default for name, parameter in shown.items()} == held
    assert [name for name, parameter in shown.items() if parameter.kind is not parameter.KEYWORD_ONLY] == ["task"]


def test_help_and_completion_see_real_names_types_and_a_line_for_each_setting():
    assert dir(sim) == sorted(sim.__all__)
    hints = typing.get_type_hints(simulate)
    for name in inspect.signature(simulate).parameters:
        assert name in hints and f"{name}" in simulate.__doc__


def test_numbers_of_other_libraries_become_python_s():
    settings = SimulationSettings(
        task="digits",
        agents=np.int64(4),
        rounds=np.float32(2.5),
        alpha=jnp.asarray(0.25),
        seed=np.uint8(3),
        picked=np.array(2),
        drop=np.float32(0.25),
        delay=np.array([0, 1]),
        speeds=np.float64(2),
        joins={np.int64(1): np.int32(2)},
        session=np.int16(4),
    )
    kinds = {"agents": int, "rounds": float, "alpha": float, "seed": int, "picked": int, "drop": float, "speeds": float}
    for name, kind in kinds.items():
        assert type(getattr(settings, name)) is kind, name
    assert settings.delay == (0, 1) and settings.joins == {1: 2}
    assert settings.conditions(settings.seed).session == 4


@pytest.mark.parametrize(
    "given",
    [
        lambda theta: theta.astype(np.float64),
        np.asfortranarray,
        lambda theta: theta[::-1][::-1],
        jnp.asarray,
        lambda theta: theta.tolist(),
    ],
    ids=["float64", "Fortran order", "reversed views", "JAX", "lists"],
)
def test_models_to_begin_with_may_be_of_any_kind(given):
    theta = np.random.default_rng(0).normal(size=(3, 4810)).astype(np.float32)
    settings = {"agents": 3, "rounds": 2, "local_steps": 0, "progress": False}
    expected = simulate("digits", init=theta, **settings).theta
    assert simulate("digits", init=given(theta), **settings).theta.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (nx.cycle_graph(5), Graph),
        (metropolis_hastings(ring(5)), Schedule),
        (metropolis_hastings(ring(5), dense=True), Schedule),
    ],
    ids=["networkx", "sparse W", "dense W"],
)
def test_graphs_and_matrices_stand_for_the_same_run(given, kind):
    settings = {"agents": 5, "rounds": 3, "local_steps": 0, "protocol": "synchronous", "progress": False}
    found, expected = (simulate("digits", topology=topology, **settings) for topology in (given, "ring"))
    np.testing.assert_allclose(found.theta, expected.theta, atol=1e-6)
    assert found.facts["topology"] == kind.__name__ and len(found.edges) == 5


@pytest.mark.parametrize("protocol", ["exchange", "push", "push-sum"])
def test_a_matrix_that_weighs_an_agent_s_neighbors_alike_stands_for_its_graph(protocol):
    settings = {"agents": 5, "rounds": 3, "local_steps": 0, "protocol": protocol, "progress": False}
    W = metropolis_hastings(ring(5), dense=True).astype(np.float32)
    found, expected = (simulate("digits", topology=topology, **settings).theta for topology in (W, "ring"))
    np.testing.assert_array_equal(found, expected)


def test_a_negative_seed_is_a_seed():
    assert simulate("digits", agents=3, rounds=1, local_steps=0, seed=-1, progress=False).facts["seed"] == -1


def test_facts_are_what_json_can_hold_and_say_what_was_chosen():
    history = simulate(
        "digits", agents=3, rounds=2, delay=(0, 0.5), speeds=[1, 2, 1], joins={1: 1}, optimizer="adam", progress=False
    )
    expected = {"delay": "(0, 0.5)", "speeds": "given", "joins": {"1": 1}, "optimizer": "adam", "init": None}
    assert {name: history.facts[name] for name in expected} == expected
