"""Names are resolved where nobody waits for it, and ZeroMQ is given numbers alone."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from transport import resolve
from transport.link import Link
from transport.messages import VERSION, AgentId, Hello
from transport.resolve import MAX_PENDING, WORKERS, Connector, is_numeric

HELLO = Hello(VERSION, AgentId("a"), 1)
Answer = Callable[[str], str]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | Callable[[], str]]:
    """What the system's resolver knows: numbers by name, or calls that give one."""
    known: dict[str, str | Callable[[], str]] = {}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple]:
        found = known.get(host, "")
        number = found() if callable(found) else found
        if not number:
            raise socket.gaierror(-2, "Name or service not known")
        family = socket.AF_INET6 if ":" in number else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (number, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


class Dealer:
    """A socket that remembers where it is connected to."""

    ipv6 = False

    def __init__(self) -> None:
        self.at: list[str] = []
        self.connect, self.disconnect = self.at.append, self.at.remove


@pytest.fixture
def connector() -> Iterator[Connector]:
    made = Connector(lambda: None)
    yield made
    made.close()


def until(connector: Connector, condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        connector.carry_out()
        time.sleep(0.001)


def heard(link: Link, other: Link) -> bool:
    """Whether a message of `other` arrives within a while; it sends until it does."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        for connection in list(other._dealers):
            other.send(connection, HELLO)
        list(other.poll(0.0))
        if any(message == HELLO for _, message in link.poll(0.01)):
            return True
    return False


def test_a_name_whose_server_doesnt_answer_stops_no_other_connection(hosts: dict) -> None:
    """One such name in --join left an agent with one exchange a second, and dead to others."""
    answered = threading.Event()
    hosts["slow.example"] = lambda: "127.0.0.1" if answered.wait(60) else ""
    here, there = Link("tcp://127.0.0.1:0"), Link(None)
    try:
        there.dial(here.address.replace("127.0.0.1", "slow.example"))
        assert not there.send("tcp://slow.example:1", HELLO)
        there.dial(here.address)
        assert heard(here, there)
        there.hang_up(here.address)
        answered.set()
        assert heard(here, there), "by its name, now that it is known"
    finally:
        answered.set()
        here.close()
        there.close()


def test_numbers_need_no_resolver(hosts: dict, connector: Connector) -> None:
    dealers = Dealer(), Dealer()
    connector.connect(dealers[0], "tcp://127.0.0.1:1")
    connector.connect(dealers[1], "tcp://[::1]:2#" + "k" * 43)
    assert [dealer.at for dealer in dealers] == [["tcp://127.0.0.1:1"], ["tcp://[::1]:2"]]
    assert [dealer.ipv6 for dealer in dealers] == [False, True]
    assert is_numeric("tcp://[fe80::1%eth0]:5") and not is_numeric("tcp://localhost:5")


def test_a_host_that_comes_back_at_another_address_is_found(
    hosts: dict, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "REFRESH_S", 0.0)
    dealer, hosts["pod-0.swarm"] = Dealer(), "10.0.0.7"
    connector.connect(dealer, "tcp://pod-0.swarm:5710")
    until(connector, lambda: dealer.at == ["tcp://10.0.0.7:5710"])
    hosts["pod-0.swarm"] = "fd00::8"
    until(connector, lambda: dealer.at == ["tcp://[fd00::8]:5710"])
    assert dealer.ipv6
    del hosts["pod-0.swarm"]
    for _ in range(100):
        connector.carry_out()
    assert dealer.at == ["tcp://[fd00::8]:5710"], "a resolver that fails takes nothing away"


def test_a_name_that_isnt_known_is_told_once_and_tried_on(
    hosts: dict, connector: Connector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resolve, "RETRY_S", 0.0)
    dealer, tried = Dealer(), []
    hosts["later.example"] = lambda: tried.append(1) or ("10.0.0.7" if len(tried) > 3 else "")
    connector.connect(dealer, "tcp://later.example:1")
    until(connector, lambda: bool(dealer.at))
    assert len(tried) == 4
    (line,) = [record.getMessage() for record in caplog.records]
    assert "'tcp://later.example:1' can't be found" in line and "Name or service not known" in line


def test_names_cost_a_bounded_number_of_threads_and_requests(hosts: dict) -> None:
    """Peers may name any host, and a connection that is given up and dialed again asks no second time meanwhile."""
    answered, connector = threading.Event(), Connector(lambda: None)
    before = set(threading.enumerate())
    for number in range(2 * MAX_PENDING):
        hosts[f"h{number}"] = lambda: "10.0.0.7" if answered.wait(60) else ""
        for _ in range(2):
            connector.forget(f"tcp://h{number}:1")
            connector.connect(Dealer(), f"tcp://h{number}:1")
    assert len(set(threading.enumerate()) - before) == WORKERS, "whatever threads of others end meanwhile"
    assert connector._asked.qsize() <= MAX_PENDING
    answered.set()
    connector.close()


def test_a_system_without_threads_left_is_asked_again_later(hosts, connector, monkeypatch):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    dealer = Dealer()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        connector.connect(dealer, "tcp://b.example:5710")
        connector.carry_out()
    hosts["b.example"] = "192.0.2.7"
    connector._named["tcp://b.example:5710"].due_s = 0.0
    until(connector, lambda: dealer.at == ["tcp://192.0.2.7:5710"])
