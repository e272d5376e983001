"""A sink that is slow, fails or hangs costs points, which are counted and said, and never the time of who feeds it."""

import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sinks.feed import Feed, Feeds
from agents.sinks.sink import Point

WAIT_S = 30.0


class Recording:
    """Keeps what it is given; `failing` says at which points it raises, and it waits before each for `may_write`."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.taken: list[int] = []
        self.failing = failing
        self.closed = False
        self.may_write = threading.Event()
        self.began = threading.Event()

    def write(self, point: Point) -> None:
        self.began.set()
        self.may_write.wait(WAIT_S)
        if point.step in self.failing:
            raise OSError(f"no room for {point.step}")
        self.taken.append(point.step)

    def close(self) -> None:
        self.closed = True


def fed(feed: Feed, steps: range) -> None:
    for step in steps:
        feed.put(Point(0.0, step, {"loss": 1.0}))


@settings(max_examples=20)
@given(st.frozensets(st.integers(0, 9)))
def test_points_come_in_order_and_those_that_fail_are_counted(failing: frozenset[int]) -> None:
    sink = Recording(failing)
    sink.may_write.set()
    feed = Feed("mine", lambda: sink)
    feed.start()
    fed(feed, range(10))
    feed.close(WAIT_S)
    assert sink.taken == [step for step in range(10) if step not in failing]
    assert feed.dropped == len(failing) and sink.closed


def test_what_a_full_queue_has_no_room_for_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    sink = Recording()
    feed = Feed("slow", lambda: sink, most=3)
    feed.start()
    fed(feed, range(1))
    assert sink.began.wait(WAIT_S)
    fed(feed, range(1, 10))
    sink.may_write.set()
    feed.close(WAIT_S)
    assert sink.taken == [0, 1, 2, 3] and feed.dropped == 6
    assert caplog.messages == ["slow has not taken 6 of 10 points, as it is too slow"]


def test_a_sink_that_hangs_is_left_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    sink = Recording()
    feeds = Feeds([Feed("hanging", lambda: sink)])
    feeds.start()
    feeds.put({"step": 1, "loss": None, "exchanges": 2})
    feeds.close(0.0)
    assert caplog.messages == ["hanging has not taken 1 of 1 points, as it is too slow"]
    sink.may_write.set()


@pytest.mark.parametrize("error", [ValueError("no\nsuch project"), SystemExit(3)])
def test_a_sink_that_cant_be_opened_costs_its_points_alone(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Recording:
        raise error

    feed = Feed("mine", refuse)
    feed.start()
    fed(feed, range(4))
    feed.close(WAIT_S)
    first, last = caplog.records
    text = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    assert first.message == f"mine: {text}; training goes on" and first.levelno == logging.WARNING
    assert last.message == f"mine has not taken 4 of 4 points: {text}"


def test_what_is_no_finite_number_is_left_out() -> None:
    seen: list[Point] = []

    class Keeping(Recording):
        def write(self, point: Point) -> None:
            seen.append(point)

    feeds = Feeds([Feed("mine", Keeping)])
    feeds.start()
    feeds.put(
        {
            "step": 7,
            "loss": None,
            "distance": float("nan"),
            "test_far": float("inf"),
            "members": 2,
            "of": {"b:4+c": 1, "d": float("nan")},
        }
    )
    feeds.close()
    feeds.close()
    (point,) = seen
    assert (point.step, point.values) == (7, {"step": 7, "members": 2, "of_b_4_c": 1})
    assert point.keyed == {"of": {"b:4+c": 1}}


def test_one_that_hangs_leaves_the_others_all_the_time_to_close(caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()

    class Hangs:
        def write(self, point: Point) -> None:
            closed.wait(WAIT_S)

        def close(self) -> None:
            pass

    class Closes(Hangs):
        def write(self, point: Point) -> None:
            pass

        def close(self) -> None:
            closed.set()

    first, second = Feed("hangs", Hangs), Feed("closes", Closes)
    feeds = Feeds([first, second])
    feeds.start()
    feeds.put({"step": 1})
    feeds.close(WAIT_S / 10)
    assert (first.dropped, second.dropped, caplog.messages) == (0, 0, []), "the first waits until the second is closed"
