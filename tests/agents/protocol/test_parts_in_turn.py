"""Agents that go from one subnetwork to another: nothing of one is mixed with another, whatever is under way."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.manifest import Manifest
from agents.mixing.layout import THETA
from agents.protocol import events as ev
from agents.protocol.events import Lost
from agents.protocol.sketches import SKETCH_BYTES
from agents.submodel import part_in_turn, part_of, same_part, stays, vector_of
from transport.messages import Decline, Offer, Piece, Pull, Report

SIZE, COUNT = 6, 2
slow = settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)


def swarm(n=4, seed=0, weather=None):
    """n agents, each at a vector of its own that is about 100 times the number of its subnetwork away from 0."""
    network = MemoryNetwork(SIZE, seed, manifest=Manifest({"submodel": f"width:{COUNT}"}))
    random = np.random.default_rng(seed)
    for i in range(n):
        theta = 100.0 * (i % COUNT) + random.normal(size=SIZE)
        agent = network.add_agent(f"agent-{i}", theta, shard=f"{i}/{n}")
        agent.core.publish(part=i % COUNT, step=1)
    network.meet()
    network.weather = weather or Weather()
    return network


def go(network, name, part):
    """As `Peer.turn` does: refuse what is new, then be of another subnetwork, and take its vector."""
    agent = network.agents[name]
    agent.driver.publish(state="joining")
    network.run(0.5, lambda: agent.core.exchanges.idle)
    agent.driver.publish(part=part)
    network.adopt(name)


def near(theta, part):
    return bool(np.abs(theta - 100.0 * part).max() < 10)


def test_who_goes_to_another_subnetwork_takes_its_vector_and_mixes_with_its_agents():
    network = swarm()
    go(network, "agent-2", 1)
    mover = network.agents["agent-2"]
    assert network.run(10, lambda: mover.adopted is not None)
    assert near(mover.theta, 1)
    assert network.run(10, lambda: set(mover.core.neighbors(1)) <= {"agent-1", "agent-3"})
    network.due("agent-2", 1)
    assert network.run(10, network.at_rest)
    assert [each for each in mover.of(ev.RoundOver) if not each.why]


@slow
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.floats(0, 8), st.integers(0, 5), st.booleans()), min_size=4, max_size=24),
    st.builds(
        Weather, lost=st.sampled_from([0.0, 0.2]), doubled=st.sampled_from([0.0, 0.3]), delay_s=st.floats(0.01, 1.5)
    ),
)
def test_no_difference_of_two_subnetworks_is_ever_applied(seed, acts, weather):
    """Agents go to and fro while messages are lost, doubled and late: a mixture would lie between 0 and 100."""
    network = swarm(6, seed, weather)
    parts = [i % COUNT for i in range(6)]

    def act(round, who, moves):
        agent = network.agents[f"agent-{who}"]
        if moves and who >= COUNT and agent.core.members.me.state != "joining":
            parts[who] = 1 - parts[who]
            agent.driver.publish(state="joining")
            agent.driver.publish(part=parts[who])
            network.adopt(agent.name)
        elif not moves:
            network.due(agent.name, round)

    for round, (when, who, moves) in enumerate(sorted(acts), 1):
        network.at(network.now + when, lambda r=round, w=who, m=moves: act(r, w, m))
    network.run(10.0)
    network.weather = Weather()
    everyone = network.agents.values()
    assert network.run(300.0, lambda: all(a.core.members.me.state != "joining" for a in everyone)), "who adopts nothing"
    assert network.run(300.0, network.at_rest), "an exchange stays open for ever"
    for agent, part in zip(everyone, parts, strict=True):
        assert agent.core.members.me.report.part == part and near(agent.theta, part), agent.name


def test_an_offer_that_was_made_for_the_subnetwork_before_is_declined():
    network = swarm()
    held = network.hold()
    network.due("agent-0", 1)
    assert network.run(5, lambda: any(isinstance(packet.message, Offer) for packet in held))
    network.agents["agent-2"].driver.publish(part=1)
    for packet in list(held):
        if isinstance(packet.message, Offer):
            network.deliver(packet)
    mover = network.agents["agent-2"]
    declines = [each.message for each in mover.of(ev.Send) if isinstance(each.message, Decline)]
    assert {decline.why for decline in declines} == {f"there is no vector '{THETA}.0' here"}
    assert near(mover.theta, 0)


def test_what_is_still_open_when_an_agent_goes_is_lost_and_counted():
    network = swarm()
    held = network.hold()
    network.due("agent-2", 1)
    assert network.run(5, lambda: any(isinstance(packet.message, Offer) for packet in held))
    mover = network.agents["agent-2"]
    offered = {(sent.offer.exchange, sent.offer.chunk) for sent in mover.of(ev.SendOffer)}
    mover.driver.publish(part=1)
    assert mover.core.exchanges.idle and mover.core.lost == len(offered) > 0
    assert [signal.initiated for signal in mover.signals if isinstance(signal, Lost)] == [True]


def test_no_piece_of_the_vector_that_an_agent_holds_now_goes_to_who_asked_for_the_one_before():
    network = swarm()
    donor = network.agents["agent-2"]
    connection = network.route("agent-2", "agent-0")
    for part, vector, served in [(0, THETA + ".0", True), (1, THETA + ".0", False), (1, THETA + ".1", True)]:
        donor.driver.publish(part=part)
        effects = donor.core.step(ev.Received(connection, Pull(7, 0, 1, vector=vector)), network.now)
        refused = [e.message for e in effects if isinstance(e, ev.Send) and isinstance(e.message, Piece)]
        assert (not refused) == served == any(isinstance(e, ev.SendPiece) for e in effects)
    donor.core._pulls._serving._allowed = 0.0
    assert not donor.core.step(ev.Received(connection, Pull(8, 0, 1, vector=THETA + ".1")), network.now)
    donor.driver.publish(part=0)
    network.run(5.0)
    assert not [e for e in donor.of(ev.SendPiece) if e.pull.request == 8]


def test_a_joiner_whose_donor_goes_elsewhere_takes_the_vector_of_another():
    network = swarm(6)
    held = network.hold()
    late = network.agents["agent-2"]
    late.driver.publish(state="joining")
    late.driver.publish(part=1)
    network.adopt("agent-2")
    (pull,) = [each.message for each in late.of(ev.Send) if isinstance(each.message, Pull)]
    donor = network.agents[str(late.core._pulls.download.agent)]
    assert pull.vector == THETA + ".1"
    held.clear()
    donor.driver.publish(part=0)
    network.release()
    assert network.run(20, lambda: late.adopted is not None)
    assert near(late.theta, 1)


def test_sketches_of_different_subnetworks_are_not_kept_beside_each_other():
    network = swarm()
    agent = network.agents["agent-2"]
    for step, part in [(1, 0), (2, 0), (3, 1), (4, 1)]:
        agent.handle(ev.Sketched(step, False, bytes(SKETCH_BYTES), part))
    kept = agent.core.sketches.by_agent["agent-2"]
    assert [(sketch.step, sketch.part) for sketch in kept] == [(3, 1), (4, 1)]


@given(st.integers(2, 9), st.integers(0, 40), st.integers(0, 30))
def test_in_each_turn_somebody_trains_each_subnetwork_and_who_moves_trains_all_in_turn(count, more, turn):
    shards = np.arange(count + more)
    parts = part_in_turn(shards, turn, count)
    assert parts[:count].tolist() == list(range(count))
    for shard in shards[count:].tolist():
        assert sorted(part_in_turn(shard, turn + k, count) for k in range(count)) == list(range(count))
    assert [stays(f"width:{count}", f"{shard}/{len(shards)}") for shard in shards] == (shards < count).tolist()


@pytest.mark.parametrize(
    ("text", "shard", "part", "held"),
    [
        ("width:4", "6/8", -1, 2),
        ("width:4", "6/8", 3, 3),
        ("width:4", "6/8", 4, None),
        ("width:4", "6/8", -2, None),
        ("width:4", "no shard", 1, None),
        ("none", "6/8", 3, 0),
        ("layers:2", "1/2", 1, 0),
        ("no submodel", "1/2", 1, None),
    ],
)
def test_what_an_agent_holds_follows_from_its_record_whatever_stands_there(text, shard, part, held):
    assert part_of(text, shard, part) == held
    assert same_part(text, Report(shard=shard, part=part), Report(shard=shard, part=part)) == (held is not None)


def test_without_turns_the_vector_has_the_name_that_it_always_had():
    assert vector_of(-1) == THETA and vector_of(0) != THETA != vector_of(1) != vector_of(0)
