"""What a plan expects follows from what was measured, as its equations say; bad words are refused at once."""

import json
import math
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Peer
from agents.command.cli import run_command
from agents.measuring import exchange, local_step
from agents.planning import FEW, TIMES, Choice, Costs, Exchange, Span, best, choices, planned
from agents.prepare import prepare
from agents.settings import Learning
from agents.values import Shard
from topology.forecasting import forecast

STEP = Span(0.9e-3, 1e-3, 1.5e-3)


def costs(**given: object) -> Costs:
    kinds = {"float32": Exchange(4e6, 0.002), "lattice:4": Exchange(5e5, 0.004)}
    return Costs(STEP, kinds, **({"round_trip_s": 0.05, "bandwidth": 1e7} | given))


def test_a_round_is_what_an_agent_does_one_after_the_other_where_it_waits():
    row = planned(Choice(8, "ring", "float32", 10, 1000), costs(waits=True), 1e-3)
    exchange_s = 0.05 + 2 * 4e6 / 1e7 + 2 * 0.002
    assert row.rounds == forecast("ring", 8, 0.5, epsilon=1e-3).rounds
    assert row.train.likely == pytest.approx(100 * (0.01 + exchange_s))
    assert row.train.low == pytest.approx(100 * (0.009 + exchange_s / 2))
    assert row.train.high == pytest.approx(100 * (0.015 + exchange_s * 2))
    assert row.agree.likely == pytest.approx(row.rounds * (0.01 + exchange_s))
    assert row.waiting == pytest.approx(exchange_s / (0.01 + exchange_s))
    assert row.bytes == 2 * 4e6 * 100 and row.agrees


def test_where_pairs_meet_half_of_the_agents_wait_but_a_round_lasts_as_long():
    exchange_s = 0.05 + 2 * 4e6 / 1e7 + 2 * 0.002
    row = planned(Choice(8, "base:2", "float32", 10, 1000), costs(waits=True), 1e-3)
    assert row.rounds == 3 and row.agree.likely == pytest.approx(3 * (0.01 + exchange_s))
    assert row.train.likely == pytest.approx(100 * (0.01 + exchange_s / 2))
    assert row.bytes == 4e6 * 100
    beside = planned(Choice(8, "base:2", "float32", 10, 1000), costs(waits=False), 1e-3)
    assert beside.agree.likely >= 3 * exchange_s


def test_an_exchange_that_does_not_fit_beside_training_takes_periods_and_no_time():
    row = planned(Choice(8, "ring", "float32", 10, 1000), costs(waits=False), 1e-3)
    assert row.train == pytest.approx(STEP.times(1000)) and row.waiting == pytest.approx(0)
    periods = math.ceil((0.05 + 0.8 + 0.004) / 0.01)
    assert row.agree.likely == pytest.approx(row.rounds * periods * 0.01)
    assert row.bytes == pytest.approx(2 * 4e6 * 100 / periods) and not row.agrees


@given(agents=st.integers(1, 32), cores=st.integers(1, 8), every=st.integers(1, 50))
def test_agents_of_one_machine_share_its_cores(agents, cores, every):
    each = costs(cores=cores, round_trip_s=0.0, bandwidth=math.inf)
    row = planned(Choice(agents, "complete" if agents > 1 else "none", "lattice:4", every, every), each, 0.1)
    work_s = 0.008 if agents > 1 else 0.0
    assert row.train.likely == pytest.approx((every * 1e-3 + work_s) * max(1, agents / cores))
    assert row.train.low <= row.train.likely <= row.train.high and 0 <= row.waiting < 1


