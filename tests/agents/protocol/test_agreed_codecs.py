"""Which codec "auto" chooses: the one that rounds nothing where the link lets it, and no other for nothing."""

from itertools import pairwise

import pytest

from agents.mixing.codec_names import AUTO, LADDER
from agents.protocol.codecs import AGAIN, BITS, WINDOW, Codecs


class Link:
    """Exchanges of a model of so many coordinates, each begun once the last is over and the local steps are taken."""

    def __init__(self, codecs, bytes_a_second, latency_s, steps_s, coordinates=1e6):
        self.codecs, self.now, self.said = codecs, 0.0, []
        self.speed, self.latency_s, self.steps_s, self.coordinates = bytes_a_second, latency_s, steps_s, coordinates

    def exchanges(self, count):
        for _ in range(count):
            codec = self.codecs.of("b")
            self.codecs.begins(self.now)
            took = self.latency_s + 2 * BITS[codec] / 8 * self.coordinates / self.speed
            self.said += [notice.text for notice in self.codecs.completed(codec, took)]
            self.now += max(took, self.steps_s)
        return self.codecs.now


@pytest.mark.parametrize(
    ("bytes_a_second", "latency_s", "steps_s", "expected"),
    [
        (1e9, 0.001, 0.1, "float32"),
        (2e7, 0.001, 0.2, "lattice:8"),
        (1e7, 0.001, 0.12, "lattice:4"),
        (1e6, 0.001, 0.001, "lattice:4"),
        (1e9, 0.5, 0.1, "float32"),
    ],
)
def test_it_chooses_the_codec_of_most_bytes_that_fits_between_two_exchanges_and_says_so(
    bytes_a_second, latency_s, steps_s, expected
):
    link = Link(Codecs(AUTO), bytes_a_second, latency_s, steps_s)
    assert link.codecs.now == "float32"
    link.exchanges(WINDOW)
    assert not link.said, "before it has measured"
    assert link.exchanges(8 * WINDOW) == expected
    said = len(link.said)
    assert link.exchanges(40 * WINDOW) == expected and len(link.said) == said <= 4
    assert "codec auto: exchanges in float32 take" in link.said[0]


def test_it_follows_a_link_that_gets_slower_and_quicker():
    link = Link(Codecs(AUTO), 1e9, 0.001, 0.1)
    assert link.exchanges(4 * WINDOW) == "float32"
    link.speed = 1e7
    assert link.exchanges(8 * WINDOW) == "lattice:4"
    link.speed = 1e9
    assert link.exchanges(8 * WINDOW) == "float32"


def test_where_latency_takes_the_time_the_codec_that_rounds_nothing_stays():
    link = Link(Codecs(AUTO), 1e9, 1.0, 0.01)
    assert link.exchanges(20 * WINDOW) == "float32"


def test_fewer_bytes_that_did_not_help_once_are_taken_where_they_do_later():
    link = Link(Codecs(AUTO), 1e9, 0.5, 0.1)  # A peer that is busy for a while.
    assert link.exchanges(4 * WINDOW) == "float32"
    link.latency_s = 0.001
    link.exchanges(AGAIN)
    link.speed = 1e6
    assert link.exchanges(8 * WINDOW) == "lattice:4"


def waits(link, count):
    """In so many exchanges, after how many each a codec of fewer bytes was tried again."""
    tried = []
    for number in range(count):
        before, now = link.codecs.now, link.exchanges(1)
        if before == "float32" != now:
            tried.append(number)
    return [later - earlier - WINDOW for earlier, later in pairwise(tried)]


def test_where_fewer_bytes_never_help_they_are_tried_at_distances_that_double_until_they_have():
    link = Link(Codecs(AUTO), 1e9, 1.0, 0.01)
    assert waits(link, 8 * AGAIN) == [AGAIN, 2 * AGAIN, 4 * AGAIN]
    link.latency_s, link.speed = 0.001, 1e6
    assert link.exchanges(8 * AGAIN) == "lattice:4"
    link.speed, link.steps_s = 1e9, 1.0
    assert link.exchanges(8 * WINDOW) == "float32"
    link.latency_s, link.steps_s = 1.0, 0.01
    assert waits(link, 2 * AGAIN) == [AGAIN]


def test_one_that_is_set_stays_and_says_nothing():
    for name in ("float32", "lattice:4", "lowrank:4+lattice:4/5"):
        link = Link(Codecs(name), 1e3, 0.001, 0.001)
        link.codecs.begins(0.0)
        assert link.codecs.completed(name, 100.0) == [] and link.codecs.now == name


def test_of_exchanges_in_another_codec_than_the_one_now_nothing_is_taken():
    codecs = Codecs(AUTO)
    for now in range(3 * WINDOW):
        codecs.begins(float(now))
        assert codecs.completed("lattice:4", 0.9) == []
    assert codecs.now == LADDER[0]
