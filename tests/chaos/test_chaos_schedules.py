"""Seeded schedules of chaos: a few dozen here, thousands in `make chaos`; each runs alone by its seed."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import agents.mixing.layout
from tests.chaos import invariants
from tests.chaos.schedule import CHAOS_S, KINDS, drawn
from tests.chaos.schedules import CHUNK, RETURN_S, check, failure
from tests.chaos.swarm import Swarm

SEEDS = range(28)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(agents.mixing.layout, "CHUNK", CHUNK)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_after_chaos(seed):
    """If this fails: python -m tests.chaos.schedules --seed N."""
    check(seed)


@pytest.mark.parametrize("module", ["schedules", "reliability", "fuzz"])
def test_what_make_runs_starts_outside_of_these_tests_too(module):
    """Whose imports pytest makes easier than Python does."""
    command = [sys.executable, "-m", f"tests.chaos.{module}", "--help"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_these_seeds_hold_every_kind_of_fault():
    assert {fault.kind for seed in SEEDS for fault in drawn(seed).faults} == set(KINDS)


@pytest.mark.parametrize(
    ("seed", "name"), [(1431, "agent-1"), (868, ""), (4538, "agent-2"), (987, ""), (3259, "agent-2"), (4630, "agent-1")]
)
def test_nobody_gets_another_address_but_where_agents_know_none_of_each_other(seed, name):
    """In 868 and 987 agents are apart of whom one knows an address of the other: these meet by themselves."""
    swarm = Swarm(drawn(seed))
    swarm.run(CHAOS_S)
    swarm.calm()
    assert swarm.run(RETURN_S, lambda: swarm.complete)
    before = dict(swarm.loops)
    swarm.join_anew()
    assert [each for each, loop in swarm.loops.items() if loop is not before[each]] == [name] * bool(name)


def test_a_seed_gives_the_same_history_again():
    def history(seed):
        swarm = Swarm(drawn(seed))
        swarm.run(5.0)
        return [(name, agent.theta.tobytes(), len(agent.core.done)) for name, agent in swarm.agents.items()]

    assert history(3) == history(3) != history(4)


def test_a_violated_invariant_is_found_and_names_its_seed(monkeypatch):
    """With cores that apply each time at another rate, the mean moves."""
    numbers = count()
    monkeypatch.setattr("agents.protocol.exchanges.rate", lambda *given: 0.3 + 0.001 * next(numbers))
    assert failure(11).startswith("seed 11: AssertionError")


def test_tables_of_a_core_are_found_wherever_they_are():
    swarm = Swarm(drawn(3))
    swarm.run(5.0)
    sizes = dict(invariants.tables(next(iter(swarm.agents.values())).core))
    assert sizes["core.handshake._contacts"] and sizes["core.members._known"] and "core.exchanges._incoming" in sizes
