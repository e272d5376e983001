"""For whom an agent waits, and for how long: an end to each wait, and a choice of what then."""

from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from agents import waits
from agents.protocol import events as ev
from agents.protocol.takers import Takers
from agents.settings import Gossiping, Placing
from agents.view import View
from agents.waits import WaitError, stay, wait_for_members
from transport.messages import AgentId, ConnectionId, Identity, Liveness, Member, Pull


@dataclass
class Clock:
    """Time that passes where somebody waits. events: what comes about at which time."""

    now: float = 0.0
    events: dict[float, Any] = field(default_factory=dict)

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for at in sorted(at for at in self.events if at <= self.now):
            self.events.pop(at)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waits, "time", made)
    return made


def member(name: str, state: str = "settling") -> Member:
    return Member(Identity(AgentId(name), 1, ""), Liveness(state=state))


# Before training.


def waited(clock: Clock, placing: Placing, come_s: list[float]) -> tuple[list[str], float]:
    """The lines, and when the wait was over. come_s: when others come."""

    def wait_for(members: int, timeout_s: float) -> bool:
        last_s = sorted([0.0, *come_s])[members - 1] if len(come_s) >= members - 1 else float("inf")
        clock.now = min(max(clock.now, last_s), clock.now + timeout_s)
        return last_s <= clock.now

    def view() -> SimpleNamespace:
        return SimpleNamespace(others=[member("x") for at in come_s if at <= clock.now] + [member("y", "joining")])

    lines: list[str] = []
    wait_for_members(SimpleNamespace(wait_for=wait_for, view=view), placing, Event(), lines.append)
    return lines, clock.now


def test_training_begins_as_soon_as_enough_are_here(clock: Clock) -> None:
    lines, ended_s = waited(clock, Placing(wait_for=3), [40.0, 70.0])
    assert [line[:6] for line in lines] == ["1 of 3", "2 of 3"] and ended_s == 70.0


def test_too_few_are_an_error_after_the_limit(clock: Clock) -> None:
    with pytest.raises(WaitError, match=r"--wait-for 3: only 2 came within --wait-limit 100 s; .* --wait-else train"):
        waited(clock, Placing(wait_for=3, wait_limit=100), [40.0])
    assert clock.now == 100


def test_or_those_that_came_train_if_that_is_chosen(clock: Clock) -> None:
    lines, ended_s = waited(clock, Placing(wait_for=3, wait_limit=10, wait_else="train"), [4.0])
    assert (lines, ended_s) == (["--wait-for 3: only 2 came within --wait-limit 10 s; starting"], 10.0)


# At the end.


class Swarm:
    """What the agent sees of it; `halted` is an event whose waiting is the clock's."""

    def __init__(self, clock: Clock, others: int = 1) -> None:
        self.clock, self.set = clock, False
        self.found = View(member("a"), tuple(member(f"b{i}") for i in range(others)))
        self.wait, self.lines = clock.wait, list[str]()

    def is_set(self) -> bool:
        return self.set

    def sees(self, **changes: Any) -> None:
        self.found = View(**{**self.found.__dict__, **changes})

    def stays(self, **settings: float) -> float:
        stay(lambda: self.found, Gossiping(**settings), self, self.lines.append)
        return self.clock.now


def test_an_agent_stays_for_the_grace_period_while_anybody_is_there(clock: Clock) -> None:
    assert Swarm(clock).stays(linger=3) == pytest.approx(3, abs=0.1)
    clock.now = 0
    assert Swarm(clock, others=0).stays(linger=3) == 0


def test_an_agent_stays_until_its_vector_was_taken(clock: Clock) -> None:
    swarm = Swarm(clock, others=0)
    clock.events = {
        40.0: lambda: swarm.sees(observed=True),
        50.0: lambda: swarm.sees(taken=True),
        60.0: lambda: swarm.sees(observed=False),
    }
    assert swarm.stays(linger=3, stay=3600) == pytest.approx(60, abs=0.2)
    assert swarm.lines == ["everyone has finished; staying until the consensus is taken, or 3600 s (--stay)"]


def test_an_agent_stays_no_longer_than_it_is_told(clock: Clock) -> None:
    assert Swarm(clock).stays(linger=3, stay=20) == pytest.approx(20, abs=0.1)


def test_a_request_to_stop_ends_it(clock: Clock) -> None:
    swarm = Swarm(clock)
    clock.events = {5.0: lambda: setattr(swarm, "set", True)}
    assert swarm.stays(stay=float("inf")) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("finished", [True, False])
def test_a_vector_is_taken_once_its_last_piece_was_asked_for_after_the_end(finished: bool) -> None:
    members = SimpleNamespace(me=member("a"), all_finished=lambda: finished)
    serving, route = Takers(members, 5), ConnectionId("route:01")
    for first, count in [(0, 3), (7, 1), (-1, 9), (3, 1)]:
        serving.on_pull(route, AgentId(""), Pull(1, first, count))
    assert not serving.taken
    (notice,) = serving.tick()
    assert isinstance(notice, ev.Notice) and notice.text == "an observer takes our whole vector (route:01)"
    serving.on_pull(route, AgentId(""), Pull(1, 3, 2))
    assert serving.taken == finished and serving.tick() == []
