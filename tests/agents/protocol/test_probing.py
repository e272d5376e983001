"""Who is still there: the dead are found soon and by everybody, the living are believed, and no third party decides."""

from dataclasses import asdict
from itertools import combinations

import pytest
from memory_network import MemoryNetwork, Weather, living

from agents.protocol import events as ev
from agents.protocol.dissemination import DELTA_BYTES
from agents.protocol.incarnation import Incarnation
from agents.protocol.probing import MAX_HEALTH, MAX_MEETING, MAX_RELAYED, OF_ONE
from agents.protocol.timing import TIMINGS
from transport.messages import (
    VERSION,
    Alive,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Probe,
    Refuse,
    Suspect,
    Welcome,
)
from transport.wire import encode


def swarm(size, seed=0, **changes):
    network = MemoryNetwork(1, seed, **{"silent_s": 5.0, **changes})
    for i in range(size):
        network.add_agent(f"agent-{i}", [0.0])
    network.meet()
    return network


def see_it_gone(network, gone):
    return all(gone not in living(agent) for agent in network.agents.values() if agent.name != gone)


def nobody_is_gone(network):
    return all(len(living(agent)) == len(network.agents) for agent in network.agents.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_dead_agent_is_noticed_by_all_within_the_time_that_suspicions_last(size, seed):
    network = swarm(size, seed)
    network.run(5.0)
    network.isolate("agent-1")
    assert network.run(7.0 if size < 4 else 5.0, lambda: see_it_gone(network, "agent-1"))
    network.run(30.0)
    assert see_it_gone(network, "agent-1"), "and stays so"
    network.reunite("agent-1")
    assert network.run(10.0, lambda: nobody_is_gone(network)), "until it is back"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weather", [Weather(lost=0.2), Weather(doubled=0.3, delay_s=0.4), Weather(0.1, 0.1, 0.2)])
def test_nobody_alive_is_ever_gone_on_a_bad_network(weather, seed):
    network = swarm(8, seed)
    network.weather = weather
    for _ in range(30):
        network.run(1.0)
        assert nobody_is_gone(network)


@pytest.mark.parametrize("network", TIMINGS)
def test_each_network_has_its_time_to_notice_a_death(network):
    """From others' confirmations: at least a third of the longest suspicion, after the probe that fails."""
    timing = TIMINGS[network]
    swarmed = swarm(8, **asdict(timing))
    swarmed.run(10 * timing.ping_s)
    swarmed.isolate("agent-1")
    assert not swarmed.run(0.9 * timing.silent_s / 3, lambda: see_it_gone(swarmed, "agent-1"))
    assert swarmed.run(timing.silent_s, lambda: see_it_gone(swarmed, "agent-1"))


def test_a_death_on_a_lan_is_noticed_by_all_of_eight_within_five_seconds():
    """Whenever it comes between two probes; with one probe a period one in a hundred took longer."""
    for seed in range(25):
        network = swarm(8, seed, **asdict(TIMINGS["lan"]))
        network.run(5.0 + 0.05 * (seed % 10))
        network.isolate("agent-1")
        assert network.run(4.5, lambda network=network: see_it_gone(network, "agent-1")), f"seed {seed}"


@pytest.mark.parametrize(("network", "weather"), [("lan", Weather(delay_s=0.2)), ("wan", Weather(0.05, 0.0, 1.4))])
def test_nobody_is_gone_while_answers_take_as_long_as_on_such_a_network(network, weather):
    """In a WAN messages that take up to 1.4 s, each way, and of which one in twenty is lost."""
    swarmed = swarm(8, **asdict(TIMINGS[network]))
    swarmed.weather = weather
    for _ in range(60):
        swarmed.run(1.0)
        assert nobody_is_gone(swarmed)


def test_who_cannot_be_reached_by_one_is_asked_by_others():
    network = swarm(5)
    network.weather = Weather(cut=frozenset({frozenset({"agent-0", "agent-1"})}))
    for _ in range(30):
        network.run(1.0)
        assert nobody_is_gone(network)
    kinds = [type(m) for sender, receiver, m in network.sent if isinstance(m, Probe) and m.agent != receiver]
    assert kinds, "others were asked"


@pytest.mark.parametrize("seed", range(3))
def test_two_halves_are_one_swarm_again_soon_after_they_can_be(seed):
    network = swarm(6, seed)
    names = sorted(network.agents)
    cut = frozenset(
        frozenset(pair) for pair in combinations(names, 2) if (pair[0] < "agent-3") != (pair[1] < "agent-3")
    )
    network.weather = Weather(cut=cut)
    assert network.run(10.0, lambda: all(len(living(agent)) == 3 for agent in network.agents.values()))
    network.run(20.0)
    network.weather = Weather()
    assert network.run(10.0, lambda: nobody_is_gone(network))


def test_an_agent_that_is_slow_itself_gives_others_more_time():
    network = swarm(3)
    a = network.agents["agent-0"].core._probing
    for name in ("agent-1", "agent-2"):
        network.isolate(name)
    network.run(4.0)
    assert 1 <= a.health <= MAX_HEALTH
    for name in ("agent-1", "agent-2"):
        network.reunite(name)
    network.run(60.0)
    assert a.health == 0


def receives(network, name, sender, message):
    agent = network.agents[name]
    before = len(agent.core.done)
    agent.handle(ev.Received(network.route(name, sender), message))
    return agent.core.done[before:]


def test_liars_who_suspect_an_honest_agent_all_the_time_remove_nobody():
    network = swarm(8)
    for _ in range(200):
        network.run(0.1)
        for i in range(2, 8):
            for liar in ("agent-0", "agent-1"):
                others = [Suspect(f"agent-{j}", 1) for j in range(2, 8) if j != i]
                receives(network, f"agent-{i}", liar, Gossip((), suspects=(*others, Suspect("nobody", 1))))
        assert nobody_is_gone(network)


def test_a_suspected_agent_says_at_once_that_it_is_there():
    network = swarm(4)
    before = network.agents["agent-1"].core.members.me.liveness.heartbeat
    effects = receives(network, "agent-1", "agent-0", Gossip((), suspects=(Suspect("agent-1", 1),)))
    said = [effect.message for effect in effects if isinstance(effect, ev.Send)]
    assert said and all(m.members[0].agent == "agent-1" for m in said)
    assert all(m.members[0].liveness.heartbeat > before for m in said)
    assert not receives(network, "agent-1", "agent-0", Gossip((), suspects=(Suspect("agent-1", 9),))), (
        "another incarnation is not it"
    )


def test_made_up_members_enter_no_topology_and_are_dialed_a_few_at_a_time():
    network = swarm(4)
    ghosts = tuple(
        Member(Identity(f"ghost-{i}", 1, f"tcp://10.1.{i // 250}.{i % 250}:1"), Liveness(1, "training"))
        for i in range(1000)
    )
    for name in ("agent-1", "agent-2", "agent-3"):
        effects = receives(network, name, "agent-0", Gossip(ghosts))
        assert not [effect for effect in effects if isinstance(effect, ev.Dial)]
    start = {name: len(agent.core.done) for name, agent in network.agents.items()}
    for round in range(1, 11):
        network.run(1.0)
        for name in sorted(network.agents):
            assert network.agents[name].core.members.neighbors_among() == sorted(network.agents)
            network.due(name, round)
    network.run(5.0)
    for name, agent in network.agents.items():
        since = agent.core.done[start[name] :]
        assert len([effect for effect in since if isinstance(effect, ev.Completed)]) >= 8, "exchanges go on"
        assert len([effect for effect in since if isinstance(effect, ev.Dial)]) <= 16 * MAX_MEETING
    newcomer = network.add_agent("late", [0.0])
    assert network.run(20.0, lambda: len(newcomer.core.members.neighbors_among()) == 5)
    assert len(newcomer.core.members.others()) == 4, "no honest agent passes them on"


def test_a_large_swarm_meets_soon_though_nobody_opens_a_connection_to_everybody(monkeypatch):
    most = 13
    monkeypatch.setattr("agents.protocol.probing.MANY", 4)
    monkeypatch.setattr("agents.protocol.handshake.MAX_DIALED", most)
    network = MemoryNetwork(1)
    for number in range(20):
        join = ("tcp://agent-00.example:5710",) if number else ()
        network.add_agent(f"agent-{number:02}", [0.0], join=join)
    assert network.run(6.0, lambda: all(len(a.core.members.met()) == 19 for a in network.agents.values()))
    for agent in network.agents.values():
        assert sum(contact.dialed for contact in agent.core.handshake._contacts.values()) <= most


def test_answers_to_questions_that_were_never_asked_count_for_nothing():
    network = swarm(3)
    network.isolate("agent-2")
    core = network.agents["agent-0"].core
    for number in range(2000):
        receives(network, "agent-0", "agent-1", Alive(number, "agent-2"))
    assert core.members.contact_age_s("agent-2", network.now) < 10
    assert network.run(60.0, lambda: "agent-2" not in living(network.agents["agent-0"]))


def test_probes_carried_out_for_others_are_bounded():
    network = swarm(8)
    network.hold()
    sent = [receives(network, "agent-0", "agent-1", Probe(number, "agent-2")) for number in range(MAX_RELAYED)]
    assert sum(map(len, sent)) == OF_ONE, "one agent leaves room to others"
    for other in range(3, 8):
        sent += [receives(network, "agent-0", f"agent-{other}", Probe(k, "agent-2")) for k in range(MAX_RELAYED)]
    assert sum(map(len, sent)) == MAX_RELAYED
    assert not receives(network, "agent-0", "agent-1", Probe(1, "nobody"))


def test_agents_behind_nat_count_for_each_other_once_another_reaches_both():
    network = MemoryNetwork(1, silent_s=5.0)
    network.add_agent("open", [0.0])
    for name in ("behind-1", "behind-2"):
        network.add_agent(name, [0.0], nat=True)
    names = sorted(network.agents)

    def seen(agent):
        return sorted([agent.name, *(member.agent for member in agent.core.members.present())])

    assert network.run(30.0, lambda: all(seen(agent) == names for agent in network.agents.values()))
    assert network.agents["behind-1"].core.members.neighbors_among() == ["behind-1", "open"], (
        "it can't exchange with it"
    )
    for _ in range(30):
        network.run(1.0)
        assert nobody_is_gone(network)


# A name in use.


def another(network, name, incarnation):
    """Hello of a second agent by this name to agent-0, repeated as it would be; what agent-0 answers."""
    said = []
    agent = network.agents["agent-0"]

    def greet():
        before = len(agent.core.done)
        hello = Hello(VERSION, name, incarnation, "run", agent.core.handshake.ours.manifest)
        agent.handle(ev.Received("route:ff", hello))
        said.extend(
            e.message for e in agent.core.done[before:] if isinstance(e, ev.Send) and e.connection == "route:ff"
        )

    for _ in range(50):
        greet()
        network.run(0.1)
    return said


@pytest.mark.parametrize("incarnation", [0, 2, 2**62])
def test_a_second_agent_under_a_name_in_use_is_refused_and_nothing_of_the_first_ends(incarnation):
    network = swarm(3)
    said = another(network, "agent-1", incarnation)
    assert said and all(isinstance(message, Refuse) and message.name == "name" for message in said)
    assert network.agents["agent-0"].core.members.get("agent-1").incarnation == 1
    assert nobody_is_gone(network)
    assert any("calls itself agent-1" in e.text for e in network.agents["agent-0"].of(ev.Notice))


@pytest.mark.parametrize("incarnation", [0, 2, 2**62])
def test_whoever_we_call_has_no_name_that_is_in_use_and_nothing_of_the_first_ends(incarnation):
    """An address may be published by anybody: at one of a liar's, a stranger takes the name of an honest agent."""
    network, liar = swarm(3), "tcp://liar.example:1"
    agent = network.agents["agent-0"]
    assert agent.core.handshake.dial(liar, network.now)
    manifest = agent.core.handshake.ours.manifest
    for _ in range(50):
        agent.handle(ev.Received(liar, Welcome(VERSION, "agent-1", incarnation, "run", manifest)))
        network.run(0.1)
    assert agent.core.members.get("agent-1").incarnation == 1 and nobody_is_gone(network)
    assert agent.core.handshake.peer(liar) is None and ev.HangUp(liar) in agent.core.done
    assert agent.core.handshake.route(Incarnation("agent-1", 1))
    assert any("calls itself agent-1" in e.text for e in agent.of(ev.Notice))


def test_a_restarted_agent_that_we_call_is_welcome_as_soon_as_its_earlier_incarnation_doesnt_answer():
    network, address = swarm(3), "tcp://new.example:1"
    network.isolate("agent-1")
    agent = network.agents["agent-0"]
    agent.core.handshake.dial(address, network.now)
    welcome = Welcome(VERSION, "agent-1", 2, "run", agent.core.handshake.ours.manifest)

    def known() -> bool:
        agent.handle(ev.Received(address, welcome))
        return agent.core.handshake.peer(address) == Incarnation("agent-1", 2)

    assert network.run(5.0, known)


def test_a_restarted_agent_is_welcome_as_soon_as_its_earlier_incarnation_doesnt_answer():
    network = swarm(3)
    network.isolate("agent-1")
    said = another(network, "agent-1", 2)
    assert isinstance(said[0], Welcome)


# What it costs.


def test_bytes_do_not_grow_with_the_swarm():
    """At rest, and when everyone finishes at the same moment: what an agent sends in a second, beyond 16 members."""
    cost = {}
    for size in (16, 32):
        network = swarm(size)
        network.run(10.0)
        network.sent.clear()
        began = network.now
        for agent in network.agents.values():
            agent.driver.publish(state="settling")
        network.run(20.0)
        took = network.now - began
        cost[size] = sum(len(encode(message)[0]) for _, _, message in network.sent) / size / took
        assert max(len(encode(message)[0]) for _, _, message in network.sent) < DELTA_BYTES + 1000
        assert nobody_is_gone(network)
        assert all(agent.core.members.all_finished() for agent in network.agents.values())
    assert cost[32] < 1.3 * cost[16] and cost[32] < 20_000
