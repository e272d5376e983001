"""Whoever watches for long sees those that are there, however many have come and gone meanwhile."""

import itertools

import numpy as np
import pytest
from fake_peers import FakePeer

from agents.mixing.sketch import pack
from agents.observe import observer as observer_module
from agents.observe.observer import observing
from agents.observe.watching import Watching
from agents.protocol.membership import FORGOTTEN, MAX_UNMET, Membership
from transport.messages import Identity, Links, Liveness, Member, Report, Sketch

ONE = np.ones(256, np.float32)


def of(name, state="training", address=""):
    return Member(Identity(name, 1, address), Liveness(2 if state == "left" else 1, state), Report(step=1))


def known():
    return Membership(of(""), silent_s=3.0, sweep_s=1.0)


@pytest.mark.parametrize("each", [100, 1000])
def test_agents_that_come_find_room_whatever_number_has_left(each):
    members = known()
    for start in range(0, 3 * MAX_UNMET, each):
        came = [of(f"{start}-{number}") for number in range(each)]
        members.receive(came, 0.0, verdicts=True)
        assert {member.agent for member in members.others()} >= {member.agent for member in came}
        members.receive([of(f"{start}-{number}", "left") for number in range(each)], 0.0, verdicts=True)
    assert members.count <= MAX_UNMET


def test_who_is_gone_makes_nobody_forget_those_that_are_there():
    members = known()
    members.receive([of(f"there-{number}") for number in range(MAX_UNMET)], 0.0)
    members.receive([of(f"left-{number}", "left") for number in range(MAX_UNMET)], 1.0)
    members.receive([of("one-more")], 2.0)
    assert all(member.agent.startswith("there-") for member in members.others()) and not members.gone()


def test_those_whose_end_nobody_passes_on_make_room_after_a_long_silence():
    members = known()
    members.receive([of(f"before-{number}") for number in range(MAX_UNMET)], 0.0)
    members.receive([of("soon")], 3.0 * FORGOTTEN - 1)
    assert members.get("soon") is None
    members.receive([of("later")], 3.0 * FORGOTTEN + 1)
    assert members.get("later") is not None


def test_addresses_of_agents_that_are_gone_make_room_for_those_of_others(peer, monkeypatch):
    monkeypatch.setattr(observer_module, "MAX_CONNECTIONS", 4)
    starts = [of("0", "training", "tcp://127.0.0.1:9")]
    one = peer(agent="there", members=lambda self: (self.me(), *starts))
    last = peer(agent="last")
    with observing([one.address], 15) as (watching, _):
        for start in range(1, 8):
            starts[:] = [of(str(start - 1), "left"), of(str(start), address=f"tcp://127.0.0.1:{9 + start}")]
            assert watching.refresh(15)
        starts[:] = [of("7", "left"), last.me()]
        assert watching.refresh(15)
        watching.reach(15)
        assert watching.reached_at("last") == last.address and watching.reached_at("there") == one.address


def test_what_nobody_reaches_is_asked_of_those_that_are_there(peer, clock):
    """The agent that we met first may be gone: whoever is there has what the others publish."""
    beats = itertools.count(1)

    def hidden():
        return Member(Identity("hidden", 1), Liveness(next(beats), "training"), Report(step=1))

    def answers(name):
        def looks(look):
            own = Sketch(name, 1, 4, payload=pack(ONE))
            return (own, Sketch("hidden", 1, 4, payload=pack(ONE)), Links()) if look.everyone else (own, Links())

        return looks

    second: FakePeer = peer(agent="second", looks=answers("second"), members=lambda self: (self.me(), hidden()))
    first: FakePeer = peer(agent="first", looks=answers("first"), members=lambda self: (self.me(), second.me()))
    watch = Watching([first.address], None)
    try:
        watch.meet(15)
        watch.observer.reach(15)
        first.close()
        clock.ahead_s += 5.0
        assert watch.observer.refresh(15)
        watch.look()
        assert set(watch.estimate().agents) == {"second", "hidden"}
    finally:
        watch.close()


def test_of_those_that_nobody_knows_any_more_nothing_is_kept(peer):
    sent = ["gone-0", "gone-1"]
    one = peer(agent="one", looks=lambda look: (*(Sketch(name, 1, payload=pack(ONE)) for name in sent), Links()))
    watch = Watching([one.address], None)
    try:
        watch.meet(15)
        watch.look()
        sent.clear()
        watch.look()
        assert not set(watch._made) - {"one"}
    finally:
        watch.close()
