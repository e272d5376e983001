"""Asking a running swarm what it shares: the first agent's welcome, a refusal, or nothing in the time there is."""

import threading
import time

import pytest

from agents.observe.welcome import ask
from agents.values import SettingsError
from transport.link import Link
from transport.messages import VERSION, Hello, Refuse, Welcome

WELCOME = Welcome(VERSION, "a", 1, "the-run", "hash", {"alpha": 0.5}, {"steps": 50}, 7)


@pytest.fixture
def answering():
    """Starts somebody who answers each Hello with this message; returns the address."""
    over, threads = threading.Event(), []

    def start(message):
        link = Link("tcp://127.0.0.1:0")

        def answer():
            while not over.is_set():
                for connection, received in link.poll(0.02):
                    if isinstance(received, Hello):
                        link.send(connection, message)
            link.close()

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return link.address

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def silent():
    """Where a socket is bound, our own for example, and nobody reads what comes."""
    link = Link("tcp://127.0.0.1:0")
    yield link.address
    link.close()


def test_the_first_agent_that_answers_is_heard_and_no_observer(answering, silent):
    observer = answering(Welcome(VERSION, "", 1, "other", "", {}, {}, 7))
    assert ask([silent, observer, answering(WELCOME)]) == WELCOME


def test_a_refusal_names_both_values(answering):
    address = answering(Refuse("protocol version", "9", "8"))
    with pytest.raises(SettingsError, match=f"{address} refused us: .* is 8, theirs 9; install the same"):
        ask([address])


def test_nobody_is_waited_for_longer_than_the_limit(silent):
    began_s = time.monotonic()
    assert ask([silent], limit_s=0.3) is None
    assert time.monotonic() - began_s < 5


def test_a_limit_does_not_hide_who_answers(answering, silent):
    assert ask([silent, answering(WELCOME)], limit_s=60.0) == WELCOME


def test_at_an_address_that_was_known_before_the_same_run_alone_counts(answering, silent):
    other = answering(Welcome(VERSION, "a", 1, "another", "hash", {}, {}, 7))
    refusing = answering(Refuse("protocol version", "9", "8"))
    unfit = "tcp://127.0.0.1:9#" + 43 * "A"
    assert ask([silent], limit_s=0.5, known=[unfit, other, refusing], run="the-run") is None
    known = [unfit, other, refusing, answering(WELCOME)]
    assert ask([silent], limit_s=60.0, known=known, run="the-run") == WELCOME


def test_an_operator_reads_that_nobody_answers(silent):
    lines = []
    assert ask([silent], lines.append, limit_s=1.5) is None
    assert lines == [f"no answer from {silent} yet; still trying. Is an agent listening there?"]
