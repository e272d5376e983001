"""`--weigh speed`: what agents weigh by how fast they train, and exchanges between agents whose weights change."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.manifest import Manifest
from agents.protocol.pace import Pace
from agents.protocol.speed import SpeedEstimate
from agents.protocol.weighing import CLEARLY, LEAST, PERIOD_S, Weighing, share

speeds = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("speed", "expected"), [(1.0, 1), (20.0, 1), (0.8, 1), (0.6, 0.5), (0.4, 0.5), (0.05, 1 / 16), (0.0, LEAST)]
)
def test_the_share_is_the_nearest_power_of_two_of_the_median_speed(speed, expected):
    assert share(speed, [speed, 1, 1, 1, 1]) == expected


@given(speeds, st.sampled_from([None, 1.0, 0.5, 1 / 16, LEAST]))
def test_a_share_is_a_power_of_two_within_bounds_and_whoever_is_at_the_median_has_all(speeds, now):
    for speed in speeds:
        found = share(speed, speeds, now)
        assert LEAST <= found <= 1 and math.log2(found).is_integer()
        if now is None and speed >= float(np.median(speeds)):
            assert found == 1


@given(st.floats(LEAST, 1.0), st.sampled_from([1.0, 0.5, 0.25, 1 / 16, LEAST]))
def test_a_share_changes_only_where_the_speed_has_clearly_left_it(speed, now):
    changed = share(speed, [speed, 1, 1, 1], now) != now
    assert changed == (abs(math.log2(speed) - math.log2(now)) > CLEARLY)


def test_speeds_of_a_minority_change_no_share():
    """Two of seven others claim any speed: the median is that of an honest one."""
    for lie in (0.0, 1e9):
        assert share(1.0, [1.0, *[1.0] * 5, lie, lie]) == 1


def test_an_agent_weighs_in_full_until_speeds_were_measured():
    there = {"a": 20.0, "b": 20.0, "c": 1.0}
    weighing = Weighing(300.0, lambda agent: agent in there)
    assert weighing.weight(1.0, there, 0.0) == 300
    assert weighing.weight(1.0, there, PERIOD_S / 2) == 300
    assert weighing.weight(None, there, PERIOD_S) == 300
    assert weighing.weight(1.0, there, 2 * PERIOD_S) == 300 / 8, "the median of 1, 1, 20 and 20 is 10.5"
    assert weighing.weight(1.0, {"c": 1.0}, 3 * PERIOD_S) == 300 / 8, "a and b have finished"
    for gone in "ab":
        del there[gone]
    assert weighing.weight(1.0, there, 4 * PERIOD_S) == 300, "those that are left are as slow"
    there.clear()
    assert weighing.weight(0.1, {}, 5 * PERIOD_S) == 300, "alone it keeps what it had"


def test_an_agent_that_has_finished_or_that_joins_weighs_what_it_did():
    """Finished agents gossip on while others still train; they take no steps, and their models count all the same."""
    network = MemoryNetwork(3, manifest=Manifest({"weigh": "speed"}))
    for name in "abc":
        network.add_agent(name, np.zeros(3), weight=100.0)
    network.meet()
    core, start = network.agents["a"].core, network.now

    def all_come_to(second):
        for name in "bc":
            network.agents[name].core.progressed({"step": 20 * second}, network.now)
        core.progressed({"step": min(20 * second, 400)}, network.now)
        if second == 20:
            network.agents["a"].driver.publish(state="settling")

    for second in range(60):
        network.at(start + second, lambda second=second: all_come_to(second))
    network.run(60.0)
    assert core.members.me.report.weight == 100


def shares_over_time(period_s, pause_each, pause_s, seconds=300):
    """Of an agent among seven others as fast, that report so often, and pause after so many reports for so long."""
    draw, pace, weighing, found = random.Random(1), Pace(), Weighing(1.0, lambda agent: True), []
    reports = []
    for agent in ["", *"abcdefg"]:
        now = draw.random() * period_s
        for step in itertools.count(1):
            now += period_s * draw.uniform(0.8, 1.2) + pause_s * (step % pause_each == 0)
            if now > seconds:
                break
            reports.append((now, agent, step))
    known = dict.fromkeys("abcdefg", 0)
    for now, agent, step in sorted([*reports, *((second, "all", 0) for second in range(seconds))]):
        if agent == "all":  # Others' records come once a second, whatever they report.
            for other, last in known.items():
                pace.saw(other, last, now)
        elif agent:
            known[agent] = step
        else:
            pace.own(step, now)
            found.append((now, weighing.weight(pace.speed, pace.speeds, now)))
    return found


@pytest.mark.parametrize(
    ("period_s", "pause_each", "pause_s"),
    [(0.5, 20, 5.0), (0.5, 20, 2.0), (4.0, 10, 0.0), (7.0, 10, 0.0), (10.0, 5, 15.0)],
)
def test_how_steps_come_in_and_pauses_change_no_weight(period_s, pause_each, pause_s):
    """Long steps, evaluations, checkpoints: all are as fast, so after a minute none weighs less than it did."""
    assert {weight for now, weight in shares_over_time(period_s, pause_each, pause_s) if now > 60} == {1.0}


def test_who_stands_still_for_long_or_starts_again_from_fewer_steps_is_measured_anew():
    estimate = SpeedEstimate(0, 0.0)
    for second in range(1, 101):
        estimate.saw(10 * second, float(second))
    assert estimate.speed == 10
    for second in range(101, 301):
        estimate.saw(1000, float(second))
    assert estimate.speed < 5
    estimate.saw(900, 301.0)
    assert estimate.speed is None
    estimate.saw(920, 311.0)
    assert estimate.speed == 2


def test_reports_that_overtake_one_another_hide_no_speed():
    """Of an agent that takes 400 steps a second each report of it is a tenth of a second late, more or less.

    An earlier one that came later was taken for a new start, so the speed of who is fast was never measured.
    """
    draw, pace = random.Random(2), Pace()
    sent = [(second, second + draw.uniform(0.0, 0.1)) for second in (k / 50 for k in range(1000))]
    for at_s, comes_s in sorted(sent, key=lambda each: each[1]):
        pace.saw("fast", int(400 * at_s), comes_s)
    assert pace.speeds["fast"] == pytest.approx(400, rel=0.05)
    pace.over("fast")
    pace.saw("fast", 3000, 21.0)
    assert "fast" not in pace.speeds, "it has started again, from fewer steps"
    pace.saw("fast", 4000, 31.0)
    assert pace.speeds["fast"] == 100
    pace.forget({"another"})
    assert not pace.speeds


def of_speeds(*each, weigh="speed"):
    """A swarm whose agents take so many steps a second, of virtual time, for half a minute; what they then weigh."""
    network = MemoryNetwork(3, manifest=Manifest({"weigh": weigh}))
    names = [f"agent-{i}" for i in range(len(each))]
    for name in names:
        network.add_agent(name, np.zeros(3), weight=100.0)
    network.meet()
    start = network.now
    for name, speed in zip(names, each, strict=True):
        for step in range(1, int(30 * speed)):
            network.at(
                start + step / speed,
                lambda name=name, step=step: network.agents[name].core.progressed({"step": step}, network.now),
            )
    network.run(30.0)
    published = [network.agents[name].core.members.me.report.weight for name in names]
    network.run(10.0)
    for agent in network.agents.values():
        known = {member.agent: member.report.weight for member in agent.core.members.others()}
        assert [known.get(name, own) for name, own in zip(names, published, strict=True)] == published
    assert [network.agents[name].core.exchanges.weight for name in names] == published
    return published


def test_a_swarm_finds_out_who_is_slow_and_all_know_it():
    assert of_speeds(20.0, 20.0, 18.0, 1.0, 8.0, 25.0) == [100, 100, 100, 6.25, 50, 100]


def test_with_other_weights_speed_changes_nothing():
    assert of_speeds(20.0, 20.0, 1.0, weigh="samples") == [100, 100, 100]


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    seed=st.integers(0, 10_000),
    codec=st.sampled_from(["float32", "lattice:4"]),
    changes=st.lists(
        st.tuples(st.floats(0, 12), st.integers(0, 2), st.sampled_from([1.0, 0.25, 3.0, 100.0])), max_size=12
    ),
    lost=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([0.01, 0.5, 2.0]),
)
def test_an_exchange_is_zero_sum_with_the_weights_it_began_with(seed, codec, changes, lost, delay_s):
    """The network's account asserts for each chunk that both sides move the same weight times the same difference."""
    network = MemoryNetwork(13, seed, codec=codec)
    start = np.random.default_rng(seed).normal(size=(3, 13))
    names = [f"agent-{i}" for i in range(3)]
    for i, name in enumerate(names):
        network.add_agent(name, start[i])
    network.meet()
    network.weather = Weather(lost, 0.2, delay_s)
    began = network.now
    for when, who, weight in changes:
        network.at(began + when, lambda name=names[who], w=weight: network.agents[name].core.publish(weight=w))
    for round in range(1, 25):
        name = names[round % 3]
        network.at(began + round / 2, lambda name=name, r=round: network.due(name, r))
    network.run(20.0)
    network.weather = Weather()
    assert network.run(300.0, network.at_rest), "an exchange stays open for ever"
    network.run(2.0)
    assert network.account.by_initiator, "nothing was exchanged"
    assert not network.account.outstanding
