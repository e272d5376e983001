"""Pulls are served at a bounded rate, in turn, once each, whoever asks and however often."""

from agents.protocol.events import SendPiece
from agents.protocol.serving import BURST_BYTES, BYTES_S, MAX_SERVED, Serving
from transport.messages import Pull

MB = 1e6


def test_what_is_asked_for_is_sent_at_once_and_once():
    made, pull = Serving(MB, 16), Pull(1, 0, 16)
    assert made.ask("a", pull, range(16)) and made.ask("a", pull, range(16))
    assert made.serve(0.0) == [SendPiece("a", pull, chunk) for chunk in range(16)]
    assert made.serve(9.0) == []


def test_pulls_in_a_loop_take_no_more_than_the_rate():
    made, sent, now = Serving(MB, 16), 0, 0.0
    for request in range(2000):
        made.ask("a", Pull(request, 0, 16), range(16))
        sent += len(made.serve(now))
        now += 0.001
    assert sent * MB <= BURST_BYTES + BYTES_S * now
    assert sent * MB > BYTES_S * now * 0.9


def test_connections_are_served_in_turn():
    made = Serving(MB, 16)
    made.serve(0.0)
    made._allowed = 0.0
    for connection in "ab":
        made.ask(connection, Pull(1, 0, 16), range(16))
    sent = made.serve(4 * MB / BYTES_S)
    assert [effect.connection for effect in sent] == ["a", "b", "a", "b"]


def test_so_many_are_served_at_a_time_with_so_many_chunks_each():
    made = Serving(MB, 16)
    made._allowed = 0.0
    asked = [made.ask(f"{i}", Pull(i, 0, 99), range(10**9)) for i in range(MAX_SERVED + 5)]
    assert sum(asked) == MAX_SERVED
    assert sum(map(len, made._asked.values())) == 16 * MAX_SERVED


def test_who_pulls_without_end_turns_nobody_away():
    made, now, came = Serving(MB, 16), 0.0, 0
    for request in range(1000):
        for hog in range(200):
            made.ask(f"hog-{hog}", Pull(request, 0, 16), range(16))
        if request % 100 == 0:
            assert made.ask("late", Pull(request, 0, 1), range(1))
        came += sum(effect.connection == "late" for effect in made.serve(now))
        now += 0.01
    assert came == 10