def test_the_best_agrees_in_time_hardly_waits_and_among_equals_sends_least():
    listed = choices((2, 4, 8), ("ring", "complete"), ("float32", "lattice:4"), (1, 100), 100_000)
    assert {each.steps for each in listed} == {50_000, 25_000, 12_500}
    rows = [planned(each, costs(waits=True), 1e-3) for each in listed]
    found = best(rows)
    fit = [row for row in rows if row.agrees and row.waiting <= FEW]
    assert not fit and found.agrees, "waiting can't be had below a tenth here: it must agree all the same"
    short = [planned(each._replace(steps=5), costs(waits=True), 1e-3) for each in listed if each.agents > 2]
    nearest = best(short)
    assert not any(row.agrees for row in short), "five steps are too few for all of them"
    assert nearest.agree.likely / nearest.train.likely == min(row.agree.likely / row.train.likely for row in short)
    local = [planned(each, costs(cores=8, round_trip_s=0, bandwidth=1e12), 1e-3) for each in listed]
    assert best(local).choice == Choice(8, "complete", "lattice:4", 100, 12_500)
    assert all(row.agrees == (row.rounds * TIMES <= math.ceil(row.choice.steps / row.choice.every)) for row in local)


def test_steps_and_exchanges_are_measured_with_what_a_run_would_have():
    prepared = prepare(Learning(task="digits"), Shard(0, 4))
    low, likely, high = local_step(prepared)
    assert 0 < low <= likely <= high
    whole, few = (exchange(prepared, codec) for codec in ("float32", "lattice:4"))
    assert 4 * prepared.learner.size < whole.bytes < 4 * prepared.learner.size + 1000
    assert 0.1 < few.bytes / whole.bytes < 0.2 and whole.work_s > 0


def test_a_plan_is_one_object_and_says_what_it_rests_on(capsys):
    words = ["--agents", "1,4,5", "--topology", "ring,torus", "--codec", "lattice:4", "--every", "5,20steps"]
    assert (
        run_command(["plan", "--task", "digits", *words, "--bandwidth", "100mbit", "--latency", "25ms", "--json"]) == 0
    )
    plan = json.loads(capsys.readouterr().out)
    assert plan["measured"]["parameters"] == 4810 and any(
        "50.0 ms there and back, 12.5 MB/s" in t for t in plan["assumptions"]
    )
    assert {row["agents"] for row in plan["rows"]} == {1, 4, 5} and plan["recommended"] in plan["rows"]
    assert len(plan["without"]) == 1 and "torus of 5" in plan["without"][0], "a prime number of agents is no torus"


OTHERS = "; all but the first with --join, and all with a --secret of yours"


def test_what_is_recommended_is_what_was_planned(capsys, monkeypatch):
    """Whatever was given of what is learned, and how agents mix, stands in the command, as it was given."""
    learned = ["--width=64.0", "--batch-size=16", "--optimizer=sgd", "--partition=labels:2", "--data=my data"]
    monkeypatch.setattr("agents.command.plan._measured", lambda *_: (costs(waits=True), 100_000, 4810))
    given = ["--task", "[red]mine.py", *learned, "--agents", "8", "--alpha", "0.2512345678", "--waits"]
    assert run_command(["plan", *given, "--topology", "ring", "--codec", "lattice:4", "--every", "100"]) == 0
    shown = capsys.readouterr().out.splitlines()
    at = next(
        k for k, line in enumerate(shown) if line.startswith("recommended, on 8 machines, each with its own shard, 0")
    )
    assert shown[at].endswith(f", 0 to 7{OTHERS}:")
    words = shlex.split(shown[at + 1])  # The whole line, as it can be pasted.
    assert words[:2] == ["agent", "run"] and set(learned) < set(words)
    assert {"--task=[red]mine.py", "--steps=12500", "--alpha=0.2512345678", "--overlap=no"} < set(words)
    assert words[-5:-2] == ["--topology=ring", "--codec=lattice:4", "--every=100steps"]


