"""Laws of the tape: what runs wave by wave in slots is what runs event by event over versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import run_plain

from sim.scheduling import Scheduler, Widths, place
from sim.tape import MIX, TRAIN, Tape, TapeError, first_events, side_by_side


def random_tape(random, agents, entering, events, snapshots):
    """Agents train, and mix what any version holds; some old versions stay alive for the next tape."""
    current = list(range(agents))
    columns = {name: [] for name in ("kind", "agent", "step", "cur", "a", "b", "coefficient")}
    marks = sorted(random.integers(0, events + 1, snapshots))
    taken = []
    for e in range(events + 1):
        taken += [list(current)] * marks.count(e)
        if e == events:
            break
        agent, known = int(random.integers(agents)), entering + e
        kind = TRAIN if random.random() < 0.4 else MIX
        cur = current[agent]
        a, b = (int(v) for v in random.integers(0, known, 2)) if kind == MIX else (cur, cur)
        values = kind, agent, e, cur, a, b, random.normal()
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
        current[agent] = known
    others = set(random.integers(0, entering + events, 5).tolist()) - set(current)
    dtypes = {"kind": np.int8, "coefficient": np.float32}
    return Tape(
        agents=agents, entering=entering, time=np.arange(float(events)), peer=np.full(events, -1, np.int32),
        leaving=np.array([*current, *sorted(others)], np.int32),
        snapshots=np.array(taken, np.int32).reshape(-1, agents),
        **{name: np.array(column, dtypes.get(name, np.int32)) for name, column in columns.items()},
    )  # fmt: skip


def train(vector, agent, step):
    return np.sin(vector) + agent + 0.01 * step


def run_in_slots(waves, memory):
    """What the device does, on a NumPy array of slots; returns the snapshots."""
    taken = {}
    for s in range(len(waves.snapshot)):
        for q in range(waves.mix_cur.shape[1]):
            mixed = {}
            for lane, out in enumerate(waves.mix_out[s, q]):
                if out < len(memory):
                    cur, a, b = (memory[read[s, q, lane]] for read in (waves.mix_cur, waves.mix_a, waves.mix_b))
                    mixed[out] = cur + float(waves.mix_coefficient[s, q, lane]) * (b - a)
            for out, value in mixed.items():
                memory[out] = value
        trained = {}
        for lane, out in enumerate(waves.train_out[s]):
            if out < len(memory):
                at = s, lane
                trained[out] = train(memory[waves.train_cur[at]], int(waves.train_agent[at]), int(waves.train_step[at]))
        for out, value in trained.items():
            memory[out] = value
        if waves.snapshot[s] >= 0:
            taken[int(waves.snapshot[s])] = memory[waves.snapshots[waves.snapshot[s]]]
    return [taken[k] for k in sorted(taken)]


WIDTHS = st.builds(Widths, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))


@given(st.integers(0, 2**32), st.integers(1, 6), WIDTHS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
@settings(max_examples=60)
def test_waves_in_slots_equal_events_over_versions(seed, agents, widths, lengths):
    """Invariant 5, over tapes that follow one another."""
    random = np.random.default_rng(seed)
    scheduler = Scheduler(agents, widths)
    vectors = list(random.normal(size=(agents, 3)))
    memory = np.full((4000, 3), np.nan)
    memory[:agents] = vectors
    for events in lengths:
        tape = random_tape(random, agents, len(vectors), events, snapshots=2).check()
        waves = scheduler.schedule(tape)
        _, vectors, expected = run_plain(tape, vectors, train)
        taken = run_in_slots(waves, memory)
        assert np.array_equal(np.array(taken), expected)
        assert np.array_equal(memory[scheduler.slot], np.array(vectors))


@given(st.integers(0, 2**32), st.integers(1, 6), WIDTHS, st.integers(0, 60))
@settings(max_examples=60)
def test_events_stand_after_their_inputs_and_waves_are_no_wider_than_allowed(seed, agents, widths, events):
    tape = random_tape(np.random.default_rng(seed), agents, agents, events, 0)
    step, wave, lane, steps = place(tape, widths)
    order = step * (widths.mix_waves + 1) + np.where(tape.kind == MIX, wave, widths.mix_waves)
    for read in (tape.cur, tape.a, tape.b):
        written = read >= tape.entering
        assert (order[read[written] - tape.entering] < order[written]).all()
    places = set(zip(tape.kind.tolist(), step.tolist(), wave.tolist(), lane.tolist(), strict=True))
    assert len(places) == events and (not events or step.max() < steps)
    assert (lane < np.where(tape.kind == MIX, widths.mix, widths.train)).all() and (wave < widths.mix_waves).all()


@given(
    st.integers(0, 2**32), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.lists(st.integers(0, 15), max_size=3)
)
@settings(max_examples=60)
def test_tapes_side_by_side_are_each_of_them(seed, groups, lengths):
    """Over tapes that follow one another, with old versions that leave besides the agents' current ones."""
    random = np.random.default_rng(seed)
    alone = [list(random.normal(size=(agents, 3))) for agents in groups]
    together = [vector for vectors in alone for vector in vectors]
    first = np.cumsum([0, *groups])

    def nudged(group):
        return lambda vector, agent, step: train(vector, agent + first[group], step)

    for events in lengths:
        tapes = [random_tape(random, n, len(alone[k]), events + k, 2) for k, n in enumerate(groups)]
        ran = [run_plain(tape, alone[k], nudged(k)) for k, tape in enumerate(tapes)]
        _, together, taken = run_plain(side_by_side(tapes).check(), together, train)
        alone = [leaving for _, leaving, _ in ran]
        assert np.array_equal(taken, np.concatenate([taken for *_, taken in ran], axis=1))
        current = [vector for n, leaving in zip(groups, alone, strict=True) for vector in leaving[:n]]
        others = [vector for n, leaving in zip(groups, alone, strict=True) for vector in leaving[n:]]
        assert np.array_equal(together, current + others)


def test_slots_stay_of_the_order_of_agents_over_many_tapes():
    random, agents = np.random.default_rng(0), 8
    scheduler, entering = Scheduler(agents, Widths(4, 4, 2)), agents
    for _ in range(60):
        tape = random_tape(random, agents, entering, 100, 1)
        scheduler.schedule(tape)
        entering = len(tape.leaving)
    assert scheduler.slots < 12 * agents


def test_first_events_are_a_tape():
    tape = random_tape(np.random.default_rng(0), 4, 4, 50, 2)
    head = first_events(tape, 20).check()
    assert len(head) == 20 and len(head.snapshots) == len(head.leaving) == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda tape: tape.cur.__setitem__(3, 40), "reads version 40"),
        (lambda tape: tape.leaving.__setitem__(0, tape.leaving[1]), "a version may leave a tape once: got version"),
        (lambda tape: tape.leaving.__setitem__(0, 999), "names version 999"),
    ],
)
def test_a_tape_that_cannot_be_run_says_why(change, what):
    tape = random_tape(np.random.default_rng(1), 4, 4, 20, 0)
    change(tape)
    with pytest.raises(TapeError, match=what):
        tape.check()


def test_a_tape_must_begin_with_what_the_last_one_left():
    tape = random_tape(np.random.default_rng(1), 4, 6, 20, 0)
    with pytest.raises(TapeError, match="begins with the 4 versions that the one before it leaves: got 6"):
        Scheduler(4, Widths(2, 2, 1)).schedule(tape)
