"""How long exchanges take, as it is remembered: of a few exchanges, and of few peers."""

import pytest

from agents.mixing.codec_names import AUTO
from agents.protocol import times as times_module
from agents.protocol.codecs import BITS, WINDOW, Codecs
from agents.protocol.times import Times


def test_what_an_exchange_should_take_is_the_peers_median_or_that_of_the_last_ones():
    times = Times()
    assert times.of("b") is None and times.expected_s("b") == 0
    for took_s in (1.0, 2.0, 30.0):
        times.completed("b", took_s)
    assert times.of("b") == times.expected_s("b") == times.expected_s("c") == 2
    times.completed("c", 0.1)
    assert times.expected_s("b") == 2 and times.expected_s("c") == 0.1
    times.forget("b")
    times.forget("nobody")
    assert times.of("b") is None and times.expected_s("b") == pytest.approx(1.5)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(times_module, "MAX_PEERS", 3)
    times = Times()
    for peer in "bcdef":
        for number in range(50):
            times.completed(peer, 1.0 + number)
    assert set(times._took) == set("def") and all(len(took) == times_module.WINDOW for took in times._took.values())


@pytest.mark.parametrize(("period_s", "expected"), [(1.0, "float32"), (0.3, "lattice:8"), (0.12, "lattice:4")])
def test_where_boundaries_are_skipped_auto_still_chooses_what_fits_between_two(period_s, expected):
    """An exchange of 0.8 s in float32; a boundary while it is under way is skipped, and tells the codecs."""
    codecs, now, over_s, took, begun = Codecs(AUTO), 0.0, -1.0, 0.0, ""
    for _ in range(40 * WINDOW):
        if now >= over_s:
            if begun:
                codecs.completed(begun, took)
            begun = codecs.of("b")
            took = 0.8 * BITS[begun] / BITS["float32"]
            over_s = now + took
        codecs.begins(now)
        now += period_s
    assert codecs.now == expected
