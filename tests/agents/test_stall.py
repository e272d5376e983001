"""Training that stands still is published as stalled; slow steps and compiling are not."""

from hypothesis import given
from hypothesis import strategies as st

from agents.stall import LONGEST, STALLED_S, Stall
from transport.messages import Identity, Liveness, Member, Report


def watch(moments: list[tuple[float, int]], state: str = "training", tick_s: float = 0.5) -> list[tuple[float, float]]:
    """What is published, with its time, where training reaches (time, step) in turn."""
    stall, published, changes, now, step = Stall(), 0.0, [], 0.0, 0
    for until_s, next_step in moments:
        while now < until_s:
            age_s = stall.age_s(
                Member(Identity("a", 1, ""), Liveness(0, state), Report(stalled_s=published)), step, now
            )
            if age_s != published:
                published = age_s
                changes.append((now, age_s))
            now += tick_s
        step = next_step
    return changes


def test_a_stall_is_published_as_it_doubles_and_ends_with_the_next_step() -> None:
    changes = watch([(1.0, 1), (2.0, 2), (3.0, 3), (63.0, 4), (65.0, 5)])
    assert [age_s for _, age_s in changes] == [STALLED_S, 2 * STALLED_S, 4 * STALLED_S, 0.0]
    assert changes[-1][0] == 63.0


@given(pause_s=st.floats(0.5, 100.0), slack=st.floats(0.2, 0.9))
def test_steps_that_always_take_long_are_not_a_stall(pause_s: float, slack: float) -> None:
    first = [(pause_s * step, step) for step in range(1, 4)]
    longest = slack * max(LONGEST * pause_s, STALLED_S)
    changes = watch([*first, (3 * pause_s + longest, 4)], tick_s=pause_s / 20)
    assert [change for change in changes if change[0] > 2.1 * pause_s] == []


def test_compiling_and_ended_training_are_not_a_stall() -> None:
    assert watch([(300.0, 1)]) == []
    assert watch([(1.0, 1), (300.0, 2)], state="settling") == []