@pytest.mark.parametrize("short", [False, True])
def test_rows_that_have_no_time_to_agree_are_marked_and_the_mark_explained(short, capsys, monkeypatch):
    """Without colors too: else the quickest row seems to be passed over for no reason."""
    monkeypatch.setattr("agents.command.plan._measured", lambda *_: (costs(), 900 if short else 90_000, 4810))
    words = ["--agents", "2,16", "--topology", "ring", "--codec", "float32", "--every", "20"]
    assert run_command(["plan", "--task", "digits", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    (row,) = (line.split() for line in shown if line.split()[:2] == ["16", "ring"])
    assert row[4].endswith("*") == short
    assert any(line == "- * too few steps to agree in: fewer than 3 times so many rounds" for line in shown) == short


def test_the_table_has_each_number_of_agents_and_topology_once(capsys, monkeypatch):
    monkeypatch.setattr("agents.command.plan._measured", lambda *_: (costs(), 900, 4810))
    words = ["--agents", "2,4,8", "--topology", "ring,complete", "--codec", "float32,lattice:4", "--every", "1,5,20"]
    assert run_command(["plan", "--task", "digits", *words]) == 0
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    expected = [[n, topology] for n in ("2", "4", "8") for topology in ("ring", "complete")]
    assert [each for each in shown if each[:1] and each[0].isdecimal()] == expected


@pytest.mark.parametrize(
    ("words", "where", "command"),
    [
        (["1"], "on one machine:", "agent run --task=digits --steps=900"),
        (["2", "--local"], "on this machine:", "agent launch -n 2 --task=digits --steps=450"),
        (
            ["2"],
            f"on 2 machines, each with its own shard, 0, 1{OTHERS}:",
            "agent run --shard=0/2 --wait-for=2 --task=digits --steps=450",
        ),
    ],
)
def test_the_command_stands_on_a_line_of_its_own(words, where, command, capsys, monkeypatch):
    monkeypatch.setattr("agents.command.plan._measured", lambda *_: (costs(), 900, 4810))
    assert run_command(["plan", "--task", "digits", "--codec", "float32", "--agents", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    (at,) = (k for k, line in enumerate(shown) if line.endswith(f", {where}"))
    assert shown[at + 1].startswith(command)


def test_the_link_is_measured_to_a_peer_but_for_what_is_given(capsys, monkeypatch):
    def measured(_, counts, codecs, link, *rest):
        return costs(round_trip_s=link[0], bandwidth=link[1]), 900, 4810

    monkeypatch.setattr("agents.command.plan._measured", measured)
    words = ["plan", "--task", "digits", "--agents", "2", "--codec", "float32", "--timeout", "60", "--json"]
    with Peer({"w": np.zeros(600_000, np.float32)}, task="mine", name="one", listen="tcp://127.0.0.1:0") as peer:
        whole, part = [
            (run_command([*words, "--join", peer.address, *given]), json.loads(capsys.readouterr().out))[1]
            for given in ([], ["--latency", "25ms"])
        ]
        assert run_command([*words, "--join", peer.address, "--latency", "25ms", "--bandwidth", "100mbit"]) == 0
        assert "measured to" not in capsys.readouterr().out
    assert 0 < whole["measured"]["round_trip_s"] < 2 and whole["measured"]["bandwidth"] > 1e5
    assert any(t.endswith(f"; latency and bandwidth measured to {peer.address}") for t in whole["assumptions"])
    assert part["measured"]["round_trip_s"] == 0.05 and part["measured"]["bandwidth"] > 1e5
    assert any("50.0 ms there" in t and "; bandwidth measured to" in t for t in part["assumptions"])


def test_a_link_that_cannot_be_measured_is_one_line(capsys):
    words = ["plan", "--task", "digits", "--timeout"]
    with Peer({"w": np.zeros(9, np.float32)}, task="mine", name="one", listen="tcp://127.0.0.1:0") as peer:
        assert run_command([*words, "60", "--join", peer.address]) == 2
        error = capsys.readouterr().err
    assert "too small to measure bandwidth by): give --bandwidth" in error and "Traceback" not in error
    assert run_command([*words, "0.1", "--join", "tcp://127.0.0.1:1"]) == 2
    assert "tcp://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--task is missing"),
        (["--local", "--latency", "5ms"], "leave them out with --local"),
        (["--agents", "2,x"], "--agents is whole numbers"),
        (["--every", "0.5s"], "--every is whole numbers"),
        (["--bandwidth", "fast"], "--bandwidth is such as 100mbit"),
        (["--latency", "5"], "--latency is a time"),
        (["--codec", "zip"], "codec"),
        (["--topology", "moon"], "topology"),
        (["--epsilon", "0"], "lie between 0 and 1"),
    ],
)
def test_what_cannot_be_planned_is_said_at_once(words, expected, capsys):
    assert run_command(["plan", *(["--task", "digits"] if words else []), *words]) == 2
    assert expected in capsys.readouterr().err
